//! The decoder: a packed pass through the layers, and the head on chosen rows.
//!
//! A pass takes segments of many sequences laid end to end, `[rows, hidden]` without padding, and
//! gives the last hidden states of the rows that are wanted. Rows that are not wanted end with the
//! keys and values of the last layer. Products dominate; everything between them is a loop over
//! slices, since for small models one tensor operation costs more than the arithmetic in it.

use candle_core::Tensor;
use indexmap::IndexMap;
use serde_json::Value;

use super::attention::{Attend, Attention, PlacedRows, Prefix, Query, Segment, StoreKeys};
use super::config::DecoderConfig;
use super::error::LmError;
use super::kv::{Block, BlockAllocator, KvStore};
use super::rotary::RotaryTable;
use super::vector::{
    NormalizeRows, Output, RowSummary, SiluTimes, Summarize, add_to_rows, multiply, run_widened,
};
use super::weights::{Projection, Weight, Weights};

/// Tokens that pass through the layers together. Measured with models 128 to 1024 wide: fewer slow
/// the products down, more gain little and leave the cache in small models.
const BATCH_ROWS: usize = 256;

/// Logits that exist at once, in numbers, unless the vocabulary is very large.
const LOGITS: usize = 1 << 20;

/// Rows that pass through the head together, at least: reading its weights for fewer would cost
/// more than the arithmetic.
const FEWEST_HEAD_ROWS: usize = 64;

/// How a [`Decoder`] runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Most tokens of context and continuation together; `None`: what the model's config says.
    pub max_length: Option<usize>,
    /// Most tokens that pass through the layers together; `None`: 256, which is fast for small and
    /// middle-sized models. Sequences are not cut for scoring, so a longer sequence makes a longer
    /// pass. Memory grows with it; results do not change.
    pub batch_rows: Option<usize>,
}

/// A decoder-only model of the Llama family in f32 on the CPU.
///
/// Holds its tensors by handle. Runs on the rayon pool of the caller: batches go to its threads,
/// and when there are fewer batches than threads, large products are divided as well.
#[derive(Debug)]
pub struct Decoder {
    pub(super) config: DecoderConfig,
    weights: Weights,
    pub(super) max_length: usize,
    pub(super) batch_rows: usize,
}

impl Decoder {
    /// Builds the model that `config`, the contents of config.json, describes.
    ///
    /// Tensors carry the names of transformers' checkpoints. Those in f32 that are contiguous are
    /// not copied; other dtypes are converted to f32. Tensors that the architecture does not use
    /// are dropped.
    ///
    /// # Errors
    ///
    /// Architectures and settings that are not computed exactly are refused; so are configs whose
    /// numbers make no sense, and missing or misshapen tensors.
    pub fn new(
        config: &Value,
        tensors: IndexMap<String, Tensor>,
        options: &DecoderOptions,
    ) -> Result<Self, LmError> {
        let config = DecoderConfig::from_json(config)?;
        let weights = Weights::new(&config, tensors)?;
        let batch_rows = options.batch_rows.unwrap_or(BATCH_ROWS).max(1);
        let max_length = options.max_length.unwrap_or(config.max_length).max(1);
        Ok(Self { config, weights, max_length, batch_rows })
    }

    /// Number of token ids, counted from 0.
    pub fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    /// Refuses token ids outside of the vocabulary.
    pub(super) fn check_tokens(&self, request: usize, tokens: &[u32]) -> Result<(), LmError> {
        let vocabulary = self.config.vocabulary;
        match tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(&token) => Err(LmError::UnknownToken { request, token, vocabulary }),
            None => Ok(()),
        }
    }

    /// An empty store for keys and values: of all layers if they are kept, else of one at a time.
    pub(super) fn kv_store(&self, positions: usize, kept: bool) -> KvStore {
        let layers = if kept { self.config.layers } else { 1 };
        let width = self.config.kv_heads * self.config.head_dim;
        KvStore::new(layers, positions, width, self.config.head_dim)
    }

    /// Computes keys and values of a beginning that many sequences share.
    pub(super) fn prefix(&self, tokens: &[u32], rotary: &RotaryTable, threads: usize) -> Prefix {
        let mut allocator = BlockAllocator::default();
        let block = allocator.allot(tokens.len());
        let mut store = self.kv_store(tokens.len(), true);
        for (chunk, tokens) in tokens.chunks(self.batch_rows).enumerate() {
            let held = chunk * self.batch_rows;
            let segment = continued(block, held, 0, 0..tokens.len());
            let pass = Pass { tokens, segments: &[segment], prefix: None, rotary, threads };
            self.hidden(&pass, &[], &mut store);
        }
        Prefix { store, block, len: tokens.len() }
    }

    /// Runs a pass; returns the last hidden states `[wanted, hidden]`, before the final norm.
    ///
    /// `wanted` are indices into the pass's tokens. Keys and values of all tokens end up in `store`.
    pub(super) fn hidden(
        &self,
        pass: &Pass<'_>,
        wanted: &[usize],
        store: &mut KvStore,
    ) -> Vec<f32> {
        let width = self.config.hidden;
        let embedding = self.weights.embedding.elements();
        let mut activations = Activations::default();
        for token in pass.tokens {
            let start = *token as usize * width;
            activations.states.extend_from_slice(&embedding[start..start + width]);
        }
        for (segment, part) in pass.segments.iter().enumerate() {
            let queries = &mut activations.queries;
            queries.extend((0..part.tokens.len()).map(|index| Query { segment, index }));
        }
        let last = self.config.layers - 1;
        for layer in 0..=last {
            let narrowed = (layer == last).then_some(wanted);
            self.layer(layer, pass, narrowed, &mut activations, store);
        }
        activations.states
    }

    /// Runs one layer. With `narrowed`, only those rows survive it.
    fn layer(
        &self,
        index: usize,
        pass: &Pass<'_>,
        narrowed: Option<&[usize]>,
        activations: &mut Activations,
        store: &mut KvStore,
    ) {
        let layer = &self.weights.layers[index];
        let config = &self.config;
        let (hidden, head_dim) = (config.hidden, config.head_dim);
        let (query_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let Activations { queries, states, normalized, query, key, value, gate, up, scores } =
            activations;

        self.normalize(states, &layer.attention_norm, normalized);
        project(key, normalized, &layer.key, kv_width, hidden, pass.threads);
        project(value, normalized, &layer.value, kv_width, hidden, pass.threads);
        let norms = layer.head_norms.as_ref();
        let key_norm = norms.map(|norms| norms.keys.elements());
        run_widened(StoreKeys {
            keys: PlacedRows {
                rows: key,
                norm: key_norm.as_deref(),
                epsilon: config.norm_epsilon,
                width: kv_width,
                rotary: pass.rotary,
            },
            values: value,
            queries,
            segments: pass.segments,
            layer: index,
            store,
        });

        if let Some(wanted) = narrowed {
            *queries = wanted.iter().map(|row| queries[*row]).collect();
            *states = gathered(states, wanted, hidden);
            *normalized = gathered(normalized, wanted, hidden);
        }
        project(query, normalized, &layer.query, query_width, hidden, pass.threads);
        let query_norm = norms.map(|norms| norms.queries.elements());
        run_widened(Attend {
            rows: PlacedRows {
                rows: query,
                norm: query_norm.as_deref(),
                epsilon: config.norm_epsilon,
                width: query_width,
                rotary: pass.rotary,
            },
            queries,
            scores,
            attention: Attention {
                layer: index,
                heads: config.heads,
                window: config.window(index),
                segments: pass.segments,
                store,
                prefix: pass.prefix,
            },
        });
        add_projected(states, query, &layer.output, query_width, pass.threads);

        self.normalize(states, &layer.mlp_norm, normalized);
        project(gate, normalized, &layer.gate, config.intermediate, hidden, pass.threads);
        project(up, normalized, &layer.up, config.intermediate, hidden, pass.threads);
        run_widened(SiluTimes { gate, up });
        add_projected(states, gate, &layer.down, config.intermediate, pass.threads);
    }

    /// Applies the final norm and the head to `rows` `[rows, hidden]`, and calls `visit` with each
    /// row's index, logits and summary, in order.
    pub(super) fn head(
        &self,
        rows: &[f32],
        threads: usize,
        mut visit: impl FnMut(usize, &[f32], RowSummary),
    ) {
        let hidden = self.config.hidden;
        let vocabulary = self.config.vocabulary;
        let weight = self.weights.head.elements();
        let at_once = (LOGITS / vocabulary).max(FEWEST_HEAD_ROWS);
        let mut normalized = Vec::new();
        self.normalize(rows, &self.weights.norm, &mut normalized);
        let mut logits = Vec::new();
        for (chunk, rows) in normalized.chunks(at_once * hidden).enumerate() {
            logits.resize(rows.len() / hidden * vocabulary, 0.0);
            multiply(&mut logits, rows, &weight, hidden, Output::Replace, threads);
            for (row, logits) in logits.chunks_exact(vocabulary).enumerate() {
                visit(chunk * at_once + row, logits, run_widened(Summarize(logits)));
            }
        }
    }

    fn normalize(&self, states: &[f32], norm: &Weight, normalized: &mut Vec<f32>) {
        let norm = norm.elements();
        normalized.clear();
        normalized.extend_from_slice(states);
        let epsilon = self.config.norm_epsilon;
        run_widened(NormalizeRows { rows: normalized, weight: &norm, epsilon });
    }
}

/// What goes through the layers together.
pub(super) struct Pass<'a> {
    /// Tokens of all segments, end to end.
    pub(super) tokens: &'a [u32],
    pub(super) segments: &'a [Segment],
    /// Seen by all segments.
    pub(super) prefix: Option<&'a Prefix>,
    pub(super) rotary: &'a RotaryTable,
    /// Threads that one product may use.
    pub(super) threads: usize,
}

/// A segment that continues what its block already holds: `held` tokens, the first of which is at
/// `position` of the sequence.
pub(super) fn continued(
    block: Block,
    held: usize,
    position: usize,
    tokens: std::ops::Range<usize>,
) -> Segment {
    Segment { tokens, block, held, position, ancestors: Vec::new() }
}

/// The rows of a pass on their way through the layers, and buffers that every layer reuses.
#[derive(Default)]
struct Activations {
    /// Which token each row is.
    queries: Vec<Query>,
    /// `[rows, hidden]`.
    states: Vec<f32>,
    normalized: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    scores: Vec<f32>,
}

/// `output = input · weightᵀ + bias`.
fn project(
    output: &mut Vec<f32>,
    input: &[f32],
    projection: &Projection,
    outputs: usize,
    inputs: usize,
    threads: usize,
) {
    output.resize(input.len() / inputs * outputs, 0.0);
    multiply(output, input, &projection.weight.elements(), inputs, Output::Replace, threads);
    if let Some(bias) = &projection.bias {
        add_to_rows(output, &bias.elements());
    }
}

/// `states += input · weightᵀ + bias`.
fn add_projected(
    states: &mut [f32],
    input: &[f32],
    projection: &Projection,
    inputs: usize,
    threads: usize,
) {
    multiply(states, input, &projection.weight.elements(), inputs, Output::Add, threads);
    if let Some(bias) = &projection.bias {
        add_to_rows(states, &bias.elements());
    }
}

fn gathered(rows: &[f32], wanted: &[usize], width: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(wanted.len() * width);
    for row in wanted {
        result.extend_from_slice(&rows[row * width..(row + 1) * width]);
    }
    result
}

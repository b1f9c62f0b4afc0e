//! The decoder: a packed pass through the layers, and the head on chosen rows.
//!
//! A pass takes segments of many sequences laid end to end, `[rows, hidden]` without padding, and
//! gives the last hidden states of the rows that are wanted. Rows that are not wanted end with the
//! keys and values of the last layer. Products dominate; everything between them is a loop over
//! slices, since for small models one tensor operation costs more than the arithmetic in it.

use candle_core::Tensor;
use indexmap::IndexMap;
use serde_json::Value;

use super::attention::{Attention, Block, KvStore, Prefix, Query, Segment};
use super::config::DecoderConfig;
use super::error::LmError;
use super::rotary::RotaryTable;
use super::vector::{
    Output, RowSummary, add_to_rows, multiply, rms_norm, silu_times, summarize, widened,
};
use super::weights::{LayerWeights, Projection, Weight, Weights};

/// Activations of a pass should fit into a core's cache, so far as the next two bounds allow.
const ACTIVATION_BYTES: usize = 2 << 20;
/// Fewer rows than this, and products no longer run at full speed.
const FEWEST_ROWS: usize = 128;
/// More rows gain nothing.
const MOST_ROWS: usize = 512;

/// Logits that exist at once, in numbers.
const LOGITS: usize = 1 << 20;

/// How a [`Decoder`] runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecoderOptions {
    /// Most tokens of context and continuation together; `None`: what the model's config says.
    pub max_length: Option<usize>,
    /// Tokens that pass through the layers together; `None`: from the model's sizes. Sequences are
    /// not cut for scoring, so a longer sequence makes a longer pass. Memory grows with it; results
    /// do not change.
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
        let batch_rows = options.batch_rows.unwrap_or_else(|| default_batch_rows(&config)).max(1);
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
        let mut allocator = super::attention::BlockAllocator::default();
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
        let mut states = Vec::with_capacity(pass.tokens.len() * width);
        for token in pass.tokens {
            let start = *token as usize * width;
            states.extend_from_slice(&embedding[start..start + width]);
        }
        let mut queries = Vec::with_capacity(pass.tokens.len());
        for (segment, part) in pass.segments.iter().enumerate() {
            queries.extend((0..part.tokens.len()).map(|index| Query { segment, index }));
        }
        let mut scratch = Scratch::default();
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let narrowed = (index + 1 == self.weights.layers.len()).then_some(wanted);
            self.layer(
                index,
                layer,
                pass,
                &mut queries,
                narrowed,
                &mut states,
                store,
                &mut scratch,
            );
        }
        states
    }

    /// Runs one layer, replacing `states`. With `narrowed`, only those rows (and their `queries`)
    /// survive it.
    #[allow(clippy::too_many_arguments)]
    fn layer(
        &self,
        index: usize,
        layer: &LayerWeights,
        pass: &Pass<'_>,
        queries: &mut Vec<Query>,
        narrowed: Option<&[usize]>,
        states: &mut Vec<f32>,
        store: &mut KvStore,
        scratch: &mut Scratch,
    ) {
        let config = &self.config;
        let (hidden, head_dim) = (config.hidden, config.head_dim);
        let (query_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let Scratch { normalized, query, key, value, gate, up, scores } = scratch;

        self.normalize(states, &layer.attention_norm, normalized);
        project(key, normalized, &layer.key, kv_width, hidden, pass.threads);
        project(value, normalized, &layer.value, kv_width, hidden, pass.threads);
        let key_norm = layer.head_norms.as_ref().map(|norms| norms.keys.elements());
        widened(|| {
            let rows = key.chunks_exact_mut(kv_width).zip(value.chunks_exact(kv_width));
            for (position, (key, value)) in queries.iter().zip(rows) {
                if let Some(norm) = &key_norm {
                    for head in key.chunks_exact_mut(head_dim) {
                        rms_norm(head, norm, config.norm_epsilon);
                    }
                }
                pass.rotary.turn(key, position.position(pass.segments));
                let segment = &pass.segments[position.segment];
                store.write(index, segment.block, segment.held + position.index, key, value);
            }
        });

        if let Some(wanted) = narrowed {
            *queries = wanted.iter().map(|row| queries[*row]).collect();
            *states = gathered(states, wanted, hidden);
            *normalized = gathered(normalized, wanted, hidden);
        }
        project(query, normalized, &layer.query, query_width, hidden, pass.threads);
        let query_norm = layer.head_norms.as_ref().map(|norms| norms.queries.elements());
        let attention = Attention {
            layer: index,
            heads: config.heads,
            window: config.window(index),
            segments: pass.segments,
            store,
            prefix: pass.prefix,
        };
        widened(|| {
            for (position, query) in queries.iter().zip(query.chunks_exact_mut(query_width)) {
                if let Some(norm) = &query_norm {
                    for head in query.chunks_exact_mut(head_dim) {
                        rms_norm(head, norm, config.norm_epsilon);
                    }
                }
                pass.rotary.turn(query, position.position(pass.segments));
            }
            attention.attend(queries, query, scores);
        });
        add_projected(states, query, &layer.output, query_width, pass.threads);

        self.normalize(states, &layer.mlp_norm, normalized);
        project(gate, normalized, &layer.gate, config.intermediate, hidden, pass.threads);
        project(up, normalized, &layer.up, config.intermediate, hidden, pass.threads);
        widened(|| silu_times(gate, up));
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
        let at_once = (LOGITS / vocabulary).max(2);
        let mut normalized = Vec::new();
        self.normalize(rows, &self.weights.norm, &mut normalized);
        let mut logits = Vec::new();
        for (chunk, rows) in normalized.chunks(at_once * hidden).enumerate() {
            logits.resize(rows.len() / hidden * vocabulary, 0.0);
            multiply(&mut logits, rows, &weight, hidden, Output::Replace, threads);
            for (row, logits) in logits.chunks_exact(vocabulary).enumerate() {
                visit(chunk * at_once + row, logits, widened(|| summarize(logits)));
            }
        }
    }

    fn normalize(&self, states: &[f32], norm: &Weight, normalized: &mut Vec<f32>) {
        let norm = norm.elements();
        normalized.clear();
        normalized.extend_from_slice(states);
        widened(|| {
            for row in normalized.chunks_exact_mut(norm.len()) {
                rms_norm(row, &norm, self.config.norm_epsilon);
            }
        });
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

/// Buffers of a pass, reused from layer to layer.
#[derive(Default)]
struct Scratch {
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

fn default_batch_rows(config: &DecoderConfig) -> usize {
    let widths = 2 * config.hidden
        + (config.heads + 2 * config.kv_heads) * config.head_dim
        + 2 * config.intermediate;
    (ACTIVATION_BYTES / (widths * size_of::<f32>())).clamp(FEWEST_ROWS, MOST_ROWS)
}

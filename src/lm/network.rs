//! The decoder on one backend: a packed pass through the layers, and the head on chosen rows.
//!
//! A pass takes segments of many sequences laid end to end, `[rows, hidden]` without padding, and
//! gives the last hidden states of the rows that are wanted. Rows that are not wanted end with the
//! keys and values of the last layer.

use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use super::backend::{Backend, KvWidths, RowSummary};
use super::config::DecoderConfig;
use super::error::LmError;
use super::families::Blueprint;
use super::layer::{Activations, Layer};
use super::layout::{BlockAllocator, Pass, Prefix, Query, Segment};
use super::limits::{DecoderOptions, Limits};
use super::names::Names;
use super::rotary::Turns;
use super::storage::StoredTensor;
use super::weights::Weights;

/// A model on a backend.
#[derive(Debug)]
pub(super) struct Network<B: Backend> {
    pub(super) config: DecoderConfig,
    pub(super) weights: Weights<B>,
    pub(super) limits: Limits,
    names: Names,
    spare: Spare<B>,
}

/// A model without its weights.
#[derive(Debug)]
pub(super) struct Skeleton<B: Backend> {
    blueprint: Blueprint,
    limits: Limits,
    spare: Spare<B>,
}

/// Buffers of passes that are not running.
type Spare<B> = Mutex<Vec<Workspace<B>>>;

impl<B: Backend> Skeleton<B> {
    pub(super) fn new(blueprint: Blueprint, options: &DecoderOptions) -> Self {
        let limits = Limits::new(&blueprint.config, options, &B::HABITS);
        Self { blueprint, limits, spare: Mutex::default() }
    }

    /// Takes the weights that the config promises.
    pub(super) fn load(
        self,
        backend: &B,
        tensors: IndexMap<String, StoredTensor>,
    ) -> Result<Network<B>, LmError> {
        let Self { blueprint: Blueprint { config, names }, limits, spare } = self;
        let weights = Weights::new(backend, &config, &names, tensors)?;
        Ok(Network { config, weights, limits, names, spare })
    }
}

/// Buffers that passes reuse.
#[derive(Debug)]
pub(super) struct Workspace<B: Backend> {
    activations: Activations<B>,
    normalized: B::Rows,
    logits: B::Rows,
    /// Keys and values of a pass that nobody needs afterwards.
    pub(super) store: B::Store,
}

impl<B: Backend> Network<B> {
    /// Drops the weights; what else there is stays.
    pub(super) fn unload(self) -> Skeleton<B> {
        let Self { config, limits, names, spare, .. } = self;
        Skeleton { blueprint: Blueprint { config, names }, limits, spare }
    }

    /// Lends buffers to work that may run many passes.
    pub(super) fn with_workspace<T>(
        &self,
        backend: &B,
        work: impl FnOnce(&mut Workspace<B>) -> T,
    ) -> T {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spare().pop();
        let mut workspace = found.unwrap_or_else(|| Workspace {
            activations: Activations::default(),
            normalized: B::Rows::default(),
            logits: B::Rows::default(),
            store: self.passing_store(backend),
        });
        let result = work(&mut workspace);
        spare().push(workspace);
        result
    }

    /// A store for keys and values that outlive their layer.
    pub(super) fn lasting_store(&self, backend: &B) -> B::Store {
        backend.store(self.kv_widths())
    }

    /// A store for those that do not: layers that need the same room share it.
    fn passing_store(&self, backend: &B) -> B::Store {
        let mut widths = self.kv_widths();
        if widths.iter().all(|layer| *layer == widths[0]) {
            widths.truncate(1);
        }
        backend.store(widths)
    }

    fn kv_widths(&self) -> Vec<KvWidths> {
        let widths = self.config.layers.iter().map(|layer| KvWidths {
            keys: layer.attention.key_width(),
            key_dim: layer.attention.key_dim,
            values: layer.attention.value_width(),
        });
        widths.collect()
    }

    /// Computes keys and values of tokens that many sequences share and that stand behind `before`.
    pub(super) fn prefix(
        &self,
        backend: &B,
        tokens: &[u32],
        before: &[Arc<Prefix<B::Store>>],
        turns: &Turns,
    ) -> Result<Prefix<B::Store>, LmError> {
        let mut allocator = BlockAllocator::default();
        let block = allocator.allot(tokens.len());
        let position = before.iter().map(|prefix| prefix.len).sum();
        let mut store = self.lasting_store(backend);
        backend.grow(&mut store, tokens.len())?;
        self.with_workspace(backend, |workspace| {
            for (chunk, tokens) in tokens.chunks(self.limits.batch_rows).enumerate() {
                let held = chunk * self.limits.batch_rows;
                let segments = [Segment::continued(block, held, position, 0..tokens.len())];
                let pass = Pass { tokens, segments: &segments, prefixes: before, turns };
                self.run(backend, &pass, &[], workspace, Some(&mut store))?;
            }
            Ok::<_, LmError>(())
        })?;
        Ok(Prefix { store, block, len: tokens.len(), position })
    }

    /// Runs a pass and leaves the last hidden states `[wanted, hidden]`, before the final norm, in
    /// the workspace.
    ///
    /// `wanted` are indices into the pass's tokens. Keys and values of all tokens end up in `store`,
    /// or in the workspace's own, which must have room for them.
    pub(super) fn run(
        &self,
        backend: &B,
        pass: &Pass<'_, B::Store>,
        wanted: &[usize],
        workspace: &mut Workspace<B>,
        store: Option<&mut B::Store>,
    ) -> Result<(), LmError> {
        let Workspace { activations, store: own, normalized, .. } = workspace;
        let store = store.unwrap_or(own);
        let indices: Vec<usize> = pass.tokens.iter().map(|token| *token as usize).collect();
        let Self { config, weights, .. } = self;
        let scale = config.embedding_scale;
        backend.embed(&mut activations.states, &weights.embedding, &indices, scale)?;
        activations.queries.clear();
        for (segment, part) in pass.segments.iter().enumerate() {
            let tokens = 0..part.tokens.len();
            activations.queries.extend(tokens.map(|index| Query { segment, index }));
        }
        let positions = activations.queries.iter().map(|query| query.position(pass.segments));
        activations.positions.clear();
        activations.positions.extend(positions);
        if let Some(table) = &weights.positions {
            backend.embed(normalized, table, &activations.positions, 1.0)?;
            backend.add(&mut activations.states, normalized, 1.0)?;
        }
        let last = config.layers.len() - 1;
        for (index, (config, weights)) in config.layers.iter().zip(&weights.layers).enumerate() {
            let narrowed = (index == last).then_some(wanted);
            let layer = Layer { backend, index, config, weights, pass };
            layer.run(narrowed, activations, store)?;
        }
        Ok(())
    }

    /// Applies the final norm and the head to the states that [`Network::run`] left, some rows at a
    /// time, and calls `visit` with the index of the first of these rows, their logits and what they
    /// say.
    pub(super) fn head(
        &self,
        backend: &B,
        rows: usize,
        workspace: &mut Workspace<B>,
        mut visit: impl FnMut(usize, &B::Rows, &[RowSummary]) -> Result<(), LmError>,
    ) -> Result<(), LmError> {
        let Workspace { activations, normalized, logits, .. } = workspace;
        let head = &self.config.head;
        let at_once = self.limits.head_rows;
        for start in (0..rows).step_by(at_once) {
            let chosen: Vec<usize> = (start..rows.min(start + at_once)).collect();
            backend.gather(normalized, &activations.states, &chosen)?;
            backend.normalize_rows(normalized, &self.weights.norm)?;
            backend.project(logits, normalized, &self.weights.head)?;
            if head.scale != 1.0 || head.soft_cap.is_some() {
                backend.limit(logits, head.scale, head.soft_cap)?;
            }
            let summaries = backend.summarize(logits)?;
            visit(start, logits, &summaries)?;
        }
        Ok(())
    }

    /// Refuses token ids outside of the vocabulary.
    pub(super) fn check_tokens(&self, request: usize, tokens: &[u32]) -> Result<(), LmError> {
        let vocabulary = self.config.vocabulary;
        match tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(&token) => Err(LmError::UnknownToken { request, token, vocabulary }),
            None => Ok(()),
        }
    }
}

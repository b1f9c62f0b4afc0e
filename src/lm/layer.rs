//! One layer of a decoder: attention, feed-forward, and the sums between them.

mod experts;

use super::backend::{Attention, Backend, Columns, NormWeights};
use super::config::{Arrangement, FeedForward, LayerConfig, Mlp, NormedPart, Positions};
use super::error::LmError;
use super::layout::{Pass, Query};
use super::weights::{
    FeedForwardWeights, LatentQuery, LayerWeights, MlpWeights, ProjectionWeights,
};

/// The rows of a pass on their way through the layers, and buffers that every layer reuses.
#[derive(Debug)]
pub(super) struct Activations<B: Backend> {
    /// Which token each row is.
    pub(super) queries: Vec<Query>,
    /// Position of each row in its sequence.
    pub(super) positions: Vec<usize>,
    /// `[rows, hidden]`: what layers add to.
    pub(super) states: B::Rows,
    normalized: B::Rows,
    query: B::Rows,
    key: B::Rows,
    value: B::Rows,
    /// Before columns are sorted; or compressed keys and values.
    mixed: B::Rows,
    /// What attention gives; or expanded keys and values.
    result: B::Rows,
    /// What is added to the states, where that takes another step.
    delta: B::Rows,
    feed_forward: FeedForwardBuffers<B>,
    spare: B::Rows,
}

/// Rows inside of a feed-forward network.
#[derive(Debug)]
pub(super) struct FeedForwardBuffers<B: Backend> {
    gate: B::Rows,
    up: B::Rows,
    /// Rows of one expert.
    input: B::Rows,
    output: B::Rows,
}

impl<B: Backend> Default for Activations<B> {
    fn default() -> Self {
        Self {
            queries: Vec::new(),
            positions: Vec::new(),
            states: B::Rows::default(),
            normalized: B::Rows::default(),
            query: B::Rows::default(),
            key: B::Rows::default(),
            value: B::Rows::default(),
            mixed: B::Rows::default(),
            result: B::Rows::default(),
            delta: B::Rows::default(),
            feed_forward: FeedForwardBuffers {
                gate: B::Rows::default(),
                up: B::Rows::default(),
                input: B::Rows::default(),
                output: B::Rows::default(),
            },
            spare: B::Rows::default(),
        }
    }
}

/// A layer that rows pass through.
pub(super) struct Layer<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) index: usize,
    pub(super) config: &'a LayerConfig,
    pub(super) weights: &'a LayerWeights<B>,
    pub(super) pass: &'a Pass<'a, B::Store>,
}

impl<B: Backend> Layer<'_, B> {
    /// Runs the layer. With `narrowed`, only those rows survive it; all others end with their keys
    /// and values.
    pub(super) fn run(
        &self,
        narrowed: Option<&[usize]>,
        rows: &mut Activations<B>,
        store: &mut B::Store,
    ) -> Result<(), LmError> {
        let Self { backend, config, weights, .. } = self;
        backend.copy(&mut rows.normalized, &rows.states)?;
        self.normalize(&mut rows.normalized, weights.before_attention.as_ref())?;
        self.keys_and_values(rows)?;
        backend.keep(store, self.index, &rows.key, &rows.value, &rows.queries, self.pass)?;
        if let Some(wanted) = narrowed {
            self.narrow(wanted, rows)?;
        }
        self.queries(rows)?;
        let attention = Attention {
            layer: self.index,
            config: &config.attention,
            queries: &rows.queries,
            pass: self.pass,
            store,
        };
        backend.attend(&mut rows.result, &rows.query, &attention)?;
        match config.arrangement {
            Arrangement::Sequential { .. } => {
                self.add_attention(rows)?;
                backend.copy(&mut rows.normalized, &rows.states)?;
                self.normalize(&mut rows.normalized, weights.before_feed_forward.as_ref())?;
            }
            Arrangement::Parallel { shared_norm } => {
                if !shared_norm {
                    backend.copy(&mut rows.normalized, &rows.states)?;
                    self.normalize(&mut rows.normalized, weights.before_feed_forward.as_ref())?;
                }
                self.add_attention(rows)?;
            }
        }
        self.add_feed_forward(rows)
    }

    fn normalize(
        &self,
        rows: &mut B::Rows,
        norm: Option<&NormWeights<B::Vector>>,
    ) -> Result<(), LmError> {
        match norm {
            Some(norm) => self.backend.normalize_rows(rows, norm),
            None => Ok(()),
        }
    }

    /// Leaves only the wanted rows of all that is needed later.
    fn narrow(&self, wanted: &[usize], rows: &mut Activations<B>) -> Result<(), LmError> {
        rows.queries = wanted.iter().map(|row| rows.queries[*row]).collect();
        rows.positions = wanted.iter().map(|row| rows.positions[*row]).collect();
        let mut kept = vec![&mut rows.states, &mut rows.normalized];
        if let ProjectionWeights::Grouped { .. } = self.weights.projections {
            kept.push(&mut rows.mixed);
        }
        for part in kept {
            self.backend.gather(&mut rows.spare, part, wanted)?;
            std::mem::swap(part, &mut rows.spare);
        }
        Ok(())
    }

    /// Computes keys and values of all rows.
    fn keys_and_values(&self, rows: &mut Activations<B>) -> Result<(), LmError> {
        let Self { backend, config, .. } = self;
        let attention = &config.attention;
        let Activations { normalized, key, value, mixed, result, positions, .. } = rows;
        match &self.weights.projections {
            ProjectionWeights::Separate { key: to_key, value: to_value, .. } => {
                backend.project(key, normalized, to_key)?;
                backend.project(value, normalized, to_value)?;
            }
            ProjectionWeights::Grouped { projection, columns } => {
                backend.project(mixed, normalized, projection)?;
                backend.columns(key, &[mixed], &columns[1])?;
                backend.columns(value, &[mixed], &columns[2])?;
            }
            ProjectionWeights::Latent { compress, norm, expand, rank, .. } => {
                let rank = *rank;
                let [unturned, turned] = self.latent_dims();
                backend.project(mixed, normalized, compress)?;
                let front = [Columns { source: 0, start: 0, count: rank }];
                backend.columns(key, &[mixed], &front)?;
                backend.normalize(key, norm, rank)?;
                backend.project(result, key, expand)?;
                // The turned part is one for all heads; it is turned before it is copied to each.
                let back = [Columns { source: 0, start: rank, count: turned }];
                backend.columns(value, &[mixed], &back)?;
                self.turn(value, turned, 0, positions)?;
                let group = unturned + attention.value_dim;
                let of_keys = (0..attention.heads).flat_map(|head| {
                    [
                        Columns { source: 0, start: head * group, count: unturned },
                        Columns { source: 1, start: 0, count: turned },
                    ]
                });
                backend.columns(key, &[result, value], &of_keys.collect::<Vec<_>>())?;
                let of_values = (0..attention.heads).map(|head| Columns {
                    source: 0,
                    start: head * group + unturned,
                    count: attention.value_dim,
                });
                backend.columns(value, &[result], &of_values.collect::<Vec<_>>())?;
                return Ok(());
            }
        }
        if let Some(limit) = attention.clip {
            backend.clamp(value, limit)?;
        }
        self.place(key, self.weights.head_norms.as_ref().map(|norms| &norms.keys), positions)
    }

    /// Computes the queries of the rows that are left.
    fn queries(&self, rows: &mut Activations<B>) -> Result<(), LmError> {
        let backend = self.backend;
        let Activations { normalized, query, mixed, positions, .. } = rows;
        match &self.weights.projections {
            ProjectionWeights::Separate { query: to_query, .. } => {
                backend.project(query, normalized, to_query)?;
            }
            ProjectionWeights::Grouped { columns, .. } => {
                backend.columns(query, &[mixed], &columns[0])?;
            }
            ProjectionWeights::Latent { query: LatentQuery::Whole(to_query), .. } => {
                backend.project(query, normalized, to_query)?;
            }
            ProjectionWeights::Latent {
                query: LatentQuery::LowRank { compress, norm, expand },
                ..
            } => {
                backend.project(mixed, normalized, compress)?;
                backend.normalize_rows(mixed, norm)?;
                backend.project(query, mixed, expand)?;
            }
        }
        self.place(query, self.weights.head_norms.as_ref().map(|norms| &norms.queries), positions)
    }

    /// Sizes of the part of a key that is not turned and of the one that is.
    fn latent_dims(&self) -> [usize; 2] {
        let attention = &self.config.attention;
        match attention.positions {
            Positions::Rotary { first, .. } => [first, attention.key_dim - first],
            _ => [attention.key_dim, 0],
        }
    }

    /// Clamps, normalizes and turns heads of queries or keys, as far as the model does.
    fn place(
        &self,
        rows: &mut B::Rows,
        norm: Option<&NormWeights<B::Vector>>,
        positions: &[usize],
    ) -> Result<(), LmError> {
        let attention = &self.config.attention;
        let clip_first = !matches!(
            attention.head_norm.map(|head_norm| head_norm.over),
            Some(NormedPart::AllHeads)
        );
        if let (Some(limit), true) = (attention.clip, clip_first) {
            self.backend.clamp(rows, limit)?;
        }
        if let (Some(norm), Some(head_norm)) = (norm, attention.head_norm) {
            match head_norm.over {
                NormedPart::AllHeads => self.backend.normalize_rows(rows, norm)?,
                _ => self.backend.normalize(rows, norm, attention.key_dim)?,
            }
        }
        if let (Some(limit), false) = (attention.clip, clip_first) {
            self.backend.clamp(rows, limit)?;
        }
        let offset = match attention.positions {
            Positions::Rotary { first, .. } => first,
            _ => 0,
        };
        self.turn(rows, attention.key_dim, offset, positions)
    }

    fn turn(
        &self,
        rows: &mut B::Rows,
        head_dim: usize,
        offset: usize,
        positions: &[usize],
    ) -> Result<(), LmError> {
        match self.config.attention.positions {
            Positions::Rotary { index, .. } => {
                let table = self.pass.turns.table(index);
                self.backend.turn(rows, head_dim, offset, table, positions)
            }
            Positions::None | Positions::Alibi => Ok(()),
        }
    }

    /// Adds the results of attention to the states.
    fn add_attention(&self, rows: &mut Activations<B>) -> Result<(), LmError> {
        let Self { backend, weights, config, .. } = self;
        let output = &weights.output;
        if weights.after_attention.is_none() && config.residual_scale == 1.0 {
            return backend.add_projected(&mut rows.states, &rows.result, output);
        }
        backend.project(&mut rows.delta, &rows.result, output)?;
        self.add_delta(rows, weights.after_attention.as_ref())
    }

    /// Adds what the feed-forward network makes of the normalized rows to the states.
    fn add_feed_forward(&self, rows: &mut Activations<B>) -> Result<(), LmError> {
        let Self { backend, weights, config, .. } = self;
        let is_plain = weights.after_feed_forward.is_none() && config.residual_scale == 1.0;
        match (&config.feed_forward, &weights.feed_forward) {
            (FeedForward::Dense(mlp), FeedForwardWeights::Dense(network)) => {
                let buffers = &mut rows.feed_forward;
                widen(*backend, mlp, network, &rows.normalized, buffers)?;
                if is_plain {
                    let states = &mut rows.states;
                    return backend.add_projected(states, &buffers.gate, &network.down);
                }
                backend.project(&mut rows.delta, &buffers.gate, &network.down)?;
            }
            (FeedForward::Experts(experts), network) => {
                let Activations { normalized, delta, feed_forward, .. } = rows;
                experts::run(*backend, experts, network, normalized, delta, feed_forward)?;
            }
            (FeedForward::Dense(_), FeedForwardWeights::Experts { .. }) => {
                unreachable!("weights are made after the config")
            }
        }
        self.add_delta(rows, weights.after_feed_forward.as_ref())
    }

    fn add_delta(
        &self,
        rows: &mut Activations<B>,
        norm: Option<&NormWeights<B::Vector>>,
    ) -> Result<(), LmError> {
        self.normalize(&mut rows.delta, norm)?;
        self.backend.add(&mut rows.states, &rows.delta, self.config.residual_scale)
    }
}

/// The inner rows of a feed-forward network, which its last matrix takes.
fn widen<B: Backend>(
    backend: &B,
    config: &Mlp,
    network: &MlpWeights<B>,
    input: &B::Rows,
    buffers: &mut FeedForwardBuffers<B>,
) -> Result<(), LmError> {
    let FeedForwardBuffers { gate, up, .. } = buffers;
    match &network.gate {
        Some(to_gate) => {
            backend.project(gate, input, to_gate)?;
            backend.project(up, input, &network.up)?;
            backend.activate(gate, Some(up), config.activation)
        }
        None => {
            backend.project(gate, input, &network.up)?;
            backend.activate(gate, None, config.activation)
        }
    }
}

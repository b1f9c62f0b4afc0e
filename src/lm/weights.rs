//! A decoder's tensors, taken from a map by name and checked against the config.

mod tensors;

use indexmap::IndexMap;

use super::backend::{Backend, Columns, NormWeights, Projection};
use super::config::{
    Arrangement, AttentionConfig, DecoderConfig, Experts, FeedForward, Gating, HeadNorm, Latent,
    LayerConfig, Mlp, Norm, NormedPart, Projections,
};
use super::error::LmError;
use super::names::{ExpertNames, MlpNames, Names, PackedExpertNames, shared_mlp};
use super::storage::StoredTensor;
use tensors::Tensors;

/// All tensors of a decoder.
#[derive(Debug)]
pub(super) struct Weights<B: Backend> {
    /// `[vocabulary, hidden]`.
    pub(super) embedding: B::Matrix,
    /// `[positions, hidden]`.
    pub(super) positions: Option<B::Matrix>,
    pub(super) layers: Vec<LayerWeights<B>>,
    pub(super) norm: NormWeights<B::Vector>,
    /// The embedding again if the head is tied.
    pub(super) head: Projection<B>,
}

/// One layer's tensors.
#[derive(Debug)]
pub(super) struct LayerWeights<B: Backend> {
    pub(super) before_attention: Option<NormWeights<B::Vector>>,
    pub(super) after_attention: Option<NormWeights<B::Vector>>,
    pub(super) before_feed_forward: Option<NormWeights<B::Vector>>,
    pub(super) after_feed_forward: Option<NormWeights<B::Vector>>,
    pub(super) projections: ProjectionWeights<B>,
    pub(super) head_norms: Option<HeadNorms<B>>,
    pub(super) output: Projection<B>,
    pub(super) feed_forward: FeedForwardWeights<B>,
}

/// Norms of heads.
#[derive(Debug)]
pub(super) struct HeadNorms<B: Backend> {
    pub(super) queries: NormWeights<B::Vector>,
    pub(super) keys: NormWeights<B::Vector>,
}

/// Where queries, keys and values come from.
#[derive(Debug)]
pub(super) enum ProjectionWeights<B: Backend> {
    Separate {
        query: Projection<B>,
        key: Projection<B>,
        value: Projection<B>,
    },
    /// One product, whose columns are sorted afterwards: into queries, keys and values.
    Grouped {
        projection: Projection<B>,
        columns: [Vec<Columns>; 3],
    },
    Latent {
        query: LatentQuery<B>,
        /// Gives the compressed keys and values, and behind them the part of keys that is turned.
        compress: Projection<B>,
        norm: NormWeights<B::Vector>,
        expand: Projection<B>,
        /// Elements of compressed keys and values.
        rank: usize,
    },
}

/// How latent attention projects queries.
#[derive(Debug)]
pub(super) enum LatentQuery<B: Backend> {
    Whole(Projection<B>),
    LowRank { compress: Projection<B>, norm: NormWeights<B::Vector>, expand: Projection<B> },
}

/// What follows attention.
#[derive(Debug)]
pub(super) enum FeedForwardWeights<B: Backend> {
    Dense(MlpWeights<B>),
    Experts {
        router: Projection<B>,
        /// Added to the scores for the choice of experts.
        correction: Option<B::Vector>,
        experts: Vec<MlpWeights<B>>,
        shared: Option<MlpWeights<B>>,
        shared_gate: Option<Projection<B>>,
    },
}

/// A feed-forward network.
#[derive(Debug)]
pub(super) struct MlpWeights<B: Backend> {
    pub(super) gate: Option<Projection<B>>,
    pub(super) up: Projection<B>,
    pub(super) down: Projection<B>,
}

impl<B: Backend> Weights<B> {
    /// Takes what the config promises; other tensors are left out, as in transformers.
    pub(super) fn new(
        backend: &B,
        config: &DecoderConfig,
        names: &Names,
        tensors: IndexMap<String, StoredTensor>,
    ) -> Result<Self, LmError> {
        let mut tensors = Tensors::new(backend, tensors, config.transposed);
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let embedding = tensors.table(names.embedding, vocabulary, hidden)?;
        let positions = config
            .learned_positions
            .map(|positions| tensors.table(names.positions, positions, hidden))
            .transpose()?;
        let norm = tensors.norm(names.norm, config.final_norm, hidden)?;
        let weight = match config.head.tied {
            true => embedding.clone(),
            false => tensors.table(names.head, vocabulary, hidden)?,
        };
        let bias = match config.head.bias {
            true => Some(tensors.vector(&format!("{}.bias", names.head), vocabulary)?),
            false => None,
        };
        let head = Projection { weight, bias };
        let mut layers = Vec::new();
        for (index, layer) in config.layers.iter().enumerate() {
            let at = format!("{}.{index}", names.layers);
            layers.push(LayerTensors { tensors: &mut tensors, at, hidden, names }.take(layer)?);
        }
        Ok(Self { embedding, positions, layers, norm, head })
    }
}

/// The tensors of one layer, still to be taken.
struct LayerTensors<'a, 'b, B: Backend> {
    tensors: &'a mut Tensors<'b, B>,
    /// Name of the layer.
    at: String,
    hidden: usize,
    names: &'a Names,
}

impl<B: Backend> LayerTensors<'_, '_, B> {
    fn take(&mut self, layer: &LayerConfig) -> Result<LayerWeights<B>, LmError> {
        let names = &self.names.norms;
        let (before, after, second) = match layer.arrangement {
            Arrangement::Sequential { before, after } => (before, after, before),
            Arrangement::Parallel { shared_norm } => (true, false, !shared_norm),
        };
        let mut norm = |name: &str, wanted: bool| {
            wanted
                .then(|| self.tensors.norm(&format!("{}.{name}", self.at), layer.norm, self.hidden))
                .transpose()
        };
        let before_attention = norm(names.before_attention, before)?;
        let after_attention = norm(names.after_attention, after)?;
        let before_feed_forward = norm(names.before_feed_forward, second)?;
        let after_feed_forward = norm(names.after_feed_forward, after)?;
        let attention = &layer.attention;
        let head_norms = self.head_norms(attention)?;
        Ok(LayerWeights {
            before_attention,
            after_attention,
            before_feed_forward,
            after_feed_forward,
            projections: self.projections(attention)?,
            head_norms,
            output: self.projection(
                self.names.attention.output,
                self.hidden,
                attention.result_width(),
                attention.output_bias,
            )?,
            feed_forward: self.feed_forward(&layer.feed_forward)?,
        })
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    fn projection(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Projection<B>, LmError> {
        let name = self.name(name);
        self.tensors.projection(&name, outputs, inputs, bias)
    }

    fn head_norms(&mut self, attention: &AttentionConfig) -> Result<Option<HeadNorms<B>>, LmError> {
        let Some(HeadNorm { norm, over }) = attention.head_norm else { return Ok(None) };
        let dim = attention.key_dim;
        let mut take = |name: &str, heads: usize| {
            let name = format!("{}.{name}", self.at);
            match over {
                NormedPart::Head => self.tensors.norm(&name, norm, dim),
                NormedPart::AllHeads => self.tensors.norm(&name, norm, heads * dim),
                NormedPart::OwnHead => self.tensors.norm_of_heads(&name, norm, heads, dim),
                NormedPart::OwnHeadListed => self.tensors.listed_norms(&name, norm, heads, dim),
            }
        };
        let names = &self.names.attention;
        let queries = take(names.query_norm, attention.heads)?;
        let keys = take(names.key_norm, attention.kv_heads)?;
        Ok(Some(HeadNorms { queries, keys }))
    }

    fn projections(
        &mut self,
        attention: &AttentionConfig,
    ) -> Result<ProjectionWeights<B>, LmError> {
        let names = self.names.attention;
        let bias = attention.query_key_value_bias;
        let widths = [attention.query_width(), attention.key_width(), attention.value_width()];
        match &attention.projections {
            Projections::Separate => Ok(ProjectionWeights::Separate {
                query: self.projection(names.query, widths[0], self.hidden, bias)?,
                key: self.projection(names.key, widths[1], self.hidden, bias)?,
                value: self.projection(names.value, widths[2], self.hidden, bias)?,
            }),
            Projections::Stacked => {
                let all =
                    self.projection(names.query_key_value, widths.iter().sum(), self.hidden, bias)?;
                let keys = widths[0] + widths[1];
                Ok(ProjectionWeights::Separate {
                    query: part(&all, 0..widths[0])?,
                    key: part(&all, widths[0]..keys)?,
                    value: part(&all, keys..keys + widths[2])?,
                })
            }
            Projections::Grouped(groups) => Ok(ProjectionWeights::Grouped {
                projection: self.projection(
                    names.query_key_value,
                    widths.iter().sum(),
                    self.hidden,
                    bias,
                )?,
                columns: grouped_columns(*groups, widths),
            }),
            Projections::Latent(latent) => self.latent(attention, latent),
        }
    }

    fn latent(
        &mut self,
        attention: &AttentionConfig,
        latent: &Latent,
    ) -> Result<ProjectionWeights<B>, LmError> {
        let names = self.names.attention;
        let bias = attention.query_key_value_bias;
        let query_width = attention.query_width();
        let query = match latent.query_rank {
            None => {
                LatentQuery::Whole(self.projection(names.query, query_width, self.hidden, false)?)
            }
            Some(rank) => {
                let [compress, norm, expand] = names.latent_query;
                LatentQuery::LowRank {
                    compress: self.projection(compress, rank, self.hidden, bias)?,
                    norm: self.tensors.norm(&self.name(norm), latent.norm, rank)?,
                    expand: self.projection(expand, query_width, rank, false)?,
                }
            }
        };
        let [compress, norm, expand] = names.latent_key_value;
        let compressed = latent.kv_rank + latent.rotary_dim;
        let unturned = attention.key_dim - latent.rotary_dim;
        let expanded = attention.heads * (unturned + attention.value_dim);
        Ok(ProjectionWeights::Latent {
            query,
            compress: self.projection(compress, compressed, self.hidden, bias)?,
            norm: self.tensors.norm(&self.name(norm), latent.norm, latent.kv_rank)?,
            expand: self.projection(expand, expanded, latent.kv_rank, false)?,
            rank: latent.kv_rank,
        })
    }

    fn feed_forward(
        &mut self,
        feed_forward: &FeedForward,
    ) -> Result<FeedForwardWeights<B>, LmError> {
        match feed_forward {
            FeedForward::Dense(mlp) => {
                let at = self.at.clone();
                Ok(FeedForwardWeights::Dense(self.mlp(mlp, &at, &self.names.mlp)?))
            }
            FeedForward::Experts(experts) => self.experts(experts),
        }
    }

    fn mlp(&mut self, mlp: &Mlp, at: &str, names: &MlpNames) -> Result<MlpWeights<B>, LmError> {
        let (hidden, intermediate) = (self.hidden, mlp.intermediate);
        let mut take = |name: &str, outputs, inputs| {
            self.tensors.projection(&format!("{at}.{name}"), outputs, inputs, mlp.bias)
        };
        let (gate, up) = match mlp.gated {
            Gating::Ungated => (None, take(names.up, intermediate, hidden)?),
            Gating::Separate => (
                Some(take(names.gate, intermediate, hidden)?),
                take(names.up, intermediate, hidden)?,
            ),
            Gating::Stacked => {
                let both = take(names.gate_up, 2 * intermediate, hidden)?;
                (Some(part(&both, 0..intermediate)?), part(&both, intermediate..2 * intermediate)?)
            }
        };
        Ok(MlpWeights { gate, up, down: take(names.down, hidden, intermediate)? })
    }

    fn experts(&mut self, config: &Experts) -> Result<FeedForwardWeights<B>, LmError> {
        let ExpertNames { router, correction, experts, mlp, packed, shared, shared_gate } =
            self.names.experts;
        let correction = match config.routing.correction {
            true => Some(self.tensors.vector(&self.name(correction), config.count)?),
            false => None,
        };
        let at = self.name(experts);
        let (router, list) = match self.tensors.has(&self.name(packed.gate_up)) {
            true => (packed.router, self.packed_experts(config, &packed)?),
            false => {
                let list = (0..config.count)
                    .map(|index| self.mlp(&config.mlp, &format!("{at}.{index}"), &mlp));
                (router, list.collect::<Result<_, _>>()?)
            }
        };
        let (shared, shared_gate) = match config.shared {
            None => (None, None),
            Some(network) => {
                let at = self.name(shared);
                let gate = match network.gated {
                    true => Some(self.projection(shared_gate, 1, self.hidden, false)?),
                    false => None,
                };
                (Some(self.mlp(&network.mlp, &at, &shared_mlp())?), gate)
            }
        };
        let router = self.projection(router, config.count, self.hidden, false)?;
        Ok(FeedForwardWeights::Experts { router, correction, experts: list, shared, shared_gate })
    }

    /// Experts that are saved as two tensors: `[experts, 2 · intermediate, hidden]` and
    /// `[experts, hidden, intermediate]`.
    fn packed_experts(
        &mut self,
        config: &Experts,
        names: &PackedExpertNames,
    ) -> Result<Vec<MlpWeights<B>>, LmError> {
        let (count, hidden, intermediate) = (config.count, self.hidden, config.mlp.intermediate);
        let mut take = |name: &str, outputs, inputs| {
            self.tensors.packed(&format!("{}.{name}", self.at), count, outputs, inputs)
        };
        let gate_up = take(names.gate_up, 2 * intermediate, hidden)?;
        let down = take(names.down, hidden, intermediate)?;
        let matrix = |all: &B::Matrix, outputs| {
            Ok::<_, LmError>(Projection { weight: B::outputs(all, outputs)?, bias: None })
        };
        (0..count)
            .map(|expert| {
                let gate = expert * 2 * intermediate;
                let up = gate + intermediate;
                Ok(MlpWeights {
                    gate: Some(matrix(&gate_up, gate..up)?),
                    up: matrix(&gate_up, up..up + intermediate)?,
                    down: matrix(&down, expert * hidden..(expert + 1) * hidden)?,
                })
            })
            .collect()
    }
}

/// Some outputs of a projection.
fn part<B: Backend>(
    projection: &Projection<B>,
    outputs: std::ops::Range<usize>,
) -> Result<Projection<B>, LmError> {
    let bias = projection.bias.as_ref();
    Ok(Projection {
        weight: B::outputs(&projection.weight, outputs.clone())?,
        bias: bias.map(|bias| B::elements(bias, outputs)).transpose()?,
    })
}

/// Where queries, keys and values are in the columns of a grouped projection.
fn grouped_columns(groups: usize, widths: [usize; 3]) -> [Vec<Columns>; 3] {
    let shares = widths.map(|width| width / groups);
    let group: usize = shares.iter().sum();
    let starts = [0, shares[0], shares[0] + shares[1]];
    [0, 1, 2].map(|part| {
        let columns = (0..groups).map(|index| Columns {
            source: 0,
            start: index * group + starts[part],
            count: shares[part],
        });
        columns.collect()
    })
}

/// Whether a norm has a weight and a bias.
fn has_weights(norm: Norm) -> (bool, bool) {
    match norm {
        Norm::Rms { .. } => (true, false),
        Norm::Layer { bias, .. } => (true, bias),
        Norm::Plain { .. } => (false, false),
    }
}

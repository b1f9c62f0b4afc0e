//! What a decoder computes, as checked numbers and switches: the one table that all families fill.
//!
//! A family is a function from its config.json to a [`DecoderConfig`]; see `families`. What no
//! earlier family did becomes a new field or variant here.

use super::rotary::Rotary;

/// A decoder's sizes and switches.
///
/// Sizes are at least 1 and at most 2²⁸.
#[derive(Debug, Clone)]
pub(super) struct DecoderConfig {
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    /// Most tokens of context and continuation together.
    pub(super) max_length: usize,
    /// Embeddings are multiplied by this.
    pub(super) embedding_scale: f32,
    /// Number of learned absolute positions, where a model has them.
    pub(super) learned_positions: Option<usize>,
    /// Not empty.
    pub(super) layers: Vec<LayerConfig>,
    /// What [`Positions::Rotary`] refers to.
    pub(super) rotaries: Vec<Rotary>,
    pub(super) final_norm: Norm,
    pub(super) head: Head,
    /// Whether projections are stored `[inputs, outputs]`.
    pub(super) transposed: bool,
}

/// How logits come out of the last hidden states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Whether the embedding is the head's weight, too.
    pub(super) tied: bool,
    pub(super) bias: bool,
    /// Logits are multiplied by this.
    pub(super) scale: f32,
    /// Afterwards `x` becomes `cap · tanh(x / cap)`.
    pub(super) soft_cap: Option<f32>,
}

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct LayerConfig {
    pub(super) attention: AttentionConfig,
    pub(super) feed_forward: FeedForward,
    pub(super) arrangement: Arrangement,
    /// All norms of the layer but those of queries and keys.
    pub(super) norm: Norm,
    /// What attention and feed-forward add to the hidden states is multiplied by this first.
    pub(super) residual_scale: f32,
}

/// Where a layer normalizes, and what it adds to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// `x += after₁(attention(before₁(x)))`, then `x += after₂(feed_forward(before₂(x)))`.
    Sequential {
        /// Whether there are norms before attention and feed-forward.
        before: bool,
        /// Whether there are norms of what they give.
        after: bool,
    },
    /// `x += attention(norm₁(x)) + feed_forward(norm₂(x))`.
    Parallel {
        /// Whether the first norm is the second, too.
        shared_norm: bool,
    },
}

/// A normalization of a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Norm {
    /// `x · w / √(mean(x²) + ε)`, with `1 + w` instead of `w` where the weight is an offset.
    Rms { epsilon: f32, offset: bool },
    /// `(x − mean(x)) · w / √(variance(x) + ε) + b`.
    Layer { epsilon: f32, bias: bool },
    /// The same without weights.
    Plain { epsilon: f32 },
}

/// Attention of one layer.
#[derive(Debug, Clone)]
pub(super) struct AttentionConfig {
    pub(super) heads: usize,
    /// A divisor of `heads`.
    pub(super) kv_heads: usize,
    /// Elements of a head of queries and keys.
    pub(super) key_dim: usize,
    /// Elements of a head of values.
    pub(super) value_dim: usize,
    /// Products of queries and keys are multiplied by this.
    pub(super) scale: f32,
    /// Afterwards `x` becomes `cap · tanh(x / cap)`.
    pub(super) soft_cap: Option<f32>,
    /// Keys that a query sees, itself included; `None`: all before it.
    pub(super) window: Option<usize>,
    pub(super) positions: Positions,
    pub(super) projections: Projections,
    pub(super) query_key_value_bias: bool,
    pub(super) output_bias: bool,
    pub(super) head_norm: Option<HeadNorm>,
    /// Queries, keys and values are clamped to ± this.
    pub(super) clip: Option<f32>,
}

/// How attention knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Positions {
    /// Not at all, or by learned positions in the embedding.
    None,
    /// Elements of each head from `first` on are turned by the rotary embedding of this index.
    Rotary { index: usize, first: usize },
    /// Scores fall linearly with distance, at a rate of each head's own (Press et al. 2021,
    /// <https://arxiv.org/abs/2108.12409>).
    Alibi,
}

/// Where queries, keys and values come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Projections {
    /// Three matrices.
    Separate,
    /// One matrix, of which the first rows give queries, the next keys, the last values.
    Stacked,
    /// One matrix with so many groups of rows, each of which gives some heads of queries, then of
    /// keys, then of values.
    Grouped(usize),
    /// Low-rank projections, of which keys and values share one.
    Latent(Latent),
}

/// Multi-head latent attention (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latent {
    /// Rank of the queries' projection; `None`: it is one matrix.
    pub(super) query_rank: Option<usize>,
    pub(super) kv_rank: usize,
    /// Elements of a key head that are turned; all heads share them.
    pub(super) rotary_dim: usize,
    /// The norm between the two projections.
    pub(super) norm: Norm,
}

/// Normalization of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadNorm {
    pub(super) norm: Norm,
    pub(super) over: NormedPart,
}

/// What a norm of queries or keys runs over, and whose weights it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormedPart {
    /// Each head, all with the same weights.
    Head,
    /// Each head with weights of its own.
    OwnHead,
    /// The same, and each head's weights are a tensor of their own.
    OwnHeadListed,
    /// All heads at once.
    AllHeads,
}

/// What follows attention in a layer.
#[derive(Debug, Clone)]
pub(super) enum FeedForward {
    Dense(Mlp),
    Experts(Experts),
}

/// A feed-forward network: `down(activation(gate(x)) · up(x))`, or `down(activation(up(x)))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mlp {
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    pub(super) gated: Gating,
    pub(super) bias: bool,
}

/// Whether a feed-forward network has a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gating {
    Ungated,
    /// Gate and up are two matrices.
    Separate,
    /// One matrix: first the gate's rows, then those of up.
    Stacked,
}

/// The non-linearity of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// `x · Φ(x)`, by the error function.
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
    Relu,
    /// `max(x, 0)²`.
    ReluSquared,
}

/// A feed-forward network of which each token uses some parts.
#[derive(Debug, Clone)]
pub(super) struct Experts {
    pub(super) count: usize,
    /// Experts of a token, at most `count`.
    pub(super) per_token: usize,
    /// Of one expert.
    pub(super) mlp: Mlp,
    pub(super) routing: Routing,
    /// A network that all tokens use.
    pub(super) shared: Option<SharedExpert>,
}

/// How a token's experts and their weights follow from the router's logits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Routing {
    pub(super) scores: RouterScores,
    /// Whether a tensor is added to the scores for the choice of experts, but not to their weights.
    pub(super) correction: bool,
    /// Experts are chosen from some groups only.
    pub(super) groups: Option<ExpertGroups>,
    /// Whether the chosen experts' weights are divided by their sum, plus this.
    pub(super) normalized: Option<f32>,
    /// The weights are multiplied by this in the end.
    pub(super) scale: f32,
}

/// What a router's logits are taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RouterScores {
    Softmax,
    Sigmoid,
    /// The best expert's weight is its share among those nearly as good, by softmax; the next expert's
    /// likewise without the first (Liu et al. 2023, <https://arxiv.org/abs/2310.00811>). An expert
    /// with the logit `x` is nearly as good as the best with `b` if `(b − x) / max(|x|, b)` is at
    /// most the tolerance.
    Sparsemixer {
        tolerance: f32,
    },
}

/// Routing by groups of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpertGroups {
    /// A divisor of the number of experts.
    pub(super) count: usize,
    /// Groups that a token's experts may be in.
    pub(super) chosen: usize,
    /// A group's score is the sum of so many of its best experts' scores.
    pub(super) best: usize,
}

/// The network that all tokens use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedExpert {
    pub(super) mlp: Mlp,
    /// Whether what it gives is multiplied by the sigmoid of a projection of the token.
    pub(super) gated: bool,
}

impl DecoderConfig {
    /// Elements of a position's keys and values in all layers.
    pub(super) fn kv_elements(&self) -> usize {
        self.layers.iter().map(|layer| layer.attention.kv_elements()).sum()
    }
}

impl AttentionConfig {
    /// Elements of a position's keys and values.
    pub(super) fn kv_elements(&self) -> usize {
        self.key_width() + self.value_width()
    }

    /// Elements of a row of queries.
    pub(super) fn query_width(&self) -> usize {
        self.heads * self.key_dim
    }

    /// Elements of a row of keys.
    pub(super) fn key_width(&self) -> usize {
        self.kv_heads * self.key_dim
    }

    /// Elements of a row of values.
    pub(super) fn value_width(&self) -> usize {
        self.kv_heads * self.value_dim
    }

    /// Elements of a row of results.
    pub(super) fn result_width(&self) -> usize {
        self.heads * self.value_dim
    }
}

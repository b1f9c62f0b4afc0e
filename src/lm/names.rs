//! Where a family's tensors are in its checkpoints.
//!
//! Names are without their ending `.weight` or `.bias`. Those of a layer's tensors follow the layer's
//! own name and number; the names that a family does not need are never looked at.

/// Names of all tensors. The default is Llama's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) embedding: &'static str,
    /// Learned positions.
    pub(super) positions: &'static str,
    /// Layers, without their number.
    pub(super) layers: &'static str,
    pub(super) norm: &'static str,
    pub(super) head: &'static str,
    pub(super) attention: AttentionNames,
    pub(super) norms: NormNames,
    pub(super) mlp: MlpNames,
    pub(super) experts: ExpertNames,
}

/// Names of attention's tensors in a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionNames {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// Queries, keys and values in one matrix.
    pub(super) query_key_value: &'static str,
    pub(super) output: &'static str,
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    /// Low-rank projections of queries: down, norm, up.
    pub(super) latent_query: [&'static str; 3],
    /// Of keys and values: down, norm, up.
    pub(super) latent_key_value: [&'static str; 3],
}

/// Names of a layer's norms.
#[derive(Debug, Clone, Copy)]
pub(super) struct NormNames {
    pub(super) before_attention: &'static str,
    pub(super) after_attention: &'static str,
    pub(super) before_feed_forward: &'static str,
    pub(super) after_feed_forward: &'static str,
}

/// Names of a feed-forward network's matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct MlpNames {
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    /// Gate and up in one matrix.
    pub(super) gate_up: &'static str,
}

/// Names of the parts of a layer with experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpertNames {
    pub(super) router: &'static str,
    /// What is added to the router's scores for the choice; a whole name.
    pub(super) correction: &'static str,
    /// Experts, without their number.
    pub(super) experts: &'static str,
    /// Of one expert.
    pub(super) mlp: MlpNames,
    /// Experts whose matrices lie in two tensors, as transformers holds them.
    pub(super) packed: PackedExpertNames,
    /// The network that all tokens use, without the names of its matrices.
    pub(super) shared: &'static str,
    pub(super) shared_gate: &'static str,
}

/// Names of the parts of a layer with experts that lie in two tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedExpertNames {
    pub(super) router: &'static str,
    /// All experts' gates and up matrices; a whole name.
    pub(super) gate_up: &'static str,
    /// All experts' down matrices; a whole name.
    pub(super) down: &'static str,
}

/// Llama's names of a network's matrices, without the network's own.
const PROJECTIONS: MlpNames =
    MlpNames { gate: "gate_proj", up: "up_proj", down: "down_proj", gate_up: "gate_up_proj" };

impl Default for Names {
    fn default() -> Self {
        Self {
            embedding: "model.embed_tokens",
            positions: "",
            layers: "model.layers",
            norm: "model.norm",
            head: "lm_head",
            attention: AttentionNames {
                query: "self_attn.q_proj",
                key: "self_attn.k_proj",
                value: "self_attn.v_proj",
                query_key_value: "self_attn.qkv_proj",
                output: "self_attn.o_proj",
                query_norm: "self_attn.q_norm",
                key_norm: "self_attn.k_norm",
                latent_query: [
                    "self_attn.q_a_proj",
                    "self_attn.q_a_layernorm",
                    "self_attn.q_b_proj",
                ],
                latent_key_value: [
                    "self_attn.kv_a_proj_with_mqa",
                    "self_attn.kv_a_layernorm",
                    "self_attn.kv_b_proj",
                ],
            },
            norms: NormNames {
                before_attention: "input_layernorm",
                after_attention: "",
                before_feed_forward: "post_attention_layernorm",
                after_feed_forward: "",
            },
            mlp: MlpNames {
                gate: "mlp.gate_proj",
                up: "mlp.up_proj",
                down: "mlp.down_proj",
                gate_up: "mlp.gate_up_proj",
            },
            experts: ExpertNames {
                router: "mlp.gate",
                correction: "mlp.gate.e_score_correction_bias",
                experts: "mlp.experts",
                mlp: PROJECTIONS,
                packed: PackedExpertNames {
                    router: "mlp.gate",
                    gate_up: "mlp.experts.gate_up_proj",
                    down: "mlp.experts.down_proj",
                },
                shared: "mlp.shared_expert",
                shared_gate: "mlp.shared_expert_gate",
            },
        }
    }
}

/// The names of a shared network's matrices.
pub(super) fn shared_mlp() -> MlpNames {
    PROJECTIONS
}

//! Mixtures of experts.

use super::llama::{Variant, decoder, window_of_all};
use super::qwen::{qwen2, qwen3};
use super::windows::{Kind, kinds_of_layers};
use super::{Blueprint, Sizes, activation, layer_norm, rms_norm};
use crate::lm::config::{
    Activation, ExpertGroups, Experts, FeedForward, Gating, HeadNorm, Latent, Mlp, Norm,
    NormedPart, Positions, Projections, RouterScores, Routing, SharedExpert,
};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::{ExpertNames, MlpNames};
use crate::lm::rotary::{self, Pairing, Rotary, RotaryDefaults, yarn_mscale};

/// Softmax over all experts; the chosen ones' scores are the weights.
const SOFTMAX: Routing = Routing {
    scores: RouterScores::Softmax,
    correction: false,
    groups: None,
    normalized: None,
    scale: 1.0,
};

/// Experts as a layer has them.
fn experts(
    config: Fields<'_>,
    count: usize,
    per_token: usize,
    intermediate: usize,
    routing: Routing,
) -> Result<Experts, LmError> {
    if per_token > count {
        return Err(LmError::InvalidField {
            field: "num_experts_per_tok".to_owned(),
            value: per_token.to_string(),
            expected: format!("at most the number of experts, which is {count}"),
        });
    }
    let activation = activation(config, "hidden_act", Activation::Silu)?;
    let mlp = Mlp { intermediate, activation, gated: Gating::Separate, bias: false };
    Ok(Experts { count, per_token, mlp, routing, shared: None })
}

/// Mixtral (Jiang et al. 2024, <https://arxiv.org/abs/2401.04088>).
pub(super) fn mixtral(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant {
        kv_heads: Some(8),
        theta: 1_000_000.0,
        epsilon: ("rms_norm_eps", 1e-5),
        ..Variant::default()
    };
    let count = config.size_of(&["num_local_experts", "num_experts"])?;
    let routing = Routing { normalized: Some(0.0), ..SOFTMAX };
    let per_token = config.size_or("num_experts_per_tok", 2)?;
    let experts = experts(config, count, per_token, config.size("intermediate_size")?, routing)?;
    let window = window_of_all(config, None)?;
    let mut blueprint = Blueprint::new(decoder(config, &variant)?);
    blueprint.names.experts = mixtral_names(blueprint.names.experts);
    Ok(blueprint.each_layer(|_, layer| {
        layer.feed_forward = FeedForward::Experts(experts.clone());
        layer.attention.window = window;
    }))
}

/// Mixtral's names of experts.
fn mixtral_names(others: ExpertNames) -> ExpertNames {
    ExpertNames {
        router: "block_sparse_moe.gate",
        experts: "block_sparse_moe.experts",
        mlp: MlpNames { gate: "w1", up: "w3", down: "w2", ..others.mlp },
        ..others
    }
}

/// Phi-3.5-MoE (<https://arxiv.org/abs/2404.14219>): Mixtral's layers with LayerNorm, biases, LongRoPE,
/// and sparsemixer's routing.
pub(super) fn phimoe(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, Some(8), None)?;
    let norm = layer_norm(config, "rms_norm_eps", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::Silu)?);
    let defaults =
        RotaryDefaults { restarts: true, reads_mscales: true, ..sizes.rotary(1_000_000.0) };
    let rotary = Rotary::from_config(config, &defaults)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let jitter = match config.get("router_jitter_noise") {
        Some(_) => config.nonzero("router_jitter_noise")?.unwrap_or(0.0),
        None => 0.01,
    };
    let scores = RouterScores::Sparsemixer { tolerance: 2.0 * jitter as f32 };
    let count = config.size_or("num_local_experts", 16)?;
    let per_token = config.size_or("num_experts_per_tok", 2)?;
    let routing = Routing { scores, ..SOFTMAX };
    let experts = experts(config, count, per_token, sizes.intermediate, routing)?;
    let bias = config.flag("attention_bias", false)?;
    let window = window_of_all(config, None)?;
    let mut blueprint = Blueprint::new(sizes.decoder(layer, vec![rotary], tied));
    blueprint.config.head.bias = config.flag("lm_head_bias", false)?;
    blueprint.names.experts = mixtral_names(blueprint.names.experts);
    blueprint.names.experts.packed.router = "mlp.router";
    Ok(blueprint.each_layer(|_, layer| {
        layer.feed_forward = FeedForward::Experts(experts.clone());
        layer.attention.query_key_value_bias = bias;
        layer.attention.output_bias = bias;
        layer.attention.window = window;
    }))
}

/// The layers with experts: every `decoder_sparse_step`-th one, but for those in `mlp_only_layers`.
fn sparse_layers(config: Fields<'_>, layers: usize) -> Result<Vec<bool>, LmError> {
    let step = config.size_or("decoder_sparse_step", 1)?;
    let dense: Vec<usize> = match config.get("mlp_only_layers") {
        None => Vec::new(),
        Some(value) => value
            .as_array()
            .and_then(|list| list.iter().map(|v| v.as_u64().map(|n| n as usize)).collect())
            .ok_or_else(|| {
                config.invalid("mlp_only_layers", value, "a list of layers' numbers".to_owned())
            })?,
    };
    Ok((0..layers)
        .map(|layer| !dense.contains(&layer) && (layer + 1).is_multiple_of(step))
        .collect())
}

/// Qwen 1.5 and 2 with experts: some for each token, and one for all, which has a gate.
pub(super) fn qwen2_moe(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let count = config.size_or("num_experts", 60)?;
    let per_token = config.size_or("num_experts_per_tok", 4)?;
    let intermediate = config.size_or("moe_intermediate_size", 1408)?;
    let is_normalized = config.flag("norm_topk_prob", false)?;
    let routing = Routing { normalized: is_normalized.then_some(0.0), ..SOFTMAX };
    let mut experts = experts(config, count, per_token, intermediate, routing)?;
    let shared = config.size_or("shared_expert_intermediate_size", 5632)?;
    let mlp = Mlp { intermediate: shared, ..experts.mlp };
    experts.shared = Some(SharedExpert { mlp, gated: true });
    let blueprint = qwen2(config)?;
    let layers = blueprint.config.layers.len();
    let sparse = sparse_layers(config, layers)?;
    let bias = config.flag("qkv_bias", true)?;
    let window = match config.flag("use_sliding_window", false)? {
        true => window_of_all(config, Some(4096))?,
        false => None,
    };
    let below = config.count_or("max_window_layers", 28)?;
    let kinds = kinds_of_layers(config, layers, |layer| {
        if layer < below && layer.is_multiple_of(2) { Kind::Sliding } else { Kind::Full }
    })?;
    Ok(blueprint.each_layer(|index, layer| {
        layer.attention.query_key_value_bias = bias;
        layer.attention.window = window.filter(|_| kinds[index] == Kind::Sliding);
        if sparse[index] {
            layer.feed_forward = FeedForward::Experts(experts.clone());
        }
    }))
}

/// Qwen 3 with experts.
pub(super) fn qwen3_moe(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let count = config.size_of(&["num_experts", "num_local_experts"])?;
    let per_token = config.size_or("num_experts_per_tok", 8)?;
    let intermediate = config.size_or("moe_intermediate_size", 768)?;
    let is_normalized = config.flag("norm_topk_prob", false)?;
    let routing = Routing { normalized: is_normalized.then_some(0.0), ..SOFTMAX };
    let experts = experts(config, count, per_token, intermediate, routing)?;
    let blueprint = qwen3(config)?;
    let sparse = sparse_layers(config, blueprint.config.layers.len())?;
    let window = match config.flag("use_sliding_window", false)? {
        true => window_of_all(config, Some(4096))?,
        false => None,
    };
    Ok(blueprint.each_layer(|index, layer| {
        layer.attention.window = window;
        if sparse[index] {
            layer.feed_forward = FeedForward::Experts(experts.clone());
        }
    }))
}

/// OLMoE (<https://arxiv.org/abs/2409.02060>).
pub(super) fn olmoe(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { epsilon: ("rms_norm_eps", 1e-5), ..Variant::default() };
    let is_normalized = config.flag("norm_topk_prob", false)?;
    let routing = Routing { normalized: is_normalized.then_some(0.0), ..SOFTMAX };
    let count = config.size_or("num_experts", 64)?;
    let per_token = config.size_or("num_experts_per_tok", 8)?;
    let intermediate = config.size("intermediate_size")?;
    let experts = experts(config, count, per_token, intermediate, routing)?;
    let bias = config.flag("attention_bias", false)?;
    let clip = config.optional_positive("clip_qkv")?.map(|clip| clip as f32);
    Ok(Blueprint::new(decoder(config, &variant)?).each_layer(|_, layer| {
        let head_norm = HeadNorm { norm: layer.norm, over: NormedPart::AllHeads };
        layer.attention.head_norm = Some(head_norm);
        layer.attention.clip = clip;
        layer.attention.query_key_value_bias = bias;
        layer.attention.output_bias = bias;
        layer.feed_forward = FeedForward::Experts(experts.clone());
    }))
}

/// What DeepSeek V2 and V3 have in common: latent attention, and experts from some layer on.
fn deepseek(
    config: Fields<'_>,
    experts: &Experts,
    pairing: Pairing,
    default_first: usize,
) -> Result<Blueprint, LmError> {
    let heads = config.size("num_attention_heads")?;
    let rotary_dim = config.size_or("qk_rope_head_dim", 64)?;
    let unturned = config.size_or("qk_nope_head_dim", 128)?;
    let sizes = Sizes {
        vocabulary: config.size("vocab_size")?,
        hidden: config.size("hidden_size")?,
        intermediate: config.size("intermediate_size")?,
        layers: super::layers(config, "num_hidden_layers")?,
        heads,
        kv_heads: heads,
        head_dim: rotary_dim + unturned,
        max_length: super::max_length(config)?,
    };
    let defaults = RotaryDefaults { head_dim: rotary_dim, pairing, ..sizes.rotary(10_000.0) };
    let rotary = Rotary::from_config(config, &defaults)?;
    let norm = rms_norm(config, "rms_norm_eps", 1e-6)?;
    let activation = activation(config, "hidden_act", Activation::Silu)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let first = config.count_or("first_k_dense_replace", default_first)?;
    let bias = config.flag("attention_bias", false)?;
    let value_dim = config.size_or("v_head_dim", 128)?;
    let query_rank = match config.mentions("q_lora_rank") {
        true => config.optional_size("q_lora_rank")?,
        false => Some(1536),
    };
    let latent = Latent {
        query_rank,
        kv_rank: config.size_or("kv_lora_rank", 512)?,
        rotary_dim,
        norm: Norm::Rms { epsilon: 1e-6, offset: false },
    };
    let scale = latent_scale(config, sizes.head_dim)?;
    let decoder = sizes.decoder(sizes.layer(norm, activation), vec![rotary], tied);
    let mut blueprint = Blueprint::new(decoder);
    blueprint.names.experts.shared = "mlp.shared_experts";
    Ok(blueprint.each_layer(|index, layer| {
        let attention = &mut layer.attention;
        attention.value_dim = value_dim;
        attention.scale = scale;
        attention.positions = Positions::Rotary { index: 0, first: unturned };
        attention.projections = Projections::Latent(latent.clone());
        attention.query_key_value_bias = bias;
        attention.output_bias = bias;
        if index >= first {
            layer.feed_forward = FeedForward::Experts(experts.clone());
        }
    }))
}

/// The scale of latent attention: with rescaled rotary embeddings it has YaRN's temperature, too.
fn latent_scale(config: Fields<'_>, head_dim: usize) -> Result<f32, LmError> {
    let mut scale = 1.0 / (head_dim as f64).sqrt();
    if let (_, Some(value)) = rotary::section(config) {
        let parameters = Fields::inside(value, "rope_parameters.");
        let kind = parameters.get("rope_type").or_else(|| parameters.get("type"));
        let is_scaled = kind.is_some_and(|kind| kind.as_str() != Some("default"));
        if let (true, Some(mscale)) = (is_scaled, parameters.nonzero("mscale_all_dim")?) {
            let factor = parameters.positive_or("factor", 1.0)?;
            scale *= yarn_mscale(factor, mscale).powi(2);
        }
    }
    Ok(scale as f32)
}

/// Experts of a DeepSeek model; all tokens use `n_shared_experts` of them, which are one network.
fn deepseek_experts(
    config: Fields<'_>,
    routing: Routing,
    default_per_token: Option<usize>,
    default_shared: usize,
) -> Result<Experts, LmError> {
    let count = config.size_of(&["n_routed_experts", "num_local_experts"])?;
    let per_token = match default_per_token {
        Some(default) => config.size_or("num_experts_per_tok", default)?,
        None => config.size("num_experts_per_tok")?,
    };
    let intermediate = config.size("moe_intermediate_size")?;
    let mut experts = experts(config, count, per_token, intermediate, routing)?;
    let shared = match config.mentions("n_shared_experts") {
        true => config.count_or("n_shared_experts", 0)?,
        false => default_shared,
    };
    if shared > 0 {
        let mlp = Mlp { intermediate: intermediate.saturating_mul(shared), ..experts.mlp };
        experts.shared = Some(SharedExpert { mlp, gated: false });
    }
    if let Some(groups) = experts.routing.groups
        && (!count.is_multiple_of(groups.count) || groups.chosen > groups.count)
    {
        return Err(LmError::InvalidField {
            field: "n_group".to_owned(),
            value: groups.count.to_string(),
            expected: format!(
                "a divisor of the number of experts, which is {count}, and at least `topk_group`"
            ),
        });
    }
    Ok(experts)
}

/// DeepSeek V2 and V2-Lite (<https://arxiv.org/abs/2405.04434>).
pub(super) fn deepseek_v2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let groups = match config.text("topk_method")? {
        None | Some("greedy") => None,
        Some("group_limited_greedy") => Some(ExpertGroups {
            count: config.size("n_group")?,
            chosen: config.size("topk_group")?,
            best: 1,
        }),
        Some(other) => return Err(config.unsupported("topk_method", &other.into())),
    };
    let scale = config.positive_or("routed_scaling_factor", 1.0)? as f32;
    let experts = deepseek_experts(config, Routing { groups, scale, ..SOFTMAX }, None, 2)?;
    deepseek(config, &experts, Pairing::Neighbours, 0)
}

/// DeepSeek V3 (<https://arxiv.org/abs/2412.19437>): sigmoid scores with a correction.
pub(super) fn deepseek_v3(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let is_normalized = config.flag("norm_topk_prob", true)?;
    let routing = Routing {
        scores: RouterScores::Sigmoid,
        correction: true,
        groups: Some(ExpertGroups {
            count: config.size_or("n_group", 8)?,
            chosen: config.size_or("topk_group", 4)?,
            best: 2,
        }),
        normalized: is_normalized.then_some(1e-20),
        scale: config.positive_or("routed_scaling_factor", 2.5)? as f32,
    };
    let pairing = match config.flag("rope_interleave", true)? {
        true => Pairing::Neighbours,
        false => Pairing::Halves,
    };
    let experts = deepseek_experts(config, routing, Some(8), 1)?;
    deepseek(config, &experts, pairing, 3)
}

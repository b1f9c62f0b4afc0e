//! Families that run attention and feed-forward side by side, or may do so.

use super::windows::{Kind, kinds_of_layers};
use super::{Blueprint, Sizes, activation, layer_norm};
use crate::lm::config::{
    Activation, Arrangement, Gating, HeadNorm, Norm, NormedPart, Positions, Projections,
};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::{AttentionNames, MlpNames, Names, NormNames};
use crate::lm::rotary::{Pairing, Rotary, RotaryDefaults};

/// Phi 1 to 2 (<https://arxiv.org/abs/2309.05463>).
pub(super) fn phi(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, None, None)?;
    let norm = layer_norm(config, "layer_norm_eps", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::GeluTanh)?);
    let defaults = RotaryDefaults { partial: 0.5, reads_partial: true, ..sizes.rotary(10_000.0) };
    let rotary = Rotary::from_config(config, &defaults)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let head_norm = config.flag("qk_layernorm", false)?;
    let mut decoder = sizes.decoder(layer, vec![rotary], tied);
    decoder.head.bias = true;
    let names = Names::default();
    let names = Names {
        norm: "model.final_layernorm",
        attention: AttentionNames {
            output: "self_attn.dense",
            query_norm: "self_attn.q_layernorm",
            key_norm: "self_attn.k_layernorm",
            ..names.attention
        },
        mlp: MlpNames { up: "mlp.fc1", down: "mlp.fc2", ..names.mlp },
        ..names
    };
    Ok(Blueprint { config: decoder, names }
        .each_layer(|_, layer| {
            layer.arrangement = Arrangement::Parallel { shared_norm: true };
            layer.attention.query_key_value_bias = true;
            layer.attention.output_bias = true;
            layer.attention.head_norm =
                head_norm.then_some(HeadNorm { norm, over: NormedPart::Head });
        })
        .each_mlp(|mlp| {
            mlp.gated = Gating::Ungated;
            mlp.bias = true;
        }))
}

/// StableLM 3B, 2-1.6B and 2-12B (<https://arxiv.org/abs/2402.17834>).
pub(super) fn stablelm(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, None, None)?;
    let norm = layer_norm(config, "layer_norm_eps", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::Silu)?);
    let defaults = RotaryDefaults { partial: 0.25, reads_partial: true, ..sizes.rotary(10_000.0) };
    let rotary = Rotary::from_config(config, &defaults)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let bias = config.flag("use_qkv_bias", false)?;
    let is_parallel = config.flag("use_parallel_residual", false)?;
    let head_norm = config.flag("qk_layernorm", false)?;
    let mut blueprint = Blueprint::new(sizes.decoder(layer, vec![rotary], tied));
    blueprint.names.attention.query_norm = "self_attn.q_layernorm";
    blueprint.names.attention.key_norm = "self_attn.k_layernorm";
    Ok(blueprint.each_layer(|_, layer| {
        if is_parallel {
            layer.arrangement = Arrangement::Parallel { shared_norm: true };
        }
        layer.attention.query_key_value_bias = bias;
        let norm = without_bias(norm);
        layer.attention.head_norm =
            head_norm.then_some(HeadNorm { norm, over: NormedPart::OwnHeadListed });
    }))
}

/// The same norm without a bias.
fn without_bias(norm: Norm) -> Norm {
    match norm {
        Norm::Layer { epsilon, .. } => Norm::Layer { epsilon, bias: false },
        other => other,
    }
}

/// GPT-NeoX and Pythia (<https://arxiv.org/abs/2204.06745>).
pub(super) fn gpt_neox(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, None, None)?;
    let norm = layer_norm(config, "layer_norm_eps", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::Gelu)?);
    let defaults = RotaryDefaults {
        partial: config.positive_or("rotary_pct", 0.25)?,
        reads_partial: true,
        ..sizes.rotary(config.positive_or("rotary_emb_base", 10_000.0)?)
    };
    let rotary = Rotary::from_config(config, &defaults)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let bias = config.flag("attention_bias", true)?;
    let is_parallel = config.flag("use_parallel_residual", true)?;
    let names = Names::default();
    let names = Names {
        embedding: "gpt_neox.embed_in",
        layers: "gpt_neox.layers",
        norm: "gpt_neox.final_layer_norm",
        head: "embed_out",
        attention: AttentionNames {
            query_key_value: "attention.query_key_value",
            output: "attention.dense",
            ..names.attention
        },
        mlp: MlpNames { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h", ..names.mlp },
        ..names
    };
    Ok(Blueprint { config: sizes.decoder(layer, vec![rotary], tied), names }
        .each_layer(|_, layer| {
            if is_parallel {
                layer.arrangement = Arrangement::Parallel { shared_norm: false };
            }
            layer.attention.projections = Projections::Grouped(layer.attention.heads);
            layer.attention.query_key_value_bias = bias;
            layer.attention.output_bias = bias;
        })
        .each_mlp(|mlp| {
            mlp.gated = Gating::Ungated;
            mlp.bias = true;
        }))
}

/// Falcon in its three layouts (<https://arxiv.org/abs/2311.16867>).
pub(super) fn falcon(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let hidden = config.size("hidden_size")?;
    let heads = config.size_of(&["num_attention_heads", "n_head"])?;
    let is_new = config.flag("new_decoder_architecture", false)?;
    let has_one_key = config.flag("multi_query", true)?;
    let kv_heads = match (is_new, has_one_key) {
        (true, _) => config.size_or("num_kv_heads", heads)?,
        (false, true) => 1,
        (false, false) => heads,
    };
    super::check_kv_heads(config, heads, kv_heads)?;
    let layers =
        if config.get("num_hidden_layers").is_some() { "num_hidden_layers" } else { "n_layer" };
    let sizes = Sizes {
        vocabulary: config.size("vocab_size")?,
        hidden,
        intermediate: config.size_or("ffn_hidden_size", 4 * hidden)?,
        layers: super::layers(config, layers)?,
        heads,
        kv_heads,
        head_dim: super::head_dim_of(config, hidden, heads)?,
        max_length: super::max_length(config)?,
    };
    let norm = layer_norm(config, "layer_norm_epsilon", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "activation", Activation::Gelu)?);
    let rotary = Rotary::from_config(config, &sizes.rotary(10_000.0))?;
    let tied = config.flag("tie_word_embeddings", true)?;
    let has_alibi = config.flag("alibi", false)?;
    let is_parallel = is_new || config.flag("parallel_attn", true)?;
    let has_two_norms = is_new && config.size_or("num_ln_in_parallel_attn", 2)? == 2;
    let bias = config.flag("bias", false)?;
    let names = Names::default();
    let names = Names {
        embedding: "transformer.word_embeddings",
        layers: "transformer.h",
        norm: "transformer.ln_f",
        attention: AttentionNames {
            query_key_value: "self_attention.query_key_value",
            output: "self_attention.dense",
            ..names.attention
        },
        norms: match has_two_norms {
            true => NormNames {
                before_attention: "ln_attn",
                before_feed_forward: "ln_mlp",
                ..names.norms
            },
            false => names.norms,
        },
        mlp: MlpNames { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h", ..names.mlp },
        ..names
    };
    Ok(Blueprint { config: sizes.decoder(layer, vec![rotary], tied), names }
        .each_layer(|_, layer| {
            if is_parallel {
                layer.arrangement = Arrangement::Parallel { shared_norm: !has_two_norms };
            }
            let attention = &mut layer.attention;
            attention.projections = Projections::Grouped(attention.kv_heads);
            attention.query_key_value_bias = bias;
            attention.output_bias = bias;
            if has_alibi {
                attention.positions = Positions::Alibi;
            }
        })
        .each_mlp(|mlp| {
            mlp.gated = Gating::Ungated;
            mlp.bias = bias;
        }))
}

/// What both Command R families have in common.
fn command_r(
    config: Fields<'_>,
    theta: f64,
    kv_heads: Option<usize>,
) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, kv_heads, None)?;
    let norm = without_bias(layer_norm(config, "layer_norm_eps", 1e-5)?);
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::Silu)?);
    let defaults = RotaryDefaults { pairing: Pairing::Neighbours, ..sizes.rotary(theta) };
    let rotary = Rotary::from_config(config, &defaults)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    let bias = config.flag("attention_bias", false)?;
    let mut decoder = sizes.decoder(layer, vec![rotary], tied);
    decoder.head.scale = config.positive_or("logit_scale", 0.0625)? as f32;
    Ok(Blueprint::new(decoder).each_layer(|_, layer| {
        layer.arrangement = Arrangement::Parallel { shared_norm: true };
        layer.attention.query_key_value_bias = bias;
        layer.attention.output_bias = bias;
    }))
}

/// Command R and R+.
pub(super) fn cohere(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let head_norm = config.flag("use_qk_norm", false)?;
    Ok(command_r(config, 500_000.0, None)?.each_layer(|_, layer| {
        let norm = layer.norm;
        layer.attention.head_norm =
            head_norm.then_some(HeadNorm { norm, over: NormedPart::OwnHead });
    }))
}

/// Command R7B and A: windows with positions, and full attention without.
pub(super) fn cohere2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let blueprint = command_r(config, 10_000.0, None)?;
    let window = config.size_or("sliding_window", 4096)?;
    let pattern = config.size_or("sliding_window_pattern", 4)?;
    let kinds = kinds_of_layers(config, blueprint.config.layers.len(), |layer| {
        if (layer + 1).is_multiple_of(pattern) { Kind::Full } else { Kind::Sliding }
    })?;
    Ok(blueprint.each_attention(|layer, attention| match kinds[layer] {
        Kind::Sliding => attention.window = Some(window),
        Kind::Full => attention.positions = Positions::None,
    }))
}

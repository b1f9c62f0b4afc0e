//! GPT-2 and what is like it: LayerNorm, biases, and no gate.

use super::{Blueprint, Sizes, activation, layer_norm};
use crate::lm::config::{Activation, Gating, Positions, Projections};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::{AttentionNames, MlpNames, Names, NormNames};
use crate::lm::rotary::Rotary;

/// GPT-2 (Radford et al. 2019): learned positions, matrices stored the other way round.
pub(super) fn gpt2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let hidden = config.size("n_embd")?;
    let heads = config.size("n_head")?;
    let positions = config.size_of(&["n_positions", "n_ctx"])?;
    let sizes = Sizes {
        vocabulary: config.size("vocab_size")?,
        hidden,
        intermediate: config.size_or("n_inner", 4 * hidden)?,
        layers: super::layers(config, "n_layer")?,
        heads,
        kv_heads: heads,
        head_dim: super::head_dim_of(config, hidden, heads)?,
        max_length: positions,
    };
    let norm = layer_norm(config, "layer_norm_epsilon", 1e-5)?;
    let activation = activation(config, "activation_function", Activation::GeluTanh)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    let is_scaled = config.flag("scale_attn_weights", true)?;
    let by_layer = config.flag("scale_attn_by_inverse_layer_idx", false)?;
    let mut decoder = sizes.decoder(sizes.layer(norm, activation), Vec::new(), tied);
    decoder.learned_positions = Some(positions);
    decoder.transposed = true;
    let names = Names::default();
    let names = Names {
        embedding: "transformer.wte",
        positions: "transformer.wpe",
        layers: "transformer.h",
        norm: "transformer.ln_f",
        attention: AttentionNames {
            query_key_value: "attn.c_attn",
            output: "attn.c_proj",
            ..names.attention
        },
        norms: NormNames { before_attention: "ln_1", before_feed_forward: "ln_2", ..names.norms },
        mlp: MlpNames { up: "mlp.c_fc", down: "mlp.c_proj", ..names.mlp },
        ..names
    };
    Ok(Blueprint { config: decoder, names }
        .each_attention(|layer, attention| {
            attention.positions = Positions::None;
            attention.projections = Projections::Stacked;
            attention.query_key_value_bias = true;
            attention.output_bias = true;
            if !is_scaled {
                attention.scale = 1.0;
            }
            if by_layer {
                attention.scale /= (layer + 1) as f32;
            }
        })
        .each_mlp(|mlp| {
            mlp.gated = Gating::Ungated;
            mlp.bias = true;
        }))
}

/// StarCoder 2 (<https://arxiv.org/abs/2402.19173>): GPT-2's layers with rotary positions.
pub(super) fn starcoder2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = Sizes::read(config, Some(2), None)?;
    let norm = layer_norm(config, "norm_epsilon", 1e-5)?;
    let layer = sizes.layer(norm, activation(config, "hidden_act", Activation::GeluTanh)?);
    let rotary = Rotary::from_config(config, &sizes.rotary(10_000.0))?;
    let tied = config.flag("tie_word_embeddings", true)?;
    let bias = config.flag("use_bias", true)?;
    let window = super::llama::window_of_all(config, None)?;
    let mut blueprint = Blueprint::new(sizes.decoder(layer, vec![rotary], tied));
    blueprint.names.mlp = MlpNames { up: "mlp.c_fc", down: "mlp.c_proj", ..blueprint.names.mlp };
    Ok(blueprint
        .each_attention(|_, attention| {
            attention.query_key_value_bias = bias;
            attention.output_bias = bias;
            attention.window = window;
        })
        .each_mlp(|mlp| {
            mlp.gated = Gating::Ungated;
            mlp.bias = bias;
        }))
}

//! GLM-4 in its two layouts.

use super::Blueprint;
use super::llama::{Variant, decoder};
use crate::lm::config::{Arrangement, Gating};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::NormNames;
use crate::lm::rotary::{Pairing, RotaryDefaults};

const HEAD_DIM: usize = 128;

/// The first: half of each head is turned, by neighbours.
pub(super) fn glm(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant {
        kv_heads: Some(2),
        head_dim: Some(HEAD_DIM),
        epsilon: ("rms_norm_eps", 1.5625e-7),
        rotary: |defaults| RotaryDefaults {
            partial: 0.5,
            reads_partial: true,
            pairing: Pairing::Neighbours,
            ..defaults
        },
        ..Variant::default()
    };
    let blueprint = Blueprint::new(decoder(config, &variant)?);
    let bias = config.flag("attention_bias", true)?;
    Ok(blueprint
        .each_attention(|_, attention| attention.query_key_value_bias = bias)
        .each_mlp(|mlp| mlp.gated = Gating::Stacked))
}

/// The second: norms on both sides.
pub(super) fn glm4(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let mut blueprint = glm(config)?;
    blueprint.names.norms = NormNames {
        before_attention: "input_layernorm",
        after_attention: "post_self_attn_layernorm",
        before_feed_forward: "post_attention_layernorm",
        after_feed_forward: "post_mlp_layernorm",
    };
    Ok(blueprint.each_layer(|_, layer| {
        layer.arrangement = Arrangement::Sequential { before: true, after: true };
    }))
}

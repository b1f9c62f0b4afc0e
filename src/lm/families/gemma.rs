//! Gemma 1 to 3 (<https://arxiv.org/abs/2403.08295>, <https://arxiv.org/abs/2408.00118>,
//! <https://arxiv.org/abs/2503.19786>): scaled embeddings, norms whose weight is an offset, and from
//! the second on norms on both sides.

use super::windows::{Kind, kinds_of_layers};
use super::{Blueprint, Sizes, activation};
use crate::lm::config::{Activation, Arrangement, HeadNorm, Norm, NormedPart, Positions};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::NormNames;
use crate::lm::rotary::Rotary;

fn sizes(config: Fields<'_>, kv_heads: usize) -> Result<Sizes, LmError> {
    Sizes::read(config, Some(kv_heads), Some(256))
}

/// What all three have in common.
fn common(
    config: Fields<'_>,
    sizes: &Sizes,
    activation: Activation,
    rotaries: Vec<Rotary>,
) -> Result<Blueprint, LmError> {
    let epsilon = config.positive_or("rms_norm_eps", 1e-6)? as f32;
    let layer = sizes.layer(Norm::Rms { epsilon, offset: true }, activation);
    let tied = config.flag("tie_word_embeddings", true)?;
    let bias = config.flag("attention_bias", false)?;
    let mut blueprint = Blueprint::new(sizes.decoder(layer, rotaries, tied));
    blueprint.config.embedding_scale = (sizes.hidden as f64).sqrt() as f32;
    Ok(blueprint.each_attention(|_, attention| {
        attention.query_key_value_bias = bias;
        attention.output_bias = bias;
    }))
}

/// Gemma 1, whose `gelu` always meant the approximation.
pub(super) fn gemma(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = sizes(config, 16)?;
    let field =
        if config.get("hidden_activation").is_some() { "hidden_activation" } else { "hidden_act" };
    let activation = match activation(config, field, Activation::GeluTanh)? {
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    let rotary = Rotary::from_config(config, &sizes.rotary(10_000.0))?;
    common(config, &sizes, activation, vec![rotary])
}

/// Norms on both sides, and the scale of attention that `query_pre_attn_scalar` asks for.
fn second_generation(
    config: Fields<'_>,
    sizes: &Sizes,
    rotaries: Vec<Rotary>,
) -> Result<Blueprint, LmError> {
    let activation = activation(config, "hidden_activation", Activation::GeluTanh)?;
    let scalar = config.positive_or("query_pre_attn_scalar", 256.0)?;
    let mut blueprint = common(config, sizes, activation, rotaries)?;
    blueprint.names.norms = NormNames {
        before_attention: "input_layernorm",
        after_attention: "post_attention_layernorm",
        before_feed_forward: "pre_feedforward_layernorm",
        after_feed_forward: "post_feedforward_layernorm",
    };
    Ok(blueprint.each_layer(|_, layer| {
        layer.arrangement = Arrangement::Sequential { before: true, after: true };
        layer.attention.scale = scalar.powf(-0.5) as f32;
    }))
}

/// A soft cap, which null turns off; `default` where the field is absent.
fn soft_cap(config: Fields<'_>, field: &str, default: Option<f32>) -> Result<Option<f32>, LmError> {
    match config.mentions(field) {
        true => Ok(config.optional_positive(field)?.map(|cap| cap as f32)),
        false => Ok(default),
    }
}

/// Gemma 2.
pub(super) fn gemma2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = sizes(config, 4)?;
    let rotary = Rotary::from_config(config, &sizes.rotary(10_000.0))?;
    let mut blueprint = second_generation(config, &sizes, vec![rotary])?;
    let window = config.size_or("sliding_window", 4096)?;
    let kinds = kinds_of_layers(config, sizes.layers, |layer| match layer.is_multiple_of(2) {
        true => Kind::Sliding,
        false => Kind::Full,
    })?;
    let cap = soft_cap(config, "attn_logit_softcapping", Some(50.0))?;
    blueprint.config.head.soft_cap = soft_cap(config, "final_logit_softcapping", Some(30.0))?;
    Ok(blueprint.each_attention(|layer, attention| {
        attention.soft_cap = cap;
        attention.window = (kinds[layer] == Kind::Sliding).then_some(window);
    }))
}

/// The language model of Gemma 3.
pub(super) fn gemma3(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let sizes = sizes(config, 4)?;
    let global = Rotary::of_layer_type(config, "full_attention", &sizes.rotary(1_000_000.0))?;
    let theta = config.positive_or("rope_local_base_freq", 10_000.0)?;
    let is_listed = |parameters: &serde_json::Value| parameters.get("sliding_attention").is_some();
    let local = match config.get("rope_parameters").is_some_and(is_listed) {
        true => Rotary::of_layer_type(config, "sliding_attention", &sizes.rotary(theta))?,
        false => Rotary::unscaled(&sizes.rotary(theta))?,
    };
    let mut blueprint = second_generation(config, &sizes, vec![global, local])?;
    let window = config.size_or("sliding_window", 4096)?;
    let pattern = config.size_or("sliding_window_pattern", 6)?;
    let kinds = kinds_of_layers(config, sizes.layers, |layer| {
        if (layer + 1).is_multiple_of(pattern) { Kind::Full } else { Kind::Sliding }
    })?;
    blueprint.config.head.soft_cap = soft_cap(config, "final_logit_softcapping", None)?;
    Ok(blueprint.each_layer(|index, layer| {
        let attention = &mut layer.attention;
        attention.head_norm = Some(HeadNorm { norm: layer.norm, over: NormedPart::Head });
        if kinds[index] == Kind::Sliding {
            attention.window = Some(window);
            attention.positions = Positions::Rotary { index: 1, first: 0 };
        }
    }))
}

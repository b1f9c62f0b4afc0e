//! Qwen 2 and 3.

use super::Blueprint;
use super::llama::{Variant, decoder};
use super::windows::{Kind, kinds_of_layers};
use crate::lm::config::{HeadNorm, NormedPart};
use crate::lm::error::LmError;
use crate::lm::json::Fields;

/// A window in the layers from `max_window_layers` on, or those of `layer_types`, if
/// `use_sliding_window` is set.
fn windows(config: Fields<'_>, layers: usize) -> Result<Vec<Option<usize>>, LmError> {
    if !config.flag("use_sliding_window", false)? {
        return Ok(vec![None; layers]);
    }
    let window = super::llama::window_of_all(config, Some(4096))?;
    let first = config.count_or("max_window_layers", 28)?;
    let kinds = kinds_of_layers(config, layers, |layer| match layer >= first {
        true => Kind::Sliding,
        false => Kind::Full,
    })?;
    Ok(kinds.iter().map(|kind| window.filter(|_| *kind == Kind::Sliding)).collect())
}

/// Qwen 2 and 2.5 (<https://arxiv.org/abs/2407.10671>): biases on queries, keys and values.
pub(super) fn qwen2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { kv_heads: Some(32), ..Variant::default() };
    let blueprint = Blueprint::new(decoder(config, &variant)?);
    let windows = windows(config, blueprint.config.layers.len())?;
    Ok(blueprint.each_attention(|layer, attention| {
        attention.query_key_value_bias = true;
        attention.window = windows[layer];
    }))
}

/// Qwen 3 (<https://arxiv.org/abs/2505.09388>): normalized heads.
pub(super) fn qwen3(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { kv_heads: Some(32), head_dim: Some(128), ..Variant::default() };
    let bias = config.flag("attention_bias", false)?;
    let blueprint = Blueprint::new(decoder(config, &variant)?);
    let windows = windows(config, blueprint.config.layers.len())?;
    Ok(blueprint.each_layer(|index, layer| {
        let attention = &mut layer.attention;
        attention.head_norm = Some(HeadNorm { norm: layer.norm, over: NormedPart::Head });
        attention.query_key_value_bias = bias;
        attention.output_bias = bias;
        attention.window = windows[index];
    }))
}

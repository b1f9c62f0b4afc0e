//! What `config.json` says about a decoder, as checked numbers.
//!
//! Families differ in few things, which stand in one table ([`FAMILIES`]): a new family is a new
//! row, and a new field where it does something no earlier family did. Defaults are those that
//! transformers applies when the field is absent.

use serde_json::Value;

use super::error::LmError;
use super::rotary::Rotary;

/// Largest size that is believed. Real models stay far below; it keeps products of two sizes far
/// from overflow, so that untrusted numbers end in an error about a shape.
const LARGEST_SIZE: u64 = 1 << 28;

/// Largest `head_dim` that is believed: rotary frequencies are computed before any tensor is seen.
const LARGEST_HEAD_DIM: usize = 1 << 16;

/// Context length when the config has none, as in lm-evaluation-harness.
const DEFAULT_MAX_LENGTH: usize = 2048;

/// Which of the attention's projections add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttentionBias {
    Never,
    /// Queries, keys and values, but not the output.
    QueryKeyValue,
    /// All four if `attention_bias` is set, else none.
    IfConfigured,
}

/// When attention is limited to the most recent keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowRule {
    Never,
    /// In every layer, unless `sliding_window` is null; the number is the default.
    EveryLayer(u64),
    /// If `use_sliding_window` is set, from layer `max_window_layers` on.
    UpperLayers,
}

/// What distinguishes one family from the next.
struct Family {
    architecture: &'static str,
    model_type: &'static str,
    attention_bias: AttentionBias,
    /// Whether `mlp_bias` is a setting of this family.
    has_mlp_bias: bool,
    /// RMSNorm over each head of queries and keys.
    normalized_heads: bool,
    window: WindowRule,
    /// `num_key_value_heads` when absent; `None`: as many as query heads.
    default_kv_heads: Option<u64>,
    /// `head_dim` when absent; `None`: hidden size divided by heads.
    default_head_dim: Option<u64>,
}

const FAMILIES: [Family; 4] = [
    Family {
        architecture: "LlamaForCausalLM",
        model_type: "llama",
        attention_bias: AttentionBias::IfConfigured,
        has_mlp_bias: true,
        normalized_heads: false,
        window: WindowRule::Never,
        default_kv_heads: None,
        default_head_dim: None,
    },
    Family {
        architecture: "MistralForCausalLM",
        model_type: "mistral",
        attention_bias: AttentionBias::Never,
        has_mlp_bias: false,
        normalized_heads: false,
        window: WindowRule::EveryLayer(4096),
        default_kv_heads: Some(8),
        default_head_dim: None,
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        model_type: "qwen2",
        attention_bias: AttentionBias::QueryKeyValue,
        has_mlp_bias: false,
        normalized_heads: false,
        window: WindowRule::UpperLayers,
        default_kv_heads: Some(32),
        default_head_dim: None,
    },
    Family {
        architecture: "Qwen3ForCausalLM",
        model_type: "qwen3",
        attention_bias: AttentionBias::IfConfigured,
        has_mlp_bias: false,
        normalized_heads: true,
        window: WindowRule::UpperLayers,
        default_kv_heads: Some(32),
        default_head_dim: Some(128),
    },
];

/// Names of the architectures with a decoder.
pub(super) fn supported_architectures() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.architecture).collect()
}

/// The attention windows of a model's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Windows {
    /// Keys that a query sees, itself included; `None`: all before it.
    keys: Option<usize>,
    first_layer: usize,
    /// `layer_types`, where the config has it: whether each layer is limited.
    listed: Option<Vec<bool>>,
}

/// A decoder's sizes and switches.
///
/// Sizes are at least 1 and at most 2²⁸; `kv_heads` divides `heads`; `head_dim` is even and at
/// most 2¹⁶.
#[derive(Debug, Clone)]
pub(super) struct DecoderConfig {
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) norm_epsilon: f32,
    pub(super) query_key_value_bias: bool,
    pub(super) output_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) normalized_heads: bool,
    pub(super) tied_head: bool,
    pub(super) rotary: Rotary,
    /// Most tokens of context and continuation together.
    pub(super) max_length: usize,
    windows: Windows,
}

impl DecoderConfig {
    /// Reads a config.json in the spelling of transformers 4 or 5.
    pub(super) fn from_json(config: &Value) -> Result<Self, LmError> {
        let family = family(config)?;
        let hidden = size(config, "hidden_size")?;
        let heads = size(config, "num_attention_heads")?;
        let kv_heads = match present(config, "num_key_value_heads") {
            Some(_) => size(config, "num_key_value_heads")?,
            None => family.default_kv_heads.map_or(heads, |default| default as usize),
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(LmError::InvalidField {
                field: "num_key_value_heads".to_owned(),
                value: kv_heads.to_string(),
                expected: format!("a divisor of `num_attention_heads`, which is {heads}"),
            });
        }
        let head_dim = match (present(config, "head_dim"), family.default_head_dim) {
            (Some(_), _) => size(config, "head_dim")?,
            (None, Some(default)) => default as usize,
            (None, None) if hidden.is_multiple_of(heads) => hidden / heads,
            (None, None) => {
                return Err(LmError::InvalidField {
                    field: "num_attention_heads".to_owned(),
                    value: heads.to_string(),
                    expected: format!("a divisor of `hidden_size`, which is {hidden}"),
                });
            }
        };
        if !head_dim.is_multiple_of(2) || head_dim > LARGEST_HEAD_DIM {
            return Err(LmError::InvalidField {
                field: "head_dim".to_owned(),
                value: head_dim.to_string(),
                expected: format!("an even number, at most {LARGEST_HEAD_DIM}"),
            });
        }
        expect_setting(config, "hidden_act", "silu")?;

        let configured_bias = flag(config, "attention_bias", false)?;
        let (query_key_value_bias, output_bias) = match family.attention_bias {
            AttentionBias::Never => (false, false),
            AttentionBias::QueryKeyValue => (true, false),
            AttentionBias::IfConfigured => (configured_bias, configured_bias),
        };
        let layers = size(config, "num_hidden_layers")?;
        let max_length = max_length(config)?;
        Ok(Self {
            vocabulary: size(config, "vocab_size")?,
            hidden,
            intermediate: size(config, "intermediate_size")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            norm_epsilon: number(config, "rms_norm_eps", 1e-6)? as f32,
            query_key_value_bias,
            output_bias,
            mlp_bias: family.has_mlp_bias && flag(config, "mlp_bias", false)?,
            normalized_heads: family.normalized_heads,
            tied_head: flag(config, "tie_word_embeddings", false)?,
            rotary: Rotary::from_json(config, head_dim, max_length)?,
            max_length,
            windows: windows(config, family.window, layers)?,
        })
    }

    /// Keys that a query of `layer` sees, itself included; `None`: all before it.
    pub(super) fn window(&self, layer: usize) -> Option<usize> {
        let limited = match &self.windows.listed {
            Some(listed) => listed.get(layer).copied().unwrap_or(false),
            None => layer >= self.windows.first_layer,
        };
        self.windows.keys.filter(|_| limited)
    }
}

fn family(config: &Value) -> Result<&'static Family, LmError> {
    let architecture = config
        .get("architectures")
        .and_then(Value::as_array)
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    let model_type = present(config, "model_type").and_then(Value::as_str);
    let found = match (architecture, model_type) {
        (Some(name), _) => FAMILIES.iter().find(|family| family.architecture == name),
        (None, Some(name)) => FAMILIES.iter().find(|family| family.model_type == name),
        (None, None) => {
            return Err(LmError::MissingField { field: "architectures".to_owned() });
        }
    };
    found.ok_or_else(|| LmError::UnsupportedArchitecture {
        architecture: architecture.or(model_type).unwrap_or_default().to_owned(),
    })
}

fn max_length(config: &Value) -> Result<usize, LmError> {
    for field in ["n_positions", "max_position_embeddings", "n_ctx"] {
        if present(config, field).is_some() {
            return size(config, field);
        }
    }
    Ok(DEFAULT_MAX_LENGTH)
}

fn windows(config: &Value, rule: WindowRule, layers: usize) -> Result<Windows, LmError> {
    let mut windows = Windows { keys: None, first_layer: 0, listed: None };
    match rule {
        WindowRule::Never => return Ok(windows),
        WindowRule::EveryLayer(default) => {
            windows.keys = match config.get("sliding_window") {
                None => Some(default as usize),
                Some(Value::Null) => None,
                Some(_) => Some(size(config, "sliding_window")?),
            };
            return Ok(windows);
        }
        WindowRule::UpperLayers => {}
    }
    if !flag(config, "use_sliding_window", false)? {
        return Ok(windows);
    }
    windows.keys = match config.get("sliding_window") {
        None => Some(4096),
        Some(Value::Null) => None,
        Some(_) => Some(size(config, "sliding_window")?),
    };
    windows.first_layer = match present(config, "max_window_layers") {
        None => 28,
        Some(value) => whole_number(value, "max_window_layers", 0)?,
    };
    if let Some(listed) = present(config, "layer_types") {
        windows.listed = Some(layer_types(listed, layers)?);
    }
    Ok(windows)
}

fn layer_types(listed: &Value, layers: usize) -> Result<Vec<bool>, LmError> {
    let names = listed.as_array().filter(|names| names.len() == layers).ok_or_else(|| {
        LmError::InvalidField {
            field: "layer_types".to_owned(),
            value: shortened(listed),
            expected: format!("a list of {layers} names, one per layer"),
        }
    })?;
    names
        .iter()
        .map(|name| match name.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(LmError::UnsupportedSetting {
                field: "layer_types".to_owned(),
                value: shortened(name),
            }),
        })
        .collect()
}

/// The value of a field that is neither absent nor null.
pub(super) fn present<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// A required size: a whole number from 1 to [`LARGEST_SIZE`].
fn size(config: &Value, field: &str) -> Result<usize, LmError> {
    let value =
        present(config, field).ok_or_else(|| LmError::MissingField { field: field.to_owned() })?;
    whole_number(value, field, 1)
}

/// A whole number from `least` to [`LARGEST_SIZE`]. `field` is only used in errors.
pub(super) fn whole_number(value: &Value, field: &str, least: u64) -> Result<usize, LmError> {
    value
        .as_u64()
        .filter(|number| (least..=LARGEST_SIZE).contains(number))
        .map(|number| number as usize)
        .ok_or_else(|| LmError::InvalidField {
            field: field.to_owned(),
            value: shortened(value),
            expected: format!("a whole number from {least} to {LARGEST_SIZE}"),
        })
}

/// A number above 0, or `default` if the field is absent.
fn number(config: &Value, field: &str, default: f64) -> Result<f64, LmError> {
    match present(config, field) {
        None => Ok(default),
        Some(value) => positive(value, field),
    }
}

/// A finite number above 0. `field` is only used in errors.
pub(super) fn positive(value: &Value, field: &str) -> Result<f64, LmError> {
    value.as_f64().filter(|number| number.is_finite() && *number > 0.0).ok_or_else(|| {
        LmError::InvalidField {
            field: field.to_owned(),
            value: shortened(value),
            expected: "a number above 0".to_owned(),
        }
    })
}

fn flag(config: &Value, field: &str, default: bool) -> Result<bool, LmError> {
    match present(config, field) {
        None => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(LmError::InvalidField {
            field: field.to_owned(),
            value: shortened(other),
            expected: "true or false".to_owned(),
        }),
    }
}

fn expect_setting(config: &Value, field: &str, only: &str) -> Result<(), LmError> {
    match present(config, field) {
        Some(value) if value.as_str() != Some(only) => {
            Err(LmError::UnsupportedSetting { field: field.to_owned(), value: shortened(value) })
        }
        _ => Ok(()),
    }
}

/// A value for an error message: as in the file, without quotes, at most a line long.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

//! Llama, and the families that are nearly Llama.

use super::windows::{Kind, kinds_of_layers};
use super::{Blueprint, Sizes, activation, rms_norm};
use crate::lm::config::{
    Activation, Arrangement, DecoderConfig, Gating, HeadNorm, Norm, NormedPart, Positions,
    Projections,
};
use crate::lm::error::LmError;
use crate::lm::json::Fields;
use crate::lm::names::{AttentionNames, MlpNames, Names, NormNames};
use crate::lm::rotary::{Rotary, RotaryDefaults};

/// What Llama-like families differ in from the beginning.
pub(super) struct Variant {
    pub(super) kv_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) theta: f64,
    pub(super) epsilon: (&'static str, f64),
    pub(super) activation: &'static str,
    pub(super) tied: bool,
    /// What its rotary embedding has besides.
    pub(super) rotary: fn(RotaryDefaults) -> RotaryDefaults,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            kv_heads: None,
            head_dim: None,
            theta: 10_000.0,
            epsilon: ("rms_norm_eps", 1e-6),
            activation: "hidden_act",
            tied: false,
            rotary: |defaults| defaults,
        }
    }
}

/// The decoder of a Llama-like family.
pub(super) fn decoder(config: Fields<'_>, variant: &Variant) -> Result<DecoderConfig, LmError> {
    let sizes = Sizes::read(config, variant.kv_heads, variant.head_dim)?;
    let norm = rms_norm(config, variant.epsilon.0, variant.epsilon.1)?;
    let layer = sizes.layer(norm, activation(config, variant.activation, Activation::Silu)?);
    let rotary = (variant.rotary)(sizes.rotary(variant.theta));
    let rotary = Rotary::from_config(config, &rotary)?;
    let tied = config.flag("tie_word_embeddings", variant.tied)?;
    Ok(sizes.decoder(layer, vec![rotary], tied))
}

/// A Llama-like family with the biases that `attention_bias` and `mlp_bias` ask for.
fn with_biases(config: Fields<'_>, variant: &Variant) -> Result<Blueprint, LmError> {
    let attention_bias = config.flag("attention_bias", false)?;
    let mlp_bias = config.flag("mlp_bias", false)?;
    Ok(Blueprint::new(decoder(config, variant)?)
        .each_attention(|_, attention| {
            attention.query_key_value_bias = attention_bias;
            attention.output_bias = attention_bias;
        })
        .each_mlp(|mlp| mlp.bias = mlp_bias))
}

/// Llama 1 to 3 (Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>).
pub(super) fn llama(config: Fields<'_>) -> Result<Blueprint, LmError> {
    with_biases(config, &Variant::default())
}

/// A sliding window in every layer, unless `sliding_window` is null; `default` where it is absent.
pub(super) fn window_of_all(
    config: Fields<'_>,
    default: Option<usize>,
) -> Result<Option<usize>, LmError> {
    match config.mentions("sliding_window") {
        true => config.optional_size("sliding_window"),
        false => Ok(default),
    }
}

/// Mistral (Jiang et al. 2023, <https://arxiv.org/abs/2310.06825>).
pub(super) fn mistral(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { kv_heads: Some(8), ..Variant::default() };
    let window = window_of_all(config, Some(4096))?;
    Ok(Blueprint::new(decoder(config, &variant)?)
        .each_attention(|_, attention| attention.window = window))
}

/// Phi-3 and 3.5: fused projections, LongRoPE.
pub(super) fn phi3(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant {
        epsilon: ("rms_norm_eps", 1e-5),
        rotary: |defaults| RotaryDefaults { reads_partial: true, restarts: true, ..defaults },
        ..Variant::default()
    };
    let blueprint = Blueprint::new(decoder(config, &variant)?);
    let window = window_of_all(config, None)?;
    Ok(blueprint
        .each_attention(|_, attention| {
            attention.projections = Projections::Stacked;
            attention.window = window;
        })
        .each_mlp(|mlp| mlp.gated = Gating::Stacked))
}

/// OLMo (Groeneveld et al. 2024, <https://arxiv.org/abs/2402.00838>): norms without weights.
pub(super) fn olmo(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let clip = config.optional_positive("clip_qkv")?.map(|clip| clip as f32);
    let bias = config.flag("attention_bias", false)?;
    let norm = Norm::Plain { epsilon: 1e-5 };
    let mut blueprint = Blueprint::new(decoder(config, &Variant::default())?);
    blueprint.config.final_norm = norm;
    Ok(blueprint.each_layer(|_, layer| {
        layer.norm = norm;
        layer.attention.clip = clip;
        layer.attention.query_key_value_bias = bias;
        layer.attention.output_bias = bias;
    }))
}

/// Norms only behind attention and feed-forward.
const NORMS_AFTER: NormNames = NormNames {
    before_attention: "",
    after_attention: "post_attention_layernorm",
    before_feed_forward: "",
    after_feed_forward: "post_feedforward_layernorm",
};

/// OLMo 2 (<https://arxiv.org/abs/2501.00656>): norms behind, and of all queries and keys at once.
pub(super) fn olmo2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { epsilon: ("rms_norm_eps", 1e-5), ..Variant::default() };
    let bias = config.flag("attention_bias", false)?;
    let mut blueprint = Blueprint::new(decoder(config, &variant)?);
    blueprint.names.norms = NORMS_AFTER;
    Ok(blueprint.each_layer(|_, layer| {
        layer.arrangement = Arrangement::Sequential { before: false, after: true };
        let head_norm = HeadNorm { norm: layer.norm, over: NormedPart::AllHeads };
        layer.attention.head_norm = Some(head_norm);
        layer.attention.query_key_value_bias = bias;
        layer.attention.output_bias = bias;
    }))
}

/// Granite 3: Llama with four multipliers.
pub(super) fn granite(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let multiplier = |field: &str| Ok::<_, LmError>(config.positive_or(field, 1.0)? as f32);
    let attention_scale = multiplier("attention_multiplier")?;
    let residual_scale = multiplier("residual_multiplier")?;
    let mut blueprint = with_biases(config, &Variant::default())?;
    blueprint.config.embedding_scale = multiplier("embedding_multiplier")?;
    blueprint.config.head.scale = 1.0 / multiplier("logits_scaling")?;
    Ok(blueprint.each_layer(|_, layer| {
        layer.attention.scale = attention_scale;
        layer.residual_scale = residual_scale;
    }))
}

/// SmolLM3: Llama with some layers that know no positions.
pub(super) fn smollm3(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant =
        Variant { kv_heads: Some(4), theta: 2_000_000.0, tied: true, ..Variant::default() };
    let blueprint = with_biases(config, &variant)?;
    let layers = blueprint.config.layers.len();
    let interval = config.size_or("no_rope_layer_interval", 4)?;
    let turned = match config.get("no_rope_layers") {
        None => (0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect(),
        Some(value) => turned_layers(config, value, layers)?,
    };
    let windows = match config.flag("use_sliding_window", false)? {
        false => vec![None; layers],
        true => {
            let window = config.optional_size("sliding_window")?;
            let kinds = kinds_of_layers(config, layers, |layer| match turned[layer] {
                true => Kind::Full,
                false => Kind::Sliding,
            })?;
            kinds.iter().map(|kind| window.filter(|_| *kind == Kind::Sliding)).collect()
        }
    };
    Ok(blueprint.each_attention(|layer, attention| {
        attention.window = windows[layer];
        if !turned[layer] {
            attention.positions = Positions::None;
        }
    }))
}

/// The layers with rotary embeddings: `no_rope_layers` has a 1 for each of them.
fn turned_layers(
    config: Fields<'_>,
    value: &serde_json::Value,
    layers: usize,
) -> Result<Vec<bool>, LmError> {
    let flags: Option<Vec<bool>> = value.as_array().and_then(|list| {
        list.iter().map(|flag| flag.as_u64().map(|number| number != 0).or(flag.as_bool())).collect()
    });
    flags.filter(|flags| flags.len() == layers).ok_or_else(|| {
        config.invalid("no_rope_layers", value, format!("a list of {layers} numbers 0 or 1"))
    })
}

/// EXAONE 3 (<https://arxiv.org/abs/2408.03541>): Llama under GPT-2-like names. Its config has some of
/// its own, in place of which transformers saves Llama's.
pub(super) fn exaone(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let either = |own, usual| if config.get(own).is_some() { own } else { usual };
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let kv_heads = config.size_or("num_key_value_heads", heads)?;
    super::check_kv_heads(config, heads, kv_heads)?;
    let sizes = Sizes {
        vocabulary: config.size("vocab_size")?,
        hidden,
        intermediate: config.size_or("intermediate_size", 4 * hidden)?,
        layers: super::layers(config, either("num_layers", "num_hidden_layers"))?,
        heads,
        kv_heads,
        head_dim: match config.optional_size("head_dim")? {
            Some(own) => own,
            None => super::head_dim_of(config, hidden, heads)?,
        },
        max_length: super::max_length(config)?,
    };
    let norm = rms_norm(config, either("layer_norm_epsilon", "rms_norm_eps"), 1e-5)?;
    let activation_field = either("activation_function", "hidden_act");
    let layer = sizes.layer(norm, activation(config, activation_field, Activation::Silu)?);
    let rotary = Rotary::from_config(config, &sizes.rotary(500_000.0))?;
    let tied = config.flag("tie_word_embeddings", false)?;
    let mut blueprint = Blueprint::new(sizes.decoder(layer, vec![rotary], tied));
    let names = Names::default();
    blueprint.names = Names {
        embedding: "transformer.wte",
        layers: "transformer.h",
        norm: "transformer.ln_f",
        attention: AttentionNames {
            query: "attn.attention.q_proj",
            key: "attn.attention.k_proj",
            value: "attn.attention.v_proj",
            output: "attn.attention.out_proj",
            ..names.attention
        },
        norms: NormNames { before_attention: "ln_1", before_feed_forward: "ln_2", ..names.norms },
        mlp: MlpNames { gate: "mlp.c_fc_0", up: "mlp.c_fc_1", down: "mlp.c_proj", ..names.mlp },
        ..names
    };
    Ok(blueprint)
}

/// EXAONE 4: norms behind, normalized heads, and full attention without positions.
pub(super) fn exaone4(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let variant = Variant { epsilon: ("rms_norm_eps", 1e-5), ..Variant::default() };
    let mut blueprint = Blueprint::new(decoder(config, &variant)?);
    blueprint.names.norms = NORMS_AFTER;
    let layers = blueprint.config.layers.len();
    let window = window_of_all(config, Some(4096))?;
    let pattern = config.get("sliding_window_pattern");
    let kinds = kinds_of_layers(config, layers, |layer| {
        let slides = match pattern {
            Some(serde_json::Value::String(letters)) => {
                letters.chars().nth(layer % letters.chars().count().max(1)) == Some('L')
            }
            Some(every) => {
                let every = every.as_u64().unwrap_or(4).max(1) as usize;
                !(layer + 1).is_multiple_of(every)
            }
            None => !(layer + 1).is_multiple_of(4),
        };
        if slides && window.is_some() { Kind::Sliding } else { Kind::Full }
    })?;
    Ok(blueprint.each_layer(|index, layer| {
        layer.arrangement = Arrangement::Sequential { before: false, after: true };
        let attention = &mut layer.attention;
        attention.head_norm = Some(HeadNorm { norm: layer.norm, over: NormedPart::Head });
        if kinds[index] == Kind::Sliding {
            attention.window = window;
        } else if window.is_some() {
            attention.positions = Positions::None;
        }
    }))
}

/// InternLM 2 (<https://arxiv.org/abs/2403.17297>): Llama with grouped projections.
pub(super) fn internlm2(config: Fields<'_>) -> Result<Blueprint, LmError> {
    let bias = config.flag("bias", false)?;
    let mut blueprint = Blueprint::new(decoder(config, &Variant::default())?);
    let names = Names::default();
    blueprint.names = Names {
        embedding: "model.tok_embeddings",
        head: "output",
        attention: AttentionNames {
            query_key_value: "attention.wqkv",
            output: "attention.wo",
            ..names.attention
        },
        norms: NormNames {
            before_attention: "attention_norm",
            before_feed_forward: "ffn_norm",
            ..names.norms
        },
        mlp: MlpNames {
            gate: "feed_forward.w1",
            up: "feed_forward.w3",
            down: "feed_forward.w2",
            ..names.mlp
        },
        ..names
    };
    Ok(blueprint.each_attention(|_, attention| {
        attention.projections = Projections::Grouped(attention.kv_heads);
        attention.query_key_value_bias = bias;
        attention.output_bias = bias;
    }))
}

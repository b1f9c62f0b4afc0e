//! The families of models that can be run, each as its difference from what came before.
//!
//! A family reads its config.json into a [`DecoderConfig`] and says where its tensors are. Defaults
//! are those that transformers applies when a field is absent. To add a family, write its function
//! and a line of [`FAMILIES`], and what it computes for transformers into the golden data
//! (`tests/golden/lm/make.py`).

mod experts;
mod gemma;
mod glm;
mod gpt;
mod llama;
mod parallel;
mod qwen;
mod windows;

use serde_json::Value;

use super::config::{
    Activation, Arrangement, AttentionConfig, DecoderConfig, FeedForward, Gating, Head,
    LayerConfig, Mlp, Norm, Positions, Projections,
};
use super::error::LmError;
use super::json::Fields;
use super::names::Names;
use super::rotary::{Pairing, Rotary, RotaryDefaults};

/// Context length when the config has none, as in lm-evaluation-harness.
const DEFAULT_MAX_LENGTH: usize = 2048;

/// Most layers that are believed: they are described before any tensor is seen.
const MOST_LAYERS: usize = 1 << 14;

/// What a family's config says, and where its tensors are.
#[derive(Debug, Clone)]
pub(super) struct Blueprint {
    pub(super) config: DecoderConfig,
    pub(super) names: Names,
}

/// A family of models.
struct Family {
    architecture: &'static str,
    model_type: &'static str,
    read: fn(Fields<'_>) -> Result<Blueprint, LmError>,
}

const fn family(
    architecture: &'static str,
    model_type: &'static str,
    read: fn(Fields<'_>) -> Result<Blueprint, LmError>,
) -> Family {
    Family { architecture, model_type, read }
}

const FAMILIES: &[Family] = &[
    family("LlamaForCausalLM", "llama", llama::llama),
    family("MistralForCausalLM", "mistral", llama::mistral),
    family("Qwen2ForCausalLM", "qwen2", qwen::qwen2),
    family("Qwen3ForCausalLM", "qwen3", qwen::qwen3),
    family("GemmaForCausalLM", "gemma", gemma::gemma),
    family("Gemma2ForCausalLM", "gemma2", gemma::gemma2),
    family("Gemma3ForCausalLM", "gemma3_text", gemma::gemma3),
    family("PhiForCausalLM", "phi", parallel::phi),
    family("Phi3ForCausalLM", "phi3", llama::phi3),
    family("StableLmForCausalLM", "stablelm", parallel::stablelm),
    family("GPTNeoXForCausalLM", "gpt_neox", parallel::gpt_neox),
    family("GPT2LMHeadModel", "gpt2", gpt::gpt2),
    family("Starcoder2ForCausalLM", "starcoder2", gpt::starcoder2),
    family("FalconForCausalLM", "falcon", parallel::falcon),
    family("OlmoForCausalLM", "olmo", llama::olmo),
    family("Olmo2ForCausalLM", "olmo2", llama::olmo2),
    family("GraniteForCausalLM", "granite", llama::granite),
    family("CohereForCausalLM", "cohere", parallel::cohere),
    family("Cohere2ForCausalLM", "cohere2", parallel::cohere2),
    family("SmolLM3ForCausalLM", "smollm3", llama::smollm3),
    family("GlmForCausalLM", "glm", glm::glm),
    family("Glm4ForCausalLM", "glm4", glm::glm4),
    family("ExaoneForCausalLM", "exaone", llama::exaone),
    family("Exaone4ForCausalLM", "exaone4", llama::exaone4),
    family("InternLM2ForCausalLM", "internlm2", llama::internlm2),
    family("MixtralForCausalLM", "mixtral", experts::mixtral),
    family("Qwen2MoeForCausalLM", "qwen2_moe", experts::qwen2_moe),
    family("Qwen3MoeForCausalLM", "qwen3_moe", experts::qwen3_moe),
    family("OlmoeForCausalLM", "olmoe", experts::olmoe),
    family("PhimoeForCausalLM", "phimoe", experts::phimoe),
    family("DeepseekV2ForCausalLM", "deepseek_v2", experts::deepseek_v2),
    family("DeepseekV3ForCausalLM", "deepseek_v3", experts::deepseek_v3),
];

/// Names of the architectures with a decoder.
pub(super) fn supported_architectures() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.architecture).collect()
}

/// Reads a config.json in the spelling of transformers 4 or 5.
pub(super) fn read(config: &Value) -> Result<Blueprint, LmError> {
    let fields = Fields::new(config);
    let architecture = config
        .get("architectures")
        .and_then(Value::as_array)
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    let model_type = fields.get("model_type").and_then(Value::as_str);
    let of_type = FAMILIES.iter().find(|family| Some(family.model_type) == model_type);
    let found = match (architecture, model_type) {
        // transformers runs EXAONE 3 with Llama's class, which is what it then saves.
        (Some(name), _) => FAMILIES
            .iter()
            .find(|family| family.architecture == name)
            .map(|family| of_type.unwrap_or(family)),
        (None, Some(_)) => of_type,
        (None, None) => return Err(fields.missing("architectures")),
    };
    match found {
        Some(family) => (family.read)(fields),
        None => Err(LmError::UnsupportedArchitecture {
            architecture: architecture.or(model_type).unwrap_or_default().to_owned(),
        }),
    }
}

/// Sizes that nearly every config has, under the names that nearly every config gives them.
struct Sizes {
    vocabulary: usize,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    max_length: usize,
}

impl Sizes {
    /// Reads them; `kv_heads` and `head_dim` are the defaults where a family has its own.
    fn read(
        config: Fields<'_>,
        kv_heads: Option<usize>,
        head_dim: Option<usize>,
    ) -> Result<Self, LmError> {
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        let kv_heads = match config.mentions("num_key_value_heads") {
            true => config.size_or("num_key_value_heads", heads)?,
            false => kv_heads.unwrap_or(heads),
        };
        let head_dim = match (config.optional_size("head_dim")?, head_dim) {
            (Some(own), _) => own,
            (None, Some(default)) => default,
            (None, None) => head_dim_of(config, hidden, heads)?,
        };
        check_kv_heads(config, heads, kv_heads)?;
        Ok(Self {
            vocabulary: config.size("vocab_size")?,
            hidden,
            intermediate: config.size("intermediate_size")?,
            layers: layers(config, "num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            max_length: max_length(config)?,
        })
    }

    /// What rotary embeddings do where the config says nothing.
    fn rotary(&self, theta: f64) -> RotaryDefaults {
        RotaryDefaults {
            head_dim: self.head_dim,
            theta,
            partial: 1.0,
            reads_partial: false,
            pairing: Pairing::Halves,
            max_length: self.max_length,
            restarts: false,
            reads_mscales: false,
        }
    }

    /// Llama's layer with these sizes and norms.
    fn layer(&self, norm: Norm, activation: Activation) -> LayerConfig {
        LayerConfig {
            attention: AttentionConfig {
                heads: self.heads,
                kv_heads: self.kv_heads,
                key_dim: self.head_dim,
                value_dim: self.head_dim,
                scale: 1.0 / (self.head_dim as f32).sqrt(),
                soft_cap: None,
                window: None,
                positions: Positions::Rotary { index: 0, first: 0 },
                projections: Projections::Separate,
                query_key_value_bias: false,
                output_bias: false,
                head_norm: None,
                clip: None,
            },
            feed_forward: FeedForward::Dense(Mlp {
                intermediate: self.intermediate,
                activation,
                gated: Gating::Separate,
                bias: false,
            }),
            arrangement: Arrangement::Sequential { before: true, after: false },
            norm,
            residual_scale: 1.0,
        }
    }

    /// A decoder whose layers are all like `layer`.
    fn decoder(&self, layer: LayerConfig, rotaries: Vec<Rotary>, tied: bool) -> DecoderConfig {
        DecoderConfig {
            vocabulary: self.vocabulary,
            hidden: self.hidden,
            max_length: self.max_length,
            embedding_scale: 1.0,
            learned_positions: None,
            rotaries,
            final_norm: layer.norm,
            layers: vec![layer; self.layers],
            head: Head { tied, bias: false, scale: 1.0, soft_cap: None },
            transposed: false,
        }
    }
}

impl Blueprint {
    /// A model with Llama's names.
    fn new(config: DecoderConfig) -> Self {
        Self { config, names: Names::default() }
    }

    /// Changes every layer.
    fn each_layer(mut self, change: impl Fn(usize, &mut LayerConfig)) -> Self {
        self.config.layers.iter_mut().enumerate().for_each(|(index, layer)| change(index, layer));
        self
    }

    /// Changes every layer's attention.
    fn each_attention(self, change: impl Fn(usize, &mut AttentionConfig)) -> Self {
        self.each_layer(|index, layer| change(index, &mut layer.attention))
    }

    /// Changes every layer's feed-forward network, where that is not made of experts.
    fn each_mlp(self, change: impl Fn(&mut Mlp)) -> Self {
        self.each_layer(|_, layer| {
            if let FeedForward::Dense(mlp) = &mut layer.feed_forward {
                change(mlp);
            }
        })
    }
}

/// Number of layers.
fn layers(config: Fields<'_>, field: &str) -> Result<usize, LmError> {
    let layers = config.size(field)?;
    match layers <= MOST_LAYERS {
        true => Ok(layers),
        false => Err(LmError::InvalidField {
            field: field.to_owned(),
            value: layers.to_string(),
            expected: format!("at most {MOST_LAYERS}"),
        }),
    }
}

/// Elements of a head when they follow from the others.
fn head_dim_of(config: Fields<'_>, hidden: usize, heads: usize) -> Result<usize, LmError> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    let field = if config.get("n_head").is_some() { "n_head" } else { "num_attention_heads" };
    Err(LmError::InvalidField {
        field: field.to_owned(),
        value: heads.to_string(),
        expected: format!("a divisor of the hidden size, which is {hidden}"),
    })
}

/// Heads of keys have to be shared evenly.
fn check_kv_heads(config: Fields<'_>, heads: usize, kv_heads: usize) -> Result<(), LmError> {
    if heads.is_multiple_of(kv_heads) {
        return Ok(());
    }
    let field =
        if config.get("num_kv_heads").is_some() { "num_kv_heads" } else { "num_key_value_heads" };
    Err(LmError::InvalidField {
        field: field.to_owned(),
        value: kv_heads.to_string(),
        expected: format!("a divisor of the number of attention heads, which is {heads}"),
    })
}

fn max_length(config: Fields<'_>) -> Result<usize, LmError> {
    for field in ["n_positions", "max_position_embeddings", "n_ctx"] {
        if let Some(length) = config.optional_size(field)? {
            return Ok(length);
        }
    }
    Ok(DEFAULT_MAX_LENGTH)
}

/// RMSNorm with the ε of a field.
fn rms_norm(config: Fields<'_>, field: &str, default: f64) -> Result<Norm, LmError> {
    Ok(Norm::Rms { epsilon: config.positive_or(field, default)? as f32, offset: false })
}

/// LayerNorm with the ε of a field.
fn layer_norm(config: Fields<'_>, field: &str, default: f64) -> Result<Norm, LmError> {
    Ok(Norm::Layer { epsilon: config.positive_or(field, default)? as f32, bias: true })
}

/// The activation that a field names.
fn activation(config: Fields<'_>, field: &str, default: Activation) -> Result<Activation, LmError> {
    Ok(match config.text(field)? {
        None => default,
        Some("silu" | "swish") => Activation::Silu,
        Some("gelu" | "gelu_python") => Activation::Gelu,
        Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some("relu2") => Activation::ReluSquared,
        Some(other) => return Err(config.unsupported(field, &other.into())),
    })
}

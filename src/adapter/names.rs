//! The names of tensors in an adapter's file, as peft writes them.

/// In front of every name: the wrapper around the model, and the attribute that holds it.
const PREFIX: &str = "base_model.model.";

/// What a tensor of an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `[rank, in]`.
    A,
    /// `[out, rank]`.
    B,
    /// `[out]`, added to the module's bias.
    Bias,
    /// `[rank, vocabulary]`.
    EmbeddingA,
    /// `[hidden, rank]`.
    EmbeddingB,
    /// One number per output, the norm that DoRA gives it.
    Magnitude,
    /// A tensor of the model, in place of the base's.
    Whole,
}

const SUFFIXES: [(&str, Part); 7] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_B.bias", Part::Bias),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
];

/// Parts of names that belong to adapters and to nothing else.
const FOREIGN: [&str; 4] = [".lora_", ".token_adapter.", ".original_module.", ".default."];

/// The module that a tensor belongs to, or for a whole tensor its name in the model. `None` when no
/// adapter of the kinds that can be merged in has such a tensor.
pub(super) fn parse(name: &str) -> Option<(String, Part)> {
    let name = name.strip_prefix(PREFIX)?;
    for (suffix, part) in SUFFIXES {
        if let Some(module) = name.strip_suffix(suffix) {
            return Some((module.to_owned(), part));
        }
    }
    if FOREIGN.iter().any(|foreign| name.contains(foreign)) {
        return None;
    }
    Some((name.replace(".base_layer.", ".").replace(".modules_to_save.", "."), Part::Whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let of = |name: &str| parse(&format!("base_model.model.{name}"));
        let module = "model.layers.0.self_attn.q_proj";
        for (suffix, part) in SUFFIXES {
            assert_eq!(of(&format!("{module}{suffix}")), Some((module.to_owned(), part)));
        }
        let whole = |name: &str| Some((name.to_owned(), Part::Whole));
        assert_eq!(of("lm_head.weight"), whole("lm_head.weight"));
        assert_eq!(of("model.q_proj.base_layer.bias"), whole("model.q_proj.bias"));
        assert_eq!(of("score.modules_to_save.weight"), whole("score.weight"));
        assert_eq!(of("model.q_proj.lora_A.default.weight"), None);
        assert_eq!(of("model.embed_tokens.token_adapter.trainable_tokens_delta"), None);
        assert_eq!(parse("model.q_proj.lora_A.weight"), None);
    }
}

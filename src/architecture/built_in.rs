//! The definitions that come with the program, and the only place that knows them all.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::ArchitectureDefinition;

macro_rules! built_in {
    ($file:literal) => {
        ($file, include_str!(concat!("definitions/", $file)))
    };
}

const FILES: [(&str, &str); 62] = [
    built_in!("afmoe.json"),
    built_in!("apertus.json"),
    built_in!("arcee.json"),
    built_in!("baichuan.json"),
    built_in!("bert-masked-lm.json"),
    built_in!("bert-sequence-classification.json"),
    built_in!("bert.json"),
    built_in!("chatglm.json"),
    built_in!("cohere.json"),
    built_in!("cohere2.json"),
    built_in!("distilbert-masked-lm.json"),
    built_in!("distilbert-sequence-classification.json"),
    built_in!("distilbert-token-classification.json"),
    built_in!("distilbert.json"),
    built_in!("exaone.json"),
    built_in!("falcon.json"),
    built_in!("gemma.json"),
    built_in!("gemma2.json"),
    built_in!("gemma3.json"),
    built_in!("gemma3vl.json"),
    built_in!("glm4.json"),
    built_in!("glm4moe.json"),
    built_in!("gpt-neox.json"),
    built_in!("gpt2-sequence-classification.json"),
    built_in!("gpt2.json"),
    built_in!("gptbigcode.json"),
    built_in!("granite.json"),
    built_in!("granite4moehybrid.json"),
    built_in!("internlm2.json"),
    built_in!("jais.json"),
    built_in!("lfm2.json"),
    built_in!("llama-sequence-classification.json"),
    built_in!("llama.json"),
    built_in!("llama4.json"),
    built_in!("mamba.json"),
    built_in!("mistral.json"),
    built_in!("mistral3.json"),
    built_in!("mixtral.json"),
    built_in!("olmo2.json"),
    built_in!("phi-1.json"),
    built_in!("phi2-old.json"),
    built_in!("phi2.json"),
    built_in!("phi3-small.json"),
    built_in!("phi3.json"),
    built_in!("qwen.json"),
    built_in!("qwen2.json"),
    built_in!("qwen2_5_vl.json"),
    built_in!("qwen2_vl.json"),
    built_in!("qwen3.json"),
    built_in!("qwen3_moe.json"),
    built_in!("qwen3_vl.json"),
    built_in!("qwen3_vl_dense.json"),
    built_in!("roberta-masked-lm.json"),
    built_in!("roberta-sequence-classification.json"),
    built_in!("roberta-token-classification.json"),
    built_in!("roberta.json"),
    built_in!("solar.json"),
    built_in!("stablelm.json"),
    built_in!("stablelm2.json"),
    built_in!("starcoder2.json"),
    built_in!("t5.json"),
    built_in!("whisper.json"),
];

static DEFINITIONS: LazyLock<Vec<Arc<ArchitectureDefinition>>> = LazyLock::new(|| {
    let parse = |(file, text)| ArchitectureDefinition::parse(text, Path::new(file));
    FILES.map(|entry| Arc::new(parse(entry).expect("a test parses all of them"))).into()
});

/// Every definition that comes with the program, by name.
pub fn built_in_definitions() -> &'static [Arc<ArchitectureDefinition>] {
    &DEFINITIONS
}

/// The built-in definition of the class `class`, one of `architectures` in `config`. Where several
/// definitions claim the class, its `model_type` decides; otherwise that is not looked at.
pub(super) fn find(class: &str, config: &Value) -> Option<&'static Arc<ArchitectureDefinition>> {
    let claims = |definition: &&Arc<ArchitectureDefinition>| {
        definition.architectures.iter().any(|known| known == class)
    };
    let mut claiming = DEFINITIONS.iter().filter(claims);
    let first = claiming.next()?;
    let model_type = config["model_type"].as_str();
    match claiming.next() {
        None => Some(first),
        Some(second) => std::iter::once(first)
            .chain([second])
            .chain(claiming)
            .find(|definition| Some(definition.model_type.as_str()) == model_type),
    }
}

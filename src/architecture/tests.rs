use serde_json::json;

use super::*;
use crate::checkpoint::MemoryCheckpoint;

fn model_config(values: Value) -> ModelConfig {
    ModelConfig::new(values, "config.json".into()).unwrap()
}

fn architecture(config: Value) -> Result<Architecture, ArchitectureError> {
    Architecture::of_model(&model_config(config), &MemoryCheckpoint::new())
}

fn llama(n_layers: usize) -> Architecture {
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": n_layers});
    architecture(config).unwrap()
}

#[test]
fn the_model_type_decides_where_definitions_share_a_class() {
    let named = |model_type: &str| {
        let config = json!({
            "architectures": ["PhiForCausalLM"], "model_type": model_type,
            "num_hidden_layers": 1, "n_layer": 1,
        });
        architecture(config).map(|known| known.name().to_owned())
    };
    assert_eq!(named("phi").unwrap(), "phi2");
    assert_eq!(named("phi-msft").unwrap(), "phi2-old");
    assert!(named("other").is_err());
}

#[test]
fn tensors_per_module_are_as_many_as_the_models_have() {
    let count = |name: &str| {
        let config = json!({"architectures": [name], "num_hidden_layers": 2});
        let architecture = architecture(config).unwrap();
        let (module, n_layers) = architecture.module("default").unwrap();
        module.tensors(n_layers).count()
    };
    assert_eq!(count("LLaMaForCausalLM"), 1 + 2 * 9 + 2);
    assert_eq!(count("MistralForCausalLM"), 1 + 2 * 9 + 2);
    assert_eq!(count("Qwen2ForCausalLM"), 1 + 2 * 12 + 2);
    assert_eq!(count("Qwen3ForCausalLM"), 1 + 2 * 11 + 2);
}

#[test]
fn the_llama_head_is_optional_and_tied_to_the_embeddings() {
    let architecture = llama(1);
    let (module, n_layers) = architecture.module("default").unwrap();
    let (location, head) = module.tensors(n_layers).last().unwrap();
    let names = head.names_for(location, n_layers);
    assert_eq!((location, head.optional), (Location::Post, true));
    assert_eq!(names.name, "lm_head.weight");
    assert_eq!(names.tied, ["model.embed_tokens.weight"]);
    assert_eq!(head.vocabulary_axis, Some(0));
    assert_eq!(module.pre[0].vocabulary_axis, Some(0));
}

#[test]
fn depth_does_not_change_the_definition() {
    assert_eq!(llama(2).definition(), llama(3).definition());
    assert_ne!(llama(2), llama(3));
    let qwen = architecture(json!({"architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 2}));
    assert_ne!(llama(2).definition(), qwen.unwrap().definition());
}

#[test]
fn configs_that_name_no_known_architecture_are_described() {
    let cases = [
        (json!({}), "`config.json` does not name the model's class under `architectures`"),
        (
            json!({"architectures": [7]}),
            "`config.json` does not name the model's class under `architectures`",
        ),
        (
            json!({"architectures": ["A", "B"]}),
            r#"`config.json` names several `architectures`: ["A","B"]"#,
        ),
        (json!({"architectures": ["GPT5"]}), "`config.json`: architecture `GPT5` is not supported"),
        (
            json!({"architectures": ["LlamaForCausalLM"]}),
            "`config.json` has no `num_hidden_layers`",
        ),
        (
            json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": -4}),
            "`config.json`: `num_hidden_layers` is -4, which is not a number of layers",
        ),
    ];
    for (config, expected) in cases {
        let error = architecture(config).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.is_users_mistake());
    }
    let hint = architecture(json!({"architectures": ["GPT5"]})).unwrap_err().hint().unwrap();
    assert!(hint.contains("LlamaForCausalLM, LLaMaForCausalLM, "), "{hint}");
}

#[test]
fn tensors_that_a_merge_would_drop_are_listed() {
    let mut source = MemoryCheckpoint::new();
    for name in [
        "model.norm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.1.mlp.up_proj.weight",
    ] {
        source.insert(name, &[1], &[0.0]).unwrap();
    }
    assert_eq!(llama(2).unlisted(&source), ["model.layers.0.self_attn.q_proj.bias"]);
    let last = ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.mlp.up_proj.weight"];
    assert_eq!(llama(1).unlisted(&source), last);
    assert_eq!(llama(u32::MAX as usize).unlisted(&source), last[..1]);
}

#[test]
fn more_layers_than_tensors_are_refused() {
    let mut source = MemoryCheckpoint::new();
    source.insert("model.norm.weight", &[1], &[0.0]).unwrap();
    let config = model_config(json!({"num_hidden_layers": u32::MAX}));
    assert!(llama(1).check_layer_counts(&source, &config).is_ok());
    let error = llama(u32::MAX as usize).check_layer_counts(&source, &config).unwrap_err();
    let expected = "`config.json`: `num_hidden_layers` is 4294967295, \
                    but the weights have only 1 tensors";
    assert_eq!(error.to_string(), expected);
    assert!(error.is_users_mistake());
}

fn mixtral(n_experts: Value, names: &[&str]) -> Result<Architecture, ArchitectureError> {
    let mut source = MemoryCheckpoint::new();
    for name in names {
        source.insert(name, &[1], &[0.0]).unwrap();
    }
    let config = model_config(json!({
        "architectures": ["MixtralForCausalLM"], "num_hidden_layers": 1,
        "num_local_experts": n_experts,
    }));
    Architecture::of_model(&config, &source)
}

#[test]
fn the_layout_of_experts_is_that_of_the_model() {
    let first = "model.layers.3.block_sparse_moe.experts.0.w1.weight";
    let split = mixtral(json!(2), &[first, "model.norm.weight"]).unwrap();
    let fused = mixtral(json!(2), &["model.layers.0.mlp.experts.down_proj"]).unwrap();
    assert_eq!(split.name(), "mixtral (per expert, 2 experts)");
    assert_eq!(fused.name(), "mixtral (fused)");
    let count = |architecture: &Architecture| {
        let (module, n_layers) = architecture.module("default").unwrap();
        module.tensors(n_layers).count()
    };
    assert_eq!((count(&split), count(&fused)), (1 + 6 + 1 + 2 * 3 + 2, 1 + 6 + 3 + 2));
    assert_eq!(mixtral(json!(2), &[]).unwrap().name(), "mixtral (fused)");
}

#[test]
fn numbers_of_experts_are_checked() {
    let first = "model.layers.0.block_sparse_moe.experts.0.w1.weight";
    let message = |n_experts: Value| mixtral(n_experts, &[first]).unwrap_err().to_string();
    let expected = "`config.json`: `num_local_experts` is \"8\", which is not a number of experts";
    assert_eq!(message(json!("8")), expected);
    let expected = "`config.json`: `num_local_experts` is 4000000000, but the weights have only 1 \
                    tensors";
    assert_eq!(message(json!(4_000_000_000u32)), expected);
}

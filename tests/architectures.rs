//! Models of every architecture, merged: none of their tensors is lost, renamed or reshaped.
//!
//! `architectures/saved.json` has the names and shapes of what transformers saves of tiny models, which
//! is what our definitions are held against; `architectures/saved.py` makes it. The classes that
//! transformers does not have are generated from our definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mergekit::architecture::{
    Architecture, ArchitectureDefinition, LayerCount, Location, ModelConfig, Module,
    built_in_definitions,
};
use mergekit::checkpoint::{MemoryCheckpoint, TensorInfo};
use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions};
use mergekit::kernels::dtype::DType;
use mergekit::plan::{InputModel, MergePlan, ModelStore, PlanOptions, PlanWarning};
use serde_json::{Map, Value, json};

type Shapes = BTreeMap<String, Vec<usize>>;

/// Two models with these tensors: all elements are 1 in the first, and 2 in the second. Position
/// numbers are 1 in both.
fn two_models(config: &Value, shapes: &Shapes) -> ModelStore {
    let store = ModelStore::new();
    for (path, value) in [("a", 1.0), ("b", 2.0)] {
        let mut tensors = MemoryCheckpoint::new();
        for (name, shape) in shapes {
            let n_elements = shape.iter().product();
            if name.ends_with("position_ids") {
                let info = TensorInfo { dtype: DType::I64, shape: shape.clone() };
                let bytes = 1i64.to_le_bytes().repeat(n_elements);
                tensors.insert_bytes(name, info, bytes).unwrap();
            } else {
                tensors.insert(name, shape, &vec![value; n_elements]).unwrap();
            }
        }
        insert(&store, path, config, tensors);
    }
    store
}

fn insert(store: &ModelStore, path: &str, config: &Value, tensors: MemoryCheckpoint) {
    let config = ModelConfig::new(config.clone(), "config.json".into()).unwrap();
    let (reference, directory) = (path.parse().unwrap(), path.into());
    let model = InputModel::new(reference, directory, Box::new(tensors), config).unwrap();
    store.insert(model);
}

fn plan(text: &str, store: &ModelStore) -> MergePlan {
    try_plan(text, store).unwrap()
}

/// The plan, or what is wrong with it.
fn try_plan(text: &str, store: &ModelStore) -> Result<MergePlan, String> {
    let config = MergeConfig::parse(text, Path::new("merge.yml")).unwrap();
    MergePlan::new(&config, store, &PlanOptions::default()).map_err(|error| error.to_string())
}

const HALVES: &str =
    "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n";

/// Merges the two models half and half, and gives the shapes of the result and the warnings.
fn merge(what: &str, store: &ModelStore) -> (Shapes, Vec<PlanWarning>) {
    let plan = plan(HALVES, store);
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let merged = engine.merge_to_memory(&plan).unwrap();
    for (name, tensor) in &merged {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let expected = if name.ends_with("position_ids") { 1.0 } else { 1.5 };
        assert!(values.iter().all(|value| *value == expected), "{what}: {name} is {values:?}");
    }
    let shapes = merged.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()));
    (shapes.collect(), plan.warnings().to_vec())
}

/// The config and the tensors of each class in `saved.json`.
fn saved() -> Vec<(String, Value, Shapes)> {
    let saved: Map<String, Value> =
        serde_json::from_str(include_str!("architectures/saved.json")).unwrap();
    let entry = |(class, mut entry): (String, Value)| {
        let shapes = serde_json::from_value(entry["tensors"].take()).unwrap();
        (class, entry["config"].take(), shapes)
    };
    saved.into_iter().map(entry).collect()
}

fn definition(class: &str) -> Option<&'static ArchitectureDefinition> {
    let mut definitions = built_in_definitions().iter();
    let found = definitions.find(|d| d.architectures.iter().any(|name| name == class));
    found.map(|definition| &**definition)
}

/// The name in the output of a tensor that transformers saves as `name`, where it is another one.
fn output_name(class: &str, name: &str) -> String {
    match class {
        "DistilBertModel" => format!("distilbert.{name}"),
        "RobertaModel" if !name.starts_with("pooler.") => format!("roberta.{name}"),
        "Gemma3ForConditionalGeneration" => {
            name.replace("vision_tower.", "vision_tower.vision_model.")
        }
        _ => name.to_owned(),
    }
}

#[test]
fn what_transformers_saves_is_merged_whole() {
    let (mut known, mut inferred) = (0, 0);
    for (class, config, shapes) in saved() {
        let (merged, warnings) = merge(&class, &two_models(&config, &shapes));
        let is_known = definition(&class).is_some();
        let expected: Shapes = match is_known {
            true => shapes.into_iter().map(|(n, s)| (output_name(&class, &n), s)).collect(),
            false => shapes,
        };
        assert_eq!(merged, expected, "{class}");
        if is_known {
            known += 1;
            assert_eq!(warnings, [], "{class}");
        } else {
            inferred += 1;
            assert_eq!(warnings, [PlanWarning::InferredArchitecture { class }]);
        }
    }
    assert!(known > 50 && inferred > 4, "{known} {inferred}");
}

/// A config with which `definition` has a different number of layers in every module, if it can.
fn config_for(definition: &ArchitectureDefinition) -> Value {
    let mut config = ModelConfig::new(json!({}), "config.json".into()).unwrap();
    config.set("architectures", vec![definition.architectures[0].clone()]).unwrap();
    config.set("model_type", definition.model_type.clone()).unwrap();
    for (index, module) in definition.modules.values().enumerate() {
        if let LayerCount::Keys(keys) = &module.layer_count {
            config.set(&keys[0], index + 2).unwrap();
        }
    }
    if let Some(key) = definition.expert_count_keys.first() {
        config.set(key, 3).unwrap();
    }
    config.values().clone()
}

/// The kind of the layer at `location` in generated models, where all kinds come in turn.
fn kind_of(module: &Module, location: Location) -> Option<String> {
    let Location::Layer(layer) = location else { return None };
    let kinds: BTreeSet<_> = module.layer.iter().filter_map(|tensor| tensor.kind.clone()).collect();
    kinds.iter().nth(layer % kinds.len().max(1)).cloned()
}

/// The tensors of a model of `definition` with all that is optional, by canonical name.
fn generated(definition: &ArchitectureDefinition, config: &Value, variant: usize) -> Shapes {
    // Seeing one tensor of a variant, the architecture chooses that one.
    let mut seen = MemoryCheckpoint::new();
    for module in definition.modules.values() {
        if let Some(tensor) =
            module.layer_variants.values().nth(variant).and_then(|tensors| tensors.first())
        {
            let name = tensor.name.to_string();
            let name = name.replace("${layer_index}", "0").replace("${expert_index}", "0");
            seen.insert(&name, &[1], &[0.0]).unwrap();
        }
    }
    for index in 0..8 {
        seen.insert(&format!("filler {index}"), &[1], &[0.0]).unwrap();
    }
    let config = ModelConfig::new(config.clone(), "config.json".into()).unwrap();
    let architecture = Architecture::of_model(&config, &seen).unwrap();
    let mut shapes = Shapes::new();
    for (_, module, n_layers) in architecture.modules() {
        for (location, template) in module.tensors(n_layers) {
            if template.kind.is_some() && template.kind != kind_of(module, location) {
                continue;
            }
            let shape = if template.vocabulary_axis == Some(0) { vec![7, 3] } else { vec![2, 3] };
            let name = template.name_for(location, n_layers);
            assert!(!name.contains("${"), "{name}");
            assert!(shapes.insert(name.clone(), shape).is_none(), "{name} twice");
        }
    }
    shapes
}

#[test]
fn generated_models_of_every_architecture_are_merged_whole() {
    for definition in built_in_definitions() {
        let config = config_for(definition);
        let n_variants =
            definition.modules.values().map(|module| module.layer_variants.len()).max();
        for variant in 0..n_variants.unwrap_or(0).max(1) {
            let shapes = generated(definition, &config, variant);
            let (merged, warnings) = merge(&definition.name, &two_models(&config, &shapes));
            assert_eq!(merged, shapes, "{}", definition.name);
            assert_eq!(warnings, [], "{}", definition.name);
        }
    }
}

#[test]
fn layers_have_every_tensor_of_their_kind() {
    let mut n_removed = 0;
    for definition in built_in_definitions() {
        let config = config_for(definition);
        let shapes = generated(definition, &config, 0);
        for module in definition.modules.values() {
            let kinds = module.layer.iter().filter(|tensor| tensor.kind.is_some());
            for (layer, tensor) in kinds.flat_map(|tensor| [(0, tensor), (1, tensor)]) {
                let name = tensor.name_for(Location::Layer(layer), 2);
                let mut rest = shapes.clone();
                if tensor.optional || rest.remove(&name).is_none() {
                    continue;
                }
                let error = try_plan(HALVES, &two_models(&config, &rest)).err().unwrap();
                assert!(error.contains(&name), "{}: {error}", definition.name);
                n_removed += 1;
            }
        }
    }
    assert!(n_removed > 40, "{n_removed}");
}

#[test]
fn layers_of_different_kinds_are_not_mixed() {
    for class in ["DeepseekV2ForCausalLM", "Glm4MoeForCausalLM"] {
        let (_, config, shapes) = saved().into_iter().find(|(other, ..)| other == class).unwrap();
        let store = two_models(&config, &shapes);
        let slices = |of_b: &str| {
            format!(
                "merge_method: linear\nparameters: {{weight: 0.5}}\nslices:\n- sources:\n  \
                 - {{model: a, layer_range: [0, 1]}}\n  - {{model: b, layer_range: {of_b}}}\n"
            )
        };
        let planned = plan(&slices("[0, 1]"), &store);
        let has = |name: &str| planned.tensors().iter().any(|tensor| tensor.name.contains(name));
        assert!(has("layers.0.mlp.up_proj") && !has("experts"), "{class}");
        // The first layer is dense, the second has experts.
        let error = try_plan(&slices("[1, 2]"), &store).err().unwrap();
        let expected = "layer 1 of `b` is of kind `";
        assert!(error.contains(expected) && error.contains("layer 0 of `a`"), "{class}: {error}");
    }
}

#[test]
fn other_names_of_tensors_are_read_and_the_usual_ones_written() {
    for definition in built_in_definitions() {
        let config = config_for(definition);
        let shapes = generated(definition, &config, 0);
        let mut renamed = Shapes::new();
        let parsed = ModelConfig::new(config.clone(), "config.json".into()).unwrap();
        let architecture = Architecture::of_model(&parsed, &MemoryCheckpoint::new());
        let Ok(architecture) = architecture else { continue };
        for (_, module, n_layers) in architecture.modules() {
            for (location, template) in module.tensors(n_layers) {
                let names = template.names_for(location, n_layers);
                let Some(shape) = shapes.get(&names.name) else { continue };
                let name = names.aliases.last().unwrap_or(&names.name);
                renamed.insert(name.clone(), shape.clone());
            }
        }
        if renamed.len() == shapes.len() {
            let (merged, warnings) = merge(&definition.name, &two_models(&config, &renamed));
            assert_eq!((merged, warnings), (shapes, vec![]), "{}", definition.name);
        }
    }
}

#[test]
fn layers_of_an_inferred_architecture_can_be_rearranged() {
    let (_, config, shapes) =
        saved().into_iter().find(|(class, ..)| class == "OPTForCausalLM").unwrap();
    let store = two_models(&config, &shapes);
    let text = "merge_method: passthrough\nslices:\n\
                - sources: [{model: a, layer_range: [0, 2]}]\n\
                - sources: [{model: b, layer_range: [0, 2]}]\n";
    let plan = plan(text, &store);
    assert_eq!(plan.model_config()["num_hidden_layers"], 4);
    let names: Vec<&str> = plan.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.contains(&"model.decoder.layers.3.fc1.weight"));
    // The embeddings come from the first slice, the last norm from the last.
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let merged = engine.merge_to_memory(&plan).unwrap();
    let first = |name: &str| merged[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    assert_eq!(first("model.decoder.embed_tokens.weight"), 1.0);
    assert_eq!(first("model.decoder.final_layer_norm.weight"), 2.0);
}

#[test]
fn inferred_models_may_lack_heads_and_further_tensors() {
    let config = json!({"architectures": ["NewForCausalLM"], "num_layers": 1, "vocab_size": 7});
    let store = ModelStore::new();
    let model = |path: &str, names: &[(&str, f32)]| {
        let mut tensors = MemoryCheckpoint::new();
        for (name, value) in names {
            tensors.insert(name, &[7, 2], &[*value; 14]).unwrap();
        }
        insert(&store, path, &config, tensors);
    };
    model("a", &[("wte.weight", 1.0), ("h.0.w", 1.0), ("lm_head.weight", 3.0)]);
    model("b", &[("wte.weight", 2.0), ("h.0.w", 2.0), ("h.0.extra", 4.0)]);
    let plan = plan(HALVES, &store);
    let merged = Engine::new(EngineOptions::default()).unwrap().merge_to_memory(&plan).unwrap();
    let first = |name: &str| merged[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    let names: Vec<&str> = merged.keys().map(String::as_str).collect();
    assert_eq!(names, ["wte.weight", "h.0.w", "h.0.extra", "lm_head.weight"]);
    // The head of a model without one is its embeddings; of the extra tensor there is only one.
    assert_eq!(
        ["wte.weight", "h.0.w", "h.0.extra", "lm_head.weight"].map(first),
        [1.5, 1.5, 4.0, 2.5]
    );
}

/// The Mixtral of `saved.json` in the layout that keeps all experts in one tensor, with distinct values,
/// and the same model with a tensor for every expert.
#[test]
fn experts_are_laid_out_as_the_first_model_has_them() {
    let (_, config, shapes) =
        saved().into_iter().find(|(class, ..)| class == "MixtralForCausalLM").unwrap();
    let value = |name: &str, element: usize| {
        let hash = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
        (hash % 997) as f32 + element as f32 / 1024.0
    };
    let values = |name: &str| -> Vec<f32> {
        (0..shapes[name].iter().product()).map(|element| value(name, element)).collect()
    };
    let (mut split, mut fused) = (MemoryCheckpoint::new(), MemoryCheckpoint::new());
    for (name, shape) in &shapes {
        split.insert(name, shape, &values(name)).unwrap();
        if !name.contains("block_sparse_moe") {
            fused.insert(name, shape, &values(name)).unwrap();
        }
    }
    for layer in 0..2 {
        let moe = format!("model.layers.{layer}.block_sparse_moe");
        let part =
            |expert: usize, part: &str| values(&format!("{moe}.experts.{expert}.{part}.weight"));
        let shape = |part: &str| shapes[&format!("{moe}.experts.0.{part}.weight")].clone();
        let (up, down) = (shape("w1"), shape("w2"));
        let gate_up: Vec<f32> =
            (0..3).flat_map(|e| [part(e, "w1"), part(e, "w3")].concat()).collect();
        let downs: Vec<f32> = (0..3).flat_map(|e| part(e, "w2")).collect();
        let gate = format!("{moe}.gate.weight");
        let mlp = format!("model.layers.{layer}.mlp");
        fused.insert(&format!("{mlp}.gate.weight"), &shapes[&gate], &values(&gate)).unwrap();
        let name = format!("{mlp}.experts.gate_up_proj");
        fused.insert(&name, &[3, 2 * up[0], up[1]], &gate_up).unwrap();
        let name = format!("{mlp}.experts.down_proj");
        fused.insert(&name, &[3, down[0], down[1]], &downs).unwrap();
    }
    let store = ModelStore::new();
    insert(&store, "split", &config, split);
    insert(&store, "fused", &config, fused);
    for (first, second) in [("split", "fused"), ("fused", "split")] {
        let text = format!(
            "merge_method: linear\nmodels: [{{model: {first}}}, {{model: {second}}}]\n\
             parameters: {{weight: 0.5}}\n"
        );
        let plan = plan(&text, &store);
        assert_eq!(plan.warnings(), []);
        let merged = Engine::new(EngineOptions::default()).unwrap().merge_to_memory(&plan).unwrap();
        let expected = &store.open(&first.parse().unwrap()).unwrap().checkpoint;
        assert_eq!(merged.len(), expected.tensors().len());
        for (name, tensor) in &merged {
            let info = &expected.tensors()[name];
            assert_eq!(tensor.dims(), info.shape, "{name}");
            let mut values = vec![0.0; info.elements()];
            expected.read_into(name, 0, &mut values).unwrap();
            let found: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(found, values, "{name} of {first}");
        }
    }
}

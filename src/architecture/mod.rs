//! Which tensors a model has, and what its `config.json` says.
//!
//! An [`ArchitectureDefinition`] is data (`definitions/*.json`): per module the tensors before the
//! layers, a template of the tensors of one layer, and the tensors after. An [`Architecture`] is a
//! definition together with the layer counts that a model's [`ModelConfig`] gives it. For a model
//! without a definition, one is [inferred](infer_definition) from the names of its tensors.

mod built_in;
mod definition;
mod error;
mod experts;
mod infer;
mod model_config;
mod name;
mod repeated_key;
mod side_files;
mod written;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::checkpoint::TensorSource;
use experts::Relaid;

pub use built_in::built_in_definitions;
pub use definition::{ArchitectureDefinition, LayerCount, Location, Module, TensorTemplate};
pub use error::ArchitectureError;
pub use infer::infer_definition;
pub(crate) use infer::is_before_layers;
pub use model_config::ModelConfig;
pub use name::{NameTemplate, TensorNames};
pub use side_files::{copy_side_files, copy_tokenizer};

/// An architecture with the number of layers that one model has.
///
/// Models can be merged when their definitions are equal; their layer counts may differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    definition: Arc<ArchitectureDefinition>,
    /// The definition of all layouts, which the one of this model comes from.
    origin: Arc<ArchitectureDefinition>,
    /// In each layer, where names depend on it.
    n_experts: usize,
    /// Parallel to the definition's modules.
    n_layers: Vec<usize>,
}

impl Architecture {
    /// The architecture of the model with the config `config` and the tensors of `source`. Only those
    /// with a built-in definition are known, by the only entry of `architectures`.
    pub fn of_model(
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<Self, ArchitectureError> {
        let name = class_name(config.values(), config.path())?;
        match built_in::find(name, config.values()) {
            Some(definition) => Self::with_definition(Arc::clone(definition), config, source),
            None => Err(ArchitectureError::Unknown {
                path: config.path().to_owned(),
                name: name.to_owned(),
                known: built_in_definitions()
                    .iter()
                    .flat_map(|d| d.architectures.clone())
                    .collect(),
            }),
        }
    }

    /// As [`of_model`](Self::of_model), but with a definition inferred from this model alone where
    /// none is built in.
    pub fn known_or_inferred(
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<Self, ArchitectureError> {
        match Self::of_model(config, source) {
            Err(ArchitectureError::Unknown { name, .. }) => {
                let definition = Arc::new(infer_definition(&name, &[(config, source)]));
                Self::with_definition(definition, config, source)
            }
            known => known,
        }
    }

    /// The architecture that `definition` describes, with the layer counts in `config` and the
    /// variants of layers in `source`.
    pub fn with_definition(
        definition: Arc<ArchitectureDefinition>,
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<Self, ArchitectureError> {
        let n_experts = match definition.has_experts() {
            true => expert_count(&definition, config, source)?,
            false => 0,
        };
        let origin = definition;
        let definition = Arc::clone(&origin).for_source(source, n_experts);
        let n_layers =
            definition.modules.values().map(|module| layer_count(module, config, source));
        Ok(Self { n_layers: n_layers.collect::<Result<_, _>>()?, definition, origin, n_experts })
    }

    /// `source`, a model of this architecture, in the layout of `other`, when they differ in nothing
    /// else.
    pub fn in_layout_of(
        &self,
        other: &Self,
        config: &ModelConfig,
        source: &Arc<dyn TensorSource>,
    ) -> Option<(Self, Arc<dyn TensorSource>)> {
        if self.definition == other.definition || self.origin != other.origin {
            return None;
        }
        let relaid = Relaid::new(&self.origin, &self.n_layers, self.n_experts, Arc::clone(source));
        let architecture = Self::with_definition(Arc::clone(&self.origin), config, &relaid).ok()?;
        (architecture.definition == other.definition).then(|| (architecture, Arc::new(relaid) as _))
    }

    /// The definition's name, such as `llama`.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What all models of this architecture have in common.
    pub fn definition(&self) -> &Arc<ArchitectureDefinition> {
        &self.definition
    }

    /// Each module's name, tensors and number of layers, in output order.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &Module, usize)> {
        let modules = self.definition.modules.iter().zip(&self.n_layers);
        modules.map(|((name, module), &n_layers)| (name.as_str(), module, n_layers))
    }

    /// The tensors and the number of layers of the module called `name`.
    pub fn module(&self, name: &str) -> Option<(&Module, usize)> {
        let (index, _, module) = self.definition.modules.get_full(name)?;
        Some((module, self.n_layers[index]))
    }

    /// Tensors of `source`, a model with these layer counts, that the definition does not mention
    /// under any name. A merge drops them.
    pub fn unlisted<'s>(&self, source: &'s dyn TensorSource) -> Vec<&'s str> {
        if self.definition.is_inferred {
            return Vec::new();
        }
        let is_listed = |name: &str| {
            self.modules().any(|(_, module, n_layers)| {
                module.templates().any(|tensor| tensor.names(name, n_layers))
            })
        };
        let names = source.tensors().keys().map(String::as_str);
        names.filter(|&name| !is_listed(name)).collect()
    }

    /// Refuses a layer count that `source` cannot have because it exceeds the number of its tensors,
    /// before anything is done once per layer. `config` is where the count comes from.
    pub fn check_layer_counts(
        &self,
        source: &dyn TensorSource,
        config: &ModelConfig,
    ) -> Result<(), ArchitectureError> {
        let n_tensors = source.tensors().len();
        for (_, module, n_layers) in self.modules() {
            if let LayerCount::Keys(keys) = &module.layer_count
                && n_layers > n_tensors
                && module.layer.iter().any(|tensor| !tensor.optional)
            {
                let (path, key) = (config.path().to_owned(), config.first_of(keys).to_owned());
                let count = n_layers;
                return Err(ArchitectureError::TooMany { path, key, count, n_tensors });
            }
        }
        Ok(())
    }
}

/// Far more experts than any model has, and few enough for a list of them.
const MOST_FUSED_EXPERTS: usize = 65_536;

/// The only entry of `architectures`.
fn class_name<'a>(config: &'a Value, path: &Path) -> Result<&'a str, ArchitectureError> {
    let entries: &[Value] = config["architectures"].as_array().map_or(&[], Vec::as_slice);
    match entries {
        [Value::String(name)] => Ok(name),
        [] | [_] => Err(ArchitectureError::Unnamed { path: path.to_owned() }),
        several => Err(ArchitectureError::Several {
            path: path.to_owned(),
            found: Value::from(several).to_string(),
        }),
    }
}

fn layer_count(
    module: &Module,
    config: &ModelConfig,
    source: &dyn TensorSource,
) -> Result<usize, ArchitectureError> {
    match &module.layer_count {
        LayerCount::Fixed(n_layers) => Ok(*n_layers),
        LayerCount::Keys(keys) => count(config, keys, "layers"),
        LayerCount::Stored => Ok(module.stored_layers(source)),
    }
}

/// Experts that each layer has. No model has more of them than tensors.
fn expert_count(
    definition: &ArchitectureDefinition,
    config: &ModelConfig,
    source: &dyn TensorSource,
) -> Result<usize, ArchitectureError> {
    let keys = &definition.expert_count_keys;
    let (count, n_tensors) = (count(config, keys, "experts")?, source.tensors().len());
    // Fused layers have all experts in one tensor, so that there may be more of them than tensors,
    // but not that many.
    if count > n_tensors.max(MOST_FUSED_EXPERTS) {
        let (path, key) = (config.path().to_owned(), config.first_of(keys).to_owned());
        return Err(ArchitectureError::TooMany { path, key, count, n_tensors });
    }
    Ok(count)
}

/// The number under the first of `keys` that `config` has.
fn count(
    config: &ModelConfig,
    keys: &[String],
    what: &'static str,
) -> Result<usize, ArchitectureError> {
    let (path, key) = (config.path().to_owned(), config.first_of(keys).to_owned());
    let Some(value) = config.get(&key) else {
        return Err(ArchitectureError::NoKey { path, key });
    };
    match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
        Some(count) => Ok(count as usize),
        None => Err(ArchitectureError::Count { path, key, value: value.to_string(), what }),
    }
}

#[cfg(test)]
mod tests {
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
        let qwen =
            architecture(json!({"architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 2}));
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
            (
                json!({"architectures": ["GPT5"]}),
                "`config.json`: architecture `GPT5` is not supported",
            ),
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
        let split = mixtral(json!(2), &["model.layers.3.block_sparse_moe.experts.0.w1.weight"]);
        let fused = mixtral(json!(2), &["model.layers.0.mlp.experts.down_proj"]).unwrap();
        let split = split.unwrap();
        assert_eq!((split.name(), fused.name()), ("mixtral (per expert)", "mixtral (fused)"));
        let count = |architecture: &Architecture| {
            let (module, n_layers) = architecture.module("default").unwrap();
            module.tensors(n_layers).count()
        };
        assert_eq!((count(&split), count(&fused)), (1 + 6 + 1 + 2 * 3 + 2, 1 + 6 + 3 + 2));
        assert_eq!(mixtral(json!(2), &[]).unwrap().name(), "mixtral (fused)");
    }

    #[test]
    fn numbers_of_experts_are_checked() {
        let message = |n_experts: Value| mixtral(n_experts, &[]).unwrap_err().to_string();
        let expected =
            "`config.json`: `num_local_experts` is \"8\", which is not a number of experts";
        assert_eq!(message(json!("8")), expected);
        let expected = "`config.json`: `num_local_experts` is 4000000000, but the weights have only 0 \
                        tensors";
        assert_eq!(message(json!(4_000_000_000u32)), expected);
    }
}

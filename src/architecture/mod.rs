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
mod python_floats;
mod repeated_key;
mod side_files;
mod unlisted;
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
pub(crate) use side_files::{TOKENIZER_FILES, side_file_names};
pub use side_files::{copy_side_files, copy_tokenizer, side_files, tokenizer_files};
pub(crate) use unlisted::{ExtendedModel, with_unlisted};

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

    /// What the names of the tensors in `source` tell, for weights without a usable config.
    pub fn inferred(class: &str, source: &dyn TensorSource) -> Self {
        let definition = Arc::new(infer_definition(class, &[(&ModelConfig::default(), source)]));
        let n_layers = definition.modules.values().map(|module| match &module.layer_count {
            LayerCount::Fixed(n_layers) => *n_layers,
            LayerCount::Keys(_) | LayerCount::Stored => module.stored_layers(source),
        });
        let n_layers = n_layers.collect();
        Self { n_layers, origin: Arc::clone(&definition), definition, n_experts: 0 }
    }

    /// The architecture that `definition` describes, with the layer counts in `config` and the
    /// variants of layers in `source`.
    pub fn with_definition(
        definition: Arc<ArchitectureDefinition>,
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<Self, ArchitectureError> {
        let n_experts = match definition.has_experts() {
            true => count(config, &definition.expert_count_keys, "experts")?,
            false => 0,
        };
        let origin = definition;
        let mut definition = Arc::clone(&origin).in_variant_of(source);
        let n_tensors = source.tensors().len();
        let most = if definition.has_experts() { n_tensors } else { MOST_FUSED_EXPERTS };
        if n_experts > most {
            return Err(too_many(config, &definition.expert_count_keys, n_experts, n_tensors));
        }
        if definition.has_experts() {
            definition = Arc::new(definition.with_experts(n_experts));
        }
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
    /// under any name, in file order. None where the definition is inferred.
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

    /// Refuses a layer count that `source`, with the tensors that it has, cannot have, before anything
    /// is done once per layer. `config` is where the count comes from.
    pub fn check_layer_counts(
        &self,
        source: &dyn TensorSource,
        config: &ModelConfig,
    ) -> Result<(), ArchitectureError> {
        let n_tensors = source.tensors().len();
        for (_, module, n_layers) in self.modules() {
            if let LayerCount::Keys(keys) = &module.layer_count
                && (n_layers > n_tensors
                    || n_layers.saturating_mul(module.layer.len()) / MOST_PLACES > n_tensors)
            {
                return Err(too_many(config, keys, n_layers, n_tensors));
            }
        }
        Ok(())
    }
}

/// Far more experts than any model has, and few enough for a list of them.
const MOST_FUSED_EXPERTS: usize = 65_536;

/// Layers times tensors per layer that a module may have for every tensor of the model. Where layers
/// differ, many of these places are empty; where nearly all are, the numbers are not those of layers.
const MOST_PLACES: usize = 64;

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

fn too_many(
    config: &ModelConfig,
    keys: &[String],
    count: usize,
    n_tensors: usize,
) -> ArchitectureError {
    let (path, key) = (config.path().to_owned(), config.first_of(keys).to_owned());
    ArchitectureError::TooMany { path, key, count, n_tensors }
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
mod tests;

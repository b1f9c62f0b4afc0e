//! A model as a set of named, placed tensors.

use std::path::Path;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::{InspectError, Place};
use crate::adapter::{AdaptedCheckpoint, Adapter};
use crate::architecture::{Architecture, ArchitectureError, Location, ModelConfig};
use crate::checkpoint::{Checkpoint, TensorInfo, TensorSource};

/// A model whose tensors are known by the names that its architecture gives them.
pub struct Model {
    label: String,
    source: Arc<dyn TensorSource>,
    shards: usize,
    class: Option<String>,
    architecture: Architecture,
    tensors: IndexMap<String, ModelTensor>,
    tied: IndexMap<String, ModelTensor>,
}

/// A tensor of a [`Model`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTensor {
    /// The name in the checkpoint.
    pub stored: String,
    /// Where in the model it is.
    pub place: Place,
}

impl Model {
    /// Opens a model directory or a single file of weights, with an adapter's directory on top where
    /// one is given. Reads headers and pickles only.
    ///
    /// When a directory's `config.json` is not usable, so that layers and kinds have to be told from the
    /// tensors' names alone, the reason comes with the model.
    pub fn open(
        path: &Path,
        adapter: Option<&Path>,
    ) -> Result<(Self, Option<ArchitectureError>), InspectError> {
        let is_file = path.is_file();
        let checkpoint =
            if is_file { Checkpoint::open_file(path)? } else { Checkpoint::open(path)? };
        let shards = checkpoint.shard_count();
        let (config, missing) = match (!is_file).then(|| ModelConfig::load(path)) {
            None => (None, None),
            Some(Ok(config)) => (Some(config), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let label = path.display().to_string();
        let (model, unusable) = Self::new(label, Arc::new(checkpoint), config.as_ref());
        let mut model = Self { shards, ..model };
        if let Some(path) = adapter {
            model = model.adapted(path)?;
        }
        Ok((model, missing.or(unusable)))
    }

    /// The model with the adapter in `directory` on top.
    fn adapted(self, directory: &Path) -> Result<Self, InspectError> {
        let Self { label, source, architecture, .. } = self;
        let adapter = Adapter::open(directory)?;
        let adapted = AdaptedCheckpoint::new(source, &label, &architecture, adapter, None)?;
        let (tensors, tied) = name_tensors(&adapted, &architecture);
        let label = format!("{label}+{}", directory.display());
        let source = Arc::new(adapted);
        Ok(Self { label, source, architecture, tensors, tied, ..self })
    }

    /// A model from its parts, which may live in memory, with the reason why a config is not used.
    pub fn new(
        label: String,
        source: Arc<dyn TensorSource>,
        config: Option<&ModelConfig>,
    ) -> (Self, Option<ArchitectureError>) {
        let known = config.map(|config| {
            let architecture = Architecture::known_or_inferred(config, &*source)?;
            architecture.check_layer_counts(&*source, config)?;
            Ok(architecture)
        });
        let class = config.and_then(|config| config.values()["architectures"][0].as_str());
        let (class, shards) = (class.map(str::to_owned), 1);
        let inferred = || Architecture::inferred(class.as_deref().unwrap_or_default(), &*source);
        let (architecture, reason) = match known {
            None => (inferred(), None),
            Some(Ok(architecture)) => (architecture, None),
            Some(Err(error)) => (inferred(), Some(error)),
        };
        let (tensors, tied) = name_tensors(&*source, &architecture);
        (Self { label, source, shards, class, architecture, tensors, tied }, reason)
    }

    /// The same model under another name in reports.
    pub fn called(self, label: String) -> Self {
        Self { label, ..self }
    }

    /// The path that it was opened by, with that of its adapter behind a `+`, unless it was
    /// [`called`](Self::called) otherwise.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where its tensors come from.
    pub fn source(&self) -> &dyn TensorSource {
        &*self.source
    }

    /// Number of files that hold the weights.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The model's class as its config names it, such as `LlamaForCausalLM`.
    pub fn class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    /// Its architecture, which may be inferred from the names of its tensors.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Every stored tensor by the name that models of its architecture share: those before the
    /// layers, layer by layer, and those after.
    pub fn tensors(&self) -> &IndexMap<String, ModelTensor> {
        &self.tensors
    }

    /// Tensors that are not stored because another one is used in their place, as the embeddings are
    /// for a tied LM head.
    pub fn tied(&self) -> &IndexMap<String, ModelTensor> {
        &self.tied
    }

    /// Shape and element type of a stored tensor.
    pub fn info(&self, tensor: &ModelTensor) -> &TensorInfo {
        &self.source.tensors()[&tensor.stored]
    }

    /// The tensor called `name`, or the one that is used in its place.
    pub(super) fn find(&self, name: &str) -> Option<&ModelTensor> {
        self.tensors.get(name).or_else(|| self.tied.get(name))
    }
}

type Tensors = IndexMap<String, ModelTensor>;

/// The stored tensors of `source` by shared name, in model order, and the tied ones.
fn name_tensors(source: &dyn TensorSource, architecture: &Architecture) -> (Tensors, Tensors) {
    let mut tensors = Tensors::new();
    let mut tied = Tensors::new();
    let mut used = IndexSet::new();
    for (_, module, n_layers) in architecture.modules() {
        for (location, template) in module.tensors(n_layers) {
            let names = template.names_for(location, n_layers);
            let Some(stored) = names.resolve(source) else { continue };
            let place = Place { location, ..Place::of(&names.name) };
            let tensor = ModelTensor { stored: stored.to_owned(), place };
            if names.is_stored_in(source) {
                used.insert(stored.to_owned());
                tensors.insert(names.name, tensor);
            } else {
                tied.insert(names.name, tensor);
            }
        }
    }
    for name in source.tensors().keys().filter(|&name| !used.contains(name)) {
        // Where an alias is stored beside the name itself, both names are taken by other tensors.
        let tensor = ModelTensor { stored: name.clone(), place: Place::of(name) };
        tensors.entry(name.clone()).or_insert(tensor);
    }
    let mut stacks = IndexSet::new();
    for tensor in tensors.values() {
        stacks.insert(tensor.place.stack.clone());
    }
    let order = |place: &Place| {
        let stack = stacks.get_index_of(&place.stack);
        match place.location {
            Location::Pre => (0, None, 0),
            Location::Layer(layer) => (1, stack, layer),
            Location::Post => (2, None, 0),
        }
    };
    tensors.sort_by(|_, a, _, b| order(&a.place).cmp(&order(&b.place)));
    (tensors, tied)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::MemoryCheckpoint;

    fn model(class: &str, names: &[&str]) -> (Model, Option<ArchitectureError>) {
        let mut source = MemoryCheckpoint::new();
        for name in names {
            source.insert(name, &[1], &[1.0]).unwrap();
        }
        let config = json!({"architectures": [class], "num_hidden_layers": 2});
        let config = ModelConfig::new(config, PathBuf::from("config.json")).unwrap();
        Model::new("model".to_owned(), Arc::new(source), Some(&config))
    }

    fn names(tensors: &Tensors) -> Vec<&str> {
        tensors.keys().map(String::as_str).collect()
    }

    #[test]
    fn an_architecture_orders_tensors_and_knows_tied_ones() {
        let stored = [
            "model.layers.1.mlp.up_proj.weight",
            "model.norm.weight",
            "model.layers.0.mlp.up_proj.weight",
            "rotary.inv_freq",
            "model.layers.0.self_attn.q_proj.weight",
            "model.embed_tokens.weight",
        ];
        let (model, reason) = model("LlamaForCausalLM", &stored);
        assert!(reason.is_none());
        let expected = [stored[5], stored[4], stored[2], stored[0], stored[1], stored[3]];
        assert_eq!(names(model.tensors()), expected);
        assert_eq!(names(model.tied()), ["lm_head.weight"]);
        assert_eq!(model.find("lm_head.weight").unwrap().stored, "model.embed_tokens.weight");
        assert_eq!(model.class(), Some("LlamaForCausalLM"));
    }

    #[test]
    fn names_do_where_there_is_no_definition() {
        let stored = ["h.10.w", "h.2.w", "head", "wte", "vision.0.w", "h.2.a"];
        let (model, reason) = model("GPT5", &stored);
        assert!(reason.is_none() && model.architecture().definition().is_inferred);
        let expected = ["wte", "h.2.w", "h.2.a", "h.10.w", "vision.0.w", "head"];
        assert_eq!(names(model.tensors()), expected);
        assert!(model.tied().is_empty());
    }

    #[test]
    fn built_in_names_tell_the_layers_that_the_definitions_give() {
        for class in
            ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]
        {
            let config = json!({"architectures": [class], "num_hidden_layers": 12});
            let config = ModelConfig::new(config, "config.json".into()).unwrap();
            let architecture = Architecture::of_model(&config, &MemoryCheckpoint::new()).unwrap();
            for (_, module, n_layers) in architecture.modules() {
                for (location, template) in module.tensors(n_layers) {
                    let name = template.name_for(location, n_layers);
                    assert_eq!(Place::of(&name).location, location, "{class} {name}");
                }
            }
        }
    }
}

//! A model as a set of named, placed tensors.

use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use super::{InspectError, Place};
use crate::architecture::{Architecture, ArchitectureError, Location, ModelConfig};
use crate::checkpoint::{Checkpoint, TensorInfo, TensorSource};

/// A model whose tensors are known by the names that its architecture gives them or, where that is
/// unknown, by their own.
pub struct Model {
    label: String,
    source: Box<dyn TensorSource>,
    shards: usize,
    class: Option<String>,
    architecture: Option<Architecture>,
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
    /// Opens a model directory or a single file of weights, called `label` in reports. Reads headers and
    /// pickles only.
    ///
    /// When layers and kinds have to be told from the tensors' names alone, the reason comes with
    /// the model: there is no usable `config.json`, or its architecture is unknown.
    pub fn open(
        path: &Path,
        label: String,
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
        let (model, unknown) = Self::new(label, Box::new(checkpoint), config.as_ref());
        Ok((Self { shards, ..model }, missing.or(unknown)))
    }

    /// A model from its parts, which may live in memory, with the reason why its architecture is not
    /// used although there is a config.
    pub fn new(
        label: String,
        source: Box<dyn TensorSource>,
        config: Option<&ModelConfig>,
    ) -> (Self, Option<ArchitectureError>) {
        let known = config.map(|config| {
            let architecture = Architecture::of_model(config, &*source)?;
            architecture.check_layer_counts(&*source, config)?;
            Ok(architecture)
        });
        let (architecture, reason) = match known {
            None => (None, None),
            Some(Ok(architecture)) => (Some(architecture), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let class = config.and_then(|config| config.values()["architectures"][0].as_str());
        let (class, shards) = (class.map(str::to_owned), 1);
        let (tensors, tied) = name_tensors(&*source, architecture.as_ref());
        (Self { label, source, shards, class, architecture, tensors, tied }, reason)
    }

    /// What it is called in reports.
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

    /// Its architecture, if that is known.
    pub fn architecture(&self) -> Option<&Architecture> {
        self.architecture.as_ref()
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
fn name_tensors(
    source: &dyn TensorSource,
    architecture: Option<&Architecture>,
) -> (Tensors, Tensors) {
    let mut tensors = Tensors::new();
    let mut tied = Tensors::new();
    let mut used = IndexSet::new();
    for (_, module, n_layers) in architecture.iter().flat_map(|known| known.modules()) {
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
        Model::new("model".to_owned(), Box::new(source), Some(&config))
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
    fn names_do_where_the_architecture_is_unknown() {
        let stored = ["h.10.w", "h.2.w", "head", "wte", "vision.0.w", "h.2.a"];
        let (model, reason) = model("GPT5", &stored);
        assert!(reason.unwrap().to_string().contains("`GPT5` is not supported"));
        let expected = ["wte", "h.2.w", "h.2.a", "h.10.w", "vision.0.w", "head"];
        assert_eq!(names(model.tensors()), expected);
        assert!(model.tied().is_empty() && model.architecture().is_none());
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

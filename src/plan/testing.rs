//! Tiny Llama models in memory, for tests of plans and of what runs them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{InputModel, MergePlan, ModelStore, PlanError, PlanOptions};
use crate::architecture::{Architecture, Location, ModelConfig};
use crate::checkpoint::{MemoryCheckpoint, TensorInfo, TensorSource};
use crate::config::{MergeConfig, ModelReference};
use crate::kernels::dtype::{DType, narrow};

pub(crate) const VOCABULARY: usize = 7;
const HIDDEN: usize = 5;
const INTERMEDIATE: usize = 11;

/// A model before it is opened.
#[derive(Clone)]
pub(crate) struct TinyModel {
    pub(crate) path: String,
    pub(crate) config: Value,
    pub(crate) tensors: MemoryCheckpoint,
}

impl TinyModel {
    /// A model whose tensor `name` has `value(name, index)` at `index`.
    pub(crate) fn new(
        path: &str,
        n_layers: usize,
        dtype: DType,
        value: impl Fn(&str, usize) -> f32,
    ) -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": n_layers,
            "tie_word_embeddings": false,
            "torch_dtype": dtype.to_string(),
            "vocab_size": VOCABULARY,
        });
        let mut model = Self { path: path.to_owned(), config, tensors: MemoryCheckpoint::new() };
        let config = ModelConfig::new(model.config.clone(), "config.json".into()).unwrap();
        let architecture = Architecture::of_model(&config, &model.tensors).unwrap();
        let (module, _) = architecture.module("default").unwrap();
        for (location, template) in module.tensors(n_layers) {
            let name = template.name_for(location, n_layers);
            let shape = shape(&name, location);
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|index| value(&name, index)).collect();
            model.set(&name, dtype, &shape, &values);
        }
        model
    }

    /// A model whose weights look random, but depend on `seed`, tensor and index alone.
    pub(crate) fn noise(path: &str, n_layers: usize, dtype: DType, seed: u32) -> Self {
        Self::new(path, n_layers, dtype, |name, index| {
            let mut hash = seed.wrapping_mul(0x9e37_79b9) ^ index as u32;
            for byte in name.bytes() {
                hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            }
            hash ^= hash >> 15;
            hash = hash.wrapping_mul(0x85eb_ca6b);
            hash ^= hash >> 13;
            (hash as f32 / u32::MAX as f32 - 0.5) * 0.2
        })
    }

    /// Adds or replaces a tensor.
    pub(crate) fn set(&mut self, name: &str, dtype: DType, shape: &[usize], values: &[f32]) {
        let mut bytes = vec![0; values.len() * dtype.size()];
        narrow(dtype, values, &mut bytes);
        let info = TensorInfo { dtype, shape: shape.to_vec() };
        self.tensors.insert_bytes(name, info, bytes).unwrap();
    }

    /// Takes a tensor away.
    pub(crate) fn remove(&mut self, name: &str) {
        let mut rest = MemoryCheckpoint::new();
        for (other, info) in self.tensors.tensors().iter().filter(|(other, _)| *other != name) {
            let bytes = self.tensors.bytes(other).unwrap().to_vec();
            rest.insert_bytes(other, info.clone(), bytes).unwrap();
        }
        self.tensors = rest;
    }

    /// As plans see it.
    pub(crate) fn open(self) -> InputModel {
        let Self { path, config, tensors } = self;
        let source: Box<dyn TensorSource> = Box::new(tensors);
        let config =
            ModelConfig::new(config, PathBuf::from(format!("{path}/config.json"))).unwrap();
        let reference: ModelReference = path.parse().unwrap();
        InputModel::new(reference, PathBuf::from(path), source, config).unwrap()
    }
}

fn shape(name: &str, location: Location) -> Vec<usize> {
    match (location, name) {
        (Location::Pre, _) | (Location::Post, "lm_head.weight") => vec![VOCABULARY, HIDDEN],
        (Location::Post, _) => vec![HIDDEN],
        (Location::Layer(_), name) if name.contains("norm") => vec![HIDDEN],
        (Location::Layer(_), name) if name.contains("down_proj") => vec![HIDDEN, INTERMEDIATE],
        (Location::Layer(_), name) if name.contains("mlp") => vec![INTERMEDIATE, HIDDEN],
        (Location::Layer(_), _) => vec![HIDDEN, HIDDEN],
    }
}

/// A store that holds `models`.
pub(crate) fn store(models: impl IntoIterator<Item = TinyModel>) -> ModelStore {
    let store = ModelStore::new();
    for model in models {
        store.insert(model.open());
    }
    store
}

/// Plans the merge that the YAML `text` asks for.
pub(crate) fn plan(text: &str, store: &ModelStore) -> Result<MergePlan, PlanError> {
    plan_with(text, store, &PlanOptions::default())
}

/// Plans the merge that the YAML `text` asks for.
pub(crate) fn plan_with(
    text: &str,
    store: &ModelStore,
    options: &PlanOptions,
) -> Result<MergePlan, PlanError> {
    let config = MergeConfig::parse(text, "merge.yml".as_ref()).unwrap();
    MergePlan::new(&config, store, options)
}

//! An adapter as it lies on disk: its config, and its tensors by the module that they belong to.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::AdapterError;
use super::config::AdapterConfig;
use super::names::{self, Part};
use crate::checkpoint::{Checkpoint, TensorSource, WeightsFile};

/// What weights may be called, the preferred name first.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Which of the files that `is_there` knows holds the weights.
pub(crate) fn weights_file(is_there: impl Fn(&str) -> bool) -> Option<WeightsFile> {
    let name = WEIGHTS.into_iter().find(|name| is_there(name))?;
    let is_safetensors = name.ends_with(".safetensors");
    Some(WeightsFile { name, is_index: false, is_safetensors })
}

/// A LoRA adapter: a directory with `adapter_config.json` and `adapter_model.safetensors` or
/// `adapter_model.bin`, as peft writes it.
pub struct Adapter {
    pub(super) path: PathBuf,
    pub(super) config: AdapterConfig,
    pub(super) weights: Box<dyn TensorSource>,
    pub(super) modules: IndexMap<String, Parts>,
    /// Name in the adapter of each tensor that takes the place of the base's.
    pub(super) wholes: IndexMap<String, String>,
}

/// Names of a module's tensors in the adapter.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
    pub(super) bias: Option<String>,
    pub(super) magnitude: Option<String>,
    pub(super) is_embedding: bool,
}

impl Adapter {
    /// Opens the adapter in `directory`. Reads headers only, or the pickle.
    pub fn open(directory: &Path) -> Result<Self, AdapterError> {
        let config = AdapterConfig::load(directory)?;
        let mut files = WEIGHTS.iter().map(|name| directory.join(name));
        let weights = files
            .find(|file| file.symlink_metadata().is_ok())
            .ok_or_else(|| AdapterError::NoWeights { path: directory.to_owned() })?;
        Self::new(directory.to_owned(), config, Box::new(Checkpoint::open_file(&weights)?))
    }

    /// An adapter from its parts.
    pub(super) fn new(
        path: PathBuf,
        config: AdapterConfig,
        weights: Box<dyn TensorSource>,
    ) -> Result<Self, AdapterError> {
        let mut modules: IndexMap<String, Parts> = IndexMap::new();
        let mut wholes = IndexMap::new();
        for tensor in weights.tensors().keys() {
            let Some((name, part)) = names::parse(tensor) else {
                return Err(AdapterError::UnknownTensor { path, tensor: tensor.clone() });
            };
            if part == Part::Whole {
                if let Some(first) = wholes.insert(name, tensor.clone()) {
                    return Err(AdapterError::Twice { path, first, second: tensor.clone() });
                }
                continue;
            }
            let parts = modules.entry(name).or_default();
            parts.is_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
            let slot = match part {
                Part::A | Part::EmbeddingA => &mut parts.a,
                Part::B | Part::EmbeddingB => &mut parts.b,
                Part::Bias => &mut parts.bias,
                Part::Magnitude | Part::Whole => &mut parts.magnitude,
            };
            if let Some(first) = slot.replace(tensor.clone()) {
                return Err(AdapterError::Twice { path, first, second: tensor.clone() });
            }
        }
        if modules.is_empty() && wholes.is_empty() {
            return Err(AdapterError::NoWeights { path });
        }
        Ok(Self { path, config, weights, modules, wholes })
    }
}

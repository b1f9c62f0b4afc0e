//! A model's `config.json`: read, adapted to the merged model, written with its keys in order.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Architecture, ArchitectureError};
use crate::kernels::dtype::DType;

const FILE: &str = "config.json";

/// Names of the element type: of transformers 5, and of everything before it.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];

/// Lists with one entry per layer. A model whose layers are rearranged needs them rearranged alike.
const PER_LAYER_LISTS: [&str; 3] = ["layer_types", "mlp_layer_types", "no_rope_layers"];

/// The content of a `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    path: PathBuf,
    values: Value,
}

impl ModelConfig {
    /// Reads `config.json` in a model directory.
    pub fn load(directory: &Path) -> Result<Self, ArchitectureError> {
        let path = directory.join(FILE);
        let text = fs::read(&path)
            .map_err(|source| ArchitectureError::Read { path: path.clone(), source })?;
        let values = serde_json::from_slice(&text)
            .map_err(|source| ArchitectureError::Json { path: path.clone(), source })?;
        Self::new(values, path)
    }

    /// A config from its content. `path` is only for errors.
    pub fn new(values: Value, path: PathBuf) -> Result<Self, ArchitectureError> {
        if !values.is_object() {
            return Err(ArchitectureError::NotAnObject { path, what: "the whole file".to_owned() });
        }
        Ok(Self { path, values })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content, an object.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// The architecture it names, with its layer counts.
    pub fn architecture(&self) -> Result<Architecture, ArchitectureError> {
        Architecture::for_config(&self.values, &self.path)
    }

    /// The value at a dotted path, such as `text_config.vocab_size`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        lookup(&self.values, key)
    }

    /// Sets the value at a dotted path. A key that was there keeps its position; a new one, and the
    /// objects it needs, come last.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<(), ArchitectureError> {
        let (parent, last) = self.parent(key)?;
        parent.insert(last.to_owned(), value.into());
        Ok(())
    }

    /// The element type as named by the config, such as `bfloat16`.
    pub fn dtype(&self) -> Option<&str> {
        let name = DTYPE_KEYS.iter().find_map(|key| self.values[*key].as_str())?;
        Some(name.strip_prefix("torch.").unwrap_or(name))
    }

    /// Sets the element type under the key that the file uses, or else under `torch_dtype`, which
    /// every version of transformers understands.
    pub fn set_dtype(&mut self, dtype: DType) {
        let name = Value::from(dtype.to_string());
        let mut found = false;
        for key in DTYPE_KEYS {
            if let Some(value) = self.values.get_mut(key) {
                *value = name.clone();
                found = true;
            }
        }
        if !found {
            self.values["torch_dtype"] = name;
        }
    }

    /// Sets the number of layers at the dotted path `key`.
    pub fn set_layer_count(&mut self, key: &str, n_layers: usize) -> Result<(), ArchitectureError> {
        self.set(key, n_layers)
    }

    /// Sets the number of layers at the dotted path `key` and rearranges the lists beside it that have
    /// an entry per layer: layer `i` becomes what layer `source_layers[i]` was.
    pub fn set_source_layers(
        &mut self,
        key: &str,
        source_layers: &[usize],
    ) -> Result<(), ArchitectureError> {
        let (parent, last) = self.parent(key)?;
        let n_layers_before = parent.get(last).and_then(Value::as_u64);
        for list in PER_LAYER_LISTS {
            let Some(Value::Array(entries)) = parent.get_mut(list) else { continue };
            if Some(entries.len() as u64) == n_layers_before
                && let Some(rearranged) =
                    source_layers.iter().map(|&layer| entries.get(layer).cloned()).collect()
            {
                *entries = rearranged;
            }
        }
        self.set_layer_count(key, source_layers.len())
    }

    /// States whether the LM head is the input embedding. Has to be false for a model with an
    /// `lm_head.weight` of its own, or loaders ignore that tensor.
    pub fn set_tie_word_embeddings(&mut self, tied: bool) {
        self.values["tie_word_embeddings"] = tied.into();
    }

    /// Writes `config.json` into a directory.
    pub fn save(&self, directory: &Path) -> Result<(), ArchitectureError> {
        let path = directory.join(FILE);
        fs::write(&path, format!("{:#}\n", self.values))
            .map_err(|source| ArchitectureError::Write { path, source })
    }

    /// The object that holds the last key of a dotted path, and that key.
    fn parent<'k>(
        &mut self,
        key: &'k str,
    ) -> Result<(&mut Map<String, Value>, &'k str), ArchitectureError> {
        let (path, last) = match key.rsplit_once('.') {
            Some((path, last)) => (Some(path), last),
            None => (None, key),
        };
        let mut object = self.values.as_object_mut().expect("new() checked for an object");
        for part in path.iter().flat_map(|path| path.split('.')) {
            let value = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
            object = value.as_object_mut().ok_or_else(|| ArchitectureError::NotAnObject {
                path: self.path.clone(),
                what: format!("`{part}`"),
            })?;
        }
        Ok((object, last))
    }
}

/// The value at a dotted path.
pub(super) fn lookup<'a>(values: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(values, |value, part| value.get(part))
}

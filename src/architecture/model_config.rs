//! A model's `config.json`: read, adapted to the merged model, written with its keys in order.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::repeated_key::repeated_key;
use super::{ArchitectureError, python_floats};
use crate::kernels::dtype::DType;

const FILE: &str = "config.json";

/// Names of the element type: of transformers 5, and of everything before it.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];

/// Lists with one entry per layer. A model whose layers are rearranged needs them rearranged alike.
/// Where all layers are alike, some of these are a number instead.
const PER_LAYER_LISTS: [&str; 15] = [
    "layer_types",
    "mlp_layer_types",
    "indexer_types",
    "layers_block_type",
    "no_rope_layers",
    "activation_sparsity_pattern",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_attention_heads_per_layer",
    "num_key_value_heads_per_layer",
    "num_query_heads",
    "num_kv_heads",
    "ffn_multipliers",
    "block_configs",
];

/// A text with one letter per layer.
const PER_LAYER_LETTERS: &str = "hybrid_override_pattern";

/// Lists of the layers that are of some kind, by their position.
const LISTS_OF_LAYERS: [&str; 6] = [
    "mlp_only_layers",
    "moe_layers",
    "full_attn_idxs",
    "attn_layer_indices",
    "cross_attention_layers",
    "hybrid_layer_ids",
];

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
        let unreadable = |source| ArchitectureError::Read { path: path.clone(), source };
        // A pipe without a writer would be waited for without end.
        if !fs::metadata(&path).map_err(unreadable)?.is_file() {
            return Err(ArchitectureError::NotAFile { path });
        }
        let text = fs::read(&path).map_err(unreadable)?;
        let text = python_floats::mark(&text);
        let values = serde_json::from_slice(&text)
            .map_err(|source| ArchitectureError::Json { path: path.clone(), source })?;
        if let Some(key) = repeated_key(&text) {
            return Err(ArchitectureError::RepeatedKey { path, key });
        }
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

    /// The only entry of `architectures`.
    pub fn class(&self) -> Result<&str, ArchitectureError> {
        super::class_name(&self.values, &self.path)
    }

    /// The first of the dotted paths `keys` that there is, or else the first of all, of which there is
    /// one.
    pub fn first_of<'k>(&self, keys: &'k [String]) -> &'k str {
        keys.iter().find(|key| self.get(key).is_some()).unwrap_or(&keys[0])
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
    /// an entry per layer or name layers: layer `i` becomes what layer `source_layers[i]` was.
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
        if let Some(Value::String(letters)) = parent.get_mut(PER_LAYER_LETTERS)
            && Some(letters.chars().count() as u64) == n_layers_before
            && let Some(rearranged) =
                source_layers.iter().map(|&layer| letters.chars().nth(layer)).collect()
        {
            *letters = rearranged;
        }
        for list in LISTS_OF_LAYERS {
            let Some(Value::Array(named)) = parent.get_mut(list) else { continue };
            let is_named = |layer: &usize| named.iter().any(|name| *name == *layer);
            let places = source_layers.iter().enumerate().filter(|(_, layer)| is_named(layer));
            *named = places.map(|(place, _)| place.into()).collect();
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
        fs::write(&path, python_floats::unmark(format!("{:#}\n", self.values)))
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

/// A config that says nothing.
impl Default for ModelConfig {
    fn default() -> Self {
        Self { path: FILE.into(), values: Value::Object(Map::new()) }
    }
}

/// The value at a dotted path.
pub(super) fn lookup<'a>(values: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(values, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(values: Value) -> ModelConfig {
        ModelConfig::new(values, PathBuf::from("config.json")).unwrap()
    }

    #[test]
    fn a_directory_is_no_config() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::create_dir(&path).unwrap();
        let error = ModelConfig::load(directory.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` is not a regular file", path.display()));
        assert!(error.is_users_mistake());
    }

    #[test]
    fn saved_config_keeps_the_order_of_its_keys() {
        let directory = tempfile::tempdir().unwrap();
        let text = "{\n  \"z\": 0.5,\n  \"torch_dtype\": \"float32\",\n  \"a\": [\n    1\n  ]\n}\n";
        fs::write(directory.path().join("config.json"), text).unwrap();
        let mut config = ModelConfig::load(directory.path()).unwrap();
        config.set_dtype(DType::BF16);
        config.set("new.key", 3).unwrap();
        config.save(directory.path()).unwrap();
        let saved = fs::read_to_string(directory.path().join("config.json")).unwrap();
        let expected = text
            .replace("float32", "bfloat16")
            .replace("  ]\n}", "  ],\n  \"new\": {\n    \"key\": 3\n  }\n}");
        assert_eq!(saved, expected);
    }

    #[test]
    fn what_is_not_understood_is_kept_to_the_digit() {
        let text = r#"{
  "rope_theta": 500000.0,
  "rope_parameters": {
    "rope_theta": 1e6,
    "rope_type": "default"
  },
  "rms_norm_eps": 1e-05,
  "large": 9007199254740993,
  "third": 0.1234567890123456789,
  "time_step_limit": [
    0.0,
    Infinity
  ],
  "eos_token_id": [
    1,
    2
  ],
  "rope_scaling": null
}
"#;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), text).unwrap();
        ModelConfig::load(directory.path()).unwrap().save(directory.path()).unwrap();
        let saved = fs::read_to_string(directory.path().join("config.json")).unwrap();
        // Numbers are the same, though some are written in another way.
        let expected = text
            .replace("1e6", "1000000.0")
            .replace("1e-05", "0.00001")
            .replace("0.1234567890123456789", "0.12345678901234568");
        assert_eq!(saved, expected);
    }

    #[test]
    fn dtype_goes_where_the_config_has_it() {
        let mut modern = config(json!({"dtype": "float32"}));
        modern.set_dtype(DType::F16);
        assert_eq!(*modern.values(), json!({"dtype": "float16"}));
        let mut silent = config(json!({}));
        assert_eq!(silent.dtype(), None);
        silent.set_dtype(DType::BF16);
        assert_eq!(*silent.values(), json!({"torch_dtype": "bfloat16"}));
        assert_eq!(config(json!({"torch_dtype": "torch.float16"})).dtype(), Some("float16"));
    }

    #[test]
    fn lists_with_an_entry_per_layer_follow_the_layers() {
        let mut config = config(json!({
            "text_config": {"layers": 3, "layer_types": ["a", "b", "c"], "other": [1, 2, 3]},
            "layer_types": ["x"],
        }));
        config.set_source_layers("text_config.layers", &[2, 0, 0, 1]).unwrap();
        let expected = json!({
            "text_config": {"layers": 4, "layer_types": ["c", "a", "a", "b"], "other": [1, 2, 3]},
            "layer_types": ["x"],
        });
        assert_eq!(*config.values(), expected);
    }

    #[test]
    fn lists_that_name_layers_follow_them() {
        let mut config = config(json!({
            "layers": 3, "mlp_only_layers": [0, 2], "moe_layers": [], "full_attn_idxs": null,
            "num_key_value_heads": [1, 2, 4], "intermediate_size": 24,
            "hybrid_override_pattern": "M*-",
        }));
        config.set_source_layers("layers", &[0, 1, 0, 1, 2]).unwrap();
        let expected = json!({
            "layers": 5, "mlp_only_layers": [0, 2, 4], "moe_layers": [], "full_attn_idxs": null,
            "num_key_value_heads": [1, 2, 1, 2, 4], "intermediate_size": 24,
            "hybrid_override_pattern": "M*M*-",
        });
        assert_eq!(*config.values(), expected);
    }

    #[test]
    fn a_path_through_something_else_than_an_object_is_an_error() {
        let error = config(json!({"a": 1})).set("a.b", 2).unwrap_err();
        assert_eq!(error.to_string(), "`config.json`: `a` should be an object");
        let error = ModelConfig::new(json!([]), PathBuf::from("config.json")).unwrap_err();
        assert_eq!(error.to_string(), "`config.json`: the whole file should be an object");
    }

    #[test]
    fn a_missing_or_broken_config_is_described() {
        let directory = tempfile::tempdir().unwrap();
        let error = ModelConfig::load(directory.path()).unwrap_err();
        assert!(error.hint().unwrap().contains("beside its weights"));
        assert!(error.is_users_mistake());
        fs::write(directory.path().join("config.json"), "{").unwrap();
        let error = ModelConfig::load(directory.path()).unwrap_err();
        assert!(error.to_string().ends_with("config.json` is not valid JSON"), "{error}");
    }
}

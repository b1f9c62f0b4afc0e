//! Architectures as data: how a definition is written.
//!
//! ```json
//! {
//!   "name": "llama",
//!   "model_type": "llama",
//!   "architectures": ["LlamaForCausalLM"],
//!   "modules": {
//!     "default": {
//!       "layer_count_keys": ["num_hidden_layers"],
//!       "pre": [{"name": "model.embed_tokens.weight", "vocabulary_axis": 0}],
//!       "layer": [{"name": "model.layers.${layer_index}.mlp.up_proj.weight"}],
//!       "post": [{"name": "lm_head.weight", "optional": true, "tied": ["model.embed_tokens.weight"]}]
//!     }
//!   }
//! }
//! ```
//!
//! Keys of a tensor: `name`; `optional`, may be absent; `aliases`, other names to read it under;
//! `tied`, tensors to read in its place; `dtype`, fixed whatever the merge config says;
//! `vocabulary_axis`, the axis that token ids index; `kind`, the kind of layers that have it, where
//! layers differ: a layer is of the kind that it has any tensor of, and then has to have all of them;
//! `parts`, what it consists of in another layout of the layers. Keys of a module: `pre`, `layer`, `post`;
//! `prefix`, put before all its names; either `layer_count_keys`, dotted paths into `config.json` of
//! which the first that is there counts (`num_hidden_layers` unless given), or a fixed `layer_count`;
//! and `layer_variants`, lists of further layer tensors by name, of which a model has one: the first
//! of which it has any tensor, or else the last. Further keys of the definition: `vocabulary_size_keys`
//! (`vocab_size` unless given); `side_files` to be copied with the model; and `expert_count_keys` as
//! `layer_count_keys`, for names with `${expert_index}`, which stand for a tensor of each expert.
//! Unknown keys are errors.

use std::collections::HashSet;
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{
    ArchitectureDefinition, ArchitectureError, LayerCount, Module, NameTemplate, TensorTemplate,
};
use crate::kernels::dtype::DType;

impl ArchitectureDefinition {
    /// Reads a definition from JSON. `path` is only for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ArchitectureError> {
        let written: WrittenDefinition = serde_json::from_str(text)
            .map_err(|source| ArchitectureError::Definition { path: path.to_owned(), source })?;
        let empty = |key| Err(ArchitectureError::EmptyDefinition { path: path.to_owned(), key });
        if written.architectures.is_empty() {
            return empty("architectures");
        }
        if written.modules.is_empty() {
            return empty("modules");
        }
        let mut modules = IndexMap::new();
        let mut seen = HashSet::new();
        for (name, module) in written.modules {
            let module = module.check(&name, path)?;
            check_repetition(&module, &mut seen, path)?;
            modules.insert(name, module);
        }
        let definition = Self {
            name: written.name,
            model_type: written.model_type,
            architectures: written.architectures,
            modules,
            vocabulary_size_keys: written
                .vocabulary_size_keys
                .filter(|keys| !keys.is_empty())
                .unwrap_or_else(|| vec!["vocab_size".to_owned()]),
            expert_count_keys: written.expert_count_keys,
            side_files: written.side_files,
            is_inferred: false,
        };
        if definition.has_experts() && definition.expert_count_keys.is_empty() {
            return empty("expert_count_keys");
        }
        Ok(definition)
    }
}

/// No tensor of `module` is in `seen`, where they are put.
fn check_repetition(
    module: &Module,
    seen: &mut HashSet<NameTemplate>,
    path: &Path,
) -> Result<(), ArchitectureError> {
    for tensor in module.templates().chain(module.layer_variants.values().flatten()) {
        if !seen.insert(tensor.name.clone()) {
            let (path, tensor) = (path.to_owned(), tensor.name.to_string());
            return Err(ArchitectureError::RepeatedTensor { path, tensor });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDefinition {
    name: String,
    model_type: String,
    architectures: Vec<String>,
    modules: IndexMap<String, WrittenModule>,
    vocabulary_size_keys: Option<Vec<String>>,
    #[serde(default)]
    expert_count_keys: Vec<String>,
    #[serde(default)]
    side_files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenModule {
    #[serde(default)]
    prefix: String,
    layer_count_keys: Option<Vec<String>>,
    layer_count: Option<usize>,
    #[serde(default)]
    pre: Vec<WrittenTensor>,
    #[serde(default)]
    layer: Vec<WrittenTensor>,
    #[serde(default)]
    layer_variants: IndexMap<String, Vec<WrittenTensor>>,
    #[serde(default)]
    post: Vec<WrittenTensor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTensor {
    name: NameTemplate,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    aliases: Vec<NameTemplate>,
    #[serde(default)]
    tied: Vec<NameTemplate>,
    #[serde(default, rename = "dtype", deserialize_with = "dtype")]
    forced_dtype: Option<DType>,
    vocabulary_axis: Option<usize>,
    kind: Option<String>,
    #[serde(default)]
    parts: Vec<NameTemplate>,
}

impl WrittenModule {
    fn check(self, name: &str, path: &Path) -> Result<Module, ArchitectureError> {
        let layer_count = match (self.layer_count, self.layer_count_keys) {
            (None, None) => LayerCount::Keys(vec!["num_hidden_layers".to_owned()]),
            (None, Some(keys)) if keys.is_empty() => {
                let key = "layer_count_keys";
                return Err(ArchitectureError::EmptyDefinition { path: path.to_owned(), key });
            }
            (None, Some(keys)) => LayerCount::Keys(keys),
            (Some(n_layers), None) => LayerCount::Fixed(n_layers),
            (Some(_), Some(_)) => {
                return Err(ArchitectureError::LayerCountTwice {
                    path: path.to_owned(),
                    module: name.to_owned(),
                });
            }
        };
        let prefix = |tensors: Vec<WrittenTensor>| {
            tensors.into_iter().map(|tensor| tensor.with_prefix(&self.prefix)).collect()
        };
        let module = Module {
            layer_count,
            pre: prefix(self.pre),
            layer: prefix(self.layer),
            layer_variants: self
                .layer_variants
                .into_iter()
                .map(|(name, tensors)| (name, prefix(tensors)))
                .collect(),
            post: prefix(self.post),
        };
        // Tied tensors may be outside of the layers, as the embeddings are.
        let own_names = |tensor: &TensorTemplate| {
            std::iter::once(&tensor.name)
                .chain(&tensor.aliases)
                .chain(&tensor.parts)
                .cloned()
                .collect::<Vec<_>>()
        };
        let mut layer_names =
            module.layer.iter().chain(module.layer_variants.values().flatten()).flat_map(own_names);
        if let Some(name) = layer_names.find(|name| !name.has_layer_index()) {
            let (path, tensor) = (path.to_owned(), name.to_string());
            return Err(ArchitectureError::NameWithoutLayer { path, tensor });
        }
        let mut other_names =
            module.pre.iter().chain(&module.post).flat_map(|tensor| {
                own_names(tensor).into_iter().chain(tensor.tied.iter().cloned())
            });
        if let Some(name) =
            other_names.find(|name| name.has_layer_index() || name.has_expert_index())
        {
            let (path, tensor) = (path.to_owned(), name.to_string());
            return Err(ArchitectureError::NameWithLayer { path, tensor });
        }
        drop((layer_names, other_names));
        if let Some(tensor) =
            module.pre.iter().chain(&module.post).find(|tensor| tensor.kind.is_some())
        {
            let (path, tensor) = (path.to_owned(), tensor.name.to_string());
            return Err(ArchitectureError::KindWithoutLayer { path, tensor });
        }
        Ok(module)
    }
}

impl WrittenTensor {
    fn with_prefix(self, prefix: &str) -> TensorTemplate {
        let all = |names: Vec<NameTemplate>| {
            names.into_iter().map(|name| name.with_prefix(prefix)).collect()
        };
        TensorTemplate {
            name: self.name.with_prefix(prefix),
            optional: self.optional,
            aliases: all(self.aliases),
            tied: all(self.tied),
            forced_dtype: self.forced_dtype,
            vocabulary_axis: self.vocabulary_axis,
            kind: self.kind,
            parts: all(self.parts),
        }
    }
}

/// Reads the name that PyTorch uses.
fn dtype<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DType>, D::Error> {
    use DType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8};
    let name = String::deserialize(deserializer)?;
    [BF16, F16, F32, F64, I64, I32, I16, I8, U8, Bool]
        .into_iter()
        .find(|dtype| dtype.to_string() == name)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("`{name}` is not an element type")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::architecture::{Location, TensorNames};

    fn parse(modules: Value) -> Result<ArchitectureDefinition, ArchitectureError> {
        let definition = json!({
            "name": "test", "model_type": "test", "architectures": ["Test"], "modules": modules,
        });
        ArchitectureDefinition::parse(&definition.to_string(), Path::new("test.json"))
    }

    fn message(module: Value) -> String {
        let error = parse(json!({ "default": module })).unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }

    #[test]
    fn a_prefix_applies_to_every_name_of_its_module() {
        let definition = parse(json!({
            "text": {
                "prefix": "language_model.",
                "layer_count_keys": ["text_config.num_hidden_layers"],
                "layer": [{"name": "h.${layer_index}.w", "aliases": ["${layer_index}.w"]}],
                "post": [{"name": "head", "optional": true, "tied": ["wte"], "dtype": "int64"}],
            },
            "projector": {"layer_count": 0, "pre": [{"name": "wte", "vocabulary_axis": 1}]},
        }));
        let definition = definition.unwrap();
        let text = &definition.modules["text"];
        assert_eq!(
            text.layer_count,
            LayerCount::Keys(vec!["text_config.num_hidden_layers".to_owned()])
        );
        assert_eq!(
            text.layer[0].names_for(Location::Layer(3), 4),
            TensorNames {
                name: "language_model.h.3.w".to_owned(),
                aliases: vec!["language_model.3.w".to_owned()],
                tied: vec![],
            }
        );
        let head = &text.post[0];
        assert_eq!(head.names_for(Location::Post, 4).tied, ["language_model.wte"]);
        assert_eq!((head.optional, head.forced_dtype), (true, Some(DType::I64)));
        let projector = &definition.modules["projector"];
        assert_eq!(projector.layer_count, LayerCount::Fixed(0));
        assert_eq!(projector.pre[0].vocabulary_axis, Some(1));
        assert_eq!(definition.vocabulary_size_keys, ["vocab_size"]);
    }

    #[test]
    fn tensors_come_layer_by_layer_between_pre_and_post() {
        let definition = parse(json!({"default": {
            "pre": [{"name": "in"}],
            "layer": [{"name": "${layer_index}.a"}, {"name": "${layer_index}.b"}],
            "post": [{"name": "out"}],
        }}));
        let names: Vec<_> = definition.unwrap().modules["default"]
            .tensors(2)
            .map(|(location, tensor)| tensor.name_for(location, 2))
            .collect();
        assert_eq!(names, ["in", "0.a", "0.b", "1.a", "1.b", "out"]);
    }

    #[test]
    fn mistakes_in_definitions_are_described() {
        let cases = [
            (
                json!({"pre": [{"name": "w", "tide": []}]}),
                "`test.json` is not an architecture definition: unknown field `tide`, expected one of \
                `name`, `optional`, `aliases`, `tied`, `dtype`, `vocabulary_axis`, `kind`, `parts` at line 1 column 107",
            ),
            (
                json!({"pre": [{"name": "w", "dtype": "int7"}]}),
                "`test.json` is not an architecture definition: `int7` is not an element type \
                at line 1 column 116",
            ),
            (
                json!({"layer": [{"name": "w"}]}),
                "`test.json`: layer tensor `w` does not contain `${layer_index}`",
            ),
            (
                json!({"post": [{"name": "w.${layer_index}"}]}),
                "`test.json`: `w.${layer_index}` is not in a layer, so it cannot use `${layer_index}`",
            ),
            (
                json!({"post": [{"name": "w", "kind": "dense"}]}),
                "`test.json`: `w` is not in a layer, so it cannot have a `kind`",
            ),
            (
                json!({"pre": [{"name": "w"}], "post": [{"name": "w"}]}),
                "`test.json` lists tensor `w` twice",
            ),
            (
                json!({"layer_count": 1, "layer_count_keys": ["n"]}),
                "`test.json`: module `default` has both `layer_count` and `layer_count_keys`",
            ),
        ];
        for (module, expected) in cases {
            assert_eq!(message(module), expected);
        }
        assert_eq!(parse(json!({})).unwrap_err().to_string(), "`test.json`: `modules` is empty");
    }
}

//! Everything that can be wrong with a model's config or an architecture definition.

use std::io;
use std::path::PathBuf;

use crate::files;

/// Everything that can be wrong with a model's config or an architecture definition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The operating system refused a write.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// What should be a file is a directory, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },

    /// A file is no JSON.
    #[error("`{}` is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it deviates.
        source: serde_json::Error,
    },

    /// An object has a key twice, so that nobody knows which value is meant.
    #[error("`{}` has the key `{key}` twice in the same object", path.display())]
    RepeatedKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },

    /// A value that should be an object is not.
    #[error("`{}`: {what} should be an object", path.display())]
    NotAnObject {
        /// The config.
        path: PathBuf,
        /// The key's path, or `the whole file`.
        what: String,
    },

    /// The config does not say which architecture the model has.
    #[error("`{}` does not name the model's class under `architectures`", path.display())]
    Unnamed {
        /// The config.
        path: PathBuf,
    },

    /// The config names several architectures.
    #[error("`{}` names several `architectures`: {found}", path.display())]
    Several {
        /// The config.
        path: PathBuf,
        /// The value as JSON.
        found: String,
    },

    /// There is no definition of the architecture.
    #[error("`{}`: architecture `{name}` is not supported", path.display())]
    Unknown {
        /// The config.
        path: PathBuf,
        /// The architecture named there.
        name: String,
        /// Those that are supported.
        known: Vec<String>,
    },

    /// The config lacks a value that is needed.
    #[error("`{}` has no `{key}`", path.display())]
    NoKey {
        /// The config.
        path: PathBuf,
        /// The key's path.
        key: String,
    },

    /// A number of layers or experts is no number.
    #[error("`{}`: `{key}` is {value}, which is not a number of {what}", path.display())]
    Count {
        /// The config.
        path: PathBuf,
        /// The key's path.
        key: String,
        /// The value as JSON.
        value: String,
        /// `layers` or `experts`.
        what: &'static str,
    },

    /// The config claims more layers or experts than the weights could have.
    #[error(
        "`{}`: `{key}` is {count}, but the weights have only {n_tensors} tensors",
        path.display()
    )]
    TooMany {
        /// The config.
        path: PathBuf,
        /// The key's path.
        key: String,
        /// Its value.
        count: usize,
        /// Tensors in the weights.
        n_tensors: usize,
    },

    /// The definition deviates from the form of definitions.
    #[error("`{}` is not an architecture definition", path.display())]
    Definition {
        /// The definition.
        path: PathBuf,
        /// Where and how it deviates.
        source: serde_json::Error,
    },

    /// The definition applies to no model.
    #[error("`{}`: `{key}` is empty", path.display())]
    EmptyDefinition {
        /// The definition.
        path: PathBuf,
        /// What should not be empty.
        key: &'static str,
    },

    /// A module gives its number of layers in two ways.
    #[error(
        "`{}`: module `{module}` has both `layer_count` and `layer_count_keys`",
        path.display()
    )]
    LayerCountTwice {
        /// The definition.
        path: PathBuf,
        /// The module.
        module: String,
    },

    /// All layers would have the same tensor.
    #[error("`{}`: layer tensor `{tensor}` does not contain `${{layer_index}}`", path.display())]
    NameWithoutLayer {
        /// The definition.
        path: PathBuf,
        /// The name as written.
        tensor: String,
    },

    /// A tensor outside of the layers has no layer index.
    #[error("`{}`: `{tensor}` is not in a layer, so it cannot use `${{layer_index}}`", path.display())]
    NameWithLayer {
        /// The definition.
        path: PathBuf,
        /// The name as written.
        tensor: String,
    },

    /// A tensor outside of the layers is said to be in some of them.
    #[error("`{}`: `{tensor}` is not in a layer, so it cannot have a `kind`", path.display())]
    KindWithoutLayer {
        /// The definition.
        path: PathBuf,
        /// The name as written.
        tensor: String,
    },

    /// The definition lists a tensor twice.
    #[error("`{}` lists tensor `{tensor}` twice", path.display())]
    RepeatedTensor {
        /// The definition.
        path: PathBuf,
        /// The name as written, with the module's prefix.
        tensor: String,
    },
}

impl ArchitectureError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!("supported are {}", known.join(", "))),
            Self::Unnamed { .. } | Self::Several { .. } => Some(
                "a model's config has exactly one, such as `\"architectures\": [\"LlamaForCausalLM\"]`"
                    .to_owned(),
            ),
            Self::Read { path, source }
                if source.kind() == io::ErrorKind::NotFound && path.ends_with("config.json") =>
            {
                Some("a model directory holds a `config.json` beside its weights".to_owned())
            }
            _ => None,
        }
    }

    /// Whether another input would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => {
                files::is_users_mistake(source)
            }
            _ => true,
        }
    }
}

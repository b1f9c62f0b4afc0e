//! Everything that can be wrong with an adapter before any weight is read, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::files;
use crate::kernels::dtype::DType;

/// Everything that can be wrong with an adapter before any weight is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The adapter's weights cannot be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// There is no such adapter directory.
    #[error("adapter directory `{}` does not exist", path.display())]
    NoDirectory {
        /// The directory asked for.
        path: PathBuf,
    },

    /// The directory is no adapter in PEFT's layout.
    #[error("`{}` holds no `adapter_config.json`", path.display())]
    NoConfig {
        /// The directory.
        path: PathBuf,
    },

    /// The config is no JSON of the expected form.
    #[error("`{}` is not the config of an adapter", path.display())]
    Syntax {
        /// The config.
        path: PathBuf,
        /// Where the JSON deviates.
        source: serde_json::Error,
    },

    /// An adapter of another kind.
    #[error("`{}` is a {found} adapter; only LORA adapters can be merged in", path.display())]
    NotLora {
        /// The config.
        path: PathBuf,
        /// Its `peft_type`.
        found: String,
    },

    /// A variant of LoRA that changes a model in another way.
    #[error("`{}`: adapters with `{field}` of {value} cannot be merged in", path.display())]
    Variant {
        /// The config.
        path: PathBuf,
        /// The field that asks for it.
        field: &'static str,
        /// Its value.
        value: String,
    },

    /// A key of a pattern is no regular expression.
    #[error("`{}`: `{pattern}` in `{field}` is not a regular expression", path.display())]
    Pattern {
        /// The config.
        path: PathBuf,
        /// `rank_pattern` or `alpha_pattern`.
        field: &'static str,
        /// The key.
        pattern: String,
        /// What is wrong with it.
        source: Box<fancy_regex::Error>,
    },

    /// A pattern goes through too many possibilities.
    #[error("`{}`: pattern `{pattern}` cannot be matched against `{module}`", path.display())]
    SlowPattern {
        /// The config.
        path: PathBuf,
        /// The pattern, with what anchors it.
        pattern: String,
        /// The name of the module that it was held against.
        module: String,
    },

    /// The directory holds no weights.
    #[error("`{}` holds neither `adapter_model.safetensors` nor `adapter_model.bin`", path.display())]
    NoWeights {
        /// The directory.
        path: PathBuf,
    },

    /// What should be a file is a directory, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },

    /// Two tensors of the adapter do the same, or change the same tensor of the model in the same way.
    #[error("`{}`: `{first}` and `{second}` are the same change twice", path.display())]
    Twice {
        /// The adapter.
        path: PathBuf,
        /// The tensor that comes first.
        first: String,
        /// The other one.
        second: String,
    },

    /// A tensor that is neither part of a LoRA layer nor a tensor of the base.
    #[error("`{}`: `{tensor}` is no tensor of a LoRA adapter", path.display())]
    UnknownTensor {
        /// The adapter.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },

    /// One part of a module is there without another one.
    #[error("`{}`: module `{module}` has no `{missing}`", path.display())]
    MissingPart {
        /// The adapter.
        path: PathBuf,
        /// The module.
        module: String,
        /// The part, as files name it.
        missing: &'static str,
    },

    /// A module has the parts of DoRA, but the config says that it is none.
    #[error("`{}`: module `{module}` has magnitudes, but `use_dora` is not set", path.display())]
    UnexpectedMagnitude {
        /// The adapter.
        path: PathBuf,
        /// The module.
        module: String,
    },

    /// The config gives a module another rank than its tensors have.
    #[error(
        "`{}`: module `{module}` has rank {found}, but `adapter_config.json` says {configured}",
        path.display()
    )]
    Rank {
        /// The adapter.
        path: PathBuf,
        /// The module.
        module: String,
        /// Rank by the config.
        configured: usize,
        /// Rank of the tensors.
        found: usize,
    },

    /// The adapter changes a tensor that the base does not have.
    #[error("adapter `{}` changes `{tensor}`, which `{base}` does not have", path.display())]
    NotInBase {
        /// The adapter.
        path: PathBuf,
        /// The model under it.
        base: String,
        /// The tensor.
        tensor: String,
        /// The model that the adapter names as its base.
        trained_on: Option<String>,
    },

    /// The adapter's tensors do not fit the base's.
    #[error(transparent)]
    Shape(Box<Misfit>),

    /// The adapter changes whole numbers, as quantised models have.
    #[error("adapter `{}` cannot change `{tensor}` of `{base}`, which has type {dtype}", path.display())]
    NotFloat {
        /// The adapter.
        path: PathBuf,
        /// The model under it.
        base: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
    },
}

/// A tensor of an adapter that does not fit the base's.
#[derive(Debug, thiserror::Error)]
#[error(
    "adapter `{}` does not fit `{base}`: `{part}` of shape {found:?} cannot change `{tensor}` \
     of shape {shape:?}",
    path.display()
)]
pub struct Misfit {
    /// The adapter.
    pub path: PathBuf,
    /// The model under it.
    pub base: String,
    /// The tensor in the adapter.
    pub part: String,
    /// Its shape.
    pub found: Vec<usize>,
    /// The tensor that it changes.
    pub tensor: String,
    /// The shape of that one.
    pub shape: Vec<usize>,
    /// The model that the adapter names as its base.
    pub trained_on: Option<String>,
}

impl AdapterError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::NoDirectory { path } if path.is_relative() => {
                "adapters are read from local directories; relative paths begin at the current \
                 directory"
                    .to_owned()
            }
            Self::NoConfig { .. } => {
                "what stands behind `+` is the directory of an adapter that `save_pretrained` of \
                 peft wrote"
                    .to_owned()
            }
            Self::NotLora { .. } => {
                "merge it into its model with `merge_and_unload()` of peft, and name the result"
                    .to_owned()
            }
            Self::Variant { field: "init_lora_weights", .. } => {
                "save it with `path_initial_model_for_weight_conversion` of peft, which makes it an \
                 ordinary adapter"
                    .to_owned()
            }
            Self::Variant { .. } => {
                "merge the adapter into its model with `merge_and_unload()` of peft, and name the \
                 result"
                    .to_owned()
            }
            Self::SlowPattern { .. } => {
                "write the pattern without a repetition inside of a repetition".to_owned()
            }
            Self::MissingPart { .. } | Self::NoWeights { .. } => {
                "the adapter is probably an incomplete download; fetch it again".to_owned()
            }
            Self::UnexpectedMagnitude { .. } | Self::Rank { .. } | Self::Twice { .. } => {
                "the adapter's config and weights do not belong together; fetch both again".to_owned()
            }
            Self::NotInBase { trained_on, .. } => return trained_on.as_deref().map(trained_on_hint),
            Self::Shape(misfit) => return misfit.trained_on.as_deref().map(trained_on_hint),
            Self::NotFloat { .. } => {
                "name the model before it was quantised".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether another input or another path would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Read { source, .. } => files::is_users_mistake(source),
            _ => true,
        }
    }
}

fn trained_on_hint(model: &str) -> String {
    format!("the adapter was trained on `{model}`")
}

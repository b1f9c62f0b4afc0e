//! Everything that can go wrong when a model is built or run, and what to do about it.

use super::device::DeviceChoice;

/// Everything that can go wrong when a model is built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LmError {
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),

    /// The model is of a family for which there is no decoder.
    #[error("cannot evaluate models of architecture `{architecture}` yet")]
    UnsupportedArchitecture {
        /// The architecture as written in the config.
        architecture: String,
    },

    /// The program was built without support for a kind of device.
    #[error("cannot run models on `{device}`, because this program was built without {name}")]
    DeviceNotBuilt {
        /// The device asked for.
        device: DeviceChoice,
        /// What is missing, as people call it.
        name: &'static str,
        /// The Cargo feature with which it would be there.
        feature: &'static str,
    },

    /// A device cannot be used.
    #[error("cannot run models on `{device}`")]
    DeviceUnavailable {
        /// The device asked for.
        device: DeviceChoice,
        /// What its driver says.
        #[source]
        source: candle_core::Error,
    },

    /// The config asks for a variant of its family that the decoder does not compute.
    #[error("cannot evaluate models whose config has `{field}` set to `{value}` yet")]
    UnsupportedSetting {
        /// Path of the field in config.json.
        field: String,
        /// The value as written there.
        value: String,
    },

    /// The config lacks a field without which the model is undefined.
    #[error("the model's config has no `{field}`")]
    MissingField {
        /// Path of the field in config.json.
        field: String,
    },

    /// A field of the config has a value that makes no sense.
    #[error("`{field}` in the model's config is `{value}`, but should be {expected}")]
    InvalidField {
        /// Path of the field in config.json.
        field: String,
        /// The value as written there.
        value: String,
        /// What would be right.
        expected: String,
    },

    /// A tensor that the config promises is absent.
    #[error("the model has no tensor `{tensor}`")]
    MissingTensor {
        /// Name of the tensor.
        tensor: String,
    },

    /// A tensor's shape contradicts the config.
    #[error("tensor `{tensor}` has shape {actual:?}, but the config implies {expected:?}")]
    TensorShape {
        /// Name of the tensor.
        tensor: String,
        /// The shape implied by the config.
        expected: Vec<usize>,
        /// The shape found.
        actual: Vec<usize>,
    },

    /// A request gives the model nothing to start from.
    #[error("request {request} has no tokens before what the model should say")]
    EmptyContext {
        /// Index of the request.
        request: usize,
    },

    /// A request asks for the probability of nothing.
    #[error("request {request} has no tokens to score")]
    EmptyContinuation {
        /// Index of the request.
        request: usize,
    },

    /// A token id is outside of the vocabulary.
    #[error("request {request} holds token {token}, but the model knows {vocabulary} tokens")]
    UnknownToken {
        /// Index of the request.
        request: usize,
        /// The token id.
        token: u32,
        /// Number of token ids the model knows, counted from 0.
        vocabulary: usize,
    },

    /// What should be scored or produced leaves no room for a context.
    #[error(
        "request {request} asks for {tokens} tokens, but the model's context holds {max_length}"
    )]
    RequestTooLong {
        /// Index of the request.
        request: usize,
        /// Tokens to score or to produce.
        tokens: usize,
        /// Most tokens that the model sees at once.
        max_length: usize,
    },

    /// The model computed something that is no number.
    #[error("the model's output for request {request} is not finite")]
    NotFinite {
        /// Index of the request.
        request: usize,
    },
}

impl LmError {
    /// What would put it right, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnsupportedArchitecture { .. } => Some(format!(
                "let another program evaluate it, with `evaluator: command`; architectures that can be \
                 evaluated here: {}",
                super::families::supported_architectures().join(", ")
            )),
            Self::DeviceNotBuilt { feature, .. } => {
                Some(format!("install it with `--features {feature}`, or choose `cpu`"))
            }
            Self::UnsupportedSetting { field, .. } if field.starts_with("rope") => Some(
                "rotary embeddings known: default, linear, dynamic, yarn, llama3, longrope"
                    .to_owned(),
            ),
            Self::TensorShape { .. } => {
                Some("config.json and the weights seem to belong to different models".to_owned())
            }
            Self::UnknownToken { .. } => {
                Some("the tokenizer seems to belong to another model".to_owned())
            }
            Self::NotFinite { .. } => {
                Some("a weight is probably infinite or not a number".to_owned())
            }
            Self::RequestTooLong { .. } => {
                Some("ask for fewer tokens, or raise the maximum length".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the model or the request is at fault, rather than the machine.
    pub fn is_users_mistake(&self) -> bool {
        !matches!(self, Self::Candle(_) | Self::DeviceUnavailable { .. })
    }
}

//! Everything that can go wrong while models are measured.

use crate::adapter::AdapterError;
use crate::checkpoint::CheckpointError;

/// Everything that can go wrong while models are measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Weights could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// An adapter cannot be opened, or does not fit its model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),

    /// The system gave no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// The models have nothing to compare.
    #[error("`{a}` and `{b}` have no tensor of the same name and shape")]
    NothingInCommon {
        /// The first model.
        a: String,
        /// The second model.
        b: String,
    },

    /// The base model has nothing to compare with.
    #[error("base model `{base}` has no tensor of the same name and shape as `{a}` and `{b}`")]
    NothingInBase {
        /// The base model.
        base: String,
        /// The first model.
        a: String,
        /// The second model.
        b: String,
    },

    /// The run was asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl InspectError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Adapter(error) => error.hint(),
            Self::NothingInCommon { .. } | Self::NothingInBase { .. } => {
                Some("`mergekit inspect MODEL --tensors` lists a model's tensors".to_owned())
            }
            Self::Threads(_) | Self::Interrupted => None,
        }
    }

    /// Whether other models would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Adapter(error) => error.is_users_mistake(),
            Self::NothingInCommon { .. } | Self::NothingInBase { .. } => true,
            Self::Threads(_) | Self::Interrupted => false,
        }
    }
}

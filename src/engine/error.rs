//! Everything that can go wrong while a plan runs.

use std::io;
use std::path::PathBuf;

use indicatif::DecimalBytes;

use crate::architecture::ArchitectureError;
use crate::checkpoint::CheckpointError;
use crate::methods::MethodError;
use crate::tokenizer::TokenizerError;

use super::anomaly::Anomaly;
use super::lock::LockError;

/// Everything that can go wrong while a plan runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Weights could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// The output's config or side files could not be written.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),

    /// The output's tokenizer could not be written.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// The lock could not be written, or its inputs not read.
    #[error(transparent)]
    Lock(#[from] LockError),

    /// A file beside the weights could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The output would replace one of the inputs.
    #[error("output directory `{}` is the input model `{model}`", path.display())]
    OutputIsInput {
        /// The output directory.
        path: PathBuf,
        /// The model.
        model: String,
    },

    /// A value is no finite number, and strictness was asked for.
    #[error(transparent)]
    Anomaly(#[from] Anomaly),

    /// Models differ in a tensor of whole numbers, which cannot be merged.
    #[error("tensor `{tensor}` holds whole numbers, which differ between `{first}` and `{model}`")]
    Unequal {
        /// The output tensor.
        tensor: String,
        /// The first model.
        first: String,
        /// One that differs.
        model: String,
    },

    /// The method refused a tensor.
    #[error("merging tensor `{tensor}`")]
    Method {
        /// The output tensor.
        tensor: String,
        /// Why.
        source: MethodError,
    },

    /// The memory limit leaves no room for a single thread.
    #[error(
        "the memory limit of {} is too small: this merge needs {}",
        DecimalBytes(*limit), DecimalBytes(*needed)
    )]
    MemoryLimit {
        /// As asked for.
        limit: u64,
        /// The least that would do.
        needed: u64,
    },

    /// The system gave no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// A merged tensor could not be handed over.
    #[error("cannot make tensor `{tensor}`")]
    Tensor {
        /// The output tensor.
        tensor: String,
        /// Why.
        source: candle_core::Error,
    },

    /// The run was asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl EngineError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::Architecture(error) => return error.hint(),
            Self::Lock(error) => return error.hint(),
            Self::OutputIsInput { .. } => "choose another directory for the output",
            Self::Anomaly(anomaly) => anomaly.hint(),
            Self::MemoryLimit { .. } => "raise `--memory-limit`",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether another config or other models would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Architecture(error) => error.is_users_mistake(),
            Self::Tokenizer(error) => error.is_users_mistake(),
            Self::Lock(error) => error.is_users_mistake(),
            Self::Write { .. } | Self::Threads(_) | Self::Tensor { .. } | Self::Interrupted => {
                false
            }
            Self::OutputIsInput { .. }
            | Self::Anomaly(_)
            | Self::Unequal { .. }
            | Self::Method { .. }
            | Self::MemoryLimit { .. } => true,
        }
    }

    /// The file or directory that could not be written, where that is what it says.
    pub(super) fn unwritten(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Checkpoint(CheckpointError::Write { path, .. })
            | Self::Checkpoint(CheckpointError::DiskFull { path, .. })
            | Self::Architecture(ArchitectureError::Write { path, .. })
            | Self::Tokenizer(TokenizerError::Write { path, .. })
            | Self::Lock(LockError::Write { path, .. })
            | Self::Write { path, .. } => Some(path),
            _ => None,
        }
    }

    /// What a method said about `tensor`; the engine's own errors come back out of it unchanged.
    pub(super) fn from_method(tensor: &str, error: MethodError) -> Self {
        let wrapped = match error {
            MethodError::Read(error) => match error.downcast::<Self>() {
                Ok(own) => return *own,
                Err(other) => MethodError::Read(other),
            },
            other => other,
        };
        Self::Method { tensor: tensor.to_owned(), source: wrapped }
    }
}

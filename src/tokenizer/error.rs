//! What can be wrong with a tokenizer's files.

use std::io;
use std::path::PathBuf;

/// What can be wrong with a tokenizer's files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file is not what its name promises.
    #[error("`{}` is no JSON object", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// Where, if it is no JSON at all.
        source: Option<serde_json::Error>,
    },

    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TokenizerError {
    /// Whether other models would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::NotAnObject { .. } => true,
            Self::Read { source, .. } => crate::files::is_users_mistake(source),
            Self::Write { .. } => false,
        }
    }
}

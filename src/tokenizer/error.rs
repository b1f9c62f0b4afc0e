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

    /// A model has no tokenizer in the one form that is understood.
    #[error("`{}` has no `tokenizer.json`", directory.display())]
    Missing {
        /// The model's directory.
        directory: PathBuf,
    },

    /// A `tokenizer.json` has not the form of one.
    #[error("`{}` cannot be understood: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
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
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "loading and saving the tokenizer once with `AutoTokenizer` of transformers writes it \
                in that form"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether other models would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::NotAnObject { .. } | Self::Missing { .. } | Self::Malformed { .. } => true,
            Self::Read { source, .. } => crate::files::is_users_mistake(source),
            Self::Write { .. } => false,
        }
    }
}

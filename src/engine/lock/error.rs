//! What can be wrong with a lock, or with what it is held against.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use crate::files;

/// What can be wrong with a lock, or with what it is held against.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file became shorter while it was read.
    #[error("`{}` was cut off while it was read", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
    },

    /// The lock could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file is no lock.
    #[error("`{}` is no lock of a merge", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },

    /// A lock in a form that this version does not know.
    #[error("`{}` has format {found}, and this version knows {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The only format that is known.
        known: u64,
    },

    /// The lock is of another merge config.
    #[error("`{}` is not the merge config of the lock", path.display())]
    Config {
        /// The config.
        path: PathBuf,
    },

    /// An option differs.
    #[error("`--{name}` is {found}, and {expected} in the lock")]
    Option {
        /// The option.
        name: String,
        /// Its value now.
        found: Box<Value>,
        /// Its value in the lock.
        expected: Box<Value>,
    },

    /// The lock lacks a model.
    #[error("the lock has no model `{model}`")]
    NoModel {
        /// The model.
        model: String,
    },

    /// A file of the lock is not there.
    #[error("`{}` is missing, which is in the lock", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },

    /// A file is there that the lock does not have.
    #[error("`{}` is not in the lock", path.display())]
    New {
        /// The file.
        path: PathBuf,
    },

    /// A file has another size.
    #[error("`{}` has {found} bytes, and {expected} in the lock", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size now.
        found: u64,
        /// Its size in the lock.
        expected: u64,
    },

    /// A file has another content.
    #[error("`{}` has another SHA-256 than in the lock", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl LockError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Option { name, expected, .. } => return Some(option_hint(name, expected)),
            Self::Format { .. } => {
                "merge again without `--locked`, or with the version that wrote it"
            }
            Self::CutOff { .. } => {
                "another program is writing to it; try again when that has finished"
            }
            Self::Config { .. } => {
                "`mergekit_config.yml` beside the lock is; `--locked=LOCK` names another lock"
            }
            Self::Missing { .. } | Self::New { .. } | Self::Size { .. } | Self::Content { .. } => {
                "fetch the model as it was, or merge without `--locked` what is there now"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether other files or flags would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Read { source, .. } => files::is_users_mistake(source),
            Self::Write { .. } => false,
            _ => true,
        }
    }
}

/// How an option gets the value of a lock.
fn option_hint(name: &str, expected: &Value) -> String {
    match expected {
        Value::Null => format!("leave out `--{name}`"),
        Value::Bool(true) => format!("add `--{name}`"),
        Value::Bool(false) => format!("add `--no-{name}`"),
        Value::String(text) => format!("add `--{name} {text}`"),
        other => format!("add `--{name} {other}`"),
    }
}

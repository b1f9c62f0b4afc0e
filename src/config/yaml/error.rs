//! What can be wrong with any YAML file, whatever it is for.

use std::io;
use std::path::PathBuf;

use super::{Place, closest};

use crate::files;

/// What can be wrong with any YAML file, whatever it is for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The file is not text.
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },

    /// What should be a file is a directory.
    #[error("`{}` is a directory, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },

    /// The text has too many brackets and braces in each other.
    #[error("{at}: more than {limit} brackets and braces are open at once")]
    TooDeep {
        /// The first one too many.
        at: Place,
        /// How many may be open.
        limit: usize,
    },

    /// A number is larger than any that can be read.
    #[error("{at}: the number `{number}` is too large")]
    NumberTooLarge {
        /// The number.
        at: Place,
        /// As written, or in decimal.
        number: String,
    },

    /// The text is not YAML.
    #[error("{at}: not valid YAML: {problem}")]
    Syntax {
        /// Where the text stops being YAML.
        at: Place,
        /// What the parser says.
        problem: String,
    },

    /// A mapping has a key twice.
    #[error("{at}: `{key}` is given twice in the same mapping")]
    RepeatedKey {
        /// The second time.
        at: Place,
        /// The key.
        key: String,
    },

    /// A mapping has a key that nothing reads.
    #[error("{at}: unknown field `{name}`")]
    UnknownField {
        /// The key.
        at: Place,
        /// The key's name alone.
        name: String,
        /// The fields that are read here.
        known: Vec<String>,
    },

    /// A mapping lacks a key.
    #[error("{at}: field `{name}` is missing")]
    MissingField {
        /// The mapping.
        at: Place,
        /// The field.
        name: String,
    },

    /// A value is of another type.
    #[error("{at}: expected {expected}, found {found}")]
    WrongType {
        /// The value.
        at: Place,
        /// With its article, such as `a list`.
        expected: String,
        /// The value, shortened.
        found: String,
    },
}

impl YamlError {
    /// Where in the file the mistake is; nothing where the file as a whole cannot be read.
    pub fn at(&self) -> Option<&Place> {
        match self {
            Self::Read { .. } | Self::NotText { .. } | Self::NotAFile { .. } => None,
            Self::TooDeep { at, .. }
            | Self::NumberTooLarge { at, .. }
            | Self::Syntax { at, .. }
            | Self::RepeatedKey { at, .. }
            | Self::UnknownField { at, .. }
            | Self::MissingField { at, .. }
            | Self::WrongType { at, .. } => Some(at),
        }
    }

    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownField { name, known, .. } => Some(did_you_mean(name, known)),
            Self::Syntax { problem, .. } if problem.contains("cannot start any token") => {
                Some("YAML is indented with spaces, and text that starts with a special character is quoted".to_owned())
            }
            _ => None,
        }
    }

    /// Whether another input would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Read { source, .. } => files::is_users_mistake(source),
            _ => true,
        }
    }
}

/// The hint for a name that does not exist: the closest one that does, or all of them.
pub fn did_you_mean<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    if let Some(meant) = closest(name, known) {
        return format!("did you mean `{meant}`?");
    }
    let quoted: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing can be given here".to_owned(),
        [only] => format!("only {only} can be given here"),
        [first @ .., last] => format!("possible are {} and {last}", first.join(", ")),
    }
}

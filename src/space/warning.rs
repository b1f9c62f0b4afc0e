//! What in a search file is read, but not obeyed.

use crate::config;
use crate::config::yaml::{Place, YamlError};

/// Something in a search file that is read, but not obeyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// Part of the merge config has no effect.
    #[error(transparent)]
    Config(#[from] config::Warning),

    /// A field that mergekit-evolve would pass over.
    #[error("{0}, which is passed over")]
    UnknownField(YamlError),

    /// A field whose meaning is not there yet.
    #[error("{at}: {fact}")]
    NotHonoured {
        /// The field.
        at: Place,
        /// What happens instead.
        fact: &'static str,
        /// How to make the warning go away.
        remedy: &'static str,
    },

    /// A genome has variables that no merge reads.
    #[error("{at}: the base model `{model}` is also listed, but its variables have no effect")]
    BaseHasVariables {
        /// The base model among the models.
        at: Place,
        /// Its reference.
        model: String,
    },
}

impl Warning {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(warning) => warning.hint(),
            Self::UnknownField(error) => error.hint(),
            Self::NotHonoured { remedy, .. } => Some((*remedy).to_owned()),
            Self::BaseHasVariables { .. } => {
                Some("leave the base model out of `models`: it takes part anyway".to_owned())
            }
        }
    }
}

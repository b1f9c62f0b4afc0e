//! Everything that can be wrong with a search file or a point of its space.

use crate::config::ConfigError;
use crate::config::yaml::{Place, YamlError, did_you_mean};

/// Everything that can be wrong with a search file or a point of its space.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The file is not the YAML that a search file is.
    #[error(transparent)]
    Yaml(#[from] YamlError),

    /// What stands under `merge` is not a merge config, even with its variables at their start.
    #[error(transparent)]
    Config(Box<ConfigError>),

    /// The file describes no merge.
    #[error("{at}: the search file has neither `merge` nor `genome`")]
    NoForm {
        /// The file.
        at: Place,
    },

    /// The file describes the merge twice.
    #[error("{at}: the search file has both `merge` and `genome`")]
    BothForms {
        /// The second.
        at: Place,
    },

    /// There is nothing to search.
    #[error("{at}: the merge config has no search variable")]
    NoVariables {
        /// The merge config.
        at: Place,
    },

    /// A variable stands where a merge config has no number that could vary.
    #[error("{at}: a search variable cannot stand here")]
    NotAVariablePlace {
        /// The variable.
        at: Place,
        /// What is possible there instead.
        instead: &'static str,
    },

    /// A variable is of more than one kind.
    #[error("{at}: a variable is either `{first}` or `{second}`")]
    TwoKinds {
        /// The variable.
        at: Place,
        /// One kind.
        first: String,
        /// Another kind.
        second: String,
    },

    /// A field has a meaning that is not there yet.
    #[error("{at}: {what} is not supported yet")]
    NotSupported {
        /// The field.
        at: Place,
        /// What is asked for.
        what: String,
        /// What works in its place.
        instead: &'static str,
    },

    /// An interval has no inside.
    #[error("{at}: the lower bound {low} is not below the upper bound {high}")]
    EmptyInterval {
        /// The interval.
        at: Place,
        /// Its lower bound.
        low: f64,
        /// Its upper bound.
        high: f64,
    },

    /// An interval that is too wide for its length to be a number.
    #[error("{at}: the bounds {low:e} and {high:e} are too far apart")]
    EndlessInterval {
        /// The interval.
        at: Place,
        /// Its lower bound.
        low: f64,
        /// Its upper bound.
        high: f64,
    },

    /// A logarithmic interval touches zero.
    #[error("{at}: the lower bound {low} of a logarithmic interval is not above 0")]
    LogOfNothing {
        /// The interval.
        at: Place,
        /// Its lower bound.
        low: f64,
    },

    /// A start lies outside of the interval.
    #[error("{at}: the start {init} is not between {low} and {high}")]
    InitOutside {
        /// The start.
        at: Place,
        /// As given.
        init: f64,
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },

    /// A group would have no layer.
    #[error("{at}: {groups} groups do not fit into {layers} layers")]
    GroupsDoNotFit {
        /// The number of groups.
        at: Place,
        /// As given.
        groups: usize,
        /// Layers of the models, or of the slice.
        layers: usize,
    },

    /// Layers would be left over.
    #[error("{at}: groups of {granularity} layers do not divide {layers} layers")]
    GranularityDoesNotDivide {
        /// The granularity.
        at: Place,
        /// Layers per group as given.
        granularity: usize,
        /// Layers of the models.
        layers: usize,
    },

    /// Models of one `modules:` recipe may differ in depth.
    #[error("{at}: `layer_groups` is not supported beside several modules")]
    GroupsInModules {
        /// The number of groups.
        at: Place,
    },

    /// A gradient needs two points.
    #[error("{at}: `smooth` needs at least 2 layer groups to pass between")]
    NothingToSmooth {
        /// The field.
        at: Place,
    },

    /// A filter is given twice, or is the one that matches everything.
    #[error("{at}: filter `{filter}` would never get a tensor")]
    UselessFilter {
        /// The filter.
        at: Place,
        /// As given.
        filter: String,
    },

    /// A word is not one of those that are known.
    #[error("{at}: `{found}` is not possible")]
    UnknownWord {
        /// The value.
        at: Place,
        /// As given.
        found: String,
        /// Those that are known.
        known: Vec<String>,
    },

    /// A number is outside of its range.
    #[error("{at}: expected {expected}, found {found}")]
    OutOfRange {
        /// The value.
        at: Place,
        /// The range in words.
        expected: &'static str,
        /// As given, quoted.
        found: String,
    },

    /// A field is given at two places.
    #[error("{at}: also given as `{also}`")]
    GivenTwice {
        /// One of them.
        at: Place,
        /// Path of the other.
        also: String,
    },

    /// Two parts of the file do not go together.
    #[error("{at}: {problem}")]
    Conflict {
        /// The part that is at odds with the rest.
        at: Place,
        /// The fact.
        problem: String,
        /// What would fix it.
        remedy: &'static str,
    },

    /// A point has the wrong number of coordinates.
    #[error("the search space has {expected} variables, but the point has {found} coordinates")]
    Dimension {
        /// Number of variables.
        expected: usize,
        /// Number of coordinates.
        found: usize,
    },

    /// A coordinate of a point is NaN or infinite.
    #[error("the coordinate of variable `{variable}` is {found}")]
    NotFinite {
        /// The variable's name.
        variable: String,
        /// The coordinate.
        found: f64,
    },
}

impl From<ConfigError> for SpaceError {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl SpaceError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Yaml(error) => return error.hint(),
            Self::Config(error) => return error.hint(),
            Self::UnknownWord { found, known, .. } => return Some(did_you_mean(found, known)),
            Self::NoForm { .. } => {
                "`merge` is a merge config with variables, `genome` is mergekit-evolve's own form"
            }
            Self::BothForms { .. } => "keep one of them",
            Self::NoVariables { .. } => {
                "replace a number by a variable, such as `weight: {uniform: [0, 1]}`"
            }
            Self::NotAVariablePlace { instead, .. } | Self::NotSupported { instead, .. } => instead,
            Self::EmptyInterval { .. } => "bounds are given as `[low, high]`",
            Self::LogOfNothing { .. } => "`uniform` may reach 0 and below",
            Self::GroupsDoNotFit { .. } => "every group of layers needs at least one layer",
            Self::NothingToSmooth { .. } => {
                "`layer_groups: 4, smooth: true` gives a gradient of 4 values over the layers"
            }
            Self::UselessFilter { .. } => {
                "each filter is a part of tensor names; all other tensors get a value of their own"
            }
            Self::Conflict { remedy, .. } => remedy,
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether another input would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Yaml(error) => error.is_users_mistake(),
            Self::Config(error) => error.is_users_mistake(),
            Self::Dimension { .. } | Self::NotFinite { .. } => false,
            _ => true,
        }
    }
}

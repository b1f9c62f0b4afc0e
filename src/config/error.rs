//! Everything that can be wrong with a merge config.

use super::yaml::{Place, YamlError, did_you_mean};
use super::{ChatTemplate, ReferenceError};

/// Everything that can be wrong with a merge config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file, its YAML, or the type of a value.
    #[error(transparent)]
    Yaml(#[from] YamlError),

    /// There is no such merge method.
    #[error("{at}: unknown merge method `{name}`")]
    UnknownMethod {
        /// The name's place.
        at: Place,
        /// As written.
        name: String,
        /// Every method there is.
        known: Vec<String>,
    },

    /// Where the output's tokens come from is said twice.
    #[error("{at}: `tokenizer_source` cannot be combined with `tokenizer`")]
    SeveralTokenizers {
        /// The second one's name.
        at: Place,
    },

    /// A token of a model has two names, or none.
    #[error("{at}: a `model_token` has either a `token` or a `token_id`")]
    TokenName {
        /// The mapping.
        at: Place,
    },

    /// Nothing says what is merged.
    #[error("{at}: nothing to merge: none of {} has an entry", quoted(allowed))]
    NoRecipe {
        /// The mapping that lacks them.
        at: Place,
        /// Fields of which one is needed.
        allowed: &'static [&'static str],
    },

    /// What is merged is said twice.
    #[error("{at}: `{second}` cannot be combined with `{first}`")]
    SeveralRecipes {
        /// The second one's value.
        at: Place,
        /// The field given first.
        first: &'static str,
        /// The other one.
        second: &'static str,
    },

    /// A model reference is malformed.
    #[error("{at}: model `{text}` {problem}")]
    Reference {
        /// The reference.
        at: Place,
        /// As written.
        text: String,
        /// What is wrong with it.
        problem: ReferenceError,
    },

    /// There is no such element type.
    #[error("{at}: unknown element type `{name}`")]
    UnknownDType {
        /// The name's place.
        at: Place,
        /// As written.
        name: String,
    },

    /// A chat template is neither a name nor a template.
    #[error("{at}: `{text}` is neither the name of a chat template nor a Jinja template")]
    ChatTemplate {
        /// The value.
        at: Place,
        /// As written.
        text: String,
    },

    /// A layer range has no layers.
    #[error("{at}: layers {start} to {end} are none")]
    EmptyLayerRange {
        /// The range.
        at: Place,
        /// First layer.
        start: usize,
        /// The one behind the last.
        end: usize,
    },

    /// A parameter is out of its range.
    #[error("{at}: {name} is {value}, outside {least}..={most}")]
    OutOfRange {
        /// The value.
        at: Place,
        /// The parameter's name.
        name: &'static str,
        /// As written.
        value: f64,
        /// Smallest allowed value.
        least: f64,
        /// Largest allowed value.
        most: f64,
    },

    /// A required parameter seems to be mistyped.
    #[error("{at}: `{method}` has no parameter `{name}`")]
    UnknownParameter {
        /// The name's place.
        at: Place,
        /// As written.
        name: String,
        /// The required parameter that was meant.
        meant: &'static str,
        /// The merge method.
        method: &'static str,
    },
}

impl ConfigError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Yaml(error) => error.hint(),
            Self::UnknownMethod { name, known, .. } => Some(did_you_mean(name, known)),
            Self::SeveralTokenizers { .. } => {
                Some("write `tokenizer: {source: …}` and remove `tokenizer_source`".to_owned())
            }
            Self::NoRecipe { allowed, .. } => {
                Some(format!("list what is merged under one of {}", quoted(allowed)))
            }
            Self::SeveralRecipes { first, second, .. } => {
                Some(format!("keep either `{first}` or `{second}`"))
            }
            Self::Reference { problem, .. } => Some(problem.hint().to_owned()),
            Self::UnknownDType { name, .. } => Some(dtype_hint(name)),
            Self::ChatTemplate { text, .. } => Some(did_you_mean(text, &ChatTemplate::names())),
            Self::EmptyLayerRange { start, end, .. } if end < start => {
                Some(format!("the first layer comes first: write [{end}, {start}]"))
            }
            Self::EmptyLayerRange { start, .. } => Some(format!(
                "the end is the layer behind the last: layer {start} alone is [{start}, {}]",
                start + 1
            )),
            Self::OutOfRange { name, value, most: 1.0, .. } if *value > 1.0 && *value <= 100.0 => {
                Some(format!("{name} is a share, not a percentage: write {}", value / 100.0))
            }
            Self::UnknownParameter { meant, .. } => Some(format!("did you mean `{meant}`?")),
            Self::OutOfRange { .. } | Self::TokenName { .. } => None,
        }
    }

    /// Whether another input would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Yaml(error) => error.is_users_mistake(),
            _ => true,
        }
    }
}

/// Something in a config that is read, but has no effect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The merge method does not read a parameter.
    #[error("{at}: `{method}` does not read `{name}`")]
    NotRead {
        /// The parameter's name.
        at: Place,
        /// As written.
        name: String,
        /// The merge method.
        method: &'static str,
        /// A parameter that may have been meant.
        meant: Option<&'static str>,
    },

    /// A parameter of whole tensors stands at a single model, where it is not read.
    #[error("{at}: `{name}` is not read here, for it belongs to all models together")]
    NotReadHere {
        /// The parameter's name.
        at: Place,
        /// As written.
        name: &'static str,
    },

    /// A field that merge configs do not have.
    #[error("{at}: unknown field `{name}` has no effect")]
    UnknownField {
        /// The field's name.
        at: Place,
        /// As written.
        name: String,
    },

    /// A field of mergekit's that never had an effect.
    #[error("{at}: `{name}` has no effect")]
    NoEffect {
        /// The field's name.
        at: Place,
        /// As written.
        name: &'static str,
    },
}

impl Warning {
    /// Where it is.
    pub fn at(&self) -> &Place {
        match self {
            Self::NotRead { at, .. }
            | Self::NotReadHere { at, .. }
            | Self::UnknownField { at, .. }
            | Self::NoEffect { at, .. } => at,
        }
    }

    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRead { meant, .. } => meant.map(|meant| format!("did you mean `{meant}`?")),
            Self::NotReadHere { name, .. } => {
                Some(format!("write `{name}` under the `parameters` of the whole config or slice"))
            }
            Self::UnknownField { .. } | Self::NoEffect { .. } => None,
        }
    }
}

/// Names that other tools use for element types.
const DTYPE_ALIASES: [(&str, &str); 10] = [
    ("bf16", "bfloat16"),
    ("f16", "float16"),
    ("fp16", "float16"),
    ("half", "float16"),
    ("f32", "float32"),
    ("fp32", "float32"),
    ("float", "float32"),
    ("f64", "float64"),
    ("fp64", "float64"),
    ("double", "float64"),
];

fn dtype_hint(name: &str) -> String {
    let alias = DTYPE_ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    match alias {
        Some((_, dtype)) => format!("write `{dtype}`"),
        None => did_you_mean(name, &super::read::DTYPES.map(|dtype| dtype.to_string())),
    }
}

fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}

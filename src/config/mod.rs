//! What the user asked for: merge configs as typed values.
//!
//! The types mirror the file: nothing is resolved here. `plan` turns a [`MergeConfig`] into tensors.
//! What a config can show alone is checked when it is read: the form of every field, the method's
//! name, and type and range of every parameter that the method reads. What takes the models to know
//! is checked by `plan`, which names fields by path; [`ConfigFile::place_of`] finds their line.

mod chat_template;
mod error;
mod read;
mod reference;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;
mod tokenizer;
mod write;
pub mod yaml;

use indexmap::IndexMap;

use crate::kernels::dtype::DType;

pub use chat_template::{BuiltInTemplate, ChatTemplate};
pub use error::{ConfigError, Warning};
pub use read::ConfigFile;
pub use reference::ReferenceError;
pub use tokenizer::{
    EmbeddingSource, TokenName, TokenSettings, TokenizerSettings, TokenizerSource,
};

/// A merge config as written.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeConfig {
    /// Name of the merge method; one that exists.
    pub merge_method: String,
    /// What is merged into what.
    pub recipe: Recipe,
    /// Base for task-vector methods; gives config and tokenizer to the output.
    pub base_model: Option<ModelReference>,
    /// Parameters of lowest precedence.
    pub parameters: Settings,
    /// Element type that inputs are rounded to when they are read; also the output's type unless
    /// `out_dtype` is given. Arithmetic is in `f32` whatever it is.
    pub dtype: Option<DType>,
    /// Element type of the output.
    pub out_dtype: Option<DType>,
    /// Tokens of the output, to which the models' embeddings are aligned. When not given, the output
    /// has the donor's tokenizer, and embeddings are merged row by row.
    pub tokenizer: Option<TokenizerSettings>,
    /// Chat template of the output's tokenizer; the donor's when not given.
    pub chat_template: Option<ChatTemplate>,
}

impl MergeConfig {
    /// A merge of whole models, without any other setting.
    pub fn of_models(method: &str, models: Vec<ModelEntry>) -> Self {
        Self {
            merge_method: method.to_owned(),
            recipe: Recipe::Models(models),
            base_model: None,
            parameters: IndexMap::new(),
            dtype: None,
            out_dtype: None,
            tokenizer: None,
            chat_template: None,
        }
    }
}

/// The three forms of a merge.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// `models:`, whole models.
    Models(Vec<ModelEntry>),
    /// `slices:`, a stack of layer ranges.
    Slices(Vec<OutputSlice>),
    /// `modules:`, a recipe for each module of a model of several parts.
    Modules(IndexMap<String, ModuleEntry>),
}

/// A whole model with its own parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// Which model.
    pub model: ModelReference,
    /// Parameters of this model alone.
    pub parameters: Settings,
}

/// A run of output layers.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSlice {
    /// What is merged into these layers; at least one.
    pub sources: Vec<SliceSource>,
    /// Overrides the base model of the config.
    pub base_model: Option<ModelReference>,
    /// Parameters of this slice.
    pub parameters: Settings,
}

/// Layers of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceSource {
    /// Which model.
    pub model: ModelReference,
    /// First layer and the one behind the last.
    pub layers: std::ops::Range<usize>,
    /// Parameters of this source alone.
    pub parameters: Settings,
}

/// The recipe of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleEntry {
    /// Never [`Recipe::Modules`].
    pub recipe: Recipe,
    /// Parameters of this module.
    pub parameters: Settings,
}

/// Parameters by name, as written.
pub type Settings = IndexMap<String, Setting>;

/// The value of one parameter as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// The same for all tensors, up to their position.
    Plain(Value),
    /// The first whose filter matches the tensor's name.
    Conditional(Vec<Conditional>),
}

/// A value for the tensors that a filter matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditional {
    /// Part of the tensor names it is for; `None` or `*` for all.
    pub filter: Option<String>,
    /// The value.
    pub value: Value,
}

/// A scalar, or a gradient over the layers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The same in all layers.
    Scalar(Scalar),
    /// Spread evenly over the layers and interpolated between; never empty.
    Gradient(Vec<Scalar>),
}

/// One YAML scalar.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true`, and YAML 1.1's other words for it.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number, also one that YAML 1.1 would take as text, such as `1e-5`.
    Float(f64),
    /// Anything else.
    Text(String),
}

/// Which model: `PATH[@REVISION][+LORA_PATH[@LORA_REVISION]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelReference {
    /// The model itself.
    pub model: ModelPath,
    /// An adapter on top.
    pub lora: Option<ModelPath>,
    /// Read as this architecture whatever its `config.json` says.
    pub override_architecture: Option<String>,
}

/// A directory or a repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelPath {
    /// Path or `organisation/name`.
    pub path: String,
    /// Branch, tag or commit on the Hub.
    pub revision: Option<String>,
}

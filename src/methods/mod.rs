//! The mathematics of merging: one file per family of merge methods.
//!
//! A method works on one output tensor at a time, in two passes. [`TensorMethod::prepare`] is the
//! *statistics pass*: it may read all inputs (norms, inner products, thresholds) and returns the
//! [`Apply`] of this tensor. [`Apply::apply`] is the *apply pass*: a pure function of a chunk of
//! `f32` inputs to a chunk of `f32` output. Methods never see files, dtypes, threads or YAML.

mod arcee_fusion;
mod coefficients;
mod gram;
mod in_memory;
mod inputs;
mod karcher;
mod linear;
mod model_stock;
mod multislerp;
mod nearswap;
mod nuslerp;
mod passthrough;
mod ram;
mod registry;
mod sce;
mod selection;
mod slerp;
mod sparsify;
mod task_vectors;
#[cfg(test)]
mod testing;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::kernels::random::TensorKey;

pub use in_memory::InMemory;
pub use inputs::STATISTICS_BLOCK;
pub(crate) use inputs::{BLOCKS_READ, row_elements};
pub use registry::{METHODS, find};

/// Where a merge method takes its base model from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseRole {
    /// A base model must be among the inputs; it is treated apart.
    Required,
    /// If `base_model` is set it must be among the inputs and is treated apart.
    Optional,
    /// The base is just another input.
    Ignored,
}

/// Who has a value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterScope {
    /// One value per output tensor, never read from a model entry.
    Shared,
    /// One value for each input, a base included.
    PerInput,
    /// One value for each input that is not the base.
    PerNonBase,
}

/// A value of a method parameter after gradients and filters have been resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterValue {
    /// A number.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// A switch.
    Bool(bool),
}

/// What a parameter takes when the config says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterDefault {
    /// The config has to say.
    Required,
    /// This value, which also tells the parameter's type.
    Value(ParameterValue),
    /// Nothing: a number that may be absent.
    Absent,
}

/// One parameter of a merge method.
#[derive(Debug, Clone, Copy)]
pub struct ParameterDefinition {
    /// As written in merge configs.
    pub name: &'static str,
    /// Who has a value.
    pub scope: ParameterScope,
    /// Default, and with it the type (`Required` and `Absent` are numbers).
    pub default: ParameterDefault,
    /// One line for tables.
    pub help: &'static str,
}

/// A merge method, as the registry knows it.
pub struct MethodDefinition {
    /// As written in merge configs.
    pub name: &'static str,
    /// Where the base model comes in.
    pub base: BaseRole,
    /// Fewest and most inputs (`usize::MAX` for no limit): a required base is counted, an optional one
    /// is not.
    pub inputs: (usize, usize),
    /// What to do with an optional tensor that only some inputs have.
    pub incomplete: Incomplete,
    /// Every parameter the method reads.
    pub parameters: &'static [ParameterDefinition],
    /// Binds the method to the resolved parameters of one output tensor.
    pub bind: fn(&Parameters) -> Result<Box<dyn TensorMethod>, MethodError>,
    /// Paper or other source, for tables and model cards.
    pub reference: &'static str,
}

impl MethodDefinition {
    /// How many of `found` inputs [`MethodDefinition::inputs`] is about, when one is the base or none.
    pub fn n_counted(&self, found: usize, has_base: bool) -> usize {
        found - usize::from(has_base && self.base == BaseRole::Optional)
    }
}

/// What to do with an optional tensor that only some inputs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomplete {
    /// The usual rules about counts and base apply to what is left.
    Check,
    /// Exactly one input left: copy it. Otherwise as `Check`.
    CopySingle,
    /// Only the base left: copy it. Otherwise as `Check`.
    CopyBase,
    /// Only the base left: copy it. Too few inputs left: leave the tensor out, with a warning.
    CopyBaseOrSkip,
}

/// Resolved parameters of one output tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    /// By name, for [`ParameterScope::Shared`].
    pub shared: IndexMap<&'static str, ParameterValue>,
    /// By name, for each of [`TensorInputs::n_inputs`]; with a base treated apart, without it.
    pub inputs: Vec<IndexMap<&'static str, ParameterValue>>,
}

impl ParameterValue {
    /// As a number; a switch is 0 or 1.
    pub fn as_float(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Int(value) => value as f64,
            Self::Bool(value) => f64::from(u8::from(value)),
        }
    }

    /// As a switch; a number is on unless it is 0.
    pub fn as_bool(self) -> bool {
        match self {
            Self::Float(value) => value != 0.0,
            Self::Int(value) => value != 0,
            Self::Bool(value) => value,
        }
    }
}

impl Parameters {
    /// A shared number.
    ///
    /// # Panics
    ///
    /// This and the others, when the definition does not name the parameter; what it names, the plan
    /// has resolved.
    pub fn float(&self, name: &str) -> f64 {
        self.shared[name].as_float()
    }

    /// A shared switch.
    pub fn flag(&self, name: &str) -> bool {
        self.shared[name].as_bool()
    }

    /// One number of every input.
    pub fn floats(&self, name: &str) -> Vec<f64> {
        self.inputs.iter().map(|input| input[name].as_float()).collect()
    }
}

/// A method bound to the parameters of one output tensor.
pub trait TensorMethod: Send + Sync {
    /// The input that the output is an unchanged copy of, when it is one. Such a tensor is copied
    /// byte by byte where the types allow.
    fn copied_input(&self) -> Option<usize> {
        None
    }

    /// How often [`TensorMethod::prepare`] reads every input from end to end: 0 without a statistics
    /// pass. An upper bound: an input that needs no statistics is not read, and what
    /// [`ReadInput::remember`] knows is not read again. A few blocks read twice do not count, nor do
    /// samples, which of a tensor of few rows may be all of it; and neither does the apply pass.
    fn statistics_passes(&self) -> usize {
        0
    }

    /// Whether the result is divided by the sum of the parameters called `weight`.
    fn divides_by_weights(&self) -> bool {
        false
    }

    /// Why the parameter `name` changes nothing as the others are set, as the end of a sentence; `None`
    /// for one that counts. A value that happens to change nothing, such as a density of 1, counts.
    fn unread(&self, name: &str) -> Option<&'static str> {
        let _ = name;
        None
    }

    /// Most bytes that [`TensorMethod::prepare`] holds for a tensor of this shape, beside the blocks that
    /// it reads into. Where this is much, few tensors are worked on at once.
    fn statistics_memory(&self, shape: &[usize]) -> u64 {
        let _ = shape;
        0
    }

    /// Whether either pass works on whole rows of a tensor of this shape, as with [`Granularity::Row`] or
    /// `whole_rows` of [`TensorInputs::map_blocks`]. Buffers then have to hold a row.
    fn needs_rows(&self, shape: &[usize]) -> bool {
        let _ = shape;
        false
    }

    /// The statistics pass: reads what it needs of the whole inputs, any number of times.
    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError>;
}

/// A method bound to parameters and statistics of one output tensor: a function of a chunk.
pub trait Apply: Send + Sync {
    /// Which chunks [`Apply::apply`] may be given.
    fn granularity(&self) -> Granularity {
        Granularity::Element
    }

    /// Computes one chunk. `out` has the chunk's length.
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]);
}

/// Which chunks of a tensor a method can work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// Any run of elements.
    Element,
    /// Whole rows: runs of everything behind the first axis; a vector is one row.
    Row,
}

/// The same run of elements of every input of a tensor, flattened row-major.
pub struct Chunk<'a> {
    /// Index of the first element within the tensor.
    pub start: usize,
    /// The base's elements, when the method has a base.
    pub base: Option<&'a [f32]>,
    /// The other inputs' elements, in config order; all inputs when the base is ignored.
    pub inputs: &'a [&'a [f32]],
}

/// Whole inputs of one output tensor, as the statistics pass sees them.
pub struct TensorInputs<'a> {
    /// Shape of every input, outermost first.
    pub shape: &'a [usize],
    /// Number of inputs, a base treated apart not counted.
    pub n_inputs: usize,
    /// Whether there is a base treated apart.
    pub has_base: bool,
    /// Keys of the random numbers of each input, for methods that draw.
    pub keys: &'a [TensorKey],
    /// Reads elements of an input.
    pub reader: &'a dyn ReadInput,
}

/// Reads the inputs of one output tensor; safe to call from many threads.
pub trait ReadInput: Sync {
    /// Calls `visit` with consecutive blocks of `elements`, `block` of them or what is left at the end:
    /// of the base, when there is one, and of the inputs `which`.
    fn visit(
        &self,
        which: &[usize],
        elements: Range<usize>,
        block: usize,
        visit: &mut dyn FnMut(&Chunk<'_>),
    ) -> Result<(), MethodError>;

    /// Statistics remembered from earlier merges of the same inputs. A method asks by a key that
    /// names the statistic and everything it depends on beside the inputs themselves; `compute`
    /// runs on a miss: every time, where nothing is remembered.
    fn remember(
        &self,
        key: &str,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        let _ = key;
        compute()
    }
}

/// A remembered statistic: an immutable value shared between merges.
pub type Statistic = Arc<dyn Any + Send + Sync>;

/// Everything that can be wrong with one tensor's merge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// An input could not be read.
    #[error(transparent)]
    Read(Box<dyn std::error::Error + Send + Sync>),

    /// A parameter has a value that the method is not defined for.
    #[error("{name} is {value}, {problem}")]
    Parameter {
        /// As written in merge configs.
        name: &'static str,
        /// Position of the input it belongs to; a shared parameter has none.
        input: Option<usize>,
        /// After gradients and filters.
        value: f64,
        /// What is wrong with it, as the end of the sentence.
        problem: String,
    },

    /// A row has more elements than can be ranked.
    #[error("its rows have {elements} elements, and at most {} can be ranked", u32::MAX)]
    LongRow {
        /// Of a row.
        elements: usize,
    },

    /// A mean direction was asked for where there is none.
    #[error("the weighted directions of the models cancel out, so that they have no mean")]
    NoDirection,
}

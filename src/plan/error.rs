//! Everything that can be wrong with a merge before any weight is read.

mod advice;

use crate::adapter::AdapterError;
use crate::architecture::ArchitectureError;
use crate::checkpoint::CheckpointError;
use crate::hub::HubError;
use crate::kernels::dtype::DType;
use crate::tokenizer::TokenizerError;

/// Everything that can be wrong with a merge before any weight is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A model's weights cannot be opened.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// A model's config cannot be understood.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),

    /// A model that the config names cannot be used.
    #[error("{source}")]
    Model {
        /// Path in the config of where it is named.
        field: String,
        /// What is wrong with it.
        source: Box<PlanError>,
    },

    /// A model's adapter cannot be opened, or does not fit the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),

    /// A model cannot be found on the Hub, or fetched from it.
    #[error(transparent)]
    Hub(#[from] HubError),

    /// A model's tokenizer cannot be understood.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// The embedding of a token should come from a model that takes no part.
    #[error("`{field}`: model `{model}` gives nothing to tensor `{tensor}`")]
    NoEmbeddingSource {
        /// Path in the config of what names it.
        field: String,
        /// The model.
        model: String,
        /// The tensor's name in the output.
        tensor: String,
    },

    /// The embedding of a token should come from a token that there is not.
    #[error("`{field}`: model `{model}` has no token {token:?}, or no embedding for it")]
    NoToken {
        /// Path in the config of what names it.
        field: String,
        /// The model.
        model: String,
        /// The token.
        token: String,
    },

    /// The embedding of a token should come from a row that there is not.
    #[error("`{field}` is {id}, but tensor `{tensor}` of model `{model}` has {n_rows} rows")]
    TokenId {
        /// Its path in the config.
        field: String,
        /// As written.
        id: usize,
        /// The model.
        model: String,
        /// The tensor's name in the output.
        tensor: String,
        /// Its rows.
        n_rows: usize,
    },

    /// A model has a revision, and there is no Hub to ask for it.
    #[error("model `{model}` asks for a revision, but models are read from local directories")]
    RevisionNotAvailable {
        /// The reference.
        model: String,
    },

    /// A model is quantised in a way that merges do not see through.
    #[error(
        "`{tensor}` of `{model}` has its scale in `{scale}`, so that its own numbers cannot be merged"
    )]
    ScaledWeights {
        /// The model.
        model: String,
        /// A tensor of 8-bit numbers.
        tensor: String,
        /// What they are multiplied with.
        scale: String,
    },

    /// The models have different architectures.
    #[error("`{model}` is a {found} model, but `{first}` is a {expected} model")]
    Architectures {
        /// Path in the config of where the model that differs is named.
        field: String,
        /// The model that gives the output its architecture.
        first: String,
        /// Its architecture.
        expected: String,
        /// The model that differs.
        model: String,
        /// What it is.
        found: String,
    },

    /// The architecture has no module of that name.
    #[error("`modules.{module}`: {architecture} models have no module `{module}`")]
    UnknownModule {
        /// As written.
        module: String,
        /// The architecture's name.
        architecture: String,
        /// Modules that it has.
        known: Vec<String>,
    },

    /// Slices of a model with several modules.
    #[error("`slices`: {architecture} models have several modules: {}", known.join(", "))]
    SeveralModules {
        /// The architecture's name.
        architecture: String,
        /// Modules that it has.
        known: Vec<String>,
    },

    /// A layer range that the model does not have.
    #[error(
        "`{field}.layer_range` is [{start}, {end}], but `{model}` has {n_layers} {}",
        if *n_layers == 1 { "layer" } else { "layers" }
    )]
    LayerRange {
        /// The source's path in the config.
        field: String,
        /// The model.
        model: String,
        /// First layer.
        start: usize,
        /// The one behind the last.
        end: usize,
        /// Layers that the model has.
        n_layers: usize,
    },

    /// A layer range without layers.
    #[error("`{field}.layer_range` is [{start}, {end}], which contains no layer")]
    EmptyRange {
        /// The source's path in the config.
        field: String,
        /// First layer.
        start: usize,
        /// The one behind the last.
        end: usize,
    },

    /// Models or layer ranges of different depth.
    #[error(
        "{place}: `{model}` gives {found} {}, but `{first}` gives {expected}",
        if *found == 1 { "layer" } else { "layers" },
        place = place(field)
    )]
    LayerCounts {
        /// The slice's path in the config; empty for whole models.
        field: String,
        /// The first source.
        first: String,
        /// Its number of layers.
        expected: usize,
        /// The source that differs.
        model: String,
        /// Its number of layers.
        found: usize,
    },

    /// The method needs a base model and the config names none.
    #[error("merge method `{method}` needs a `base_model`")]
    NoBase {
        /// The method.
        method: &'static str,
    },

    /// The base model takes no part in a slice.
    #[error("{place}: base model `{base}` is not among the sources", place = place(field))]
    BaseNotListed {
        /// The slice's path in the config.
        field: String,
        /// The base model.
        base: String,
    },

    /// The same model takes part twice.
    #[error("`{field}`: model `{model}` is already listed as `{first}`")]
    Duplicate {
        /// The second entry's path in the config.
        field: String,
        /// The first entry's path in the config.
        first: String,
        /// The model.
        model: String,
    },

    /// More or fewer models than the method takes.
    #[error(
        "{place}: merge method `{method}` takes {}{}, but {found} {} given",
        count(*least, *most),
        if *beside_base { " beside the base" } else { "" },
        if *found == 1 { "is" } else { "are" },
        place = place(field)
    )]
    InputCount {
        /// The slice's path in the config, or the tensor that only some models have.
        field: String,
        /// The method.
        method: &'static str,
        /// Models given.
        found: usize,
        /// Fewest allowed.
        least: usize,
        /// Most allowed.
        most: usize,
        /// Whether there is a base beside these.
        beside_base: bool,
    },

    /// A model lacks a tensor that its architecture demands.
    #[error("model `{model}` has no tensor `{tensor}`")]
    MissingTensor {
        /// Path in the config of where the model is named.
        field: String,
        /// The model.
        model: String,
        /// The tensor's name in that model.
        tensor: String,
    },

    /// Layers of different kinds, such as dense ones and ones with experts.
    #[error(
        "{layer} is of kind `{found}`, but {first}, which it is merged with, of kind `{expected}`"
    )]
    LayerKinds {
        /// Path in the config of where the model is named.
        field: String,
        /// The layer and its model.
        layer: String,
        /// Its kind.
        found: String,
        /// The layer of the first model, and that model.
        first: String,
        /// The kind of that layer.
        expected: String,
    },

    /// The base model lacks an optional tensor that others have.
    #[error("base model `{base}` has no tensor `{tensor}`, which `{model}` has")]
    MissingFromBase {
        /// Path in the config of where the base model is named.
        field: String,
        /// The base model.
        base: String,
        /// The tensor's name in the output.
        tensor: String,
        /// A model that has it.
        model: String,
    },

    /// A required parameter has no value.
    #[error(
        "`{field}` is missing: merge method `{method}` needs {parameter} {} tensor `{tensor}`",
        match model {
            Some(model) => format!("of model `{model}` for"),
            None => "for".to_owned(),
        }
    )]
    MissingParameter {
        /// Where it would be written.
        field: String,
        /// The method.
        method: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// The model, for parameters of models.
        model: Option<String>,
        /// The first tensor without a value.
        tensor: String,
        /// Whether the model is a base that takes part although no list names it.
        is_added_base: bool,
    },

    /// A required parameter has values, but none for some tensor.
    #[error(
        "`{field}` is given, but none of its filters matches tensor `{tensor}`{}, for which merge \
        method `{method}` needs {parameter}",
        model.as_ref().map(|model| format!(" of model `{model}`")).unwrap_or_default()
    )]
    UnmatchedParameter {
        /// Path in the config of the innermost place that has it.
        field: String,
        /// The method.
        method: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// The model, for parameters of models.
        model: Option<String>,
        /// The first tensor without a value.
        tensor: String,
    },

    /// A parameter has a value of the wrong kind.
    #[error("`{field}` is {value} for tensor `{tensor}`, but should be {expected}")]
    ParameterKind {
        /// Its path in the config.
        field: String,
        /// As written, or interpolated.
        value: String,
        /// The first tensor it applies to.
        tensor: String,
        /// What it should be.
        expected: &'static str,
    },

    /// A parameter has a value that the method is not defined for.
    #[error(
        "`{field}` is {value}{}, {problem} (tensor `{tensor}`)",
        if *is_default { " by default" } else { "" }
    )]
    Parameter {
        /// Its path in the config.
        field: String,
        /// After gradients and filters.
        value: f64,
        /// The end of the sentence.
        problem: String,
        /// The first tensor it applies to.
        tensor: String,
        /// Whether the value is the method's default, so that the field is not there yet.
        is_default: bool,
    },

    /// Models have differently shaped tensors.
    #[error(
        "tensor `{tensor}` has shape {found:?} in `{model}`, but shape {expected:?} in `{first}`"
    )]
    Shapes {
        /// Its name in the output.
        tensor: String,
        /// The first model.
        first: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The model that differs.
        model: String,
        /// Its shape.
        found: Vec<usize>,
        /// Whether only the vocabularies differ.
        is_vocabulary: bool,
    },

    /// Some models have fractions where others have whole numbers.
    #[error("tensor `{tensor}` has type {found} in `{model}`, but type {expected} in `{first}`")]
    Kinds {
        /// Path in the config of where the model that differs is named.
        field: String,
        /// Its name in the output.
        tensor: String,
        /// The first model.
        first: String,
        /// Its type.
        expected: DType,
        /// The model that differs.
        model: String,
        /// Its type.
        found: DType,
    },

    /// Weights cannot be stored in whole numbers.
    #[error("`{field}` is {dtype}, which cannot hold weights")]
    WholeNumbers {
        /// `dtype` or `out_dtype`.
        field: &'static str,
        /// The type.
        dtype: DType,
    },

    /// The output would be empty.
    #[error("the merge has no tensor to write")]
    NoTensors,
}

/// Where a list of sources is, as the start of a sentence.
fn place(field: &str) -> String {
    match field {
        "" => "`models`".to_owned(),
        field => format!("`{field}`"),
    }
}

fn count(least: usize, most: usize) -> String {
    let plural = |n: usize| if n == 1 { "model" } else { "models" };
    match (least, most) {
        (least, most) if least == most => format!("exactly {least} {}", plural(least)),
        (least, usize::MAX) => format!("at least {least} {}", plural(least)),
        (least, most) => format!("{least} to {most} models"),
    }
}

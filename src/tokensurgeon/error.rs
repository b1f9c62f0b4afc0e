//! Everything that can go wrong while a vocabulary is transplanted.

use std::io;
use std::path::PathBuf;

use crate::architecture::ArchitectureError;
use crate::checkpoint::CheckpointError;
use crate::kernels::dtype::DType;
use crate::tokenizer::TokenizerError;

use super::Method;

/// Everything that can go wrong while a vocabulary is transplanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurgeonError {
    /// Weights could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// A config or a side file could not be read or written.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),

    /// A model's tokenizer could not be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A tokenizer has no tokens.
    #[error("the tokenizer of `{model}` has no tokens")]
    NoTokens {
        /// The model.
        model: String,
    },

    /// A model consists of several stacks of layers.
    #[error("model `{model}` has {modules} parts ({names}); its vocabulary cannot be replaced")]
    SeveralModules {
        /// The model.
        model: String,
        /// How many.
        modules: usize,
        /// Their names.
        names: String,
    },

    /// A model has no input embedding.
    #[error("model `{model}` has no input embedding")]
    NoEmbedding {
        /// The model.
        model: String,
    },

    /// A model has several tensors where one is expected.
    #[error("model `{model}` has several {what}: {names}")]
    SeveralEmbeddings {
        /// The model.
        model: String,
        /// `input embeddings` or `heads`.
        what: &'static str,
        /// Their names.
        names: String,
    },

    /// A tensor with a row per token is no matrix of floating-point numbers.
    #[error(
        "tensor `{tensor}` of `{model}` is {dtype} {shape:?}, not a matrix of floating-point numbers \
        with a row per token"
    )]
    NotAMatrix {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// The model has a head of its own and the donor has none.
    #[error("model `{model}` has the head `{head}`, but the donor `{donor}` has none")]
    NoDonorHead {
        /// The model.
        model: String,
        /// The donor.
        donor: String,
        /// The model's head.
        head: String,
    },

    /// The method needs tokens that both models have.
    #[error("`{model}` and `{donor}` have no token in common, which `{method}` needs")]
    NothingShared {
        /// The model.
        model: String,
        /// The donor.
        donor: String,
        /// The method.
        method: Method,
    },

    /// There are fewer shared tokens than the method is to combine.
    #[error("`--k` is {k}, but `{model}` and `{donor}` have only {shared} tokens in common")]
    TooFewShared {
        /// As asked for.
        k: usize,
        /// The model.
        model: String,
        /// The donor.
        donor: String,
        /// Tokens that both have.
        shared: usize,
    },

    /// A config lacks what rotary position embeddings need.
    #[error("`{}`: `{key}` is {found}, so that rows cannot be rotated by `mp_rope`", path.display())]
    Rotation {
        /// The config.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it is.
        found: String,
    },

    /// A row that approximations are made from is not finite.
    #[error("row {row} of tensor `{tensor}` of `{model}` has a value that is NaN or infinite")]
    NotFinite {
        /// The model.
        model: String,
        /// The tensor.
        tensor: String,
        /// The row, which is a token's id.
        row: usize,
    },

    /// A new row does not fit the element type of its tensor.
    #[error("the new row of token {id} in tensor `{tensor}` does not fit into {dtype}")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The token.
        id: u32,
        /// The element type.
        dtype: DType,
    },

    /// A matrix could not be decomposed.
    #[error("the rows of shared tokens in tensor `{tensor}` could not be decomposed")]
    Decomposition {
        /// The tensor.
        tensor: String,
    },

    /// The output would replace one of the inputs.
    #[error("output directory `{}` is the input model `{model}`", path.display())]
    OutputIsInput {
        /// The output directory.
        path: PathBuf,
        /// The model.
        model: String,
    },

    /// The system gave no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),

    /// The run was asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl SurgeonError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::Architecture(error) => return error.hint(),
            Self::Tokenizer(error) => return error.hint(),
            Self::NoDonorHead { .. } => "use the donor's language model, not its classifier",
            Self::NothingShared { .. } => {
                "use `--approximation-method subword`, or `mean`, which need none"
            }
            Self::TooFewShared { shared, .. } => {
                return Some(format!("give `--k` at most {shared}"));
            }
            Self::Rotation { .. } => "use `--approximation-method omp`, which does not rotate",
            Self::NotFinite { .. } => "`mergekit inspect MODEL --tensors` shows damaged tensors",
            Self::Overflow { .. } => "give a smaller `--new-vocab-scale` or `--new-vocab-noise`",
            Self::OutputIsInput { .. } => "choose another directory for the output",
            Self::SeveralModules { .. } => "give a model with one stack of layers",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether other models or options would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_users_mistake(),
            Self::Architecture(error) => error.is_users_mistake(),
            Self::Tokenizer(error) => error.is_users_mistake(),
            Self::Write { .. } | Self::Threads(_) | Self::Interrupted => false,
            Self::Decomposition { .. } => false,
            _ => true,
        }
    }
}

//! What works, but perhaps not as meant.

/// Something that works, but perhaps not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanWarning {
    /// A model has tensors that its architecture does not mention. They are not in the output.
    UnlistedTensors {
        /// The model.
        model: String,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// Too few models have an optional tensor. It is not in the output.
    SkippedTensor {
        /// Its name in the output.
        tensor: String,
    },
    /// The config does not mention a module of the architecture. It is not in the output.
    OmittedModule {
        /// The module.
        module: String,
    },
    /// The models are of different architectures, and the merge was allowed nevertheless.
    MixedArchitectures {
        /// The model that gives the output its architecture.
        first: String,
        /// One that differs.
        model: String,
    },
}

impl std::fmt::Display for PlanWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnlistedTensors { model, count: 1, example } => write!(
                f,
                "tensor `{example}` of `{model}` is unknown to its architecture and will not be in \
                the output"
            ),
            Self::UnlistedTensors { model, count, example } => write!(
                f,
                "{count} tensors of `{model}`, such as `{example}`, are unknown to its architecture \
                and will not be in the output"
            ),
            Self::SkippedTensor { tensor } => {
                write!(f, "too few models have tensor `{tensor}`; it will not be in the output")
            }
            Self::OmittedModule { module } => {
                write!(f, "module `{module}` is not mentioned and will not be in the output")
            }
            Self::MixedArchitectures { first, model } => write!(
                f,
                "`{model}` has another architecture than `{first}`, which the output will have"
            ),
        }
    }
}

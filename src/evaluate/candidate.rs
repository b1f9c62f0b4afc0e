//! The model that is scored, in the form that an evaluator asks for.

use std::path::Path;

use super::EvaluateError;
use crate::lm::LanguageModel;

/// A model to score. Each form is made when it is first asked for, and only then: what no evaluator
/// needs costs nothing, and need not be possible.
pub trait Candidate: Sync {
    /// The model in memory, ready to run.
    ///
    /// # Errors
    ///
    /// A model that cannot be made, or is of a family that does not run here.
    fn model(&self) -> Result<&dyn LanguageModel, EvaluateError>;

    /// A directory with the model's files, as `mergekit merge` writes it. It is there for as long as the
    /// candidate.
    ///
    /// # Errors
    ///
    /// A model that cannot be made or written, or that has no such form.
    fn directory(&self) -> Result<&Path, EvaluateError> {
        Err(EvaluateError::NoForm { form: "a directory" })
    }

    /// The merge config that makes the model, as YAML.
    ///
    /// # Errors
    ///
    /// A model that has no such form.
    fn config(&self) -> Result<&str, EvaluateError> {
        Err(EvaluateError::NoForm { form: "a merge config" })
    }
}

/// A model that is in memory, and nowhere else.
impl<M: LanguageModel> Candidate for M {
    fn model(&self) -> Result<&dyn LanguageModel, EvaluateError> {
        Ok(self)
    }
}

//! Tasks, prompts and metrics.

use indexmap::IndexMap;

use crate::lm::{LanguageModel, LmError};

/// Scores a model on the items of one task.
pub trait Evaluator: Send + Sync {
    /// The task's name.
    fn name(&self) -> &str;

    /// Number of items.
    fn n_items(&self) -> usize;

    /// Names of the metrics with their filter (`acc,none`, `exact_match,strict-match`), and
    /// whether higher is better.
    fn metrics(&self) -> IndexMap<String, bool>;

    /// Scores `model` on the items with the given indices, `0 .. n_items()`.
    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError>;

    /// Sets the metric from its values on single items, in the same way as the harness.
    fn aggregate(&self, metric: &str, values: &[f64]) -> f64;
}

/// Values of every metric on every item asked for, in the order asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    /// By metric and filter: `acc,none`.
    pub values: IndexMap<String, Vec<f64>>,
}

/// Everything that can go wrong with a task or with scoring a model on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] LmError),

    /// A score is not a number.
    #[error("task `{task}`: the score of item {item} is not a number")]
    NotANumber {
        /// The task's name.
        task: String,
        /// Index of the item.
        item: usize,
    },
}

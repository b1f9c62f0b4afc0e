//! What scores a model, and the figures that come of it.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::json;

use super::aggregation::Aggregation;
use super::{Candidate, EvaluateError, ItemRecord, ItemResponses, MetricValues, TaskInfo};

/// Scores models on the items of one task.
///
/// Four methods have to be written; what the others do by themselves suits evaluators whose metrics are
/// means over items. [`EvaluatorKinds`](super::EvaluatorKinds) makes one available to task files.
pub trait Evaluator: Send + Sync {
    /// The task's name.
    fn name(&self) -> &str;

    /// Number of items, at least 1. Searches keep some of them for validation.
    fn n_items(&self) -> usize;

    /// Names of the metrics with their filter (`acc,none`, `exact_match,strict-match`), and
    /// whether higher is better.
    fn metrics(&self) -> IndexMap<String, bool>;

    /// Scores a model on the items with the given indices, `0 .. n_items()`: a row for each item and
    /// metric, in the order asked. May be called from several threads at once.
    fn evaluate(
        &self,
        candidate: &dyn Candidate,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError>;

    /// What judges all items alike, as text to compare and to digest: the kind of task, what is made
    /// of an answer and how it is measured. The same in every run of this program. An evaluator with
    /// settings should say them here, so that no search is continued with others.
    fn definition(&self) -> String {
        json!(self.metrics()).to_string()
    }

    /// All that an item's values depend on besides the model and [`Evaluator::definition`], as text
    /// to compare and to digest: with equal fingerprints, an item of the same task is the same.
    fn fingerprint(&self, item: usize) -> String {
        format!("{item} {}", self.prompt(item))
    }

    /// The text that stands in front of an item's answer; the first where there are several.
    fn prompt(&self, _item: usize) -> &str {
        ""
    }

    /// What a person should know before trusting the figures, one sentence each.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// What reports say of the task beside its figures.
    fn info(&self) -> Cow<'_, TaskInfo> {
        Cow::Owned(TaskInfo::new(self.name(), self.n_items()))
    }

    /// An item's texts; `None` unless [`TaskOptions::records`](super::TaskOptions::records) was set.
    fn record(&self, _item: usize) -> Option<&ItemRecord> {
        None
    }

    /// Refuses a model that no item could be scored with, before the first is: one that cannot run, or
    /// has no room for what is asked.
    fn check(&self, _candidate: &dyn Candidate) -> Result<(), EvaluateError> {
        Ok(())
    }

    /// The metric's figure for values on items, in the same way as the harness; NaN of a metric that
    /// the task does not have. By itself the mean.
    fn aggregate(&self, _metric: &str, values: &MetricValues) -> f64 {
        Aggregation::Mean.of(values)
    }

    /// Standard error of [`Evaluator::aggregate`] as the harness gives it; `None` where it gives
    /// none. Metrics that are not means are drawn again so many times
    /// ([`BOOTSTRAP_ITERATIONS`](super::BOOTSTRAP_ITERATIONS) in the harness); with 0 no metric has an
    /// error.
    fn standard_error(
        &self,
        _metric: &str,
        values: &MetricValues,
        bootstrap_iterations: usize,
    ) -> Option<f64> {
        Aggregation::Mean.standard_error(values, bootstrap_iterations)
    }

    /// The figures of all metrics, with errors as of [`Evaluator::standard_error`].
    fn figures(&self, scores: &TaskScores, bootstrap_iterations: usize) -> TaskFigures {
        let figure = |(metric, values): (&String, &MetricValues)| {
            let value = self.aggregate(metric, values);
            let standard_error = self.standard_error(metric, values, bootstrap_iterations);
            (metric.clone(), Figure { value, standard_error })
        };
        TaskFigures {
            n_items: scores.values.values().map(MetricValues::n_items).max().unwrap_or(0),
            figures: scores.values.iter().map(figure).collect(),
        }
    }
}

/// Values of every metric on every item asked for, in the order asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskScores {
    /// By metric and filter: `acc,none`.
    pub values: IndexMap<String, MetricValues>,
    /// What the model said to every item asked for, in the order asked; empty unless
    /// [`TaskOptions::records`](super::TaskOptions::records) was set.
    pub responses: Vec<ItemResponses>,
}

impl TaskScores {
    /// Values of one metric, one number for each item.
    pub fn single(metric: impl Into<String>, numbers: Vec<f64>) -> TaskScores {
        let values = IndexMap::from([(metric.into(), MetricValues::single(numbers))]);
        TaskScores { values, responses: Vec::new() }
    }
}

/// The figures of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFigures {
    /// Number of items that were scored.
    pub n_items: usize,
    /// By metric and filter: `acc,none`.
    pub figures: IndexMap<String, Figure>,
}

/// What a metric says of many items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The metric's value.
    pub value: f64,
    /// Its standard error, where there is one.
    pub standard_error: Option<f64>,
}

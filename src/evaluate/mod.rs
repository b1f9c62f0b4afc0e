//! Tasks, prompts and metrics: the tasks of lm-evaluation-harness, from its own files, with its
//! numbers.
//!
//! A [`TaskLibrary`] finds task files by name. Loading a task reads its documents, makes every
//! prompt and tokenizes it, once: an [`Evaluator`] then scores any number of models on it.
//! [`TaskLibrary::select`] finds groups and tags too. The kinds of tasks stand in `registry`, the
//! metrics in `metric`, what is made of their values in `aggregation`, the filters in `filter`.

mod aggregation;
mod bleu;
mod bootstrap;
mod calendar;
mod chat;
mod choice_filter;
mod chrf;
mod data;
mod dataset;
mod document;
mod error;
mod field;
mod filter;
mod functions;
mod generation;
mod group;
mod harness_task;
mod library;
mod loglikelihood;
mod metric;
mod multiple_choice;
mod ngrams;
mod preset;
mod prompt;
mod prompted;
mod python;
mod record;
mod registry;
mod rolling;
mod sample;
mod selection;
mod task;
mod template;
mod ter;
mod tokenizer;
mod values;

use indexmap::IndexMap;

pub use chat::{ChatOptions, ChatTemplate, Message, Role};
pub use error::{EvaluateError, Row};
pub use group::{GroupFigure, GroupFigures, TaskGroup};
pub use library::TaskLibrary;
pub use record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
pub use sample::{Samples, sha256};
pub use selection::{SelectedTask, Selection};
pub use tokenizer::{PairProblem, TextStream, TokenPair, Tokenizer};
pub use values::MetricValues;

use crate::lm::LanguageModel;

/// The seed of draws in the harness.
const SEED: u64 = 1234;

/// How often the harness draws the items again for a standard error.
pub const BOOTSTRAP_ITERATIONS: usize = 100_000;

/// How a task is loaded, where that is not the task's own affair.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Only the first documents; all if `None`.
    pub limit: Option<Limit>,
    /// Number of examples in front of each document instead of the task's own, except for tasks
    /// that say 0.
    pub num_fewshot: Option<usize>,
    /// Seed of the draw of examples; the harness's is the default.
    pub fewshot_seed: u64,
    /// Seed of answers that are drawn from a model's probabilities.
    pub sampling_seed: u64,
    /// What the model is told before anything else, in front of the task's description.
    pub system_instruction: Option<String>,
    /// How prompts become conversations; `None`: they are plain text.
    pub chat: Option<ChatOptions>,
    /// Whether items tell their texts ([`Evaluator::record`]) and what a model said
    /// ([`TaskScores::responses`]).
    pub records: bool,
}

/// How many documents of a task are used, from the first on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many, or all if there are fewer.
    Items(usize),
    /// This share, above 0 and below 1, rounded up.
    Share(f64),
}

impl Limit {
    /// How many of `n_documents` remain.
    pub fn of(self, n_documents: usize) -> usize {
        match self {
            Limit::Items(items) => items.min(n_documents),
            Limit::Share(share) => ((share * n_documents as f64).ceil() as usize).min(n_documents),
        }
    }
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            limit: None,
            num_fewshot: None,
            fewshot_seed: SEED,
            sampling_seed: SEED,
            system_instruction: None,
            chat: None,
            records: false,
        }
    }
}

/// Scores a model on the items of one task.
pub trait Evaluator: Send + Sync {
    /// The task's name.
    fn name(&self) -> &str;

    /// Number of items.
    fn n_items(&self) -> usize;

    /// The text that stands in front of an item's answer; the first where there are several.
    fn prompt(&self, _item: usize) -> &str {
        ""
    }

    /// What a person should know before trusting the figures, one sentence each.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// What reports say of the task beside its figures.
    fn info(&self) -> &TaskInfo;

    /// An item's texts; `None` unless [`TaskOptions::records`] was set.
    fn record(&self, item: usize) -> Option<&ItemRecord>;

    /// What judges all items alike, as text to compare and to digest: the kind of task, what is made
    /// of an answer and how it is measured. The same in every run of this program.
    fn definition(&self) -> String;

    /// All that an item's values depend on besides the model and [`Evaluator::definition`], as text
    /// to compare and to digest: with equal fingerprints, an item of the same task is the same.
    fn fingerprint(&self, item: usize) -> String;

    /// Names of the metrics with their filter (`acc,none`, `exact_match,strict-match`), and
    /// whether higher is better.
    fn metrics(&self) -> IndexMap<String, bool>;

    /// Refuses when an item asks for more than a model with room for `max_length` tokens can do.
    fn check_length(&self, max_length: usize) -> Result<(), EvaluateError>;

    /// Scores `model` on the items with the given indices, `0 .. n_items()`.
    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError>;

    /// The metric's figure for values on items, in the same way as the harness; NaN of a metric that
    /// the task does not have.
    fn aggregate(&self, metric: &str, values: &MetricValues) -> f64;

    /// Standard error of [`Evaluator::aggregate`] as the harness gives it; `None` where it gives
    /// none. Metrics that are not means are drawn again so many times ([`BOOTSTRAP_ITERATIONS`] in the
    /// harness); with 0 no metric has an error.
    fn standard_error(
        &self,
        metric: &str,
        values: &MetricValues,
        bootstrap_iterations: usize,
    ) -> Option<f64>;

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
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScores {
    /// By metric and filter: `acc,none`.
    pub values: IndexMap<String, MetricValues>,
    /// What the model said to every item asked for, in the order asked; empty unless
    /// [`TaskOptions::records`] was set.
    pub responses: Vec<ItemResponses>,
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

/// The name under which the values of a metric are found: `acc,none`.
fn metric_key(metric: &str, pipeline: &str) -> String {
    format!("{metric},{pipeline}")
}

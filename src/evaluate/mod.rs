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
mod candidate;
mod chat;
mod choice_filter;
mod chrf;
mod data;
mod dataset;
mod document;
mod error;
mod evaluator;
mod field;
mod filter;
mod functions;
mod generation;
mod group;
mod harness_task;
mod kinds;
mod lazy_tokenizer;
mod library;
mod loglikelihood;
mod metric;
mod multiple_choice;
mod ngrams;
mod outline;
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
mod validation;
mod values;

use std::path::PathBuf;

pub use candidate::Candidate;
pub use chat::{ChatOptions, ChatTemplate, Message, Role};
pub use error::{DatasetSearch, EvaluateError, Row};
pub use evaluator::{Evaluator, Figure, TaskFigures, TaskScores};
pub use group::{GroupFigure, GroupFigures, TaskGroup};
pub use kinds::{CommandFailure, EvaluatorFile, EvaluatorKinds, end_commands};
pub use lazy_tokenizer::{LazyTokenizer, TokenizerSource};
pub use library::{EntryKind, FileContent, LibraryEntry, TaskLibrary};
pub use outline::{TaskField, TaskOutline, TaskSummary};
pub use record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
pub use sample::{Samples, sha256};
pub use selection::{SelectedTask, Selection};
pub use tokenizer::{PairProblem, TextStream, TokenPair, Tokenizer};
pub use validation::{CheckedFile, Problem, ProblemKind, ValidationOptions};
pub use values::MetricValues;

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
    /// Where to keep what commands that fail have said; a new directory for temporary files if `None`.
    pub failures: Option<PathBuf>,
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
            failures: None,
        }
    }
}

/// The name under which the values of a metric are found: `acc,none`.
fn metric_key(metric: &str, pipeline: &str) -> String {
    format!("{metric},{pipeline}")
}

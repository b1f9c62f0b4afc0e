//! Everything that can go wrong with a search as a whole.
//!
//! What goes wrong with one candidate is not here: it is a record of the journal.

use std::io;
use std::path::PathBuf;

use super::record::{Evaluation, Status};
use crate::config::ConfigError;
use crate::config::yaml::closest;
use crate::engine::EngineError;
use crate::evaluate::EvaluateError;
use crate::files;
use crate::optimize::{OptimizerError, TellError};
use crate::plan::PlanError;
use crate::space::SpaceError;

/// Everything that can stop a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The operating system refused to create, write, flush or rename.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The output directory holds something else.
    #[error("`{}` is not empty and holds no journal of a search", path.display())]
    NotASearch {
        /// The output directory.
        path: PathBuf,
    },

    /// Another process writes this journal.
    #[error("`{}` is in use by another search", path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
    },

    /// The first line is no header.
    #[error("`{}` is not the journal of a search", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },

    /// A line of the journal was changed after it was written.
    #[error("{}:{line}: the record does not match its checksum", path.display())]
    Checksum {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },

    /// A line is whole but says something this program does not understand.
    #[error("{}:{line}: the record cannot be understood", path.display())]
    Record {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Where it deviates.
        source: serde_json::Error,
    },

    /// A record stands where none of its kind may stand.
    #[error("{}:{line}: {what}", path.display())]
    OutOfPlace {
        /// The journal.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },

    /// The journal was written by a newer program.
    #[error("`{}` has format {format}; this program reads up to {supported}", path.display())]
    NewerFormat {
        /// The journal.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest format known here.
        supported: u32,
    },

    /// What the journal was begun with is not what is there now.
    #[error("`{}` cannot be continued: {}", path.display(), differences.join("; "))]
    Changed {
        /// The journal.
        path: PathBuf,
        /// One clause each.
        differences: Vec<String>,
    },

    /// Replaying the journal led elsewhere.
    #[error("`{}` cannot be continued: evaluation {index} has another {what} than recorded", path.display())]
    Diverged {
        /// The journal.
        path: PathBuf,
        /// Index of the evaluation.
        index: u64,
        /// What differs.
        what: &'static str,
    },

    /// The search has no task.
    #[error("the search file names no task")]
    NoTasks,

    /// A task is named twice with the same metric.
    #[error("task `{task}` is listed twice with metric `{metric}`")]
    DuplicateTask {
        /// The task.
        task: String,
        /// The metric.
        metric: String,
    },

    /// A task does not report the metric asked for.
    #[error("task `{task}` has no metric `{metric}`; it has {}", quoted(available).join(", "))]
    UnknownMetric {
        /// The task.
        task: String,
        /// The metric asked for.
        metric: String,
        /// The metrics it reports.
        available: Vec<String>,
    },

    /// A task has too few items to keep some for validation.
    #[error(
        "task `{task}` has {n_items} different items, too few to divide into search and validation \
         items"
    )]
    TooFewItems {
        /// The task.
        task: String,
        /// Number of its items, equal ones counted once.
        n_items: usize,
    },

    /// A task is a public benchmark, on which nobody should optimise.
    #[error(
        "task `{task}` is a benchmark: a model searched for on it can no longer be judged by it"
    )]
    BenchmarkTask {
        /// The task.
        task: String,
    },

    /// The machine failed on a model that the winner would be compared with.
    #[error("`{name}` could not be scored: {error}")]
    Comparison {
        /// Which model.
        name: String,
        /// What it failed with.
        error: String,
    },

    /// An input model cannot be scored, so no merge of it can be trusted.
    #[error("model `{name}` cannot be scored: {error}")]
    Parent {
        /// Which model.
        name: String,
        /// What it failed with.
        error: String,
    },

    /// Every candidate failed.
    #[error("none of {candidates} candidates could be scored; the first failed with: {error}")]
    NothingScored {
        /// Number of candidates.
        candidates: usize,
        /// The first candidate's error.
        error: String,
        /// Whether the machine failed on one of them.
        lost: bool,
    },

    /// The winner, which had a score before, cannot be made again.
    #[error("the winner (evaluation {index}) has no merge config any more: {error}")]
    Winner {
        /// Index of its evaluation.
        index: u64,
        /// What it failed with.
        error: String,
    },

    /// The optimizer refused an outcome that the search had checked.
    #[error(transparent)]
    Tell(#[from] TellError),

    /// The search file names no model.
    #[error("the search file names no model")]
    NoModels,

    /// The search file's variables do not fit the models.
    #[error(transparent)]
    Space(Box<SpaceError>),

    /// The optimizer cannot work with its options.
    #[error(transparent)]
    Optimizer(Box<OptimizerError>),

    /// A merge config that the search wrote cannot be read.
    #[error(transparent)]
    Config(Box<ConfigError>),

    /// The models cannot be merged.
    #[error(transparent)]
    Plan(Box<PlanError>),

    /// The winner cannot be written.
    #[error(transparent)]
    Engine(Box<EngineError>),

    /// A task or tokenizer cannot be used.
    #[error(transparent)]
    Evaluate(Box<EvaluateError>),

    /// The system gave no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// The other rooms' errors are boxed, so that a search's own errors stay cheap to return.
macro_rules! boxed_from {
    ($($variant:ident: $error:ty),* $(,)?) => {$(
        impl From<$error> for SearchError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

boxed_from!(
    Space: SpaceError,
    Optimizer: OptimizerError,
    Config: ConfigError,
    Plan: PlanError,
    Engine: EngineError,
    Evaluate: EvaluateError,
);

impl SearchError {
    /// That no candidate of `history` has a score.
    pub(super) fn nothing_scored(history: &[Evaluation]) -> Self {
        let first = history.iter().find_map(|evaluation| evaluation.error.clone());
        Self::NothingScored {
            candidates: history.len(),
            error: first.unwrap_or_else(|| "no candidate was evaluated".to_owned()),
            lost: !history.iter().all(|evaluation| evaluation.status == Status::Infeasible),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Space(error) => return error.hint(),
            Self::Optimizer(error) => return error.hint(),
            Self::Config(error) => return error.hint(),
            Self::Plan(error) => return error.hint(),
            Self::Engine(error) => return error.hint(),
            Self::Evaluate(error) => return error.hint(),
            Self::NotASearch { .. } => "choose another directory with `--output`".to_owned(),
            Self::Locked { .. } => {
                "wait for the other search to end, or choose another directory with `--output`"
                    .to_owned()
            }
            Self::Checksum { line, .. } => format!(
                "the file was damaged or edited; removing line {line} and all lines after it keeps \
                 the evaluations before"
            ),
            Self::NewerFormat { .. } => "use a newer version of the program".to_owned(),
            Self::Changed { .. } | Self::Diverged { .. } => {
                "restore what changed, or start a new search in another directory with `--output`"
                    .to_owned()
            }
            Self::UnknownMetric { metric, available, .. } => {
                let name = metric.split(',').next().unwrap_or(metric);
                let same_name =
                    available.iter().find(|other| other.split(',').next() == Some(name));
                let full = || closest(metric, available);
                let bare = || {
                    let names = || available.iter().filter_map(|other| other.split(',').next());
                    let name = closest(name, names())?;
                    available.iter().find(|other| other.split(',').next() == Some(name))
                };
                let meant = same_name.map(String::as_str).or_else(full);
                let meant = meant.or_else(|| bare().map(String::as_str));
                return meant.map(|other| format!("did you mean `{other}`?"));
            }
            Self::TooFewItems { .. } => {
                "give the task more items, or set `validation: {fraction: 0}`".to_owned()
            }
            Self::NothingScored { lost: false, .. } => {
                "give the variables narrower ranges around values that work, or the merge config \
                 another `dtype`, such as `float32`"
                    .to_owned()
            }
            Self::BenchmarkTask { .. } => {
                "search on other data of the same kind, such as the benchmark's training items; \
                 `--allow-benchmark-tasks` goes on all the same"
                    .to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether another input or another path would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => {
                files::is_users_mistake(source)
            }
            Self::Space(error) => error.is_users_mistake(),
            Self::Optimizer(error) => error.is_users_mistake(),
            Self::Config(error) => error.is_users_mistake(),
            Self::Plan(error) => error.is_users_mistake(),
            Self::Engine(error) => error.is_users_mistake(),
            Self::Evaluate(error) => error.is_users_mistake(),
            Self::Threads(_)
            | Self::Comparison { .. }
            | Self::NothingScored { lost: true, .. }
            | Self::Winner { .. }
            | Self::Tell(_) => false,
            _ => true,
        }
    }
}

/// Names between backticks.
fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

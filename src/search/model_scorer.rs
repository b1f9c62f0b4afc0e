//! Candidates for real: decoded, planned, merged in memory, run and scored.
//!
//! A candidate goes the way of every merge: its YAML is read like a user's file, planned like one and
//! run by the same engine. What is scored is what `mergekit merge` writes.

use std::path::Path;
use std::time::Instant;

use indexmap::IndexMap;
use rayon::ThreadPool;

use super::objective::Objective;
use super::record::{ItemValues, Scores, TaskResult};
use super::scorer::{CandidateScorer, ItemSets, Measurement, Proposal, ScoreFailure};
use super::split::ItemSplit;
use crate::candidate::{MergedCandidate, ModelForm};
use crate::config::MergeConfig;
use crate::engine::{Engine, EngineError};
use crate::evaluate::{EvaluateError, Evaluator, MetricValues, TaskScores};
use crate::plan::{MergePlan, ModelStore, PlanOptions};
use crate::space::SearchSpace;
use crate::tokenizer::TokenizerFile;

/// The name of a candidate's config in messages, where a file would have its path.
const CANDIDATE: &str = "candidate";

/// A task with its items divided.
pub(super) struct DividedTask {
    pub(super) evaluator: Box<dyn Evaluator>,
    pub(super) split: ItemSplit,
}

/// Scores candidates of a search space.
pub(super) struct ModelScorer {
    pub(super) space: SearchSpace,
    pub(super) store: ModelStore,
    pub(super) engine: Engine,
    /// How models are kept.
    pub(super) model: ModelForm,
    /// Where models run.
    pub(super) threads: ThreadPool,
    pub(super) tasks: Vec<DividedTask>,
    pub(super) objective: Objective,
    /// The tokenizer that the tasks' texts were divided with, when it is not the donor's.
    pub(super) tokenizer: Option<TokenizerFile>,
}

impl ModelScorer {
    /// Sets a metric of a task from its items.
    pub(super) fn aggregate(&self, task: &str, metric: &str, values: &MetricValues) -> f64 {
        let task = self.tasks.iter().find(|other| other.evaluator.name() == task);
        task.map_or(f64::NAN, |task| task.evaluator.aggregate(metric, values))
    }

    /// Tasks are tokenized once for all candidates.
    fn check_tokenizer(&self, plan: &MergePlan) -> Result<(), ScoreFailure> {
        let own = plan.tokenizer().map(|tokenizer| tokenizer.file.vocabulary());
        match own == self.tokenizer.as_ref().map(TokenizerFile::vocabulary) {
            true => Ok(()),
            false => Err(ScoreFailure::Infeasible(
                "its tokens are not those of the first candidate".to_owned(),
            )),
        }
    }

    /// Runs a model on the items of one task, and divides the values as the items are.
    fn run(
        &self,
        candidate: &MergedCandidate<'_>,
        task: &DividedTask,
        sets: ItemSets,
    ) -> Result<Divided, EvaluateError> {
        let search: &[usize] = if sets.search { &task.split.search } else { &[] };
        let validation: &[usize] = if sets.validation { &task.split.validation } else { &[] };
        let items = [search, validation].concat();
        if items.is_empty() {
            return Ok(Divided::default());
        }
        let values = self.threads.install(|| task.evaluator.evaluate(candidate, &items))?;
        let result = |range: std::ops::Range<usize>| {
            (!range.is_empty()).then(|| self.result(task, &values, range))
        };
        Ok(Divided {
            search: result(0..search.len()),
            validation: result(search.len()..items.len()),
        })
    }

    fn result(
        &self,
        task: &DividedTask,
        scores: &TaskScores,
        range: std::ops::Range<usize>,
    ) -> TaskResult {
        let name = task.evaluator.name();
        let metric = |(metric, values): (&String, &MetricValues)| {
            (metric.clone(), task.evaluator.aggregate(metric, &values.slice(range.clone())))
        };
        let counts = |metric: &str| {
            self.objective.terms().iter().any(|term| term.task == name && term.metric == metric)
        };
        let items = scores.values.iter().filter(|(metric, _)| counts(metric));
        TaskResult {
            metrics: scores.values.iter().map(metric).collect(),
            items: items
                .map(|(metric, values)| (metric.clone(), ItemValues(values.slice(range.clone()))))
                .collect(),
        }
    }

    /// Puts the tasks' results together; empty when the set has no items.
    fn scores(
        &self,
        results: IndexMap<String, TaskResult>,
    ) -> Result<Option<Scores>, ScoreFailure> {
        if results.is_empty() {
            return Ok(None);
        }
        match self.objective.scores(results) {
            Some(scores) => Ok(Some(scores)),
            None => Err(ScoreFailure::Infeasible("the score is not a finite number".to_owned())),
        }
    }
}

/// A task's results on the two sets.
#[derive(Default)]
struct Divided {
    search: Option<TaskResult>,
    validation: Option<TaskResult>,
}

impl CandidateScorer for ModelScorer {
    fn propose(&self, genotype: &[f64]) -> Proposal {
        let config = self.space.decode(genotype);
        Proposal {
            values: self.space.values(genotype),
            config: config.map(|config| config.to_yaml()).map_err(|error| sentence(&error)),
        }
    }

    fn score(&self, config: &str, sets: ItemSets) -> Result<Measurement, ScoreFailure> {
        let started = Instant::now();
        let parsed = MergeConfig::parse(config, Path::new(CANDIDATE))
            .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
        let plan = MergePlan::new(&parsed, &self.store, &PlanOptions::default())
            .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
        self.check_tokenizer(&plan)?;
        let candidate = MergedCandidate::new(&plan, config, &self.engine, &self.model);
        let (mut search, mut validation) = (IndexMap::new(), IndexMap::new());
        for task in &self.tasks {
            let divided = self.run(&candidate, task, sets).map_err(failure)?;
            let name = task.evaluator.name();
            search.extend(divided.search.map(|result| (name.to_owned(), result)));
            validation.extend(divided.validation.map(|result| (name.to_owned(), result)));
        }
        let merge_seconds = candidate.merge_time().as_secs_f64();
        candidate.recycle();
        Ok(Measurement {
            search: self.scores(search)?,
            validation: self.scores(validation)?,
            merge_seconds,
            evaluation_seconds: started.elapsed().as_secs_f64() - merge_seconds,
        })
    }
}

/// Whether another attempt may help.
fn failure(error: EvaluateError) -> ScoreFailure {
    let text = sentence(&error);
    let is_lost = match &error {
        EvaluateError::Engine(error) => match &**error {
            EngineError::Threads(_) | EngineError::Interrupted => true,
            EngineError::Checkpoint(error) => !error.is_users_mistake(),
            _ => false,
        },
        EvaluateError::Temporary { .. } => true,
        EvaluateError::Command { is_machine, .. } => *is_machine,
        _ => false,
    };
    if is_lost { ScoreFailure::Lost(text) } else { ScoreFailure::Infeasible(text) }
}

/// An error with its causes, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

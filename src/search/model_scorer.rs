//! Candidates for real: decoded, planned, merged in memory, run and scored.
//!
//! A candidate goes the way of every merge: its YAML is read like a user's file, planned like one and
//! run by the same engine. What is scored is what `mergekit merge` writes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indexmap::IndexMap;
use rayon::ThreadPool;
use serde_json::Value;

use super::objective::Objective;
use super::record::{ItemValues, Scores, TaskResult};
use super::scorer::{CandidateScorer, ItemSets, Measurement, Proposal, ScoreFailure};
use super::split::ItemSplit;
use crate::config::MergeConfig;
use crate::engine::{Engine, EngineError};
use crate::evaluate::{EvaluateError, Evaluator, MetricValues, TaskScores};
use crate::lm::{
    Decoder, DecoderOptions, DecoderSkeleton, DeviceChoice, LmError, Storage, StoredTensor,
};
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

/// How merged models are kept and run.
#[derive(Debug)]
pub(super) struct ModelForm {
    storage: Storage,
    options: DecoderOptions,
    /// Of models that have been scored, with their configs.
    skeletons: Mutex<Vec<(Value, DecoderSkeleton)>>,
}

impl ModelForm {
    /// Keeps weights in `storage` on a device; a model may need `memory_limit` bytes to run, besides
    /// them.
    pub(super) fn new(storage: Storage, device: DeviceChoice, memory_limit: Option<u64>) -> Self {
        let options = DecoderOptions { memory_limit, device, ..DecoderOptions::default() };
        Self { storage, options, skeletons: Mutex::default() }
    }

    /// Merges a plan into a model that can run. Errors of the merge are outside, those of building
    /// the model inside.
    pub(super) fn merge(
        &self,
        engine: &Engine,
        plan: &MergePlan,
    ) -> Result<Result<Decoder, LmError>, EngineError> {
        let skeleton = match self.skeleton(plan.model_config()) {
            Ok(skeleton) => skeleton,
            Err(error) => return Ok(Err(error)),
        };
        let tensors = engine.merge_to_memory_as(plan, |name, tensor| {
            StoredTensor::convert(name, &tensor, self.storage)
        })?;
        Ok(skeleton.load(tensors))
    }

    fn skeleton(&self, config: &Value) -> Result<DecoderSkeleton, LmError> {
        let mut skeletons = self.skeletons.lock().unwrap_or_else(PoisonError::into_inner);
        match skeletons.iter().position(|(own, _)| own == config) {
            Some(index) => Ok(skeletons.swap_remove(index).1),
            None => DecoderSkeleton::new(config, &self.options),
        }
    }

    /// Takes back a model that has been scored.
    pub(super) fn recycle(&self, plan: &MergePlan, model: Decoder) {
        let mut skeletons = self.skeletons.lock().unwrap_or_else(PoisonError::into_inner);
        skeletons.push((plan.model_config().clone(), model.unload()));
    }
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
        model: &Decoder,
        task: &DividedTask,
        sets: ItemSets,
    ) -> Result<Divided, EvaluateError> {
        let search: &[usize] = if sets.search { &task.split.search } else { &[] };
        let validation: &[usize] = if sets.validation { &task.split.validation } else { &[] };
        let items = [search, validation].concat();
        if items.is_empty() {
            return Ok(Divided::default());
        }
        let values = self.threads.install(|| task.evaluator.evaluate(model, &items))?;
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
        let config = MergeConfig::parse(config, Path::new(CANDIDATE))
            .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
        let plan = MergePlan::new(&config, &self.store, &PlanOptions::default())
            .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
        self.check_tokenizer(&plan)?;
        let model = self
            .model
            .merge(&self.engine, &plan)
            .map_err(engine_failure)?
            .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
        let merge_seconds = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let (mut search, mut validation) = (IndexMap::new(), IndexMap::new());
        for task in &self.tasks {
            let divided = self
                .run(&model, task, sets)
                .map_err(|error| ScoreFailure::Infeasible(sentence(&error)))?;
            let name = task.evaluator.name();
            search.extend(divided.search.map(|result| (name.to_owned(), result)));
            validation.extend(divided.validation.map(|result| (name.to_owned(), result)));
        }
        self.model.recycle(&plan, model);
        Ok(Measurement {
            search: self.scores(search)?,
            validation: self.scores(validation)?,
            merge_seconds,
            evaluation_seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// Whether another attempt may help.
fn engine_failure(error: EngineError) -> ScoreFailure {
    let text = sentence(&error);
    match error {
        EngineError::Threads(_) | EngineError::Interrupted => ScoreFailure::Lost(text),
        EngineError::Checkpoint(error) if !error.is_users_mistake() => ScoreFailure::Lost(text),
        _ => ScoreFailure::Infeasible(text),
    }
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

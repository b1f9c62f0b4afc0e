//! From a search file to everything a search needs, checked before the first evaluation.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::SearchError;
use super::bootstrap::Aggregate;
use super::evolution::{Budget, Event, Interrupt, round_size};
use super::identity;
use super::journal::digest;
use super::model_scorer::{DividedTask, ModelScorer};
use super::objective::{Objective, find_metric};
use super::open_search::{Comparison, OpenSearch, Run, Search};
use super::optimizers::optimizer;
use super::record::{FORMAT, Header, Role, SplitIdentity, TaskIdentity, Term};
use super::split::ItemSplit;
use crate::candidate::{MergedCandidate, ModelForm};
use crate::config::{MergeConfig, ModelEntry, ModelReference, Scalar, Setting, Value};
use crate::engine::{
    Anomaly, Engine, EngineError, EngineOptions, LockOptions, LockedConfig, WriteOptions,
    write_small_files,
};
use crate::evaluate::{
    EvaluateError, Evaluator, EvaluatorKinds, LazyTokenizer, Limit, TaskLibrary, TaskOptions,
    Tokenizer, TokenizerSource,
};
use crate::hub::{Hub, Snapshot};
use crate::lm::{DecoderOptions, DeviceChoice};
use crate::optimize::Optimizer;
use crate::plan::{InputModel, MergePlan, ModelStore, PlanOptions};
use crate::space::{SearchFile, SearchSpace, is_benchmark};

/// Name of the average in the closing table.
const UNIFORM_AVERAGE: &str = "uniform average";

/// Candidates at once where a graphics card scores them: one is merged while another is scored, and the
/// card has to hold both.
const ON_CARD: usize = 2;

/// What the machine and the person at it decide, beside the search file.
#[derive(Debug, Clone, Default)]
pub struct PrepareOptions {
    /// Threads; as many as the machine has cores when not given.
    pub threads: Option<NonZeroUsize>,
    /// Most bytes of memory for merges; half of what is free when not given.
    pub memory_limit: Option<u64>,
    /// Directories with task files beside those of the search file, before which they go in case of
    /// equal names.
    pub task_path: Vec<PathBuf>,
    /// Searches on public benchmarks too.
    pub allow_benchmark_tasks: bool,
    /// Kinds of evaluators that task files may ask for.
    pub evaluators: Arc<EvaluatorKinds>,
    /// Where to keep what commands that fail have said; a new directory for temporary files if `None`.
    pub failures: Option<PathBuf>,
    /// Where models come from that are no directories here.
    pub hub: Option<Arc<Hub>>,
}

/// A search that is ready to run: the models are open, the prompts tokenized, and the first candidate
/// is merged, so that what fails from here on is a candidate's own fault.
pub struct PreparedSearch {
    header: Header,
    search_file: String,
    scorer: ModelScorer,
    comparisons: Vec<Comparison>,
    optimizer: Box<dyn Optimizer>,
    budget: Budget,
    workers: usize,
}

impl PreparedSearch {
    /// Opens and checks what `file` names.
    pub fn new(file: &SearchFile, options: &PrepareOptions) -> Result<Self, SearchError> {
        check_benchmarks(file, options)?;
        let store = match &options.hub {
            Some(hub) => ModelStore::new().with_hub(Arc::clone(hub)),
            None => ModelStore::new(),
        };
        let references = file.models();
        let open = || references.iter().map(|reference| store.open(reference));
        let mut models = open().collect::<Result<Vec<_>, _>>()?;
        let first = models.first().ok_or(SearchError::NoModels)?;
        let space = SearchSpace::new(file, layer_count(first))?;
        let evaluations = file.budget.evaluations;
        let optimizer = optimizer(&file.optimizer, space.initial(), evaluations)?;

        let start = space.decode(&space.initial())?;
        let mut plan = MergePlan::new(&start, &store, &PlanOptions::default())?;
        if store.fetch_weights()? {
            models = open().collect::<Result<_, _>>()?;
            plan = MergePlan::new(&start, &store, &PlanOptions::default())?;
        }
        let tokenizer = LazyTokenizer::new(|| open_tokenizer(&plan));
        let (objective, tasks) = tasks(file, options, &tokenizer)?;
        let storage = file.evaluation.dtype;
        let candidate_bytes =
            plan.tensors().iter().map(|tensor| storage.bytes(tensor.info.elements())).sum();
        let threads = options.threads.map_or_else(available_threads, NonZeroUsize::get);
        let memory = Memory::new(options.memory_limit, candidate_bytes);
        let at_once = match file.evaluation.device {
            DeviceChoice::Cpu => memory.candidates,
            _ => memory.candidates.min(ON_CARD),
        };
        let workers = threads.min(round_size(&*optimizer)).min(at_once);

        let header = Header {
            format: FORMAT,
            program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            search_file: identity::text_digest(&file.text),
            seed: file.optimizer.seed,
            evaluations: file.budget.evaluations,
            variables: space.variables().iter().map(|variable| variable.name.clone()).collect(),
            objective: objective.terms().to_vec(),
            split: SplitIdentity {
                seed: file.validation.seed,
                fraction: file.validation.fraction,
                tasks: tasks.iter().map(task_identity).collect(),
            },
            models: models
                .iter()
                .map(|model| Ok((model.label(), digest_of(model)?)))
                .collect::<Result<_, SearchError>>()?,
        };
        let engine = Engine::new(EngineOptions {
            threads: Some(threads),
            memory_limit: memory.working,
            remember_statistics: true,
            ..EngineOptions::default()
        })?;
        let model = ModelForm::new(
            storage,
            DecoderOptions {
                memory_limit: memory.running(workers),
                device: file.evaluation.device,
                ..DecoderOptions::default()
            },
        );
        check_tasks(&MergedCandidate::new(&plan, &start.to_yaml(), &engine, &model), &tasks)?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("score-{index}"))
            .build()?;
        Ok(Self {
            header,
            search_file: file.text.clone(),
            comparisons: comparisons(&references, &start),
            scorer: ModelScorer {
                space,
                store,
                engine,
                model,
                threads,
                tasks,
                objective,
                tokenizer: plan.tokenizer().map(|tokenizer| tokenizer.file.clone()),
            },
            optimizer,
            budget: Budget {
                evaluations: Some(file.budget.evaluations),
                wall_clock: file.budget.wall_clock,
                target: file.budget.target,
            },
            workers,
        })
    }

    /// What the search depends on.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of parents and averages that are scored beside the candidates.
    pub fn n_comparisons(&self) -> usize {
        self.comparisons.len()
    }

    /// Most candidates that are merged and scored at the same time.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What a person should know before trusting the tasks' figures, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let tasks = self.scorer.tasks.iter();
        tasks.flat_map(|task| task.evaluator.warnings().iter().cloned()).collect()
    }

    /// Opens the search in `directory`, or begins it there; see [`OpenSearch::open`].
    pub fn open(&self, directory: &Path) -> Result<OpenSearch, SearchError> {
        OpenSearch::open(directory, self.header.clone(), &self.search_file)
    }

    /// Runs the search from wherever it stands; see [`OpenSearch::run`].
    pub fn run(
        &mut self,
        open: &mut OpenSearch,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Run, SearchError> {
        let scorer = &self.scorer;
        let aggregate: Aggregate<'_> =
            &|term: &Term, values| scorer.aggregate(&term.task, &term.metric, values);
        let search = Search {
            scorer,
            objective: &scorer.objective,
            aggregate,
            comparisons: &self.comparisons,
            budget: self.budget,
            workers: self.workers,
            seed: self.header.split.seed,
        };
        open.run(&search, &mut *self.optimizer, interrupt, observe)
    }

    /// Writes the model of a merge config, exactly as `mergekit merge` does; a directory that exists
    /// is replaced. Weights that are no numbers are errors.
    pub fn write_model(&self, config: &str, directory: &Path) -> Result<(), SearchError> {
        let parsed = MergeConfig::parse(config, directory)?;
        let plan_options = PlanOptions::default();
        let plan = MergePlan::new(&parsed, &self.scorer.store, &plan_options)?;
        let config_text = Some(config.to_owned());
        let mut options =
            WriteOptions { overwrite: true, config_text, strict: true, ..WriteOptions::default() };
        let config = LockedConfig::new(config, &plan_options, None, &options);
        options.lock = Some(LockOptions { config, inputs: None, kept_digests: None });
        self.scorer.engine.merge_to_directory(&plan, directory, &options, &|_| {})?;
        Ok(())
    }
}

/// The tokenizer that candidates have.
fn open_tokenizer(plan: &MergePlan) -> Result<Tokenizer, EvaluateError> {
    if plan.tokenizer().is_none() {
        return Tokenizer::open(&plan.donor().directory);
    }
    let directory = tempfile::tempdir().map_err(|source| EvaluateError::Temporary { source })?;
    write_small_files(plan, directory.path(), true).map_err(Box::new)?;
    Tokenizer::open(directory.path())
}

fn check_benchmarks(file: &SearchFile, options: &PrepareOptions) -> Result<(), SearchError> {
    match file.tasks.iter().find(|task| is_benchmark(&task.name)) {
        Some(task) if !options.allow_benchmark_tasks => {
            Err(SearchError::BenchmarkTask { task: task.name.clone() })
        }
        _ => Ok(()),
    }
}

/// Lets every task check the first point of the search, to find what would fail every candidate: models
/// that cannot be merged or run, and requests that do not fit into them. Nothing is wasted: the engine
/// keeps the statistics of the models. Whatever else fails may be this point's own fault.
fn check_tasks(candidate: &MergedCandidate<'_>, tasks: &[DividedTask]) -> Result<(), SearchError> {
    for task in tasks {
        match task.evaluator.check(candidate) {
            Err(EvaluateError::Engine(error))
                if !matches!(
                    *error,
                    EngineError::Anomaly(Anomaly::NotFinite { .. })
                        | EngineError::MemoryLimit { .. }
                ) =>
            {
                return Ok(());
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Digest of a model, and of its adapter where it has one.
fn digest_of(model: &InputModel) -> Result<String, SearchError> {
    // The hash of a commit is a digest of it already. Other programs may add files to its directory.
    let commits = [&model.snapshot, &model.adapter_snapshot].map(Option::as_ref);
    let digest = |(directory, commit): (&Path, Option<&Arc<Snapshot>>)| match commit {
        Some(snapshot) => Ok(identity::text_digest(snapshot.commit())),
        None => identity::model_digest(directory),
    };
    let digests: Vec<String> =
        model.directories().zip(commits).map(digest).collect::<Result<_, _>>()?;
    Ok(match digests.as_slice() {
        [digest] => digest.clone(),
        several => identity::text_digest(&several.join(" ")),
    })
}

/// Number of layers of a model's first part.
fn layer_count(model: &InputModel) -> usize {
    model.architecture.modules().next().map_or(0, |(_, _, n_layers)| n_layers)
}

/// Loads the tasks, divides their items and finds the metrics asked for.
fn tasks(
    file: &SearchFile,
    options: &PrepareOptions,
    tokenizer: &dyn TokenizerSource,
) -> Result<(Objective, Vec<DividedTask>), SearchError> {
    let library = TaskLibrary::new(&task_directories(file, options))?
        .with_kinds(Arc::clone(&options.evaluators));
    let task_options = TaskOptions {
        limit: file.evaluation.limit.map(Limit::Items),
        num_fewshot: file.evaluation.num_fewshot,
        failures: options.failures.clone(),
        ..TaskOptions::default()
    };
    let mut tasks: IndexMap<&str, Box<dyn Evaluator>> = IndexMap::new();
    let mut terms = Vec::new();
    for request in &file.tasks {
        if !tasks.contains_key(request.name.as_str()) {
            tasks.insert(&request.name, library.load(&request.name, tokenizer, &task_options)?);
        }
        let evaluator = &tasks[request.name.as_str()];
        let task = evaluator.name().to_owned();
        let (metric, higher_is_better) = find_metric(&task, &request.metric, &evaluator.metrics())?;
        terms.push(Term { task, metric, weight: request.weight, higher_is_better });
    }
    let divided = tasks.into_values().map(|evaluator| {
        let (fraction, seed) = (file.validation.fraction, file.validation.seed);
        let fingerprints: Vec<String> =
            (0..evaluator.n_items()).map(|item| evaluator.fingerprint(item)).collect();
        let split = ItemSplit::new(evaluator.name(), &fingerprints, fraction, seed)?;
        Ok(DividedTask { evaluator, split })
    });
    Ok((Objective::new(terms)?, divided.collect::<Result<_, SearchError>>()?))
}

/// Where tasks are looked for. The search file's directories may be absent when others are given, for
/// it has one by default.
fn task_directories(file: &SearchFile, options: &PrepareOptions) -> Vec<PathBuf> {
    let others = !options.task_path.is_empty();
    let named = file.task_path.iter().filter(|directory| !others || directory.exists());
    named.chain(&options.task_path).cloned().collect()
}

fn task_identity(task: &DividedTask) -> (String, TaskIdentity) {
    let evaluator = &task.evaluator;
    let mut hash = Sha256::new();
    let fingerprints = (0..evaluator.n_items()).map(|item| evaluator.fingerprint(item));
    for text in std::iter::once(evaluator.definition()).chain(fingerprints) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let identity = TaskIdentity {
        search: task.split.search.len(),
        validation: task.split.validation.len(),
        digest: digest(&hash.finalize()),
    };
    (evaluator.name().to_owned(), identity)
}

/// Every model as it is, and their plain mean.
///
/// The mean is taken over the models that are merged into the base, or over all when fewer than two
/// are: `linear` with equal weights, in the element type of the candidates. Where candidates have a
/// tokenizer of their own, all comparisons have it too.
fn comparisons(references: &[ModelReference], start: &MergeConfig) -> Vec<Comparison> {
    let mut comparisons: Vec<Comparison> = references
        .iter()
        .map(|reference| {
            let config = match &start.tokenizer {
                None => MergeConfig::of_models("passthrough", vec![unweighted(reference)]),
                Some(_) => average(references, start, &[reference]),
            };
            let (role, name) = (Role::Parent, reference.to_string());
            Comparison { role, name, config: config.to_yaml() }
        })
        .collect();
    let tuned: Vec<_> =
        references.iter().filter(|&model| start.base_model.as_ref() != Some(model)).collect();
    let averaged = if tuned.len() < 2 { references.iter().collect() } else { tuned };
    if averaged.len() > 1 {
        let mut average = average(references, start, &averaged);
        (average.dtype, average.out_dtype) = (start.dtype, start.out_dtype);
        comparisons.push(Comparison {
            role: Role::UniformAverage,
            name: UNIFORM_AVERAGE.to_owned(),
            config: average.to_yaml(),
        });
    }
    comparisons
}

/// The mean of the models `averaged`. With a tokenizer the others take part with weights of 0, so that
/// the output has the same tokens as the merge of all, `start`.
fn average(
    references: &[ModelReference],
    start: &MergeConfig,
    averaged: &[&ModelReference],
) -> MergeConfig {
    let takes_part =
        |model: &&ModelReference| start.tokenizer.is_some() || averaged.contains(model);
    let entry = |model: &ModelReference| {
        let weight = if averaged.contains(&model) { 1.0 } else { 0.0 };
        let weight = Setting::Plain(Value::Scalar(Scalar::Float(weight)));
        let parameters = IndexMap::from([("weight".to_owned(), weight)]);
        ModelEntry { parameters, ..unweighted(model) }
    };
    let models = references.iter().filter(takes_part).map(entry).collect();
    let mut average = MergeConfig::of_models("linear", models);
    if start.tokenizer.is_some() {
        average.tokenizer.clone_from(&start.tokenizer);
        average.base_model.clone_from(&start.base_model);
    }
    average
}

fn unweighted(model: &ModelReference) -> ModelEntry {
    ModelEntry { model: model.clone(), parameters: IndexMap::new() }
}

/// How memory is divided between finished candidates, the engine at work and models at work.
struct Memory {
    candidates: usize,
    working: Option<u64>,
}

impl Memory {
    /// Of a given limit an eighth is the engine's, and one is for what models need to run. Without
    /// one, candidates may fill half of what is free now, and the engine is modest by itself.
    fn new(limit: Option<u64>, candidate_bytes: u64) -> Self {
        let room = match limit {
            Some(limit) => limit / 4 * 3,
            None => free_memory().map_or(u64::MAX, |bytes| bytes / 2),
        };
        let candidates =
            usize::try_from(room / candidate_bytes.max(1)).unwrap_or(usize::MAX).max(1);
        Self { candidates, working: limit.map(|limit| limit / 8) }
    }

    /// What each of some models may need to run.
    fn running(&self, workers: usize) -> Option<u64> {
        self.working.map(|bytes| bytes / workers.max(1) as u64)
    }
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Bytes that programs can still get without swapping, where the system says.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

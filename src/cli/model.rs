//! Models that commands run: from a directory, the Hub or a merge config into memory.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};
use indexmap::IndexMap;
use indicatif::DecimalBytes;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::Value;
use tempfile::TempDir;

use super::hub::hub;
use super::options::{memory_limit, thread_count, useful_threads};
use super::{Failure, Talk, cancelled_by_ctrl_c, warnings};
use crate::candidate::{MergedCandidate, ModelForm};
use crate::config::{ConfigFile, MergeConfig, ModelEntry, ModelReference};
use crate::engine::{Engine, EngineError, EngineOptions, write_small_files};
use crate::evaluate::{ChatTemplate, EvaluateError, LazyTokenizer, Tokenizer};
use crate::lm::{Decoder, DecoderOptions, DeviceChoice, Storage};
use crate::plan::{MergePlan, ModelStore, PlanError, PlanOptions};

/// A `model_max_length` from here on says that a tokenizer has no limit.
const NO_LIMIT: u64 = 1 << 40;

/// Which model runs, and how.
#[derive(Debug, Args)]
pub(super) struct ModelArguments {
    /// A model directory, a model of the Hub, `organisation/name`, with an adapter `MODEL+ADAPTER`, or a
    /// merge config, `FILE.yml`, whose merge is made in memory
    #[arg(value_name = "MODEL")]
    pub(super) model: PathBuf,

    /// Directory with another tokenizer, and chat template, than the model's own
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) tokenizer: Option<PathBuf>,

    /// Whether the beginning-of-sequence token stands in front of texts; as the tokenizer does by itself if
    /// not given
    #[arg(long, value_name = "BOOL", alias = "add_bos_token")]
    pub(super) add_bos_token: Option<bool>,

    /// Most tokens that the model sees at once; as its config says if not given
    #[arg(long, value_name = "N")]
    pub(super) max_length: Option<NonZeroUsize>,

    /// How weights are kept: exactly, in 16 bits, or in blocks of 8 or 4 bits; arithmetic is in 32 bits
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    #[arg(value_parser = PossibleValuesParser::new(Storage::NAMES.map(|(name, _)| name)))]
    pub(super) dtype: String,

    /// Where the model runs: `cpu`, `cuda`, `cuda:N` or `metal`; graphics cards need a program built for them
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub(super) device: DeviceChoice,

    /// Whether beginnings that texts share are computed once. Results are the same; for measurements
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(super) share_prefixes: bool,

    /// Cache for models of the Hub; if not given, as HF_HUB_CACHE and HF_HOME say
    #[arg(long, value_name = "PATH")]
    transformers_cache: Option<PathBuf>,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    #[arg(value_parser = thread_count)]
    threads: Option<NonZeroUsize>,

    /// Most bytes of memory for the weights and for reading them, with k, m or b for 10^3, 10^6 or 10^9
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<u64>,
}

/// A model whose weights are still where they were, and what tells texts from tokens.
pub(super) struct PreparedModel {
    plan: MergePlan,
    /// The merge config, YAML.
    config: String,
    engine: Engine,
    form: ModelForm,
    /// Where the model runs.
    pub(super) threads: ThreadPool,
    pub(super) tokenizer: LazyTokenizer<'static>,
    /// Where the tokenizer is from.
    files: Arc<SmallFiles>,
}

/// A directory with a model's tokenizer.
enum SmallFiles {
    /// As it is on the disk.
    Own(PathBuf),
    /// Made for a merge that has another tokenizer than its models.
    Made(TempDir),
}

impl SmallFiles {
    fn path(&self) -> &Path {
        match self {
            Self::Own(path) => path,
            Self::Made(directory) => directory.path(),
        }
    }
}

impl ModelArguments {
    /// Opens the model, fetching it where it is on the Hub, without reading its weights.
    pub(super) fn prepare(&self, talk: Talk) -> Result<PreparedModel, Failure> {
        let hub = hub(self.transformers_cache.as_deref(), talk, cancelled_by_ctrl_c())?;
        let store = ModelStore::new().with_hub(hub);
        let (plan, config) = match self.merge_config() {
            Some(path) => {
                let file = ConfigFile::read(path)?;
                let plan = whole_plan(&file.config, &store);
                let warned = plan.as_ref().map(MergePlan::warnings).unwrap_or_default();
                warnings::show(&file, warned, talk);
                let plan = plan.map_err(|error| Failure::in_config(error, &file))?;
                (plan, file.config.to_yaml())
            }
            None => {
                let config = passthrough(self.reference()?);
                (whole_plan(&config, &store)?, config.to_yaml())
            }
        };
        let files = match &self.tokenizer {
            Some(directory) => SmallFiles::Own(directory.clone()),
            None if plan.tokenizer().is_some() || plan.chat_template().is_some() => {
                let unwritable = |source| EngineError::Write { path: env::temp_dir(), source };
                let directory = tempfile::tempdir().map_err(unwritable)?;
                write_small_files(&plan, directory.path(), true)?;
                SmallFiles::Made(directory)
            }
            None => SmallFiles::Own(plan.donor().directory.clone()),
        };
        let files = Arc::new(files);
        let threads = self.threads.map_or(0, |threads| useful_threads(threads, talk).get());
        let storage: Storage = self.dtype.parse().unwrap_or_default();
        let elements = plan.tensors().iter().map(|tensor| tensor.info.elements());
        let weights: u64 = elements.map(|elements| storage.bytes(elements)).sum();
        // What is left beside the weights; all of it where they do not fit in, and need not.
        let working = self.memory_limit.map(|limit| match limit.saturating_sub(weights) {
            0 => limit,
            rest => rest,
        });
        let engine = Engine::new(EngineOptions {
            threads: (threads > 0).then_some(threads),
            memory_limit: working,
            cancelled: cancelled_by_ctrl_c(),
            ..EngineOptions::default()
        })?;
        let max_length = self.max_length.map(NonZeroUsize::get);
        let options = DecoderOptions {
            max_length: max_length
                .or_else(|| limit_of_tokenizer(plan.model_config(), files.path())),
            memory_limit: working,
            device: self.device,
            share_prefixes: self.share_prefixes,
            ..DecoderOptions::default()
        };
        let threads = ThreadPoolBuilder::new()
            .num_threads(engine.threads())
            .thread_name(|index| format!("model-{index}"))
            .build()
            .map_err(EngineError::from)?;
        let (kept, adds_bos) = (Arc::clone(&files), self.add_bos_token);
        let tokenizer = LazyTokenizer::new(move || {
            let mut tokenizer = Tokenizer::open(kept.path())?;
            if let Some(adds_bos) = adds_bos {
                tokenizer.set_adds_bos(adds_bos);
            }
            Ok(tokenizer)
        });
        Ok(PreparedModel {
            form: ModelForm::new(storage, options).with_weight_limit(self.memory_limit),
            plan,
            config,
            engine,
            threads,
            tokenizer,
            files,
        })
    }

    fn merge_config(&self) -> Option<&Path> {
        let is_yaml = self.model.extension().is_some_and(|end| end == "yml" || end == "yaml");
        Some(self.model.as_path()).filter(|path| is_yaml && !path.is_dir())
    }

    /// A path that exists is taken literally, whatever is in its name.
    fn reference(&self) -> Result<ModelReference, Failure> {
        let text = self.model.to_string_lossy();
        if self.model.exists() {
            return Ok(ModelReference::new(text));
        }
        text.parse::<ModelReference>().map_err(|problem| {
            Failure::refused(format!("model `{text}` {problem}"), problem.hint())
        })
    }
}

/// Plans a merge, with all weights here.
fn whole_plan(config: &MergeConfig, store: &ModelStore) -> Result<MergePlan, PlanError> {
    let options = PlanOptions::default();
    let plan = MergePlan::new(config, store, &options)?;
    match store.fetch_weights()? {
        true => MergePlan::new(config, store, &options),
        false => Ok(plan),
    }
}

/// The merge that is one model as it is.
fn passthrough(model: ModelReference) -> MergeConfig {
    let entry = ModelEntry { model, parameters: IndexMap::new() };
    MergeConfig::of_models("passthrough", vec![entry])
}

/// What the tokenizer in `directory` allows, for models whose config has no limit.
fn limit_of_tokenizer(config: &Value, directory: &Path) -> Option<usize> {
    let config = config.get("text_config").unwrap_or(config);
    let names = ["n_positions", "max_position_embeddings", "n_ctx"];
    if names.iter().any(|name| config.get(name).is_some_and(|value| !value.is_null())) {
        return None;
    }
    let text = std::fs::read_to_string(directory.join("tokenizer_config.json")).ok()?;
    let fields: Value = serde_json::from_str(&text).ok()?;
    let limit = fields["model_max_length"].as_u64().filter(|&limit| limit < NO_LIMIT)?;
    usize::try_from(limit).ok()
}

impl PreparedModel {
    /// The chat template of the model, or of the tokenizer given in its place.
    pub(super) fn chat_template(&self) -> Result<ChatTemplate, Failure> {
        let found = ChatTemplate::of_model(self.files.path())?;
        found.ok_or_else(|| {
            Failure::refused(
                format!("there is no chat template in `{}`", self.files.path().display()),
                "ask without one, or name a directory with a tokenizer that has one by `--tokenizer`",
            )
        })
    }

    /// Number of parameters.
    pub(super) fn parameters(&self) -> u64 {
        self.plan.tensors().iter().map(|tensor| tensor.info.elements() as u64).sum()
    }

    /// The model as something to score or to run.
    pub(super) fn candidate(&self) -> MergedCandidate<'_> {
        MergedCandidate::new(&self.plan, &self.config, &self.engine, &self.form)
    }

    /// Reads the weights of a candidate into memory, and says how that goes.
    pub(super) fn load<'c>(
        &self,
        candidate: &'c MergedCandidate<'_>,
        talk: Talk,
    ) -> Result<&'c Decoder, EvaluateError> {
        let started = Instant::now();
        let bytes = DecimalBytes(self.form.bytes(&self.plan));
        let bar = talk.spinner(&format!("reading {bytes}"));
        let decoder = candidate.decoder();
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        talk.detail(&format_args!("model of {bytes} in memory after {seconds:.1} s"));
        decoder
    }
}

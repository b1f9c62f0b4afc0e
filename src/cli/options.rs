//! Options that several commands share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::Args;

use super::hub::hub;
use super::{Failure, Talk, cancelled_by_ctrl_c, warnings};
use crate::checkpoint::{ShardSize, WeightFormat};
use crate::config::ConfigFile;
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::kernels::dtype::DType;
use crate::plan::{MergePlan, ModelStore, PlanOptions};

/// More threads than this for each core only cost time.
const MOST_THREADS_PER_CORE: usize = 16;

/// What belongs to a merge beside its config.
#[derive(Debug, Clone, Args)]
pub(super) struct MergeSettings {
    /// Key of random numbers: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    random_seed: u64,

    /// Most bytes per weight file, with k, m or b for 10^3, 10^6 or 10^9; 0 for one file
    #[arg(long, value_name = "SIZE", default_value_t)]
    pub(super) out_shard_size: ShardSize,

    /// Merge models of different architectures as far as their tensors fit
    #[arg(long, overrides_with = "no_allow_crimes")]
    allow_crimes: bool,

    #[arg(long, hide = true)]
    no_allow_crimes: bool,

    /// Write safetensors (the default)
    #[arg(long, overrides_with = "no_safe_serialization", hide = true)]
    safe_serialization: bool,

    /// Write weights as PyTorch pickles, pytorch_model.bin
    #[arg(long)]
    no_safe_serialization: bool,

    /// Where vocabularies differ in size, keep the rows that all models have
    #[arg(long, overrides_with = "no_unsafe_truncate_embeddings")]
    unsafe_truncate_embeddings: bool,

    #[arg(long, hide = true)]
    no_unsafe_truncate_embeddings: bool,

    /// Element type that a model with an adapter is converted to before the two are combined; the model's
    /// own if not given
    #[arg(long, value_name = "DTYPE", value_parser = float_type)]
    pub(super) lora_merge_dtype: Option<DType>,

    /// Cache for models of the Hub; if not given, as HF_HUB_CACHE and HF_HOME say
    #[arg(long, value_name = "PATH")]
    transformers_cache: Option<PathBuf>,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    #[arg(value_parser = thread_count)]
    threads: Option<NonZeroUsize>,

    /// Most bytes of working memory, with k, m or b for 10^3, 10^6 or 10^9; 224m if not given, or what
    /// one thread needs where that is more
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    pub(super) memory_limit: Option<u64>,
}

impl MergeSettings {
    pub(super) fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            seed: self.random_seed,
            allow_mixed_architectures: self.allow_crimes,
            truncate_embeddings: self.unsafe_truncate_embeddings,
        }
    }

    /// The form of the weight files.
    pub(super) fn format(&self) -> WeightFormat {
        match self.no_safe_serialization {
            true => WeightFormat::Pickle,
            false => WeightFormat::Safetensors,
        }
    }

    /// Plans the merge that `file` asks for, and says what the plan warns of. For models of the Hub the
    /// headers of their weights do; what the plan still lacks of them, the store fetches.
    pub(super) fn plan(
        &self,
        file: &ConfigFile,
        talk: Talk,
    ) -> Result<(MergePlan, ModelStore), Failure> {
        let hub = hub(self.transformers_cache.as_deref(), talk, cancelled_by_ctrl_c())?;
        let store = ModelStore::with_adapted_as(self.lora_merge_dtype).with_hub(hub);
        let plan = MergePlan::new(&file.config, &store, &self.plan_options());
        warnings::show(file, plan.as_ref().map(MergePlan::warnings).unwrap_or_default(), talk);
        Ok((plan.map_err(|error| Failure::in_config(error, file))?, store))
    }

    /// As [`plan`](Self::plan), with all weights here.
    pub(super) fn plan_whole(&self, file: &ConfigFile, talk: Talk) -> Result<MergePlan, Failure> {
        let (plan, store) = self.plan(file, talk)?;
        match store.fetch_weights()? {
            true => Ok(MergePlan::new(&file.config, &store, &self.plan_options())
                .map_err(|error| Failure::in_config(error, file))?),
            false => Ok(plan),
        }
    }

    /// An engine that Ctrl-C stops.
    pub(super) fn engine(&self, talk: Talk) -> Result<Engine, EngineError> {
        Engine::new(EngineOptions {
            threads: self.threads.map(|threads| useful_threads(threads, talk).get()),
            memory_limit: self.memory_limit,
            cancelled: cancelled_by_ctrl_c(),
            ..EngineOptions::default()
        })
    }
}

/// As many threads as asked for, but not so many that starting them takes longer than the work.
pub(super) fn useful_threads(threads: NonZeroUsize, talk: Talk) -> NonZeroUsize {
    let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = cores.saturating_mul(NonZeroUsize::MIN.saturating_add(MOST_THREADS_PER_CORE - 1));
    if threads > most {
        let text = format!("{threads} threads would only be in each other's way; {most} are used");
        talk.warn(&text, None);
    }
    threads.min(most)
}

/// Reads an element type such as `bfloat16`.
pub(super) fn float_type(text: &str) -> Result<DType, String> {
    const TYPES: [DType; 4] = [DType::BF16, DType::F16, DType::F32, DType::F64];
    let bare = text.strip_prefix("torch.").unwrap_or(text);
    let known = TYPES.into_iter().find(|dtype| dtype.to_string() == bare);
    known.ok_or_else(|| "write `bfloat16`, `float16`, `float32` or `float64`".to_owned())
}

/// Reads how many threads to use.
pub(super) fn thread_count(text: &str) -> Result<NonZeroUsize, String> {
    let number: Result<usize, _> = text.trim().parse();
    match number.map(NonZeroUsize::new) {
        Ok(Some(threads)) => Ok(threads),
        Ok(None) => Err("write 1 or more, or leave it out for all cores".to_owned()),
        Err(_) => Err("write a whole number, 1 or more".to_owned()),
    }
}

/// Reads a size such as `500m`.
pub(super) fn memory_limit(text: &str) -> Result<u64, String> {
    let size: Result<ShardSize, _> = text.parse();
    match size {
        Ok(size) if size != ShardSize::UNLIMITED => Ok(size.bytes()),
        _ => Err("write whole bytes, optionally with k, m or b, such as `500m`".to_owned()),
    }
}

//! `mergekit merge`: one merge config, one model directory.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::DecimalBytes;

use super::{Failure, Talk, Verbosity, cancelled_by_ctrl_c};
use crate::checkpoint::ShardSize;
use crate::config::ConfigFile;
use crate::engine::{Anomaly, Engine, EngineOptions, WriteOptions};
use crate::plan::{MergePlan, ModelStore, PlanOptions};
use crate::report::count;

/// Merge models as a config says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit merge configs/ties.yml merged
      write the model to `merged`, which must not exist yet
  mergekit merge merge.yml merged --overwrite --out-shard-size 2b
      replace `merged`, in files of at most 2 GB
  mergekit merge merge.yml merged --threads 2 --memory-limit 500m
      leave room for other programs")]
pub(super) struct Arguments {
    /// The merge config, a YAML file
    config: PathBuf,

    /// The directory to write the merged model to
    out: PathBuf,

    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,

    /// Key of random numbers: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    random_seed: u64,

    /// Most bytes per weight file, with k, m or b for 10^3, 10^6 or 10^9; 0 for one file
    #[arg(long, value_name = "SIZE", default_value_t)]
    out_shard_size: ShardSize,

    /// Copy the base model's tokenizer (the default)
    #[arg(long, overrides_with = "no_copy_tokenizer")]
    copy_tokenizer: bool,

    /// Leave the tokenizer out
    #[arg(long)]
    no_copy_tokenizer: bool,

    /// Write README.md and mergekit_config.yml (the default)
    #[arg(long, overrides_with = "no_write_model_card")]
    write_model_card: bool,

    /// Leave README.md and mergekit_config.yml out
    #[arg(long)]
    no_write_model_card: bool,

    /// Merge models of different architectures as far as their tensors fit
    #[arg(long, overrides_with = "no_allow_crimes")]
    allow_crimes: bool,

    #[arg(long, hide = true)]
    no_allow_crimes: bool,

    /// Where vocabularies differ in size, keep the rows that all models have
    #[arg(long, overrides_with = "no_unsafe_truncate_embeddings")]
    unsafe_truncate_embeddings: bool,

    #[arg(long, hide = true)]
    no_unsafe_truncate_embeddings: bool,

    /// Stop at the first weight that is NaN or infinite, instead of going on with a warning
    #[arg(long)]
    strict: bool,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,

    /// Most bytes of working memory, with k, m or b for 10^3, 10^6 or 10^9
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<u64>,

    #[command(flatten)]
    verbosity: Verbosity,

    #[command(flatten)]
    ignored: Ignored,
}

/// Options of mergekit-yaml that decide how Python and CUDA go about it. Accepted, so that commands
/// written for it work, and without effect: merging is lazy, streamed and on the CPU here.
#[derive(Debug, Args)]
struct Ignored {
    #[arg(long, hide = true, value_name = "NAME", value_parser = ["cpu", "auto"])]
    device: Option<String>,
    #[arg(long, hide = true)]
    no_cuda: bool,
    #[arg(long, hide = true)]
    low_cpu_memory: bool,
    #[arg(long, hide = true)]
    no_low_cpu_memory: bool,
    #[arg(long, hide = true)]
    lazy_unpickle: bool,
    #[arg(long, hide = true)]
    no_lazy_unpickle: bool,
    #[arg(long, hide = true)]
    clone_tensors: bool,
    #[arg(long, hide = true)]
    no_clone_tensors: bool,
    #[arg(long, hide = true)]
    trust_remote_code: bool,
    #[arg(long, hide = true)]
    no_trust_remote_code: bool,
    #[arg(long, hide = true)]
    safe_serialization: bool,
    #[arg(long, hide = true)]
    async_write: bool,
    #[arg(long, hide = true)]
    no_async_write: bool,
    #[arg(long, hide = true, value_name = "N")]
    write_threads: Option<usize>,
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    transformers_cache: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    lora_merge_cache: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let talk = Talk::new(arguments.verbosity);
    let file = ConfigFile::read(&arguments.config)?;
    for warning in &file.warnings {
        talk.warn(warning, warning.hint());
    }
    let plan_options = PlanOptions {
        seed: arguments.random_seed,
        allow_mixed_architectures: arguments.allow_crimes,
        truncate_embeddings: arguments.unsafe_truncate_embeddings,
    };
    let plan = MergePlan::new(&file.config, &ModelStore::new(), &plan_options)
        .map_err(|error| Failure::in_config(error, &file))?;
    for warning in plan.warnings() {
        talk.warn(warning, None);
    }
    for model in plan.models() {
        let tensors = count(model.checkpoint.tensors().len(), "tensor");
        let architecture = model.architecture.name();
        talk.detail(&format_args!("{}: {tensors}, {architecture}", model.label()));
    }
    for tensor in plan.tensors() {
        let info = &tensor.info;
        talk.fine_detail(&format_args!("{} {} {:?}", tensor.name, info.dtype, info.shape));
    }

    let engine = Engine::new(EngineOptions {
        threads: arguments.threads.map(Into::into),
        memory_limit: arguments.memory_limit,
        cancelled: cancelled_by_ctrl_c(),
        ..EngineOptions::default()
    })?;
    talk.detail(&format_args!(
        "merging {} with {} on {}",
        count(plan.tensors().len(), "tensor"),
        plan.method().name,
        count(engine.threads(), "thread"),
    ));
    let options = WriteOptions {
        shard_size: arguments.out_shard_size,
        overwrite: arguments.overwrite,
        copy_tokenizer: !arguments.no_copy_tokenizer,
        recipe: (!arguments.no_write_model_card).then(|| file.document.text().to_owned()),
        strict: arguments.strict,
    };
    let bar = talk.byte_progress(plan.output_bytes());
    let result =
        engine.merge_to_directory(&plan, &arguments.out, &options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    warn_of(&result?, talk);
    talk.say(&format_args!(
        "merged {} with {} into `{}`: {}, {} in {:.1} s",
        count(plan.models().len(), "model"),
        plan.method().name,
        arguments.out.display(),
        count(plan.tensors().len(), "tensor"),
        DecimalBytes(plan.output_bytes()),
        started.elapsed().as_secs_f64(),
    ));
    Ok(())
}

/// Names the tensors that are damaged, the first few of them.
fn warn_of(anomalies: &[Anomaly], talk: Talk) {
    const SHOWN: usize = 8;
    for anomaly in anomalies.iter().take(SHOWN) {
        talk.warn(anomaly, Some(anomaly.hint().to_owned()));
    }
    if anomalies.len() > SHOWN {
        let more = count(anomalies.len() - SHOWN, "more tensor");
        talk.warn(&format_args!("{more} with values that are no finite numbers"), None);
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

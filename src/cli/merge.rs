//! `mergekit merge`: one merge config, one model directory.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::DecimalBytes;

use super::compatibility::Compatibility;
use super::options::MergeSettings;
use super::plan::{heading, introduce};
use super::{Failure, Talk, Verbosity};
use crate::config::ConfigFile;
use crate::engine::{
    Anomaly, Engine, InputFiles, LOCK_FILE, Lock, LockOptions, LockedConfig, LockedInput,
    WriteOptions,
};
use crate::plan::MergePlan;
use crate::report::count;

/// Merge models as a config says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit merge configs/ties.yml merged
      write the model to `merged`, which must not exist yet, or be empty
  mergekit merge merge.yml merged --overwrite --out-shard-size 2b
      replace `merged`, in files of at most 2 GB
  mergekit merge merge.yml merged --threads 2 --memory-limit 500m
      leave room for other programs
  mergekit merge merged/mergekit_config.yml again --locked
      make `merged` again, if its input files are still the same")]
pub(super) struct Arguments {
    /// The merge config, a YAML file
    config: PathBuf,

    /// The directory to write the merged model to
    out: PathBuf,

    /// Replace the output directory if it has something in it
    #[arg(long)]
    overwrite: bool,

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

    /// Refuse to merge unless config, options and every input file are those of the merge.lock.json beside
    /// the config, or of LOCK
    #[arg(long, value_name = "LOCK", require_equals = true)]
    locked: Option<Option<PathBuf>>,

    /// Leave merge.lock.json out, and with it the hashing of input files
    #[arg(long)]
    no_lock: bool,

    /// Stop at the first weight that is NaN or infinite, instead of going on with a warning
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    settings: MergeSettings,

    #[command(flatten)]
    verbosity: Verbosity,

    #[command(flatten)]
    pub(super) compatibility: Compatibility,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let talk = Talk::new(arguments.verbosity);
    let settings = &arguments.settings;
    arguments.compatibility.answer(talk);
    let file = ConfigFile::read(&arguments.config)?;
    let plan = settings.plan_whole(&file, talk)?;
    introduce(&plan, talk);

    let without_tokenizer = plan.tokenizer().is_none() && arguments.no_copy_tokenizer;
    if plan.chat_template().is_some() && without_tokenizer {
        let hint = "leave out either `chat_template` or `--no-copy-tokenizer`".to_owned();
        talk.warn(&"`chat_template` has no effect without a tokenizer", Some(hint));
    }

    let engine = settings.engine(talk)?;
    let estimate = engine.estimate(&plan)?;
    talk.detail(&format_args!(
        "merging {} with {} on {}",
        count(plan.tensors().len(), "tensor"),
        plan.method().name,
        count(estimate.threads, "thread"),
    ));
    let text = file.document.text();
    let mut options = WriteOptions {
        format: settings.format(),
        shard_size: settings.out_shard_size,
        overwrite: arguments.overwrite,
        copy_tokenizer: !arguments.no_copy_tokenizer,
        config_text: (!arguments.no_write_model_card).then(|| text.to_owned()),
        lock: None,
        strict: arguments.strict,
    };
    let config =
        LockedConfig::new(text, &settings.plan_options(), settings.lora_merge_dtype, &options);
    let inputs = match arguments.lock() {
        Some(lock) => Some(verified(&lock, &config, arguments, &plan, &engine, talk)?),
        None => None,
    };
    if !arguments.no_lock {
        options.lock = Some(LockOptions { config, inputs, kept_digests: kept_digests() });
    }
    let bar = talk.byte_progress(plan.output_bytes());
    let result =
        engine.merge_to_directory(&plan, &arguments.out, &options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    warn_of(&result?, talk);
    let seconds = started.elapsed().as_secs_f64();
    talk.say(&format_args!(
        "merged {} into `{}`: {}, {} in {seconds:.1} s ({} read and written{})",
        heading(&plan),
        arguments.out.display(),
        count(plan.tensors().len(), "tensor"),
        DecimalBytes(plan.output_bytes()),
        rate(estimate.bytes_read + plan.output_bytes(), seconds),
        peak_memory()
            .map(|peak| format!(", at most {} resident", DecimalBytes(peak)))
            .unwrap_or_default(),
    ));
    Ok(())
}

impl Arguments {
    /// The lock that `--locked` asks to be held to.
    fn lock(&self) -> Option<PathBuf> {
        let beside = || self.config.with_file_name(LOCK_FILE);
        Some(self.locked.clone()?.unwrap_or_else(beside))
    }
}

/// Where digests of input files are kept for the next merge, in the user's cache.
fn kept_digests() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("mergekit/digests"))
}

/// The input files with their digests, when they and everything else are as `path` has them.
fn verified(
    path: &Path,
    config: &LockedConfig,
    arguments: &Arguments,
    plan: &MergePlan,
    engine: &Engine,
    talk: Talk,
) -> Result<Vec<LockedInput>, Failure> {
    let lock = Lock::open(path)?;
    if let Some(version) = lock.other_version() {
        let text = format_args!("`{}` was written by version {version}", path.display());
        let hint = "this version may compute other bytes from the same inputs".to_owned();
        talk.warn(&text, Some(hint));
    }
    lock.check_config(config, &arguments.config)?;
    let files = InputFiles::of(plan)?;
    lock.check_files(&files)?;
    let bar = talk.read_progress(files.bytes());
    let inputs = engine.hash(files.clone(), &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let inputs = inputs?;
    lock.check_digests(&files, &inputs)?;
    talk.detail(&format_args!(
        "{} of input are as `{}` has them",
        DecimalBytes(files.bytes()),
        path.display()
    ));
    Ok(inputs)
}

/// `1.94 GB/s`.
fn rate(bytes: u64, seconds: f64) -> String {
    let per_second = bytes as f64 / seconds.max(1e-6);
    match per_second < 1e7 {
        true => format!("{}/s", DecimalBytes(per_second as u64)),
        false => format!("{:.2} GB/s", per_second / 1e9),
    }
}

/// Most memory that this process has had at once, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
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

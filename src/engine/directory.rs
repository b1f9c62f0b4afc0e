//! The output directory: weights, config, side files, the merge config, a model card and a lock.

use std::fs;
use std::path::Path;

use crate::architecture::{copy_side_files, copy_tokenizer};
use crate::checkpoint::{CheckpointWriter, Layout, OutputDirectory, ShardSize, WeightFormat};
use crate::plan::MergePlan;
use crate::tokenizer::{self, VOCABULARY_FILES};

use super::anomaly::{Anomalies, Anomaly};
use super::error::EngineError;
use super::lock::{Hashing, InputFiles, Lock, LockOptions};
use super::{Engine, model_card};

/// The name under which the merge config lies beside the weights, as in mergekit.
const CONFIG_FILE: &str = "mergekit_config.yml";

/// What an output directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// Form of the weight files.
    pub format: WeightFormat,
    /// Most bytes of weights per file.
    pub shard_size: ShardSize,
    /// Replaces a directory that exists.
    pub overwrite: bool,
    /// Copies the donor's tokenizer, unless the plan has one of its own, which is always written.
    pub copy_tokenizer: bool,
    /// The merge config's text, to be kept as `mergekit_config.yml` and shown in a model card,
    /// `README.md`. Without it, neither is written.
    pub config_text: Option<String>,
    /// What goes into `merge.lock.json`. Without it, there is none.
    pub lock: Option<LockOptions>,
    /// Makes an error of the first [`Anomaly`] instead of a warning.
    pub strict: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            format: WeightFormat::default(),
            shard_size: ShardSize::default(),
            overwrite: false,
            copy_tokenizer: true,
            config_text: None,
            lock: None,
            strict: false,
        }
    }
}

pub(super) fn write(
    engine: &Engine,
    plan: &MergePlan,
    out: &Path,
    options: &WriteOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Anomaly>, EngineError> {
    for model in plan.models() {
        if model.directories().any(|input| is_same_directory(input, out)) {
            return Err(EngineError::OutputIsInput { path: out.to_owned(), model: model.label() });
        }
    }
    let layout = Layout::in_format(options.format, plan.tensor_infos(), options.shard_size)?;
    let output = OutputDirectory::create(out, options.overwrite)?;
    let partial = output.path().to_owned();
    let written = fill(engine, plan, &output, layout, options, progress)
        .and_then(|anomalies| Ok((anomalies, output.commit()?)));
    match written {
        Ok((anomalies, _)) => Ok(anomalies),
        Err(error) => Err(in_target(error, &partial, out)),
    }
}

/// Writes everything that belongs into the output.
fn fill(
    engine: &Engine,
    plan: &MergePlan,
    output: &OutputDirectory,
    layout: Layout,
    options: &WriteOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Anomaly>, EngineError> {
    // Small things first: what is wrong with them is known before the weights are computed.
    write_small_files(plan, output.path(), options.copy_tokenizer)?;
    if let Some(config_text) = &options.config_text {
        let card = model_card::model_card(plan, config_text);
        for (file, text) in [(CONFIG_FILE, config_text), ("README.md", &card)] {
            let path = output.path().join(file);
            fs::write(&path, text).map_err(|source| EngineError::Write { path, source })?;
        }
    }
    let hashing = match &options.lock {
        Some(LockOptions { inputs: None, kept_digests, .. }) => {
            Some(Hashing::new(InputFiles::of(plan)?, kept_digests.as_deref()))
        }
        _ => None,
    };
    let writer = CheckpointWriter::create(output.path(), layout)?;
    let anomalies = Anomalies::new(options.strict);
    engine.merge_to_writer(plan, &anomalies, &writer, hashing.as_ref(), progress)?;
    writer.finish()?;
    if let Some(LockOptions { config, inputs, .. }) = &options.lock {
        let inputs = match hashing {
            Some(hashing) => engine.finish_hashing(hashing, &|_| ())?,
            None => inputs.clone().unwrap_or_default(),
        };
        Lock::new(config.clone(), inputs).save(output.path())?;
    }
    engine.check_cancelled()?;
    Ok(anomalies.into_warnings())
}

/// The error with the path that a file in the directory `partial` would have had in the end, which is the
/// one that means something to people.
fn in_target(mut error: EngineError, partial: &Path, out: &Path) -> EngineError {
    if let Some(path) = error.unwritten()
        && let Ok(name) = path.strip_prefix(partial)
    {
        *path = match name.as_os_str().is_empty() {
            true => out.to_owned(),
            false => out.join(name),
        };
    }
    error
}

/// Writes what a model directory holds beside weights: `config.json`, generation config and others of
/// the architecture, and the tokenizer; the donor's, where the plan
/// has none of its own, only with `copies_tokenizer`.
pub fn write_small_files(
    plan: &MergePlan,
    out: &Path,
    copies_tokenizer: bool,
) -> Result<(), EngineError> {
    plan.output_config().save(out)?;
    let donor = plan.donor();
    copy_side_files(&donor.directory, out, &donor.architecture.definition().side_files)?;
    match plan.tokenizer() {
        Some(tokenizer) => {
            let changed = tokenizer.file.is_changed();
            let except: &[&str] = if changed { &VOCABULARY_FILES } else { &[] };
            copy_tokenizer(&tokenizer.directory, out, except)?;
            tokenizer.write(out)?;
        }
        None if copies_tokenizer => {
            copy_tokenizer(&donor.directory, out, &[])?;
        }
        None => return Ok(()),
    }
    if let Some(template) = plan.chat_template() {
        tokenizer::set(out, template)?;
    }
    Ok(())
}

/// Whether both paths lead to the same existing directory.
pub(crate) fn is_same_directory(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

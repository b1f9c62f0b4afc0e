//! The output directory: the model's tensors with new rows, its config with the donor's ids, the donor's
//! tokenizer.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::architecture::{ModelConfig, copy_side_files, copy_tokenizer};
use crate::checkpoint::{CheckpointWriter, Layout, OutputDirectory, ShardSize, WeightFormat};
use crate::engine::is_same_directory;
use crate::kernels::dtype::{DType, first_beyond, narrow};
use crate::tokenizer::read_object;

use super::approximate::{Task, add_noise, prepare};
use super::matching::Origin;
use super::rows::BLOCK;
use super::work::{Observer, Work};
use super::{SurgeonError, Transplant};

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 22;

/// Tokens that are approximated at a time when nothing else is asked for.
const USUAL_BATCH: usize = 512;

/// Most bytes of a batch's products with all shared tokens.
const PRODUCTS: usize = 64_000_000;

/// What a config says of a vocabulary beside its size.
const TOKEN_KEYS: [&str; 6] = [
    "pad_token_id",
    "eos_token_id",
    "bos_token_id",
    "unk_token_id",
    "mask_token_id",
    "padding_side",
];

const GENERATION_CONFIG: &str = "generation_config.json";

/// How an output directory is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransplantFiles {
    /// The form of the weight files.
    pub format: WeightFormat,
    /// Most bytes of weights per file.
    pub shard_size: ShardSize,
    /// Replaces a directory that exists.
    pub overwrite: bool,
}

pub(super) fn write(
    transplant: &Transplant,
    out: &Path,
    files: &TransplantFiles,
    observer: &dyn Observer,
    cancelled: &AtomicBool,
) -> Result<(), SurgeonError> {
    for input in [&transplant.model.input, &transplant.donor.input] {
        if input.directories().any(|directory| is_same_directory(directory, out)) {
            let model = input.label();
            return Err(SurgeonError::OutputIsInput { path: out.to_owned(), model });
        }
    }
    let layout = layout(transplant, files)?;
    let output = OutputDirectory::create(out, files.overwrite)?;
    let work = Work { observer, cancelled, scratch: output.path() };
    config(transplant)?.save(output.path())?;
    write_side_files(transplant, output.path())?;
    let writer = CheckpointWriter::create(output.path(), layout)?;
    // What is only copied comes first, so that the disk's room for scratch files is what is left.
    copy_tensors(transplant, &writer, &work)?;
    for planned in &transplant.matrices {
        write_matrix(&transplant.task(planned), &writer, &work)?;
    }
    writer.finish()?;
    work.check_cancelled()?;
    output.commit()?;
    Ok(())
}

/// Names of the tensors with a row per token.
fn vocabulary_tensors(transplant: &Transplant) -> impl Iterator<Item = &str> {
    let others = transplant.model.embeddings.others.iter().map(String::as_str);
    transplant.matrices().map(|(name, _)| name).chain(others)
}

fn layout(transplant: &Transplant, files: &TransplantFiles) -> Result<Layout, SurgeonError> {
    let mut tensors = transplant.model.input.checkpoint.tensors().clone();
    for name in vocabulary_tensors(transplant) {
        tensors[name].shape[0] = transplant.vocabulary_size();
    }
    Ok(Layout::in_format(files.format, tensors, files.shard_size)?)
}

/// The model's config with the size of the new vocabulary and the ids of the donor. An id that the donor's
/// config does not give comes from its tokenizer, where the model's config would give one of the old.
fn config(transplant: &Transplant) -> Result<ModelConfig, SurgeonError> {
    let (model, donor) = (&transplant.model.input, &transplant.donor.input);
    let mut config = model.config.clone();
    let keys = &model.architecture.definition().vocabulary_size_keys;
    let key = config.first_of(keys).to_owned();
    config.set(&key, transplant.vocabulary_size())?;
    for key in TOKEN_KEYS {
        match donor.config.get(key) {
            Some(value) => config.set(key, value.clone())?,
            None if config.get(key).is_some() => config.set(key, id_of(transplant, key))?,
            None => {}
        }
    }
    Ok(config)
}

/// The donor tokenizer's id for a key such as `eos_token_id`; null if it has none.
fn id_of(transplant: &Transplant, key: &str) -> Value {
    let role = key.strip_suffix("_id").unwrap_or(key);
    transplant.donor.tokens.id_of_role(role).map_or(Value::Null, Value::from)
}

/// Copies the donor's tokenizer and the model's other files.
fn write_side_files(transplant: &Transplant, out: &Path) -> Result<(), SurgeonError> {
    let (model, donor) = (&transplant.model.input, &transplant.donor.input);
    let more = &model.architecture.definition().side_files;
    copy_side_files(&model.directory, out, more)?;
    copy_tokenizer(&donor.directory, out, &[])?;
    let Some(fields) = generation_config(transplant)? else { return Ok(()) };
    let path = out.join(GENERATION_CONFIG);
    fs::write(&path, format!("{:#}\n", Value::Object(fields)))
        .map_err(|source| SurgeonError::Write { path, source })
}

/// The model's generation config with the donor's ids. A model without one gets the donor's, which names
/// the tokens that end a text.
fn generation_config(transplant: &Transplant) -> Result<Option<Map<String, Value>>, SurgeonError> {
    let (model, donor) = (&transplant.model.input, &transplant.donor.input);
    let of_donor = read_object(&donor.directory.join(GENERATION_CONFIG))?;
    let Some(mut fields) = read_object(&model.directory.join(GENERATION_CONFIG))? else {
        return Ok(of_donor);
    };
    let of_donor = of_donor.unwrap_or_default();
    for key in TOKEN_KEYS {
        if let Some(value) = fields.get_mut(key) {
            let known = of_donor.get(key).or_else(|| donor.config.get(key)).cloned();
            *value = known.unwrap_or_else(|| id_of(transplant, key));
        }
    }
    Ok(Some(fields))
}

/// Copies what is not to be approximated: tensors without a row per token as they are, the others row by
/// row.
fn copy_tensors(
    transplant: &Transplant,
    writer: &CheckpointWriter,
    work: &Work<'_>,
) -> Result<(), SurgeonError> {
    let source = &*transplant.model.input.checkpoint;
    let vocabulary: Vec<&str> = vocabulary_tensors(transplant).collect();
    work.observer.begin("copying tensors", writer.layout().tensor_bytes());
    for (index, (name, info)) in writer.layout().tensors().iter().enumerate() {
        let origins = match vocabulary.iter().position(|known| known == name) {
            None => {
                copy_whole(transplant, writer, index, work)?;
                continue;
            }
            Some(place) if place < transplant.matrices.len() => {
                transplant.matrices[place].matches.origins.clone()
            }
            // New tokens have no bias.
            Some(_) => {
                let rows = source.tensors()[name].shape[0];
                let matches = transplant.vocabularies(rows, usize::MAX).matches(false, false);
                let known = |origin| if origin == Origin::New { Origin::Nothing } else { origin };
                matches.origins.into_iter().map(known).collect()
            }
        };
        let row = info.bytes() / origins.len();
        let blocks = origins.par_chunks(BLOCK).enumerate();
        blocks.try_for_each_init(Vec::new, |bytes, (block, origins)| {
            work.check_cancelled()?;
            let mut place = block * BLOCK;
            for run in origins.chunk_by(|a, b| (*a == Origin::New) == (*b == Origin::New)) {
                if run[0] != Origin::New {
                    bytes.clear();
                    bytes.resize(run.len() * row, 0);
                    for (origin, bytes) in run.iter().zip(bytes.chunks_exact_mut(row)) {
                        if let Origin::Copied(id) = origin {
                            let start = *id as usize * (row / info.dtype.size());
                            source.copy_bytes(name, start, bytes)?;
                        }
                    }
                    writer.write_at(index, place * row, bytes)?;
                }
                work.observer.advance((run.len() * row) as u64);
                place += run.len();
            }
            Ok::<(), SurgeonError>(())
        })?;
    }
    Ok(())
}

/// Copies the tensor at `index` of the output.
fn copy_whole(
    transplant: &Transplant,
    writer: &CheckpointWriter,
    index: usize,
    work: &Work<'_>,
) -> Result<(), SurgeonError> {
    let source = &*transplant.model.input.checkpoint;
    let (name, info) = writer.layout().tensors().get_index(index).expect("of this layout");
    let _held = source.hold(name)?;
    let pieces = (0..info.bytes().div_ceil(PIECE)).into_par_iter().with_max_len(1);
    pieces.try_for_each_init(Vec::new, |bytes, piece| {
        work.check_cancelled()?;
        let start = piece * PIECE;
        bytes.resize(PIECE.min(info.bytes() - start), 0);
        source.copy_bytes(name, start / info.dtype.size(), bytes)?;
        writer.write_at(index, start, bytes)?;
        work.observer.advance(bytes.len() as u64);
        Ok(())
    })
}

/// Writes the approximated rows of a matrix.
fn write_matrix(
    task: &Task<'_>,
    writer: &CheckpointWriter,
    work: &Work<'_>,
) -> Result<(), SurgeonError> {
    let new = &task.matches.new;
    if new.is_empty() {
        return Ok(());
    }
    let matrix = task.model.matrix;
    let method = prepare(task, work)?;
    let index = writer.layout().tensors().get_index_of(matrix.name());
    let index = index.expect("the output has the model's tensors");
    let fits = PRODUCTS / (size_of::<f32>() * task.matches.shared.len().max(1));
    let batch = task.options.batch_size.unwrap_or(USUAL_BATCH).min(fits);
    let batch = batch.clamp(1, new.len());
    work.observer.begin(&format!("approximating rows of {}", matrix.name()), new.len() as u64);
    for start in (0..new.len()).step_by(batch) {
        work.check_cancelled()?;
        let range = start..new.len().min(start + batch);
        let mut rows = vec![0.0f32; range.len() * matrix.width()];
        method.rows(range.clone(), &mut rows, work)?;
        let rows = rows.par_chunks_exact_mut(matrix.width()).zip(&new[range]);
        rows.try_for_each(|(row, &id)| {
            finish(task, id, row);
            write_row(task, id, row, |offset, bytes| Ok(writer.write_at(index, offset, bytes)?))
        })?;
    }
    Ok(())
}

/// Adds noise to an approximated row and scales it, as far as that is asked for.
fn finish(task: &Task<'_>, id: u32, row: &mut [f32]) {
    let options = task.options;
    if options.noise != 0.0 {
        add_noise(options.seed, task.model.matrix.name(), id, options.noise, row);
    }
    if options.scale != 1.0 {
        row.iter_mut().for_each(|value| *value *= options.scale);
    }
}

fn write_row(
    task: &Task<'_>,
    id: u32,
    row: &[f32],
    write: impl FnOnce(usize, &[u8]) -> Result<(), SurgeonError>,
) -> Result<(), SurgeonError> {
    let dtype: DType = task.model.matrix.dtype();
    if first_beyond(dtype, row).is_some() {
        let tensor = task.model.matrix.name().to_owned();
        return Err(SurgeonError::Overflow { tensor, id, dtype });
    }
    let mut bytes = vec![0; row.len() * dtype.size()];
    narrow(dtype, row, &mut bytes);
    write(id as usize * bytes.len(), &bytes)
}

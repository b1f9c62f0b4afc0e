//! Everything that can go wrong with a checkpoint, and what to do about it.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::files;
use crate::kernels::dtype::DType;

/// Everything that can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
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

    /// There is no such model directory.
    #[error("model directory `{}` does not exist", path.display())]
    NoDirectory {
        /// The directory asked for.
        path: PathBuf,
    },

    /// A path that should be a directory is a file.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// The path asked for.
        path: PathBuf,
    },

    /// What should be a file is a directory, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },

    /// The directory holds no weights under a known name.
    #[error(
        "`{}` holds neither `model.safetensors` nor `pytorch_model.bin`, nor the index of either",
        path.display()
    )]
    NoWeights {
        /// The model directory.
        path: PathBuf,
    },

    /// A file that should be PyTorch's is neither an archive nor has the magic number of older files.
    #[error("`{}` was not written by `torch.save`", path.display())]
    NotPickle {
        /// The file.
        path: PathBuf,
    },

    /// The archive around a pickle has not the expected form.
    #[error("`{}` is no archive of PyTorch: {what}", path.display())]
    ArchiveSyntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, as a clause.
        what: &'static str,
    },

    /// A pickle has not the expected form.
    #[error("`{}`: the pickle {what} at byte {position}", path.display())]
    PickleSyntax {
        /// The file.
        path: PathBuf,
        /// Counted from the start of the file.
        position: u64,
        /// What it does wrong, as a predicate.
        what: &'static str,
    },

    /// A pickle asks for a name that no tensor needs.
    #[error("`{}`: the pickle asks for `{global}` at byte {position}, which is refused", path.display())]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// Module and name.
        global: String,
        /// Counted from the start of the file.
        position: u64,
    },

    /// A pickle does what no tensor needs.
    #[error("`{}`: the pickle has the opcode `{opcode}` at byte {position}, which is refused", path.display())]
    ForbiddenOpcode {
        /// The file.
        path: PathBuf,
        /// Its name, or its value where it has none.
        opcode: String,
        /// Counted from the start of the file.
        position: u64,
    },

    /// A pickle that would take more memory than any model needs.
    #[error("`{}`: the pickle is larger than that of any model", path.display())]
    PickleTooLarge {
        /// The file.
        path: PathBuf,
    },

    /// What was saved is no dictionary of tensors.
    #[error("`{}` holds no state dict{}", path.display(), listed(found))]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// The first keys of the dictionary that it holds, if it does.
        found: Vec<String>,
    },

    /// A tensor's data is not in the file.
    #[error("`{}`: tensor `{tensor}` has its data in `{storage}`, which is missing", path.display())]
    NoStorage {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The key of the data.
        storage: String,
    },

    /// A tensor reaches beyond its data.
    #[error(
        "`{}`: tensor `{tensor}` reaches beyond the {bytes} bytes of its data in `{storage}`",
        path.display()
    )]
    OutsideStorage {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The key of the data.
        storage: String,
        /// Bytes of the data.
        bytes: u64,
    },

    /// A tensor repeats its elements to more bytes than the whole file has.
    #[error(
        "`{}`: tensor `{tensor}` of shape {shape:?} repeats its elements to more than the whole file",
        path.display()
    )]
    RepeatedBeyondFile {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// The shard index is no JSON of the expected form.
    #[error("`{}` is not a shard index", path.display())]
    IndexSyntax {
        /// The index.
        path: PathBuf,
        /// Where the JSON deviates.
        source: serde_json::Error,
    },

    /// The index points outside of the model directory.
    #[error("`{}`: shard `{shard}` is not a path inside the model directory", path.display())]
    ShardOutside {
        /// The index.
        path: PathBuf,
        /// The shard as written in the index.
        shard: String,
    },

    /// The index promises a tensor that its shard does not hold.
    #[error("`{}` places tensor `{tensor}` in `{shard}`, which does not hold it", path.display())]
    MissingFromShard {
        /// The index.
        path: PathBuf,
        /// The shard named by the index.
        shard: String,
        /// The missing tensor.
        tensor: String,
    },

    /// A name that should be unique occurs twice.
    #[error("`{}` lists tensor `{tensor}` twice", path.display())]
    DuplicateTensor {
        /// The shard or the index.
        path: PathBuf,
        /// The repeated name.
        tensor: String,
    },

    /// The file ends before its header does.
    #[error("`{}` has {actual} bytes, but its header needs {needed}", path.display())]
    HeaderTruncated {
        /// The file.
        path: PathBuf,
        /// Bytes up to the end of the header.
        needed: u64,
        /// Bytes in the file.
        actual: u64,
    },

    /// The header's stated length exceeds what the format allows.
    #[error("`{}` declares a header of {bytes} bytes; the format allows {limit}", path.display())]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// The declared length.
        bytes: u64,
        /// The largest length allowed.
        limit: u64,
    },

    /// The header is no JSON of the expected form.
    #[error("`{}` has no valid safetensors header", path.display())]
    HeaderSyntax {
        /// The file.
        path: PathBuf,
        /// Where the JSON deviates.
        source: serde_json::Error,
    },

    /// The tensor's element type is none that can be merged.
    #[error("`{}`: tensor `{tensor}` has element type `{dtype}`, which is not supported", path.display())]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type as named in the file.
        dtype: String,
    },

    /// A tensor's bytes overlap, leave a gap, or run backwards.
    #[error(
        "`{}`: the data of tensor `{tensor}` is at {start}..{end}, but should start at {expected}",
        path.display()
    )]
    Offsets {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Where the data of the tensor before it ended.
        expected: u64,
    },

    /// A tensor's shape does not account for its bytes.
    #[error(
        "`{}`: tensor `{tensor}` of type {dtype} and shape {shape:?} cannot have {bytes} bytes",
        path.display()
    )]
    ShapeAndBytes {
        /// The file, or `memory`.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// The bytes it has.
        bytes: u64,
    },

    /// A file has become shorter since its header was read.
    #[error("`{}` was cut off while it was read: tensor `{tensor}` is no longer complete", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// The tensor that was being read.
        tensor: String,
    },

    /// Only the header of a file is known, and elements of it are asked for.
    #[error("`{}`: tensor `{tensor}` has not been downloaded yet", path.display())]
    HeaderOnly {
        /// The file.
        path: PathBuf,
        /// The tensor that was to be read.
        tensor: String,
    },

    /// The file is longer or shorter than its header says.
    #[error("`{}` has {actual} bytes, but its header describes {expected}", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Bytes according to the header.
        expected: u64,
        /// Bytes in the file.
        actual: u64,
    },

    /// There is no tensor of that name.
    #[error("`{}` has no tensor `{tensor}`", path.display())]
    NoTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
    },

    /// A read runs past the tensor's end.
    #[error("tensor `{tensor}` has {elements} elements; cannot read {n_elements} from {start} on")]
    ReadOutOfRange {
        /// The tensor.
        tensor: String,
        /// First element asked for.
        start: usize,
        /// How many were asked for.
        n_elements: usize,
        /// How many there are.
        elements: usize,
    },

    /// A read asks for part of an element.
    #[error("tensor `{tensor}` has elements of {element_bytes} bytes; cannot read {bytes} bytes")]
    PartialElement {
        /// The tensor.
        tensor: String,
        /// Bytes per element.
        element_bytes: usize,
        /// Bytes asked for.
        bytes: usize,
    },

    /// There is nothing to write.
    #[error("a checkpoint needs at least one tensor")]
    NoTensors,

    /// A name that safetensors keeps for itself.
    #[error("no tensor can be called `{tensor}`: the safetensors format reserves that name")]
    ReservedName {
        /// The name.
        tensor: String,
    },

    /// The tensor or the checkpoint is larger than any file.
    #[error("tensor `{tensor}` of shape {shape:?} is too large for a file")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// One shard has more tensors than its header can describe.
    #[error("the header of shard {shard} would have {bytes} bytes; the format allows {limit}")]
    OutputHeaderTooLarge {
        /// Position of the shard, from 1.
        shard: usize,
        /// Bytes of the header.
        bytes: u64,
        /// The largest length allowed.
        limit: u64,
    },

    /// A write runs past the tensor's end.
    #[error("tensor `{tensor}` has {bytes} bytes; cannot write {n_bytes} from byte {offset} on")]
    WriteOutOfRange {
        /// The tensor.
        tensor: String,
        /// First byte to write.
        offset: usize,
        /// How many bytes there were to write.
        n_bytes: usize,
        /// How many the tensor has.
        bytes: usize,
    },

    /// The writer was finished before every tensor was written.
    #[error("tensor `{tensor}` is incomplete: {written} of {bytes} bytes were written")]
    Incomplete {
        /// The tensor.
        tensor: String,
        /// Bytes written.
        written: u64,
        /// Bytes it has.
        bytes: u64,
    },

    /// The disk is too full for the output.
    #[error("`{}` needs {needed} bytes, but its disk has {available} left", path.display())]
    DiskFull {
        /// The output directory.
        path: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes available to this user.
        available: u64,
    },

    /// The output directory exists and has something in it.
    #[error("output directory `{}` is not empty", path.display())]
    OutputExists {
        /// The output directory.
        path: PathBuf,
    },

    /// The output directory is to be replaced, but holds what no merge has written.
    #[error("output directory `{}` holds `{entry}`, which is not part of a model", path.display())]
    OutputForeign {
        /// The output directory.
        path: PathBuf,
        /// Name of one such file or directory in it.
        entry: String,
    },

    /// The output path has no name that a directory could get.
    #[error("`{}` cannot be an output directory", path.display())]
    OutputUnnamed {
        /// The path asked for.
        path: PathBuf,
    },

    /// The output directory is where another file system begins, so it cannot be replaced.
    #[error("output directory `{}` is a mount point", path.display())]
    OutputIsMountPoint {
        /// The output directory.
        path: PathBuf,
    },

    /// Everything was written, but could not be given its final name.
    #[error("cannot rename the finished output `{}` to `{}`", finished.display(), path.display())]
    Rename {
        /// Where the complete output stays.
        finished: PathBuf,
        /// Where it should have gone.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl CheckpointError {
    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDirectory { path } if looks_like_hub_id(path) => format!(
                "models are read from local directories: run `hf download {0} --local-dir {0}` first",
                path.display()
            ),
            Self::NoDirectory { path } if path.is_relative() => {
                "relative paths begin at the current directory".to_owned()
            }
            Self::ForbiddenGlobal { .. } | Self::ForbiddenOpcode { .. } => {
                "nothing was run; if you trust the file, load it with PyTorch and save its tensors as \
                 safetensors"
                    .to_owned()
            }
            Self::NotPickle { .. } => {
                "the file may be damaged, or a Git LFS pointer instead of the weights".to_owned()
            }
            Self::ArchiveSyntax { .. } | Self::PickleSyntax { .. } => {
                "the file may be an incomplete download; fetch it again".to_owned()
            }
            Self::NoStateDict { .. } => {
                "the weights must be a dictionary of tensors, or such a dictionary under `state_dict`"
                    .to_owned()
            }
            Self::HeaderTruncated { .. } | Self::FileLength { .. } => {
                "the file is probably an incomplete download; fetch it again".to_owned()
            }
            Self::CutOff { .. } => {
                "another program is writing to it; try again when that has finished".to_owned()
            }
            Self::HeaderTooLarge { .. } | Self::HeaderSyntax { .. } => {
                "the file may be damaged, or a Git LFS pointer instead of the weights".to_owned()
            }
            Self::MissingFromShard { .. } => {
                "the index and its shards do not belong together; fetch both again".to_owned()
            }
            Self::UnsupportedDtype { .. } => {
                "convert the model to bfloat16, float16 or float32 first".to_owned()
            }
            Self::OutputExists { .. } => {
                "choose another directory, or replace this one with `--overwrite`".to_owned()
            }
            Self::OutputForeign { .. } => {
                "`--overwrite` replaces models only: choose another directory, or remove what is in \
                 this one"
                    .to_owned()
            }
            Self::OutputUnnamed { .. } | Self::OutputIsMountPoint { .. } => {
                "choose a new directory inside it".to_owned()
            }
            Self::OutputHeaderTooLarge { .. } => "choose smaller shards".to_owned(),
            Self::DiskFull { .. } => {
                "free some space, or choose a directory on another disk".to_owned()
            }
            Self::Rename { finished, .. } => {
                format!("nothing is lost: the complete output stays in `{}`", finished.display())
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
            Self::ReadOutOfRange { .. }
            | Self::PartialElement { .. }
            | Self::WriteOutOfRange { .. }
            | Self::Incomplete { .. }
            | Self::DiskFull { .. }
            | Self::HeaderOnly { .. }
            | Self::Rename { .. } => false,
            _ => true,
        }
    }
}

/// Keys as part of a sentence.
fn listed(keys: &[String]) -> String {
    match keys {
        [] => String::new(),
        _ => format!(", but `{}`", keys.join("`, `")),
    }
}

/// Whether a missing path reads like `owner/name` on the Hub.
fn looks_like_hub_id(path: &Path) -> bool {
    path.components().count() == 2
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

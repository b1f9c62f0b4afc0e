//! A model directory with safetensors or PyTorch weights, read piece by piece where it lies.
//!
//! Opening reads and checks every header or pickle; tensor data is copied out of the system's page cache when
//! it is asked for, so a checkpoint of any size costs no memory of its own. A memory map would save
//! that copy, which costs a few percent of a merge, but it kills the process with SIGBUS when a file
//! is truncated or a disk fails. Reads report both as errors.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::positioned::PositionedFile;
use super::strided::Strides;
use super::{CheckpointError, TensorInfo, TensorSource, WeightFormat, header, pickle};
use crate::kernels::dtype::widen;

/// The file of a model directory that holds the weights, or lists the files that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WeightsFile {
    pub(crate) name: &'static str,
    pub(crate) is_index: bool,
    pub(crate) is_safetensors: bool,
}

/// Which of the files that `is_there` knows holds or lists the weights.
pub(crate) fn weights_file(is_there: impl Fn(&str) -> bool) -> Option<WeightsFile> {
    let files = WeightFormat::ALL.into_iter().flat_map(|format| {
        let is_safetensors = format == WeightFormat::Safetensors;
        let names = [(format.index_name(), true), (format.single_name(), false)];
        names.map(|(name, is_index)| WeightsFile { name, is_index, is_safetensors })
    });
    files.into_iter().find(|file| is_there(file.name))
}

/// The beginning of a safetensors file that is not here, with its header in it.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// As many of its bytes as are known.
    pub head: Vec<u8>,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// Beginnings of files, by their names in the model directory.
pub type Beginnings = HashMap<String, Beginning>;

/// The weights of a model directory.
///
/// The files should not be written to while they are open; replacing them by a rename is harmless.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: IndexMap<String, TensorInfo>,
    /// Parallel to `tensors`.
    places: Vec<StoredAt>,
    shards: Vec<Shard>,
    /// What lists the shards, where something does.
    index: Option<PathBuf>,
}

#[derive(Debug)]
struct StoredAt {
    shard: usize,
    /// First byte, counted from the start of the shard.
    start: u64,
    /// `None` for elements in row-major order without gaps.
    strides: Option<Strides>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// `None` for a file of which only the header is known.
    file: Option<PositionedFile>,
}

/// Bytes that are read at a time on their way to being widened: few enough to stay in a core's cache.
const PIECE: usize = 1 << 16;

/// The same for elements that are gathered, which are the nearer to each other the more they are.
const GATHERED_PIECE: usize = 1 << 20;

thread_local! {
    /// Where a thread keeps the piece that it is widening.
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Checkpoint {
    /// Opens the weights in `directory`: the shards that `model.safetensors.index.json` lists or, in
    /// its absence, `model.safetensors`; in the absence of both, `pytorch_model.bin.index.json` and
    /// `pytorch_model.bin` in the same way.
    ///
    /// Every header or pickle is checked, so that later reads can only fail for wrong names and ranges,
    /// or when the disk does. Nothing in a pickle is executed.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(directory, &Beginnings::new())
    }

    /// As [`open`](Self::open), where safetensors files may be absent of which `beginnings` knows the
    /// header. Their elements cannot be read.
    pub fn open_with(directory: &Path, beginnings: &Beginnings) -> Result<Self, CheckpointError> {
        let path = directory.to_owned();
        match fs::metadata(directory) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(CheckpointError::NotADirectory { path });
            }
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(CheckpointError::NoDirectory { path });
            }
            Err(source) => return Err(CheckpointError::Read { path, source }),
        }

        for format in WeightFormat::ALL {
            let index = directory.join(format.index_name());
            if is_there(&index) {
                return Self::open_index(directory, index, format, beginnings);
            }
            let single = format.single_name();
            let (single, beginning) = (directory.join(single), beginnings.get(single));
            if is_there(&single) || beginning.is_some() {
                return Ok(Self { path, ..Self::open_single(&single, Some(format), beginning)? });
            }
        }
        Err(CheckpointError::NoWeights { path })
    }

    /// Opens a single file of any name, whose beginning tells its format. One that begins like neither is
    /// taken for what its name says.
    pub fn open_file(file: &Path) -> Result<Self, CheckpointError> {
        Self::open_single(file, None, None)
    }

    fn open_single(
        file: &Path,
        format: Option<WeightFormat>,
        beginning: Option<&Beginning>,
    ) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::empty(file);
        let (shard, stored) = open_shard(file, format, beginning)?;
        for tensor in stored {
            checkpoint.add(0, tensor);
        }
        checkpoint.shards.push(shard);
        Ok(checkpoint)
    }

    fn open_index(
        directory: &Path,
        index: PathBuf,
        format: WeightFormat,
        beginnings: &Beginnings,
    ) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::empty(directory);
        for (name, names) in read_index(&index)? {
            let beginning = beginnings.get(&name);
            let (shard, stored) = open_shard(&directory.join(&name), Some(format), beginning)?;
            let mut stored: IndexMap<_, _> =
                stored.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
            if let Some(tensor) = names.iter().find(|&name| !stored.contains_key(name)) {
                return Err(CheckpointError::MissingFromShard {
                    path: index,
                    shard: name,
                    tensor: tensor.clone(),
                });
            }
            // The index decides: what it does not place here belongs to another shard, or nowhere.
            let names: HashSet<_> = names.into_iter().collect();
            stored.retain(|name, _| names.contains(name));
            for tensor in stored.into_values() {
                checkpoint.add(checkpoint.shards.len(), tensor);
            }
            checkpoint.shards.push(shard);
        }
        checkpoint.index = Some(index);
        Ok(checkpoint)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            tensors: IndexMap::new(),
            places: Vec::new(),
            shards: Vec::new(),
            index: None,
        }
    }

    /// `tensor.name` is new: names are unique within a shard, and an index gives each one shard.
    fn add(&mut self, shard: usize, tensor: header::StoredTensor) {
        self.tensors.insert(tensor.name, tensor.info);
        self.places.push(StoredAt { shard, start: tensor.bytes.start, strides: tensor.strides });
    }

    /// The directory or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files that hold the weights.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    fn find(&self, name: &str) -> Result<(&TensorInfo, &StoredAt), CheckpointError> {
        match self.tensors.get_full(name) {
            Some((index, _, info)) => Ok((info, &self.places[index])),
            None => {
                Err(CheckpointError::NoTensor { path: self.path.clone(), tensor: name.to_owned() })
            }
        }
    }

    /// Reads elements of `size` bytes of the tensor `name`, from its element `start` on.
    fn read_elements(
        &self,
        name: &str,
        place: &StoredAt,
        size: usize,
        start: usize,
        out: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let Shard { path, file } = &self.shards[place.shard];
        let Some(file) = file else {
            let (path, tensor) = (path.clone(), name.to_owned());
            return Err(CheckpointError::HeaderOnly { path, tensor });
        };
        let read = |offset: u64, out: &mut [u8]| {
            file.read_exact_at(place.start + offset, out).map_err(|source| {
                let path = path.clone();
                match source.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        CheckpointError::CutOff { path, tensor: name.to_owned() }
                    }
                    _ => CheckpointError::Read { path, source },
                }
            })
        };
        match &place.strides {
            None => read((start * size) as u64, out),
            Some(strides) => strides.gather(size, start, out, read),
        }
    }
}

impl TensorSource for Checkpoint {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let (info, place) = self.find(name)?;
        info.byte_range(name, start, out.len())?;
        let size = info.dtype.size();
        let piece = if place.strides.is_some() { GATHERED_PIECE } else { PIECE };
        STORED.with_borrow_mut(|stored| {
            let mut start = start;
            for out in out.chunks_mut(piece / size) {
                stored.resize(out.len() * size, 0);
                self.read_elements(name, place, size, start, stored)?;
                widen(info.dtype, stored, out);
                start += out.len();
            }
            Ok(())
        })
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let (info, place) = self.find(name)?;
        let n_elements = info.whole_elements(name, out.len())?;
        info.byte_range(name, start, n_elements)?;
        self.read_elements(name, place, info.dtype.size(), start, out)
    }

    fn files(&self) -> Vec<&Path> {
        let shards = self.shards.iter().map(|shard| shard.path.as_path());
        self.index.as_deref().into_iter().chain(shards).collect()
    }
}

/// Whether a name is taken, if only by a link that leads nowhere, which is then an error to read.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses what has no positions to read at or, as a pipe without a writer, would be waited for without
/// end.
fn check_regular(path: &Path) -> Result<(), CheckpointError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(CheckpointError::NotAFile { path: path.to_owned() }),
        Err(source) => Err(CheckpointError::Read { path: path.to_owned(), source }),
    }
}

/// What a file is by its beginning `head` and, where that tells nothing, by its name.
fn format_of(path: &Path, head: &[u8]) -> WeightFormat {
    let is_json = head.get(8) == Some(&b'{');
    let is_named = || {
        path.extension().is_some_and(|name| ["bin", "pt", "pth"].iter().any(|other| name == *other))
    };
    if pickle::is_pickle(head) || (!is_json && is_named()) {
        WeightFormat::Pickle
    } else {
        WeightFormat::Safetensors
    }
}

/// Without a `format`, the file's beginning decides. A file that is not here has a `beginning`.
fn open_shard(
    path: &Path,
    format: Option<WeightFormat>,
    beginning: Option<&Beginning>,
) -> Result<(Shard, Vec<header::StoredTensor>), CheckpointError> {
    if let Some(Beginning { head, bytes }) = beginning {
        let tensors = header::parse(path, head.as_slice(), *bytes)?;
        return Ok((Shard { path: path.to_owned(), file: None }, tensors));
    }
    check_regular(path)?;
    let failed = |source| CheckpointError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let file = PositionedFile::new(file);
    let format = match format {
        Some(format) => format,
        None => {
            let mut head = vec![0; bytes.min(pickle::HEAD_BYTES as u64) as usize];
            file.read_exact_at(0, &mut head).map_err(failed)?;
            format_of(path, &head)
        }
    };
    let tensors = match format {
        WeightFormat::Safetensors => header::parse(path, file.reader(), bytes)?,
        WeightFormat::Pickle => pickle::parse(path, &file, bytes)?,
    };
    Ok((Shard { path: path.to_owned(), file: Some(file) }, tensors))
}

/// The files that the index at `path` lists, each once.
pub(crate) fn listed_shards(path: &Path) -> Result<Vec<String>, CheckpointError> {
    Ok(read_index(path)?.into_keys().collect())
}

/// The tensors of each shard. By shard name, which is the order in which shards are numbered.
fn read_index(path: &Path) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    check_regular(path)?;
    let text =
        fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let ShardIndex { weight_map: WeightMap(entries) } = serde_json::from_slice(&text)
        .map_err(|source| CheckpointError::IndexSyntax { path: path.to_owned(), source })?;

    let mut seen = HashSet::with_capacity(entries.len());
    if let Some((tensor, _)) = entries.iter().find(|(tensor, _)| !seen.insert(tensor.as_str())) {
        return Err(CheckpointError::DuplicateTensor {
            path: path.to_owned(),
            tensor: tensor.clone(),
        });
    }
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in entries {
        let mut parts = Path::new(&shard).components().peekable();
        if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(CheckpointError::ShardOutside { path: path.to_owned(), shard });
        }
        shards.entry(shard).or_default().push(tensor);
    }
    Ok(shards)
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: WeightMap,
}

/// Tensor and shard as written, so that repeated names can be seen.
struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;

        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to shard files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(WeightMap(entries))
            }
        }

        deserializer.deserialize_map(WeightMapVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_by_name() {
        let names = |format: WeightFormat| [format.index_name(), format.single_name()];
        for name in WeightFormat::ALL.into_iter().flat_map(names) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            let error = Checkpoint::open(directory.path()).unwrap_err();
            assert_eq!(error.to_string(), format!("`{}` is not a regular file", path.display()));
            assert!(error.is_users_mistake());
        }
    }

    #[cfg(unix)]
    #[test]
    fn pipes_are_not_waited_for_and_links_to_nowhere_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = Checkpoint::open(directory.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::NotAFile { .. }));

        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = Checkpoint::open(directory.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read `{}`", path.display()));
        assert!(error.is_users_mistake());
    }
}

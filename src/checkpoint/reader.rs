//! A model directory with safetensors weights, seen through memory maps.
//!
//! Opening maps every shard and checks every header; tensor data is paged in when it is read and
//! dropped by the operating system when memory is short, so a checkpoint of any size costs no memory
//! of its own.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use memmap2::Mmap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{CheckpointError, TensorInfo, TensorSource, header};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
const PICKLE_FILES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The weights of a model directory.
///
/// The files must not be changed or truncated while they are open; replacing them by a rename is
/// harmless.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: IndexMap<String, TensorInfo>,
    /// Parallel to `tensors`.
    places: Vec<StoredAt>,
    shards: Vec<Mmap>,
}

#[derive(Debug)]
struct StoredAt {
    shard: usize,
    /// Counted from the start of the shard.
    bytes: Range<usize>,
}

impl Checkpoint {
    /// Opens the weights in `directory`: the shards that `model.safetensors.index.json` lists or, in
    /// its absence, `model.safetensors`.
    ///
    /// Every header is checked, so that later reads can only fail for wrong names and ranges.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
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

        let index = directory.join(INDEX_FILE);
        if is_there(&index) {
            return Self::open_index(directory, &index);
        }
        let single = directory.join(SINGLE_FILE);
        if is_there(&single) {
            return Ok(Self { path, ..Self::open_file(&single)? });
        }
        Err(match PICKLE_FILES.into_iter().find(|name| directory.join(name).exists()) {
            Some(found) => CheckpointError::PickleOnly { path, found },
            None => CheckpointError::NoWeights { path },
        })
    }

    /// Opens a single safetensors file of any name.
    pub fn open_file(file: &Path) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::empty(file);
        let (map, stored) = open_shard(file)?;
        for tensor in stored {
            checkpoint.add(0, tensor);
        }
        checkpoint.shards.push(map);
        Ok(checkpoint)
    }

    fn open_index(directory: &Path, index: &Path) -> Result<Self, CheckpointError> {
        let mut checkpoint = Self::empty(directory);
        for (shard, names) in read_index(index)? {
            let (map, stored) = open_shard(&directory.join(&shard))?;
            let mut stored: IndexMap<_, _> =
                stored.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
            if let Some(tensor) = names.iter().find(|&name| !stored.contains_key(name)) {
                return Err(CheckpointError::MissingFromShard {
                    path: index.to_owned(),
                    shard,
                    tensor: tensor.clone(),
                });
            }
            // The index decides: what it does not place here belongs to another shard, or nowhere.
            let names: HashSet<_> = names.into_iter().collect();
            stored.retain(|name, _| names.contains(name));
            for tensor in stored.into_values() {
                checkpoint.add(checkpoint.shards.len(), tensor);
            }
            checkpoint.shards.push(map);
        }
        Ok(checkpoint)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            tensors: IndexMap::new(),
            places: Vec::new(),
            shards: Vec::new(),
        }
    }

    /// `tensor.name` is new: names are unique within a shard, and an index gives each one shard.
    fn add(&mut self, shard: usize, tensor: header::StoredTensor) {
        self.tensors.insert(tensor.name, tensor.info);
        self.places.push(StoredAt { shard, bytes: tensor.bytes });
    }

    /// The directory or file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files that hold the weights.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The stored little-endian bytes of a tensor, straight from the map.
    pub fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError> {
        self.find(name).map(|(_, bytes)| bytes)
    }

    fn find(&self, name: &str) -> Result<(&TensorInfo, &[u8]), CheckpointError> {
        let Some((index, _, info)) = self.tensors.get_full(name) else {
            return Err(CheckpointError::NoTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
            });
        };
        let place = &self.places[index];
        Ok((info, &self.shards[place.shard][place.bytes.clone()]))
    }
}

impl TensorSource for Checkpoint {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let (info, data) = self.find(name)?;
        info.widen_part(name, data, start, out)
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let (info, data) = self.find(name)?;
        info.copy_part(name, data, start, out)
    }
}

/// Whether a name is taken, if only by a link that leads nowhere, which is then an error to read.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses what cannot be mapped or, as a pipe without a writer, would be waited for without end.
fn check_regular(path: &Path) -> Result<(), CheckpointError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(CheckpointError::NotAFile { path: path.to_owned() }),
        Err(source) => Err(CheckpointError::Read { path: path.to_owned(), source }),
    }
}

fn open_shard(path: &Path) -> Result<(Mmap, Vec<header::StoredTensor>), CheckpointError> {
    check_regular(path)?;
    let map =
        map(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let tensors = header::parse(path, &map)?;
    Ok((map, tensors))
}

#[expect(unsafe_code, reason = "no safe interface to memory maps exists")]
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is private to this module and only read. Its bytes would change under a
    // reader if another process wrote to the file in place; `Checkpoint` passes the promise that
    // none does on to its user, and this crate itself only ever creates new files and renames them.
    unsafe { Mmap::map(&file) }
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
        for name in [SINGLE_FILE, INDEX_FILE] {
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
        let path = directory.path().join(SINGLE_FILE);
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

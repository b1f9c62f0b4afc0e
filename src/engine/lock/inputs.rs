//! Which files a merge reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LockError;
use crate::adapter;
use crate::architecture::{side_files, tokenizer_files};
use crate::plan::{InputModel, MergePlan};

/// A model or adapter in a lock. Where it lies on this machine is not in there, so that the same merge
/// gives the same lock everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedInput {
    /// As the merge config writes it.
    pub path: String,
    /// The commit, for what came from the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Its files.
    pub files: Vec<LockedFile>,
}

/// A file in a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// Its path in the model's directory, with `/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

/// The files that a merge reads, before they are hashed.
#[derive(Debug, Clone)]
pub struct InputFiles {
    inputs: Vec<Input>,
}

/// The directory of a model or adapter.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// As the merge config writes it.
    pub(super) path: String,
    /// The commit, for what came from the Hub.
    revision: Option<String>,
    pub(super) directory: PathBuf,
    pub(super) files: Vec<FileSize>,
}

/// A file of a model directory.
#[derive(Debug, Clone)]
pub(super) struct FileSize {
    /// Its path in the directory, with `/`.
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl InputFiles {
    /// Finds the files of every model of `plan` that merges read or copy: weights with their list of
    /// shards, configs, tokenizers, and what else outputs take over. A model that several references
    /// name is there once.
    ///
    /// Fails for models that are not on disk.
    pub fn of(plan: &MergePlan) -> Result<Self, LockError> {
        let mut inputs: Vec<Input> = Vec::new();
        for model in plan.models() {
            for input in inputs_of(model)? {
                match inputs.iter_mut().find(|known| known.path == input.path) {
                    Some(known) => known.add(input.files),
                    None => inputs.push(input),
                }
            }
        }
        // The tokenizer may come from a model that takes no other part.
        if let Some(directory) = plan.tokenizer().map(|tokenizer| &tokenizer.directory)
            && !inputs.iter().any(|input| input.directory == *directory)
        {
            let (path, revision) = match cached(directory) {
                Some((path, commit)) => (path, Some(commit)),
                None => (directory.display().to_string(), None),
            };
            let files = sizes(directory, tokenizer_files(directory))?;
            inputs.push(Input { path, revision, directory: directory.clone(), files });
        }
        Ok(Self { inputs })
    }

    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(Input::bytes).sum()
    }

    #[cfg(test)]
    pub(super) fn new(inputs: Vec<Input>) -> Self {
        Self { inputs }
    }

    pub(super) fn inputs(&self) -> &[Input] {
        &self.inputs
    }
}

impl Input {
    /// The files of these names and sizes in `directory`.
    #[cfg(test)]
    pub(super) fn new(path: String, directory: PathBuf, files: Vec<(String, u64)>) -> Self {
        let files = files.into_iter().map(|(name, bytes)| FileSize { name, bytes }).collect();
        Self { path, revision: None, directory, files }
    }

    /// Adds those of `files` that it does not have.
    fn add(&mut self, files: Vec<FileSize>) {
        for file in files {
            if !self.files.iter().any(|known| known.name == file.name) {
                self.files.push(file);
            }
        }
    }

    /// Where a file of it is.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Size of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// With the digests of its files, in order.
    pub(super) fn locked(&self, digests: impl Iterator<Item = String>) -> LockedInput {
        let file = |(file, sha256): (&FileSize, String)| LockedFile {
            name: file.name.clone(),
            bytes: file.bytes,
            sha256,
        };
        let files = self.files.iter().zip(digests).map(file).collect();
        LockedInput { path: self.path.clone(), revision: self.revision.clone(), files }
    }
}

/// The directory of a model, and that of its adapter.
fn inputs_of(model: &InputModel) -> Result<Vec<Input>, LockError> {
    let reference = &model.reference;
    let paths = std::iter::once(&reference.model).chain(&reference.lora).map(ToString::to_string);
    let snapshots = [&model.snapshot, &model.adapter_snapshot];
    let directories: Vec<&Path> = model.directories().collect();
    let weights = model.checkpoint.files();
    let mut inputs = Vec::new();
    for (index, (path, directory)) in paths.zip(&directories).enumerate() {
        let revision = snapshots[index].as_ref().map(|snapshot| snapshot.commit().to_owned());
        let more = &model.architecture.definition().side_files;
        let (config, others) = match index {
            0 => ("config.json", side_files(directory, more)),
            _ => (adapter::CONFIG_FILE, Vec::new()),
        };
        let mut names = vec![config.to_owned()];
        names.extend(others);
        // An adapter may lie in a folder of its model.
        let of_this = |file: &&&Path| innermost(&directories, file) == Some(*directory);
        names.extend(weights.iter().filter(of_this).map(|file| name_in(directory, file)));
        let files = sizes(directory, names)?;
        inputs.push(Input { path, revision, directory: (*directory).to_owned(), files });
    }
    Ok(inputs)
}

/// The sizes of files in `directory`.
fn sizes(directory: &Path, names: Vec<String>) -> Result<Vec<FileSize>, LockError> {
    let size = |name: String| {
        let path = directory.join(&name);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(FileSize { name, bytes: metadata.len() }),
            Err(source) => Err(LockError::Read { path, source }),
        }
    };
    names.into_iter().map(size).collect()
}

/// The one of `directories` that `file` is in, of nested ones the innermost.
fn innermost<'d>(directories: &[&'d Path], file: &Path) -> Option<&'d Path> {
    let around = directories.iter().filter(|directory| file.starts_with(directory));
    around.max_by_key(|directory| directory.components().count()).copied()
}

/// The path of `file` in `directory`, the same on every system.
fn name_in(directory: &Path, file: &Path) -> String {
    let parts = file.strip_prefix(directory).unwrap_or(file).components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// The model and the commit of a directory in a cache of the Hub,
/// `models--OWNER--NAME/snapshots/COMMIT`.
fn cached(directory: &Path) -> Option<(String, String)> {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let snapshots = directory.parent()?;
    let folder = name(snapshots.parent()?)?;
    let model = folder.strip_prefix("models--")?.replacen("--", "/", 1);
    (name(snapshots)? == "snapshots").then_some((model, name(directory)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_innermost_directory() {
        let directories = ["model", "model/adapter"].map(Path::new);
        let of = |file: &str| innermost(&directories, Path::new(file));
        assert_eq!(of("model/part/w.safetensors"), Some(Path::new("model")));
        assert_eq!(of("model/adapter/w.safetensors"), Some(Path::new("model/adapter")));
        assert_eq!(of("elsewhere"), None);
        assert_eq!(name_in(Path::new("model"), Path::new("model/part/w")), "part/w");
    }

    #[test]
    fn snapshots_of_the_hub_are_known_by_their_place() {
        let cached = |path: &str| cached(Path::new(path));
        let expected = ("owner/name".to_owned(), "12ab".to_owned());
        assert_eq!(cached("/cache/hub/models--owner--name/snapshots/12ab"), Some(expected));
        assert_eq!(cached("/models/snapshots/12ab"), None);
        assert_eq!(cached("model"), None);
    }
}

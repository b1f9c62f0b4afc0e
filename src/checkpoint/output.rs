//! Output directories appear whole or not at all.
//!
//! Files go to a sibling `NAME.partial-RANDOM`. [`OutputDirectory::commit`] waits until the disk has
//! them and renames the directory; without it, the partial directory is removed. After a kill or a
//! power failure a partial directory may stay behind, but it never has the name of a model.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::CheckpointError;
use crate::files::{flush_directory, without_temporary_name};

/// In the names of directories that are not complete.
const PARTIAL: &str = "partial";

/// In the names of directories that hold what is being replaced.
const REPLACED: &str = "replaced";

/// Length of the random part of such names.
const RANDOM_LETTERS: usize = 6;

/// A directory in the making.
#[derive(Debug)]
pub struct OutputDirectory {
    target: PathBuf,
    partial: TempDir,
    overwrite: bool,
    /// Behind `partial`, which has to be gone before they can be.
    _parents: CreatedParents,
}

/// Directories that did not exist before, the innermost first. Those that are empty in the end are
/// removed.
#[derive(Debug)]
struct CreatedParents(Vec<PathBuf>);

impl CreatedParents {
    /// Makes sure that `directory` exists.
    fn create(directory: &Path) -> io::Result<Self> {
        let missing = directory.ancestors().take_while(|ancestor| !ancestor.exists());
        let created = Self(missing.map(Path::to_owned).collect());
        fs::create_dir_all(directory)?;
        Ok(created)
    }
}

impl Drop for CreatedParents {
    fn drop(&mut self) {
        for directory in &self.0 {
            // Fails where something is inside: the output, or what somebody else has put there.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl OutputDirectory {
    /// Prepares to create `path`. Its parents are created as needed.
    ///
    /// An existing directory must be empty, unless `overwrite` is set. It may then hold a model, and
    /// nothing beside it, so that no slip of the pen can delete anything else. It is replaced as a
    /// whole when the output is committed, and stays as it is until then.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, CheckpointError> {
        let target = resolve(path)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(CheckpointError::OutputUnnamed { path: path.to_owned() });
        };
        check_existing(&target, parent, overwrite)?;
        let parents = CreatedParents::create(parent)
            .map_err(|source| CheckpointError::Write { path: parent.to_owned(), source })?;
        let partial = sibling(parent, name, PARTIAL)
            .map_err(|source| CheckpointError::Write { path: path.to_owned(), source })?;
        Ok(Self { target, partial, overwrite, _parents: parents })
    }

    /// Where to put files until they are committed.
    pub fn path(&self) -> &Path {
        self.partial.path()
    }

    /// Where the files will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Waits until everything is on disk, then gives the directory its final name and returns it.
    ///
    /// When only the renaming fails, the finished files are kept and the error says where.
    pub fn commit(self) -> Result<PathBuf, CheckpointError> {
        flush(self.partial.path())?;
        let parent = self.target.parent().expect("create() checked for a parent");
        let finished = self.partial.keep();
        let result = put_in_place(&finished, &self.target, self.overwrite);
        result.map_err(|source| CheckpointError::Rename {
            finished,
            path: self.target.clone(),
            source,
        })?;
        flush_directory(parent)
            .map_err(|source| CheckpointError::Write { path: parent.to_owned(), source })?;
        Ok(self.target)
    }
}

/// Whether a directory's name is one that [`OutputDirectory`] gives while it works, so that a kill has
/// left the directory behind: `NAME.partial-RANDOM`, or `NAME.replaced-RANDOM` for what was to be
/// overwritten.
pub fn is_unfinished_output(name: &str) -> bool {
    [PARTIAL, REPLACED].iter().any(|kind| {
        name.rsplit_once(&format!(".{kind}-")).is_some_and(|(name, random)| {
            !name.is_empty()
                && random.len() == RANDOM_LETTERS
                && random.chars().all(|letter| letter.is_ascii_alphanumeric())
        })
    })
}

/// An absolute path whose existing part has no links, so that a linked directory is replaced where it
/// is and not where the link is.
fn resolve(path: &Path) -> Result<PathBuf, CheckpointError> {
    match fs::canonicalize(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => std::path::absolute(path),
        other => other,
    }
    .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })
}

fn check_existing(target: &Path, parent: &Path, overwrite: bool) -> Result<(), CheckpointError> {
    let path = target.to_owned();
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(source) => match source.kind() {
            io::ErrorKind::NotFound if target.is_symlink() => {
                return Err(CheckpointError::NotADirectory { path });
            }
            io::ErrorKind::NotFound => return Ok(()),
            io::ErrorKind::NotADirectory => return Err(CheckpointError::NotADirectory { path }),
            _ => return Err(CheckpointError::Read { path, source }),
        },
    };
    if is_mount_point(target, parent) {
        return Err(CheckpointError::OutputIsMountPoint { path });
    }
    for entry in entries {
        let entry = entry.map_err(|source| CheckpointError::Read { path: path.clone(), source })?;
        if !overwrite {
            return Err(CheckpointError::OutputExists { path });
        }
        let is_file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
        let name = entry.file_name().to_string_lossy().into_owned();
        if !(is_file && is_model_file(&name)) {
            return Err(CheckpointError::OutputForeign { path, entry: name });
        }
    }
    Ok(())
}

/// Whether a file of this name belongs to a model directory.
fn is_model_file(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "README.md",
        "mergekit_config.yml",
        "merges.txt",
        "vocab.txt",
        "tokenizer.model",
        "chat_template.jinja",
    ];
    let is_pickle = name.starts_with("pytorch_model") && name.ends_with(".bin");
    NAMES.contains(&name) || is_pickle || name.ends_with(".json") || name.ends_with(".safetensors")
}

/// A new directory `NAME.KIND-RANDOM` in `parent`, with the permissions that the umask leaves.
fn sibling(parent: &Path, name: &OsStr, kind: &str) -> io::Result<TempDir> {
    let mut prefix = OsString::from(name);
    prefix.push(format!(".{kind}-"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).rand_bytes(RANDOM_LETTERS);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).map_err(without_temporary_name)
}

/// Renames `finished` to `target`. To overwrite, what was there is moved aside first, removed when the
/// renaming worked and put back when it did not.
fn put_in_place(finished: &Path, target: &Path, overwrite: bool) -> io::Result<()> {
    if !target.exists() {
        return fs::rename(finished, target);
    }
    if !overwrite {
        // Fails when somebody else has put something there since it was checked.
        fs::remove_dir(target)?;
        return fs::rename(finished, target);
    }
    let parent = target.parent().expect("create() checked for a parent");
    let name = target.file_name().expect("create() checked for a name");
    let aside = sibling(parent, name, REPLACED)?;
    let old = aside.path().join(name);
    fs::rename(target, &old)?;
    if let Err(error) = fs::rename(finished, target) {
        if fs::rename(&old, target).is_err() {
            // Dropping it would delete the only copy of what was there.
            let _ = aside.keep();
        }
        return Err(error);
    }
    // The new output is in place. What cannot be removed is an annoyance, not a failure.
    drop(aside);
    Ok(())
}

/// Waits until the disk has every file below `directory`, and the directory itself.
fn flush(directory: &Path) -> Result<(), CheckpointError> {
    let failed = |path: &Path, source| CheckpointError::Write { path: path.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let path = entry.map_err(|source| failed(directory, source))?.path();
        if path.is_dir() {
            flush(&path)?;
        } else {
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| failed(&path, source))?;
        }
    }
    flush_directory(directory).map_err(|source| failed(directory, source))
}

#[cfg(unix)]
fn is_mount_point(directory: &Path, parent: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(directory), fs::metadata(parent)) {
        (Ok(directory), Ok(parent)) => directory.dev() != parent.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_mount_point(_directory: &Path, _parent: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in `directory`, sorted.
    fn names(directory: &Path) -> Vec<String> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn committed_output_has_its_name_and_leaves_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("deep/er/model");
        let output = OutputDirectory::create(&target, false).unwrap();
        fs::write(output.path().join("config.json"), "{}").unwrap();
        fs::create_dir(output.path().join("sub")).unwrap();
        fs::write(output.path().join("sub/file"), "x").unwrap();
        assert!(!target.exists());

        let committed = output.commit().unwrap();
        assert_eq!(committed.file_name(), target.file_name());
        assert_eq!(names(&target), ["config.json", "sub"]);
        assert_eq!(names(target.parent().unwrap()), ["model"]);
    }

    #[test]
    fn dropped_output_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let output = OutputDirectory::create(&parent.path().join("deep/er/model"), false).unwrap();
        fs::write(output.path().join("file"), "x").unwrap();
        assert!(names(&parent.path().join("deep/er"))[0].starts_with("model.partial-"));
        drop(output);
        assert_eq!(names(parent.path()), [""; 0]);
    }

    #[test]
    fn existing_output_is_refused_with_a_hint() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("precious"), "x").unwrap();
        let error = OutputDirectory::create(parent.path(), false).unwrap_err();
        assert!(error.to_string().ends_with("is not empty"), "{error}");
        assert!(error.hint().unwrap().contains("--overwrite"));
        assert!(error.is_users_mistake());
        assert_eq!(names(parent.path()), ["precious"]);
    }

    #[test]
    fn output_that_appears_meanwhile_is_not_replaced_and_nothing_is_lost() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let output = OutputDirectory::create(&target, false).unwrap();
        fs::write(output.path().join("new"), "x").unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("precious"), "x").unwrap();

        let error = output.commit().unwrap_err();
        assert_eq!(names(&target), ["precious"]);
        let CheckpointError::Rename { finished, .. } = &error else { panic!("{error}") };
        assert_eq!(names(finished), ["new"]);
        assert!(error.hint().unwrap().contains("nothing is lost"));
    }

    #[test]
    fn an_empty_directory_is_filled() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        let output = OutputDirectory::create(&target, false).unwrap();
        fs::write(output.path().join("new"), "x").unwrap();
        output.commit().unwrap();
        assert_eq!(names(&target), ["new"]);
        assert_eq!(names(parent.path()), ["model"]);
    }

    #[test]
    fn overwriting_replaces_the_whole_directory_at_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("model.safetensors"), "x").unwrap();
        let output = OutputDirectory::create(&target, true).unwrap();
        fs::write(output.path().join("new"), "x").unwrap();
        assert_eq!(names(&target), ["model.safetensors"]);
        output.commit().unwrap();
        assert_eq!(names(&target), ["new"]);
        assert_eq!(names(parent.path()), ["model"]);
    }

    #[test]
    fn what_is_not_a_model_is_never_replaced() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("config.json"), "{}").unwrap();
        fs::write(parent.path().join("thesis.txt"), "x").unwrap();
        let error = OutputDirectory::create(parent.path(), true).unwrap_err();
        assert!(error.to_string().ends_with("holds `thesis.txt`, which is not part of a model"));
        assert!(error.is_users_mistake());
        fs::rename(parent.path().join("thesis.txt"), parent.path().join("kept")).unwrap();
        fs::remove_file(parent.path().join("kept")).unwrap();
        fs::create_dir(parent.path().join("model.safetensors")).unwrap();
        let error = OutputDirectory::create(parent.path(), true).unwrap_err();
        assert!(error.to_string().contains("holds `model.safetensors`"), "{error}");
    }

    #[test]
    fn files_and_roots_cannot_be_outputs() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = OutputDirectory::create(&file, true).unwrap_err();
        assert!(matches!(error, CheckpointError::NotADirectory { .. }), "{error}");
        let error = OutputDirectory::create(&file.join("model"), true).unwrap_err();
        assert!(error.is_users_mistake(), "{error}");
        assert_eq!(names(parent.path()), ["file"]);
        let error = OutputDirectory::create(Path::new("/"), true).unwrap_err();
        assert!(matches!(error, CheckpointError::OutputUnnamed { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_linked_directory_is_replaced_where_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let (real, link) = (parent.path().join("real"), parent.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let output = OutputDirectory::create(&link, false).unwrap();
        fs::write(output.path().join("new"), "x").unwrap();
        output.commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(names(&real), ["new"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_refused_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path().join("absent"), &link).unwrap();
        let error = OutputDirectory::create(&link, true).unwrap_err();
        assert!(matches!(error, CheckpointError::NotADirectory { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_directory() {
        use std::os::unix::fs::MetadataExt;
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("plain")).unwrap();
        let output = OutputDirectory::create(&parent.path().join("model"), false).unwrap();
        let committed = output.commit().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode();
        assert_eq!(mode(&committed), mode(&parent.path().join("plain")));
    }
}

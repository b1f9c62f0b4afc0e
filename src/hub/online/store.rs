//! What downloads change in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::write_atomically;
use crate::hub::HubError;
use crate::hub::cache::RepoCache;

impl RepoCache {
    /// Keeps which commit a revision is.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.path("refs").join(revision);
        // A cache that is up to date may be one that cannot be written to.
        if revision == commit || fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        create_parent(&path)?;
        write_atomically(&path, commit.as_bytes()).map_err(write_error(&path))
    }

    /// Where the contents with the tag `etag` are.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.path("blobs").join(etag)
    }

    /// Where the contents with the tag `etag` are while they arrive.
    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.path("blobs").join(format!("{etag}.incomplete"))
    }

    /// Bytes of the contents with the tag `etag` that any process has fetched so far.
    pub(super) fn partial_bytes(&self, etag: &str) -> u64 {
        let is_part = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(etag) && name.ends_with(".incomplete")
        };
        let entries = fs::read_dir(self.path("blobs")).into_iter().flatten().flatten();
        let sizes = entries.filter(is_part).filter_map(|entry| Some(entry.metadata().ok()?.len()));
        sizes.sum()
    }

    /// The file whose lock is held while the contents with the tag `etag` arrive.
    pub(super) fn lock_file(&self, etag: &str) -> PathBuf {
        self.root.join(".locks").join(&self.folder).join(format!("{etag}.lock"))
    }

    /// Makes `file` of a commit a link to the contents with the tag `etag`, which are here. Where links
    /// cannot be made, the contents are moved there.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        // Relative, so that the cache can be moved: out of the file's folders, `snapshots` and the commit.
        let mut target = PathBuf::new();
        (0..file.split('/').count() + 1).for_each(|_| target.push(".."));
        target.push("blobs");
        target.push(etag);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(write_error(&path)(error));
            }
            _ => {}
        }
        match symlink(&target, &path) {
            Ok(()) => Ok(()),
            // Another process was faster.
            Err(_) if self.has(commit, file, None) => Ok(()),
            Err(error) if cfg!(unix) => Err(write_error(&path)(error)),
            Err(_) => fs::rename(self.blob(etag), &path).map_err(write_error(&path)),
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the directory that a file is to be in.
pub(super) fn create_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(write_error(parent))
}

/// What the system said about writing `path`.
pub(super) fn write_error(path: &Path) -> impl Fn(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Write { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::RepoName;

    fn cache(root: &Path) -> RepoCache {
        RepoCache::new(root, &RepoName::parse("org/name").unwrap())
    }

    #[cfg(unix)]
    #[test]
    fn files_are_relative_links_to_blobs() {
        let root = tempfile::tempdir().unwrap();
        let (cache, commit) = (cache(root.path()), "0123456789".repeat(4));
        create_parent(&cache.blob("tag")).unwrap();
        fs::write(cache.blob("tag"), "content").unwrap();
        for file in ["config.json", "deep/er/file"] {
            assert!(!cache.has(&commit, file, None));
            cache.link(&commit, file, "tag").unwrap();
            assert!(cache.has(&commit, file, Some(7)) && !cache.has(&commit, file, Some(8)));
            cache.link(&commit, file, "tag").unwrap();
        }
        let link = fs::read_link(cache.snapshot(&commit).join("config.json")).unwrap();
        assert_eq!(link, Path::new("../../blobs/tag"));
        fs::remove_file(cache.blob("tag")).unwrap();
        assert!(!cache.has(&commit, "config.json", None), "a link to nowhere");
    }

    #[test]
    fn a_revision_that_moves_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        for commit in ["0123456789", "9876543210"].map(|digits| digits.repeat(4)) {
            fs::create_dir_all(cache.snapshot(&commit)).unwrap();
            cache.remember("refs/pr/1", &commit).unwrap();
            assert_eq!(cache.commit("refs/pr/1"), Some(commit));
        }
    }
}

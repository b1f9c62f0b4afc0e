//! The Hub's cache on disk, in the layout of Python's `huggingface_hub`, which shares it.
//!
//! ```text
//! models--org--name/
//!   refs/main                       the commit that a branch or tag had when it was last asked for
//!   blobs/<etag>                    contents, under their SHA-256 or, small ones, their Git hash
//!   blobs/<etag>.incomplete         contents that have not arrived whole
//!   snapshots/<commit>/config.json  a link to a blob: ../../blobs/<etag>
//! .locks/models--org--name/<etag>.lock   is held by whoever downloads that blob
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::name::{RepoName, is_commit};

/// The folder of one model in the cache.
#[derive(Debug, Clone)]
pub(super) struct RepoCache {
    /// With the folders of all models.
    pub(super) root: PathBuf,
    /// The name of this model's.
    pub(super) folder: String,
}

impl RepoCache {
    /// The folder of `name`, which need not exist, in the cache `root`.
    pub(super) fn new(root: &Path, name: &RepoName) -> Self {
        Self { root: root.to_owned(), folder: name.folder() }
    }

    /// Where `name` is in the model's folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(&self.folder).join(name)
    }

    /// Where the files of a commit are.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.path("snapshots").join(commit)
    }

    /// The commit that the revision was when it was last asked for, if that commit is here.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let commit = match fs::read_to_string(self.path("refs").join(revision)) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => revision.to_owned(),
        };
        (is_commit(&commit) && self.snapshot(&commit).is_dir()).then_some(commit)
    }

    /// Whether a file of a commit is here, `bytes` long where that is known. What a link to nowhere
    /// stands for is not.
    pub(super) fn has(&self, commit: &str, file: &str, bytes: Option<u64>) -> bool {
        let metadata = fs::metadata(self.snapshot(commit).join(file));
        metadata
            .is_ok_and(|found| found.is_file() && bytes.is_none_or(|bytes| bytes == found.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> RepoCache {
        RepoCache::new(root, &RepoName::parse("org/name").unwrap())
    }

    #[test]
    fn revisions_lead_to_commits_that_are_here() {
        let root = tempfile::tempdir().unwrap();
        let (cache, commit) = (cache(root.path()), "0123456789".repeat(4));
        let folder = root.path().join("models--org--name");
        fs::create_dir_all(folder.join("refs/refs/pr")).unwrap();
        for revision in ["main", "refs/pr/1"] {
            fs::write(folder.join("refs").join(revision), &commit).unwrap();
        }
        assert_eq!(cache.commit("main"), None, "the snapshot is not here");
        fs::create_dir_all(cache.snapshot(&commit)).unwrap();
        for revision in ["main", "refs/pr/1", &commit] {
            assert_eq!(cache.commit(revision).as_ref(), Some(&commit), "{revision}");
        }
        assert_eq!(cache.commit("v2"), None);
    }
}

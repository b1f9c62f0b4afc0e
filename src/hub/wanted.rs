//! Files that should be in the cache.

use super::cache::RepoCache;
use super::name::RepoName;

/// A file of a commit that should be in the cache.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) cache: RepoCache,
    pub(super) name: RepoName,
    pub(super) commit: String,
    pub(super) file: String,
    pub(super) contents: Contents,
}

/// What is known of a file's contents before they are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) bytes: u64,
    /// The tag that they are known by, which is a file name.
    pub(super) etag: String,
}

impl Wanted {
    /// Whether it is here.
    pub(super) fn is_here(&self) -> bool {
        self.cache.has(&self.commit, &self.file, Some(self.contents.bytes))
    }
}

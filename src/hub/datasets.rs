//! Data sets in the Hub's cache.

use std::path::{Path, PathBuf};

use super::MAIN;
use super::cache::RepoCache;
use super::name::{RepoName, folder, is_revision};

/// The directory with the files of a data set at a revision, where `cache`, the Hub's, has it. The
/// oldest data sets have names without an organisation. Nothing is fetched.
pub(crate) fn cached_dataset(cache: &Path, name: &str, revision: Option<&str>) -> Option<PathBuf> {
    let is_name = RepoName::parse(name).is_some()
        || (!name.contains('/') && RepoName::parse(&format!("datasets/{name}")).is_some());
    let revision = revision.unwrap_or(MAIN);
    if !is_name || !is_revision(revision) {
        return None;
    }
    let repo = RepoCache { root: cache.to_owned(), folder: folder("datasets", name) };
    repo.commit(revision).map(|commit| repo.snapshot(&commit))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn data_sets_are_found_by_name_and_revision() {
        let root = tempfile::tempdir().unwrap();
        let commit = "0123456789".repeat(4);
        for folder in ["datasets--org--name", "datasets--old"] {
            let folder = root.path().join(folder);
            fs::create_dir_all(folder.join("refs")).unwrap();
            fs::create_dir_all(folder.join("snapshots").join(&commit)).unwrap();
            fs::write(folder.join("refs/main"), &commit).unwrap();
        }
        let find = |name: &str, revision| cached_dataset(root.path(), name, revision);
        let snapshot = root.path().join("datasets--org--name/snapshots").join(&commit);
        assert_eq!(find("org/name", None), Some(snapshot.clone()));
        assert_eq!(find("org/name", Some(&commit)), Some(snapshot));
        assert!(find("old", None).is_some());
        assert_eq!(find("org/name", Some("v2")), None);
        assert_eq!(find("../name", None), None);
        assert_eq!(find("org/name", Some("../../x")), None);
    }
}

//! Where relative paths and names of data sets start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::yaml::Node;

/// The directories of the task path, in which data sets are looked for too.
#[derive(Debug, Clone, Default)]
pub(in crate::evaluate) struct DataRoots(Arc<[PathBuf]>);

impl DataRoots {
    /// Of the given directories, the last is looked at first, as it is for tasks.
    pub(in crate::evaluate) fn new(directories: &[PathBuf]) -> DataRoots {
        DataRoots(directories.iter().rev().cloned().collect())
    }

    /// The directories, in the order in which they are looked at.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.0
    }

    /// The directories in which a data set may be that `node` names: the working directory, that of the
    /// file with the node, the nearest one above it and so on, and those of the task path.
    pub(super) fn places(&self, node: &Node<'_>) -> Vec<PathBuf> {
        let own = folder_of(node);
        let above = own.ancestors().map(Path::to_owned);
        let mut places: Vec<PathBuf> = std::iter::once(PathBuf::new()).chain(above).collect();
        for directory in self.directories() {
            if !places.contains(directory) {
                places.push(directory.clone());
            }
        }
        places
    }
}

/// Where a path may lead. A relative one starts at the working directory, as in the harness; if
/// nothing is there, at the directory of the file that names it or the nearest one above, so that
/// tasks can be used from anywhere.
pub(super) fn paths(node: &Node<'_>, path: &Path) -> Vec<PathBuf> {
    DataRoots::default().places(node).into_iter().map(|place| place.join(path)).collect()
}

/// The directory of the file that a value is in.
pub(super) fn folder_of(node: &Node<'_>) -> PathBuf {
    let file = node.place().file.unwrap_or_default();
    let folder = std::path::absolute(&file).unwrap_or(file);
    folder.parent().unwrap_or(Path::new("")).to_owned()
}

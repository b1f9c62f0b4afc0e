//! Data sets by their names: what `datasets.yaml` says, a folder of that name, or the Hub's cache.

use std::path::{Path, PathBuf};

use super::card::{self, Card};
use super::mapping::{Mapped, Mappings};
use super::places::folder_of;
use super::{DataRoots, Splits, files, folder, wanted_splits};
use crate::config::yaml::Node;
use crate::evaluate::document::TaskDocument;
use crate::evaluate::{DatasetSearch, EvaluateError};
use crate::hub::{Settings, cached_dataset};

/// The branch to which the Hub writes data sets that it has converted.
const CONVERTED: &str = "refs/convert/parquet";

/// The files of the data set that `dataset_path` names, by split.
pub(super) fn splits(
    document: &TaskDocument,
    dataset: &Node<'_>,
    roots: &DataRoots,
) -> Result<Splits, EvaluateError> {
    let name = dataset.text()?;
    let options = document.get("dataset_kwargs");
    let option = |field| options.as_ref().and_then(|node| node.fields().ok()?.get(field));
    let mappings = Mappings::read(&roots.places(dataset))?;
    let config = document.get("dataset_name");
    let folders = match mappings.find(name, config.as_ref(), options.as_ref())? {
        Some(Mapped::Files(splits)) => return Ok(splits),
        Some(Mapped::Folder(folder)) => vec![folder],
        None => {
            let revision = option("revision");
            let revision = revision.as_ref().map(Node::text).transpose()?;
            folders(dataset, name, revision, roots, &mappings)?
        }
    };
    let splits = |folder: &PathBuf| match option("data_files") {
        Some(data_files) => files::in_folder(&data_files, folder, options.as_ref()),
        None => in_folder(document, dataset, folder),
    };
    let mut found = splits(&folders[0]);
    for folder in &folders[1..] {
        let is_without_data = |error| {
            matches!(
                error,
                &EvaluateError::NoDataInFolder { .. } | &EvaluateError::DatasetScript { .. }
            )
        };
        if found.as_ref().is_err_and(is_without_data) {
            found = splits(folder).or(found);
        }
    }
    found
}

/// The folder of a data set that an address in `node` names.
pub(super) fn folder(
    node: &Node<'_>,
    name: &str,
    revision: Option<&str>,
    roots: &DataRoots,
) -> Result<PathBuf, EvaluateError> {
    let mappings = Mappings::read(&roots.places(node))?;
    if let Ok(Some(Mapped::Folder(folder))) = mappings.find(name, None, None) {
        return Ok(folder);
    }
    Ok(folders(node, name, revision, roots, &mappings)?.swap_remove(0))
}

/// The folders of a data set, the best one first, at least one: one of its name, or else those in the
/// Hub's cache, as it is and, where no revision is asked for, as the Hub has converted it.
fn folders(
    node: &Node<'_>,
    name: &str,
    revision: Option<&str>,
    roots: &DataRoots,
    mappings: &Mappings,
) -> Result<Vec<PathBuf>, EvaluateError> {
    let places = roots.places(node);
    if let Some(folder) = places.iter().map(|place| place.join(name)).find(|path| path.is_dir()) {
        return Ok(vec![folder]);
    }
    let cache = Settings::from_environment().cache;
    let converted = if revision.is_none() { Some(Some(CONVERTED)) } else { None };
    let revisions = std::iter::once(revision).chain(converted);
    let found: Vec<PathBuf> =
        revisions.filter_map(|revision| cached_dataset(&cache, name, revision)).collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(EvaluateError::NoDataset {
            at: node.place().into(),
            name: name.to_owned(),
            searched: Box::new(DatasetSearch {
                folder: folder_of(node),
                roots: roots.directories().to_vec(),
                mappings: mappings.paths(),
                nearest: mappings.nearest(name),
                cache,
            }),
        }),
    }
}

/// The files of a data set in its folder: those that its card lists, or else those whose names say
/// which of the splits that the task names they belong to.
fn in_folder(
    document: &TaskDocument,
    dataset: &Node<'_>,
    folder: &Path,
) -> Result<Splits, EvaluateError> {
    let options = document.get("dataset_kwargs");
    let config = document.get("dataset_name");
    let (folder, config) = match card::read(folder, config.as_ref(), options.as_ref())? {
        Some(Card::Files(splits)) => return Ok(splits),
        Some(Card::Folder(inner)) => (inner, None),
        None => (folder.to_owned(), config),
    };
    folder::splits(dataset, &folder, config.as_ref(), &wanted_splits(document)?, options.as_ref())
}

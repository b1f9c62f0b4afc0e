//! Where a task's documents are: files that it names, those in a folder, or those of a data set in the
//! Hub's cache.

mod card;
mod glob;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use self::card::Listed;
use self::glob::{file_name, files_in, files_like, folders_in};
use super::EvaluateError;
use super::data::{Format, Split};
use super::document::TaskDocument;
use crate::config::yaml::{Node, Place, YamlError};
use crate::hub::{Settings, cached_dataset};

/// The field of evaluators that lists data files of any format.
pub(super) const FILES: &str = "files";

/// The split of data files that are not assigned to one.
const DEFAULT_SPLIT: &str = "train";

/// Words in the names of files that stand for a split, as in the `datasets` library.
const SPLIT_WORDS: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "valid", "dev", "val"],
    &["test", "testing", "eval", "evaluation"],
];

/// Where the documents are.
#[derive(Debug, Clone)]
pub(super) struct DataConfig {
    /// Existing files by split; none before they are found.
    pub(super) files: IndexMap<String, Vec<PathBuf>>,
    pub(super) format: Format,
    pub(super) training: Option<SplitName>,
    pub(super) validation: Option<SplitName>,
    pub(super) test: Option<SplitName>,
}

/// A split as a task names it.
#[derive(Debug, Clone)]
pub(super) struct SplitName {
    pub(super) name: String,
    pub(super) at: Place,
}

impl DataConfig {
    /// Reads the names of splits.
    pub(super) fn parse(document: &TaskDocument) -> Result<DataConfig, EvaluateError> {
        let split = |name| split_name(document.get(name));
        let data = DataConfig {
            files: IndexMap::new(),
            format: Format::Text,
            training: split("training_split")?,
            validation: split("validation_split")?,
            test: split("test_split")?,
        };
        if data.test.is_none() && data.validation.is_none() {
            document.require("test_split")?;
        }
        Ok(data)
    }

    /// Finds the files that `dataset_path` and `dataset_kwargs` stand for.
    pub(super) fn find(&mut self, document: &TaskDocument) -> Result<(), EvaluateError> {
        (self.files, self.format) = match document.get(FILES) {
            Some(files) => listed_files(&files, document.get("dataset_kwargs").as_ref())?,
            None => files_of_dataset(document)?,
        };
        Ok(())
    }
}

/// The files that `dataset_path` stands for, and their format.
fn files_of_dataset(
    document: &TaskDocument,
) -> Result<(IndexMap<String, Vec<PathBuf>>, Format), EvaluateError> {
    let dataset = document.require("dataset_path")?;
    let options = document.get("dataset_kwargs");
    match Format::named(dataset.text()?, options.as_ref())? {
        Some(format) => {
            let data_files = document.require("dataset_kwargs")?.fields()?.require("data_files")?;
            Ok((named_files(&data_files, None)?, format))
        }
        None => files_of_folder(document, &dataset),
    }
}

/// The files that an evaluator lists; the first one's name says their format.
fn listed_files(
    list: &Node<'_>,
    options: Option<&Node<'_>>,
) -> Result<(IndexMap<String, Vec<PathBuf>>, Format), EvaluateError> {
    let files = named_files(list, None)?;
    let format = format_of_first(&files, options)?.unwrap_or(Format::Text);
    Ok((files, format))
}

/// The rows of all files that the field `files` lists.
pub(super) fn read_files(
    files: &Node<'_>,
    options: Option<&Node<'_>>,
) -> Result<Vec<Map<String, Value>>, EvaluateError> {
    let (files, format) = listed_files(files, options)?;
    let paths: Vec<PathBuf> = files.into_values().flatten().collect();
    let documents = Split::read(&paths, &format)?.documents;
    Ok(documents.into_iter().map(|document| document.columns).collect())
}

/// A field that names a split.
pub(super) fn split_name(node: Option<Node<'_>>) -> Result<Option<SplitName>, YamlError> {
    let Some(node) = node else { return Ok(None) };
    Ok(Some(SplitName { name: node.text()?.to_owned(), at: node.place() }))
}

/// The files in `data_files`, by split, in a folder if one is given.
fn named_files(
    data_files: &Node<'_>,
    folder: Option<&Path>,
) -> Result<IndexMap<String, Vec<PathBuf>>, EvaluateError> {
    if !data_files.value().is_mapping() {
        let files = find_files(data_files, folder)?;
        return Ok(IndexMap::from([(DEFAULT_SPLIT.to_owned(), files)]));
    }
    let splits = data_files.fields()?.all()?;
    splits
        .iter()
        .map(|(split, node)| Ok(((*split).to_owned(), find_files(node, folder)?)))
        .collect()
}

/// The files of a split.
fn find_files(node: &Node<'_>, folder: Option<&Path>) -> Result<Vec<PathBuf>, EvaluateError> {
    let nodes = if node.value().is_string() { vec![node.clone()] } else { node.items()? };
    if nodes.is_empty() {
        return Err(node.wrong_type("a path or a list of paths").into());
    }
    let files = nodes.iter().map(|node| find_file(node, folder));
    Ok(files.collect::<Result<Vec<_>, _>>()?.concat())
}

/// A data file, or those whose names a pattern matches, sorted.
fn find_file(node: &Node<'_>, folder: Option<&Path>) -> Result<Vec<PathBuf>, EvaluateError> {
    let path = PathBuf::from(node.text()?);
    let pattern = path.file_name().and_then(|name| name.to_str());
    let places = match folder {
        Some(folder) => vec![folder.join(&path)],
        None => places(node, &path),
    };
    let found = places.into_iter().find_map(|place| match pattern {
        Some(pattern) if pattern.contains(['*', '?']) => {
            let found = files_like(place.parent().unwrap_or(Path::new("")), pattern);
            (!found.is_empty()).then_some(found)
        }
        _ => place.is_file().then(|| vec![place]),
    });
    found.ok_or_else(|| EvaluateError::NoDataFile {
        at: node.place().into(),
        path: path.clone(),
        folder: folder.map_or_else(|| folder_of(node), Path::to_owned),
    })
}

/// Where a path may lead. A relative one starts at the working directory, as in the harness; if
/// nothing is there, at the directory of the file that names it or the nearest one above, so that
/// tasks can be used from anywhere.
fn places(node: &Node<'_>, path: &Path) -> Vec<PathBuf> {
    let folder = folder_of(node);
    let above = folder.ancestors().map(|above| above.join(path));
    std::iter::once(path.to_owned()).chain(above).collect()
}

/// The directory of the file that a value is in.
fn folder_of(node: &Node<'_>) -> PathBuf {
    let file = node.place().file.unwrap_or_default();
    let folder = std::path::absolute(&file).unwrap_or(file);
    folder.parent().unwrap_or(Path::new("")).to_owned()
}

/// The folder of a data set: one of that name, or else the data set's in the Hub's cache.
fn dataset_folder(document: &TaskDocument, dataset: &Node<'_>) -> Result<PathBuf, EvaluateError> {
    let name = dataset.text()?;
    if let Some(folder) = places(dataset, Path::new(name)).into_iter().find(|path| path.is_dir()) {
        return Ok(folder);
    }
    let options = document.get("dataset_kwargs");
    let revision = options.as_ref().and_then(|node| node.fields().ok()?.get("revision"));
    let revision = revision.as_ref().map(Node::text).transpose()?;
    let cache = Settings::from_environment().cache;
    cached_dataset(&cache, name, revision).ok_or_else(|| EvaluateError::NoDataset {
        at: dataset.place().into(),
        name: name.to_owned(),
        folder: folder_of(dataset),
        cache,
    })
}

/// The files of a folder that `dataset_path` names, and their format: those in `data_files`, or else
/// those for the splits that the task names, in the folder or one in it that `dataset_name` names.
fn files_of_folder(
    document: &TaskDocument,
    dataset: &Node<'_>,
) -> Result<(IndexMap<String, Vec<PathBuf>>, Format), EvaluateError> {
    let folder = dataset_folder(document, dataset)?;
    let options = document.get("dataset_kwargs");
    let with_format = |files: IndexMap<String, Vec<PathBuf>>| {
        let format = format_of_first(&files, options.as_ref())?;
        Ok((files, format.ok_or_else(|| no_data(dataset, &folder))?))
    };
    let data_files = options.as_ref().and_then(|node| node.fields().ok()?.get("data_files"));
    if let Some(data_files) = data_files {
        return with_format(named_files(&data_files, Some(&folder))?);
    }
    let config = document.get("dataset_name");
    let folder = match (card::read(&folder, config.as_ref())?, config) {
        (Some(Listed::Files(files)), _) => return with_format(files),
        (Some(Listed::Folder(inner)), _) => inner,
        (None, None) => folder,
        (None, Some(config)) => {
            let inner = folder.join(config.text()?);
            // Without a folder of its own, a configuration is all there is, unless others have theirs.
            if inner.is_dir() || has_folders_of_data(&folder) { inner } else { folder }
        }
    };
    files_of_splits(document, dataset, &folder)
}

/// The format that the name of the first file says all have.
fn format_of_first(
    files: &IndexMap<String, Vec<PathBuf>>,
    options: Option<&Node<'_>>,
) -> Result<Option<Format>, EvaluateError> {
    let first = files.values().flatten().next();
    Ok(first.map(|path| Format::of_file(path, options)).transpose()?.flatten())
}

fn no_data(dataset: &Node<'_>, folder: &Path) -> EvaluateError {
    EvaluateError::NoDataInFolder { at: dataset.place().into(), folder: folder.to_owned() }
}

/// Whether folders with data lie in a folder, besides `data`.
fn has_folders_of_data(folder: &Path) -> bool {
    let is_data = |path: &PathBuf| matches!(Format::of_file(path, None), Ok(Some(_)));
    let has_data = |inner: &PathBuf| files_in(inner).iter().any(is_data);
    folders_in(folder).iter().any(|inner| !inner.ends_with("data") && has_data(inner))
}

/// The files in `folder` for the splits that the task names, and their format.
fn files_of_splits(
    document: &TaskDocument,
    dataset: &Node<'_>,
    folder: &Path,
) -> Result<(IndexMap<String, Vec<PathBuf>>, Format), EvaluateError> {
    let options = document.get("dataset_kwargs");
    let format_of = |path: &PathBuf| Format::of_file(path, options.as_ref());
    let mut format = None;
    let mut found = Vec::new();
    for path in [files_in(folder), files_in(&folder.join("data"))].concat() {
        // Files of other kinds than the first that is data are no data.
        if let Some(own) = format_of(&path)?
            && format.get_or_insert_with(|| own.clone()).is_same_kind(&own)
        {
            found.push(path);
        }
    }
    let format = format.ok_or_else(|| no_data(dataset, folder))?;

    let own = ["training_split", "validation_split", "test_split", "fewshot_split"];
    let own = own.iter().filter_map(|field| document.get(field));
    let shots = document.get("fewshot_config").and_then(|node| node.fields().ok()?.get("split"));
    let mut files = IndexMap::new();
    for split in own.chain(shots) {
        let split = split.text()?;
        let of_split: Vec<PathBuf> =
            found.iter().filter(|path| is_of_split(&file_name(path), split)).cloned().collect();
        if !of_split.is_empty() {
            files.insert(split.to_owned(), of_split);
        }
    }
    if files.is_empty() {
        files.insert(DEFAULT_SPLIT.to_owned(), found);
    }
    Ok((files, format))
}

/// Whether a file's name says that it belongs to a split: it begins with the split's name, or has a
/// word for it.
fn is_of_split(name: &str, split: &str) -> bool {
    let behind = name.strip_prefix(split);
    if behind.is_some_and(|behind| !behind.starts_with(|c: char| c.is_alphanumeric())) {
        return true;
    }
    let words = SPLIT_WORDS.iter().find(|words| words.contains(&split));
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.is_some_and(|words| parts.any(|part| words.contains(&part.to_lowercase().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_without_a_folder_is_not_that_of_others() {
        let folder = tempfile::tempdir().expect("a directory");
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
            std::fs::write(path, "{}").expect("written");
        };
        write("test.jsonl");
        write("data/test.jsonl");
        write("scripts/make.py");
        assert!(!has_folders_of_data(folder.path()));
        write("one/test.jsonl");
        assert!(has_folders_of_data(folder.path()));
    }

    #[test]
    fn names_of_files_say_their_split() {
        let is = is_of_split;
        assert!(is("train-00000-of-00001.parquet", "train") && is("training.csv", "train"));
        assert!(is("my_dev.jsonl", "validation") && is("dev.jsonl", "dev"));
        assert!(is("auxiliary_train.parquet", "auxiliary_train"));
        assert!(!is("test.jsonl", "train") && !is("trainer.jsonl", "train"));
        assert!(!is("contest.csv", "test"));
    }
}

//! Where a task's documents are: in files that it names, or in those of a data set, which `repository`
//! finds on this machine by its name.

mod card;
mod files;
mod folder;
mod glob;
mod mapping;
mod parts;
mod places;
mod repository;
mod split;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

pub(super) use self::mapping::MAPPING;
pub(super) use self::places::DataRoots;
pub(super) use self::split::{SplitName, split_name};
use super::EvaluateError;
use super::data::{Format, Split};
use super::document::TaskDocument;
use crate::config::yaml::{Node, Place};

/// The field of evaluators that lists data files of any format.
pub(super) const FILES: &str = "files";

/// The split of data files that are not assigned to one.
const DEFAULT_SPLIT: &str = "train";

/// Where the documents are.
#[derive(Debug, Clone)]
pub(super) struct DataConfig {
    /// None before they are found.
    splits: Splits,
    pub(super) training: Option<SplitName>,
    pub(super) validation: Option<SplitName>,
    pub(super) test: Option<SplitName>,
}

/// Files by split.
type Splits = IndexMap<String, SplitFiles>;

/// The files of a split.
#[derive(Debug, Clone)]
enum SplitFiles {
    /// All of them, at least one.
    Here {
        paths: Vec<PathBuf>,
        format: Format,
        /// Whether each of them is named, so that some parts without the others are what is meant.
        are_chosen: bool,
    },
    /// The data set has files for the split, but not on this machine.
    Absent {
        /// Where they should be.
        folder: PathBuf,
        /// One of them, as a path or pattern in that folder.
        file: String,
    },
}

impl SplitFiles {
    /// Files, at least one, in the format that `format_of` gives for the first one. `at` names them.
    fn here(
        at: &Place,
        paths: Vec<PathBuf>,
        are_chosen: bool,
        format_of: impl Fn(&Path) -> Result<Option<Format>, EvaluateError>,
    ) -> Result<SplitFiles, EvaluateError> {
        let first = paths.first().map_or(Path::new(""), PathBuf::as_path);
        match format_of(first)? {
            Some(format) => Ok(SplitFiles::Here { paths, format, are_chosen }),
            None => Err(EvaluateError::NoFormat { at: at.clone().into(), path: first.to_owned() }),
        }
    }
}

impl DataConfig {
    /// Reads the names of splits.
    pub(super) fn parse(document: &TaskDocument) -> Result<DataConfig, EvaluateError> {
        let split = |name| split_name(document.get(name));
        let data = DataConfig {
            splits: Splits::default(),
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
        self.splits = match document.get(FILES) {
            Some(list) => {
                let options = document.get("dataset_kwargs");
                files::listed(&list, options.as_ref(), document.roots())?
            }
            None => splits_of_dataset(document)?,
        };
        Ok(())
    }

    /// The files of each split, as far as they are here.
    pub(super) fn files(&self) -> IndexMap<String, Vec<PathBuf>> {
        let here = self.splits.iter().filter_map(|(split, files)| match files {
            SplitFiles::Here { paths, .. } => Some((split.clone(), paths.clone())),
            SplitFiles::Absent { .. } => None,
        });
        here.collect()
    }

    /// Reads the documents of a split.
    pub(super) fn read(&self, name: &SplitName) -> Result<Split, EvaluateError> {
        let mut whole = Split::default();
        for part in &name.parts {
            let Split { documents, columns } = self.read_files(&part.split, name)?;
            whole.documents.append(&mut part.of(documents, &name.at)?);
            whole.columns.extend(columns);
        }
        Ok(whole)
    }

    fn read_files(&self, split: &str, name: &SplitName) -> Result<Split, EvaluateError> {
        match self.splits.get(split) {
            Some(SplitFiles::Here { paths, format, are_chosen }) => {
                if !are_chosen {
                    parts::are_complete(paths)?;
                }
                Split::read(paths, format)
            }
            Some(SplitFiles::Absent { folder, file }) => Err(EvaluateError::AbsentSplit {
                at: name.at.clone().into(),
                split: split.to_owned(),
                file: file.clone(),
                folder: folder.clone(),
            }),
            None => Err(EvaluateError::NoSplit {
                at: name.at.clone().into(),
                split: split.to_owned(),
                known: self.splits.keys().cloned().collect(),
            }),
        }
    }
}

/// The files that `dataset_path` stands for.
fn splits_of_dataset(document: &TaskDocument) -> Result<Splits, EvaluateError> {
    let roots = document.roots();
    let dataset = document.require("dataset_path")?;
    let options = document.get("dataset_kwargs");
    match Format::named(dataset.text()?, options.as_ref())? {
        Some(format) => {
            let data_files = document.require("dataset_kwargs")?.fields()?.require("data_files")?;
            files::of_format(&data_files, &format, roots)
        }
        None => repository::splits(document, &dataset, roots),
    }
}

/// Names of the splits that a task's fields speak of.
fn wanted_splits(document: &TaskDocument) -> Result<Vec<String>, EvaluateError> {
    let own = ["training_split", "validation_split", "test_split", "fewshot_split"];
    let own = own.iter().filter_map(|field| document.get(field));
    let shots = document.get("fewshot_config").and_then(|node| node.fields().ok()?.get("split"));
    let mut wanted = Vec::new();
    for node in own.chain(shots) {
        let name = split_name(Some(node))?;
        wanted.extend(name.into_iter().flat_map(|name| name.parts).map(|part| part.split));
    }
    Ok(wanted)
}

/// The rows of all files that the field `files` of an evaluator lists.
pub(super) fn read_files(
    list: &Node<'_>,
    options: Option<&Node<'_>>,
    roots: &DataRoots,
) -> Result<Vec<Map<String, Value>>, EvaluateError> {
    let mut rows = Vec::new();
    for files in files::listed(list, options, roots)?.into_values() {
        if let SplitFiles::Here { paths, format, .. } = files {
            let documents = Split::read(&paths, &format)?.documents;
            rows.extend(documents.into_iter().map(|document| document.columns));
        }
    }
    Ok(rows)
}

/// Whether a file's name says that it holds data.
fn is_data(path: &Path) -> bool {
    matches!(Format::of_file(path, None), Ok(Some(_)))
}

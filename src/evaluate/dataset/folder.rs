//! Which files of a folder belong to which split, by their names and those of the folders they are in.
//!
//! A configuration has a folder of its own, as `main/test.jsonl`. A split is a file, numbered parts of
//! one or a folder: `test.jsonl`, `data/test-00000-of-00002.parquet` or `test/0000.parquet`. Names
//! that are the split's come first; otherwise those count that have a word for it.

use std::path::{Path, PathBuf};

use super::glob::{file_name, files_in, find, folders_in};
use super::{DEFAULT_SPLIT, SplitFiles, Splits, is_data, parts};
use crate::config::yaml::Node;
use crate::evaluate::EvaluateError;
use crate::evaluate::data::Format;

/// The folder in which the Hub's own library puts the only configuration of a data set.
const DATA: &str = "data";

/// The folder of the configuration that is meant where none is named.
const DEFAULT_CONFIG: &str = "default";

/// Words in the names of files that stand for a split, as in the `datasets` library.
const SPLIT_WORDS: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "valid", "dev", "val"],
    &["test", "testing", "eval", "evaluation"],
];

/// Files beside the data that describe it.
const NO_DATA: [&str; 4] =
    ["config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json"];

/// The files in `folder` for the splits in `wanted`, or if there are none for any of them, all as the
/// default split. `config` names the configuration, `options` say how a task's files are read.
pub(super) fn splits(
    dataset: &Node<'_>,
    folder: &Path,
    config: Option<&Node<'_>>,
    wanted: &[String],
    options: Option<&Node<'_>>,
) -> Result<Splits, EvaluateError> {
    refuse_script(dataset, folder)?;
    let config = config.map(Node::text).transpose()?;
    let inner = config_folder(folder, config);
    let all = data_beside(&inner);
    let mut splits = Splits::new();
    for split in wanted {
        let mut paths = of_split(&inner, &all, split);
        if inner == folder
            && let Some(config) = config
        {
            paths = of_config(paths, config, dataset, folder)?;
        }
        if !paths.is_empty() {
            splits.insert(split.clone(), of_one_kind(dataset, paths, options)?);
        }
    }
    if splits.is_empty() {
        if all.is_empty() {
            return Err(no_data(dataset, &inner));
        }
        splits.insert(DEFAULT_SPLIT.to_owned(), of_one_kind(dataset, all, options)?);
    }
    Ok(splits)
}

fn no_data(dataset: &Node<'_>, folder: &Path) -> EvaluateError {
    EvaluateError::NoDataInFolder { at: dataset.place().into(), folder: folder.to_owned() }
}

/// Refuses a data set that a script in Python makes: it alone knows what is in which file.
fn refuse_script(dataset: &Node<'_>, folder: &Path) -> Result<(), EvaluateError> {
    let name = dataset.text()?;
    let own = name.rsplit('/').next().unwrap_or(name);
    let script = folder.join(format!("{own}.py"));
    match script.is_file() {
        false => Ok(()),
        true => Err(EvaluateError::DatasetScript {
            at: dataset.place().into(),
            name: name.to_owned(),
            script,
        }),
    }
}

/// The folder of a configuration; the whole one if none has a folder.
fn config_folder(folder: &Path, config: Option<&str>) -> PathBuf {
    let of_configs = folders_of_configs(folder);
    if let Some(config) = config {
        let own = [folder.join(config), folder.join(DATA).join(config)];
        return match own.iter().find(|inner| inner.is_dir()) {
            Some(inner) => inner.clone(),
            // Without a folder of its own, a configuration is all there is, unless others have theirs.
            None if of_configs.is_empty() => folder.to_owned(),
            None => folder.join(config),
        };
    }
    let is_default = |inner: &&PathBuf| inner.ends_with(DEFAULT_CONFIG) || of_configs.len() == 1;
    match of_configs.iter().find(is_default) {
        Some(inner) if data_beside(folder).is_empty() => inner.clone(),
        _ => folder.to_owned(),
    }
}

/// The folders with data in a folder that are neither all of it nor a split.
fn folders_of_configs(folder: &Path) -> Vec<PathBuf> {
    let is_split = |inner: &Path| {
        let name = file_name(inner);
        SPLIT_WORDS.iter().flat_map(|words| words.iter()).any(|word| is_of_split(&name, word))
    };
    let mut folders = folders_in(folder);
    folders.retain(|inner| {
        !inner.ends_with(DATA)
            && !is_split(inner)
            && find(inner, "**").iter().any(|path| is_file_of_data(path))
    });
    folders
}

/// The files with data in a folder and in `data` in it.
fn data_beside(folder: &Path) -> Vec<PathBuf> {
    let mut files = [files_in(folder), files_in(&folder.join(DATA))].concat();
    files.retain(|path| is_file_of_data(path));
    files
}

fn is_file_of_data(path: &Path) -> bool {
    let name = file_name(path);
    is_data(path) && !NO_DATA.contains(&name.as_str()) && !name.starts_with('.')
}

/// The files of a split in a folder, of which `all` lie in it itself.
fn of_split(folder: &Path, all: &[PathBuf], split: &str) -> Vec<PathBuf> {
    let folders = [folders_in(folder), folders_in(&folder.join(DATA))].concat();
    let in_folders = |is_own: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        let own = folders.iter().filter(|inner| is_own(&file_name(inner)));
        own.flat_map(|inner| find(inner, "**")).filter(|path| is_file_of_data(path)).collect()
    };
    let among = |is_own: &dyn Fn(&Path) -> bool| -> Vec<PathBuf> {
        all.iter().filter(|path| is_own(path)).cloned().collect()
    };
    let ways: [&dyn Fn() -> Vec<PathBuf>; 4] = [
        &|| in_folders(&|name| name == split),
        &|| among(&|path| parts::name_of_whole(path) == split),
        &|| in_folders(&|name| is_of_split(name, split)),
        &|| among(&|path| is_of_split(&file_name(path), split)),
    ];
    ways.iter().map(|way| way()).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Of the files of a split in a folder of all configurations those of one: if they are not a whole, those
/// whose names have the configuration's in them.
fn of_config(
    paths: Vec<PathBuf>,
    config: &str,
    dataset: &Node<'_>,
    folder: &Path,
) -> Result<Vec<PathBuf>, EvaluateError> {
    let is_whole = |paths: &[PathBuf]| {
        let whole = |path: &PathBuf| path.with_file_name(parts::name_of_whole(path));
        paths.windows(2).all(|pair| whole(&pair[0]) == whole(&pair[1]))
    };
    if is_whole(&paths) {
        return Ok(paths);
    }
    let own: Vec<PathBuf> =
        paths.iter().filter(|path| has_word(&file_name(path), config)).cloned().collect();
    if !own.is_empty() && is_whole(&own) {
        return Ok(own);
    }
    Err(EvaluateError::UnclearConfiguration {
        at: dataset.place().into(),
        config: config.to_owned(),
        folder: folder.to_owned(),
        files: paths.iter().map(|path| file_name(path)).collect(),
    })
}

/// Whether a name has another in it, not as a part of a longer word.
fn has_word(name: &str, word: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    name.match_indices(word).any(|(start, _)| {
        is_end(name[..start].chars().next_back())
            && is_end(name[start + word.len()..].chars().next())
    })
}

/// Files, without those of other kinds than the first.
fn of_one_kind(
    dataset: &Node<'_>,
    mut paths: Vec<PathBuf>,
    options: Option<&Node<'_>>,
) -> Result<SplitFiles, EvaluateError> {
    let kind = paths.first().map(|path| Format::of_file(path, None)).transpose()?.flatten();
    paths.retain(|path| match (&kind, Format::of_file(path, None)) {
        (Some(kind), Ok(Some(own))) => kind.is_same_kind(&own),
        _ => false,
    });
    SplitFiles::here(&dataset.place(), paths, false, |path| Format::of_file(path, options))
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
    fn names_of_files_say_their_split() {
        let is = is_of_split;
        assert!(is("train-00000-of-00001.parquet", "train") && is("training.csv", "train"));
        assert!(is("my_dev.jsonl", "validation") && is("dev.jsonl", "dev"));
        assert!(is("auxiliary_train.parquet", "auxiliary_train"));
        assert!(!is("test.jsonl", "train") && !is("trainer.jsonl", "train"));
        assert!(!is("contest.csv", "test"));
    }

    #[test]
    fn names_of_configurations_are_whole_words() {
        assert!(has_word("mgsm_de.tsv", "de") && has_word("a-zh-CN.csv", "zh-CN"));
        assert!(!has_word("model.tsv", "de") && !has_word("é_déde.tsv", "de"));
    }
}

//! `datasets.yaml`: which files or folders stand for data sets that tasks name.
//!
//! ```yaml
//! openai/gsm8k: data/gsm8k            # a folder in the layout that it has on the Hub
//! org/name:                           # files by split, for every configuration
//!   train: train.jsonl
//!   test: [part-1.csv, 'more/*.csv']
//! org/other/config: {test: test.parquet}
//! org/third:
//!   configs:
//!     default: {test: test.jsonl}
//!     german: {test: german.jsonl}
//! ```
//!
//! Paths start at the directory of the mapping.

use std::path::{Path, PathBuf};

use super::files::one_or_more;
use super::{SplitFiles, Splits, glob, is_data};
use crate::config::yaml::{Document, Fields, Node, closest};
use crate::evaluate::EvaluateError;
use crate::evaluate::data::Format;

/// The name of the file.
pub(in crate::evaluate) const MAPPING: &str = "datasets.yaml";

/// The key that configurations are under.
const CONFIGS: &str = "configs";

/// The configuration that is meant where a task names none.
const DEFAULT_CONFIG: &str = "default";

/// What a mapping says of a data set.
#[derive(Debug)]
pub(super) enum Mapped {
    /// A folder with its files.
    Folder(PathBuf),
    Files(Splits),
}

/// The mappings in some directories.
pub(super) struct Mappings(Vec<Document>);

impl Mappings {
    /// Reads the mappings that there are; those in earlier directories win.
    pub(super) fn read(directories: &[PathBuf]) -> Result<Mappings, EvaluateError> {
        let paths = directories.iter().map(|directory| directory.join(MAPPING));
        let documents = paths.filter(|path| path.is_file()).map(|path| Document::read(&path));
        Ok(Mappings(documents.collect::<Result<_, _>>()?))
    }

    /// What the first mapping that knows a data set says of a configuration of it. `options` are those of
    /// the task, and say how files are read.
    pub(super) fn find(
        &self,
        name: &str,
        config: Option<&Node<'_>>,
        options: Option<&Node<'_>>,
    ) -> Result<Option<Mapped>, EvaluateError> {
        for document in &self.0 {
            let names = names(document)?;
            let text = config.map(Node::text).transpose()?;
            let own = names.get(&format!("{name}/{}", text.unwrap_or(DEFAULT_CONFIG)));
            if let Some(node) = own {
                return Ok(Some(mapped(&node, options)?));
            }
            let Some(node) = names.get(name) else { continue };
            let configs = match node.value().is_mapping() {
                true => node.fields()?.get(CONFIGS),
                false => None,
            };
            let Some(configs) = configs else { return Ok(Some(mapped(&node, options)?)) };
            node.fields()?.only(&[CONFIGS])?;
            return Ok(Some(mapped(&choose(&configs, config)?, options)?));
        }
        Ok(None)
    }

    /// The paths of the mappings.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().filter_map(|document| document.root().place().file).collect()
    }

    /// The name of a data set in the mappings that is most like another.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let names = self.0.iter().filter_map(|document| document.root().fields().ok()?.all().ok());
        let names: Vec<&str> = names.flatten().map(|(name, _)| name).collect();
        closest(name, names).map(str::to_owned)
    }
}

/// The data sets of a mapping; an empty file has none.
fn names(document: &Document) -> Result<Fields<'_>, EvaluateError> {
    let root = document.root();
    root.fields().map_err(|_| root.wrong_type("names of data sets, each with its files").into())
}

/// The configuration that a task names, or else the default or the only one.
fn choose<'a>(configs: &Node<'a>, config: Option<&Node<'_>>) -> Result<Node<'a>, EvaluateError> {
    let fields = configs.fields()?;
    let all = fields.all()?;
    let known = || all.iter().map(|(name, _)| (*name).to_owned()).collect();
    match (config, all.as_slice()) {
        (Some(config), _) => fields.get(config.text()?).ok_or_else(|| {
            let (at, name) = (config.place().into(), config.text().unwrap_or_default().to_owned());
            EvaluateError::NoConfiguration { at, name, known: known() }
        }),
        (None, [(_, only)]) => Ok(only.clone()),
        (None, _) => fields.get(DEFAULT_CONFIG).ok_or_else(|| {
            let file = configs.place().file.unwrap_or_default();
            EvaluateError::NoConfigurationNamed { card: file, known: known() }
        }),
    }
}

/// A folder, or files by split.
fn mapped(node: &Node<'_>, options: Option<&Node<'_>>) -> Result<Mapped, EvaluateError> {
    let file = node.place().file.unwrap_or_default();
    let start = file.parent().unwrap_or(Path::new(""));
    if let Some(path) = node.value().as_str() {
        let folder = start.join(path);
        return match folder.is_dir() {
            true => Ok(Mapped::Folder(folder)),
            false => Err(EvaluateError::NoDataFolder { at: node.place().into(), folder }),
        };
    }
    let wrong = || node.wrong_type("a folder, or files by split");
    let splits = node.fields().map_err(|_| wrong())?.all()?;
    if splits.is_empty() {
        return Err(wrong().into());
    }
    let files = |node| files(node, start, options);
    let splits = splits.iter().map(|(split, node)| Ok(((*split).to_owned(), files(node)?)));
    splits.collect::<Result<_, EvaluateError>>().map(Mapped::Files)
}

/// The files of a split: paths, patterns, and folders of which all data files are meant.
fn files(
    node: &Node<'_>,
    start: &Path,
    options: Option<&Node<'_>>,
) -> Result<SplitFiles, EvaluateError> {
    let mut paths = Vec::new();
    let mut are_chosen = true;
    for node in one_or_more(node)? {
        let text = node.text()?;
        let folder = start.join(text);
        let mut found = match folder.is_dir() {
            true => glob::find(&folder, "**").into_iter().filter(|path| is_data(path)).collect(),
            false => glob::named(start, text),
        };
        are_chosen &= !folder.is_dir() && !glob::is_pattern(text);
        if found.is_empty() {
            return Err(EvaluateError::NoDataFile {
                at: node.place().into(),
                path: text.into(),
                folder: start.to_owned(),
                is_start: false,
            });
        }
        paths.append(&mut found);
    }
    SplitFiles::here(&node.place(), paths, are_chosen, |path| Format::of_file(path, options))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A directory with a mapping and files.
    fn directory(text: &str, files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(MAPPING), text).expect("written");
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
            std::fs::write(path, "{}").expect("written");
        }
        directory
    }

    /// What the mapping of a directory says, in one line.
    fn found(directory: &Path, name: &str, config: Option<&str>) -> Result<String, String> {
        let text = format!("dataset_name: {}", config.unwrap_or("null"));
        let task = Document::parse(&text, Path::new("t.yaml")).expect("YAML");
        let config = task.root().fields().expect("fields").get("dataset_name");
        let mapped = Mappings::read(&[directory.to_owned()])
            .and_then(|mappings| mappings.find(name, config.as_ref(), None));
        let inside = |path: &Path| {
            path.strip_prefix(directory).expect("inside").display().to_string().replace('\\', "/")
        };
        let shown = mapped.map(|mapped| match mapped {
            None => "-".to_owned(),
            Some(Mapped::Folder(folder)) => inside(&folder),
            Some(Mapped::Files(splits)) => {
                let shown = splits.iter().map(|(split, files)| match files {
                    SplitFiles::Here { paths, are_chosen, .. } => {
                        let paths: Vec<String> = paths.iter().map(|path| inside(path)).collect();
                        format!("{split}{}{}", if *are_chosen { "=" } else { "~" }, paths.join(","))
                    }
                    SplitFiles::Absent { file, .. } => format!("{split}-{file}"),
                });
                shown.collect::<Vec<_>>().join(" ")
            }
        });
        let folder = format!("{}/", directory.display());
        shown.map_err(|error| error.to_string().replace(&folder, ""))
    }

    const TEXT: &str = "
o/folder: deep
o/files: {train: [a.csv, b.csv], test: 'deep/*.jsonl'}
o/files/other: {test: deep/one.jsonl}
o/configs:
  configs:
    one: {test: a.csv}
    two: deep
o/only: {configs: {one: {dev: deep}}}
";

    #[test]
    fn data_sets_are_folders_or_files_by_split() {
        let files = ["a.csv", "b.csv", "deep/one.jsonl", "deep/two.jsonl", "deep/README.md"];
        let directory = directory(TEXT, &files);
        let found = |name, config| found(directory.path(), name, config).expect("a mapping");
        assert_eq!(found("o/folder", Some("any")), "deep");
        let split = "train=a.csv,b.csv test~deep/one.jsonl,deep/two.jsonl";
        assert_eq!(found("o/files", None), split);
        assert_eq!(found("o/files", Some("any")), split);
        assert_eq!(found("o/files", Some("other")), "test=deep/one.jsonl");
        assert_eq!(found("o/configs", Some("one")), "test=a.csv");
        assert_eq!(found("o/configs", Some("two")), "deep");
        assert_eq!(found("o/only", None), "dev~deep/one.jsonl,deep/two.jsonl");
        assert_eq!(found("o/none", None), "-");
    }

    #[test]
    fn mistakes_have_a_place() {
        let message = |text: &str, config| {
            let directory = directory(text, &["a.csv", "notes.md"]);
            found(directory.path(), "o/n", config).expect_err("a mistake")
        };
        assert_eq!(
            message("o/n: {test: b.csv}", None),
            "datasets.yaml:1:13: o/n.test: there is no data file `b.csv`"
        );
        assert_eq!(
            message("o/n: nowhere", None),
            "datasets.yaml:1:6: o/n: there is no folder `nowhere`"
        );
        assert_eq!(
            message("o/n:\n- a.csv", None),
            "datasets.yaml:2:3: o/n: expected a folder, or files by split, found `[a.csv]`"
        );
        assert_eq!(
            message("o/n: {test: []}", None),
            "datasets.yaml:1:13: o/n.test: expected a path or a list of paths, found an empty list"
        );
        assert_eq!(
            message("o/n: {test: notes.md}", None),
            "datasets.yaml:1:13: o/n.test: `notes.md` is not in JSON, CSV or Parquet"
        );
        assert_eq!(
            message("o/n: {configs: {one: {test: a.csv}}}", Some("two")),
            "t.yaml:1:15: dataset_name: the data set has no configuration `two`; it has `one`"
        );
        assert_eq!(
            message("o/n: {configs: {one: {test: a.csv}}, test: a.csv}", Some("one")),
            "datasets.yaml:1:38: o/n.test: unknown field `test`"
        );
        assert!(message("- o/n", None).contains("expected names of data sets"));
        assert!(message("o/n: {", None).starts_with("datasets.yaml:"));
        let several = message("o/n: {configs: {one: {test: a.csv}, two: {test: a.csv}}}", None);
        assert!(several.contains("has to name one of `one`, `two`"), "{several}");
    }

    proptest! {
        #[test]
        fn arbitrary_mappings_do_not_panic(text in "(o/n|test|configs|a\\.csv|[:{}\\[\\], \n*.-]){0,20}") {
            let directory = directory(&text, &["a.csv"]);
            let _ = found(directory.path(), "o/n", None);
            let _ = found(directory.path(), "o/n", Some("test"));
        }
    }
}

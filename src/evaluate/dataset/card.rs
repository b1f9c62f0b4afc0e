//! A data set's card: the front matter of its `README.md`, which may say which files make up which
//! configuration and split.

use std::path::{Path, PathBuf};

use super::files::one_or_more;
use super::{DEFAULT_SPLIT, SplitFiles, Splits, glob};
use crate::config::yaml::{Document, Node};
use crate::evaluate::EvaluateError;
use crate::evaluate::data::Format;

/// What a card says of a configuration.
#[derive(Debug)]
pub(super) enum Card {
    /// Files by split, here or not.
    Files(Splits),
    /// A folder with the files.
    Folder(PathBuf),
}

/// What the card in `folder` says of the configuration that `config` names, or of the default one;
/// `None` where there is no card or it lists no configurations. `options` are those of the task, and
/// say how files are read.
pub(super) fn read(
    folder: &Path,
    config: Option<&Node<'_>>,
    options: Option<&Node<'_>>,
) -> Result<Option<Card>, EvaluateError> {
    let path = folder.join("README.md");
    let Some(text) = front_matter(&path) else { return Ok(None) };
    let document = Document::parse(&text, &path)?;
    let Some(configs) = document.root().fields()?.get("configs") else { return Ok(None) };
    let configs = configs.items()?;
    let Some(chosen) = choose(&configs, config, &path)? else { return Ok(None) };
    let fields = chosen.fields()?;
    let inner = match fields.get("data_dir") {
        Some(data_dir) => folder.join(data_dir.text()?),
        None => folder.to_owned(),
    };
    match fields.get("data_files") {
        Some(files) => Ok(Some(Card::Files(by_split(&inner, &files, options)?))),
        None if inner != folder => Ok(Some(Card::Folder(inner))),
        None => Ok(None),
    }
}

/// The text between the lines `---`, with the first of these, so that lines keep their numbers.
fn front_matter(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?.replace("\r\n", "\n");
    let end = text.strip_prefix("---\n")?.find("\n---")?;
    Some(text[.."---\n".len() + end + 1].to_owned())
}

/// The configuration that is wanted. Without a name it is the one marked so, the one named `default`,
/// or the only one.
fn choose<'a>(
    configs: &[Node<'a>],
    wanted: Option<&Node<'_>>,
    card: &Path,
) -> Result<Option<Node<'a>>, EvaluateError> {
    let mut names = Vec::new();
    let mut default = None;
    for config in configs {
        let fields = config.fields()?;
        let name = fields.get("config_name").map(|node| node.text().map(str::to_owned));
        let name = name.transpose()?.unwrap_or_else(|| "default".to_owned());
        let is_marked = fields.get("default").map(|node| node.boolean()).transpose()?;
        if wanted.map(Node::text).transpose()? == Some(name.as_str()) {
            return Ok(Some(config.clone()));
        }
        if is_marked == Some(true) || (name == "default" && default.is_none()) {
            default = Some(config.clone());
        }
        names.push(name);
    }
    match (wanted, default, configs) {
        (None, Some(config), _) => Ok(Some(config)),
        (None, None, [config]) => Ok(Some(config.clone())),
        (None, None, []) => Ok(None),
        (None, None, _) => {
            Err(EvaluateError::NoConfigurationNamed { card: card.to_owned(), known: names })
        }
        (Some(wanted), _, _) => Err(EvaluateError::NoConfiguration {
            at: wanted.place().into(),
            name: wanted.text()?.to_owned(),
            known: names,
        }),
    }
}

/// Files of `data_files`: a pattern or several, or such by split, in either form that cards have.
fn by_split(
    folder: &Path,
    data_files: &Node<'_>,
    options: Option<&Node<'_>>,
) -> Result<Splits, EvaluateError> {
    let mut patterns: Vec<(String, Node<'_>)> = Vec::new();
    if data_files.value().is_mapping() {
        let splits = data_files.fields()?.all()?;
        patterns.extend(splits.into_iter().map(|(split, paths)| (split.to_owned(), paths)));
    } else {
        for item in one_or_more(data_files)? {
            if item.value().is_mapping() {
                let fields = item.fields()?;
                let split = fields.require("split")?.text()?.to_owned();
                patterns.push((split, fields.require("path")?));
            } else {
                patterns.push((DEFAULT_SPLIT.to_owned(), item));
            }
        }
    }
    let mut splits = Splits::new();
    for (split, node) in &patterns {
        if !splits.contains_key(split) {
            let of_split = patterns.iter().filter(|(other, _)| other == split);
            let nodes: Vec<&Node<'_>> = of_split.map(|(_, node)| node).collect();
            let files = files_of_split(folder, &nodes, options)?;
            splits.insert(
                split.clone(),
                files.unwrap_or_else(|| SplitFiles::Absent {
                    folder: folder.to_owned(),
                    file: shown(node),
                }),
            );
        }
    }
    Ok(splits)
}

/// The first pattern that is written.
fn shown(node: &Node<'_>) -> String {
    let first = one_or_more(node).ok().and_then(|nodes| nodes.into_iter().next());
    first.and_then(|node| node.text().ok().map(str::to_owned)).unwrap_or_default()
}

/// The files that patterns match; `None` if there are none.
fn files_of_split(
    folder: &Path,
    nodes: &[&Node<'_>],
    options: Option<&Node<'_>>,
) -> Result<Option<SplitFiles>, EvaluateError> {
    let mut paths = Vec::new();
    for node in nodes {
        for pattern in one_or_more(node)? {
            paths.extend(glob::find(folder, pattern.text()?));
        }
    }
    if paths.is_empty() {
        return Ok(None);
    }
    let format_of = |path: &Path| Format::of_file(path, options);
    SplitFiles::here(&nodes[0].place(), paths, false, format_of).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "---
license: mit
configs:
- config_name: one
  data_files:
  - {split: train, path: 'one/train-*'}
  - {split: test, path: ['one/test-*.csv', absent.csv]}
- config_name: two
  data_dir: deep/two
- config_name: three
  default: true
  data_files: {dev: '**/dev.csv'}
---
# Text
";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a directory");
        for name in ["one/train-0.csv", "one/test-1.csv", "one/test-0.csv", "deep/two/dev.csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
            std::fs::write(path, "a\n1\n").expect("written");
        }
        std::fs::write(folder.path().join("README.md"), CARD).expect("written");
        folder
    }

    fn listed(folder: &Path, config: &str) -> Result<Option<Card>, EvaluateError> {
        let text = format!("dataset_name: {config}");
        let task = Document::parse(&text, Path::new("t.yaml")).expect("YAML");
        read(folder, task.root().fields().expect("fields").get("dataset_name").as_ref(), None)
    }

    #[test]
    fn cards_say_which_files_are_of_a_split() {
        let folder = folder();
        let of = |config: &str, split: &str| match listed(folder.path(), config) {
            Ok(Some(Card::Files(splits))) => match &splits[split] {
                SplitFiles::Here { paths, .. } => paths.clone(),
                absent => panic!("{absent:?}"),
            },
            other => panic!("{other:?}"),
        };
        let at = |name: &str| folder.path().join(name);
        assert_eq!(of("one", "train"), [at("one/train-0.csv")]);
        assert_eq!(of("one", "test"), [at("one/test-0.csv"), at("one/test-1.csv")]);
        assert_eq!(of("null", "dev"), [at("deep/two/dev.csv")]);
        let two = listed(folder.path(), "two");
        assert!(matches!(two, Ok(Some(Card::Folder(path))) if path == at("deep/two")));
    }

    #[test]
    fn other_configurations_are_refused_with_those_there_are() {
        let error = listed(folder().path(), "tow").expect_err("not there");
        assert_eq!(
            error.to_string(),
            "t.yaml:1:15: dataset_name: the data set has no configuration `tow`; it has `one`, `two`, \
             `three`"
        );
    }

    #[test]
    fn without_a_card_nothing_is_said() {
        let folder = tempfile::tempdir().expect("a directory");
        assert!(matches!(listed(folder.path(), "one"), Ok(None)));
        std::fs::write(folder.path().join("README.md"), "# Text\n").expect("written");
        assert!(matches!(listed(folder.path(), "one"), Ok(None)));
    }
}

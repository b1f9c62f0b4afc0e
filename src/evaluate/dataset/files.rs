//! Files that a task names: paths, patterns, and addresses of files of data sets.

use std::path::{Path, PathBuf};

use super::places::{folder_of, paths};
use super::{DEFAULT_SPLIT, DataRoots, SplitFiles, Splits, glob, repository};
use crate::config::yaml::Node;
use crate::evaluate::EvaluateError;
use crate::evaluate::data::Format;

/// What addresses of files of data sets begin with.
const ADDRESS: &str = "hf://datasets/";

/// The files that an evaluator lists; the first one's name says their format, and other ones are text.
pub(super) fn listed(
    list: &Node<'_>,
    options: Option<&Node<'_>>,
    roots: &DataRoots,
) -> Result<Splits, EvaluateError> {
    let or_text = |format: Option<Format>| format.or(Some(Format::Text));
    by_split(list, None, roots, &|path| Format::of_file(path, options).map(or_text))
}

/// The files in `data_files`, of a format that the task names.
pub(super) fn of_format(
    data_files: &Node<'_>,
    format: &Format,
    roots: &DataRoots,
) -> Result<Splits, EvaluateError> {
    by_split(data_files, None, roots, &|_| Ok(Some(format.clone())))
}

/// The files in `data_files` that are in the folder of a data set.
pub(super) fn in_folder(
    data_files: &Node<'_>,
    folder: &Path,
    options: Option<&Node<'_>>,
) -> Result<Splits, EvaluateError> {
    let roots = DataRoots::default();
    by_split(data_files, Some(folder), &roots, &|path| Format::of_file(path, options))
}

/// Files by split; all are those of one split if they are not in a mapping. `format_of` says which
/// format the files are in whose first one it is given.
fn by_split(
    data_files: &Node<'_>,
    folder: Option<&Path>,
    roots: &DataRoots,
    format_of: &dyn Fn(&Path) -> Result<Option<Format>, EvaluateError>,
) -> Result<Splits, EvaluateError> {
    let splits = match data_files.value().is_mapping() {
        true => data_files.fields()?.all()?,
        false => vec![(DEFAULT_SPLIT, data_files.clone())],
    };
    let files = |node: &Node<'_>| {
        let (paths, are_chosen) = find_files(node, folder, roots)?;
        SplitFiles::here(&node.place(), paths, are_chosen, format_of)
    };
    splits.iter().map(|(split, node)| Ok(((*split).to_owned(), files(node)?))).collect()
}

/// The files of a split, and whether each of them is named.
fn find_files(
    node: &Node<'_>,
    folder: Option<&Path>,
    roots: &DataRoots,
) -> Result<(Vec<PathBuf>, bool), EvaluateError> {
    let nodes = one_or_more(node)?;
    let files = nodes.iter().map(|node| find_file(node, folder, roots));
    let files = files.collect::<Result<Vec<_>, _>>()?.concat();
    let are_chosen = nodes.iter().all(|node| !node.value().as_str().is_some_and(glob::is_pattern));
    Ok((files, are_chosen))
}

/// A text, or the texts of a list that is not empty.
pub(super) fn one_or_more<'a>(node: &Node<'a>) -> Result<Vec<Node<'a>>, EvaluateError> {
    let nodes = if node.value().is_string() { vec![node.clone()] } else { node.items()? };
    match nodes.is_empty() {
        true => Err(node.wrong_type("a path or a list of paths").into()),
        false => Ok(nodes),
    }
}

/// A data file, or those whose paths a pattern matches, sorted.
fn find_file(
    node: &Node<'_>,
    folder: Option<&Path>,
    roots: &DataRoots,
) -> Result<Vec<PathBuf>, EvaluateError> {
    let text = node.text()?;
    let absent = |folder: PathBuf, is_start: bool| EvaluateError::NoDataFile {
        at: node.place().into(),
        path: text.into(),
        folder,
        is_start,
    };
    let (folder, text) = match (text.strip_prefix(ADDRESS), folder) {
        (None, None) => {
            let places = paths(node, Path::new("")).into_iter();
            let found = places.map(|place| glob::named(&place, text));
            return found
                .into_iter()
                .find(|files| !files.is_empty())
                .ok_or_else(|| absent(folder_of(node), true));
        }
        (None, Some(folder)) => (folder.to_owned(), text),
        (Some(address), _) => {
            let expected = "`hf://datasets/ORGANISATION/NAME/PATH`";
            let address = Address::parse(address).ok_or_else(|| node.wrong_type(expected))?;
            (
                repository::folder(node, &address.name, address.revision.as_deref(), roots)?,
                address.path,
            )
        }
    };
    match glob::named(&folder, text) {
        files if files.is_empty() => Err(absent(folder, false)),
        files => Ok(files),
    }
}

/// A file of a data set, or several.
struct Address<'a> {
    /// The data set's name.
    name: String,
    revision: Option<String>,
    /// The path or pattern in the data set.
    path: &'a str,
}

impl<'a> Address<'a> {
    /// Reads `ORGANISATION/NAME@REVISION/PATH`. A `/` in a revision is written `%2F`, except in those
    /// that begin with `refs/`, which consist of three parts.
    fn parse(text: &'a str) -> Option<Address<'a>> {
        let (organisation, rest) = text.split_once('/')?;
        let end = rest.find(['/', '@'])?;
        let name = format!("{organisation}/{}", &rest[..end]);
        let (revision, path) = match rest[end..].strip_prefix('@') {
            None => (None, &rest[end + 1..]),
            Some(rest) => {
                let n_parts = if rest.starts_with("refs/") { 3 } else { 1 };
                let (end, _) = rest.match_indices('/').nth(n_parts - 1)?;
                (Some(rest[..end].replace("%2F", "/")), &rest[end + 1..])
            }
        };
        (!path.is_empty()).then_some(Address { name, revision, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_name_a_revision_and_a_path() {
        let parts = |text| {
            let Address { name, revision, path } = Address::parse(text)?;
            Some(format!("{name} {} {path}", revision.as_deref().unwrap_or("-")))
        };
        assert_eq!(parts("o/n/a/b.csv").as_deref(), Some("o/n - a/b.csv"));
        assert_eq!(parts("o/n@v1/b.csv").as_deref(), Some("o/n v1 b.csv"));
        assert_eq!(parts("o/n@a%2Fb/b.csv").as_deref(), Some("o/n a/b b.csv"));
        assert_eq!(
            parts("o/n@refs/convert/parquet/c/*").as_deref(),
            Some("o/n refs/convert/parquet c/*")
        );
        assert_eq!(parts("o/n"), None);
        assert_eq!(parts("o/n@v1"), None);
        assert_eq!(parts("o/n/"), None);
    }
}

//! Files that are numbered parts of a whole, `train-00000-of-00002.parquet`.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::glob::file_name;
use crate::evaluate::EvaluateError;

/// The name of a file without its endings and without its number, if it has one.
pub(super) fn name_of_whole(path: &Path) -> String {
    match numbered(path) {
        Some((whole, _)) => file_name(&whole),
        None => file_name(path).split('.').next().unwrap_or_default().to_owned(),
    }
}

/// Refuses parts without the others: fewer documents would give another score.
pub(super) fn are_complete(paths: &[PathBuf]) -> Result<(), EvaluateError> {
    let mut wholes: IndexMap<(PathBuf, usize), Vec<&PathBuf>> = IndexMap::new();
    for path in paths {
        if let Some(whole) = numbered(path) {
            wholes.entry(whole).or_default().push(path);
        }
    }
    match wholes.into_iter().find(|((_, expected), found)| found.len() < *expected) {
        Some(((_, expected), found)) => Err(EvaluateError::MissingParts {
            path: found[0].to_owned(),
            found: found.len(),
            expected,
        }),
        None => Ok(()),
    }
}

/// The path of what a file is a part of, without endings, and the number of its parts.
fn numbered(path: &Path) -> Option<(PathBuf, usize)> {
    let name = path.file_stem()?.to_str()?;
    let (name, count) = name.rsplit_once("-of-")?;
    let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
    let (name, number) = name.rsplit_once(['-', '.'])?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((path.with_file_name(name), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_to_be_complete() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let check = |names: &[&str]| are_complete(&paths(names)).map_err(|error| error.to_string());
        assert_eq!(check(&["d/train-00000-of-00002.csv", "d/train-00001-of-00002.csv"]), Ok(()));
        assert_eq!(check(&["d/a.csv", "d/b-of-c.csv", "d/test-00000-of-00001-0a.parquet"]), Ok(()));
        assert_eq!(
            check(&["d/train-00000-of-00002.csv", "d/test-00001-of-00002.csv"]),
            Err("`d/train-00000-of-00002.csv` is one of 2 files, of which 1 is here".to_owned())
        );
        assert!(check(&["d/c4-train.00000-of-01024.json.gz"]).is_err());
    }

    #[test]
    fn wholes_have_names() {
        let name = |path: &str| name_of_whole(Path::new(path));
        assert_eq!(name("d/test_all-00000-of-00001-0a1b.parquet"), "test_all");
        assert_eq!(name("d/train.00000-of-01024.json.gz"), "train");
        assert_eq!(name("d/dev.jsonl.gz"), "dev");
        assert_eq!(name("d/0000.parquet"), "0000");
    }
}

//! What lies in folders, and files whose paths match a pattern.

use std::path::{Path, PathBuf};

use crate::evaluate::selection::matches;

/// Most folders inside each other that `**` goes through; links may lead round in circles.
const DEEPEST: usize = 16;

/// Whether a path is a pattern.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// The file at a path, or the files that a pattern matches; none if nothing is there. A relative one
/// starts in `folder`, and both may lead outside of it.
pub(super) fn named(folder: &Path, path: &str) -> Vec<PathBuf> {
    if !is_pattern(path) {
        let file = folder.join(path);
        return if file.is_file() { vec![file] } else { Vec::new() };
    }
    let parts: Vec<&str> = path.split('/').collect();
    let n_plain = parts.iter().take_while(|part| !is_pattern(part)).count();
    let mut start = parts[..n_plain].join("/");
    // What is in front of the first `/` of an absolute path is empty.
    start.push_str(if n_plain > 0 { "/" } else { "" });
    find(&folder.join(start), &parts[n_plain..].join("/"))
}

/// The files in `folder` at paths that match `pattern`, sorted within each folder: `*` and `?` stand for
/// characters of a name, `**` for any folders. A pattern leads nowhere outside.
pub(super) fn find(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> =
        pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.contains(&"..") {
        true => Vec::new(),
        false => find_parts(folder, &parts, DEEPEST),
    }
}

fn find_parts(folder: &Path, parts: &[&str], depth: usize) -> Vec<PathBuf> {
    let Some(deeper) = depth.checked_sub(1) else { return Vec::new() };
    let in_folders = |parts: &[&str]| {
        folders_in(folder).into_iter().flat_map(|inner| find_parts(&inner, parts, deeper)).collect()
    };
    match parts {
        [] => Vec::new(),
        ["**"] => [files_in(folder), in_folders(parts)].concat(),
        ["**", rest @ ..] => [find_parts(folder, rest, deeper), in_folders(parts)].concat(),
        [name] => files_like(folder, name),
        [name, rest @ ..] => folders_in(folder)
            .into_iter()
            .filter(|inner| matches(name, &file_name(inner)))
            .flat_map(|inner| find_parts(&inner, rest, deeper))
            .collect(),
    }
}

/// The files in a folder whose names match a pattern with `*` and `?`, sorted.
pub(super) fn files_like(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut files = files_in(folder);
    files.retain(|path| matches(pattern, &file_name(path)));
    files
}

/// The files in a folder, sorted; none if it cannot be read.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    entries_in(folder, Path::is_file)
}

/// The folders in a folder, sorted; none if it cannot be read.
pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    entries_in(folder, Path::is_dir)
}

fn entries_in(folder: &Path, is_wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| is_wanted(path)).collect();
    found.sort();
    found
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_patterns_start_anywhere() {
        let root = tempfile::tempdir().expect("a directory");
        let (folder, other) = (root.path().join("x"), root.path().join("y"));
        for folder in [&folder, &other] {
            std::fs::create_dir(folder).expect("a directory");
            std::fs::write(folder.join("a-0.csv"), "").expect("written");
        }
        let found = |path: &str| named(&folder, path).len();
        assert_eq!((found("a-0.csv"), found("a-1.csv"), found("../y")), (1, 0, 0));
        assert_eq!((found("a-?.csv"), found("../y/*"), found("../*/a*")), (1, 1, 2));
        let absolute = other.join("*.csv").display().to_string();
        assert_eq!(named(&folder, &absolute), [other.join("a-0.csv")]);
    }

    #[test]
    fn patterns_go_through_folders() {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["a.csv", "x/a.csv", "x/y/b.csv", "z/b.csv"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
            std::fs::write(path, "").expect("written");
        }
        let found = |pattern: &str| -> Vec<String> {
            let paths = find(root.path(), pattern).into_iter();
            let inside =
                paths.map(|path| path.strip_prefix(root.path()).expect("inside").to_owned());
            inside.map(|path| path.display().to_string().replace('\\', "/")).collect()
        };
        assert_eq!(found("*.csv"), ["a.csv"]);
        assert_eq!(found("*/?.csv"), ["x/a.csv", "z/b.csv"]);
        assert_eq!(found("**/b.csv"), ["x/y/b.csv", "z/b.csv"]);
        assert_eq!(found("./x/**"), ["x/a.csv", "x/y/b.csv"]);
        assert!(found("../*").is_empty() && found("w/*").is_empty());
    }
}

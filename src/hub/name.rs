//! Names of models on the Hub.

use std::fmt;
use std::path::{Component, Path};

/// Longest name that the Hub gives.
const LONGEST: usize = 96;

/// A model's name on the Hub, `organisation/name`.
///
/// Both parts consist of ASCII letters, digits, `-`, `_` and `.`, and neither begins or ends with `-`
/// or `.`. `--` and `..` do not occur, since the cache joins the parts with `--`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoName(String);

impl RepoName {
    /// The name that `text` is, if it is one. Models without an organisation are not named this way:
    /// their names could not be told from those of directories.
    pub fn parse(text: &str) -> Option<Self> {
        let (organisation, name) = text.split_once('/')?;
        let is_part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty()
                && part.chars().all(plain)
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
        };
        let is_name = is_part(organisation)
            && is_part(name)
            && text.len() <= LONGEST
            && !text.contains("--")
            && !text.contains("..")
            && !text.ends_with(".git");
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the cache calls the model's folder, such as `models--org--name`.
    pub(super) fn folder(&self) -> String {
        folder("models", &self.0)
    }
}

/// What the cache calls the folder of something of a kind, `models` or `datasets`.
pub(super) fn folder(kind: &str, name: &str) -> String {
    format!("{kind}--{}", name.replace('/', "--"))
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` names a branch, a tag or a commit and leads nowhere else as a path: revisions such as
/// `refs/pr/1` have a file of that name in the cache.
pub(super) fn is_revision(text: &str) -> bool {
    is_plain_path(text) && !text.contains('\\') && !text.chars().any(char::is_control)
}

/// Whether a relative path stays below where it begins, and says so in one way only.
pub(super) fn is_plain_path(text: &str) -> bool {
    let mut components = Path::new(text).components();
    !text.is_empty()
        && components.all(|part| matches!(part, Component::Normal(_)))
        && text.split('/').all(|part| !part.is_empty() && part != ".")
}

/// Whether `text` is the whole hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_organisation_and_a_name() {
        for name in ["org/name", "Foo-BAR_foo.bar123/x", "a/b"] {
            assert_eq!(RepoName::parse(name).unwrap().as_str(), name);
        }
        let long = format!("a/{}", "b".repeat(LONGEST));
        for text in [
            "name",
            "/name",
            "org/",
            "a/b/c",
            "./name",
            "../name",
            "org/-x",
            "org/x.",
            "a--b/c",
            "a/b..c",
            "a/b.git",
            "a b/c",
            "~/model",
            "C:\\models",
            &long,
        ] {
            assert_eq!(RepoName::parse(text), None, "{text}");
        }
        assert_eq!(RepoName::parse("org/name").unwrap().folder(), "models--org--name");
    }

    #[test]
    fn revisions_stay_in_their_folder() {
        for text in ["main", "refs/pr/1", "v1.0", "0123abc"] {
            assert!(is_revision(text), "{text}");
        }
        for text in ["", "..", "../main", "/etc", "a//b", "a/./b", "a\\b", "a\nb", "a/"] {
            assert!(!is_revision(text), "{text}");
        }
        assert!(is_commit(&"0a".repeat(20)) && !is_commit(&"0A".repeat(20)) && !is_commit("0a"));
    }
}

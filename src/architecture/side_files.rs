//! Tokenizer and other files that a merged model takes over unchanged.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{ArchitectureError, built_in_definitions};

/// The files of a tokenizer.
pub(crate) const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// What else models of any architecture may have beside weights and `config.json`.
const OTHER_FILES: [&str; 2] = ["generation_config.json", "video_preprocessor_config.json"];

/// The names of the files that [`copy_side_files`] and [`copy_tokenizer`] can copy from `directory`.
pub fn side_files(directory: &Path, more: &[String]) -> Vec<String> {
    let more = more.iter().map(String::as_str);
    existing(directory, TOKENIZER_FILES.into_iter().chain(OTHER_FILES).chain(more))
}

/// The names of the files that [`copy_tokenizer`] can copy from `directory`.
pub fn tokenizer_files(directory: &Path) -> Vec<String> {
    existing(directory, TOKENIZER_FILES.into_iter())
}

/// Every file that models of any built-in or inferred architecture may have beside weights and
/// `config.json`.
pub(crate) fn side_file_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = TOKENIZER_FILES.iter().chain(&OTHER_FILES).copied().collect();
    names.extend(super::infer::SIDE_FILES);
    names.extend(
        built_in_definitions().iter().flat_map(|known| &known.side_files).map(String::as_str),
    );
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// Copies the generation config and the files in `more` from the model directory `donor` to the
/// directory `out`, as far as they exist, but not the tokenizer. Returns their names.
///
/// `more` is usually the [`side_files`](super::ArchitectureDefinition::side_files) of the definition.
/// A file that is there but cannot be read, such as a link that leads nowhere, is an error.
/// Copies are new files: they do not inherit the permissions of a cache.
pub fn copy_side_files(
    donor: &Path,
    out: &Path,
    more: &[String],
) -> Result<Vec<String>, ArchitectureError> {
    let more = more.iter().map(String::as_str).filter(|name| !TOKENIZER_FILES.contains(name));
    copy(donor, out, OTHER_FILES.into_iter().chain(more))
}

/// Copies the files of a tokenizer, as [`copy_side_files`], but for those in `except`.
pub fn copy_tokenizer(
    from: &Path,
    out: &Path,
    except: &[&str],
) -> Result<Vec<String>, ArchitectureError> {
    copy(from, out, TOKENIZER_FILES.into_iter().filter(|name| !except.contains(name)))
}

fn copy<'n>(
    donor: &Path,
    out: &Path,
    names: impl Iterator<Item = &'n str>,
) -> Result<Vec<String>, ArchitectureError> {
    let names = existing(donor, names);
    for name in &names {
        let (from, to) = (donor.join(name), out.join(name));
        let unreadable = |source| ArchitectureError::Read { path: from.clone(), source };
        if !fs::metadata(&from).map_err(unreadable)?.is_file() {
            return Err(ArchitectureError::NotAFile { path: from });
        }
        let mut input = File::open(&from).map_err(unreadable)?;
        File::create(&to)
            .and_then(|mut output| io::copy(&mut input, &mut output))
            .map_err(|source| ArchitectureError::Write { path: to, source })?;
    }
    Ok(names)
}

/// Those of `names` that are taken in `directory`, each once, be it by a link that leads nowhere: the
/// model is incomplete then.
fn existing<'n>(directory: &Path, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let is_there = || match fs::symlink_metadata(directory.join(name)) {
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => true,
        };
        if !found.iter().any(|other| other == name) && is_there() {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_files_are_copied_once_and_weights_are_not() {
        let (donor, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["tokenizer.json", "generation_config.json", "extra.json", "model.safetensors"]
        {
            fs::write(donor.path().join(name), name).unwrap();
        }
        let more = ["extra.json", "tokenizer.json", "extra.json", "absent.json"].map(str::to_owned);
        let copied = copy_side_files(donor.path(), out.path(), &more).unwrap();
        assert_eq!(copied, ["generation_config.json", "extra.json"]);
        assert_eq!(copy_tokenizer(donor.path(), out.path(), &[]).unwrap(), ["tokenizer.json"]);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
        assert_eq!(fs::read(out.path().join("extra.json")).unwrap(), b"extra.json");
    }

    #[test]
    fn side_files_of_all_architectures_are_listed_once() {
        let names = side_file_names();
        for name in ["tokenizer.json", "generation_config.json", "preprocessor_config.json"] {
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn files_that_are_there_but_unreadable_are_named() {
        let (donor, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = donor.path().join("tokenizer.json");
        let message = || {
            let error = copy_tokenizer(donor.path(), out.path(), &[]).unwrap_err();
            assert!(error.is_users_mistake());
            error.to_string()
        };
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
            assert_eq!(message(), format!("cannot read `{}`", path.display()));
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert_eq!(message(), format!("`{}` is not a regular file", path.display()));
    }

    #[test]
    fn some_of_the_tokenizer_can_stay_behind() {
        let (donor, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["tokenizer.json", "tokenizer.model"] {
            fs::write(donor.path().join(name), name).unwrap();
        }
        let copied = copy_tokenizer(donor.path(), out.path(), &["tokenizer.model"]).unwrap();
        assert_eq!(copied, ["tokenizer.json"]);
    }
}

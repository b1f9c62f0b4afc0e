//! Tokenizer and other files that a merged model takes over unchanged.

use std::fs::File;
use std::io;
use std::path::Path;

use super::ArchitectureError;

/// What models of any architecture may have beside weights and `config.json`.
const SIDE_FILES: [&str; 11] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "video_preprocessor_config.json",
];

/// Copies the tokenizer, the generation config and the files in `more` from the model directory
/// `donor` to the directory `out`, as far as they exist, and returns their names.
///
/// `more` is usually the [`side_files`](super::ArchitectureDefinition::side_files) of the definition.
/// Copies are new files: they do not inherit the permissions of a cache.
pub fn copy_side_files(
    donor: &Path,
    out: &Path,
    more: &[String],
) -> Result<Vec<String>, ArchitectureError> {
    let mut copied: Vec<String> = Vec::new();
    for name in SIDE_FILES.into_iter().chain(more.iter().map(String::as_str)) {
        let (from, to) = (donor.join(name), out.join(name));
        if copied.iter().any(|done| done == name) || !from.is_file() {
            continue;
        }
        let mut input =
            File::open(&from).map_err(|source| ArchitectureError::Read { path: from, source })?;
        File::create(&to)
            .and_then(|mut output| io::copy(&mut input, &mut output))
            .map_err(|source| ArchitectureError::Write { path: to, source })?;
        copied.push(name.to_owned());
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn existing_files_are_copied_once_and_weights_are_not() {
        let (donor, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["tokenizer.json", "generation_config.json", "extra.json", "model.safetensors"]
        {
            fs::write(donor.path().join(name), name).unwrap();
        }
        let more = ["extra.json", "tokenizer.json", "absent.json"].map(str::to_owned);
        let copied = copy_side_files(donor.path(), out.path(), &more).unwrap();
        assert_eq!(copied, ["tokenizer.json", "generation_config.json", "extra.json"]);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
        assert_eq!(fs::read(out.path().join("extra.json")).unwrap(), b"extra.json");
    }
}

//! Whether what a journal was begun with is still what is there.
//!
//! A model is known by a digest of its files: their names and lengths, and their contents. Weight
//! files above [`WHOLE_BYTES`] are sampled (the beginning, which is the safetensors header, the end,
//! and blocks evenly spread between), so that a model of a hundred gigabytes takes a moment and a
//! model trained further still gets another digest. Dates and paths do not count.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SearchError;
use super::journal::digest;
use super::record::Header;

/// Files up to this size are read whole.
const WHOLE_BYTES: u64 = 64 << 20;

/// Blocks read of a larger file.
const SAMPLES: u64 = 1024;

/// Size of a block.
const BLOCK_BYTES: u64 = 16 << 10;

/// Endings of the files that make a model.
const MODEL_FILES: [&str; 5] = ["safetensors", "bin", "json", "model", "jinja"];

/// Digest of a text.
pub fn text_digest(text: &str) -> String {
    digest(text.as_bytes())
}

/// Digest of the model in a directory. Files in subdirectories do not count.
pub fn model_digest(directory: &Path) -> Result<String, SearchError> {
    let failed = |path: &Path, source| SearchError::Read { path: path.to_owned(), source };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let path = entry.map_err(|source| failed(directory, source))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| MODEL_FILES.contains(&ending)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash_file(&path, &mut hash).map_err(|source| failed(&path, source))?;
    }
    Ok(digest(&hash.finalize()))
}

fn hash_file(path: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    hash.update(bytes.to_le_bytes());
    if bytes <= WHOLE_BYTES {
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(()),
                length => hash.update(&block[..length]),
            }
        }
    }
    let mut block = vec![0; BLOCK_BYTES as usize];
    for sample in 0..SAMPLES {
        // In 128 bits: the product of a position in a file and a count may not fit into 64.
        let last = u128::from(bytes - BLOCK_BYTES);
        let start = last * u128::from(sample) / u128::from(SAMPLES - 1);
        file.seek(SeekFrom::Start(start as u64))?;
        file.read_exact(&mut block)?;
        hash.update(&block);
    }
    Ok(())
}

/// How `now` differs from `then`, one clause for each difference. The program's version may differ.
/// `file_then` and `file_now` are the search file's texts, to say which line changed.
pub(super) fn differences(
    then: &Header,
    now: &Header,
    file_then: Option<&str>,
    file_now: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    if then.search_file != now.search_file {
        found.push(match file_then.and_then(|text| first_difference(text, file_now)) {
            Some(difference) => format!("the search file changed {difference}"),
            None => "the search file changed".to_owned(),
        });
    }
    if then.seed != now.seed {
        found.push(format!("the seed was {} and is {}", then.seed, now.seed));
    }
    if then.evaluations != now.evaluations {
        let (then, now) = (then.evaluations, now.evaluations);
        found.push(format!("the number of evaluations was {then} and is {now}"));
    }
    for (model, digest) in &now.models {
        match then.models.get(model) {
            None => found.push(format!("model `{model}` was not there")),
            Some(other) if other != digest => found.push(format!("model `{model}` changed")),
            Some(_) => {}
        }
    }
    for (task, identity) in &now.split.tasks {
        match then.split.tasks.get(task) {
            None => found.push(format!("task `{task}` was not there")),
            Some(other) if other != identity => found.push(format!("task `{task}` changed")),
            Some(_) => {}
        }
    }
    if found.is_empty() {
        if (then.split.seed, then.split.fraction) != (now.split.seed, now.split.fraction) {
            found.push("the validation items are divided off in another way".to_owned());
        }
        if then.variables != now.variables {
            found.push("this version of the program reads other variables from it".to_owned());
        }
        if then.objective != now.objective {
            found.push("this version of the program computes another score".to_owned());
        }
    }
    found
}

/// Where two texts begin to differ.
fn first_difference(then: &str, now: &str) -> Option<String> {
    let (mut then, mut now) = (then.lines(), now.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (then.next(), now.next()) {
            (None, None) => return None,
            (then, now) if then == now => {}
            (Some(then), Some(now)) => {
                return Some(format!("in line {line} from `{}` to `{}`", then.trim(), now.trim()));
            }
            (Some(then), None) => {
                return Some(format!("in line {line}: `{}` is gone", then.trim()));
            }
            (None, Some(now)) => return Some(format!("in line {line}: `{}` is new", now.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_digest_knows_contents_and_not_dates_or_places() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, weights: &[u8], notes: &str| {
            let directory = parent.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("model.safetensors"), weights).unwrap();
            fs::write(directory.join("README.md"), notes).unwrap();
            model_digest(&directory).unwrap()
        };
        let first = make("first", &[1, 2, 3], "one");
        assert_eq!(first, make("copy", &[1, 2, 3], "other notes"));
        assert_ne!(first, make("other", &[1, 2, 4], "one"));
        assert!(model_digest(&parent.path().join("absent")).unwrap_err().is_users_mistake());
    }

    #[test]
    fn large_files_are_sampled_from_end_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let file = File::create(&path).unwrap();
        file.set_len(WHOLE_BYTES + 12_345).unwrap();
        let empty = model_digest(directory.path()).unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::End(-1)).unwrap();
        io::Write::write_all(&mut file, &[1]).unwrap();
        assert_ne!(model_digest(directory.path()).unwrap(), empty);
    }

    #[test]
    fn differences_are_named_one_by_one() {
        let then = testing::header();
        let mut now = then.clone();
        assert!(differences(&then, &now, None, "").is_empty());
        now.program = "mergekit 9.9.9".to_owned();
        assert!(differences(&then, &now, None, "").is_empty(), "a new version may continue");
        now.search_file = "other".to_owned();
        now.seed = 8;
        now.evaluations = 30;
        now.models["base"] = "changed".to_owned();
        now.split.tasks["two"].search = 5;
        let found = differences(&then, &now, Some("a: 1\nb: 2"), "a: 1\nb: 3");
        assert_eq!(
            found,
            [
                "the search file changed in line 2 from `b: 2` to `b: 3`",
                "the seed was 7 and is 8",
                "the number of evaluations was 24 and is 30",
                "model `base` changed",
                "task `two` changed",
            ]
        );
    }
}

//! The files of `--output`.

use std::fs;
use std::path::Path;

use crate::checkpoint::OutputDirectory;
use crate::cli::Failure;
use crate::engine::EngineError;
use crate::evaluate::Samples;
use crate::files::{file_name_of, write_atomically};
use crate::report::OutputError;

/// The file with all figures.
pub(super) const RESULTS_FILE: &str = "results.json";

/// Refuses a directory that has results already, before any work is done.
pub(super) fn check_output(output: &Path, overwrite: bool) -> Result<(), Failure> {
    let shown = output.display();
    if output.exists() && !output.is_dir() {
        return Err(Failure::refused(
            format!("cannot write results to `{shown}`: it is no directory"),
            "give `--output` the name of a directory",
        ));
    }
    let entries = fs::read_dir(output).into_iter().flatten().flatten();
    let found = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    match found.filter(|name| is_result(name)).min() {
        Some(name) if !overwrite => Err(Failure::refused(
            format!("`{shown}` already holds `{name}`"),
            "choose another directory for `--output`, or replace what is there with `--overwrite`",
        )),
        _ => Ok(()),
    }
}

/// Whether a file is one that [`write_output`] writes.
fn is_result(name: &str) -> bool {
    name == RESULTS_FILE || (name.starts_with("samples_") && name.ends_with(".jsonl"))
}

/// Writes all files. A new directory appears with all of them; in one that exists each file is replaced
/// as a whole, the results last.
pub(super) fn write_output(
    output: &Path,
    overwrite: bool,
    results: &str,
    samples: &[(String, Samples)],
) -> Result<(), Failure> {
    let is_new = fs::read_dir(output).map_or(true, |mut entries| entries.next().is_none());
    let mut files: Vec<(String, String)> = samples
        .iter()
        .map(|(task, samples)| {
            let lines = samples.lines.iter().map(|line| format!("{line}\n")).collect();
            (format!("samples_{}.jsonl", file_name_of(task)), lines)
        })
        .collect();
    files.push((RESULTS_FILE.to_owned(), results.to_owned()));
    let write = |directory: &Path| -> Result<(), Failure> {
        for (name, text) in &files {
            let path = directory.join(name);
            write_atomically(&path, text.as_bytes())
                .map_err(|source| OutputError::Write { path, source })?;
        }
        Ok(())
    };
    match is_new {
        true => {
            let directory = OutputDirectory::create(output, false).map_err(EngineError::from)?;
            write(directory.path())?;
            directory.commit().map_err(EngineError::from)?;
            Ok(())
        }
        false => {
            check_output(output, overwrite)?;
            write(output)
        }
    }
}

//! Merges language models.

use std::process::ExitCode;

fn main() -> ExitCode {
    mergekit::cli::mergekit()
}

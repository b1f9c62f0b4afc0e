//! Searches for the best merge of language models: `mergekit evolve` under its own name.

use std::process::ExitCode;

fn main() -> ExitCode {
    mergekit::cli::mergekit_evolve()
}

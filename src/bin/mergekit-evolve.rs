//! The program `mergekit-evolve`. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mergekit::cli::evolve_main()
}

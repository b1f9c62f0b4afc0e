//! The program `mergekit-yaml`. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mergekit::cli::yaml_main()
}

//! The program `mergekit`. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mergekit::cli::main()
}

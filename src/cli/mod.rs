//! The room `cli`.

use std::process::ExitCode;

/// `mergekit`.
pub fn mergekit() -> ExitCode {
    ExitCode::SUCCESS
}

/// `mergekit-evolve`.
pub fn mergekit_evolve() -> ExitCode {
    ExitCode::SUCCESS
}

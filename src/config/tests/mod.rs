//! Whole configs: what is read, what is refused and in which words, and what is written.

mod reading;
mod refusing;
mod resolving;
mod warnings;
mod writing;

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(text, Path::new("merge.yml"))
}

fn config(text: &str) -> MergeConfig {
    parse(text).unwrap().config
}

/// The error as the program shows it.
fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(error.is_users_mistake());
    match error.hint() {
        Some(hint) => format!("error: {error}\nhint: {hint}"),
        None => format!("error: {error}"),
    }
}

/// The error in a config that lists one model, with `line` at the top level.
fn refused_with(line: &str) -> String {
    refused(&format!("merge_method: ties\nmodels: [{{model: a}}]\n{line}\n"))
}

/// A config with one parameter of `linear`.
fn with_weight(weight: &str) -> String {
    format!("merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: {weight}\n")
}

fn weight(text: &str) -> Setting {
    let Recipe::Models(models) = config(&with_weight(text)).recipe else { unreachable!() };
    models[0].parameters["weight"].clone()
}

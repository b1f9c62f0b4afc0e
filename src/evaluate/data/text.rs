//! Plain text: every file is a row with one column, `text`.

use std::path::PathBuf;

use serde_json::Value;

use super::{Row, read_text};
use crate::evaluate::EvaluateError;

/// Reads files, each as a row.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Row>, EvaluateError> {
    let row = |path| Ok(Row::from_iter([("text".to_owned(), Value::String(read_text(path)?))]));
    paths.iter().map(|path| row(path)).collect()
}

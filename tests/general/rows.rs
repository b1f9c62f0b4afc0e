//! The rows of the general tasks' data files.

use std::path::Path;

use serde_json::Value;

/// Rows of a data file in `evaluators/general/`.
pub(crate) fn rows(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("evaluators/general").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A field that is text.
pub(crate) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("`{field}` is no text in {row}"))
}

/// The answers to choose from.
pub(crate) fn choices(row: &Value) -> Vec<&str> {
    let choices = row["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice.as_str().unwrap()).collect()
}

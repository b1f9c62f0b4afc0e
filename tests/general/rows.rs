//! What all of these tasks' data files have to keep.

use std::collections::HashSet;
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

/// Examples and items together, after a check that there are enough items and that nothing is
/// asked twice, be it in an example and an item.
pub(crate) fn all_rows(task: &str, asked: &str) -> Vec<Value> {
    let items = rows(&format!("{task}.jsonl"));
    assert!(items.len() >= 100, "{task} has {} items", items.len());
    let mut all = rows(&format!("{task}_examples.jsonl"));
    all.extend(items);
    let mut seen = HashSet::new();
    for row in &all {
        assert!(seen.insert(text(row, asked).to_string()), "asked twice: {row}");
    }
    all
}

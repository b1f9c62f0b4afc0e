//! JSON: lines with an object each, an array of objects, or an object with such an array.
//!
//! A column with whole and fractional numbers becomes one of fractions; a column of dates prints as
//! times.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::{Row, complete, describe, not_empty, read_text};
use crate::evaluate::EvaluateError;

/// Reads files one after the other. `field` is the key of the rows in files that hold one object.
pub(super) fn read(paths: &[PathBuf], field: Option<&str>) -> Result<Vec<Row>, EvaluateError> {
    let mut rows = Vec::new();
    for path in paths {
        rows.append(&mut read_rows(path, field)?);
    }
    let mut rows = complete(rows);
    let columns: Vec<String> = rows.first().map_or(Vec::new(), |row| row.keys().cloned().collect());
    for name in &columns {
        unify(rows.iter_mut().filter_map(|row| row.get_mut(name)).collect());
    }
    Ok(rows)
}

fn read_rows(path: &Path, field: Option<&str>) -> Result<Vec<Row>, EvaluateError> {
    let rows = parse_rows(&read_text(path)?, field).map_err(|problem| EvaluateError::Data {
        path: path.to_owned(),
        line: problem.line,
        column: problem.column,
        problem: problem.text,
    })?;
    not_empty(path, rows)
}

/// Where and how a text is no data; lines and columns from 1.
#[derive(Debug, PartialEq, Eq)]
struct DataProblem {
    line: usize,
    column: usize,
    text: String,
}

impl DataProblem {
    fn of(error: &serde_json::Error, lines_before: usize) -> DataProblem {
        let message = error.to_string();
        let text = match message.rsplit_once(" at line ") {
            Some((text, _)) => text.to_owned(),
            None => message,
        };
        let (line, column) = (error.line().max(1) + lines_before, error.column().max(1));
        DataProblem { line, column, text }
    }

    fn not_an_object(line: usize, found: &Value) -> DataProblem {
        let text = format!("expected an object, found {}", describe(found));
        DataProblem { line, column: 1, text }
    }
}

fn parse_rows(text: &str, field: Option<&str>) -> Result<Vec<Row>, DataProblem> {
    let start = text.trim_start();
    if field.is_none() && !start.starts_with('[') {
        return text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| match serde_json::from_str(line) {
                Ok(Value::Object(row)) => Ok(row),
                Ok(other) => Err(DataProblem::not_an_object(index + 1, &other)),
                Err(error) => Err(DataProblem::of(&error, index)),
            })
            .collect();
    }
    if start.is_empty() {
        return Ok(Vec::new());
    }
    let mut whole: Value =
        serde_json::from_str(text).map_err(|error| DataProblem::of(&error, 0))?;
    if let Some(field) = field {
        whole = match whole.get_mut(field) {
            Some(rows) => rows.take(),
            None => {
                let text = format!("expected an object with the key `{field}`");
                return Err(DataProblem { line: 1, column: 1, text });
            }
        };
    }
    let Value::Array(rows) = whole else {
        let text = format!("expected a list of objects, found {}", describe(&whole));
        return Err(DataProblem { line: 1, column: 1, text });
    };
    rows.into_iter()
        .map(|row| match row {
            Value::Object(row) => Ok(row),
            other => Err(DataProblem::not_an_object(1, &other)),
        })
        .collect()
}

/// Gives the values of one place in all rows one type, as the data format behind the library does:
/// whole numbers beside fractions become fractions, and texts that all are dates become times.
fn unify(values: Vec<&mut Value>) {
    if values.iter().any(|value| value.is_f64()) {
        for value in values {
            if let Some(number) = value.as_f64() {
                *value = Value::from(number);
            }
        }
        return;
    }
    let is_date = |value: &&mut Value| {
        value.is_null() || value.as_str().is_some_and(|text| time(text).is_some())
    };
    if values.iter().all(is_date) {
        for value in values {
            if let Some(time) = value.as_str().and_then(time) {
                *value = Value::from(time);
            }
        }
        return;
    }
    let mut items = Vec::new();
    let mut fields: IndexMap<&String, Vec<&mut Value>> = IndexMap::new();
    for value in values {
        match value {
            Value::Array(array) => items.extend(array.iter_mut()),
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    fields.entry(key).or_default().push(value);
                }
            }
            _ => {}
        }
    }
    if !items.is_empty() {
        unify(items);
    }
    for (_, values) in fields {
        unify(values);
    }
}

/// A date (`2024-01-02`) or a date and time of day (`2024-01-02T03:04:05`) as Python prints times;
/// `None` for any other text.
fn time(text: &str) -> Option<String> {
    let matches = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                _ => byte == wanted,
            })
    };
    let (date, rest) = text.split_at_checked("0000-00-00".len())?;
    let number = |range| date.get::<std::ops::Range<usize>>(range)?.parse::<u32>().ok();
    let is_date = matches(date, "0000-00-00")
        && (1..=12).contains(&number(5..7)?)
        && (1..=31).contains(&number(8..10)?);
    let of_day = rest.strip_prefix([' ', 'T']).unwrap_or(rest);
    let of_day = match of_day.len() {
        0 if rest.is_empty() => "00:00:00".to_owned(),
        _ if rest.len() == of_day.len() => return None,
        5 if matches(of_day, "00:00") => format!("{of_day}:00"),
        8 if matches(of_day, "00:00:00") => of_day.to_owned(),
        _ => return None,
    };
    is_date.then(|| format!("{date} {of_day}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        super::super::testing::write("data.jsonl", text.as_bytes())
    }

    fn rows(text: &str, field: Option<&str>) -> Vec<Value> {
        let (_directory, path) = write(text);
        read(&[path], field).expect("data").into_iter().map(Value::Object).collect()
    }

    #[test]
    fn lines_arrays_and_fields_give_rows() {
        let expected = [json!({"a": 1}), json!({"a": 2})];
        assert_eq!(rows("{\"a\": 1}\n\n{\"a\": 2}\n", None), expected);
        assert_eq!(rows(" [{\"a\": 1},\n {\"a\": 2}]", None), expected);
        assert_eq!(rows("{\"rows\": [{\"a\": 1}, {\"a\": 2}]}", Some("rows")), expected);
    }

    #[test]
    fn absent_columns_are_null_and_mixed_numbers_become_fractions() {
        let text = "{\"a\": 1, \"l\": [1]}\n{\"b\": \"x\", \"a\": 0.5, \"l\": [2.5]}\n";
        assert_eq!(
            rows(text, None),
            [json!({"a": 1.0, "l": [1.0], "b": null}), json!({"a": 0.5, "l": [2.5], "b": "x"}),]
        );
    }

    #[test]
    fn a_column_of_dates_prints_as_times() {
        let text = "{\"d\": \"2024-01-02\", \"x\": \"2024-01-02\"}\n\
                    {\"d\": \"2024-01-02T03:04\", \"x\": \"soon\"}\n";
        assert_eq!(
            rows(text, None),
            [
                json!({"d": "2024-01-02 00:00:00", "x": "2024-01-02"}),
                json!({"d": "2024-01-02 03:04:00", "x": "soon"}),
            ]
        );
        assert_eq!(time("2024-13-02"), None);
        assert_eq!(time("2024-01-02 "), None);
        assert_eq!(time("2024-01-0é"), None);
    }

    #[test]
    fn a_broken_line_is_named() {
        let (_directory, path) = write("{\"a\": 1}\n{\"a\": }\n");
        let message = read(std::slice::from_ref(&path), None).expect_err("broken").to_string();
        assert_eq!(message, format!("{}:2:7: not valid data: expected value", path.display()));
        let (_directory, path) = write("{\"a\": 1}\n7\n");
        let message = read(std::slice::from_ref(&path), None).expect_err("no object").to_string();
        assert_eq!(
            message,
            format!("{}:2:1: not valid data: expected an object, found `7`", path.display())
        );
    }

    #[test]
    fn an_empty_file_is_an_error() {
        let (_directory, path) = write("\n\n");
        assert!(matches!(read(&[path], None), Err(EvaluateError::NoDocuments { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (_directory, path) = write("");
            std::fs::write(&path, bytes).expect("written");
            let _ = read(std::slice::from_ref(&path), None);
            let _ = read(&[path], Some("a"));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_json_does_not_panic(text in "[\\[\\]{}\",:a0-9.eE\\- \n]{0,60}") {
            let _ = parse_rows(&text, None);
            let _ = parse_rows(&text, Some("a"));
        }
    }
}

//! CSV, with the types that pandas gives to columns.
//!
//! A column is one of whole numbers, of numbers, of booleans or else of texts; an empty field, `NA`,
//! `null` and their like are null. Whole numbers beside nulls are fractions, as they are in pandas.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::{Row, not_empty, read_text};
use crate::config::yaml::{Fields, YamlError};
use crate::evaluate::EvaluateError;

/// Names of the options.
pub(super) const OPTIONS: [&str; 5] = ["sep", "delimiter", "header", "column_names", "names"];

/// Fields that are null.
const NULLS: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// How a file is divided.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct CsvOptions {
    separator: u8,
    /// Names of the columns; those in the first line if `None`.
    names: Option<Vec<String>>,
    /// Whether the first line is no row.
    has_header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { separator: b',', names: None, has_header: true }
    }
}

impl CsvOptions {
    /// The same, but for tabs where commas would divide values.
    pub(super) fn with_tabs(self) -> CsvOptions {
        let separator = if self.separator == b',' { b'\t' } else { self.separator };
        CsvOptions { separator, ..self }
    }

    /// Reads the options of a task.
    pub(super) fn parse(fields: &Fields<'_>) -> Result<CsvOptions, EvaluateError> {
        let separator = match fields.get("sep").or_else(|| fields.get("delimiter")) {
            None => b',',
            Some(node) => match node.text()?.as_bytes() {
                [byte] if byte.is_ascii() => *byte,
                _ => return Err(node.wrong_type("a single character of ASCII").into()),
            },
        };
        let names = match fields.get("column_names").or_else(|| fields.get("names")) {
            None => None,
            Some(list) => {
                let names = list.items()?;
                let names = names.iter().map(|name| name.text().map(str::to_owned));
                Some(names.collect::<Result<Vec<_>, YamlError>>()?)
            }
        };
        // An explicit `null` says that there is no header, which is not what its absence says.
        let all = fields.all()?;
        let header = all.iter().find(|(name, _)| *name == "header").map(|(_, node)| node);
        let has_header = match header {
            None => names.is_none(),
            Some(node) if node.value().as_str() == Some("infer") => names.is_none(),
            Some(node) if node.is_null() => false,
            Some(node) if node.value().as_u64() == Some(0) => true,
            Some(node) => return Err(node.wrong_type("`0`, `infer` or `null`").into()),
        };
        Ok(CsvOptions { separator, names, has_header })
    }
}

/// Reads files one after the other.
pub(super) fn read(paths: &[PathBuf], options: &CsvOptions) -> Result<Vec<Row>, EvaluateError> {
    let mut columns: IndexMap<String, Vec<Option<String>>> = IndexMap::new();
    let mut n_rows = 0;
    for path in paths {
        let table = Table::read(path, options)?;
        not_empty(path, vec![Row::new(); table.rows.len()])?;
        for (index, name) in table.names.iter().enumerate() {
            let column = columns.entry(name.clone()).or_default();
            column.resize(n_rows, None);
            column.extend(table.rows.iter().map(|row| row.get(index).cloned().flatten()));
        }
        n_rows += table.rows.len();
    }
    let mut rows = vec![Row::new(); n_rows];
    for (name, mut fields) in columns {
        fields.resize(n_rows, None);
        for (row, value) in rows.iter_mut().zip(typed(fields)) {
            row.insert(name.clone(), value);
        }
    }
    Ok(rows)
}

/// A file's fields.
struct Table {
    names: Vec<String>,
    /// Short rows lack their last fields.
    rows: Vec<Vec<Option<String>>>,
}

impl Table {
    fn read(path: &Path, options: &CsvOptions) -> Result<Table, EvaluateError> {
        let text = read_text(path)?;
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(options.separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let problem = |line: u64, problem: String| EvaluateError::Data {
            path: path.to_owned(),
            line: usize::try_from(line).unwrap_or(usize::MAX),
            column: 1,
            problem,
        };
        let mut names = options.names.clone();
        let mut skips_header = options.has_header;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(1, ::csv::Position::line);
                problem(line, error.to_string())
            })?;
            // Lines of spaces are no rows.
            if record.len() == 1 && record[0].trim_matches([' ', '\t']).is_empty() {
                continue;
            }
            if skips_header {
                skips_header = false;
                names.get_or_insert_with(|| header(record.iter()));
                continue;
            }
            let names =
                names.get_or_insert_with(|| (0..record.len()).map(|n| n.to_string()).collect());
            if record.len() > names.len() {
                let line = record.position().map_or(1, ::csv::Position::line);
                let (found, known) = (record.len(), names.len());
                return Err(problem(line, format!("{found} fields for {known} columns")));
            }
            let field = |field: &str| (!NULLS.contains(&field)).then(|| field.to_owned());
            rows.push(record.iter().map(field).collect());
        }
        Ok(Table { names: names.unwrap_or_default(), rows })
    }
}

/// Names of columns, made different as pandas does.
fn header<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, field) in fields.enumerate() {
        let name = if field.is_empty() { format!("Unnamed: {index}") } else { field.to_owned() };
        let mut unique = name.clone();
        let mut count = 0;
        while names.contains(&unique) {
            count += 1;
            unique = format!("{name}.{count}");
        }
        names.push(unique);
    }
    names
}

/// The values of a column, in the first type that all of its fields have.
fn typed(fields: Vec<Option<String>>) -> Vec<Value> {
    let has_null = fields.contains(&None);
    let all = |parse: fn(&str) -> Option<Value>| -> Option<Vec<Value>> {
        let value = |field: &Option<String>| match field {
            Some(field) => parse(field),
            None => Some(Value::Null),
        };
        fields.iter().map(value).collect()
    };
    let whole = if has_null { None } else { all(whole_number) };
    let typed = whole.or_else(|| all(number)).or_else(|| all(boolean));
    typed.unwrap_or_else(|| fields.into_iter().map(Value::from).collect())
}

fn whole_number(field: &str) -> Option<Value> {
    let field = field.trim_matches(' ');
    let whole = field.parse::<i64>().map(Value::from);
    whole.or_else(|_| field.parse::<u64>().map(Value::from)).ok()
}

/// A fraction; JSON has no infinity, but a text prints like it.
fn number(field: &str) -> Option<Value> {
    let number: f64 = field.trim_matches(' ').parse().ok()?;
    match number {
        f64::INFINITY if field.contains(['i', 'I']) => Some(Value::from("inf")),
        f64::NEG_INFINITY if field.contains(['i', 'I']) => Some(Value::from("-inf")),
        number if number.is_nan() => None,
        number => serde_json::Number::from_f64(number).map(Value::Number),
    }
}

fn boolean(field: &str) -> Option<Value> {
    match field {
        "True" | "TRUE" | "true" => Some(Value::Bool(true)),
        "False" | "FALSE" | "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::write;
    use super::*;
    use crate::config::yaml::Document;

    fn options(yaml: &str) -> Result<CsvOptions, EvaluateError> {
        let document = Document::parse(yaml, Path::new("task.yaml"))?;
        CsvOptions::parse(&document.root().fields()?)
    }

    // What the `datasets` library makes of files; see tests/golden/evaluate/tables.py.
    #[test]
    fn types_are_those_of_pandas() {
        let text = include_str!("../../../tests/golden/evaluate/tables.json");
        let cases: Vec<Value> = serde_json::from_str(text).expect("golden data");
        for case in cases {
            let yaml = serde_json::to_string(&case["options"]).expect("options");
            let (_directory, path) =
                write("t.csv", case["text"].as_str().expect("text").as_bytes());
            let rows = read(&[path], &options(&yaml).expect("options")).expect("rows");
            let rows = Value::from(rows.into_iter().map(Value::Object).collect::<Vec<_>>());
            // The order of columns counts, too.
            assert_eq!(rows.to_string(), case["rows"].to_string(), "{case}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| {
            let (_directory, path) = write("t.csv", text.as_bytes());
            let options = options("{}").expect("options");
            let error = read(std::slice::from_ref(&path), &options).expect_err("a mistake");
            error.to_string().replace(&path.display().to_string(), "t.csv")
        };
        assert_eq!(message("a\n1\n1,2\n"), "t.csv:3:1: not valid data: 2 fields for 1 columns");
        assert_eq!(message("a,b\n"), "`t.csv` has no documents");
        let message = |yaml| options(yaml).expect_err("a mistake").to_string();
        assert_eq!(
            message("sep: ab"),
            "task.yaml:1:6: sep: expected a single character of ASCII, found `ab`"
        );
        assert_eq!(
            message("header: 2"),
            "task.yaml:1:9: header: expected `0`, `infer` or `null`, found `2`"
        );
    }

    #[test]
    fn files_of_a_split_share_their_types() {
        let (_one, first) = write("a.csv", b"a,b\n1,x\n");
        let (_two, second) = write("b.csv", b"b,a\ny,2.5\n");
        let rows = read(&[first, second], &options("{}").expect("options")).expect("rows");
        let rows: Vec<String> =
            rows.into_iter().map(|row| Value::Object(row).to_string()).collect();
        assert_eq!(rows, [r#"{"a":1.0,"b":"x"}"#, r#"{"a":2.5,"b":"y"}"#]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (_directory, path) = write("t.csv", &bytes);
            let _ = read(&[path], &options("{}").expect("options"));
        }
    }
}

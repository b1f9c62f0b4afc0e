//! Documents of a task, from JSON, CSV or Parquet files, as the `datasets` library reads them; JSON and
//! CSV also packed with gzip.
//!
//! Every row has every column; a value that a row lacks is null. Which type a column has is worked out
//! from all its values, format by format, and shows in prompts: `1` prints as `1.0` beside fractions.
//! Documents are numbered from 0 in the order of the files.

mod csv;
mod json;
mod parquet;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use indexmap::IndexSet;
use minijinja::value::{Serde, merge_maps};
use serde_json::{Map, Value};

use self::csv::CsvOptions;
use super::EvaluateError;
use crate::config::yaml::Node;

/// How data files are written.
#[derive(Debug, Clone)]
pub(super) enum Format {
    /// Lines with an object each, or an array of objects; `field` is the key of the rows in files that
    /// hold one object.
    Json {
        /// The key.
        field: Option<String>,
    },
    /// Values between separators.
    Csv(CsvOptions),
    /// Columns in Apache Parquet.
    Parquet,
    /// A text in each file.
    Text,
}

/// Options of a task that say where its files are or how they are fetched, not how they are read.
const COMMON_OPTIONS: [&str; 9] = [
    "cache_dir",
    "data_files",
    "download_mode",
    "keep_in_memory",
    "num_proc",
    "revision",
    "streaming",
    "trust_remote_code",
    "verification_mode",
];

impl Format {
    /// A format by its name in `dataset_path`, with the options in `dataset_kwargs`; `None` if there is
    /// no such format.
    pub(super) fn named(
        name: &str,
        options: Option<&Node<'_>>,
    ) -> Result<Option<Format>, EvaluateError> {
        let fields = options.map(Node::fields).transpose()?;
        let only = |known: &[&str]| match &fields {
            Some(fields) => fields.only(&[&COMMON_OPTIONS[..], known].concat()),
            None => Ok(()),
        };
        Ok(Some(match name {
            "json" => {
                only(&["field"])?;
                let field = fields.and_then(|fields| fields.get("field"));
                Format::Json {
                    field: field.map(|node| node.text().map(str::to_owned)).transpose()?,
                }
            }
            "csv" => {
                only(&csv::OPTIONS)?;
                let options = fields.as_ref().map(CsvOptions::parse).transpose()?;
                Format::Csv(options.unwrap_or_default())
            }
            "parquet" => {
                only(&[])?;
                Format::Parquet
            }
            _ => return Ok(None),
        }))
    }

    /// The format that the name of a file says it has, with the options in `dataset_kwargs`. Text may be
    /// packed with gzip, as `.jsonl.gz`.
    pub(super) fn of_file(
        path: &Path,
        options: Option<&Node<'_>>,
    ) -> Result<Option<Format>, EvaluateError> {
        let is_packed = path.extension().is_some_and(|extension| extension == "gz");
        let name = if is_packed { path.with_extension("") } else { path.to_owned() };
        let extension = name.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default() {
            "parquet" if is_packed => Ok(None),
            "json" | "jsonl" => Format::named("json", options),
            "tsv" => Format::named("csv", options).map(|format| format.map(Format::with_tabs)),
            other => Format::named(other, options),
        }
    }

    /// The same, but for tabs where commas would divide values.
    fn with_tabs(self) -> Format {
        match self {
            Format::Csv(options) => Format::Csv(options.with_tabs()),
            other => other,
        }
    }

    /// Whether both are read alike, options aside.
    pub(super) fn is_same_kind(&self, other: &Format) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A row of a data set.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// Values by column.
    pub(super) columns: Map<String, Value>,
    /// The same as variables of templates.
    pub(super) variables: minijinja::Value,
}

/// The variable with the names of columns that a document has, but whose values were not read. No
/// template can name it.
pub(super) const LEFT_OUT: &str = "columns left out";

impl Document {
    /// A document with these columns.
    pub(super) fn new(columns: Map<String, Value>) -> Document {
        let variables = minijinja::Value::from(Serde(&columns));
        Document { columns, variables }
    }

    /// The same, with columns whose values were not read.
    fn with_left_out(self, left_out: &BTreeSet<String>) -> Document {
        if left_out.is_empty() {
            return self;
        }
        let names: minijinja::Value = left_out.iter().map(String::as_str).collect();
        let left_out = minijinja::Value::from(BTreeMap::from([(LEFT_OUT, names)]));
        Document { variables: merge_maps([self.variables, left_out]), ..self }
    }
}

/// Two documents are equal when all their columns are.
impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.columns == other.columns
    }
}

/// The rows of one split, and the names of its columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Split {
    pub(super) documents: Vec<Document>,
    pub(super) columns: HashSet<String>,
}

impl Split {
    /// Reads the files of a split one after the other.
    pub(super) fn read(paths: &[PathBuf], format: &Format) -> Result<Split, EvaluateError> {
        let whole = |rows: Vec<Row>| Rows { rows, left_out: BTreeSet::new() };
        let Rows { rows, left_out } = match format {
            Format::Json { field } => whole(json::read(paths, field.as_deref())?),
            Format::Csv(options) => whole(csv::read(paths, options)?),
            Format::Parquet => parquet::read(paths)?,
            Format::Text => whole(text::read(paths)?),
        };
        let columns = rows.first().map(|row| row.keys().cloned().collect()).unwrap_or_default();
        let document = |row| Document::new(row).with_left_out(&left_out);
        Ok(Split { documents: rows.into_iter().map(document).collect(), columns })
    }
}

/// A row before it is a document.
type Row = Map<String, Value>;

/// The rows of some files, and the names of columns whose values are not read.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    left_out: BTreeSet<String>,
}

/// Gives every row every column of any row, in one order: what is equal then also prints alike.
fn complete(rows: Vec<Row>) -> Vec<Row> {
    let columns: IndexSet<String> = rows.iter().flat_map(|row| row.keys().cloned()).collect();
    let complete = |mut row: Row| {
        let mut value = |name: &String| row.swap_remove(name).unwrap_or(Value::Null);
        columns.iter().map(|name| (name.clone(), value(name))).collect()
    };
    rows.into_iter().map(complete).collect()
}

/// What files packed with gzip begin with; no text does.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The contents of a file, unpacked if it is packed with gzip.
fn read_bytes(path: &Path) -> Result<Vec<u8>, EvaluateError> {
    let bytes = std::fs::read(path)
        .map_err(|source| EvaluateError::Read { path: path.to_owned(), source })?;
    if !bytes.starts_with(GZIP) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    match MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked) {
        Ok(_) => Ok(unpacked),
        Err(source) => Err(EvaluateError::Gzip { path: path.to_owned(), source }),
    }
}

/// The contents of a file of text, without a byte order mark.
fn read_text(path: &Path) -> Result<String, EvaluateError> {
    let text = String::from_utf8(read_bytes(path)?)
        .map_err(|_| EvaluateError::DataNotText { path: path.to_owned() })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// Rows, of which there has to be one.
fn not_empty(path: &Path, rows: Vec<Row>) -> Result<Vec<Row>, EvaluateError> {
    match rows.is_empty() {
        true => Err(EvaluateError::NoDocuments { path: path.to_owned() }),
        false => Ok(rows),
    }
}

/// A value in a message: short ones as they are, long ones by their kind.
pub(super) fn describe(value: &Value) -> String {
    let shown = value.to_string();
    if shown.chars().count() <= 60 {
        return format!("`{shown}`");
    }
    match value {
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        _ => "a long text",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("packed");
        encoder.finish().expect("packed")
    }

    #[test]
    fn packed_files_are_unpacked() {
        // Two packed parts after each other are one text, as for gzip.
        let bytes = [packed("a,b\n1,x\n"), packed("2,y\n")].concat();
        let (_directory, path) = testing::write("t.csv.gz", &bytes);
        let format = Format::of_file(&path, None).expect("no options").expect("a format");
        let split = Split::read(&[path], &format).expect("rows");
        assert_eq!(split.documents[1].columns["b"], "y");
    }

    #[test]
    fn names_say_the_format_packed_or_not() {
        let of = |name: &str| Format::of_file(Path::new(name), None).expect("no options");
        assert!(matches!(of("a.jsonl.gz"), Some(Format::Json { .. })));
        assert!(matches!(of("a.tsv.gz"), Some(Format::Csv(_))));
        assert!(matches!(of("a.parquet"), Some(Format::Parquet)));
        assert!(of("a.parquet.gz").is_none() && of("a.gz").is_none());
    }

    #[test]
    fn damaged_packed_files_are_errors() {
        let whole = packed("a,b\n1,x\n");
        for length in 2..whole.len() {
            let (_directory, path) = testing::write("t.csv.gz", &whole[..length]);
            let error =
                Split::read(std::slice::from_ref(&path), &Format::Csv(CsvOptions::default()))
                    .expect_err("cut off");
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("`{}` cannot be unpacked: ", path.display()))
            );
        }
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A file with some contents, in a directory that is removed with it.
    pub(super) fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        (directory, path)
    }
}

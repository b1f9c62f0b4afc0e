//! The JSON files beside `tokenizer.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::TokenizerError;

/// The fields of a JSON file, if it exists.
pub(crate) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, TokenizerError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TokenizerError::Read { path: path.to_owned(), source }),
    };
    let not_an_object = |source| TokenizerError::NotAnObject { path: path.to_owned(), source };
    match serde_json::from_str(&text).map_err(|error| not_an_object(Some(error)))? {
        Value::Object(fields) => Ok(Some(fields)),
        _ => Err(not_an_object(None)),
    }
}

/// Writes the fields of a JSON file.
pub(super) fn write_object(
    path: PathBuf,
    fields: Map<String, Value>,
) -> Result<(), TokenizerError> {
    write(path, &format!("{:#}\n", Value::Object(fields)))
}

/// Writes a file.
pub(super) fn write(path: PathBuf, text: &str) -> Result<(), TokenizerError> {
    fs::write(&path, text).map_err(|source| TokenizerError::Write { path, source })
}

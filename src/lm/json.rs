//! Typed access to the fields of a config.json whose numbers are not trusted.
//!
//! A field that is null counts as absent, as in transformers.

use serde_json::Value;

use super::error::LmError;

/// Largest size that is believed. Real models stay far below; it keeps products of two sizes far
/// from overflow, so that untrusted numbers end in an error about a shape.
const LARGEST_SIZE: u64 = 1 << 28;

/// The object whose fields are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Value,
    /// Path of the object in the file, with a dot behind it; empty for the file itself.
    path: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of a file.
    pub(super) fn new(config: &'a Value) -> Self {
        Self { object: config, path: "" }
    }

    /// The fields of an object inside of the file; `path` ends with a dot.
    pub(super) fn inside(object: &'a Value, path: &'static str) -> Self {
        Self { object, path }
    }

    /// The value of a field.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there, be it null.
    pub(super) fn mentions(&self, field: &str) -> bool {
        self.object.get(field).is_some()
    }

    /// A size that has to be there: a whole number from 1 to 2²⁸.
    pub(super) fn size(&self, field: &str) -> Result<usize, LmError> {
        self.optional_size(field)?.ok_or_else(|| self.missing(field))
    }

    /// A size, or `default`.
    pub(super) fn size_or(&self, field: &str, default: usize) -> Result<usize, LmError> {
        Ok(self.optional_size(field)?.unwrap_or(default))
    }

    /// A size that may be absent.
    pub(super) fn optional_size(&self, field: &str) -> Result<Option<usize>, LmError> {
        self.get(field).map(|value| self.whole_number(value, field, 1)).transpose()
    }

    /// A whole number from 0 to 2²⁸, or `default`.
    pub(super) fn count_or(&self, field: &str, default: usize) -> Result<usize, LmError> {
        self.get(field).map_or(Ok(default), |value| self.whole_number(value, field, 0))
    }

    /// The first of several names of one size that is there.
    pub(super) fn size_of(&self, names: &[&str]) -> Result<usize, LmError> {
        match names.iter().find(|name| self.get(name).is_some()) {
            Some(name) => self.size(name),
            None => Err(self.missing(names[0])),
        }
    }

    fn whole_number(&self, value: &Value, field: &str, least: u64) -> Result<usize, LmError> {
        value
            .as_u64()
            .filter(|number| (least..=LARGEST_SIZE).contains(number))
            .map(|number| number as usize)
            .ok_or_else(|| {
                self.invalid(field, value, format!("a whole number from {least} to {LARGEST_SIZE}"))
            })
    }

    /// A finite number above 0, or `default`.
    pub(super) fn positive_or(&self, field: &str, default: f64) -> Result<f64, LmError> {
        Ok(self.optional_positive(field)?.unwrap_or(default))
    }

    /// A finite number above 0 that has to be there.
    pub(super) fn positive(&self, field: &str) -> Result<f64, LmError> {
        self.optional_positive(field)?.ok_or_else(|| self.missing(field))
    }

    /// A finite number above 0 that may be absent.
    pub(super) fn optional_positive(&self, field: &str) -> Result<Option<f64>, LmError> {
        self.get(field)
            .map(|value| {
                value
                    .as_f64()
                    .filter(|number| number.is_finite() && *number > 0.0)
                    .ok_or_else(|| self.invalid(field, value, "a number above 0".to_owned()))
            })
            .transpose()
    }

    /// The same, where 0 counts as absent, too.
    pub(super) fn nonzero(&self, field: &str) -> Result<Option<f64>, LmError> {
        match self.get(field).and_then(Value::as_f64) {
            Some(0.0) => Ok(None),
            _ => self.optional_positive(field),
        }
    }

    /// A list of `length` finite numbers above 0 that has to be there.
    pub(super) fn positive_list(&self, field: &str, length: usize) -> Result<Vec<f64>, LmError> {
        let value = self.get(field).ok_or_else(|| self.missing(field))?;
        let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| {
            list.iter().map(|v| v.as_f64().filter(|n| n.is_finite() && *n > 0.0)).collect()
        });
        numbers.filter(|numbers| numbers.len() == length).ok_or_else(|| {
            self.invalid(field, value, format!("a list of {length} numbers above 0"))
        })
    }

    /// Whether a field is set, or `default`.
    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool, LmError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(self.invalid(field, other, "true or false".to_owned())),
        }
    }

    /// A text that may be absent.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, LmError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.invalid(field, other, "a text".to_owned())),
        }
    }

    /// For each layer the name that the list `field` gives it; `None` if there is no such list.
    pub(super) fn names_of_layers(
        &self,
        field: &str,
        layers: usize,
    ) -> Result<Option<Vec<&'a str>>, LmError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let names: Option<Vec<&str>> =
            value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        match names.filter(|names| names.len() == layers) {
            Some(names) => Ok(Some(names)),
            None => {
                Err(self.invalid(field, value, format!("a list of {layers} names, one per layer")))
            }
        }
    }

    /// The error for a field that has to be there.
    pub(super) fn missing(&self, field: &str) -> LmError {
        LmError::MissingField { field: format!("{}{field}", self.path) }
    }

    /// The error for a value that makes no sense.
    pub(super) fn invalid(&self, field: &str, value: &Value, expected: String) -> LmError {
        LmError::InvalidField {
            field: format!("{}{field}", self.path),
            value: shortened(value),
            expected,
        }
    }

    /// The error for a setting that is not computed.
    pub(super) fn unsupported(&self, field: &str, value: &Value) -> LmError {
        LmError::UnsupportedSetting {
            field: format!("{}{field}", self.path),
            value: shortened(value),
        }
    }
}

/// A value for an error message: as in the file, without quotes, at most a line long.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

//! YAML documents whose mistakes have a line and a column.
//!
//! A [`Document`] is the parsed text. A [`Node`] is a value in it that knows its path, so that every
//! file of the program (merge configs, search files, tasks) is read with the same words for the
//! same mistakes. Positions cost nothing until one is asked for: [`Document::place`] then reads the
//! text a second time.
//!
//! Merge keys (`<<`) are applied, aliases expanded, repeated keys refused. Where a boolean is
//! expected, YAML 1.1's `yes`, `no`, `on` and `off` are booleans; where a number is expected,
//! quoted numbers are numbers.

mod closest;
mod error;
mod node;
mod place;
mod positions;
mod words;

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

pub use closest::closest;
pub use error::{YamlError, did_you_mean};
pub use node::{Fields, Node, as_boolean, as_number, describe};
pub use place::{FieldPath, Place, Step};
use positions::{Position, Positions, narrow};
pub use words::{boolean_of, number_of, whole_of};

/// A YAML document, and the text it comes from.
#[derive(Debug, Clone)]
pub struct Document {
    file: Option<PathBuf>,
    /// Empty when there is none.
    text: String,
    value: Value,
}

impl Document {
    /// Reads a file that holds one document.
    pub fn read(path: &Path) -> Result<Self, YamlError> {
        let bytes = std::fs::read(path)
            .map_err(|source| YamlError::Read { path: path.to_owned(), source })?;
        let text =
            String::from_utf8(bytes).map_err(|_| YamlError::NotText { path: path.to_owned() })?;
        Self::parse(&text, path)
    }

    /// Parses a text; `file` is its name in places.
    pub fn parse(text: &str, file: &Path) -> Result<Self, YamlError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document =
            Self { file: Some(file.to_owned()), text: text.to_owned(), value: Value::Null };
        document.value =
            serde_yaml::from_str(text).map_err(|error| document.syntax_error(&error))?;
        let merged = merge_keys(std::mem::take(&mut document.value), &FieldPath::default());
        document.value = merged.map_err(|(path, found)| YamlError::WrongType {
            at: document.place(&path),
            expected: "a mapping to merge, or a list of mappings".to_owned(),
            found,
        })?;
        Ok(document)
    }

    /// A document that was never text; its places have fields only.
    pub fn from_value(value: Value) -> Self {
        Self { file: None, text: String::new(), value }
    }

    /// The whole value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text as read, without a byte order mark; empty for a document that was never text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole document as a node.
    pub fn root(&self) -> Node<'_> {
        Node::root(self)
    }

    /// Where the value at `path` is; where the innermost value on the way is when there is none.
    pub fn place(&self, path: &FieldPath) -> Place {
        self.place_with(path, Positions::value)
    }

    /// Where the last key of `path` is.
    pub fn key_place(&self, path: &FieldPath) -> Place {
        self.place_with(path, Positions::key)
    }

    /// Where the field is that `path` names in the form in which paths are shown.
    pub fn place_of(&self, path: &str) -> Place {
        match FieldPath::parse(path) {
            Some(path) => self.place(&path),
            None => Place { file: self.file.clone(), field: path.to_owned(), ..Place::default() },
        }
    }

    fn place_with(
        &self,
        path: &FieldPath,
        find: impl Fn(&Positions, &FieldPath) -> Option<Position>,
    ) -> Place {
        let positions = Positions::of(&self.text);
        let mut on_the_way = path.clone();
        let mut found = find(&positions, path);
        while found.is_none() && on_the_way.0.pop().is_some() {
            found = positions.value(&on_the_way);
        }
        Place {
            file: self.file.clone(),
            line: found.map(|(line, _)| line),
            column: found.map(|(_, column)| column),
            field: path.to_string(),
        }
    }

    fn syntax_error(&self, error: &serde_yaml::Error) -> YamlError {
        let problem = error.to_string();
        let place = |at: Option<Position>| Place {
            file: self.file.clone(),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            field: String::new(),
        };
        if problem.contains("duplicate entry")
            && let Some((key, at)) = Positions::of(&self.text).repeated_key()
        {
            return YamlError::RepeatedKey { at: place(Some(at)), key: key.to_owned() };
        }
        let at =
            error.location().map(|location| (narrow(location.line()), narrow(location.column())));
        let problem = match problem.split_once(" at line ") {
            Some((problem, _)) => problem.to_owned(),
            None if problem.contains("more than one document") => {
                "the file has more than one document".to_owned()
            }
            None => problem,
        };
        YamlError::Syntax { at: place(at), problem }
    }
}

/// Puts what `<<` refers to into its mapping, behind the mapping's own keys, which win.
///
/// The library's own merge loses the order of keys. Fails with the path and description of a value
/// that cannot be merged. Recursion is bounded by the parser's limit of depth.
fn merge_keys(value: Value, path: &FieldPath) -> Result<Value, (FieldPath, String)> {
    match value {
        Value::Sequence(items) => {
            let items = items
                .into_iter()
                .enumerate()
                .map(|(index, item)| merge_keys(item, &path.index(index)));
            Ok(Value::Sequence(items.collect::<Result<_, _>>()?))
        }
        Value::Mapping(pairs) => {
            let mut own = Mapping::new();
            let mut merged = Vec::new();
            for (key, value) in pairs {
                let path = path.key(key.as_str().unwrap_or_default());
                let value = merge_keys(value, &path)?;
                if key.as_str() != Some("<<") {
                    own.insert(key, value);
                    continue;
                }
                let parts = match value {
                    Value::Sequence(parts) => parts,
                    part => vec![part],
                };
                for part in parts {
                    match part {
                        Value::Mapping(part) => merged.extend(part),
                        other => return Err((path, describe(&other))),
                    }
                }
            }
            for (key, value) in merged {
                own.entry(key).or_insert(value);
            }
            Ok(Value::Mapping(own))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests;

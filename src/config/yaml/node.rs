//! Typed access to the values of a document.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::words::{boolean_of, duration_of, number_of, whole_of};
use super::{Document, FieldPath, Place, YamlError};

/// Longest value that a message shows whole, in characters.
const SHOWN: usize = 40;

/// A value of a document, and its path.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    document: &'a Document,
    path: FieldPath,
    value: &'a Value,
}

/// The fields of a mapping.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    node: Node<'a>,
    mapping: &'a Mapping,
}

impl<'a> Node<'a> {
    pub(super) fn root(document: &'a Document) -> Self {
        Self { document, path: FieldPath::default(), value: document.value() }
    }

    /// The value as the parser read it.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The way to it from the root.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    /// The document it is in.
    pub fn document(&self) -> &'a Document {
        self.document
    }

    /// Where it starts.
    pub fn place(&self) -> Place {
        self.document.place(&self.path)
    }

    /// Where its key starts; for an item of a list where the item starts.
    pub fn key_place(&self) -> Place {
        self.document.key_place(&self.path)
    }

    fn is_hidden(&self) -> bool {
        self.document.is_hidden(&self.path)
    }

    /// Nothing, or `null`.
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// The same place with another value, for values that are worked out from what is written: a
    /// search file's variables are read as the numbers they may take.
    pub fn with_value<'b>(&self, value: &'b Value) -> Node<'b>
    where
        'a: 'b,
    {
        Node { document: self.document, path: self.path.clone(), value }
    }

    /// The error that says what should stand here instead, such as `a list of models`.
    pub fn wrong_type(&self, expected: impl Into<String>) -> YamlError {
        YamlError::WrongType {
            at: self.place(),
            expected: expected.into(),
            found: describe(self.value),
        }
    }

    /// A mapping.
    pub fn fields(&self) -> Result<Fields<'a>, YamlError> {
        match self.value {
            Value::Mapping(mapping) => Ok(Fields { node: self.clone(), mapping }),
            _ => Err(self.wrong_type("a mapping")),
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Result<Vec<Node<'a>>, YamlError> {
        let Value::Sequence(items) = self.value else { return Err(self.wrong_type("a list")) };
        let document = self.document;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| Node { document, path: self.path.index(index), value })
            .filter(|item| !item.is_hidden())
            .collect())
    }

    /// Text. A number is not text, though it may be part of a longer one.
    pub fn text(&self) -> Result<&'a str, YamlError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("text"))
    }

    /// A finite number, quoted or not.
    pub fn number(&self) -> Result<f64, YamlError> {
        as_number(self.value).ok_or_else(|| self.wrong_type("a number"))
    }

    /// A whole number, quoted or not; `4.0` is one.
    pub fn whole(&self) -> Result<i64, YamlError> {
        let whole = self.value.as_i64().or_else(|| as_number(self.value).and_then(whole_of));
        whole.ok_or_else(|| {
            self.wrong_type(match as_number(self.value) {
                Some(number) if number.fract() == 0.0 && number > 0.0 => "a smaller whole number",
                Some(number) if number.fract() == 0.0 => "a larger whole number",
                _ => "a whole number",
            })
        })
    }

    /// A whole number that is not negative.
    pub fn count(&self) -> Result<usize, YamlError> {
        let count = self.whole().ok().and_then(|whole| usize::try_from(whole).ok());
        count.ok_or_else(|| {
            self.wrong_type(match as_number(self.value) {
                Some(number) if number.fract() == 0.0 && number > 0.0 => "a smaller whole number",
                _ => "a whole number that is not negative",
            })
        })
    }

    /// A time above 0: seconds, or text with units such as `90s`, `30m`, `1h30m`.
    pub fn duration(&self) -> Result<Duration, YamlError> {
        let duration = match self.value.as_str() {
            Some(text) => duration_of(text),
            None => as_number(self.value).and_then(|seconds| duration_of(&seconds.to_string())),
        };
        duration.ok_or_else(|| self.wrong_type("a time such as `30m`, `1h30m` or `90s`"))
    }

    /// A boolean, also in YAML 1.1's words, quoted or not.
    pub fn boolean(&self) -> Result<bool, YamlError> {
        as_boolean(self.value).ok_or_else(|| self.wrong_type("`true` or `false`"))
    }
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    pub fn node(&self) -> &Node<'a> {
        &self.node
    }

    /// The value of `name`; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        let value = self.mapping.get(name).filter(|value| !value.is_null())?;
        Some(self.child(name, value)).filter(|child| !child.is_hidden())
    }

    /// The value of `name`, which has to be there.
    pub fn require(&self, name: &str) -> Result<Node<'a>, YamlError> {
        self.get(name)
            .ok_or_else(|| YamlError::MissingField { at: self.node.place(), name: name.to_owned() })
    }

    /// Refuses every field that is not in `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), YamlError> {
        for (name, node) in self.all()? {
            if !known.contains(&name) {
                return Err(YamlError::UnknownField {
                    at: node.key_place(),
                    name: name.to_owned(),
                    known: known.iter().map(|&name| name.to_owned()).collect(),
                });
            }
        }
        Ok(())
    }

    /// Every field in the order of the document, `null` ones too. Keys have to be text.
    pub fn all(&self) -> Result<Vec<(&'a str, Node<'a>)>, YamlError> {
        self.mapping
            .iter()
            .map(|(key, value)| match key {
                Value::String(name) => Ok((name.as_str(), self.child(name, value))),
                other => Err(YamlError::WrongType {
                    at: self.node.place(),
                    expected: "field names that are text".to_owned(),
                    found: describe(other),
                }),
            })
            .filter(|field| !matches!(field, Ok((_, node)) if node.is_hidden()))
            .collect()
    }

    fn child(&self, name: &str, value: &'a Value) -> Node<'a> {
        Node { document: self.node.document, path: self.node.path.key(name), value }
    }
}

/// The value as a finite number, when it is one or is text that reads as one (`"0.5"`, `1e-5`).
pub fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        Value::String(text) => number_of(text),
        _ => None,
    }
}

/// The value as a boolean, when it is one or is one of YAML 1.1's words for it; case aside.
pub fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(boolean) => Some(*boolean),
        Value::String(text) => boolean_of(text),
        _ => None,
    }
}

/// The value in a message: short ones as they are, long ones by their kind.
pub fn describe(value: &Value) -> String {
    let (kind, shown) = match value {
        Value::Null => return "nothing".to_owned(),
        Value::Mapping(_) => return "a mapping".to_owned(),
        Value::Sequence(items) if items.is_empty() => return "an empty list".to_owned(),
        Value::Sequence(items) if items.iter().all(is_scalar) => {
            let shown: Vec<String> = items.iter().map(scalar_text).collect();
            ("a list", format!("[{}]", shown.join(", ")))
        }
        Value::Sequence(_) => return "a list".to_owned(),
        Value::Tagged(tagged) => ("a tag", tagged.tag.to_string()),
        scalar => ("a long text", scalar_text(scalar)),
    };
    if shown.chars().count() <= SHOWN && !shown.contains('\n') {
        format!("`{shown}`")
    } else {
        kind.to_owned()
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::Bool(boolean) => boolean.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => "null".to_owned(),
    }
}

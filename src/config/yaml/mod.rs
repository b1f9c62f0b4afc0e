//! YAML documents whose mistakes have a line and a column.
//!
//! A [`Document`] is the parsed text. A [`Node`] is a value in it that knows its path, so that every
//! file of the program (merge configs, search files, tasks) is read with the same words for the
//! same mistakes. Positions cost nothing until one is asked for: [`Document::place`] then reads the
//! text a second time, and never again.
//!
//! Merge keys (`<<`) are applied, aliases expanded, repeated keys refused. Where a boolean is
//! expected, YAML 1.1's `yes`, `no`, `on` and `off` are booleans; where a number is expected,
//! quoted numbers are numbers.

mod closest;
mod error;
mod last_wins;
mod node;
mod place;
mod positions;
mod words;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_yaml::{Mapping, Value};

pub use closest::closest;
pub use error::{YamlError, did_you_mean};
use last_wins::LastWins;
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
    /// Whether a mapping has a key twice.
    repeats_keys: bool,
    /// Paths of values that nodes pass over.
    hidden: HashSet<FieldPath>,
    positions: OnceLock<Positions>,
}

/// Most brackets and braces that may be open at once. The parser's own limit is lower, but it finds
/// that out only after a time that grows with the square of the depth.
const DEEPEST: usize = 1000;

impl Document {
    /// Reads a file that holds one document.
    pub fn read(path: &Path) -> Result<Self, YamlError> {
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a file that holds one document and is also read by Python, where the last of equal keys
    /// counts: [`Document::repeated_keys`] gives them.
    pub fn read_with_repeated_keys(path: &Path) -> Result<Self, YamlError> {
        let text = read_text(path)?;
        match Self::parse(&text, path) {
            Err(YamlError::RepeatedKey { .. }) => Self::parse_as(&text, path, |text| {
                serde_yaml::from_str(text).map(|LastWins(value)| (value, true))
            }),
            parsed => parsed,
        }
    }

    /// Parses a text; `file` is its name in places.
    pub fn parse(text: &str, file: &Path) -> Result<Self, YamlError> {
        Self::parse_as(text, file, |text| serde_yaml::from_str(text).map(|value| (value, false)))
    }

    /// Parses a text by a function that also says whether keys are repeated.
    fn parse_as(
        text: &str,
        file: &Path,
        parse: impl Fn(&str) -> serde_yaml::Result<(Value, bool)>,
    ) -> Result<Self, YamlError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Self {
            file: Some(file.to_owned()),
            text: text.to_owned(),
            value: Value::Null,
            repeats_keys: false,
            hidden: HashSet::new(),
            positions: OnceLock::new(),
        };
        if let Some(at) = too_deep(text) {
            return Err(YamlError::TooDeep { at: document.place_at(Some(at)), limit: DEEPEST });
        }
        let (value, repeats_keys) = parse(text).map_err(|error| document.syntax_error(&error))?;
        document.repeats_keys = repeats_keys;
        let merged = merge_keys(value, &FieldPath::default());
        document.value = merged.map_err(|(path, found)| YamlError::WrongType {
            at: document.place(&path),
            expected: "a mapping to merge, or a list of mappings".to_owned(),
            found,
        })?;
        Ok(document)
    }

    /// A document that was never text; its places have fields only.
    pub fn from_value(value: Value) -> Self {
        Self {
            file: None,
            text: String::new(),
            value,
            repeats_keys: false,
            hidden: HashSet::new(),
            positions: OnceLock::new(),
        }
    }

    /// The whole value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text as read, without a byte order mark; empty for a document that was never text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys that a mapping has had before, and where they are.
    pub fn repeated_keys(&self) -> Vec<(String, Place)> {
        if !self.repeats_keys {
            return Vec::new();
        }
        let keys = self.positions().repeated_keys();
        keys.map(|(key, at)| (key.to_owned(), self.place_at(Some(at)))).collect()
    }

    /// Takes the value at `path` out of what nodes give access to. All others keep their places.
    pub fn hide(&mut self, path: FieldPath) {
        self.hidden.insert(path);
    }

    /// Whether the value at `path` was taken out.
    pub fn is_hidden(&self, path: &FieldPath) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(path)
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
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
        let positions = self.positions();
        let mut on_the_way = path.clone();
        let mut found = find(positions, path);
        while found.is_none() && on_the_way.0.pop().is_some() {
            found = positions.value(&on_the_way);
        }
        Place { field: path.to_string(), ..self.place_at(found) }
    }

    fn place_at(&self, at: Option<Position>) -> Place {
        Place {
            file: self.file.clone(),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            field: String::new(),
        }
    }

    fn positions(&self) -> &Positions {
        self.positions.get_or_init(|| Positions::of(&self.text))
    }

    fn syntax_error(&self, error: &serde_yaml::Error) -> YamlError {
        let problem = error.to_string();
        if problem.contains("duplicate entry")
            && let Some((key, at)) = self.positions().repeated_keys().next()
        {
            return YamlError::RepeatedKey { at: self.place_at(Some(at)), key: key.to_owned() };
        }
        let at =
            error.location().map(|location| (narrow(location.line()), narrow(location.column())));
        if let Some(number) = oversized_number(&problem) {
            let number = number.to_owned();
            return YamlError::NumberTooLarge { at: self.place_at(at), number };
        }
        let problem = match problem.split_once(" at line ") {
            Some((problem, _)) => problem.to_owned(),
            None if problem.contains("more than one document") => {
                "the file has more than one document".to_owned()
            }
            None => problem,
        };
        YamlError::Syntax { at: self.place_at(at), problem }
    }
}

/// The text of a file.
fn read_text(path: &Path) -> Result<String, YamlError> {
    let unreadable = |source| YamlError::Read { path: path.to_owned(), source };
    // Pipes are welcome: shells make them of `<(…)`.
    if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Err(YamlError::NotAFile { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| YamlError::NotText { path: path.to_owned() })
}

/// Where the text opens more brackets and braces than [`DEEPEST`] without closing them.
///
/// Those in quotes and comments are counted like any others: no text that is meant for a reader has
/// so many of them.
fn too_deep(text: &str) -> Option<Position> {
    let mut depth = 0_usize;
    let at = text.bytes().position(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })?;
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    let n_lines = text[..at].matches('\n').count();
    Some((narrow(n_lines + 1), narrow(line.chars().count() + 1)))
}

/// The number of which the library says that it has no type for it.
fn oversized_number(problem: &str) -> Option<&str> {
    let (_, number) = problem.split_once("invalid type: integer `")?;
    let (number, after) = number.split_once('`')?;
    (after.starts_with(" as u128") || after.starts_with(" as i128")).then_some(number)
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

//! Where something stands in a file: field paths, and places for people.

use std::fmt;
use std::path::PathBuf;

/// Where in a file, shown as `merge.yml:14:20: models[2].parameters.density`.
///
/// Parts that are not known are left out: a config made by a search has no file, a missing field no
/// column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: Option<u32>,
    /// In characters, from 1.
    pub column: Option<u32>,
    /// Path of the field from the root; empty for the root.
    pub field: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(file) = &self.file else {
            return f.write_str(if self.field.is_empty() { "the document" } else { &self.field });
        };
        write!(f, "{}", file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let (Some(_), Some(column)) = (self.line, self.column) {
            write!(f, ":{column}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        Ok(())
    }
}

/// One step of a [`FieldPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// The way from the root of a document to a value, shown as `models[2].parameters.density`.
///
/// A key that would not be read back as itself is quoted: `tasks["a.b"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path of the value of `key` in the mapping at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path of item `index` in the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Reads a path in the form in which it is shown; `None` when the text is not in this form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix('[').filter(|rest| rest.starts_with('"')) {
                let mut keys = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
                steps.push(Step::Key(keys.next()?.ok()?));
                rest = quoted[keys.byte_offset()..].strip_prefix(']')?;
            } else if let Some(index) = rest.strip_prefix('[') {
                let (index, behind) = index.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = behind;
            } else {
                let key = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
                let end = key.find(['.', '[']).unwrap_or(key.len());
                if end == 0 {
                    return None;
                }
                steps.push(Step::Key(key[..end].to_owned()));
                rest = &key[end..];
            }
        }
        Some(Self(steps))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.is_empty() || key.contains(['.', '[', ']', '"', '\n']) => {
                    write!(f, "[{}]", serde_json::Value::from(key.as_str()))?;
                }
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![any::<String>().prop_map(Step::Key), any::<usize>().prop_map(Step::Index)]
    }

    proptest! {
        #[test]
        fn paths_read_back(steps in prop::collection::vec(step(), 0..6)) {
            let path = FieldPath(steps);
            prop_assert_eq!(FieldPath::parse(&path.to_string()), Some(path));
        }

        #[test]
        fn no_text_makes_parse_panic(text in any::<String>()) {
            FieldPath::parse(&text);
        }
    }

    #[test]
    fn paths_show_like_code() {
        let path = FieldPath::default().key("models").index(2).key("a.b").key("density");
        assert_eq!(path.to_string(), r#"models[2]["a.b"].density"#);
    }

    #[test]
    fn unknown_parts_of_places_are_left_out() {
        let file = Some(PathBuf::from("merge.yml"));
        let field = "dtype".to_owned();
        let whole = Place { file: file.clone(), line: Some(3), column: Some(8), field };
        assert_eq!(whole.to_string(), "merge.yml:3:8: dtype");
        assert_eq!(Place { file: None, ..whole }.to_string(), "dtype");
        assert_eq!(Place { file, ..Place::default() }.to_string(), "merge.yml");
        assert_eq!(Place::default().to_string(), "the document");
    }
}

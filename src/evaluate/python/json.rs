//! `json.dumps`: spaces after commas and colons, numbers as Python prints them.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::{Serde, ValueKind};

use super::print::write_float;

/// The arguments of `json.dumps`.
#[derive(Debug, Clone, Default)]
pub(in crate::evaluate) struct JsonStyle {
    /// Number of spaces, or another text, for each level; everything on one line if `None`.
    pub(in crate::evaluate) indent: Option<String>,
    /// What stands between items and behind keys, where not as in Python.
    pub(in crate::evaluate) separators: Option<(String, String)>,
    /// Whether other characters than ASCII are escaped.
    pub(in crate::evaluate) ascii: bool,
    pub(in crate::evaluate) sorted: bool,
}

/// A value of JSON as text.
pub(in crate::evaluate) fn dump_json(value: &serde_json::Value, style: &JsonStyle) -> String {
    // JSON has no values that are undefined.
    dump(&Value::from(Serde(value)), style).unwrap_or_default()
}

/// A template's value as text; `None` for one that JSON has no form for.
pub(in crate::evaluate) fn dump(value: &Value, style: &JsonStyle) -> Option<String> {
    let mut writer = Writer { out: String::new(), style };
    writer.value(value, 0)?;
    Some(writer.out)
}

struct Writer<'a> {
    out: String,
    style: &'a JsonStyle,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Option<()> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if !value.is_integer() => self.float(value),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter().ok()?.collect();
                self.items('[', ']', &items, depth, |writer, item| writer.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter().ok()?.collect();
                if self.style.sorted {
                    keys.sort();
                }
                self.items('{', '}', &keys, depth, |writer, key| {
                    writer.key(key)?;
                    writer.value(&value.get_item(key).ok()?, depth + 1)
                })?;
            }
            _ => return None,
        }
        Some(())
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Option<()>,
    ) -> Option<()> {
        self.out.push(open);
        let default = if self.style.indent.is_some() { "," } else { ", " };
        let style = self.style;
        let comma = style.separators.as_ref().map_or(default, |(comma, _)| comma);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(comma);
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Some(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    /// Keys are texts; Python turns numbers and the like into texts.
    fn key(&mut self, key: &Value) -> Option<()> {
        match key.as_str() {
            Some(text) => self.text(text),
            None => {
                let mut inner = Writer { out: String::new(), style: self.style };
                inner.value(key, 0)?;
                self.text(&inner.out);
            }
        }
        let style = self.style;
        self.out.push_str(style.separators.as_ref().map_or(": ", |(_, colon)| colon));
        Some(())
    }

    fn float(&mut self, value: &Value) {
        match f64::try_from(value.clone()) {
            Ok(number) if number.is_nan() => self.out.push_str("NaN"),
            Ok(f64::INFINITY) => self.out.push_str("Infinity"),
            Ok(f64::NEG_INFINITY) => self.out.push_str("-Infinity"),
            Ok(number) => write_float(&mut self.out, number),
            Err(_) => self.out.push_str(&value.to_string()),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_pythons() {
        let value =
            json!({"b": [1, 2.0, 1e20, null, true], "a": "é\"\n\u{1}\u{1f600}", "c": [], "d": {}});
        let plain = dump_json(&value, &JsonStyle::default());
        assert_eq!(
            plain,
            "{\"b\": [1, 2.0, 1e+20, null, true], \"a\": \"é\\\"\\n\\u0001😀\", \"c\": [], \"d\": {}}"
        );
        let style = JsonStyle {
            indent: Some("  ".to_owned()),
            ascii: true,
            sorted: true,
            ..JsonStyle::default()
        };
        assert_eq!(
            dump_json(&json!({"b": [1, {}], "a": "é😀"}), &style),
            "{\n  \"a\": \"\\u00e9\\ud83d\\ude00\",\n  \"b\": [\n    1,\n    {}\n  ]\n}"
        );
        let tight = JsonStyle {
            separators: Some((",".to_owned(), ":".to_owned())),
            ..JsonStyle::default()
        };
        assert_eq!(dump_json(&json!({"a": [1, 2]}), &tight), r#"{"a":[1,2]}"#);
        assert_eq!(dump(&Value::UNDEFINED, &tight), None);
    }
}

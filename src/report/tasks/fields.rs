//! Fields of a task as YAML that people read: white space that matters is to be seen.

use std::fmt::Write;

use serde_yaml::{Mapping, Value};

/// What nested lines are indented by.
const STEP: &str = "  ";

/// A field with its value, indented, with a line break at the end.
pub(super) fn field_text(name: &str, value: &Value, indent: &str) -> String {
    let mut text = format!("{indent}{name}:");
    write_value(&mut text, value, indent);
    text
}

/// A value behind the `:` of its key or the `-` of its item.
fn write_value(text: &mut String, value: &Value, indent: &str) {
    match value {
        Value::Mapping(fields) if !fields.is_empty() => {
            text.push('\n');
            text.push_str(&fields_text(fields, &format!("{indent}{STEP}")));
        }
        Value::Sequence(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                let _ = write!(text, "{indent}{STEP}-");
                match item {
                    // The first field stands behind the dash.
                    Value::Mapping(fields) if !fields.is_empty() => {
                        let fields = fields_text(fields, &format!("{indent}{STEP}{STEP}"));
                        let _ = write!(text, " {}", fields.trim_start());
                    }
                    item => write_value(text, item, &format!("{indent}{STEP}")),
                }
            }
        }
        Value::String(block) if is_block(block) => {
            text.push_str(" |-\n");
            for line in block.split('\n') {
                let _ = writeln!(text, "{}", format!("{indent}{STEP}{line}").trim_end());
            }
        }
        other => {
            let _ = writeln!(text, " {}", scalar(other));
        }
    }
}

/// The fields of a mapping, each in lines of its own.
fn fields_text(fields: &Mapping, indent: &str) -> String {
    fields.iter().map(|(key, value)| field_text(&scalar(key), value, indent)).collect()
}

/// Whether a text is several lines that look on paper as they are.
fn is_block(text: &str) -> bool {
    let is_plain = |line: &str| line.trim_end() == line && !line.contains(char::is_control);
    text.contains('\n') && text.trim() == text && text.split('\n').all(is_plain)
}

/// A value on one line.
fn scalar(value: &Value) -> String {
    match value {
        // White space at an end is lost on the eye without quotes.
        Value::String(text) if text.trim() != text || text.contains(char::is_control) => {
            serde_json::Value::from(text.as_str()).to_string()
        }
        other => serde_yaml::to_string(other)
            .map_or_else(|_| String::new(), |text| text.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_to_be_seen_and_the_rest_stays_yaml() {
        let yaml = "until: [\"\\n\\n\", ' a', b]\ntext: \"x\\n y: 1\"\nf: !function u.g\nn: {a: 1, b: []}\n\
                    l: [{c: 1, d: [2]}]\nempty: ''\ntab: \"a\\tb\\nc\"\n";
        let value: Value = serde_yaml::from_str(yaml).expect("YAML");
        let fields = value.as_mapping().expect("a mapping");
        let text: String = fields
            .iter()
            .map(|(name, value)| field_text(name.as_str().expect("a name"), value, "  "))
            .collect();
        insta::assert_snapshot!(text, @r#"
        until:
          - "\n\n"
          - " a"
          - b
        text: |-
          x
           y: 1
        f: !function u.g
        n:
          a: 1
          b: []
        l:
          - c: 1
            d:
              - 2
        empty: ''
        tab: "a\tb\nc"
        "#);
        let back: Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(back, value);
    }
}

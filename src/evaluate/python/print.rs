//! How Python prints values: `str(value)` and `repr(value)`.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::{Tuple, ValueKind};

/// `str(value)`: strings as they are, everything else as [`repr`].
pub(in crate::evaluate) fn to_text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => repr(value),
    }
}

/// `repr(value)`: a Python literal.
pub(in crate::evaluate) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

fn write_repr(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => write_float(out, number),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => write_sequence(out, value),
        ValueKind::Map => write_map(out, value),
        _ => out.push_str(&value.to_string()),
    }
}

fn write_sequence(out: &mut String, value: &Value) {
    let is_tuple = value.downcast_object_ref::<Tuple>().is_some();
    out.push(if is_tuple { '(' } else { '[' });
    let mut length = 0;
    for item in value.try_iter().into_iter().flatten() {
        if length > 0 {
            out.push_str(", ");
        }
        write_repr(out, &item);
        length += 1;
    }
    if is_tuple && length == 1 {
        out.push(',');
    }
    out.push(if is_tuple { ')' } else { ']' });
}

fn write_map(out: &mut String, value: &Value) {
    out.push('{');
    for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_repr(out, &key);
        out.push_str(": ");
        write_repr(out, &value.get_item(&key).unwrap_or(Value::UNDEFINED));
    }
    out.push('}');
}

/// `repr` of a number.
pub(in crate::evaluate) fn float_text(number: f64) -> String {
    let mut out = String::new();
    write_float(&mut out, number);
    out
}

/// Shortest digits that give the number back; an exponent below 1e-4 and from 1e16 on.
pub(super) fn write_float(out: &mut String, number: f64) {
    if number.is_nan() {
        return out.push_str("nan");
    }
    if number.is_infinite() {
        return out.push_str(if number > 0.0 { "inf" } else { "-inf" });
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    } else if number.fract() == 0.0 {
        write!(out, "{number:.1}")
    } else {
        write!(out, "{number}")
    };
}

fn write_string(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            _ if is_printable(c) => out.push(c),
            _ => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// `str.isprintable` without the table of unassigned code points: controls, separators other than
/// the space, invisible formatting and private use are escaped.
fn is_printable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e000}'..='\u{f8ff}'
    );
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_invisible)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(value: serde_json::Value) -> String {
        repr(&Value::from(minijinja::value::Serde(value)))
    }

    #[test]
    fn numbers_print_as_in_python() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
        ] {
            assert_eq!(printed(json!(number)), text);
        }
        assert_eq!(printed(json!(7)), "7");
    }

    #[test]
    fn containers_print_as_literals_with_pythons_quotes() {
        assert_eq!(printed(json!(["x", "it's", 1, null])), r#"['x', "it's", 1, None]"#);
        assert_eq!(printed(json!({"k": true, "a": [1.0]})), "{'k': True, 'a': [1.0]}");
        assert_eq!(printed(json!("a'b\"c\n\u{a0}é")), r#"'a\'b"c\n\xa0é'"#);
        let tuple = Value::from(Tuple::from([Value::from(1)]));
        assert_eq!(repr(&tuple), "(1,)");
    }

    #[test]
    fn values_print_as_in_python_and_are_read_back() {
        for row in crate::evaluate::python::golden_table()["values"].as_array().expect("a list") {
            let text = printed(row[0].clone());
            assert_eq!(text, row[1].as_str().expect("a text"));
            assert_eq!(crate::evaluate::python::parse_literal(&text).as_ref(), Some(&row[0]));
        }
    }

    #[test]
    fn text_is_not_quoted() {
        assert_eq!(to_text(&Value::from("it's")), "it's");
        assert_eq!(to_text(&Value::from(())), "None");
    }
}

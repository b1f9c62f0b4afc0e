//! The corners of Python that show in prompts and scores: how values print, what literals mean,
//! what counts as whitespace, how regular expressions behave, which numbers `random` draws.
//!
//! Task files were written for a harness in Python, so `{{label}}` of a boolean prints `True`, a
//! list column prints with Python's quotes, and a seeded few-shot draw is CPython's.

mod json;
mod literal;
mod pattern;
mod print;
mod random;

pub(super) use json::{JsonStyle, dump, dump_json};
pub(super) use literal::parse_literal;
pub(super) use pattern::{Pattern, remove_punctuation};
pub(super) use print::{float_text, repr, to_text};
pub(super) use random::PythonRandom;

/// Whether Python's `str.isspace`, `str.strip` and `\s` count the character as whitespace: Unicode
/// whitespace and the four ASCII separators.
pub(super) fn is_whitespace(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// `str.strip`: the text without whitespace at both ends.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_whitespace)
}

/// Whether `str.isdigit` holds for a text of ASCII digits: it is not empty and has nothing else.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What Python makes of templates, patterns and values; see tests/golden/evaluate/python.py.
#[cfg(test)]
pub(super) fn golden_table() -> serde_json::Value {
    let text = include_str!("../../../tests/golden/evaluate/python.json");
    serde_json::from_str(text).expect("golden data is valid")
}

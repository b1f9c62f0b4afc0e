//! Numbers that Python writes into JSON although JSON has no words for them.
//!
//! Configs of Mamba models have `"time_step_limit": [0.0, Infinity]`. While such a config is in memory the
//! words are marked texts, and what is written has the words again.

use std::borrow::Cow;

const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// What a marked text begins with. The first character is one that no text has.
const MARK: &str = "\u{e000}number:";

/// `text`, which should be JSON, with each of Python's words as a marked text.
pub(super) fn mark(text: &[u8]) -> Cow<'_, [u8]> {
    let word_at = |position: usize| {
        WORDS.into_iter().find(|word| text[position..].starts_with(word.as_bytes()))
    };
    let mut marked = Vec::new();
    let (mut position, mut copied, mut in_string) = (0, 0, false);
    while position < text.len() {
        match text[position] {
            b'\\' if in_string => position += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            _ => {
                if let Some(word) = word_at(position) {
                    marked.extend_from_slice(&text[copied..position]);
                    marked.extend_from_slice(quoted(word).as_bytes());
                    position += word.len();
                    copied = position;
                    continue;
                }
            }
        }
        position += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    marked.extend_from_slice(&text[copied..]);
    Cow::Owned(marked)
}

/// `json` with each marked text as the word that it was.
pub(super) fn unmark(json: String) -> String {
    match json.contains(MARK) {
        false => json,
        true => WORDS.into_iter().fold(json, |json, word| json.replace(&quoted(word), word)),
    }
}

fn quoted(word: &str) -> String {
    format!("\"{MARK}{word}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_and_texts_are_left_alone() {
        let text =
            r#"{"a": [0.0, Infinity, -Infinity], "NaN": NaN, "b": "\"Infinity", "c": "x\\"}"#;
        let marked = mark(text.as_bytes());
        let value: serde_json::Value = serde_json::from_slice(&marked).unwrap();
        assert_eq!(value["a"][0], 0.0);
        assert!(value["a"][2].as_str().unwrap().ends_with("-Infinity"));
        assert_eq!(value["b"], "\"Infinity");
        assert_eq!(unmark(String::from_utf8(marked.into_owned()).unwrap()), text);
        assert!(matches!(mark(b"{\"a\": \"Infinity\"}"), Cow::Borrowed(_)));
        for broken in ["\"", "\"\\", "Infinit", "-", "NaNNaN"] {
            mark(broken.as_bytes());
        }
    }
}

//! Python's regular expressions on `fancy-regex`: the dialect is translated, and `findall` and
//! `sub` walk over matches as Python does.

use std::sync::LazyLock;

use fancy_regex::{Captures, Regex};
use serde::{Serialize, Serializer};

use crate::config::yaml::Node;
use crate::evaluate::EvaluateError;

/// A regular expression in Python's dialect.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct Pattern {
    /// As given.
    source: String,
    regex: Regex,
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(in crate::evaluate) fn new(pattern: &str) -> Result<Pattern, String> {
        match Regex::new(&translate(pattern)) {
            Ok(regex) => Ok(Pattern { source: pattern.to_owned(), regex }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads a field that is a pattern.
    pub(in crate::evaluate) fn read(node: &Node<'_>) -> Result<Pattern, EvaluateError> {
        Pattern::new(node.text()?).map_err(|problem| EvaluateError::Syntax {
            at: node.place().into(),
            what: "regular expression",
            problem,
        })
    }

    /// Reads a field that is a list of patterns.
    pub(in crate::evaluate) fn read_list(
        node: Option<&Node<'_>>,
    ) -> Result<Vec<Pattern>, EvaluateError> {
        let nodes = node.map_or(Ok(Vec::new()), Node::items)?;
        nodes.iter().map(Pattern::read).collect()
    }

    /// All matches from left to right; each gives its groups (an unmatched one is empty), or the
    /// whole match if the pattern has none. A search that exceeds the backtracking limit ends there.
    pub(in crate::evaluate) fn find_all(&self, text: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        self.walk(text, |captures| {
            let group = |index| captures.get(index).map_or("", |group| group.as_str()).to_owned();
            found.push(match captures.len() {
                1 => vec![group(0)],
                groups => (1..groups).map(group).collect(),
            });
        });
        found
    }

    /// The text without its matches.
    pub(in crate::evaluate) fn remove(&self, text: &str) -> String {
        let mut kept = String::new();
        let mut copied = 0;
        self.walk(text, |captures| {
            if let Some(whole) = captures.get(0) {
                kept.push_str(&text[copied..whole.start()]);
                copied = whole.end();
            }
        });
        kept.push_str(&text[copied..]);
        kept
    }

    /// `re.sub`: the text with its first `count` matches replaced, all of them if that is 0. In the
    /// replacement `\1` and `\g<1>` stand for groups, `\n` for a line break.
    pub(in crate::evaluate) fn replace(&self, text: &str, by: &str, count: usize) -> String {
        let mut out = String::new();
        let (mut copied, mut done) = (0, 0);
        self.walk(text, |captures| {
            if let Some(whole) = captures.get(0)
                && (count == 0 || done < count)
            {
                out.push_str(&text[copied..whole.start()]);
                push_replacement(&mut out, by, captures);
                (copied, done) = (whole.end(), done + 1);
            }
        });
        out.push_str(&text[copied..]);
        out
    }

    /// Visits non-overlapping matches. Unlike Rust's iterator, Python allows an empty match right
    /// behind a match.
    fn walk(&self, text: &str, mut visit: impl FnMut(&Captures<'_>)) {
        let mut position = 0;
        while position <= text.len() {
            let Ok(Some(captures)) = self.regex.captures_from_pos(text, position) else { return };
            let Some(whole) = captures.get(0) else { return };
            visit(&captures);
            position = whole.end();
            if whole.start() == whole.end() {
                position += text[position..].chars().next().map_or(1, char::len_utf8);
            }
        }
    }
}

/// Appends what a replacement of `re.sub` stands for; an escape that means nothing stays as it is.
fn push_replacement(out: &mut String, by: &str, captures: &Captures<'_>) {
    let mut rest = by;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let named = behind.strip_prefix("g<").and_then(|name| name.split_once('>'));
        let digits = behind.bytes().take(2).take_while(u8::is_ascii_digit).count();
        let next = behind.chars().next();
        (rest, ()) = match (named, digits, next) {
            (Some((name, behind)), ..) => {
                let index = name.parse::<usize>();
                let group = index.map_or_else(|_| captures.name(name), |index| captures.get(index));
                (behind, out.push_str(group.map_or("", |group| group.as_str())))
            }
            (None, 1.., _) => {
                let group = behind[..digits].parse().ok().and_then(|index| captures.get(index));
                (&behind[digits..], out.push_str(group.map_or("", |group| group.as_str())))
            }
            (None, _, Some('n')) => (&behind[1..], out.push('\n')),
            (None, _, Some('t')) => (&behind[1..], out.push('\t')),
            (None, _, Some('\\')) => (&behind[1..], out.push('\\')),
            _ => (behind, out.push('\\')),
        };
    }
    out.push_str(rest);
}

/// The text without characters that Unicode counts as punctuation.
pub(in crate::evaluate) fn remove_punctuation(text: &str) -> String {
    static PUNCTUATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{P}+").ok());
    match &*PUNCTUATION {
        Some(punctuation) => punctuation.replace_all(text, "").into_owned(),
        None => text.to_owned(),
    }
}

/// Rewrites a pattern of Python's `re` in the dialect of `fancy-regex`.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    // Position inside a character class: nothing is special there but `]`, `\`, `^` and `-`.
    let mut class: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            let Some(escaped) = rest.chars().next() else {
                out.push('\\');
                break;
            };
            rest = &rest[escaped.len_utf8()..];
            push_escape(&mut out, escaped, class.is_some());
            class = class.map(|seen| seen + 1);
            continue;
        }
        match class {
            None => match c {
                '$' => out.push_str(r"(?=\n?\z)"),
                '{' if !is_repetition(rest) => out.push_str(r"\{"),
                '{' if rest.starts_with(',') => out.push_str("{0"),
                '[' => {
                    out.push('[');
                    if let Some(negated) = rest.strip_prefix('^') {
                        out.push('^');
                        rest = negated;
                    }
                    class = Some(0);
                }
                _ => out.push(c),
            },
            // A bracket in first place is a member, not the end.
            Some(0) if c == ']' => {
                out.push_str(r"\]");
                class = Some(1);
            }
            Some(_) if c == ']' => {
                out.push(']');
                class = None;
            }
            Some(seen) => {
                if matches!(c, '[' | '&' | '~') {
                    out.push('\\');
                }
                out.push(c);
                class = Some(seen + 1);
            }
        }
    }
    out
}

fn push_escape(out: &mut String, escaped: char, in_class: bool) {
    match escaped {
        'Z' => out.push_str(r"\z"),
        's' if in_class => out.push_str(r"\s\x1c-\x1f"),
        's' => out.push_str(r"[\s\x1c-\x1f]"),
        'S' if !in_class => out.push_str(r"[^\s\x1c-\x1f]"),
        // Word boundaries in Rust, plain characters in Python.
        '<' | '>' => out.push(escaped),
        _ if escaped.is_ascii_punctuation() || escaped.is_alphanumeric() => {
            out.push('\\');
            out.push(escaped);
        }
        _ => out.push(escaped),
    }
}

/// Whether the text behind an opening brace makes it a repetition: `3}`, `3,}`, `,3}` or `3,4}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let is_count = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        Some((least, most)) => is_count(least) && is_count(most) && inside.len() > 1,
        None => !inside.is_empty() && is_count(inside),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, text: &str) -> Vec<Vec<String>> {
        Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).find_all(text)
    }

    // The expected matches come from CPython's `re.findall`.
    #[test]
    fn finds_what_python_finds() {
        assert_eq!(found(r"#### (\-?[0-9\.\,]+)", "x #### -1,2.\n#### 7"), [["-1,2."], ["7"]]);
        assert_eq!(found("([A-Z])|([0-9])", "a1B"), [["", "1"], ["B", ""]]);
        assert_eq!(found("a*", "ab"), [["a"], [""], [""]]);
        assert_eq!(found("b$", "b\n"), [["b"]]);
        assert_eq!(found(r"b\Z", "b\n"), Vec::<Vec<String>>::new());
        assert_eq!(found(r"(?<=the answer is )(.*)(?=\.)", "the answer is 4."), [["4"]]);
        assert_eq!(found(r"\s+", "a\u{1c} b"), [["\u{1c} "]]);
        assert_eq!(found(r"[[&&a]+", "[&a"), [["[&a"]]);
        assert_eq!(found(r"[]x]", "x]"), [["x"], ["]"]]);
        assert_eq!(found(r"\\boxed{(.*?)}", r"\boxed{5}"), [["5"]]);
        assert_eq!(found(r"\<b\>", "<b>"), [["<b>"]]);
        assert_eq!(found("x{,2}y", "xxy"), [["xxy"]]);
    }

    #[test]
    fn finds_and_removes_as_python_does() {
        for row in crate::evaluate::python::golden_table()["patterns"].as_array().expect("a list") {
            let [pattern, text, _, rest] = [0, 1, 2, 3].map(|column| row[column].as_str());
            let (pattern, text) = (pattern.expect("a pattern"), text.expect("a text"));
            let compiled =
                Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(serde_json::json!(compiled.find_all(text)), row[2], "{pattern} in {text:?}");
            assert_eq!(Some(compiled.remove(text).as_str()), rest, "{pattern} in {text:?}");
        }
    }

    #[test]
    fn removes_matches() {
        let pattern = Pattern::new(r"\.$").expect("a pattern");
        assert_eq!(pattern.remove("1.5."), "1.5");
        assert_eq!(pattern.remove("1.5.\n"), "1.5\n");
    }

    proptest! {
        #[test]
        fn arbitrary_patterns_do_not_panic(pattern in "[\\[\\]{}()*+?^$|\\\\a-z0-9,\\-&é]{0,12}", text in ".{0,12}") {
            if let Ok(pattern) = Pattern::new(&pattern) {
                let _ = pattern.find_all(&text);
                let _ = pattern.remove(&text);
            }
        }
    }
}

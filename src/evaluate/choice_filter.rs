//! The filter `multi_choice_regex`: which of a row's choices a written answer means.

use serde::Serialize;

use super::python::{Pattern, is_whitespace, remove_punctuation, strip};

/// The letters that stand for choices.
const FIRST_LETTER: u8 = b'A';

/// How choices are looked for in an answer in which the task's own pattern finds nothing: first their
/// texts, in a form that ignores what the task says, then their letters behind a colon.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ChoiceSearch {
    pub(super) removed: Vec<Pattern>,
    pub(super) ignore_case: bool,
    pub(super) ignore_punctuation: bool,
    /// Which match counts; negative from the end.
    pub(super) select: i64,
}

impl ChoiceSearch {
    /// The choice that an answer means, as `(A)`, or what stands for none.
    pub(super) fn find(&self, answer: &str, choices: &[String]) -> Option<String> {
        self.by_text(answer, choices).or_else(|| self.by_letter(answer, choices.len()))
    }

    fn by_text(&self, answer: &str, choices: &[String]) -> Option<String> {
        let texts: Vec<String> = choices.iter().map(|text| self.normalize(strip(text))).collect();
        let mut longest_first: Vec<&String> = texts.iter().collect();
        longest_first.sort_by_key(|text| std::cmp::Reverse(escaped_length(text)));
        let answer = self.normalize(answer);
        let mut found = Vec::new();
        let mut rest = answer.as_str();
        loop {
            let mut end = rest.chars().next().map_or(0, char::len_utf8);
            if let Some(text) = longest_first.iter().find(|text| rest.starts_with(text.as_str())) {
                found.push(text.as_str());
                end = end.max(text.len());
            }
            if rest.is_empty() {
                break;
            }
            rest = &rest[end..];
        }
        let text = strip(selected(&found, self.select)?);
        if text.is_empty() {
            return None;
        }
        // Of equal choices the last counts.
        let index = texts.iter().rposition(|choice| choice == text);
        Some(index.map_or_else(|| text.to_owned(), letter))
    }

    fn by_letter(&self, answer: &str, n_choices: usize) -> Option<String> {
        let letters = answer.split(':').skip(1).filter_map(|behind| {
            let first = behind.trim_start_matches(is_whitespace).bytes().next()?;
            let index = usize::from(first.checked_sub(FIRST_LETTER)?);
            (index < n_choices).then_some(index)
        });
        let letters: Vec<usize> = letters.collect();
        selected(&letters, self.select).map(letter)
    }

    fn normalize(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.removed {
            text = pattern.remove(&text);
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text = remove_punctuation(&text);
        }
        text
    }
}

/// The name of a choice in what the filter gives.
fn letter(index: usize) -> String {
    let letter = u8::try_from(index).ok().and_then(|index| FIRST_LETTER.checked_add(index));
    format!("({})", letter.map_or('?', char::from))
}

fn selected<T: Copy>(found: &[T], select: i64) -> Option<T> {
    let index = match usize::try_from(select) {
        Ok(index) => index,
        Err(_) => found.len().checked_sub(select.unsigned_abs() as usize)?,
    };
    found.get(index).copied()
}

/// The length of a text as Python's `re.escape` writes it, by which the harness sorts.
fn escaped_length(text: &str) -> usize {
    let is_escaped = |c: &char| "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(*c);
    text.chars().count() + text.chars().filter(is_escaped).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(answer: &str, choices: &[&str]) -> Option<String> {
        let search = ChoiceSearch {
            removed: Vec::new(),
            ignore_case: true,
            ignore_punctuation: true,
            select: 0,
        };
        let choices: Vec<String> = choices.iter().map(|&text| text.to_owned()).collect();
        search.find(answer, &choices)
    }

    // The expected answers are those of lm-evaluation-harness 0.4.13.
    #[test]
    fn choices_are_found_by_text_and_then_by_letter() {
        let films = ["Guilty", "Guilty of Romance", "Other."];
        assert_eq!(find("It is guilty, of romance!", &films).as_deref(), Some("(B)"));
        assert_eq!(find("other? Guilty", &films).as_deref(), Some("(C)"));
        assert_eq!(find("Answer: B", &films).as_deref(), Some("(B)"));
        assert_eq!(find("Answer:\n D, or: C", &films).as_deref(), Some("(C)"));
        assert_eq!(find("Answer B", &films), None);
        assert_eq!(find("é", &["é", "É"]).as_deref(), Some("(B)"));
        assert_eq!(find("x", &["", "x"]).as_deref(), Some("(B)"));
        assert_eq!(find("y: A", &["", "x"]).as_deref(), Some("(A)"));
        assert_eq!(find("", &["a"]), None);
    }

    #[test]
    fn the_match_counts_that_is_asked_for() {
        let search = ChoiceSearch {
            removed: vec![Pattern::new("not a").expect("a pattern")],
            ignore_case: false,
            ignore_punctuation: false,
            select: -1,
        };
        let choices = ["a".to_owned(), "b".to_owned()];
        assert_eq!(search.find("a or b, not a", &choices).as_deref(), Some("(B)"));
        // Nothing is found behind everything.
        assert_eq!(search.find("x", &[String::new(), "x".to_owned()]), None);
    }
}

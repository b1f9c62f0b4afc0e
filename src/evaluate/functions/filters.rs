//! Filters that templates of substitutes have beside those of tasks.

use std::collections::HashMap;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::evaluate::python::{Pattern, parse_literal, strip};
use crate::evaluate::rolling::count_words;

/// Adds the filters to an environment. docs/functions.md lists them.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("strip", |text: &str| strip(text).to_owned());
    environment.add_filter("literal", literal);
    environment.add_filter("regex_find_all", regex_find_all);
    environment.add_filter("softmax", softmax);
    environment.add_filter("argmax", argmax);
    environment.add_filter("count_words", count_words);
    environment.add_filter("count_bytes", |text: &str| text.len());
    environment.add_filter("squad_words", squad_words);
    environment.add_filter("word_f1", word_f1);
}

/// `ast.literal_eval`.
fn literal(text: &str) -> Result<Value, Error> {
    match parse_literal(text) {
        Some(value) => Ok(Value::from(Serde(value))),
        None => Err(failure(format!("not a literal of Python: {text:?}"))),
    }
}

/// `re.findall`.
fn regex_find_all(text: &str, pattern: &str) -> Result<Value, Error> {
    let pattern = Pattern::new(pattern).map_err(failure)?;
    let matches = pattern.find_all(text).into_iter().map(|groups| match groups.as_slice() {
        [only] => Value::from(only.as_str()),
        _ => Value::from(groups),
    });
    Ok(matches.collect())
}

/// Probabilities of logarithms of their ratios.
fn softmax(logarithms: Vec<f64>) -> Vec<f64> {
    let most = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logarithms.iter().map(|logarithm| (logarithm - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Index of the largest number, the first of equal ones.
fn argmax(numbers: Vec<f64>) -> Result<usize, Error> {
    let mut best = None;
    for (index, number) in numbers.into_iter().enumerate() {
        if best.is_none_or(|(_, most)| number > most) {
            best = Some((index, number));
        }
    }
    best.map(|(index, _)| index).ok_or_else(|| failure("there is no number".to_owned()))
}

/// The words of an answer as SQuAD's script compares them: in lower case, without punctuation and
/// articles.
fn squad_words(text: &str) -> Vec<String> {
    let mut text = text.to_lowercase();
    text.retain(|c| !c.is_ascii_punctuation());
    let words = text.split(crate::evaluate::python::is_whitespace);
    let is_word = |word: &&str| !matches!(*word, "" | "a" | "an" | "the");
    words.filter(is_word).map(str::to_owned).collect()
}

/// F1 of words that two lists share, counted as often as both have them; of an empty list whether the
/// other one is empty, too.
fn word_f1(words: Vec<String>, right: Vec<String>) -> f64 {
    if words.is_empty() || right.is_empty() {
        return f64::from(u8::from(words.len() == right.len()));
    }
    let mut open: HashMap<&str, usize> = HashMap::new();
    for word in &right {
        *open.entry(word).or_default() += 1;
    }
    let mut shared = 0.0;
    for word in &words {
        if let Some(count) = open.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1.0;
        }
    }
    if shared == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (shared / words.len() as f64, shared / right.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

fn failure(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

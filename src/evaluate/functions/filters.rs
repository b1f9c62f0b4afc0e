//! Filters that templates of substitutes have beside those of tasks.

use std::sync::LazyLock;

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
    environment.add_filter("join_tokens", join_tokens);
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

/// A text as people write it, of one whose words and signs are apart as in WikiText.
fn join_tokens(text: &str) -> String {
    const BEFORE: [(&str, &str); 10] = [
        ("s '", "s'"),
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @.@ ", "."),
        (" : ", ": "),
        (" ; ", "; "),
        (" . ", ". "),
        (" ! ", "! "),
        (" ? ", "? "),
        (" , ", ", "),
    ];
    const AFTER: [(&str, &str); 8] = [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" ° ", "°"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ];
    // What stands between two signs, without the white space at its ends.
    static PAIRS: LazyLock<Vec<(Pattern, &str)>> = LazyLock::new(|| {
        let pairs = [
            (r"/' [0-9]/", r"/'[0-9]/"),
            (r"\(\s*([^\)]*?)\s*\)", r"(\1)"),
            (r"\[\s*([^\]]*?)\s*\]", r"[\1]"),
            (r"\{\s*([^}]*?)\s*\}", r"{\1}"),
            ("\"\\s*([^\"]*?)\\s*\"", "\"\\1\""),
            (r"'\s*([^']*?)\s*'", r"'\1'"),
        ];
        pairs.into_iter().filter_map(|(from, to)| Some((Pattern::new(from).ok()?, to))).collect()
    });
    let mut joined = text.to_owned();
    BEFORE.iter().for_each(|(from, to)| joined = joined.replace(from, to));
    PAIRS.iter().for_each(|(from, to)| joined = from.replace(&joined, to, 0));
    AFTER.iter().for_each(|(from, to)| joined = joined.replace(from, to));
    joined
}

fn failure(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

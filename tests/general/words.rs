//! Whether an expression can have come from a story: its numbers stand there, in digits or in words.

/// Words that stand for numbers which no story writes in digits.
const SPOKEN: [(&str, &[&str]); 7] = [
    ("2", &["twice", "half", "both", "back", "around", "legs"]),
    ("3", &["three", "third"]),
    ("4", &["four", "legs"]),
    ("7", &["week"]),
    ("12", &["dozen"]),
    ("60", &["hours"]),
    ("100", &["%"]),
];

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty())
}

/// Whether every number of the expression is told in the question.
pub(crate) fn tells_all(question: &str, expression: &str) -> bool {
    let lower = question.to_lowercase();
    let spoken = |number: &str| {
        let words = SPOKEN.iter().find(|(digits, _)| *digits == number);
        words.is_some_and(|(_, words)| words.iter().any(|word| lower.contains(word)))
    };
    numbers(expression).all(|number| numbers(question).any(|told| told == number) || spoken(number))
}

/// Whether the question has no number that the expression leaves unused.
pub(crate) fn needs_all(question: &str, expression: &str) -> bool {
    numbers(question).all(|told| numbers(expression).any(|number| number == told))
}

/// A question without its names and numbers: tellings of one story have the same.
pub(crate) fn story(question: &str) -> String {
    let told = question
        .split_whitespace()
        .filter(|word| !word.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()));
    told.collect::<Vec<_>>().join(" ")
}

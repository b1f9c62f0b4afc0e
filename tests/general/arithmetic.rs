//! The answer to a question of arithmetic, found from its text alone.

use super::expression;

/// The right answer to a question of a skill.
pub(crate) fn answer(skill: &str, question: &str) -> String {
    let asked = question.trim_end_matches('?');
    match skill {
        "largest" => largest(asked),
        "remainder" => {
            let numbers = numbers(asked);
            (numbers[0] % numbers[1]).to_string()
        }
        "part" => part(asked).to_string(),
        "sequence" => next(&numbers(asked)).to_string(),
        _ => expression::value(asked.strip_prefix("What is ").unwrap()).to_string(),
    }
}

fn words(asked: &str) -> impl Iterator<Item = &str> {
    asked.split([' ', ',', ':'])
}

fn numbers(asked: &str) -> Vec<i64> {
    words(asked).filter_map(|word| word.parse().ok()).collect()
}

fn largest(asked: &str) -> String {
    let decimals = words(asked).filter(|word| word.contains('.'));
    let value = |word: &str| word.parse::<f64>().unwrap();
    decimals.max_by(|a, b| value(a).total_cmp(&value(b))).unwrap().to_string()
}

/// A percentage or a fraction of a whole.
fn part(asked: &str) -> i64 {
    let (share, whole) = asked.strip_prefix("What is ").unwrap().split_once(" of ").unwrap();
    let (above, below) = match share.strip_suffix('%') {
        Some(percent) => (percent, "100"),
        None => share.split_once('/').unwrap(),
    };
    expression::value(&format!("{whole} * {above} / {below}"))
}

/// The number behind four with one difference or one ratio between them.
fn next(shown: &[i64]) -> i64 {
    let [a, b, c, d] = shown[..] else { panic!("{shown:?} are not four numbers") };
    if b - a == c - b && c - b == d - c {
        return d + (d - c);
    }
    assert!(
        b * b == a * c && c * c == b * d && d % c == 0,
        "{shown:?} have neither one difference nor one ratio"
    );
    d * (d / c)
}

//! What a scalar means where a type is expected, in YAML 1.1 as in 1.2.

use std::time::Duration;

/// Largest whole number up to which every one is an `f64`.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// The boolean that a word stands for; case aside.
pub fn boolean_of(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The finite number that a text reads as, such as `0.5` in quotes, or `1_000` as YAML 1.1 has it.
pub fn number_of(text: &str) -> Option<f64> {
    let text = text.trim();
    let parsed = match text.contains('_') && text.starts_with(|first: char| first != '_') {
        true => text.replace('_', "").parse(),
        false => text.parse(),
    };
    parsed.ok().filter(|number: &f64| number.is_finite())
}

/// The number as a whole one, when it is one and exact: `4.0` is, `1e300` is not.
pub fn whole_of(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= LARGEST_EXACT).then_some(number as i64)
}

/// The time, above 0, that a text says: seconds, or numbers with units such as `90s`, `30m`, `1h30m`, `2d`.
pub(super) fn duration_of(text: &str) -> Option<Duration> {
    let seconds = seconds_of(text).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|duration| !duration.is_zero())
}

fn seconds_of(text: &str) -> Option<f64> {
    let mut rest: String = text.split_whitespace().collect();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Some(seconds);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let behind = rest.split_off(end);
        let unit_end = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        total += number
            * match &behind[..unit_end] {
                "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = behind[unit_end..].to_owned();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_texts() {
        assert_eq!(
            ["Yes", "oN", "false", "maybe"].map(boolean_of),
            [Some(true), Some(true), Some(false), None]
        );
        assert_eq!(number_of(" 1e-5 "), Some(1e-5));
        assert_eq!(number_of("1_000.5"), Some(1000.5));
        assert_eq!(["nan", "_1", "inf", "", "1,5"].map(number_of), [None; 5]);
    }

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| duration_of(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("30m"), Some(1800.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1h 1.5s"), Some(3601.5));
        assert_eq!(seconds("90"), Some(90.0));
        for wrong in ["", "m", "30x", "3 0 q", "-5m", "m30", "0", "nan", "1e300"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whole_numbers_are_exact() {
        assert_eq!(whole_of(-4.0), Some(-4));
        assert_eq!([0.5, 1e300, f64::NAN, f64::INFINITY].map(whole_of), [None; 4]);
    }
}

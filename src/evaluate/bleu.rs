//! BLEU (Papineni et al. 2002) over a corpus, as sacrebleu computes it by default: four orders, the
//! tokens of `mteval-v13a`, exponential smoothing.

use super::ngrams::NGrams;
use super::python::is_whitespace;

const ORDERS: usize = 4;

/// Numbers for each item: shared n-grams and all n-grams of the answer by order, then the tokens of
/// the answer and those of the right text.
pub(super) const WIDTH: usize = 2 * ORDERS + 2;

/// A right text.
#[derive(Debug, Clone)]
pub(super) struct Reference(NGrams<String>);

impl Reference {
    pub(super) fn new(text: &str) -> Reference {
        Reference(NGrams::new(&tokens(text), ORDERS))
    }

    /// The counts of an answer.
    pub(super) fn row(&self, answer: &str) -> [f64; WIDTH] {
        let answer = tokens(answer);
        let mut row = [0.0; WIDTH];
        for (order, overlap) in self.0.overlaps(&answer).enumerate() {
            row[order] = overlap.shared as f64;
            row[ORDERS + order] = overlap.found as f64;
        }
        row[2 * ORDERS] = answer.len() as f64;
        row[2 * ORDERS + 1] = self.0.length() as f64;
        row
    }
}

/// BLEU in percent of summed counts.
pub(super) fn score(sums: &[f64]) -> f64 {
    let (shared, rest) = sums.split_at(ORDERS);
    let (all, lengths) = rest.split_at(ORDERS);
    if shared.iter().all(|&count| count == 0.0) || all.contains(&0.0) {
        return 0.0;
    }
    let mut smoothing = 1.0;
    let logarithms = shared.iter().zip(all).map(|(&shared, &all)| {
        if shared == 0.0 {
            smoothing *= 2.0;
            (100.0 / (smoothing * all)).ln()
        } else {
            (100.0 * shared / all).ln()
        }
    });
    let precision = (logarithms.sum::<f64>() / ORDERS as f64).exp();
    let (answer, right) = (lengths[0], lengths[1]);
    let brevity = if answer < right { (1.0 - right / answer).exp() } else { 1.0 };
    brevity * precision
}

/// The tokens of `mteval-v13a`: symbols stand alone, and so do points and commas outside numbers.
fn tokens(text: &str) -> Vec<String> {
    let mut text = text.trim_end_matches(is_whitespace).replace("<skipped>", "");
    text = text.replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    let is_mark = |c: char| matches!(c, '.' | ',');
    let mut chars: Vec<char> = format!(" {text} ").chars().collect();
    chars = chars.into_iter().flat_map(|c| around(c, is_symbol(c))).collect();
    chars = apart(&chars, |first, second| {
        (!first.is_ascii_digit() && is_mark(second)).then_some([first, ' ', second, ' '])
    });
    chars = apart(&chars, |first, second| {
        (is_mark(first) && !second.is_ascii_digit()).then_some([' ', first, ' ', second])
    });
    chars = apart(&chars, |first, second| {
        (first.is_ascii_digit() && second == '-').then_some([first, ' ', second, ' '])
    });
    let spaced: String = chars.into_iter().collect();
    spaced.split(is_whitespace).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// Symbols of ASCII that always stand alone.
fn is_symbol(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '\'' | ',' | '-' | '.')
}

/// A character, with spaces around it if it is to stand alone.
fn around(c: char, alone: bool) -> impl Iterator<Item = char> {
    let space = alone.then_some(' ');
    space.into_iter().chain([c]).chain(space)
}

/// Rewrites pairs of neighbours from left to right; a character is part of one pair at most.
fn apart(chars: &[char], rewrite: impl Fn(char, char) -> Option<[char; 4]>) -> Vec<char> {
    let mut written = Vec::with_capacity(chars.len() + chars.len() / 4);
    let mut rest = chars;
    while let [first, behind @ ..] = rest {
        let pair = behind.first().and_then(|&second| rewrite(*first, second));
        match pair {
            Some(pair) => {
                written.extend(pair);
                rest = &behind[1..];
            }
            None => {
                written.push(*first);
                rest = behind;
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::check_with_sacrebleu;
    use super::*;

    #[test]
    fn tokens_stand_apart_but_not_in_numbers() {
        let tokens = |text| tokens(text).join("|");
        assert_eq!(
            tokens("Costs $3,000.50, or \"so\"...\n"),
            "Costs|$|3,000.50|,|or|\"|so|\"|.|.|."
        );
        assert_eq!(
            tokens("re-use 3-4 it's &lt;b&gt; ex-\nample"),
            "re-use|3|-|4|it's|<|b|>|example"
        );
        assert_eq!(tokens(" <skipped> "), "");
    }

    #[test]
    fn scores_are_those_of_sacrebleu() {
        check_with_sacrebleu("bleu", |pairs| {
            let mut sums = [0.0; WIDTH];
            for (right, answer) in pairs {
                let row = Reference::new(right).row(answer);
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            score(&sums)
        });
    }
}

//! chrF (Popović 2015) and chrF++ (Popović 2017) over a corpus, as sacrebleu computes them by default:
//! six orders of characters without whitespace, two of words, recall counting twice as much as
//! precision.

use super::ngrams::{NGrams, Overlap};
use super::python::is_whitespace;

const CHARACTER_ORDERS: usize = 6;

const WORD_ORDERS: usize = 2;

/// Numbers for each order: n-grams of the answer, of the right text, and in both.
const PER_ORDER: usize = 3;

/// The square of how much more recall counts.
const BETA_SQUARED: f64 = 4.0;

/// Which n-grams count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chrf {
    word_orders: usize,
}

/// A right text.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    characters: NGrams<char>,
    words: NGrams<String>,
}

impl Chrf {
    /// chrF.
    pub(super) const CHARACTERS: Chrf = Chrf { word_orders: 0 };

    /// chrF++.
    pub(super) const WORDS_TOO: Chrf = Chrf { word_orders: WORD_ORDERS };

    /// How many numbers there are for each item.
    pub(super) const fn width(self) -> usize {
        (CHARACTER_ORDERS + self.word_orders) * PER_ORDER
    }

    /// Prepares a right text.
    pub(super) fn reference(self, text: &str) -> Reference {
        Reference {
            characters: NGrams::new(&characters(text), CHARACTER_ORDERS),
            words: NGrams::new(&words(text), self.word_orders),
        }
    }

    /// The score in percent of summed counts.
    pub(super) fn score(sums: &[f64]) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in sums.chunks_exact(PER_ORDER) {
            let (found, wanted, shared) = (order[0], order[1], order[2]);
            if found > 0.0 && wanted > 0.0 {
                precision += shared / found;
                recall += shared / wanted;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        precision /= orders;
        recall /= orders;
        let product = (1.0 + BETA_SQUARED) * precision * recall;
        100.0 * (product / (BETA_SQUARED * precision + recall))
    }
}

impl Reference {
    /// The counts of an answer.
    pub(super) fn row(&self, answer: &str) -> Vec<f64> {
        let (characters, words) = (characters(answer), words(answer));
        let overlaps = self.characters.overlaps(&characters).chain(self.words.overlaps(&words));
        overlaps
            .flat_map(|Overlap { found, wanted, shared }| {
                // Nothing can be right of an order that the right text does not have.
                let found = if wanted == 0 { 0 } else { found };
                [found as f64, wanted as f64, shared as f64]
            })
            .collect()
    }
}

fn characters(text: &str) -> Vec<char> {
    text.chars().filter(|&c| !is_whitespace(c)).collect()
}

/// Words, with one punctuation mark at the end or else at the beginning standing alone.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(is_whitespace).filter(|word| !word.is_empty()) {
        let mut middle = word.chars();
        let (first, last) = (middle.next(), middle.next_back());
        let cut = match (first, last) {
            (Some(_), Some(last)) if last.is_ascii_punctuation() => word.len() - last.len_utf8(),
            (Some(first), Some(_)) if first.is_ascii_punctuation() => first.len_utf8(),
            _ => 0,
        };
        let parts = [&word[..cut], &word[cut..]];
        words.extend(parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::check_with_sacrebleu;
    use super::*;

    fn check(kind: Chrf, name: &str) {
        check_with_sacrebleu(name, |pairs| {
            let mut sums = vec![0.0; kind.width()];
            for (right, answer) in pairs {
                let row = kind.reference(right).row(answer);
                assert_eq!(row.len(), sums.len());
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            Chrf::score(&sums)
        });
    }

    #[test]
    fn scores_are_those_of_sacrebleu() {
        check(Chrf::CHARACTERS, "chrf");
        check(Chrf::WORDS_TOO, "chrf++");
    }

    #[test]
    fn punctuation_stands_alone_on_one_side() {
        assert_eq!(words("(hi) 'tis . \"x\" a"), ["(hi", ")", "'", "tis", ".", "\"x", "\"", "a"]);
    }
}

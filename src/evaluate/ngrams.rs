//! Counts of n-grams, and how many of them two sequences share.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each n-gram occurs in a sequence, for every order from 1 up.
#[derive(Debug, Clone)]
pub(super) struct NGrams<T> {
    orders: Vec<HashMap<Box<[T]>, u32>>,
    length: usize,
}

/// Numbers of n-grams of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlap {
    /// In the sequence that is judged.
    pub(super) found: usize,
    /// In the one it is compared with.
    pub(super) wanted: usize,
    /// In both, each as often as in the one where it is rarer.
    pub(super) shared: usize,
}

impl<T: Hash + Eq + Clone> NGrams<T> {
    /// Counts the n-grams of a sequence up to an order.
    pub(super) fn new(sequence: &[T], orders: usize) -> NGrams<T> {
        let count = |order: usize| {
            let mut counts: HashMap<Box<[T]>, u32> = HashMap::new();
            for gram in sequence.windows(order) {
                *counts.entry(gram.into()).or_default() += 1;
            }
            counts
        };
        NGrams { orders: (1..=orders).map(count).collect(), length: sequence.len() }
    }

    /// Length of the sequence.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// What `sequence` has in common with the one counted, by order.
    pub(super) fn overlaps(&self, sequence: &[T]) -> impl Iterator<Item = Overlap> {
        let total = |length: usize, order: usize| (length + 1).saturating_sub(order);
        self.orders.iter().zip(1..).map(move |(counts, order)| {
            let mut found: HashMap<&[T], u32> = HashMap::new();
            for gram in sequence.windows(order) {
                *found.entry(gram).or_default() += 1;
            }
            let shared = |(gram, &times): (&&[T], &u32)| {
                counts.get(*gram).map_or(0, |&wanted| wanted.min(times) as usize)
            };
            Overlap {
                found: total(sequence.len(), order),
                wanted: total(self.length, order),
                shared: found.iter().map(shared).sum(),
            }
        })
    }
}

/// Compares scores of corpora, given as pairs of a right text and an answer, with those of sacrebleu;
/// see tests/golden/evaluate/corpus.py.
#[cfg(test)]
pub(super) fn check_with_sacrebleu(metric: &str, score: impl Fn(&[(String, String)]) -> f64) {
    let text = include_str!("../../tests/golden/evaluate/corpus.json");
    let corpora: Vec<serde_json::Value> = serde_json::from_str(text).expect("golden data");
    for corpus in corpora {
        let pairs = serde_json::from_value::<Vec<(String, String)>>(corpus["pairs"].clone());
        let found = score(&pairs.expect("pairs of texts"));
        let expected = corpus[metric].as_f64().expect("a score");
        assert!((found - expected).abs() < 1e-9, "{metric}: {found} {expected} {corpus}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_n_grams_count_as_often_as_in_both() {
        let counted = NGrams::new(&['a', 'b', 'a', 'b'], 3);
        let overlaps: Vec<_> = counted.overlaps(&['a', 'b', 'b', 'b']).collect();
        let expected = [(4, 4, 3), (3, 3, 1), (2, 2, 0)];
        let expected = expected.map(|(found, wanted, shared)| Overlap { found, wanted, shared });
        assert_eq!(overlaps, expected);
        let short: Vec<_> = counted.overlaps(&[]).map(|overlap| overlap.found).collect();
        assert_eq!(short, [0, 0, 0]);
    }
}

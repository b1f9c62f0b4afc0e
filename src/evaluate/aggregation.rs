//! What is made of a metric's values on single items: a figure, and its standard error.

use serde::Serialize;

use super::chrf::Chrf;
use super::{MetricValues, bleu, bootstrap};

/// Most replicates for figures that are costly to compute.
const FEWER_ITERATIONS: usize = 100;

/// The class that F1 is about.
const POSITIVE: f64 = 1.0;

/// How a task's figure is made of the values on its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Aggregation {
    /// The mean.
    Mean,
    /// The middle one; of an even number the upper of the two.
    Median,
    /// The mean of those that are numbers.
    NanMean,
    /// `exp(−mean)`.
    Perplexity,
    /// `exp(−Σa / Σb)` of pairs.
    WeightedPerplexity,
    /// `−Σa / Σb / ln 2` of pairs.
    BitsPerByte,
    /// The harmonic mean of precision and recall of class 1, of pairs of what is right and what is
    /// chosen.
    F1,
    /// The mean over classes of the same of each class, weighted by how often it is right.
    WeightedF1,
    /// The same of all classes' counts together: the share of pairs that agree.
    MicroF1,
    /// Matthews correlation of what is right and what is chosen, for any number of classes.
    Mcc,
    /// The mean of squared distances.
    BrierScore,
    /// BLEU of counts.
    Bleu,
    /// chrF of counts, whichever orders they are of.
    Chrf,
    /// Edits per word of the right texts, in percent.
    Ter,
}

/// Where a standard error comes from.
enum ErrorRule {
    /// The deviation of the values.
    Mean,
    /// Drawing the items again, at most so many times.
    Bootstrap(usize),
    Missing,
}

impl Aggregation {
    /// Those of the values that templates compute.
    pub(super) const OF_TEMPLATES: &[Aggregation] = &[
        Aggregation::Mean,
        Aggregation::Median,
        Aggregation::NanMean,
        Aggregation::Perplexity,
        Aggregation::WeightedPerplexity,
        Aggregation::BitsPerByte,
        Aggregation::F1,
        Aggregation::WeightedF1,
        Aggregation::MicroF1,
        Aggregation::Mcc,
    ];

    /// How many numbers of an item it needs of [`Aggregation::OF_TEMPLATES`].
    pub(super) fn width(self) -> usize {
        match self {
            Aggregation::WeightedPerplexity
            | Aggregation::BitsPerByte
            | Aggregation::F1
            | Aggregation::WeightedF1
            | Aggregation::MicroF1
            | Aggregation::Mcc => 2,
            _ => 1,
        }
    }

    /// Its names in task files, the usual one first.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Aggregation::Mean => &["mean"],
            Aggregation::Median => &["median"],
            Aggregation::NanMean => &["nanmean"],
            Aggregation::Perplexity => &["perplexity"],
            Aggregation::WeightedPerplexity => &["weighted_perplexity"],
            Aggregation::BitsPerByte => &["bits_per_byte"],
            Aggregation::F1 => &["f1"],
            Aggregation::WeightedF1 => &["weighted_f1"],
            Aggregation::MicroF1 => &["micro_f1"],
            Aggregation::Mcc => &["matthews_corrcoef", "mcc"],
            Aggregation::BrierScore => &["brier_score"],
            Aggregation::Bleu => &["bleu"],
            Aggregation::Chrf => &["chrf", "chrf++"],
            Aggregation::Ter => &["ter"],
        }
    }

    /// The figure of all items.
    pub(super) fn of(self, values: &MetricValues) -> f64 {
        self.over(values, 0..values.n_items())
    }

    /// The figure's standard error, as the harness computes it; `None` where it has none.
    pub(super) fn standard_error(self, values: &MetricValues, iterations: usize) -> Option<f64> {
        if iterations == 0 || values.n_items() < 2 {
            return None;
        }
        match self.error_rule() {
            ErrorRule::Mean => {
                let deviation = bootstrap::sample_deviation(values.numbers());
                Some(deviation / (values.n_items() as f64).sqrt())
            }
            ErrorRule::Bootstrap(most) => {
                let figure = |items: &[usize]| self.over(values, items.iter().copied());
                Some(bootstrap::standard_error(values.n_items(), iterations.min(most), figure))
            }
            ErrorRule::Missing => None,
        }
    }

    fn error_rule(self) -> ErrorRule {
        match self {
            Aggregation::Mean => ErrorRule::Mean,
            Aggregation::Bleu | Aggregation::Chrf | Aggregation::Ter => {
                ErrorRule::Bootstrap(FEWER_ITERATIONS)
            }
            Aggregation::Median
            | Aggregation::NanMean
            | Aggregation::Perplexity
            | Aggregation::F1
            | Aggregation::Mcc => ErrorRule::Bootstrap(usize::MAX),
            Aggregation::WeightedPerplexity
            | Aggregation::BitsPerByte
            | Aggregation::WeightedF1
            | Aggregation::MicroF1
            | Aggregation::BrierScore => ErrorRule::Missing,
        }
    }

    /// The figure of some items, which may repeat. Sums are taken in their order.
    fn over(
        self,
        values: &MetricValues,
        items: impl ExactSizeIterator<Item = usize> + Clone,
    ) -> f64 {
        let n_items = items.len() as f64;
        let numbers = values.numbers();
        let first = items.clone().map(|item| numbers[item * values.width()]);
        let second = items.clone().map(|item| numbers[item * values.width() + 1]);
        match self {
            Aggregation::Mean | Aggregation::BrierScore => first.sum::<f64>() / n_items,
            Aggregation::Median => median(first.collect()),
            Aggregation::NanMean => {
                let known = first.filter(|value| !value.is_nan());
                known.clone().sum::<f64>() / known.count() as f64
            }
            Aggregation::Perplexity => (-(first.sum::<f64>() / n_items)).exp(),
            Aggregation::WeightedPerplexity => (-(first.sum::<f64>() / second.sum::<f64>())).exp(),
            Aggregation::BitsPerByte => {
                -(first.sum::<f64>() / second.sum::<f64>()) / std::f64::consts::LN_2
            }
            Aggregation::F1 => f1(first.zip(second)),
            Aggregation::WeightedF1 => weighted_f1(first.zip(second)),
            Aggregation::MicroF1 => {
                let agreeing = first.zip(second).filter(|(right, chosen)| right == chosen).count();
                agreeing as f64 / n_items
            }
            Aggregation::Mcc => matthews_correlation(first.zip(second), n_items),
            Aggregation::Bleu => bleu::score(&column_sums(values, items)),
            Aggregation::Chrf => Chrf::score(&column_sums(values, items)),
            Aggregation::Ter => {
                let (edits, words) = (first.sum::<f64>(), second.sum::<f64>());
                ter(edits, words)
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

fn f1(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut both, mut either) = (0.0, 0.0);
    for (right, chosen) in pairs {
        let (right, chosen) = (right == POSITIVE, chosen == POSITIVE);
        both += f64::from(u8::from(right && chosen));
        either += f64::from(u8::from(right)) + f64::from(u8::from(chosen));
    }
    if either == 0.0 { 0.0 } else { 2.0 * both / either }
}

/// F1 of every class, in their order, weighted by how often it is right.
fn weighted_f1(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let pairs: Vec<(f64, f64)> = pairs.collect();
    let mut classes: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    classes.sort_by(f64::total_cmp);
    classes.dedup();
    let weighted = classes.into_iter().map(|class| {
        let of_class = pairs.iter().map(|pair| (pair.0 == class, pair.1 == class));
        let (mut both, mut right, mut chosen) = (0.0, 0.0, 0.0);
        for (is_right, is_chosen) in of_class {
            both += f64::from(u8::from(is_right && is_chosen));
            right += f64::from(u8::from(is_right));
            chosen += f64::from(u8::from(is_chosen));
        }
        2.0 * both / (right + chosen) * right
    });
    weighted.sum::<f64>() / pairs.len() as f64
}

/// Gorodkin's correlation of two divisions into classes (2004), which is Matthews' of two; 0 where
/// one of them has a single class.
fn matthews_correlation(pairs: impl Iterator<Item = (f64, f64)>, n_items: f64) -> f64 {
    // Class, how often it is right, how often it is chosen.
    let mut classes: Vec<(f64, f64, f64)> = Vec::new();
    let index_of = |class: f64, classes: &mut Vec<(f64, f64, f64)>| {
        classes.iter().position(|known| known.0 == class).unwrap_or_else(|| {
            classes.push((class, 0.0, 0.0));
            classes.len() - 1
        })
    };
    let mut agreeing = 0.0;
    for (right, chosen) in pairs {
        let index = index_of(right, &mut classes);
        classes[index].1 += 1.0;
        let index = index_of(chosen, &mut classes);
        classes[index].2 += 1.0;
        agreeing += f64::from(u8::from(right == chosen));
    }
    let sum = |product: fn(&(f64, f64, f64)) -> f64| classes.iter().map(product).sum::<f64>();
    let covariance = agreeing * n_items - sum(|(_, right, chosen)| right * chosen);
    let of_right = n_items * n_items - sum(|(_, right, _)| right * right);
    let of_chosen = n_items * n_items - sum(|(_, _, chosen)| chosen * chosen);
    if of_right * of_chosen == 0.0 { 0.0 } else { covariance / (of_right * of_chosen).sqrt() }
}

/// Edits per word in percent; without words, 100 if there are edits at all.
fn ter(edits: f64, words: f64) -> f64 {
    match words {
        0.0 if edits > 0.0 => 100.0,
        0.0 => 0.0,
        _ => 100.0 * edits / words,
    }
}

fn column_sums(values: &MetricValues, items: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut sums = vec![0.0; values.width()];
    for item in items {
        for (sum, value) in sums.iter_mut().zip(values.row(item)) {
            *sum += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(f64, f64)]) -> MetricValues {
        let mut values = MetricValues::new(2);
        pairs.iter().for_each(|&(a, b)| values.push(&[a, b]));
        values
    }

    #[test]
    fn figures_of_numbers() {
        let values = MetricValues::single(vec![3.0, 1.0, 2.0, f64::NAN]);
        assert_eq!(Aggregation::NanMean.of(&values), 2.0);
        let values = values.slice(0..3);
        assert_eq!(Aggregation::Mean.of(&values), 2.0);
        assert_eq!(Aggregation::Median.of(&values), 2.0);
        assert_eq!(Aggregation::Median.of(&values.slice(0..2)), 3.0);
        assert_eq!(Aggregation::Perplexity.of(&values), (-2.0_f64).exp());
        // What overflows is infinite, where the harness fails.
        assert_eq!(Aggregation::Perplexity.of(&MetricValues::single(vec![-1e4])), f64::INFINITY);
    }

    #[test]
    fn figures_of_texts_are_weighted() {
        let values = pairs(&[(-4.0, 2.0), (-2.0, 4.0)]);
        assert_eq!(Aggregation::WeightedPerplexity.of(&values), 1.0_f64.exp());
        assert_eq!(Aggregation::BitsPerByte.of(&values), 1.0 / std::f64::consts::LN_2);
        assert_eq!(Aggregation::WeightedPerplexity.standard_error(&values, 1000), None);
    }

    #[test]
    fn agreement_with_what_is_right() {
        let values = pairs(&[(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)]);
        assert!((Aggregation::F1.of(&values) - 2.0 / 3.0).abs() < 1e-15);
        // (tp·tn − fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn)), with tp = 2 and 1 for the others.
        assert!((Aggregation::Mcc.of(&values) - 1.0 / 6.0).abs() < 1e-15);
        let one_sided = pairs(&[(0.0, 0.0), (0.0, 2.0)]);
        assert_eq!(Aggregation::F1.of(&one_sided), 0.0);
        assert_eq!(Aggregation::Mcc.of(&one_sided), 0.0);
    }

    #[test]
    fn the_error_of_a_mean_is_that_of_its_sample() {
        let error = |values, iterations| {
            Aggregation::Mean.standard_error(&MetricValues::single(values), iterations)
        };
        assert_eq!(error(vec![1.0], 10), None);
        assert_eq!(error(vec![1.0, 0.0], 0), None);
        let found = error(vec![1.0, 0.0, 0.0, 1.0], 10).expect("four values");
        assert!((found - 0.288_675_134_594_812_9).abs() < 1e-15);
    }

    #[test]
    fn texts_without_words_count_as_wrong_altogether() {
        assert_eq!(Aggregation::Ter.of(&pairs(&[(3.0, 0.0)])), 100.0);
        assert_eq!(Aggregation::Ter.of(&pairs(&[(0.0, 0.0)])), 0.0);
        assert_eq!(Aggregation::Ter.of(&pairs(&[(1.0, 2.0), (2.0, 4.0)])), 50.0);
    }
}

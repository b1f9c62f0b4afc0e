//! Intervals by the bootstrap: how far a score would move on other items of the same kind.
//!
//! The items of each task are drawn again with replacement, as many as there are, and the score is
//! computed anew; 95 % of the replicates lie in the interval (percentile method, Efron 1979). All
//! models are scored on the same draws, so differences between two models are paired: items that are
//! hard for both cancel. Resampling knows no values but those it was given: items that all score alike,
//! or a single one, give an interval without width, which says nothing about other items. Draws are keyed by (seed, task) and do not depend on anything else.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::objective::Objective;
use super::record::{Estimate, Scores, Term};
use crate::evaluate::MetricValues;

/// Number of replicates. One less than a round number, so that both percentiles are single values.
const REPLICATES: usize = 9_999;

/// Replicates outside the interval on each side.
const TAIL: usize = (REPLICATES + 1) / 40 - 1;

/// Sets a metric from the values of single items.
pub type Aggregate<'a> = &'a dyn Fn(&Term, &MetricValues) -> f64;

/// The replicated scores of several models on common draws.
#[derive(Debug)]
pub struct Bootstrap {
    scores: Vec<f64>,
    replicates: Vec<Vec<f64>>,
}

impl Bootstrap {
    /// Resamples the items of `models`, which must have been scored on the same items.
    pub fn new(
        objective: &Objective,
        models: &[&Scores],
        aggregate: Aggregate<'_>,
        seed: u64,
    ) -> Self {
        let terms = objective.terms();
        // One value per term, replicate and model: terms of the same task share their draws.
        let mut values = vec![vec![vec![0.0; terms.len()]; REPLICATES]; models.len()];
        for task in objective.tasks() {
            let mut draws = draws(task, seed);
            let of_task: Vec<_> =
                (0..terms.len()).filter(|&position| terms[position].task == task).collect();
            let n_items = models
                .iter()
                .flat_map(|model| model.tasks[task].items.values())
                .map(|items| items.0.n_items())
                .min()
                .unwrap_or(0);
            let mut resampled = MetricValues::new(1);
            for replicate in 0..REPLICATES {
                let items: Vec<_> = (0..n_items).map(|_| below(&mut draws, n_items)).collect();
                for (model, values) in models.iter().zip(&mut values) {
                    for &position in &of_task {
                        let all = &model.tasks[task].items[&terms[position].metric].0;
                        resampled.assign(all, &items);
                        values[replicate][position] = aggregate(&terms[position], &resampled);
                    }
                }
            }
        }
        let replicates = values
            .into_iter()
            .map(|replicates| replicates.into_iter().map(|v| objective.score(v)).collect())
            .collect();
        Self { scores: models.iter().map(|model| model.score).collect(), replicates }
    }

    /// The score of one model.
    pub fn score(&self, model: usize) -> Estimate {
        estimate(self.scores[model], self.replicates[model].clone())
    }

    /// The score of one model minus that of another.
    pub fn difference(&self, model: usize, other: usize) -> Estimate {
        let pairs = self.replicates[model].iter().zip(&self.replicates[other]);
        let differences = pairs.map(|(score, other)| score - other).collect();
        estimate(self.scores[model] - self.scores[other], differences)
    }
}

fn estimate(value: f64, mut replicates: Vec<f64>) -> Estimate {
    replicates.sort_unstable_by(f64::total_cmp);
    Estimate { value, low: replicates[TAIL], high: replicates[REPLICATES - 1 - TAIL] }
}

fn draws(task: &str, seed: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(b"bootstrap");
    hash.update(seed.to_le_bytes());
    hash.update(task.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// A whole number below `limit`; its bias is below `limit / 2³²`.
fn below(draws: &mut ChaCha8Rng, limit: usize) -> usize {
    ((u64::from(draws.next_u32()) * limit as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn mean(_: &Term, values: &MetricValues) -> f64 {
        values.numbers().iter().sum::<f64>() / values.n_items() as f64
    }

    /// 200 items of which the first `right` are answered rightly.
    fn scores(right: usize) -> Scores {
        let items = |n: usize| (0..200).map(|item| f64::from(u8::from(item < n))).collect();
        testing::scores(&[("one", items(right)), ("two", items(100))])
    }

    #[test]
    fn an_interval_of_an_accuracy_is_as_wide_as_theory_says() {
        let model = scores(150);
        let bootstrap = Bootstrap::new(&testing::objective(), &[&model], &mean, 0);
        let estimate = bootstrap.score(0);
        assert_eq!(estimate.value, 1.25);
        // Two binomial shares with variances p (1 − p) / n.
        let expected = 1.96 * (0.75 * 0.25 / 200.0 + 0.25 / 200.0f64).sqrt();
        let half = (estimate.high - estimate.low) / 2.0;
        assert!((half / expected - 1.0).abs() < 0.05, "{half} instead of {expected}");
    }

    #[test]
    fn a_paired_difference_is_narrower_than_two_intervals() {
        let (better, worse) = (scores(150), scores(140));
        let bootstrap = Bootstrap::new(&testing::objective(), &[&better, &worse], &mean, 0);
        let gain = bootstrap.difference(0, 1);
        assert!((gain.value - 0.05).abs() < 1e-12);
        assert!(gain.low > 0.0, "ten items more, none less: {gain:?}");
        assert!(bootstrap.score(0).low < bootstrap.score(1).high);
        let itself = bootstrap.difference(1, 1);
        assert_eq!((itself.low, itself.value, itself.high), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_numbers_of_an_item_are_drawn_together() {
        let mut model = scores(150);
        let mut values = MetricValues::new(2);
        (0..200).for_each(|item| values.push(&[2.0 * f64::from(item), f64::from(item)]));
        for task in model.tasks.values_mut() {
            task.items["acc,none"].0 = values.clone();
        }
        // A ratio that is the same for every item has no spread.
        let ratio = |_: &Term, values: &MetricValues| {
            let sums = values.rows().fold([0.0; 2], |[a, b], row| [a + row[0], b + row[1]]);
            sums[0] / sums[1]
        };
        let estimate = Bootstrap::new(&testing::objective(), &[&model], &ratio, 0).score(0);
        assert_eq!((estimate.low, estimate.high), (4.0, 4.0));
    }

    #[test]
    fn draws_depend_on_the_seed_alone() {
        let (model, other) = (scores(150), scores(20));
        let objective = testing::objective();
        let alone = Bootstrap::new(&objective, &[&model], &mean, 3).score(0);
        let together = Bootstrap::new(&objective, &[&other, &model], &mean, 3).score(1);
        assert_eq!(alone, together);
        assert_ne!(alone, Bootstrap::new(&objective, &[&model], &mean, 4).score(0));
    }
}

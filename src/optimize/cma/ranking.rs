//! From outcomes to weights: ties share theirs, failures come last.
//!
//! Candidates of equal value get the mean of the weights of the ranks they take up together
//! (Ollivier et al. 2017, <https://jmlr.org/papers/v18/14-467.html>). So the update depends neither
//! on the order in which outcomes arrive nor on how a sort breaks ties.

use super::parameters::Parameters;

/// The ranked outcomes of one generation, lost candidates left out.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::optimize) struct Ranking {
    /// Positions of the candidates, best first; equal ones in the order asked.
    pub(in crate::optimize) order: Vec<usize>,
    /// Their values, best first; shorter than `order` by the number of infeasible ones.
    pub(in crate::optimize) values: Vec<f64>,
    /// One past the last rank of each group of equals, in ascending order.
    group_ends: Vec<usize>,
}

/// What each ranked candidate counts in the update.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::optimize) struct Weights {
    /// In the mean: not negative, sum 1.
    pub(in crate::optimize) mean: Vec<f64>,
    /// In the covariance matrix: the same, or negative.
    pub(in crate::optimize) covariance: Vec<f64>,
    /// Number of equal weights that would average as well as those of the mean.
    pub(in crate::optimize) mu_eff: f64,
    /// Whether the path of the mean enters the covariance matrix.
    pub(in crate::optimize) rank_one: bool,
}

impl Ranking {
    /// Ranks values; `None` stands for an infeasible candidate. Neighbours join the group before
    /// them if they equal its best value, or differ from it by less than `resolution`.
    pub(in crate::optimize) fn new(outcomes: &[Option<f64>], resolution: f64) -> Self {
        let key = |&position: &usize| outcomes[position].unwrap_or(f64::INFINITY);
        let mut order: Vec<usize> = (0..outcomes.len()).collect();
        order.sort_by(|a, b| key(a).partial_cmp(&key(b)).expect("values are not NaN"));
        let values: Vec<f64> = order.iter().map_while(|&position| outcomes[position]).collect();

        let mut group_ends = Vec::new();
        let mut best = 0;
        for rank in 1..values.len() {
            if values[rank] != values[best] && values[rank] - values[best] >= resolution {
                group_ends.push(rank);
                best = rank;
            }
        }
        if !values.is_empty() {
            group_ends.push(values.len());
        }
        if values.len() < order.len() {
            group_ends.push(order.len());
        }
        Self { order, values, group_ends }
    }

    /// Whether the best value is that of three quarters of the generation.
    pub(in crate::optimize) fn is_flat(&self) -> bool {
        !self.values.is_empty() && 4 * self.group_ends[0] >= 3 * self.order.len()
    }

    /// The weights of the candidates from the best on; `None` if none is feasible.
    ///
    /// If more than half are infeasible, positive weights would fall on them. Then only the scored
    /// ones count, as the better half of a population twice as large as they are.
    pub(in crate::optimize) fn weights(&self, parameters: &Parameters) -> Option<Weights> {
        let n_scored = self.values.len();
        if n_scored == 0 {
            return None;
        }
        let mostly_infeasible = 2 * n_scored < self.order.len();
        let full = if mostly_infeasible {
            let mut weights = parameters.weights(2 * n_scored);
            weights.truncate(n_scored);
            weights
        } else {
            parameters.weights(self.order.len())
        };
        let positive: Vec<f64> = full.iter().map(|weight| weight.max(0.0)).collect();
        let mean = self.shared(&positive);
        Some(Weights {
            mu_eff: 1.0 / mean.iter().map(|weight| weight * weight).sum::<f64>(),
            mean,
            covariance: self.shared(&full),
            rank_one: !mostly_infeasible || n_scored > 1,
        })
    }

    /// Gives every member of a group the mean of the group's weights.
    fn shared(&self, weights: &[f64]) -> Vec<f64> {
        let mut shared = Vec::with_capacity(weights.len());
        for &end in &self.group_ends {
            let start = shared.len();
            let end = end.min(weights.len());
            if start < end {
                let group = &weights[start..end];
                let mean = match group {
                    [alone] => *alone,
                    _ => group.iter().sum::<f64>() / group.len() as f64,
                };
                shared.resize(end, mean);
            }
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::cma::options::{Constants, Variant};

    fn parameters() -> Parameters {
        Parameters::new(5, 8, Constants::Tutorial, Variant::Full)
    }

    #[test]
    fn without_ties_the_weights_are_the_standard_ones() {
        let outcomes: Vec<_> = [3.0, 1.0, 2.0, 5.0, 4.0, 8.0, 7.0, 6.0].map(Some).to_vec();
        let ranking = Ranking::new(&outcomes, 0.0);
        assert_eq!(ranking.order, [1, 2, 0, 4, 3, 7, 6, 5]);
        let weights = ranking.weights(&parameters()).unwrap();
        assert_eq!(weights.covariance, parameters().weights(8));
        assert!(weights.rank_one);
    }

    #[test]
    fn ties_share_their_weights() {
        let outcomes: Vec<_> = [1.0, 0.0, 1.0, 2.0, 2.0, 2.0, -0.0, 2.0].map(Some).to_vec();
        let weights = Ranking::new(&outcomes, 0.0).weights(&parameters()).unwrap();
        let standard = parameters().weights(8);
        assert_eq!(weights.mean[0], (standard[0] + standard[1]) / 2.0);
        assert_eq!(weights.mean[0], weights.mean[1]);
        assert_eq!(weights.mean[3], (standard[2] + standard[3]) / 2.0);
        assert_eq!(weights.mean[4..], [0.0; 4]);
        assert_eq!(weights.covariance[4], standard[4..].iter().sum::<f64>() / 4.0);
        let sum = |weights: &[f64]| weights.iter().sum::<f64>();
        assert!((sum(&weights.covariance) - sum(&standard)).abs() < 1e-15);
    }

    #[test]
    fn resolution_joins_neighbours() {
        let outcomes = [0.1, 0.14, 0.2, 0.3].map(Some);
        assert_eq!(Ranking::new(&outcomes, 0.05).group_ends, [2, 3, 4]);
        assert_eq!(Ranking::new(&outcomes, 0.15).group_ends, [3, 4]);
        assert_eq!(Ranking::new(&outcomes, 0.0).group_ends, [1, 2, 3, 4]);
    }

    #[test]
    fn infeasible_candidates_tie_for_the_last_rank() {
        let outcomes = [None, Some(1.0), None, Some(0.0), Some(2.0), Some(3.0), None, None];
        let weights = Ranking::new(&outcomes, 0.0).weights(&parameters()).unwrap();
        assert_eq!(weights.mean.len(), 8);
        assert_eq!(weights.covariance[4], weights.covariance[7]);
        assert!(weights.covariance[4] < 0.0);
    }

    #[test]
    fn a_feasible_minority_recombines_alone() {
        let mut outcomes = [None; 8];
        assert_eq!(Ranking::new(&outcomes, 0.0).weights(&parameters()), None);

        outcomes[5] = Some(1.0);
        let weights = Ranking::new(&outcomes, 0.0).weights(&parameters()).unwrap();
        assert_eq!((weights.mean, weights.covariance), (vec![1.0], vec![1.0]));
        assert!(!weights.rank_one);

        outcomes[1] = Some(2.0);
        outcomes[2] = Some(3.0);
        let weights = Ranking::new(&outcomes, 0.0).weights(&parameters()).unwrap();
        assert_eq!(weights.mean, parameters().weights(6)[..3]);
        assert_eq!(weights.covariance, weights.mean);
        assert!(weights.rank_one);
    }

    #[test]
    fn flat_means_three_quarters_share_the_best_value() {
        let flat = |outcomes: &[Option<f64>]| Ranking::new(outcomes, 0.0).is_flat();
        assert!(flat(&[Some(1.0), Some(1.0), Some(1.0), Some(2.0)]));
        assert!(!flat(&[Some(1.0), Some(1.0), Some(2.0), Some(2.0)]));
        assert!(!flat(&[Some(1.0), Some(1.0), None, None]));
        assert!(!flat(&[None, None, None, None]));
    }
}

//! The constants of CMA-ES, as functions of dimension and population size.
//!
//! Hansen 2016, revision of 2023, table 1 (<https://arxiv.org/abs/1604.00772>); the equations cited
//! below are its. Where pycma and cmaes differ, [`Constants`] decides.

use super::options::{Constants, Variant};

/// Constants of one run.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::optimize) struct Parameters {
    /// n, number of coordinates.
    pub(in crate::optimize) dimension: usize,
    /// λ, candidates per generation.
    pub(in crate::optimize) population_size: usize,
    /// Learning rate of the path of the step size.
    pub(in crate::optimize) c_sigma: f64,
    /// Damping of the step size.
    pub(in crate::optimize) d_sigma: f64,
    /// Learning rate of the path of the covariance.
    pub(in crate::optimize) c_c: f64,
    /// Learning rate of the rank-one update.
    pub(in crate::optimize) c_1: f64,
    /// Learning rate of the rank-μ update.
    pub(in crate::optimize) c_mu: f64,
    /// χₙ, expected length of a standard normal vector.
    pub(in crate::optimize) chi: f64,
    /// Largest exponent by which the step size may grow in one generation.
    pub(in crate::optimize) max_sigma_exponent: f64,
    /// By how many generations the correction for the young path runs ahead.
    pub(in crate::optimize) path_lead: u64,
    /// Whether only the better half counts.
    pub(in crate::optimize) positive_only: bool,
}

impl Parameters {
    /// The constants for `n` coordinates and `population_size` candidates, at least 4.
    pub(in crate::optimize) fn new(
        n: usize,
        population_size: usize,
        constants: Constants,
        variant: Variant,
    ) -> Self {
        let mut parameters = Self::of_full_matrix(n, population_size, constants);
        if variant == Variant::Separable {
            parameters.learn_variances_only();
        }
        parameters
    }

    fn of_full_matrix(n: usize, population_size: usize, constants: Constants) -> Self {
        let dimension = n;
        let n = n as f64;
        let mu_eff = effective_number(&raw_weights(population_size)[..population_size / 2]);

        let c_sigma = match constants {
            Constants::Pycma => ((mu_eff + 2.0) / (n + mu_eff + 3.0)).min(0.5),
            _ => (mu_eff + 2.0) / (n + mu_eff + 5.0),
        };
        let excess = ((mu_eff - 1.0) / (n + 1.0)).sqrt();
        let weight_of_excess = match constants {
            Constants::Pycma => (3.0 * (1.0 - libm::pow(0.5, n / 9.0))).max(1.0),
            _ => 1.0,
        };
        let d_sigma = 1.0 + 2.0 * (weight_of_excess * excess - 1.0).max(0.0) + c_sigma;
        let c_c = (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n);

        let small_population = match constants {
            Constants::Cmaes => 1.0,
            _ => (population_size as f64 / 6.0).min(1.0),
        };
        let c_1 = small_population * 2.0 / ((n + 1.3) * (n + 1.3) + mu_eff);
        let offset = if constants == Constants::Cmaes { 0.0 } else { 0.25 };
        let c_mu = (2.0 * (offset + mu_eff + 1.0 / mu_eff - 2.0)
            / ((n + 2.0) * (n + 2.0) + mu_eff))
            .min(1.0 - c_1);

        Self {
            dimension,
            population_size,
            c_sigma,
            d_sigma,
            c_c,
            c_1,
            c_mu,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
            max_sigma_exponent: if constants == Constants::Cmaes { f64::INFINITY } else { 1.0 },
            path_lead: u64::from(constants == Constants::Cmaes),
            positive_only: false,
        }
    }

    /// Variances are fewer than covariances, so they can be learnt faster (Ros & Hansen 2008,
    /// <https://hal.inria.fr/inria-00287367>).
    fn learn_variances_only(&mut self) {
        self.positive_only = true;
        let n = self.dimension as f64;
        let mu_eff = effective_number(&positive_weights(self.population_size / 2));
        self.c_sigma = (mu_eff + 2.0) / (n + mu_eff + 3.0);
        let excess = ((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0;
        self.d_sigma = 1.0 + 2.0 * excess.max(0.0) + self.c_sigma;
        self.c_c = 4.0 / (n + 4.0);
        self.c_1 = 2.0 / ((n + 1.3) * (n + 1.3) + mu_eff);
        let root = n + std::f64::consts::SQRT_2;
        let rank_mu = 2.0 / (mu_eff * root * root)
            + (1.0 - 1.0 / mu_eff)
                * ((2.0 * mu_eff - 1.0) / ((n + 2.0) * (n + 2.0) + mu_eff)).min(1.0);
        self.c_mu = ((n + 2.0) / 3.0 * rank_mu).min(1.0 - self.c_1);
    }

    /// The weights of `count` ranked candidates, best first (equations 49–53): the better half's
    /// are positive and sum to 1, the others are negative or zero. The learning rates stay those
    /// of the whole population.
    pub(in crate::optimize) fn weights(&self, count: usize) -> Vec<f64> {
        if self.positive_only {
            let mut weights = positive_weights(count / 2);
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= total);
            weights.resize(count, 0.0);
            return weights;
        }
        let n = self.dimension as f64;
        let mut weights = raw_weights(count);
        let (better, worse) = weights.split_at_mut(count / 2);
        let mu_eff = effective_number(better);
        let scale = 1.0 / better.iter().sum::<f64>();
        better.iter_mut().for_each(|weight| *weight *= scale);

        let total: f64 = worse.iter().map(|weight| weight.abs()).sum();
        if total > 0.0 {
            let alpha = (1.0 + self.c_1 / self.c_mu)
                .min(1.0 + 2.0 * effective_number(worse) / (mu_eff + 2.0))
                .min((1.0 - self.c_1 - self.c_mu) / (n * self.c_mu))
                .max(0.0);
            worse.iter_mut().for_each(|weight| *weight *= alpha / total);
        }
        weights
    }

    /// Generations between two decompositions of the covariance matrix, before rounding: so few
    /// that it hardly changes in between.
    pub(in crate::optimize) fn lazy_gap(&self) -> f64 {
        1.0 / (10.0 * self.dimension as f64 * (self.c_1 + self.c_mu))
    }

    /// Generations over which values are compared to see whether they still change.
    pub(in crate::optimize) fn history_window(&self) -> usize {
        10 + (30 * self.dimension).div_ceil(self.population_size)
    }
}

/// ln((λ + 1) / 2) − ln i for i = 1…λ.
fn raw_weights(count: usize) -> Vec<f64> {
    let middle = libm::log((count as f64 + 1.0) / 2.0);
    (1..=count).map(|rank| middle - libm::log(rank as f64)).collect()
}

/// ln(μ + 1) − ln i for i = 1…μ.
fn positive_weights(count: usize) -> Vec<f64> {
    (1..=count).map(|rank| libm::log(count as f64 + 1.0) - libm::log(rank as f64)).collect()
}

/// (Σ w)² / Σ w², the number of equal weights that would be as good an average.
fn effective_number(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    sum * sum / weights.iter().map(|weight| weight * weight).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIANTS: [Variant; 2] = [Variant::Full, Variant::Separable];

    #[test]
    fn weights_of_any_count_are_sound() {
        for (n, variant) in [1, 2, 10, 300].into_iter().flat_map(|n| VARIANTS.map(|v| (n, v))) {
            for population_size in [4, 5, 10, 50, 1000] {
                let parameters = Parameters::new(n, population_size, Constants::Tutorial, variant);
                assert!(parameters.c_1 + parameters.c_mu <= 1.0);
                for count in [2, 3, 4, population_size] {
                    let weights = parameters.weights(count);
                    assert!(weights.is_sorted_by(|a, b| a >= b));
                    assert!((weights[..count / 2].iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    assert!(weights[count / 2..].iter().all(|&w| w <= 0.0 && w.is_finite()));
                }
            }
        }
    }

    #[test]
    fn a_small_population_slows_the_rank_one_update() {
        let c_1 = |size, constants| Parameters::new(1, size, constants, Variant::Full).c_1;
        let cmaes = c_1(4, Constants::Cmaes);
        assert!((c_1(4, Constants::Tutorial) - cmaes * 4.0 / 6.0).abs() < 1e-15);
        assert_eq!(c_1(6, Constants::Tutorial), c_1(6, Constants::Cmaes));
    }
}

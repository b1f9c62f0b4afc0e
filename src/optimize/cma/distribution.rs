//! The search distribution N(m, σ² C) and how one generation changes it.
//!
//! The weighted, active CMA-ES of Hansen 2016 (<https://arxiv.org/abs/1604.00772>), equations
//! cited below. C = B D² Bᵀ; `y` are steps in units of σ, `z` standard normals:
//!
//! ```text
//! x    = m + σ B D z
//! y_w  = Σ w_i y_i                                   over the better half
//! m    ← m + σ y_w
//! p_σ  ← (1 − c_σ) p_σ + √(c_σ (2 − c_σ) μ_eff) · B D⁻¹ Bᵀ y_w
//! σ    ← σ exp((c_σ / d_σ) (‖p_σ‖ / χ − 1))
//! p_c  ← (1 − c_c) p_c + h √(c_c (2 − c_c) μ_eff) · y_w
//! C    ← (1 + c_1 (1 − h) c_c (2 − c_c) − c_1 − c_μ Σ w_i) C + c_1 p_c p_cᵀ + c_μ Σ w_i° y_i y_iᵀ
//! ```

use serde::{Deserialize, Serialize};

use super::covariance::{Covariance, Lesson};
use super::learning_rate::LearningRates;
use super::options::SIGMA_RANGE;
use super::parameters::Parameters;
use super::ranking::Weights;
use crate::optimize::eigen::{add_scaled, dot};

/// Only σ² C matters. Along a valley σ grows while C shrinks, until both leave the range of `f64`;
/// outside of these bounds the scale of C is moved into σ.
const SCALE_RANGE: std::ops::RangeInclusive<f64> = 1e-4..=1e4;

/// No coordinate of the mean goes beyond.
const LARGEST_MEAN: f64 = 1e32;

/// Largest deviation along a bounded coordinate, as a share of the box. More would fold the
/// distribution over itself.
const LARGEST_DEVIATION: f64 = 1.0 / 3.0;

/// The search distribution and what it remembers of its past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct Distribution {
    /// m.
    pub(in crate::optimize) mean: Vec<f64>,
    /// σ.
    pub(in crate::optimize) sigma: f64,
    /// C.
    pub(in crate::optimize) covariance: Covariance,
    /// Evolution path of the whitened mean.
    pub(in crate::optimize) p_sigma: Vec<f64>,
    /// Evolution path of the mean.
    pub(in crate::optimize) p_c: Vec<f64>,
    /// Finished generations when the covariance was last brought up to date.
    pub(in crate::optimize) refreshed_at: u64,
    /// How often C had to be started anew.
    pub(in crate::optimize) resets: u64,
    /// How much of an update to believe; all of it if there are none.
    pub(in crate::optimize) learning_rates: Option<LearningRates>,
}

impl Distribution {
    /// The distribution around `mean` with covariance `sigma² C`.
    pub(in crate::optimize) fn new(mean: Vec<f64>, sigma: f64, covariance: Covariance) -> Self {
        let n = mean.len();
        Self {
            mean,
            sigma,
            covariance,
            p_sigma: vec![0.0; n],
            p_c: vec![0.0; n],
            refreshed_at: 0,
            resets: 0,
            learning_rates: None,
        }
    }

    /// The same, with learning rates that adapt to noise. C has to be a whole matrix.
    pub(in crate::optimize) fn with_adaptive_learning_rates(mut self) -> Self {
        self.learning_rates = Some(LearningRates::new(self.dimension()));
        self
    }

    fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// m + σ B D z.
    pub(in crate::optimize) fn sample(&self, normals: &[f64]) -> Vec<f64> {
        let mut point = self.mean.clone();
        add_scaled(&mut point, self.sigma, &self.covariance.scale(normals));
        point
    }

    /// m + σ A B D z, where A stretches each coordinate.
    pub(in crate::optimize) fn stretched_sample(
        &self,
        normals: &[f64],
        stretch: &[f64],
    ) -> Vec<f64> {
        let step = self.covariance.scale(normals);
        let stretched = step.iter().zip(stretch).map(|(y, stretch)| self.sigma * stretch * y);
        self.mean.iter().zip(stretched).map(|(m, step)| m + step).collect()
    }

    /// y = (x − m) / σ.
    pub(in crate::optimize) fn step_to(&self, point: &[f64]) -> Vec<f64> {
        point.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma).collect()
    }

    /// Shortens a step to the length that a drawn one has at most, as good as always: a step from
    /// elsewhere may teach no more than one from here (Hansen 2011,
    /// <https://arxiv.org/abs/1110.4181>).
    pub(in crate::optimize) fn shorten(&self, step: &mut [f64]) {
        let n = self.dimension() as f64;
        let longest = n.sqrt() + 2.0 * n / (n + 2.0);
        let length = self.covariance.square_length(step).sqrt();
        if length > longest {
            step.iter_mut().for_each(|y| *y *= longest / length);
        }
    }

    /// √C_ii, in units of σ.
    pub(in crate::optimize) fn relative_deviations(&self) -> impl Iterator<Item = f64> {
        self.covariance.variances().map(f64::sqrt)
    }

    /// Condition number of C.
    pub(in crate::optimize) fn condition(&self) -> f64 {
        let (longest, shortest) = self.covariance.axis_lengths();
        (longest / shortest) * (longest / shortest)
    }

    /// Takes in one generation, number `generation` from 0. `steps` are ranked and as many as there
    /// are weights.
    ///
    /// An update that would leave the range of numbers is replaced by [`Self::retreat`].
    pub(in crate::optimize) fn update(
        &mut self,
        generation: u64,
        steps: &[Vec<f64>],
        weights: &Weights,
        parameters: &Parameters,
    ) {
        let mut next = self.clone();
        next.adapt(generation, steps, weights, parameters);
        let mut gap = parameters.lazy_gap().max(1.0) as u64;
        if let Some(mut rates) = next.learning_rates.take() {
            if rates.moderate(self, &mut next).is_none() {
                self.retreat();
                return;
            }
            next.learning_rates = Some(rates);
            gap = 1;
        }
        next.normalise_scale();
        if !next.is_sound() {
            self.retreat();
            return;
        }
        if generation + 1 - next.refreshed_at >= gap {
            next.refresh();
            next.refreshed_at = generation + 1;
        }
        *self = next;
    }

    /// Searches closer to the mean: what is left to do when a generation teaches nothing.
    pub(in crate::optimize) fn retreat(&mut self) {
        self.p_sigma.fill(0.0);
        self.sigma = (self.sigma / 2.0).max(*SIGMA_RANGE.start());
    }

    /// Lowers σ until no bounded coordinate's deviation exceeds a third of the box.
    pub(in crate::optimize) fn limit_deviations(&mut self, bounded: &[bool]) {
        let largest = self
            .relative_deviations()
            .zip(bounded)
            .filter(|&(_, &bounded)| bounded)
            .fold(0.0, |largest: f64, (deviation, _)| largest.max(deviation));
        if self.sigma * largest > LARGEST_DEVIATION {
            self.sigma = LARGEST_DEVIATION / largest;
        }
    }

    /// Raises σ until the variance along every axis is at least `smallest`.
    pub(in crate::optimize) fn lift_variance(&mut self, smallest: f64) {
        let (_, shortest) = self.covariance.axis_lengths();
        self.sigma = self.sigma.max(smallest.sqrt() / shortest);
    }

    fn adapt(
        &mut self,
        generation: u64,
        steps: &[Vec<f64>],
        weights: &Weights,
        parameters: &Parameters,
    ) {
        let n = self.dimension();
        let &Parameters { c_sigma, d_sigma, c_c, c_1, c_mu, chi, .. } = parameters;

        // Equations 41 and 42, with a learning rate of 1 for the mean.
        let mut mean_step = vec![0.0; n];
        for (step, &weight) in steps.iter().zip(&weights.mean) {
            add_scaled(&mut mean_step, weight, step);
        }
        add_scaled(&mut self.mean, self.sigma, &mean_step);

        // Equations 43 and 44.
        let rate = (c_sigma * (2.0 - c_sigma) * weights.mu_eff).sqrt();
        self.p_sigma.iter_mut().for_each(|p| *p *= 1.0 - c_sigma);
        add_scaled(&mut self.p_sigma, rate, &self.covariance.whiten(&mean_step));
        let path_square = dot(&self.p_sigma, &self.p_sigma);
        let exponent = (c_sigma / d_sigma) * (path_square.sqrt() / chi - 1.0);
        self.sigma *= libm::exp(exponent.min(parameters.max_sigma_exponent));

        // Equation 45: h stalls the path while the step size still has to catch up.
        let age = (generation + 1 + parameters.path_lead) as f64;
        let youth = 1.0 - libm::pow(1.0 - c_sigma, 2.0 * age);
        let threshold = (1.4 + 2.0 / (n as f64 + 1.0)) * chi;
        let h = if path_square / youth < threshold * threshold { 1.0 } else { 0.0 };
        self.p_c.iter_mut().for_each(|p| *p *= 1.0 - c_c);
        add_scaled(&mut self.p_c, h * (c_c * (2.0 - c_c) * weights.mu_eff).sqrt(), &mean_step);

        // Equations 46 and 47: a bad step counts with the length it would typically have.
        let rank_mu: Vec<f64> = steps
            .iter()
            .zip(&weights.covariance)
            .map(|(step, &weight)| {
                let shortening = if weight < 0.0 {
                    n as f64 / (self.covariance.square_length(step) + 1e-8)
                } else {
                    1.0
                };
                c_mu * weight * shortening
            })
            .collect();
        let rank_one = if weights.rank_one { c_1 } else { 0.0 };
        let decay = 1.0 + rank_one * (1.0 - h) * c_c * (2.0 - c_c)
            - rank_one
            - c_mu * weights.covariance.iter().sum::<f64>();
        let (path, weights) = (&self.p_c, &rank_mu);
        self.covariance.learn(&Lesson { decay, rank_one, path, steps, weights });
    }

    /// Moves the scale of C into σ if it has drifted far. σ² C, and so the search, stays the same.
    fn normalise_scale(&mut self) {
        let logarithms: f64 =
            self.relative_deviations().map(|deviation| 2.0 * libm::log(deviation)).sum();
        let scale = libm::exp(logarithms / self.dimension() as f64);
        if !SCALE_RANGE.contains(&scale) {
            let root = scale.sqrt();
            self.covariance.divide(scale);
            self.p_c.iter_mut().for_each(|element| *element /= root);
            self.sigma *= root;
        }
        self.sigma = self.sigma.clamp(*SIGMA_RANGE.start(), *SIGMA_RANGE.end());
    }

    /// Brings the axes up to date with C. If that fails the search has no memory any more.
    fn refresh(&mut self) {
        if !self.covariance.refresh() {
            self.p_sigma.fill(0.0);
            self.p_c.fill(0.0);
            self.resets += 1;
        }
    }

    /// Whether every number is in the range that the next generation can work with.
    pub(in crate::optimize) fn is_sound(&self) -> bool {
        let finite = [&self.p_sigma, &self.p_c]
            .into_iter()
            .all(|numbers| numbers.iter().all(|number| number.is_finite()));
        let mean = self.mean.iter().all(|m| m.abs() <= LARGEST_MEAN);
        let rates = self.learning_rates.as_ref().is_none_or(LearningRates::is_sound);
        finite && mean && rates && self.covariance.is_sound() && SIGMA_RANGE.contains(&self.sigma)
    }

    /// Whether every part has the size that `n` coordinates need.
    pub(in crate::optimize) fn has_dimension(&self, n: usize) -> bool {
        let vectors = [&self.mean, &self.p_sigma, &self.p_c];
        vectors.iter().all(|vector| vector.len() == n)
            && self.covariance.has_dimension(n)
            && self.learning_rates.as_ref().is_none_or(|rates| rates.has_dimension(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(spreads: [f64; 2]) -> [Distribution; 2] {
        let variances = spreads.map(|spread| spread * spread);
        [Covariance::full(&variances), Covariance::diagonal(&variances)]
            .map(|covariance| Distribution::new(vec![0.0; 2], 1.0, covariance))
    }

    #[test]
    fn scale_moves_from_the_covariance_to_the_step_size() {
        for mut distribution in shapes([1e-3, 2e-3]) {
            let before = distribution.sample(&[0.3, -0.4]);
            distribution.normalise_scale();
            assert!((distribution.sigma / (1e-3 * 2f64.sqrt()) - 1.0).abs() < 1e-12);
            for (a, b) in before.iter().zip(distribution.sample(&[0.3, -0.4])) {
                assert!((a / b - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn only_bounded_coordinates_limit_the_step_size() {
        for mut distribution in shapes([1.0, 2.0]) {
            distribution.limit_deviations(&[false, false]);
            assert_eq!(distribution.sigma, 1.0);
            distribution.limit_deviations(&[true, false]);
            assert_eq!(distribution.sigma, 1.0 / 3.0);
            distribution.limit_deviations(&[true, true]);
            assert_eq!(distribution.sigma, 1.0 / 6.0);
        }
    }
}

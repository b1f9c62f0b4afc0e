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

use super::options::SIGMA_RANGE;
use super::parameters::Parameters;
use super::ranking::Weights;
use crate::optimize::eigen::{Eigen, add_scaled, dot};

/// Smallest eigenvalue allowed, relative to the largest: the precision of the decomposition.
const SMALLEST_EIGENVALUE: f64 = 1e-14;

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
pub(super) struct Distribution {
    /// m.
    pub(super) mean: Vec<f64>,
    /// σ.
    pub(super) sigma: f64,
    /// C, `[n, n]`; saved as its lower triangle.
    #[serde(with = "lower_triangle")]
    pub(super) covariance: Vec<f64>,
    /// Evolution path of the whitened mean.
    pub(super) p_sigma: Vec<f64>,
    /// Evolution path of the mean.
    pub(super) p_c: Vec<f64>,
    /// Diagonal of D, ascending.
    pub(super) axis_lengths: Vec<f64>,
    /// Bᵀ, `[n, n]`: the principal axes in rows, as of the last decomposition.
    pub(super) axes: Vec<f64>,
    /// Finished generations at the last decomposition.
    pub(super) decomposed_at: u64,
    /// Whether the last decomposition had to lift eigenvalues to [`SMALLEST_EIGENVALUE`].
    pub(super) lifted: bool,
    /// How often C had to be started anew.
    pub(super) resets: u64,
}

impl Distribution {
    /// The distribution around `mean` with standard deviations `sigma · spreads`.
    pub(super) fn new(mean: Vec<f64>, sigma: f64, spreads: &[f64]) -> Self {
        let n = mean.len();
        let mut covariance = vec![0.0; n * n];
        for (i, spread) in spreads.iter().enumerate() {
            covariance[i * n + i] = spread * spread;
        }
        let mut distribution = Self {
            mean,
            sigma,
            covariance,
            p_sigma: vec![0.0; n],
            p_c: vec![0.0; n],
            axis_lengths: Vec::new(),
            axes: Vec::new(),
            decomposed_at: 0,
            lifted: false,
            resets: 0,
        };
        distribution.decompose();
        distribution
    }

    fn dimension(&self) -> usize {
        self.mean.len()
    }

    /// m + σ B D z.
    pub(super) fn sample(&self, normals: &[f64]) -> Vec<f64> {
        let mut point = self.mean.clone();
        for (axis, (length, z)) in self.axes().zip(self.axis_lengths.iter().zip(normals)) {
            add_scaled(&mut point, self.sigma * length * z, axis);
        }
        point
    }

    /// y = (x − m) / σ.
    pub(super) fn step_to(&self, point: &[f64]) -> Vec<f64> {
        point.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma).collect()
    }

    /// The principal axes in the order of their lengths.
    pub(super) fn axes(&self) -> impl Iterator<Item = &[f64]> {
        self.axes.chunks_exact(self.dimension())
    }

    /// √C_ii, in units of σ.
    pub(super) fn relative_deviations(&self) -> impl Iterator<Item = f64> {
        self.covariance.iter().step_by(self.dimension() + 1).map(|variance| variance.sqrt())
    }

    /// Length of the longest axis, in units of σ.
    pub(super) fn longest_axis(&self) -> f64 {
        self.axis_lengths[self.dimension() - 1]
    }

    /// Condition number of C.
    pub(super) fn condition(&self) -> f64 {
        let ratio = self.longest_axis() / self.axis_lengths[0];
        ratio * ratio
    }

    /// Takes in one generation, number `generation` from 0. `steps` are ranked and as many as there
    /// are weights.
    ///
    /// An update that would leave the range of numbers is replaced by [`Self::retreat`].
    pub(super) fn update(
        &mut self,
        generation: u64,
        steps: &[Vec<f64>],
        weights: &Weights,
        parameters: &Parameters,
    ) {
        let mut next = self.clone();
        next.adapt(generation, steps, weights, parameters);
        next.normalise_scale();
        if !next.is_sound() {
            self.retreat();
            return;
        }
        let gap = parameters.lazy_gap().max(1.0) as u64;
        if generation + 1 - next.decomposed_at >= gap {
            next.decompose();
            next.decomposed_at = generation + 1;
        }
        *self = next;
    }

    /// Searches closer to the mean: what is left to do when a generation teaches nothing.
    pub(super) fn retreat(&mut self) {
        self.p_sigma.fill(0.0);
        self.sigma = (self.sigma / 2.0).max(*SIGMA_RANGE.start());
    }

    /// Lowers σ until no bounded coordinate's deviation exceeds a third of the box.
    pub(super) fn limit_deviations(&mut self, bounded: &[bool]) {
        let largest = self
            .relative_deviations()
            .zip(bounded)
            .filter(|&(_, &bounded)| bounded)
            .fold(0.0, |largest: f64, (deviation, _)| largest.max(deviation));
        if self.sigma * largest > LARGEST_DEVIATION {
            self.sigma = LARGEST_DEVIATION / largest;
        }
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
        let whitened = self.along_axes(&mean_step);
        for (axis, coordinate) in self.axes.chunks_exact(n).zip(&whitened) {
            add_scaled(&mut self.p_sigma, rate * coordinate, axis);
        }
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
                    let along = self.along_axes(step);
                    n as f64 / (dot(&along, &along) + 1e-8)
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
        for i in 0..n {
            let row = &mut self.covariance[i * n..][..=i];
            row.iter_mut().for_each(|element| *element *= decay);
            add_scaled(row, rank_one * self.p_c[i], &self.p_c);
            for (step, weight) in steps.iter().zip(&rank_mu) {
                add_scaled(row, weight * step[i], step);
            }
            for j in 0..i {
                self.covariance[j * n + i] = self.covariance[i * n + j];
            }
        }
    }

    /// D⁻¹ Bᵀ y.
    fn along_axes(&self, step: &[f64]) -> Vec<f64> {
        self.axes().zip(&self.axis_lengths).map(|(axis, length)| dot(axis, step) / length).collect()
    }

    /// Moves the scale of C into σ if it has drifted far. σ² C, and so the search, stays the same.
    fn normalise_scale(&mut self) {
        let logarithms: f64 =
            self.relative_deviations().map(|deviation| 2.0 * libm::log(deviation)).sum();
        let scale = libm::exp(logarithms / self.dimension() as f64);
        if !SCALE_RANGE.contains(&scale) {
            let root = scale.sqrt();
            self.covariance.iter_mut().for_each(|element| *element /= scale);
            self.p_c.iter_mut().for_each(|element| *element /= root);
            self.axis_lengths.iter_mut().for_each(|length| *length /= root);
            self.sigma *= root;
        }
        self.sigma = self.sigma.clamp(*SIGMA_RANGE.start(), *SIGMA_RANGE.end());
    }

    /// Brings B and D up to date with C, and C into the range in which that is possible.
    fn decompose(&mut self) {
        let n = self.dimension();
        self.lifted = false;
        while let Some(eigen) = Eigen::new(&self.covariance, n) {
            let (smallest, largest) = (eigen.values[0], eigen.values[n - 1]);
            let lift = largest * SMALLEST_EIGENVALUE - smallest;
            if smallest > 0.0 && (lift <= 0.0 || self.lifted) {
                self.axis_lengths = eigen.values.iter().map(|value| value.sqrt()).collect();
                self.axes = eigen.vectors;
                return;
            }
            if self.lifted || largest <= 0.0 {
                break;
            }
            self.lifted = true;
            self.covariance.iter_mut().step_by(n + 1).for_each(|variance| *variance += lift);
        }
        self.start_anew();
    }

    /// A sphere of the same total variance, without memory.
    fn start_anew(&mut self) {
        let n = self.dimension();
        let trace: f64 = self.covariance.iter().step_by(n + 1).sum();
        let variance = trace / n as f64;
        let variance = if variance.is_finite() && variance > 0.0 { variance } else { 1.0 };
        self.covariance.fill(0.0);
        self.covariance.iter_mut().step_by(n + 1).for_each(|element| *element = variance);
        self.axes = vec![0.0; n * n];
        self.axes.iter_mut().step_by(n + 1).for_each(|element| *element = 1.0);
        self.axis_lengths = vec![variance.sqrt(); n];
        self.p_sigma.fill(0.0);
        self.p_c.fill(0.0);
        self.lifted = false;
        self.resets += 1;
    }

    /// Whether every number is in the range that the next generation can work with.
    pub(super) fn is_sound(&self) -> bool {
        let finite = [&self.covariance, &self.p_sigma, &self.p_c, &self.axes]
            .into_iter()
            .all(|numbers| numbers.iter().all(|number| number.is_finite()));
        let mean = self.mean.iter().all(|m| m.abs() <= LARGEST_MEAN);
        let positive = self.relative_deviations().all(|deviation| deviation > 0.0)
            && self.axis_lengths.iter().all(|&length| length > 0.0 && length.is_finite());
        finite && mean && positive && SIGMA_RANGE.contains(&self.sigma)
    }

    /// Whether every part has the size that `n` coordinates need.
    pub(super) fn has_dimension(&self, n: usize) -> bool {
        let vectors = [&self.mean, &self.p_sigma, &self.p_c, &self.axis_lengths];
        let matrices = [&self.covariance, &self.axes];
        vectors.iter().all(|vector| vector.len() == n)
            && matrices.iter().all(|matrix| matrix.len() == n * n)
    }
}

/// A symmetric matrix as its lower triangle, row by row.
mod lower_triangle {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(matrix: &[f64], to: S) -> Result<S::Ok, S::Error> {
        let n = matrix.len().isqrt();
        to.collect_seq((0..n).flat_map(|i| &matrix[i * n..][..=i]))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let triangle = Vec::<f64>::deserialize(from)?;
        let n = (2 * triangle.len()).isqrt();
        if n * (n + 1) / 2 != triangle.len() {
            return Err(D::Error::invalid_length(triangle.len(), &"a lower triangle"));
        }
        let mut matrix = vec![0.0; n * n];
        let mut elements = triangle.into_iter();
        for i in 0..n {
            for (j, element) in elements.by_ref().take(i + 1).enumerate() {
                matrix[i * n + j] = element;
                matrix[j * n + i] = element;
            }
        }
        Ok(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_moves_from_the_covariance_to_the_step_size() {
        let mut distribution = Distribution::new(vec![0.0; 2], 1.0, &[1.0, 2.0]);
        distribution.covariance.iter_mut().for_each(|element| *element *= 1e-6);
        distribution.axis_lengths.iter_mut().for_each(|length| *length *= 1e-3);
        let before = distribution.sample(&[0.3, -0.4]);
        distribution.normalise_scale();
        assert!((distribution.sigma / (1e-3 * 2f64.sqrt()) - 1.0).abs() < 1e-12);
        for (a, b) in before.iter().zip(distribution.sample(&[0.3, -0.4])) {
            assert!((a / b - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn an_indefinite_covariance_is_lifted() {
        let mut distribution = Distribution::new(vec![0.0; 2], 1.0, &[1.0, 1.0]);
        distribution.covariance = vec![1.0, 1.0 + 1e-9, 1.0 + 1e-9, 1.0];
        distribution.decompose();
        assert!(distribution.lifted && distribution.is_sound());
        assert_eq!(distribution.resets, 0);
        assert!((1e13..1e15).contains(&distribution.condition()));
    }

    #[test]
    fn a_hopeless_covariance_is_started_anew() {
        for hopeless in [[f64::NAN, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, -2.0], [0.0; 4]] {
            let mut distribution = Distribution::new(vec![0.0; 2], 1.0, &[1.0, 1.0]);
            distribution.covariance = hopeless.to_vec();
            distribution.decompose();
            assert_eq!(distribution.covariance, [1.0, 0.0, 0.0, 1.0]);
            assert_eq!(distribution.resets, 1);
            assert!(distribution.is_sound());
        }
    }

    #[test]
    fn only_bounded_coordinates_limit_the_step_size() {
        let mut distribution = Distribution::new(vec![0.0; 2], 1.0, &[1.0, 2.0]);
        distribution.limit_deviations(&[false, false]);
        assert_eq!(distribution.sigma, 1.0);
        distribution.limit_deviations(&[true, false]);
        assert_eq!(distribution.sigma, 1.0 / 3.0);
        distribution.limit_deviations(&[true, true]);
        assert_eq!(distribution.sigma, 1.0 / 6.0);
    }
}

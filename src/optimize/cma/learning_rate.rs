//! How much of an update to believe: learning rates adapted to the ratio of signal to noise.
//!
//! LRA-CMA-ES (Nomura, Akimoto & Ono 2023, <https://arxiv.org/abs/2304.03473>), for the mean and
//! for Σ = σ² C alike. In the local coordinates of the old distribution, updates that agree with
//! each other have a mean E that is long beside their mean square V:
//!
//! ```text
//! E ← (1 − β) E + β Δ       V ← (1 − β) V + β ‖Δ‖²
//! r = (‖E‖² − β / (2 − β) V) / (V − ‖E‖²)
//! η ← min(1, η exp(min(γ η, β) clamp(r / (α η) − 1, −1, 1)))
//! ```

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use crate::optimize::eigen::{Eigen, dot};

/// α: the ratio that is aimed at, per unit of the rate.
const TARGET_RATIO: f64 = 1.4;
/// γ: the fastest change of a rate, per unit of the rate.
const FASTEST_CHANGE: f64 = 0.1;
/// β of the mean.
const MEAN_MEMORY: f64 = 0.1;
/// β of Σ.
const COVARIANCE_MEMORY: f64 = 0.03;

/// The two rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct LearningRates {
    pub(in crate::optimize) mean: LearningRate,
    pub(in crate::optimize) covariance: LearningRate,
}

/// A rate and what it is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct LearningRate {
    /// η, in (0, 1].
    pub(in crate::optimize) rate: f64,
    /// E.
    average: Vec<f64>,
    /// V.
    square: f64,
}

impl LearningRate {
    fn new(n: usize) -> Self {
        Self { rate: 1.0, average: vec![0.0; n], square: 0.0 }
    }

    /// Takes in an update in local coordinates.
    fn judge(&mut self, update: &[f64], beta: f64) {
        for (average, element) in self.average.iter_mut().zip(update) {
            *average = (1.0 - beta) * *average + beta * element;
        }
        self.square = (1.0 - beta) * self.square + beta * dot(update, update);
        let signal = dot(&self.average, &self.average);
        let noise = self.square - signal;
        // Without any update so far there is neither.
        let ratio =
            if noise > 0.0 { (signal - beta / (2.0 - beta) * self.square) / noise } else { 0.0 };
        let wish = (ratio / (TARGET_RATIO * self.rate) - 1.0).clamp(-1.0, 1.0);
        let change = (FASTEST_CHANGE * self.rate).min(beta) * wish;
        self.rate = (self.rate * libm::exp(change)).min(1.0);
    }

    fn is_sound(&self) -> bool {
        self.rate > 0.0
            && self.rate <= 1.0
            && self.square.is_finite()
            && self.average.iter().all(|element| element.is_finite())
    }
}

impl LearningRates {
    /// Both 1, for `n` coordinates.
    pub(in crate::optimize) fn new(n: usize) -> Self {
        Self { mean: LearningRate::new(n), covariance: LearningRate::new(n * n) }
    }

    /// Takes back what is not to be believed of the update from `old` to `new`. `None` if the result
    /// would be no distribution.
    pub(in crate::optimize) fn moderate(
        &mut self,
        old: &Distribution,
        new: &mut Distribution,
    ) -> Option<()> {
        let n = old.mean.len();
        let (old_full, new_full) = (old.covariance.as_full()?, new.covariance.as_full()?);
        let (old_square, new_square) = (old.sigma * old.sigma, new.sigma * new.sigma);
        let mean_step: Vec<f64> = new.mean.iter().zip(&old.mean).map(|(a, b)| a - b).collect();
        let difference: Vec<f64> = new_full
            .matrix()
            .iter()
            .zip(old_full.matrix())
            .map(|(a, b)| new_square * a - old_square * b)
            .collect();

        let mut local_step = old.covariance.whiten(&mean_step);
        local_step.iter_mut().for_each(|element| *element /= old.sigma);
        let mut local_difference = old_full.whiten_matrix(&difference);
        let scale = old_square * std::f64::consts::SQRT_2;
        local_difference.iter_mut().for_each(|element| *element /= scale);

        let former = self.mean.rate;
        self.mean.judge(&local_step, MEAN_MEMORY);
        self.covariance.judge(&local_difference, COVARIANCE_MEMORY);

        for ((mean, old), step) in new.mean.iter_mut().zip(&old.mean).zip(&mean_step) {
            *mean = old + self.mean.rate * step;
        }
        let sigma: Vec<f64> = old_full
            .matrix()
            .iter()
            .zip(&difference)
            .map(|(element, difference)| old_square * element + self.covariance.rate * difference)
            .collect();
        let eigen = Eigen::new(&sigma, n)?;
        if eigen.values[0] <= 0.0 {
            return None;
        }
        let logarithms: f64 = eigen.values.iter().map(|value| libm::log(*value)).sum();
        new.sigma = libm::exp(logarithms / (2.0 * n as f64));
        let square = new.sigma * new.sigma;
        new.covariance.replace(sigma.iter().map(|element| element / square).collect());
        // The best step size grows as the mean learns less.
        new.sigma *= former / self.mean.rate;
        Some(())
    }

    /// Whether every number is one that can be worked with.
    pub(in crate::optimize) fn is_sound(&self) -> bool {
        self.mean.is_sound() && self.covariance.is_sound()
    }

    /// Whether every part has the size that `n` coordinates need.
    pub(in crate::optimize) fn has_dimension(&self, n: usize) -> bool {
        self.mean.average.len() == n && self.covariance.average.len() == n * n
    }
}

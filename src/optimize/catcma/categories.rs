//! Categorical distributions and how a generation changes them.
//!
//! Adaptive stochastic natural gradient (Akimoto et al. 2019,
//! <https://proceedings.mlr.press/v97/akimoto19a.html>), with the margin of CatCMA with margin (Hamano
//! et al. 2025, <https://arxiv.org/abs/2504.07884>): no category ever dies out. G is the natural
//! gradient, s the same in coordinates in which the distribution is isotropic, N the number of free
//! probabilities:
//!
//! ```text
//! q ← q + δ / ‖s‖ · G                      δ = 1 / Δ
//! S ← (1 − β) S + √(β (2 − β)) s / ‖s‖     β = δ / √N
//! γ ← (1 − β)² γ + β (2 − β)
//! Δ ← Δ exp(β (γ − ‖S‖² / 1.5))
//! ```

use serde::{Deserialize, Serialize};

/// α: steps shrink where the squared path is not longer than this multiple of a random one's.
const SIGNAL_TO_NOISE: f64 = 1.5;

/// Keeps divisors from 0.
const EPSILON: f64 = 1e-8;

/// One categorical distribution per variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Categories {
    /// q: per variable the probabilities of its categories.
    pub(super) probabilities: Vec<Vec<f64>>,
    /// S.
    pub(super) path: Vec<f64>,
    /// γ, the squared length of the path if it were random.
    pub(super) gamma: f64,
    /// Δ, the inverse of the step size.
    pub(super) inverse_step: f64,
    /// δ of the next step: one generation behind Δ.
    step: f64,
}

impl Categories {
    /// Uniform distributions over so many categories each.
    pub(super) fn new(counts: &[usize]) -> Self {
        let uniform = |&count: &usize| vec![1.0 / count as f64; count];
        Self {
            probabilities: counts.iter().map(uniform).collect(),
            path: vec![0.0; counts.iter().map(|count| count - 1).sum()],
            gamma: 0.0,
            inverse_step: 1.0,
            step: 1.0,
        }
    }

    /// Whether all is in range for so many categories.
    pub(super) fn is_sound(&self, counts: &[usize]) -> bool {
        self.probabilities.len() == counts.len()
            && self.probabilities.iter().zip(counts).all(|(probabilities, &count)| {
                let sum: f64 = probabilities.iter().sum();
                probabilities.len() == count
                    && probabilities.iter().all(|&probability| probability > 0.0)
                    && (sum - 1.0).abs() < 1e-6
            })
            && self.path.len() == counts.iter().map(|count| count - 1).sum::<usize>()
            && self.path.iter().all(|element| element.is_finite())
            && self.gamma.is_finite()
            && [self.inverse_step, self.step].iter().all(|&x| x > 0.0 && x.is_finite())
    }

    /// The category of each variable for one uniform draw each.
    pub(super) fn draw(&self, uniforms: &[f64]) -> Vec<usize> {
        let category = |(probabilities, &uniform): (&Vec<f64>, &f64)| {
            let mut sum = 0.0;
            let below = probabilities.iter().take_while(|&&probability| {
                sum += probability;
                sum <= uniform
            });
            below.count().min(probabilities.len() - 1)
        };
        self.probabilities.iter().zip(uniforms).map(category).collect()
    }

    /// The most probable category of each variable; of equals, the one in `preferred`, or the first.
    pub(super) fn modes(&self, preferred: &[usize]) -> Vec<usize> {
        let mode = |(probabilities, &preferred): (&Vec<f64>, &usize)| {
            let mut mode = preferred;
            for (category, probability) in probabilities.iter().enumerate() {
                if *probability > probabilities[mode] {
                    mode = category;
                }
            }
            mode
        };
        self.probabilities.iter().zip(preferred).map(mode).collect()
    }

    /// Takes in the better candidates of a generation, with weights that sum to 1. `margin` is the
    /// least probability of all categories of a variable but one.
    pub(super) fn learn(&mut self, better: &[(&[usize], f64)], margin: f64) {
        let mut gradient: Vec<Vec<f64>> = self
            .probabilities
            .iter()
            .map(|probabilities| probabilities.iter().map(|probability| -probability).collect())
            .collect();
        let total: f64 = better.iter().map(|(_, weight)| weight).sum();
        gradient.iter_mut().flatten().for_each(|element| *element *= total);
        for (categories, weight) in better {
            for (gradient, &category) in gradient.iter_mut().zip(*categories) {
                gradient[category] += weight;
            }
        }

        let isotropic: Vec<f64> = self
            .probabilities
            .iter()
            .zip(&gradient)
            .flat_map(|(probabilities, gradient)| isotropic(probabilities, gradient))
            .collect();
        let length = isotropic.iter().map(|element| element * element).sum::<f64>().sqrt();
        if length == 0.0 {
            return;
        }
        for (probabilities, gradient) in self.probabilities.iter_mut().zip(&gradient) {
            for (probability, element) in probabilities.iter_mut().zip(gradient) {
                *probability += self.step / (length + EPSILON) * element;
            }
            keep_margin(probabilities, margin);
        }

        self.step = 1.0 / self.inverse_step;
        let beta = (self.step / (self.path.len() as f64).sqrt()).min(1.0);
        let rate = (beta * (2.0 - beta)).sqrt();
        for (element, new) in self.path.iter_mut().zip(&isotropic) {
            *element = (1.0 - beta) * *element + rate * new / length;
        }
        let square: f64 = self.path.iter().map(|element| element * element).sum();
        self.gamma = (1.0 - beta) * (1.0 - beta) * self.gamma + beta * (2.0 - beta);
        self.inverse_step *= libm::exp(beta * (self.gamma - square / SIGNAL_TO_NOISE));
    }
}

/// The gradient of one variable, all categories but the last, times the root of Fisher's matrix.
fn isotropic(probabilities: &[f64], gradient: &[f64]) -> Vec<f64> {
    let last = probabilities.len() - 1;
    let rest = probabilities[last] + probabilities[last].sqrt();
    let sum: f64 = gradient[..last].iter().sum();
    let element = |(probability, gradient): (&f64, &f64)| {
        gradient / probability.sqrt() + probability.sqrt() * sum / rest
    };
    probabilities[..last].iter().zip(gradient).map(element).collect()
}

/// Raises every probability to its floor; what is too much then is taken from each by how far it is
/// above it.
fn keep_margin(probabilities: &mut [f64], margin: f64) {
    let count = probabilities.len() as f64;
    let floor = margin / (count - 1.0);
    probabilities.iter_mut().for_each(|probability| *probability = probability.max(floor));
    let sum: f64 = probabilities.iter().sum();
    let spare = sum - floor * count;
    if spare > 0.0 {
        for probability in probabilities.iter_mut() {
            *probability -= (sum - 1.0) * (*probability - floor) / spare;
        }
    }
    let sum: f64 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|probability| *probability /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let mut categories = Categories::new(&[3, 2]);
        categories.probabilities[0] = vec![0.5, 0.3, 0.2];
        assert_eq!(categories.draw(&[0.0, 0.49]), [0, 0]);
        assert_eq!(categories.draw(&[0.5, 0.5]), [1, 1]);
        assert_eq!(categories.draw(&[0.81, 0.999_999]), [2, 1]);
        assert_eq!(categories.modes(&[2, 1]), [0, 1]);
    }

    #[test]
    fn what_is_always_better_becomes_probable_and_nothing_dies_out() {
        let mut categories = Categories::new(&[4]);
        for _ in 0..200 {
            categories.learn(&[(&[2], 0.7), (&[2], 0.3)], 0.1);
            assert!(categories.is_sound(&[4]));
        }
        let probabilities = &categories.probabilities[0];
        assert!((probabilities[2] - 0.9).abs() < 1e-6);
        assert!(probabilities.iter().all(|&probability| probability > 0.033));
    }
}

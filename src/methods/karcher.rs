//! Karcher mean: the point on the sphere that is nearest to all models' directions, at their mean length.
//!
//! ```text
//! uᵢ  = modelᵢ / ‖modelᵢ‖
//! μ   = argmin Σ angle(μ, uᵢ)²
//! out = mean ‖modelᵢ‖ · μ
//! ```
//!
//! μ is found by following the mean of the tangents towards all uᵢ (Karcher 1977, Riemannian center of
//! mass and mollifier smoothing). It stays a linear combination of the models, so that all steps work
//! on their coefficients: one statistics pass, whatever the number of iterations.

use super::coefficients::LinearCombination;
use super::gram::{Gram, NEARLY_CANCELLED, NEARLY_COLLINEAR, Precision, Vectors};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};

/// The registry's entry.
pub(super) static KARCHER: MethodDefinition = MethodDefinition {
    name: "karcher",
    base: BaseRole::Ignored,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[
        ParameterDefinition {
            name: "max_iter",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Int(10)),
            help: "most steps towards the mean",
        },
        ParameterDefinition {
            name: "tol",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Float(1e-5)),
            help: "length of a step that is the last one, and of tensors that have no direction",
        },
    ],
    bind: |parameters| {
        Ok(Box::new(Karcher {
            n: parameters.inputs.len(),
            max_iter: parameters.float("max_iter"),
            tol: parameters.float("tol"),
        }))
    },
    reference: "https://doi.org/10.1002/cpa.3160300502",
};

struct Karcher {
    n: usize,
    max_iter: f64,
    tol: f64,
}

impl TensorMethod for Karcher {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn copied_input(&self) -> Option<usize> {
        (self.n == 1).then_some(0)
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let mut gram = inputs.gram(Vectors::Models, Precision::Single)?;
        if self.is_nearly_cancelled(&gram) {
            gram = inputs.gram(Vectors::Models, Precision::Double)?;
        }
        let inputs = self.factors(&gram).into_iter().map(|factor| factor as f32).collect();
        Ok(Box::new(LinearCombination { base: 0.0, inputs }))
    }
}

impl Karcher {
    /// Whether the models' directions leave little of each other.
    fn is_nearly_cancelled(&self, models: &Gram) -> bool {
        let directions = self.directions(models, &self.valid(models));
        let n = directions.n();
        let length = directions.squared_length_of(&vec![1.0 / n.max(1) as f64; n]).sqrt();
        n > 0 && length < NEARLY_CANCELLED
    }

    /// The models that have a direction. A length that is no number takes part, and shows in the result.
    fn valid(&self, models: &Gram) -> Vec<usize> {
        let is_valid = |length: f64| length > self.tol || length.is_nan();
        (0..models.n()).filter(|&i| is_valid(models.length(i))).collect()
    }

    /// Inner products of the unit vectors of the models `valid`.
    fn directions(&self, models: &Gram, valid: &[usize]) -> Gram {
        Gram::from_fn(valid.len(), |i, j| {
            let lengths = models.length(valid[i]) * models.length(valid[j]);
            models.product(valid[i], valid[j]) / lengths
        })
    }

    /// Factors of the models.
    fn factors(&self, models: &Gram) -> Vec<f64> {
        let lengths: Vec<f64> = (0..models.n()).map(|i| models.length(i)).collect();
        let valid = self.valid(models);
        let mut factors = vec![0.0; models.n()];
        if valid.is_empty() {
            return factors;
        }
        let directions = self.directions(models, &valid);
        let mean_length = lengths.iter().sum::<f64>() / lengths.len() as f64;
        for (&i, factor) in valid.iter().zip(self.mean(&directions)) {
            // With a tolerance of less than 0, zero vectors are valid: they have no direction either.
            factors[i] = if lengths[i] == 0.0 { 0.0 } else { factor * mean_length / lengths[i] };
        }
        factors
    }

    /// Factors of unit vectors, at least one, that make their mean.
    fn mean(&self, directions: &Gram) -> Vec<f64> {
        let n = directions.n();
        let share = 1.0 / n as f64;
        let mut mean = vec![share; n];
        let length = directions.squared_length_of(&mean).sqrt();
        if length < self.tol {
            mean.fill(0.0);
            mean[0] = 1.0;
        } else {
            mean.iter_mut().for_each(|factor| *factor /= length);
        }
        let mut iteration = 0.0;
        while iteration < self.max_iter {
            iteration += 1.0;
            let mut tangent = vec![0.0; n];
            for i in 0..n {
                let cosine = directions.product_with(i, &mean).clamp(-1.0, 1.0);
                let angle = cosine.acos();
                // Every way to the opposite direction is as short: it does not say where to go.
                if angle < self.tol || angle == 0.0 || cosine < NEARLY_COLLINEAR - 1.0 {
                    continue;
                }
                let factor = share * angle / angle.sin();
                tangent[i] += factor;
                for (tangent, mean) in tangent.iter_mut().zip(&mean) {
                    *tangent -= factor * cosine * mean;
                }
            }
            let step = directions.squared_length_of(&tangent).sqrt();
            if step < self.tol || step == 0.0 || step.is_nan() {
                break;
            }
            for (mean, tangent) in mean.iter_mut().zip(&tangent) {
                *mean = step.cos() * *mean + step.sin() / step * tangent;
            }
            let length = directions.squared_length_of(&mean).sqrt();
            if length > self.tol {
                mean.iter_mut().for_each(|factor| *factor /= length);
            }
        }
        mean
    }
}

#[cfg(test)]
mod tests;

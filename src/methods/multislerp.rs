//! Multi-SLERP: the weighted mean direction of any number of models, or of their task vectors, at
//! their weighted mean length.
//!
//! With `Tᵢ` the models, or their differences from the base if there is one:
//!
//! ```text
//! uᵢ  = Tᵢ / (‖Tᵢ‖ + eps)
//! m   = Σ weightᵢ·uᵢ
//! out = base + Σ weightᵢ·‖Tᵢ‖ · cos(eps) · m/‖m‖
//! ```
//!
//! mergekit moves from `m/‖m‖` along the mean of the directions projected to the tangent space there.
//! That mean is `m − ‖m‖ · m/‖m‖`, nothing; what is left of the step is its cos(eps).

use super::coefficients::TaskVectorCombination;
use super::gram::{Gram, Vectors};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};

/// A mean direction that is shorter than this share of what it is the mean of consists of rounding
/// errors of `f32`.
const ROUNDING: f64 = 1e-7;

/// The registry's entry.
pub(super) static MULTISLERP: MethodDefinition = MethodDefinition {
    name: "multislerp",
    base: BaseRole::Optional,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[
        ParameterDefinition {
            name: "weight",
            scope: ParameterScope::PerNonBase,
            default: ParameterDefault::Required,
            help: "factor of the model's direction",
        },
        ParameterDefinition {
            name: "normalize_weights",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Bool(true)),
            help: "divide weights by their sum",
        },
        ParameterDefinition {
            name: "eps",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Float(1e-8)),
            help: "added to lengths before dividing by them",
        },
    ],
    bind: |parameters| {
        let mut weights = parameters.floats("weight");
        if parameters.flag("normalize_weights") && weights.len() > 1 {
            let sum: f64 = weights.iter().sum();
            if sum == 0.0 {
                return Err(MethodError::Parameter {
                    name: "weight",
                    input: Some(0),
                    value: weights[0],
                    allowed: "and all weights sum to 0, by which `normalize_weights` cannot divide"
                        .to_owned(),
                });
            }
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        Ok(Box::new(MultiSlerp { weights, eps: parameters.float("eps") }))
    },
    reference: "https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md",
};

struct MultiSlerp {
    weights: Vec<f64>,
    eps: f64,
}

impl TensorMethod for MultiSlerp {
    /// A single model is itself, whatever its weight.
    fn copied_input(&self) -> Option<usize> {
        (self.weights.len() == 1).then_some(0)
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let gram = inputs.gram(Vectors::TaskVectors)?;
        let factors = match self.factors(&gram) {
            Some(factors) => factors,
            // Nothing has no direction, and needs none.
            None if inputs.elements() == 0 => self.weights.clone(),
            None => return Err(MethodError::NoDirection),
        };
        let inputs = factors.into_iter().map(|factor| factor as f32).collect();
        Ok(Box::new(TaskVectorCombination { inputs }))
    }
}

impl MultiSlerp {
    /// Factors of the vectors, unless more than two of them cancel each other.
    fn factors(&self, gram: &Gram) -> Option<Vec<f64>> {
        // uᵢ = Tᵢ · scales[i], and m = Σ Tᵢ · mean[i].
        let scales: Vec<f64> = (0..gram.n()).map(|i| 1.0 / (gram.length(i) + self.eps)).collect();
        let mean: Vec<f64> = self.weights.iter().zip(&scales).map(|(w, scale)| w * scale).collect();
        let length = gram.squared_length_of(&mean).sqrt();
        let of_parts: f64 = mean.iter().enumerate().map(|(i, a)| a.abs() * gram.length(i)).sum();
        if length < self.eps || length < ROUNDING * of_parts {
            return (gram.n() == 2).then(|| self.weights.clone());
        }
        let mean_length: f64 =
            self.weights.iter().enumerate().map(|(i, weight)| weight * gram.length(i)).sum();
        let factor = mean_length * self.eps.cos() / length;
        Some(mean.into_iter().map(|mean| mean * factor).collect())
    }
}

#[cfg(test)]
mod tests;

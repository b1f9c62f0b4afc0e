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
//!
//! Directions that cancel out have no mean, which is an error. Where no model moved at all, as is
//! usual for norms of fine-tunes, there is no direction to be had or needed, and the base remains;
//! mergekit refuses that as well.

use super::coefficients::{TaskVectorCombination, normalized};
use super::gram::{Gram, NEARLY_CANCELLED, Precision, Vectors};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};

/// A mean direction that is shorter than this share of what it is the mean of consists of rounding
/// errors in the models.
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
            weights = normalized(&weights, "normalize_weights")?;
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
    fn statistics_passes(&self) -> usize {
        1
    }

    /// A single model is itself, whatever its weight.
    fn copied_input(&self) -> Option<usize> {
        (self.weights.len() == 1).then_some(0)
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let mut gram = inputs.gram(Vectors::TaskVectors, Precision::Single)?;
        if self.mean(&gram).share() < NEARLY_CANCELLED {
            gram = inputs.gram(Vectors::TaskVectors, Precision::Double)?;
        }
        let factors = match self.factors(&gram) {
            Some(factors) => factors,
            None if gram.is_zero() => self.weights.clone(),
            None => return Err(MethodError::NoDirection),
        };
        let inputs = factors.into_iter().map(|factor| factor as f32).collect();
        Ok(Box::new(TaskVectorCombination { inputs }))
    }
}

/// The weighted mean of unit vectors.
struct Mean {
    /// Factors of the vectors whose directions are averaged.
    factors: Vec<f64>,
    length: f64,
    /// What the length would be if all directions were the same.
    longest: f64,
}

impl Mean {
    /// How much of the length is left; 1 for a mean of nothing.
    fn share(&self) -> f64 {
        if self.longest == 0.0 { 1.0 } else { self.length / self.longest }
    }
}

impl MultiSlerp {
    fn mean(&self, gram: &Gram) -> Mean {
        let weights = self.weights.iter().enumerate();
        let factors: Vec<f64> =
            weights.map(|(i, weight)| weight / (gram.length(i) + self.eps)).collect();
        let length = gram.squared_length_of(&factors).sqrt();
        let longest = factors.iter().enumerate().map(|(i, a)| a.abs() * gram.length(i)).sum();
        Mean { factors, length, longest }
    }

    /// Factors of the vectors, unless more than two of them cancel each other.
    fn factors(&self, gram: &Gram) -> Option<Vec<f64>> {
        let mean = self.mean(gram);
        if mean.length < self.eps || mean.share() < ROUNDING {
            return (gram.n() == 2).then(|| self.weights.clone());
        }
        let weights = self.weights.iter().enumerate();
        let mean_length: f64 = weights.map(|(i, weight)| weight * gram.length(i)).sum();
        let factor = mean_length * self.eps.cos() / mean.length;
        Some(mean.factors.into_iter().map(|mean| mean * factor).collect())
    }
}

#[cfg(test)]
mod tests;

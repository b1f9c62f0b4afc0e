//! Linear: a weighted average (model soups, Wortsman et al. 2022, <https://arxiv.org/abs/2203.05482>).
//!
//! ```text
//! out = Σ weightₖ · modelₖ / (normalize ? Σ weightₖ : 1)
//! ```
//!
//! Weights that sum to zero cannot be normalized and are refused.

use super::coefficients::{LinearCombination, normalized};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};

/// The registry's entry.
pub(super) static LINEAR: MethodDefinition = MethodDefinition {
    name: "linear",
    base: BaseRole::Ignored,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[
        ParameterDefinition {
            name: "weight",
            scope: ParameterScope::PerInput,
            default: ParameterDefault::Required,
            help: "factor of the model",
        },
        ParameterDefinition {
            name: "normalize",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Bool(true)),
            help: "divide by the sum of weights",
        },
    ],
    bind: |parameters| {
        let mut weights = parameters.floats("weight");
        let normalize = parameters.flag("normalize");
        if normalize {
            weights = normalized(&weights, "normalize")?;
        }
        Ok(Box::new(Linear { weights, normalize }))
    },
    reference: "https://arxiv.org/abs/2203.05482",
};

struct Linear {
    /// Divided by their sum if so wanted.
    weights: Vec<f64>,
    normalize: bool,
}

impl TensorMethod for Linear {
    fn divides_by_weights(&self) -> bool {
        self.normalize
    }

    fn prepare(&self, _: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let inputs = self.weights.iter().map(|&weight| weight as f32).collect();
        Ok(Box::new(LinearCombination { base: 0.0, inputs }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{X1, X2, X3, assert_close, merge};

    #[test]
    fn weights_are_normalized_unless_told_otherwise() {
        let models = [&X1[..], &X2, &X3];
        let weights = [[("weight", 0.5)], [("weight", 0.3)], [("weight", 0.4)]];
        let weights: Vec<&[_]> = weights.iter().map(|weight| &weight[..]).collect();
        let average = merge("linear", None, &models, &weights, &[]);
        assert_close(&average, &[0.116667, -0.201667, 0.276667, 0.558333, 0.593333, -0.91]);
        let sum = merge("linear", None, &models, &weights, &[("normalize", 0.0)]);
        assert_close(&sum, &[0.14, -0.242, 0.332, 0.67, 0.712, -1.092]);
    }

    #[test]
    fn one_model_is_itself() {
        let merged = merge("linear", None, &[&X1], &[&[("weight", 0.7)]], &[]);
        assert_eq!(merged, X1);
    }
}

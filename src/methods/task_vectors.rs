//! The task-vector family: task arithmetic, TIES, DARE, DELLA and Breadcrumbs are one engine.
//!
//! ```text
//! δₖ = modelₖ − base
//! gₖ = weightₖ · rescaleₖ · sparsify(δₖ)
//! D  = Σ gₖ,  q = Σ weightₖ                            without sign consensus
//! s  = sign of Σ gₖ, + for zero;  mₖ = [sign gₖ = s]
//! D  = Σ mₖ gₖ,  q = Σ mₖ weightₖ, 1 for 0             with sign consensus, element-wise
//! out = base + λ · D / (normalize ? q : 1)
//! ```
//!
//! `rescale` restores the L1 norm of δₖ, so it needs a statistics pass; so do rules that select by
//! magnitude. Task arithmetic: Ilharco et al. 2022, <https://arxiv.org/abs/2212.04089>.

mod masked_sum;

use super::coefficients::TaskVectorCombination;
use super::sparsify::{self, Mask, Rule, Sparsifier};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, Parameters, TensorInputs, TensorMethod,
};

use masked_sum::{MaskedModel, MaskedSum};

/// Sums of weights nearer to 0 than this do not normalize; mergekit's constant.
const SMALLEST_WEIGHT: f32 = 1e-8;

const fn per_model(
    name: &'static str,
    default: ParameterDefault,
    help: &'static str,
) -> ParameterDefinition {
    ParameterDefinition { name, scope: ParameterScope::PerNonBase, default, help }
}

const fn shared(
    name: &'static str,
    default: ParameterValue,
    help: &'static str,
) -> ParameterDefinition {
    let default = ParameterDefault::Value(default);
    ParameterDefinition { name, scope: ParameterScope::Shared, default, help }
}

const WEIGHT: ParameterDefinition =
    per_model("weight", ParameterDefault::Required, "factor of the model's task vector");
const DENSITY: ParameterDefinition = per_model(
    "density",
    ParameterDefault::Value(ParameterValue::Float(1.0)),
    "share of the task vector's elements that is kept",
);
const EPSILON: ParameterDefinition = per_model(
    "epsilon",
    ParameterDefault::Value(ParameterValue::Float(0.15)),
    "half the spread of keep probabilities around density",
);
const GAMMA: ParameterDefinition = per_model(
    "gamma",
    ParameterDefault::Value(ParameterValue::Float(0.01)),
    "share of largest elements that is removed",
);
const LAMBDA: ParameterDefinition =
    shared("lambda", ParameterValue::Float(1.0), "factor on the summed task vectors");
const INT8_MASK: ParameterDefinition =
    shared("int8_mask", ParameterValue::Bool(false), "without effect on the result");

const fn normalize(default: bool) -> ParameterDefinition {
    shared("normalize", ParameterValue::Bool(default), "divide by the sum of weights")
}

const fn rescale(default: bool) -> ParameterDefinition {
    shared("rescale", ParameterValue::Bool(default), "restore the L1 norm after sparsification")
}

/// Declares one member of the family: its name, parameters, rule, consensus and source.
macro_rules! member {
    ($item:ident, $name:literal, [$($own:expr),*], normalize: $normalize:literal,
     rescale: $rescale:literal, $rule:expr, consensus: $consensus:literal, $reference:literal) => {
        /// The registry's entry.
        pub(super) static $item: MethodDefinition = MethodDefinition {
            name: $name,
            base: BaseRole::Required,
            inputs: (1, usize::MAX),
            incomplete: Incomplete::Check,
            parameters: &[
                WEIGHT,
                DENSITY,
                $($own,)*
                normalize($normalize),
                rescale($rescale),
                LAMBDA,
                INT8_MASK,
            ],
            bind: |parameters| bind(parameters, $rule, $consensus),
            reference: $reference,
        };
    };
}

member!(TASK_ARITHMETIC, "task_arithmetic", [], normalize: false, rescale: false,
    |_, _| Rule::Everything, consensus: false, "https://arxiv.org/abs/2212.04089");
member!(TIES, "ties", [], normalize: true, rescale: false,
    |_, _| Rule::Magnitude, consensus: true, "https://arxiv.org/abs/2306.01708");
member!(DARE_LINEAR, "dare_linear", [], normalize: false, rescale: true,
    |_, _| Rule::Bernoulli, consensus: false, "https://arxiv.org/abs/2311.03099");
member!(DARE_TIES, "dare_ties", [], normalize: false, rescale: true,
    |_, _| Rule::Bernoulli, consensus: true, "https://arxiv.org/abs/2311.03099");
member!(DELLA_LINEAR, "della_linear", [EPSILON], normalize: false, rescale: true,
    ranked, consensus: false, "https://arxiv.org/abs/2406.11617");
member!(DELLA, "della", [EPSILON], normalize: true, rescale: true,
    ranked, consensus: true, "https://arxiv.org/abs/2406.11617");
member!(BREADCRUMBS, "breadcrumbs", [GAMMA], normalize: false, rescale: false,
    outliers, consensus: false, "https://arxiv.org/abs/2312.06795");
member!(BREADCRUMBS_TIES, "breadcrumbs_ties", [GAMMA], normalize: false, rescale: false,
    outliers, consensus: true, "https://arxiv.org/abs/2312.06795");

fn ranked(parameters: &Parameters, input: usize) -> Rule {
    Rule::Ranked { epsilon: parameters.inputs[input]["epsilon"].as_float() }
}

fn outliers(parameters: &Parameters, input: usize) -> Rule {
    Rule::Outliers { gamma: parameters.inputs[input]["gamma"].as_float() }
}

struct TaskVectors {
    weights: Vec<f32>,
    /// Rule and density of each model.
    rules: Vec<(Rule, f64)>,
    consensus: bool,
    normalize: bool,
    rescale: bool,
    lambda: f32,
}

fn bind(
    parameters: &Parameters,
    rule: fn(&Parameters, usize) -> Rule,
    consensus: bool,
) -> Result<Box<dyn TensorMethod>, MethodError> {
    let mut rules = Vec::new();
    for (index, density) in parameters.floats("density").into_iter().enumerate() {
        if !(0.0..=1.0).contains(&density) {
            return Err(MethodError::Parameter {
                name: "density",
                input: Some(index),
                value: density,
                problem: "outside 0..=1".to_owned(),
            });
        }
        let rule = rule(parameters, index);
        rule.check(density, index)?;
        rules.push((rule, density));
    }
    Ok(Box::new(TaskVectors {
        weights: parameters.floats("weight").into_iter().map(|weight| weight as f32).collect(),
        rules,
        consensus,
        normalize: parameters.flag("normalize"),
        rescale: parameters.flag("rescale"),
        lambda: parameters.float("lambda") as f32,
    }))
}

impl TensorMethod for TaskVectors {
    fn statistics_passes(&self) -> usize {
        let needs_statistics = |&(rule, density): &(Rule, f64)| {
            let drops = density > 0.0 && density < 1.0;
            match rule {
                Rule::Everything => false,
                Rule::Bernoulli | Rule::Ranked { .. } => drops && self.rescale,
                Rule::Magnitude | Rule::Outliers { .. } => drops,
            }
        };
        usize::from(self.rules.iter().any(needs_statistics))
    }

    /// With sign consensus each element is divided by the weights that agreed, which do not cancel.
    fn divides_by_weights(&self) -> bool {
        self.normalize && !self.consensus
    }

    fn unread(&self, name: &str) -> Option<&'static str> {
        let keeps_everything =
            || self.rules.iter().all(|(rule, _)| matches!(rule, Rule::Everything));
        (matches!(name, "density" | "rescale") && keeps_everything())
            .then_some("`task_arithmetic` keeps every element of the task vectors")
    }

    fn statistics_memory(&self, shape: &[usize]) -> u64 {
        match self.statistics_passes() {
            0 => 0,
            _ => sparsify::memory(&self.rules, shape.iter().product()),
        }
    }

    fn needs_rows(&self, _: &[usize]) -> bool {
        let ranks = |&(rule, density): &(Rule, f64)| {
            matches!(rule, Rule::Ranked { .. }) && density > 0.0 && density < 1.0
        };
        self.rules.iter().any(ranks)
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let sparsifiers = sparsify::prepare(&self.rules, self.rescale, inputs)?;
        let total: f32 = self.weights.iter().sum();
        let divides = !self.consensus && self.normalize && total.abs() >= SMALLEST_WEIGHT;
        let scale = if divides { self.lambda / total } else { self.lambda };
        let is_dense = sparsifiers.iter().all(|s| matches!(s.mask, Mask::Everything));
        if is_dense && !self.consensus {
            let inputs = self.weights.iter().map(|weight| scale * weight).collect();
            return Ok(Box::new(TaskVectorCombination { inputs }));
        }
        let models = sparsifiers.into_iter().zip(&self.weights);
        let models = models.map(|(Sparsifier { mask, rescale }, &weight)| MaskedModel {
            mask,
            factor: rescale * weight,
            weight,
        });
        Ok(Box::new(MaskedSum {
            models: models.collect(),
            consensus: self.consensus,
            normalize: self.normalize,
            scale,
        }))
    }
}

#[cfg(test)]
mod tests;

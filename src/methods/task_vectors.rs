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

use super::sparsify::{Mask, Rule};
use super::{
    Apply, BaseRole, Chunk, Granularity, Incomplete, MethodDefinition, MethodError,
    ParameterDefault, ParameterDefinition, ParameterScope, ParameterValue, Parameters,
    TensorInputs, TensorMethod,
};
use crate::kernels::reduce::sum_of_magnitudes;

/// Sums of magnitudes below this are not rescaled by; mergekit's constant.
const SMALLEST_NORM: f64 = 1e-7;

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
    models: Vec<Model>,
    consensus: bool,
    normalize: bool,
    rescale: bool,
    lambda: f32,
}

struct Model {
    weight: f32,
    density: f64,
    rule: Rule,
}

fn bind(
    parameters: &Parameters,
    rule: fn(&Parameters, usize) -> Rule,
    consensus: bool,
) -> Result<Box<dyn TensorMethod>, MethodError> {
    let weights = parameters.floats("weight");
    let densities = parameters.floats("density");
    let mut models = Vec::with_capacity(weights.len());
    for (index, (weight, density)) in weights.into_iter().zip(densities).enumerate() {
        if !(0.0..=1.0).contains(&density) {
            return Err(MethodError::Parameter {
                name: "density",
                input: Some(index),
                value: density,
                allowed: "outside 0..=1".to_owned(),
            });
        }
        let rule = rule(parameters, index);
        rule.check(density, index)?;
        models.push(Model { weight: weight as f32, density, rule });
    }
    Ok(Box::new(TaskVectors {
        models,
        consensus,
        normalize: parameters.flag("normalize"),
        rescale: parameters.flag("rescale"),
        lambda: parameters.float("lambda") as f32,
    }))
}

impl TensorMethod for TaskVectors {
    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let mut models = Vec::with_capacity(self.models.len());
        for (index, model) in self.models.iter().enumerate() {
            let mask = Mask::new(model.rule, model.density, index, inputs)?;
            let rescale = match self.rescale && mask.drops() {
                true => rescale_factor(&mask, index, inputs)?,
                false => 1.0,
            };
            models.push(PreparedModel { mask, rescale, weight: model.weight });
        }
        Ok(Box::new(Prepared {
            models,
            consensus: self.consensus,
            normalize: self.normalize,
            lambda: self.lambda,
        }))
    }
}

/// Σ|δ| / Σ|masked δ|, or 1 when either is practically 0.
fn rescale_factor(
    mask: &Mask,
    index: usize,
    inputs: &TensorInputs<'_>,
) -> Result<f32, MethodError> {
    let [before, after] = inputs.sum(&[index], mask.needs_rows(), |chunk| {
        let mut delta = vec![0.0; chunk.inputs[0].len()];
        subtract(chunk.inputs[0], chunk.base.expect("the method has a base"), &mut delta);
        let before = sum_of_magnitudes(&delta);
        mask.apply(chunk.start, &mut delta);
        [before, sum_of_magnitudes(&delta)]
    })?;
    let is_small = before < SMALLEST_NORM || after < SMALLEST_NORM;
    Ok(if is_small { 1.0 } else { (before / after) as f32 })
}

struct Prepared {
    models: Vec<PreparedModel>,
    consensus: bool,
    normalize: bool,
    lambda: f32,
}

struct PreparedModel {
    mask: Mask,
    rescale: f32,
    weight: f32,
}

impl Apply for Prepared {
    fn granularity(&self) -> Granularity {
        match self.models.iter().any(|model| model.mask.needs_rows()) {
            true => Granularity::Row,
            false => Granularity::Element,
        }
    }

    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let base = chunk.base.expect("the method has a base");
        let deltas: Vec<Vec<f32>> = self
            .models
            .iter()
            .zip(chunk.inputs)
            .map(|(model, input)| model.weighted_delta(chunk.start, input, base))
            .collect();
        out.fill(0.0);
        for delta in &deltas {
            for (sum, delta) in out.iter_mut().zip(delta) {
                *sum += delta;
            }
        }
        if self.consensus {
            self.agree(&deltas, out);
        } else if self.normalize {
            let divisor: f32 = self.models.iter().map(|model| model.weight).sum();
            if divisor.abs() >= SMALLEST_WEIGHT {
                out.iter_mut().for_each(|sum| *sum /= divisor);
            }
        }
        for (out, base) in out.iter_mut().zip(base) {
            *out = base + self.lambda * *out;
        }
    }
}

impl Prepared {
    /// Replaces sums by those over the models that agree with the sum's sign.
    fn agree(&self, deltas: &[Vec<f32>], sums: &mut [f32]) {
        const BLOCK: usize = 512;
        for (index, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let (mut agreed, mut divisors) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
            for (model, delta) in self.models.iter().zip(deltas) {
                let delta = &delta[index * BLOCK..][..sums.len()];
                let totals = agreed.iter_mut().zip(&mut divisors);
                for ((&delta, &sum), (agreed, divisor)) in delta.iter().zip(&*sums).zip(totals) {
                    // A mask of bits instead of a jump, since who agrees cannot be predicted. A zero
                    // delta has no sign and agrees with nobody.
                    let agrees = (sum >= 0.0) & (delta > 0.0) | (sum < 0.0) & (delta < 0.0);
                    let mask = 0u32.wrapping_sub(u32::from(agrees));
                    *agreed += f32::from_bits(delta.to_bits() & mask);
                    *divisor += f32::from_bits(model.weight.to_bits() & mask);
                }
            }
            for (sum, (agreed, divisor)) in sums.iter_mut().zip(agreed.iter().zip(divisors)) {
                let divisor = if self.normalize & (divisor != 0.0) { divisor } else { 1.0 };
                // A sum that is not a number must not be hidden by an empty vote.
                *sum = if sum.is_nan() { *sum } else { agreed / divisor };
            }
        }
    }
}

impl PreparedModel {
    fn weighted_delta(&self, start: usize, input: &[f32], base: &[f32]) -> Vec<f32> {
        let mut delta = vec![0.0; input.len()];
        subtract(input, base, &mut delta);
        self.mask.apply(start, &mut delta);
        if self.rescale != 1.0 {
            delta.iter_mut().for_each(|delta| *delta *= self.rescale);
        }
        delta.iter_mut().for_each(|delta| *delta *= self.weight);
        delta
    }
}

fn subtract(input: &[f32], base: &[f32], delta: &mut [f32]) {
    for (delta, (input, base)) in delta.iter_mut().zip(input.iter().zip(base)) {
        *delta = input - base;
    }
}

#[cfg(test)]
mod tests;

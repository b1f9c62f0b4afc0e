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

use std::ops::Range;

use super::coefficients::TaskVectorCombination;
use super::sparsify::{self, BLOCK, Mask, Rule, Sparsifier, subtract};
use super::{
    Apply, BaseRole, Chunk, Granularity, Incomplete, MethodDefinition, MethodError,
    ParameterDefault, ParameterDefinition, ParameterScope, ParameterValue, Parameters,
    TensorInputs, TensorMethod,
};
use crate::kernels::simd::{Aligned, vectorized};

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
        let models = models.map(|(Sparsifier { mask, rescale }, &weight)| Model {
            mask,
            factor: rescale * weight,
            weight,
        });
        Ok(Box::new(Prepared {
            models: models.collect(),
            consensus: self.consensus,
            normalize: self.normalize,
            scale,
        }))
    }
}

struct Prepared {
    models: Vec<Model>,
    consensus: bool,
    /// Whether agreed task vectors are divided by the weights that agreed.
    normalize: bool,
    /// Factor of the sum, λ and what normalizes without sign consensus.
    scale: f32,
}

struct Model {
    mask: Mask,
    /// Factor of the masked task vector: the weight, and what restores the L1 norm.
    factor: f32,
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
        // Empty, and so nothing is allocated, for all rules but one.
        let row_flags = match self.granularity() {
            Granularity::Element => Vec::new(),
            Granularity::Row => self.row_flags(chunk),
        };
        vectorized(
            #[inline(always)]
            || match (self.consensus, self.normalize) {
                (false, _) => self.add(chunk, &row_flags, out),
                (true, false) => self.agree::<false>(chunk, &row_flags, out),
                (true, true) => self.agree::<true>(chunk, &row_flags, out),
            },
        );
    }
}

impl Prepared {
    fn row_flags(&self, chunk: &Chunk<'_>) -> Vec<Vec<u8>> {
        let models = self.models.iter().enumerate();
        models.map(|(input, model)| model.mask.row_flags(chunk, input)).collect()
    }

    /// Adds the models' task vectors to the base.
    #[inline(always)]
    fn add(&self, chunk: &Chunk<'_>, row_flags: &[Vec<u8>], out: &mut [f32]) {
        self.for_blocks(
            chunk,
            out,
            #[inline(always)]
            |range, base, out| {
                let mut sums = Aligned([0.0f32; BLOCK]);
                self.for_deltas(
                    chunk,
                    row_flags,
                    range,
                    base,
                    #[inline(always)]
                    |_, delta| {
                        for (sum, delta) in sums.iter_mut().zip(delta) {
                            *sum += delta;
                        }
                    },
                );
                for (out, (base, sum)) in out.iter_mut().zip(base.iter().zip(&sums)) {
                    *out = base + self.scale * sum;
                }
            },
        );
    }

    /// Adds those parts of the models' task vectors to the base that agree with the sign of their sum.
    ///
    /// Positive and negative parts are summed apart, so that no task vector is needed twice. A zero
    /// has no sign and agrees with nobody.
    #[inline(always)]
    fn agree<const NORMALIZE: bool>(
        &self,
        chunk: &Chunk<'_>,
        row_flags: &[Vec<u8>],
        out: &mut [f32],
    ) {
        self.for_blocks(
            chunk,
            out,
            #[inline(always)]
            |range, base, out| {
                let mut sums = Aligned([0.0f32; BLOCK]);
                let (mut positive, mut negative) = (Aligned([0.0f32; BLOCK]), Aligned([0.0f32; BLOCK]));
                let (mut divisors, mut negative_divisors) = (Aligned([0.0f32; BLOCK]), Aligned([0.0f32; BLOCK]));
                self.for_deltas(
                    chunk,
                    row_flags,
                    range,
                    base,
                    #[inline(always)]
                    |weight, delta| {
                        let totals = sums.iter_mut().zip(positive.iter_mut().zip(&mut negative));
                        for ((sum, (positive, negative)), &delta) in totals.zip(delta) {
                            *sum += delta;
                            *positive += if delta > 0.0 { delta } else { 0.0 };
                            *negative += if delta < 0.0 { delta } else { 0.0 };
                        }
                        if NORMALIZE {
                            let divisors = divisors.iter_mut().zip(&mut negative_divisors);
                            for ((positive, negative), &delta) in divisors.zip(delta) {
                                *positive += if delta > 0.0 { weight } else { 0.0 };
                                *negative += if delta < 0.0 { weight } else { 0.0 };
                            }
                        }
                    },
                );
                let parts =
                    positive.iter().zip(&negative).zip(divisors.iter().zip(&negative_divisors));
                for ((out, base), (&sum, (parts, divisors))) in
                    out.iter_mut().zip(base).zip(sums.iter().zip(parts))
                {
                    // Bits are masked, since the compiler would rather choose between addresses.
                    let mask = 0u32.wrapping_sub(u32::from(sum >= 0.0));
                    let choose = |positive: f32, negative: f32| {
                        f32::from_bits(positive.to_bits() & mask | negative.to_bits() & !mask)
                    };
                    let mut agreed = choose(*parts.0, *parts.1);
                    if NORMALIZE {
                        let divisor = choose(*divisors.0, *divisors.1);
                        agreed /= if divisor == 0.0 { 1.0 } else { divisor };
                    }
                    // A sum that is not a number must not be hidden by an empty vote.
                    let agreed = if sum.is_nan() { sum } else { agreed };
                    *out = base + self.scale * agreed;
                }
            },
        );
    }

    /// Calls `work` with the base and the output of consecutive parts of a chunk.
    #[inline(always)]
    fn for_blocks(
        &self,
        chunk: &Chunk<'_>,
        out: &mut [f32],
        mut work: impl FnMut(Range<usize>, &[f32], &mut [f32]),
    ) {
        let base = chunk.base.expect("the method has a base");
        let blocks = base.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate();
        for (index, (base, out)) in blocks {
            let start = index * BLOCK;
            work(start..start + base.len(), base, out);
        }
    }

    /// Calls `visit` with the weight and the weighted sparse task vector of every model in turn.
    #[inline(always)]
    fn for_deltas(
        &self,
        chunk: &Chunk<'_>,
        row_flags: &[Vec<u8>],
        range: Range<usize>,
        base: &[f32],
        mut visit: impl FnMut(f32, &[f32]),
    ) {
        let (mut delta, mut kept) = (Aligned([0.0f32; BLOCK]), Aligned([0.0f32; BLOCK]));
        let (delta, kept) = (&mut delta[..range.len()], &mut kept[..range.len()]);
        for (index, (model, input)) in self.models.iter().zip(chunk.inputs).enumerate() {
            subtract(&input[range.clone()], base, delta);
            let flags = row_flags.get(index).and_then(|flags| flags.get(range.clone()));
            let start = chunk.start + range.start;
            model.mask.apply(start, flags.unwrap_or_default(), delta, kept);
            kept.iter_mut().for_each(|kept| *kept *= model.factor);
            visit(model.weight, kept);
        }
    }
}

#[cfg(test)]
mod tests;

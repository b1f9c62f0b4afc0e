//! SCE: select what the models disagree on most, calculate their weights, erase minority directions
//! (FuseChat, Wan et al. 2024, <https://arxiv.org/abs/2408.07990>).
//!
//! ```text
//! δₖ  = modelₖ − base, 0 for elements that are not selected
//! ωₖ  = mean of δₖ² over the tensor, divided by the sum over all models
//! s   = sign of Σ δₖ, + for zero;  mₖ = [sign δₖ = s]
//! out = base + Σ ωₖ mₖ δₖ / max(Σ ωₖ mₖ, 1e-6)                                  element-wise
//! ```
//!
//! Selected are the ⌊`select_topk` · number of variances other than 0⌋ elements whose δ vary most
//! between the models, all for `select_topk` ≥ 1. One statistics pass, as a rule, for the selection
//! and the weights.

use std::array::from_fn;
use std::ops::Range;
use std::sync::Arc;

use super::selection::{self, Keep, Request, Scores, Wanted};
use super::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};
use crate::kernels::select::MagnitudeThreshold;
use crate::kernels::simd::{Aligned, vectorized};

/// Weights whose sum is below this are replaced by equal ones; mergekit's constant.
const SMALLEST_SUM: f64 = 1e-6;

/// Weights of agreeing models are taken to sum up to at least this; mergekit's constant.
const SMALLEST_DIVISOR: f32 = 1e-6;

/// Elements worked on at a time, in arrays that stay in the nearest cache.
const BLOCK: usize = 256;

/// The registry's entry.
pub(super) static SCE: MethodDefinition = MethodDefinition {
    name: "sce",
    base: BaseRole::Required,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[
        ParameterDefinition {
            name: "select_topk",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Float(1.0)),
            help: "share of the elements that vary between the models to be merged",
        },
        ParameterDefinition {
            name: "int8_mask",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Bool(false)),
            help: "without effect on the result",
        },
    ],
    bind: |parameters| Ok(Box::new(Sce { select_topk: parameters.float("select_topk") })),
    reference: "https://arxiv.org/abs/2408.07990",
};

struct Sce {
    select_topk: f64,
}

/// The elements that take part.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Selected {
    All,
    None,
    Largest(MagnitudeThreshold),
}

impl TensorMethod for Sce {
    fn statistics_passes(&self) -> usize {
        match self.select_topk {
            share if share <= 0.0 => 0,
            _ => 1,
        }
    }

    fn statistics_memory(&self, shape: &[usize]) -> u64 {
        let elements: usize = shape.iter().product();
        selection::memory(elements, 1)
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let key = format!("select and calculate {}", self.select_topk.min(1.0));
        let prepared = inputs.reader.remember(&key, &mut || Ok(Arc::new(self.measure(inputs)?)))?;
        let prepared: Arc<Prepared> = prepared.downcast().expect("the key belongs to this type");
        Ok(Box::new(prepared))
    }
}

impl Sce {
    fn measure(&self, inputs: &TensorInputs<'_>) -> Result<Prepared, MethodError> {
        let (selected, squares) = self.select(inputs)?;
        let squares = match (selected, squares) {
            (_, Some(squares)) => squares,
            (Selected::None, None) => vec![0.0; inputs.n_inputs],
            (_, None) => sum_of_squares(selected, inputs)?,
        };
        Ok(Prepared { selected, weights: weights(&squares, inputs.elements()) })
    }

    /// What is selected, and Σ δ² of every model over it as far as that is known.
    fn select(
        &self,
        inputs: &TensorInputs<'_>,
    ) -> Result<(Selected, Option<Vec<f64>>), MethodError> {
        let all: Vec<usize> = (0..inputs.n_inputs).collect();
        // NaN is not below 1, and so selects everything, as in mergekit.
        if self.select_topk >= 1.0 || self.select_topk.is_nan() {
            return Ok((Selected::All, None));
        }
        if self.select_topk <= 0.0 || all.len() < 2 {
            return Ok((Selected::None, None));
        }
        let request = Request {
            inputs: &all,
            whole_rows: false,
            series: 1,
            wanted: &[Wanted { series: 0, keep: Keep::OfNonzero(self.select_topk) }],
            norms: false,
            sums: 0,
            squares: all.len(),
        };
        let selection = inputs.select(&request, &Variances)?;
        Ok(match &selection.kept[..] {
            [Some(kept)] => (Selected::Largest(kept.threshold), selection.squares),
            _ => (Selected::None, None),
        })
    }
}

/// ω of every model from its Σ δ² over `n` elements.
fn weights(squares: &[f64], n: usize) -> Vec<f32> {
    let means: Vec<f64> = squares.iter().map(|squares| squares / n as f64).collect();
    let sum: f64 = means.iter().sum();
    match sum < SMALLEST_SUM {
        true => vec![1.0 / squares.len() as f32; squares.len()],
        false => means.iter().map(|mean| (mean / sum) as f32).collect(),
    }
}

/// Σ δ² of every model over the selected elements.
fn sum_of_squares(selected: Selected, inputs: &TensorInputs<'_>) -> Result<Vec<f64>, MethodError> {
    const LANES: usize = 8;
    let all: Vec<usize> = (0..inputs.n_inputs).collect();
    let blocks = inputs.map_blocks(&all, false, |chunk| {
        let mut squares = vec![[0.0f64; LANES]; chunk.inputs.len()];
        vectorized(
            #[inline(always)]
            || {
                for_blocks(
                    selected,
                    chunk,
                    #[inline(always)]
                    |range, masks| {
                        let base = &chunk.base.expect("the method has a base")[range.clone()];
                        for (lanes, input) in squares.iter_mut().zip(chunk.inputs) {
                            let mut terms = Aligned([0.0f32; BLOCK]);
                            for (((term, &base), &input), &mask) in
                                terms.iter_mut().zip(base).zip(&input[range.clone()]).zip(masks)
                            {
                                *term = masked(input - base, mask);
                            }
                            for terms in terms.as_chunks::<LANES>().0 {
                                for (lane, &term) in lanes.iter_mut().zip(terms) {
                                    *lane += f64::from(term) * f64::from(term);
                                }
                            }
                        }
                    },
                );
            },
        );
        squares.iter().map(|lanes| lanes.iter().sum()).collect::<Vec<f64>>()
    })?;
    let mut total = vec![0.0; inputs.n_inputs];
    for block in blocks {
        for (total, squares) in total.iter_mut().zip(block) {
            *total += squares;
        }
    }
    Ok(total)
}

/// Calls `visit` with consecutive ranges of the chunk and, for each element, all bits or none.
#[inline(always)]
fn for_blocks(selected: Selected, chunk: &Chunk<'_>, mut visit: impl FnMut(Range<usize>, &[u32])) {
    let length = chunk.base.expect("the method has a base").len();
    for start in (0..length).step_by(BLOCK) {
        let range = start..length.min(start + BLOCK);
        let mut masks = [u32::MAX; BLOCK];
        let masks = &mut masks[..range.len()];
        match selected {
            Selected::All => {}
            Selected::None => masks.fill(0),
            Selected::Largest(threshold) => {
                let mut variances = Aligned([0.0; BLOCK]);
                let variances = &mut variances[..range.len()];
                block_of_variances(chunk, range.clone(), variances);
                threshold.mask(chunk.start + start, variances, masks);
            }
        }
        visit(range, masks);
    }
}

#[inline(always)]
fn masked(delta: f32, mask: u32) -> f32 {
    f32::from_bits(delta.to_bits() & mask)
}

/// Ranks elements by the variance of their δ between the models.
struct Variances;

impl Scores for Variances {
    type Block = ();

    #[inline(always)]
    fn begin(&self, _: &Chunk<'_>) {}

    #[inline(always)]
    fn score(&self, _: &(), chunk: &Chunk<'_>, _: usize, range: Range<usize>, scores: &mut [f32]) {
        for (index, scores) in scores.chunks_mut(BLOCK).enumerate() {
            let start = range.start + index * BLOCK;
            block_of_variances(chunk, start..start + scores.len(), scores);
        }
    }

    #[inline(always)]
    fn value(
        &self,
        _: &(),
        chunk: &Chunk<'_>,
        index: usize,
        range: Range<usize>,
        values: &mut [f32],
    ) {
        let base = &chunk.base.expect("the method has a base")[range.clone()];
        let elements = base.iter().zip(&chunk.inputs[index][range]);
        for (value, (&base, &input)) in values.iter_mut().zip(elements) {
            *value = input - base;
        }
    }
}

/// Population variances of δ between the models times their number, which ranks alike, for up to
/// [`BLOCK`] elements. Exactly 0 where all δ are equal, since it is their differences from the first
/// one that are squared.
#[inline(always)]
fn block_of_variances(chunk: &Chunk<'_>, range: Range<usize>, variances: &mut [f32]) {
    let base = &chunk.base.expect("the method has a base")[range.clone()];
    let [first, others @ ..] = chunk.inputs else { return variances.fill(0.0) };
    let first = &first[range.clone()];
    match others.len() {
        1 => {
            return variances_of::<1>(
                base,
                first,
                from_fn(|k| &others[k][range.clone()]),
                variances,
            );
        }
        2 => {
            return variances_of::<2>(
                base,
                first,
                from_fn(|k| &others[k][range.clone()]),
                variances,
            );
        }
        3 => {
            return variances_of::<3>(
                base,
                first,
                from_fn(|k| &others[k][range.clone()]),
                variances,
            );
        }
        _ => {}
    }
    let share = 1.0 / chunk.inputs.len() as f32;
    let mut means = Aligned([0.0f32; BLOCK]);
    for other in others {
        let elements = base.iter().zip(first).zip(&other[range.clone()]);
        for (mean, ((&base, &first), &other)) in means.iter_mut().zip(elements) {
            *mean += (other - base) - (first - base);
        }
    }
    for (variance, mean) in variances.iter_mut().zip(&mut means) {
        *mean *= share;
        *variance = *mean * *mean;
    }
    for other in others {
        let elements = base.iter().zip(first).zip(&other[range.clone()]).zip(&means);
        for (variance, (((&base, &first), &other), &mean)) in variances.iter_mut().zip(elements) {
            let deviation = ((other - base) - (first - base)) - mean;
            *variance += deviation * deviation;
        }
    }
}

/// As [`block_of_variances`] for few models, whose values then stay in registers.
#[inline(always)]
fn variances_of<const N: usize>(
    base: &[f32],
    first: &[f32],
    others: [&[f32]; N],
    variances: &mut [f32],
) {
    let length = variances.len();
    let (base, first) = (&base[..length], &first[..length]);
    let others = others.map(|other| &other[..length]);
    let share = 1.0 / (N + 1) as f32;
    for element in 0..length {
        let base = base[element];
        let delta = first[element] - base;
        let mut deviations = [0.0f32; N];
        let mut mean = 0.0;
        for (deviation, other) in deviations.iter_mut().zip(&others) {
            *deviation = (other[element] - base) - delta;
            mean += *deviation;
        }
        mean *= share;
        let mut variance = mean * mean;
        for deviation in deviations {
            variance += (deviation - mean) * (deviation - mean);
        }
        variances[element] = variance;
    }
}

/// What elements of few models, whose masked δ are kept in registers, become.
#[inline(always)]
fn merge_block<const N: usize>(
    weights: &[f32],
    base: &[f32],
    inputs: [&[f32]; N],
    masks: &[u32],
    out: &mut [f32],
) {
    let length = out.len();
    let (base, masks) = (&base[..length], &masks[..length]);
    let inputs = inputs.map(|input| &input[..length]);
    let weights: [f32; N] = from_fn(|k| weights[k]);
    for element in 0..length {
        let (base, mask) = (base[element], masks[element]);
        let mut deltas = [0.0f32; N];
        let mut sum = 0.0;
        for (delta, input) in deltas.iter_mut().zip(&inputs) {
            *delta = masked(input[element] - base, mask);
            sum += *delta;
        }
        let (mut agreed, mut divisor) = (0.0, 0.0);
        for (delta, weight) in deltas.into_iter().zip(weights) {
            let weight = weight_if_agrees(weight, delta, sum);
            agreed += weight * delta;
            divisor += weight;
        }
        out[element] = base + quotient(agreed, divisor);
    }
}

/// The weight of a δ that has the sign of `sum`, 0 for others.
#[inline(always)]
fn weight_if_agrees(weight: f32, delta: f32, sum: f32) -> f32 {
    let is_raised = sum >= 0.0;
    let agrees = is_raised & (delta > 0.0) | !is_raised & (delta < 0.0);
    if agrees { weight } else { 0.0 }
}

#[inline(always)]
fn quotient(agreed: f32, divisor: f32) -> f32 {
    agreed / if divisor < SMALLEST_DIVISOR { SMALLEST_DIVISOR } else { divisor }
}

#[derive(Debug)]
struct Prepared {
    selected: Selected,
    /// ω of every model.
    weights: Vec<f32>,
}

impl Apply for Arc<Prepared> {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let base = chunk.base.expect("the method has a base");
        if self.selected == Selected::None {
            return out.copy_from_slice(base);
        }
        vectorized(
            #[inline(always)]
            || {
                for_blocks(
                    self.selected,
                    chunk,
                    #[inline(always)]
                    |range, masks| {
                        let base = &base[range.clone()];
                        let weights = &self.weights;
                        match chunk.inputs {
                            [a, b] => {
                                let inputs = [&a[range.clone()], &b[range.clone()]];
                                return merge_block(weights, base, inputs, masks, &mut out[range]);
                            }
                            [a, b, c] => {
                                let inputs = [a, b, c].map(|input| &input[range.clone()]);
                                return merge_block(weights, base, inputs, masks, &mut out[range]);
                            }
                            _ => {}
                        }
                        let mut sums = Aligned([0.0f32; BLOCK]);
                        for input in chunk.inputs {
                            let elements = base.iter().zip(&input[range.clone()]).zip(masks);
                            for (sum, ((&base, &input), &mask)) in sums.iter_mut().zip(elements) {
                                *sum += masked(input - base, mask);
                            }
                        }
                        let (mut agreed, mut divisors) =
                            (Aligned([0.0f32; BLOCK]), Aligned([0.0f32; BLOCK]));
                        for (&weight, input) in weights.iter().zip(chunk.inputs) {
                            let elements =
                                base.iter().zip(&input[range.clone()]).zip(masks).zip(&sums);
                            for ((agreed, divisor), (((&base, &input), &mask), &sum)) in
                                agreed.iter_mut().zip(&mut divisors).zip(elements)
                            {
                                let delta = masked(input - base, mask);
                                let weight = weight_if_agrees(weight, delta, sum);
                                *agreed += weight * delta;
                                *divisor += weight;
                            }
                        }
                        let elements = base.iter().zip(&agreed).zip(&divisors);
                        for (out, ((&base, &agreed), &divisor)) in
                            out[range].iter_mut().zip(elements)
                        {
                            *out = base + quotient(agreed, divisor);
                        }
                    },
                );
            },
        );
    }
}

#[cfg(test)]
mod tests;

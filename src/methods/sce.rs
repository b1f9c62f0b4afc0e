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
//! between the models, all for `select_topk` ≥ 1. One statistics pass for the weights, and one before
//! it where a selection is made.

use std::ops::Range;
use std::sync::Arc;

use super::selection::{self, Keep, Request, Scores, Wanted};
use super::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};
use crate::kernels::select::MagnitudeThreshold;
use crate::kernels::simd::vectorized;

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
            share if share < 1.0 => 2,
            _ => 1,
        }
    }

    fn statistics_memory(&self, elements: usize) -> u64 {
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
        let selected = self.select(inputs)?;
        let squares = match selected {
            Selected::None => vec![0.0; inputs.n_inputs],
            _ => sum_of_squares(selected, inputs)?,
        };
        Ok(Prepared { selected, weights: weights(&squares, inputs.elements()) })
    }

    fn select(&self, inputs: &TensorInputs<'_>) -> Result<Selected, MethodError> {
        let all: Vec<usize> = (0..inputs.n_inputs).collect();
        // NaN is not below 1, and so selects everything, as in mergekit.
        if self.select_topk >= 1.0 || self.select_topk.is_nan() {
            return Ok(Selected::All);
        }
        if self.select_topk <= 0.0 || all.len() < 2 {
            return Ok(Selected::None);
        }
        let request = Request {
            inputs: &all,
            whole_rows: false,
            series: 1,
            wanted: &[Wanted { series: 0, keep: Keep::OfNonzero(self.select_topk) }],
            norms: false,
            sums: 0,
        };
        let selection = inputs.select(&request, &Variances)?;
        Ok(match &selection.kept[..] {
            [Some(kept)] => Selected::Largest(kept.threshold),
            _ => Selected::None,
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
                            let mut terms = [0.0f32; BLOCK];
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
                let mut variances = [0.0; BLOCK];
                let variances = &mut variances[..range.len()];
                block_of_variances(chunk, range.clone(), variances);
                let mut kept = [0.0; BLOCK];
                let kept = &mut kept[..range.len()];
                threshold.keep_largest(chunk.start + start, variances, kept);
                // Nothing that varies by 0 is ever selected.
                for (mask, variance) in masks.iter_mut().zip(kept) {
                    *mask = 0u32.wrapping_sub(u32::from(*variance != 0.0));
                }
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
}

/// Population variances of δ between the models times their number, which ranks alike, for up to
/// [`BLOCK`] elements. Exactly 0 where all δ are equal, since it is their differences from the first
/// one that are squared.
#[inline(always)]
fn block_of_variances(chunk: &Chunk<'_>, range: Range<usize>, variances: &mut [f32]) {
    let base = &chunk.base.expect("the method has a base")[range.clone()];
    let [first, others @ ..] = chunk.inputs else { return variances.fill(0.0) };
    let first = &first[range.clone()];
    let share = 1.0 / chunk.inputs.len() as f32;
    let mut means = [0.0f32; BLOCK];
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
                        let mut sums = [0.0f32; BLOCK];
                        for input in chunk.inputs {
                            let elements = base.iter().zip(&input[range.clone()]).zip(masks);
                            for (sum, ((&base, &input), &mask)) in sums.iter_mut().zip(elements) {
                                *sum += masked(input - base, mask);
                            }
                        }
                        let (mut agreed, mut divisors) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
                        for (&weight, input) in self.weights.iter().zip(chunk.inputs) {
                            let elements =
                                base.iter().zip(&input[range.clone()]).zip(masks).zip(&sums);
                            for ((agreed, divisor), (((&base, &input), &mask), &sum)) in
                                agreed.iter_mut().zip(&mut divisors).zip(elements)
                            {
                                let delta = masked(input - base, mask);
                                let agrees = if sum >= 0.0 { delta > 0.0 } else { delta < 0.0 };
                                let weight = if agrees { weight } else { 0.0 };
                                *agreed += weight * delta;
                                *divisor += weight;
                            }
                        }
                        let elements = base.iter().zip(&agreed).zip(&divisors);
                        for (out, ((&base, &agreed), &divisor)) in
                            out[range].iter_mut().zip(elements)
                        {
                            let is_small = divisor < SMALLEST_DIVISOR;
                            *out =
                                base + agreed / if is_small { SMALLEST_DIVISOR } else { divisor };
                        }
                    },
                );
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{B, X1, X2, X3, assert_close, merge, merge_in_chunks};
    use super::*;

    fn sce(base: &[f32], inputs: &[&[f32]], select_topk: f64) -> Vec<f32> {
        let per_input = vec![&[][..]; inputs.len()];
        merge("sce", Some(base), inputs, &per_input, &[("select_topk", select_topk)])
    }

    const MODELS: [&[f32]; 3] = [&X1, &X2, &X3];

    #[test]
    fn agreeing_changes_are_averaged_by_their_size() {
        let expected = [-0.08, -0.18767, 0.58, 0.706224, 0.692719, -1.043204];
        assert_close(&sce(&B, &MODELS, 1.0), &expected);
        assert_close(&sce(&B, &MODELS, 1.5), &expected);
        assert_close(&merge("sce", Some(&B), &MODELS, &[&[], &[], &[]], &[]), &expected);
    }

    #[test]
    fn only_what_varies_most_is_merged() {
        let expected = [0.11, -0.23, 0.58, 0.42, 0.723948, -1.035057];
        assert_close(&sce(&B, &MODELS, 0.5), &expected);
        let parameters = [("select_topk", 0.5), ("int8_mask", 1.0)];
        for chunk in [1, 4, 6] {
            let merged = merge_in_chunks(
                "sce",
                &[2, 3],
                Some(&B),
                &MODELS,
                &[&[], &[], &[]],
                &parameters,
                chunk,
            );
            assert_eq!(merged, sce(&B, &MODELS, 0.5));
        }
    }

    #[test]
    fn where_nothing_is_selected_the_base_remains() {
        assert_eq!(sce(&B, &MODELS, 0.0), B);
        assert_eq!(sce(&B, &MODELS, -1.0), B);
        assert_eq!(sce(&B, &MODELS, 0.1), B);
        assert_eq!(sce(&B, &[&X1], 0.9), B);
        assert_eq!(sce(&B, &[&X1, &X1, &X1], 0.9), B);
        assert_eq!(sce(&B, &[], 0.5), B);
        assert_eq!(sce(&B, &[], 1.0), B);
    }

    #[test]
    fn one_model_is_itself_and_equal_models_are_one() {
        assert_close(&sce(&B, &[&X1], 1.0), &X1);
        assert_close(&sce(&B, &[&X1, &X1], 1.0), &X1);
        assert_eq!(sce(&B, &[&B, &B], 1.0), B);
    }

    #[test]
    fn equal_variances_are_selected_by_place() {
        let base = [0.0; 4];
        let (a, b) = ([1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]);
        let merged = sce(&base, &[&a, &b], 0.5);
        assert_close(&merged, &[2.8, 2.8, 0.0, 0.0]);
    }

    #[test]
    fn small_changes_get_equal_weights() {
        assert_eq!(weights(&[4e-7, 1e-7], 1), [0.5, 0.5]);
        assert_eq!(weights(&[3.0, 1.0], 4), [0.75, 0.25]);
        assert!(weights(&[f32::NAN.into(), 1.0], 4)[1].is_nan());
        assert_eq!(weights(&[], 4), [0.0; 0]);
    }

    #[test]
    fn variances_of_equal_changes_are_exactly_zero() {
        let changed = [0.1, 0.3, -7.7, 1e-20, 0.0, 0.123];
        let chunk = Chunk { start: 0, base: Some(&B), inputs: &[&changed[..]; 7] };
        let mut variances = [1.0; 6];
        block_of_variances(&chunk, 0..6, &mut variances);
        assert_eq!(variances, [0.0; 6]);
        let chunk = Chunk { start: 0, base: Some(&[0.0]), inputs: &[&[1.0], &[2.0], &[6.0]] };
        block_of_variances(&chunk, 0..1, &mut variances[..1]);
        assert!((variances[0] - 14.0).abs() < 1e-5, "{}", variances[0]);
    }

    #[test]
    fn no_numbers_and_no_elements_do_no_harm() {
        for select_topk in [1.0, 0.5] {
            for broken in [f32::NAN, f32::INFINITY] {
                let mut model = X1;
                model[3] = broken;
                assert!(!sce(&B, &[&model, &X2], select_topk)[3].is_finite());
                assert_eq!(sce(&model, &[&X2, &X3], select_topk).len(), 6);
            }
            assert_eq!(sce(&[], &[&[], &[]], select_topk), [0.0; 0]);
            let merged = merge_in_chunks(
                "sce",
                &[],
                Some(&[1.0]),
                &[&[2.0]],
                &[&[]],
                &[("select_topk", select_topk)],
                1,
            );
            assert_eq!(merged, [if select_topk < 1.0 { 1.0 } else { 2.0 }]);
        }
    }
}

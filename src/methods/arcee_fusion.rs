//! Arcee Fusion: takes over only those of another model's changes that matter most.
//!
//! ```text
//! κ   = divergence of softmax(model) from softmax(base), one number for every row along the last axis
//! I   = |model − base| · κ                                                      importance
//! τ   = median of I + 1.5 · (third − first quartile of I)
//! out = base + (model − base) · [I ≥ τ]                                         element-wise
//! ```
//!
//! A quantile q of n importances is the one at place ⌊q·(n−1)⌋ from the smallest, without
//! interpolation. mergekit takes quantiles of a million random elements where a tensor has more than
//! that; here they are exact and the result depends on nothing but the models. One statistics pass.
//! mergekit also stores `float32` where half-precision models are fused and the config has no
//! `out_dtype`; here the output has the inputs' type, as with every other method.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::selection::{self, Keep, Request, Scores, Wanted};
use super::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, TensorInputs, TensorMethod,
};
use crate::kernels::divergence::softmax_divergence;
use crate::kernels::simd::vectorized;

/// The registry's entry.
pub(super) static ARCEE_FUSION: MethodDefinition = MethodDefinition {
    name: "arcee_fusion",
    base: BaseRole::Required,
    inputs: (2, 2),
    incomplete: Incomplete::CopySingle,
    parameters: &[],
    bind: |_| Ok(Box::new(ArceeFusion)),
    reference: "https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration",
};

struct ArceeFusion;

impl TensorMethod for ArceeFusion {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn statistics_memory(&self, shape: &[usize]) -> u64 {
        let elements: usize = shape.iter().product();
        selection::memory(elements, 3)
    }

    fn needs_rows(&self, _: &[usize]) -> bool {
        true
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let fusion =
            inputs.reader.remember("importances", &mut || Ok(Arc::new(measure(inputs)?)))?;
        let fusion: Arc<Fusion> = fusion.downcast().expect("the key belongs to this type");
        Ok(Box::new(Prepared(fusion)))
    }
}

/// What decides which elements of one tensor are taken over.
#[derive(Debug)]
struct Fusion {
    /// Elements of a row along the last axis.
    width: usize,
    /// κ of every row.
    divergences: Box<[f32]>,
    /// τ.
    threshold: f32,
}

fn measure(inputs: &TensorInputs<'_>) -> Result<Fusion, MethodError> {
    let n = inputs.elements();
    let width = inputs.shape.last().copied().unwrap_or(1).max(1);
    let importances = Importances {
        width,
        divergences: (0..n / width).map(|_| AtomicU32::new(UNKNOWN)).collect(),
    };
    // A place from the smallest as a number of largest ones, the one at that place included.
    let last = n.saturating_sub(1) as u128;
    let wanted = [1, 2, 3].map(|quarters| {
        let from_largest = n - (last * quarters / 4) as usize;
        Wanted { series: 0, keep: Keep::Exactly(from_largest) }
    });
    let request = Request {
        inputs: &[0],
        whole_rows: true,
        series: 1,
        wanted: &wanted,
        norms: false,
        sums: 0,
        squares: 0,
    };
    let selection = inputs.select(&request, &importances)?;
    let mut quartiles = [0.0; 3];
    for (quartile, kept) in quartiles.iter_mut().zip(selection.kept.iter().flatten()) {
        *quartile = f32::from_bits(kept.threshold.bits);
    }
    let [first, median, third] = quartiles;
    let divergences = importances.divergences.into_iter();
    Ok(Fusion {
        width,
        divergences: divergences.map(|bits| f32::from_bits(bits.into_inner())).collect(),
        threshold: median + 1.5 * (third - first),
    })
}

/// Bits of a divergence that has not been measured yet: a NaN that no computation returns.
const UNKNOWN: u32 = u32::MAX;

/// The importances of one tensor's elements, with the rows' divergences as far as they are known.
struct Importances {
    width: usize,
    /// Bits of each. A row that two threads measure at once gets the same value from both.
    divergences: Vec<AtomicU32>,
}

impl Scores for Importances {
    type Block = Vec<f32>;

    #[inline(always)]
    fn begin(&self, chunk: &Chunk<'_>) -> Vec<f32> {
        let base = chunk.base.expect("the method has a base");
        let known = &self.divergences[chunk.start / self.width..];
        let rows = chunk.inputs[0].chunks(self.width).zip(base.chunks(self.width));
        let width = self.width.min(base.len());
        let mut scratch = vec![0.0; 2 * width];
        let divergences =
            rows.zip(known).map(|((row, base), known)| match known.load(Ordering::Relaxed) {
                UNKNOWN => {
                    let divergence =
                        softmax_divergence(row, base, scratch.split_at_mut(width).into());
                    known.store(divergence.to_bits(), Ordering::Relaxed);
                    divergence
                }
                bits => f32::from_bits(bits),
            });
        divergences.collect()
    }

    #[inline(always)]
    fn score(
        &self,
        divergences: &Vec<f32>,
        chunk: &Chunk<'_>,
        _: usize,
        range: Range<usize>,
        scores: &mut [f32],
    ) {
        let base = &chunk.base.expect("the method has a base")[range.clone()];
        let other = &chunk.inputs[0][range.clone()];
        let mut done = 0;
        while done < scores.len() {
            let (row, end) = row_and_end(range.start + done, range.end, self.width);
            let end = end - range.start;
            let divergence = divergences[row];
            let elements = base[done..end].iter().zip(&other[done..end]);
            for (score, (&base, &other)) in scores[done..end].iter_mut().zip(elements) {
                *score = importance(other - base, divergence);
            }
            done = end;
        }
    }
}

/// Row of element `index`, and where that row or else the elements before `limit` end.
#[inline(always)]
fn row_and_end(index: usize, limit: usize, width: usize) -> (usize, usize) {
    let row = index / width;
    (row, limit.min((row + 1) * width))
}

#[inline(always)]
fn importance(delta: f32, divergence: f32) -> f32 {
    delta.abs() * divergence
}

struct Prepared(Arc<Fusion>);

impl Apply for Prepared {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let Fusion { width, divergences, threshold } = &*self.0;
        let base = chunk.base.expect("the method has a base");
        let other = chunk.inputs[0];
        vectorized(
            #[inline(always)]
            || {
                let mut done = 0;
                while done < out.len() {
                    let (row, end) =
                        row_and_end(chunk.start + done, chunk.start + out.len(), *width);
                    let end = end - chunk.start;
                    let divergence = divergences[row];
                    let elements = base[done..end].iter().zip(&other[done..end]);
                    for (out, (&base, &other)) in out[done..end].iter_mut().zip(elements) {
                        let delta = other - base;
                        let is_taken = importance(delta, divergence) >= *threshold;
                        // A product, so that NaN and infinity do not vanish.
                        *out = base + delta * if is_taken { 1.0 } else { 0.0 };
                    }
                    done = end;
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{B, X1, assert_close, merge, merge_in_chunks};

    fn fuse(shape: &[usize], base: &[f32], other: &[f32], chunk: usize) -> Vec<f32> {
        merge_in_chunks("arcee_fusion", shape, Some(base), &[other], &[&[]], &[], chunk)
    }

    #[test]
    fn the_most_important_changes_are_taken_over() {
        let merged = merge("arcee_fusion", Some(&B), &[&X1], &[&[]], &[]);
        assert_close(&merged, &[0.11, -0.23, 0.31, 0.42, 0.82, -1.01]);
        assert_eq!(fuse(&[2, 3], &B, &X1, 1), merged);
        assert_eq!(fuse(&[2, 3], &B, &X1, 4), merged);
    }

    #[test]
    fn rows_lie_along_the_last_axis() {
        // The second and the fourth row of three elements have changed, the others not at all.
        let base = [0.5, 0.1, -0.2].repeat(4);
        let mut other = base.clone();
        other[3] += 0.3;
        other[5] += 0.01;
        other[10] += 0.3;
        let mut expected = base.clone();
        expected[3] = base[3] + (other[3] - base[3]);
        expected[5] = base[5] + (other[5] - base[5]);
        expected[10] = base[10] + (other[10] - base[10]);
        // Three quarters of the importances are 0, so that all of the others count.
        assert_eq!(fuse(&[2, 2, 3], &base, &other, 5), expected);
    }

    #[test]
    fn where_all_importances_are_equal_everything_is_taken_over() {
        assert_eq!(fuse(&[2, 3], &B, &B, 6), B);
        // A softmax of one element is 1, whatever the element.
        assert_eq!(fuse(&[3, 1], &[1.0, 2.0, 3.0], &[2.0, 2.0, 5.0], 2), [2.0, 2.0, 5.0]);
        assert_eq!(fuse(&[], &[1.0], &[4.0], 1), [4.0]);
        assert_eq!(fuse(&[1], &[1.0], &[4.0], 1), [4.0]);
    }

    #[test]
    fn zeros_no_numbers_and_no_elements_do_no_harm() {
        assert_eq!(fuse(&[2, 3], &[0.0; 6], &[0.0; 6], 6), [0.0; 6]);
        assert_eq!(fuse(&[0, 3], &[], &[], 1), [0.0; 0]);
        assert_eq!(fuse(&[3, 0], &[], &[], 1), [0.0; 0]);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut other = X1;
            other[1] = broken;
            let merged = fuse(&[2, 3], &B, &other, 6);
            assert!(!merged[1].is_finite(), "{broken}");
            assert_eq!(fuse(&[6], &B, &other, 6).len(), 6);
            let mut base = B;
            base[4] = broken;
            assert!(!fuse(&[2, 3], &base, &X1, 6)[4].is_finite(), "{broken}");
        }
    }
}

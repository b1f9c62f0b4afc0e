//! Methods whose output is a linear combination of their inputs, once the statistics are known.

use std::array::from_fn;

use super::{Apply, Chunk, MethodError};
use crate::kernels::simd::vectorized;

/// Vectors that are combined in one loop; more take several, each over the output in the cache.
const GROUP: usize = 4;

/// Elements that several loops go over before the next ones: they stay in the L1 cache.
const BLOCK: usize = 1024;

/// Sums of weights that are smaller than this share of the weights consist of rounding errors.
const CANCELLED: f64 = 1e-12;

/// Weights divided by their sum, which is an error where they cancel out. `switch` is the parameter that
/// asked for it.
pub(super) fn normalized(weights: &[f64], switch: &str) -> Result<Vec<f64>, MethodError> {
    let sum: f64 = weights.iter().sum();
    let magnitudes: f64 = weights.iter().map(|weight| weight.abs()).sum();
    if sum.abs() <= CANCELLED * magnitudes {
        return Err(MethodError::Parameter {
            name: "weight",
            input: Some(0),
            value: weights[0],
            problem: format!("and all weights sum to 0, by which `{switch}` cannot divide"),
        });
    }
    Ok(weights.iter().map(|weight| weight / sum).collect())
}

/// `out = base_coefficient · base + Σ coefficients[i] · inputs[i]`, in that order, in `f32`.
pub(super) struct LinearCombination {
    /// Factor of the base, for methods that have one.
    pub(super) base: f32,
    /// Factors of the inputs.
    pub(super) inputs: Vec<f32>,
}

impl Apply for LinearCombination {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let base = chunk.base.map(|base| (self.base, base));
        let inputs = self.inputs.iter().copied().zip(chunk.inputs.iter().copied());
        combine(None, base.into_iter().chain(inputs), out);
    }
}

/// `out = base + Σ coefficients[i] · (inputs[i] − base)`, in `f32`; without a base as if it were 0.
pub(super) struct TaskVectorCombination {
    /// Factors of the inputs' task vectors.
    pub(super) inputs: Vec<f32>,
}

impl Apply for TaskVectorCombination {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let inputs = self.inputs.iter().copied().zip(chunk.inputs.iter().copied());
        combine(chunk.base, inputs, out);
    }
}

/// `out = origin + Σ coefficient · (vector − origin)` of the terms, or `Σ coefficient · vector` without
/// an origin. No terms make the origin, or zeros.
pub(super) fn combine<'a>(
    origin: Option<&[f32]>,
    terms: impl Iterator<Item = (f32, &'a [f32])> + Clone,
    out: &mut [f32],
) {
    vectorized(
        #[inline(always)]
        || {
            for start in (0..out.len()).step_by(BLOCK) {
                let range = start..(start + BLOCK).min(out.len());
                let origin = origin.map(|origin| &origin[range.clone()]);
                let mut terms = terms.clone().map(|(factor, x)| (factor, &x[range.clone()]));
                let out = &mut out[range.clone()];
                let mut is_first = true;
                loop {
                    let mut group = [(0.0, &[][..]); GROUP];
                    let mut count = 0;
                    for (place, term) in group.iter_mut().zip(terms.by_ref()) {
                        *place = term;
                        count += 1;
                    }
                    match count {
                        0 => break,
                        1 => add::<1>(is_first, origin, group, out),
                        2 => add::<2>(is_first, origin, group, out),
                        3 => add::<3>(is_first, origin, group, out),
                        _ => add::<4>(is_first, origin, group, out),
                    }
                    is_first = false;
                }
                if is_first {
                    match origin {
                        Some(origin) => out.copy_from_slice(origin),
                        None => out.fill(0.0),
                    }
                }
            }
        },
    );
}

/// Adds the first `N` terms to `out`, or starts with them.
#[inline(always)]
fn add<const N: usize>(
    is_first: bool,
    origin: Option<&[f32]>,
    terms: [(f32, &[f32]); GROUP],
    out: &mut [f32],
) {
    let n = out.len();
    let factors: [f32; N] = from_fn(|term| terms[term].0);
    let vectors: [&[f32]; N] = from_fn(|term| &terms[term].1[..n]);
    match (origin, is_first) {
        (Some(origin), _) => {
            let origin = &origin[..n];
            for index in 0..n {
                let mut sum = factors[0] * (vectors[0][index] - origin[index]);
                for term in 1..N {
                    sum += factors[term] * (vectors[term][index] - origin[index]);
                }
                out[index] = sum + if is_first { origin[index] } else { out[index] };
            }
        }
        // The first term is assigned, not added to 0, so that a negative zero stays one.
        (None, true) => {
            for index in 0..n {
                let mut sum = factors[0] * vectors[0][index];
                for term in 1..N {
                    sum += factors[term] * vectors[term][index];
                }
                out[index] = sum;
            }
        }
        (None, false) => {
            for index in 0..n {
                let mut sum = out[index];
                for term in 0..N {
                    sum += factors[term] * vectors[term][index];
                }
                out[index] = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_terms_is_added_in_order() {
        let length = BLOCK + 37;
        let vector = |seed: usize| -> Vec<f32> {
            (0..length).map(|i| ((i * 37 + seed * 101) % 211) as f32 / 100.0 - 1.0).collect()
        };
        let vectors: Vec<Vec<f32>> = (0..9).map(vector).collect();
        let origin = vector(77);
        for n in 0..=9 {
            let terms = (0..n).map(|term| (term as f32 - 2.5, &vectors[term][..]));
            let mut out = vec![f32::NAN; length];
            combine(None, terms.clone(), &mut out);
            let mut differences = vec![f32::NAN; length];
            combine(Some(&origin), terms.clone(), &mut differences);
            for index in 0..length {
                let sum = terms.clone().map(|(factor, x)| factor * x[index]);
                assert_eq!(out[index], sum.reduce(|sum, term| sum + term).unwrap_or(0.0));
                let origin = f64::from(origin[index]);
                let sum = terms
                    .clone()
                    .map(|(factor, x)| f64::from(factor) * (f64::from(x[index]) - origin));
                let expected = origin + sum.sum::<f64>();
                assert!((f64::from(differences[index]) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_negative_zero_stays_one() {
        let mut out = [1.0];
        combine(None, [(1.0, &[-0.0][..])].into_iter(), &mut out);
        assert_eq!(out[0].to_bits(), (-0.0f32).to_bits());
    }
}

//! RAM and RAM+: changes that one model alone has made are kept whole, shared ones are averaged
//! (Reinforced Agent Merging, <https://arxiv.org/abs/2601.13572>).
//!
//! ```text
//! δₖ  = modelₖ − base,   mₖ = [|δₖ| > epsilon],   c = Σ mₖ
//! out = base + Σ mₖ δₖ · (c > 1 ? 1/c : λₖ)                                     element-wise
//! ```
//!
//! `ram` has λₖ = 1 and needs no statistics. `ramplus_tl` raises it for models that share much of
//! what they have changed in this tensor, which takes one counting pass over all inputs:
//!
//! ```text
//! λₖ = 1 + r · clamp(|{mₖ, c > 1}| / max(|{mₖ, c = 1}|, epsilon), 0, alpha)
//! ```

use std::array::from_fn;
use std::sync::Arc;

use super::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};
use crate::kernels::simd::{Aligned, vectorized};

/// Elements worked on at a time, in arrays that stay in the nearest cache.
const BLOCK: usize = 256;

const fn shared(name: &'static str, default: f64, help: &'static str) -> ParameterDefinition {
    let default = ParameterDefault::Value(ParameterValue::Float(default));
    ParameterDefinition { name, scope: ParameterScope::Shared, default, help }
}

const EPSILON: ParameterDefinition =
    shared("epsilon", 1e-5, "changes up to this size do not count as changes");

/// The registry's entry.
pub(super) static RAM: MethodDefinition = MethodDefinition {
    name: "ram",
    base: BaseRole::Required,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[EPSILON],
    bind: |parameters| Ok(Box::new(Ram { epsilon: parameters.float("epsilon") as f32 })),
    reference: "https://arxiv.org/abs/2601.13572",
};

/// The registry's entry.
pub(super) static RAMPLUS_TL: MethodDefinition = MethodDefinition {
    name: "ramplus_tl",
    base: BaseRole::Required,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[
        shared("r", 0.1, "how much a model's own changes grow with the share of its shared ones"),
        shared("alpha", 0.2, "largest ratio of shared to own changes that counts"),
        EPSILON,
    ],
    bind: |parameters| {
        Ok(Box::new(RamPlus {
            epsilon: parameters.float("epsilon"),
            r: parameters.float("r"),
            alpha: parameters.float("alpha"),
        }))
    },
    reference: "https://arxiv.org/abs/2601.13572",
};

struct Ram {
    epsilon: f32,
}

struct RamPlus {
    epsilon: f64,
    r: f64,
    alpha: f64,
}

/// Elements that a model has changed in one tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Changes {
    /// By this model alone.
    unique: u64,
    /// By others as well.
    shared: u64,
}

impl TensorMethod for Ram {
    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        Ok(Box::new(Prepared { epsilon: self.epsilon, factors: vec![1.0; inputs.n_inputs] }))
    }
}

impl TensorMethod for RamPlus {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let key = format!("changes above {}", self.epsilon);
        let changes = inputs
            .reader
            .remember(&key, &mut || Ok(Arc::new(count_changes(self.epsilon as f32, inputs)?)))?;
        let changes: &Vec<Changes> = changes.downcast_ref().expect("the key belongs to this type");
        let factors = changes.iter().map(|changes| self.factor(*changes)).collect();
        Ok(Box::new(Prepared { epsilon: self.epsilon as f32, factors }))
    }
}

impl RamPlus {
    fn factor(&self, changes: Changes) -> f32 {
        let ratio = changes.shared as f64 / (changes.unique as f64).max(self.epsilon);
        // The upper bound comes last, so that it wins should it be below the lower one.
        (1.0 + self.r * ratio.max(0.0).min(self.alpha)) as f32
    }
}

/// What every model has changed by more than `epsilon`.
fn count_changes(epsilon: f32, inputs: &TensorInputs<'_>) -> Result<Vec<Changes>, MethodError> {
    let all: Vec<usize> = (0..inputs.n_inputs).collect();
    let blocks = inputs.map_blocks(&all, false, |chunk| {
        let base = chunk.base.expect("the method has a base");
        let mut changes = vec![Changes::default(); chunk.inputs.len()];
        vectorized(
            #[inline(always)]
            || {
                for (index, base) in base.chunks(BLOCK).enumerate() {
                    let start = index * BLOCK;
                    let mut counts = Aligned([0; BLOCK]);
                    for input in chunk.inputs {
                        for ((count, &base), &input) in
                            counts.iter_mut().zip(base).zip(&input[start..][..base.len()])
                        {
                            *count += u32::from(is_change(input - base, epsilon));
                        }
                    }
                    for (changes, input) in changes.iter_mut().zip(chunk.inputs) {
                        let (mut unique, mut shared) = (0, 0);
                        for ((count, &base), &input) in
                            counts.iter().zip(base).zip(&input[start..][..base.len()])
                        {
                            let is_change = is_change(input - base, epsilon);
                            unique += u32::from(is_change & (*count == 1));
                            shared += u32::from(is_change & (*count > 1));
                        }
                        changes.unique += u64::from(unique);
                        changes.shared += u64::from(shared);
                    }
                }
            },
        );
        changes
    })?;
    let mut total = vec![Changes::default(); inputs.n_inputs];
    for block in blocks {
        for (total, changes) in total.iter_mut().zip(block) {
            total.unique += changes.unique;
            total.shared += changes.shared;
        }
    }
    Ok(total)
}

/// Whether `delta` counts. NaN does, so that it reaches the output instead of vanishing.
#[inline(always)]
fn is_change(delta: f32, epsilon: f32) -> bool {
    (delta.abs() > epsilon) | delta.is_nan()
}

struct Prepared {
    epsilon: f32,
    /// λ of every model.
    factors: Vec<f32>,
}

impl Prepared {
    /// For few models, whose values stay in registers.
    #[inline(always)]
    fn merge<const N: usize>(&self, inputs: [&[f32]; N], base: &[f32], out: &mut [f32]) {
        let length = out.len();
        let base = &base[..length];
        let inputs = inputs.map(|input| &input[..length]);
        let factors: [f32; N] = from_fn(|k| self.factors[k]);
        for element in 0..length {
            let (mut count, mut sum, mut scaled) = (0.0, 0.0, 0.0);
            for (factor, input) in factors.into_iter().zip(&inputs) {
                let delta = input[element] - base[element];
                let is_change = is_change(delta, self.epsilon);
                let delta = if is_change { delta } else { 0.0 };
                count += if is_change { 1.0 } else { 0.0 };
                sum += delta;
                scaled += factor * delta;
            }
            let mean = sum / count;
            out[element] = base[element] + if count > 1.0 { mean } else { scaled };
        }
    }
}

impl Apply for Prepared {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let base = chunk.base.expect("the method has a base");
        vectorized(
            #[inline(always)]
            || {
                match chunk.inputs {
                    [a, b] => return self.merge([a, b], base, out),
                    [a, b, c] => return self.merge([a, b, c], base, out),
                    [a, b, c, d] => return self.merge([a, b, c, d], base, out),
                    _ => {}
                }
                for (index, (out, base)) in
                    out.chunks_mut(BLOCK).zip(base.chunks(BLOCK)).enumerate()
                {
                    let start = index * BLOCK;
                    let mut counts = Aligned([0.0f32; BLOCK]);
                    let mut sums = Aligned([0.0f32; BLOCK]);
                    let mut scaled = Aligned([0.0f32; BLOCK]);
                    for (&factor, input) in self.factors.iter().zip(chunk.inputs) {
                        let input = &input[start..][..base.len()];
                        for ((((count, sum), scaled), &base), &input) in
                            counts.iter_mut().zip(&mut sums).zip(&mut scaled).zip(base).zip(input)
                        {
                            let delta = input - base;
                            let is_change = is_change(delta, self.epsilon);
                            let delta = if is_change { delta } else { 0.0 };
                            *count += if is_change { 1.0 } else { 0.0 };
                            *sum += delta;
                            *scaled += factor * delta;
                        }
                    }
                    for ((((out, &base), &count), &sum), &scaled) in
                        out.iter_mut().zip(base).zip(&counts).zip(&sums).zip(&scaled)
                    {
                        let delta = if count > 1.0 { sum / count } else { scaled };
                        *out = base + delta;
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{B, X1, X2, X3, assert_close, merge, merge_in_chunks};

    fn ram(inputs: &[&[f32]], shared: &[(&'static str, f64)]) -> Vec<f32> {
        merge("ram", Some(&B), inputs, &vec![&[][..]; inputs.len()], shared)
    }

    fn ramplus(inputs: &[&[f32]], shared: &[(&'static str, f64)]) -> Vec<f32> {
        merge("ramplus_tl", Some(&B), inputs, &vec![&[][..]; inputs.len()], shared)
    }

    const MODELS: [&[f32]; 3] = [&X1, &X2, &X3];

    #[test]
    fn shared_changes_are_averaged_and_others_kept_whole() {
        let expected = [0.08, -0.21, 0.316667, 0.57, 0.543333, -0.87];
        assert_close(&ram(&MODELS, &[]), &expected);
        let expected = [0.08, -0.23, 0.34, 0.83, 0.52, -1.04];
        assert_close(&ram(&MODELS, &[("epsilon", 0.12)]), &expected);
    }

    #[test]
    fn own_changes_grow_with_the_share_of_shared_ones() {
        let expected = [0.08, -0.23, 0.34, 1.035, 0.52, -1.04];
        let shared = [("epsilon", 0.12), ("r", 0.5), ("alpha", 1.0)];
        assert_close(&ramplus(&MODELS, &shared), &expected);
        // One shared change and one unique one; the ratio is clamped to the default of 0.2.
        let shared = [("epsilon", 0.12)];
        let expected = [0.08, -0.23, 0.34, 0.42 + 0.41 * 1.02, 0.52, -1.04];
        assert_close(&ramplus(&MODELS, &shared), &expected);
    }

    #[test]
    fn a_bound_below_zero_wins() {
        let shared = [("epsilon", 0.12), ("r", 1.0), ("alpha", -0.5)];
        let expected = [0.08, -0.23, 0.34, 0.42 + 0.41 * 0.5, 0.52, -1.04];
        assert_close(&ramplus(&MODELS, &shared), &expected);
    }

    #[test]
    fn one_model_or_none_is_returned() {
        assert_close(&ram(&[&X1], &[]), &X1);
        assert_close(&ramplus(&[&X1], &[]), &X1);
        assert_eq!(ram(&[], &[]), B);
        assert_eq!(ramplus(&[], &[]), B);
        assert_eq!(ram(&[&B, &B], &[]), B);
        assert_eq!(ramplus(&[&B, &B], &[]), B);
    }

    #[test]
    fn no_number_and_no_elements_do_no_harm() {
        let mut broken = X1;
        broken[2] = f32::NAN;
        for method in ["ram", "ramplus_tl"] {
            let merged = merge(method, Some(&B), &[&broken, &X2], &[&[], &[]], &[]);
            assert!(merged[2].is_nan(), "{method}");
            assert!(
                merged.iter().enumerate().all(|(index, value)| index == 2 || value.is_finite())
            );
            let empty = merge(method, Some(&[]), &[&[], &[]], &[&[], &[]], &[]);
            assert_eq!(empty, [0.0; 0]);
            let scalar = [&[2.0][..]];
            let merged = merge_in_chunks(method, &[], Some(&[1.0]), &scalar, &[&[]], &[], 1);
            assert_eq!(merged, [2.0]);
        }
    }
}

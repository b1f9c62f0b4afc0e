//! NearSwap: takes over another model's weights where they are near the base's, less and less the
//! farther they are apart.
//!
//! ```text
//! q   = clamp(t / max(|base − model|, 1e-6), 0, 1)
//! out = q · model + (1 − q) · base                                              element-wise
//! ```
//!
//! Elements nearer than `t` are replaced outright. No statistics pass.

use super::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, TensorInputs, TensorMethod,
};
use crate::kernels::simd::vectorized;

/// Distances are taken to be at least this; mergekit's constant.
const SMALLEST_DISTANCE: f32 = 1e-6;

/// The registry's entry.
pub(super) static NEARSWAP: MethodDefinition = MethodDefinition {
    name: "nearswap",
    base: BaseRole::Required,
    inputs: (2, 2),
    incomplete: Incomplete::CopyBase,
    parameters: &[ParameterDefinition {
        name: "t",
        scope: ParameterScope::Shared,
        default: ParameterDefault::Required,
        help: "distance up to which an element of the other model replaces the base's",
    }],
    bind: |parameters| Ok(Box::new(NearSwap { t: parameters.float("t") as f32 })),
    reference: "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
};

#[derive(Clone, Copy)]
struct NearSwap {
    t: f32,
}

impl TensorMethod for NearSwap {
    fn prepare(&self, _: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        Ok(Box::new(*self))
    }
}

impl Apply for NearSwap {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let base = chunk.base.expect("the method has a base");
        let other = chunk.inputs[0];
        vectorized(
            #[inline(always)]
            || {
                for ((out, &base), &other) in out.iter_mut().zip(base).zip(other) {
                    // Where one of the two is NaN so is the result, whatever the comparisons give.
                    let distance = (base - other).abs();
                    let distance =
                        if distance > SMALLEST_DISTANCE { distance } else { SMALLEST_DISTANCE };
                    let share = self.t / distance;
                    let share = if share > 0.0 { share } else { 0.0 };
                    let share = if share < 1.0 { share } else { 1.0 };
                    *out = share * other + (1.0 - share) * base;
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{B, X1, assert_close, merge};

    fn nearswap(base: &[f32], other: &[f32], t: f64) -> Vec<f32> {
        merge("nearswap", Some(base), &[other], &[&[]], &[("t", t)])
    }

    #[test]
    fn near_elements_are_swapped_and_far_ones_moved_by_t() {
        let expected = [0.21, -0.16, 0.21, 0.37, 0.63, -0.74];
        assert_close(&nearswap(&B, &X1, 0.1), &expected);
    }

    #[test]
    fn ends_are_the_models() {
        assert_eq!(nearswap(&B, &X1, 0.0), B);
        assert_eq!(nearswap(&B, &X1, -1.0), B);
        assert_eq!(nearswap(&B, &X1, 1.0), X1);
    }

    #[test]
    fn equal_elements_stay_also_where_t_is_below_the_smallest_distance() {
        let zeros = [0.0; 4];
        assert_eq!(nearswap(&zeros, &zeros, 1e-9), zeros);
        let near = [5e-7, -5e-7, 0.0, 1e-7];
        assert_close(&nearswap(&zeros, &near, 5e-7), &near.map(|value| value * 0.5));
    }

    #[test]
    fn what_is_no_number_stays_in_its_element() {
        let merged =
            nearswap(&[f32::NAN, 1.0, 1.0, f32::INFINITY], &[1.0, f32::NAN, 2.0, 1.0], 2.0);
        assert!(merged[0].is_nan() && merged[1].is_nan());
        assert_eq!(merged[2], 2.0);
        assert_eq!(merged[3], f32::INFINITY);
        assert_eq!(nearswap(&[], &[], 0.1), [0.0; 0]);
    }
}

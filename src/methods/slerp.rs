//! SLERP: spherical interpolation between two models (Shoemake 1985).
//!
//! With `a` the base and `b` the other model, each taken as one long vector, θ the angle between:
//!
//! ```text
//! out = sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b
//! ```
//!
//! Nearly collinear vectors (|cos θ| > 0.9995) are interpolated linearly. The result is a linear
//! combination whose coefficients need three inner products: one statistics pass.

use super::coefficients::LinearCombination;
use super::gram::{Precision, Vectors};
use super::{
    Apply, BaseRole, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, TensorInputs, TensorMethod,
};

/// Vectors with a cosine beyond this are treated as collinear; mergekit's constant.
const COLLINEAR: f64 = 0.9995;

/// Vectors shorter than this keep their length when angles are measured; mergekit's constant.
const SHORTEST: f64 = 1e-8;

/// The registry's entry.
pub(super) static SLERP: MethodDefinition = MethodDefinition {
    name: "slerp",
    base: BaseRole::Required,
    inputs: (2, 2),
    incomplete: Incomplete::CopySingle,
    parameters: &[ParameterDefinition {
        name: "t",
        scope: ParameterScope::Shared,
        default: ParameterDefault::Required,
        help: "position between the base (0) and the other model (1)",
    }],
    bind: |parameters| Ok(Box::new(Slerp { t: parameters.float("t") })),
    reference: "https://en.wikipedia.org/wiki/Slerp",
};

struct Slerp {
    t: f64,
}

impl TensorMethod for Slerp {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let gram = inputs.gram(Vectors::Models, Precision::Single)?;
        let length = |vector| match gram.length(vector) {
            length if length <= SHORTEST => 1.0,
            length => length,
        };
        let cosine = (gram.product(0, 1) / (length(0) * length(1))).clamp(-1.0, 1.0);
        let (a, b) = if cosine.abs() > COLLINEAR {
            (1.0 - self.t, self.t)
        } else {
            let angle = cosine.acos();
            let part = |share: f64| (share * angle).sin() / angle.sin();
            (part(1.0 - self.t), part(self.t))
        };
        Ok(Box::new(LinearCombination { base: a as f32, inputs: vec![b as f32] }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{B, X1, X2, X3, assert_close, merge};

    fn slerp(base: &[f32], other: &[f32], t: f64) -> Vec<f32> {
        merge("slerp", Some(base), &[other], &[&[]], &[("t", t)])
    }

    #[test]
    fn nearly_collinear_and_other_vectors_follow_the_reference() {
        let expected = [0.144182, -0.214556, 0.259776, 0.411586, 0.609165, -0.740633];
        assert_close(&slerp(&B, &X1, 0.25), &expected);
        let expected = [-0.032513, -0.253614, 0.514017, 0.606466, 0.322084, -0.684331];
        assert_close(&slerp(&X2, &X3, 0.25), &expected);
    }

    #[test]
    fn ends_are_the_models_and_zero_vectors_do_no_harm() {
        assert_close(&slerp(&X2, &X3, 0.0), &X2);
        assert_close(&slerp(&X2, &X3, 1.0), &X3);
        assert_eq!(slerp(&[0.0; 6], &[0.0; 6], 0.5), [0.0; 6]);
    }
}

//! Clipped: task vectors are added, and their sum is shortened where it goes too far.
//!
//! ```text
//! Δ   = Σ weightₖ · (modelₖ − base)
//! out = base + Δ · min(1, limit · ‖base‖ / ‖Δ‖)
//! ```
//!
//! Reads its inputs twice: once for the two norms, once for the sum.

use mergekit::kernels::simd::vectorized;
use mergekit::methods::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, ParameterDefault,
    ParameterDefinition, ParameterScope, ParameterValue, TensorInputs, TensorMethod,
};

/// The registry's entry.
pub(super) static CLIPPED: MethodDefinition = MethodDefinition {
    name: "clipped",
    base: BaseRole::Required,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::CopyBase,
    parameters: &[
        ParameterDefinition {
            name: "weight",
            scope: ParameterScope::PerNonBase,
            default: ParameterDefault::Required,
            help: "factor of the model's task vector",
        },
        ParameterDefinition {
            name: "limit",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Float(0.1)),
            help: "longest change of a tensor, as a share of its length",
        },
    ],
    bind: |parameters| {
        let (weights, limit) = (parameters.floats("weight"), parameters.float("limit"));
        if limit < 0.0 {
            return Err(MethodError::Parameter {
                name: "limit",
                input: None,
                value: limit,
                problem: "but no length is negative".to_owned(),
            });
        }
        Ok(Box::new(Clipped { weights, limit }))
    },
    reference: "docs/adding-a-method.md",
};

/// The method with the parameters of one output tensor.
struct Clipped {
    weights: Vec<f64>,
    limit: f64,
}

impl TensorMethod for Clipped {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let all: Vec<usize> = (0..inputs.n_inputs).collect();
        let weights = self.weights.iter().map(|&weight| weight as f32).collect();
        let mut sum = Sum { weights };
        let [base, change] = inputs.sum(&all, false, |chunk| {
            let mut squares = [0.0; 2];
            for (index, &base) in base_of(chunk).iter().enumerate() {
                let change = f64::from(sum.change(chunk, base, index));
                squares[0] += f64::from(base) * f64::from(base);
                squares[1] += change * change;
            }
            squares
        })?;
        // Where nothing changes the quotient may be NaN, of which `min` makes 1.
        let shorten = (self.limit * (base / change).sqrt()).min(1.0);
        sum.weights.iter_mut().for_each(|weight| *weight *= shorten as f32);
        Ok(Box::new(sum))
    }
}

/// `out = base + Σ weightₖ · (modelₖ − base)`.
struct Sum {
    weights: Vec<f32>,
}

impl Sum {
    #[inline(always)]
    fn change(&self, chunk: &Chunk<'_>, base: f32, index: usize) -> f32 {
        let models = self.weights.iter().zip(chunk.inputs);
        models.map(|(weight, model)| weight * (model[index] - base)).sum()
    }
}

impl Apply for Sum {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        vectorized(
            #[inline(always)]
            || {
                for (index, (out, &base)) in out.iter_mut().zip(base_of(chunk)).enumerate() {
                    *out = base + self.change(chunk, base, index);
                }
            },
        );
    }
}

#[inline(always)]
fn base_of<'a>(chunk: &Chunk<'a>) -> &'a [f32] {
    chunk.base.expect("the definition requires a base")
}

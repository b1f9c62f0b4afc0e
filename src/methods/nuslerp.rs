//! NuSLERP: spherical interpolation of two models, or of their task vectors, with a weight for each.
//!
//! With `v₁`, `v₂` the models, or their differences from the base if there is one, θ the angle between
//! them, and `t = weight₂ / (weight₁ + weight₂)`:
//!
//! ```text
//! out = base + sin((1−t)θ)/sin θ · v₁ + sin(tθ)/sin θ · v₂
//! ```
//!
//! Only collinear vectors are interpolated linearly; unlike slerp, nearly collinear ones are not. By
//! default a tensor is one vector. With `nuslerp_flatten: false` each run along the last axis is one,
//! which the apply pass finds out by itself; with `nuslerp_row_wise: true` too, each along the first
//! axis, which takes a statistics pass with three sums per column.

use super::coefficients::{TaskVectorCombination, combine};
use super::gram::{ColumnProducts, Gram, NEARLY_COLLINEAR, Precision, Vectors};
use super::{
    Apply, BaseRole, Chunk, Granularity, Incomplete, MethodDefinition, MethodError,
    ParameterDefault, ParameterDefinition, ParameterScope, ParameterValue, TensorInputs,
    TensorMethod,
};
use crate::kernels::simd::vectorized;

/// Lengths by which vectors are divided are at least this; mergekit's constant.
const SHORTEST: f64 = 1e-7;

/// Weights whose sum is smaller cancel each other; mergekit's constant.
const SMALLEST_WEIGHT: f64 = 1e-6;

/// The registry's entry.
pub(super) static NUSLERP: MethodDefinition = MethodDefinition {
    name: "nuslerp",
    base: BaseRole::Optional,
    inputs: (2, 2),
    incomplete: Incomplete::CopySingle,
    parameters: &[
        ParameterDefinition {
            name: "weight",
            scope: ParameterScope::PerNonBase,
            default: ParameterDefault::Required,
            help: "share of the way to the model",
        },
        ParameterDefinition {
            name: "nuslerp_flatten",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Bool(true)),
            help: "take a tensor as one vector, not as one for each row",
        },
        ParameterDefinition {
            name: "nuslerp_row_wise",
            scope: ParameterScope::Shared,
            default: ParameterDefault::Value(ParameterValue::Bool(false)),
            help: "with nuslerp_flatten off: take columns as vectors, not rows",
        },
    ],
    bind: |parameters| {
        let weights = parameters.floats("weight");
        let sum = weights[0] + weights[1];
        let t = if sum.abs() < SMALLEST_WEIGHT { 0.5 } else { weights[1] / sum };
        let along = match (parameters.flag("nuslerp_flatten"), parameters.flag("nuslerp_row_wise"))
        {
            (true, _) => Along::Everything,
            (false, false) => Along::LastAxis,
            (false, true) => Along::FirstAxis,
        };
        Ok(Box::new(NuSlerp { t, along }))
    },
    reference: "https://en.wikipedia.org/wiki/Slerp",
};

struct NuSlerp {
    /// Position between the first model (0) and the second (1).
    t: f64,
    along: Along,
}

/// What one vector is.
#[derive(Clone, Copy)]
enum Along {
    Everything,
    LastAxis,
    FirstAxis,
}

impl TensorMethod for NuSlerp {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn unread(&self, name: &str) -> Option<&'static str> {
        (name == "nuslerp_row_wise" && matches!(self.along, Along::Everything))
            .then_some("`nuslerp_flatten` takes each tensor as one vector, without rows")
    }

    /// Weights that cancel each other place the result half-way, whatever they are.
    fn divides_by_weights(&self) -> bool {
        true
    }

    fn statistics_memory(&self, shape: &[usize]) -> u64 {
        match (self.along, shape) {
            (Along::FirstAxis, &[_, _, ..]) => ColumnProducts::memory(shape),
            _ => 0,
        }
    }

    fn needs_rows(&self, shape: &[usize]) -> bool {
        !matches!(self.along, Along::Everything) && shape.len() > 1
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let t = self.t;
        match (self.along, inputs.shape) {
            (Along::LastAxis, &[_, .., width]) => Ok(Box::new(LastAxis { t, width })),
            (Along::FirstAxis, &[_, _, ..]) => {
                let products = inputs.column_products()?;
                let (x, y) = products
                    .iter()
                    .map(|products| arc(products, t))
                    .map(|[x, y]| (x as f32, y as f32))
                    .unzip();
                Ok(Box::new(FirstAxis { x, y }))
            }
            // A tensor with a single axis is a single vector.
            _ => {
                let gram = inputs.gram(Vectors::TaskVectors, Precision::Single)?;
                let inputs = arc(pair(&gram), t).map(|factor| factor as f32).to_vec();
                Ok(Box::new(TaskVectorCombination { inputs }))
            }
        }
    }
}

fn pair(gram: &Gram) -> [f64; 3] {
    [gram.product(0, 0), gram.product(0, 1), gram.product(1, 1)]
}

/// Factors of two vectors for the point at `t` of the arc between them, from their inner products
/// ⟨x, x⟩, ⟨x, y⟩ and ⟨y, y⟩.
fn arc([xx, xy, yy]: [f64; 3], t: f64) -> [f64; 2] {
    let lengths = xx.sqrt().max(SHORTEST) * yy.sqrt().max(SHORTEST);
    let cosine = (xy / lengths).clamp(-1.0, 1.0);
    // mergekit asks for 1 − cos² ≤ 1e-16 in f32, which holds for ±1 but not for the numbers next to it.
    // Opposite vectors, which no single arc joins, have to be caught in spite of rounded products.
    if cosine.abs() > 1.0 - NEARLY_COLLINEAR {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    [((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
}

/// Vectors along the last axis.
struct LastAxis {
    t: f64,
    width: usize,
}

impl Apply for LastAxis {
    fn granularity(&self) -> Granularity {
        Granularity::Row
    }

    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let mut gram = Gram::zeros(2);
        for (row, out) in out.chunks_mut(self.width.max(1)).enumerate() {
            let range = row * self.width..row * self.width + out.len();
            gram.measure(chunk.base, chunk.inputs, range.clone());
            let [x, y] = arc(pair(&gram), self.t).map(|factor| factor as f32);
            let terms =
                [(x, &chunk.inputs[0][range.clone()]), (y, &chunk.inputs[1][range.clone()])];
            combine(chunk.base.map(|base| &base[range]), terms.into_iter(), out);
        }
    }
}

/// Vectors along the first axis.
struct FirstAxis {
    /// Factors of the first model, one for each column.
    x: Vec<f32>,
    /// Factors of the second.
    y: Vec<f32>,
}

impl Apply for FirstAxis {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let columns = self.x.len();
        let mut start = 0;
        while start < out.len() {
            let column = (chunk.start + start) % columns;
            let length = (columns - column).min(out.len() - start);
            let elements = start..start + length;
            let factors = self.x[column..][..length].iter().zip(&self.y[column..][..length]);
            let (x, y) = (&chunk.inputs[0][elements.clone()], &chunk.inputs[1][elements.clone()]);
            let base = chunk.base.map(|base| &base[elements.clone()]);
            let terms = out[elements].iter_mut().zip(factors).zip(x.iter().zip(y));
            vectorized(
                #[inline(always)]
                || match base {
                    Some(base) => {
                        for (((out, (a, b)), (x, y)), base) in terms.zip(base) {
                            *out = a * (x - base) + b * (y - base) + base;
                        }
                    }
                    None => {
                        for ((out, (a, b)), (x, y)) in terms {
                            *out = a * x + b * y;
                        }
                    }
                },
            );
            start += length;
        }
    }
}

#[cfg(test)]
mod tests;

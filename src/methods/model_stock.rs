//! Model Stock: moves from the base towards the average of fine-tuned models, the farther the more they
//! agree (Jang et al. 2024, <https://arxiv.org/abs/2403.19522>).
//!
//! With `δᵢ = modelᵢ − base`, K models and `c` the mean cosine of all pairs of δ:
//!
//! ```text
//! t   = K·c / (1 + (K−1)·c)
//! out = t · mean(modelᵢ) + (1−t) · base
//! ```
//!
//! With `filter_wise` every row of a matrix has its own `t`, which the apply pass finds out by itself;
//! otherwise there is one statistics pass.

use super::coefficients::{TaskVectorCombination, combine};
use super::gram::{Gram, Precision, Vectors};
use super::{
    Apply, BaseRole, Chunk, Granularity, Incomplete, MethodDefinition, MethodError,
    ParameterDefault, ParameterDefinition, ParameterScope, ParameterValue, TensorInputs,
    TensorMethod,
};

/// Products of lengths that are divided by are at least this; mergekit's constant.
const SHORTEST: f64 = 1e-6;

/// Divisors of `t` below this make it 0; mergekit's constant.
const SMALLEST_DIVISOR: f64 = 1e-6;

/// The registry's entry.
pub(super) static MODEL_STOCK: MethodDefinition = MethodDefinition {
    name: "model_stock",
    base: BaseRole::Required,
    inputs: (3, usize::MAX),
    incomplete: Incomplete::CopyBaseOrSkip,
    parameters: &[ParameterDefinition {
        name: "filter_wise",
        scope: ParameterScope::Shared,
        default: ParameterDefault::Value(ParameterValue::Bool(false)),
        help: "find the distance for each row of a tensor instead of for the whole",
    }],
    bind: |parameters| Ok(Box::new(ModelStock { filter_wise: parameters.flag("filter_wise") })),
    reference: "https://arxiv.org/abs/2403.19522",
};

struct ModelStock {
    filter_wise: bool,
}

impl TensorMethod for ModelStock {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn needs_rows(&self, shape: &[usize]) -> bool {
        self.filter_wise && shape.len() > 1
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        match inputs.shape {
            &[_, .., width] if self.filter_wise => Ok(Box::new(Rows { n: inputs.n_inputs, width })),
            // A tensor with a single axis is a single row.
            _ => {
                let gram = inputs.gram(Vectors::TaskVectors, Precision::Single)?;
                let inputs = vec![factor(&gram); inputs.n_inputs];
                Ok(Box::new(TaskVectorCombination { inputs }))
            }
        }
    }
}

/// Factor of every task vector, t/K.
fn factor(gram: &Gram) -> f32 {
    let n = gram.n();
    let mut sum = 0.0;
    for i in 0..n {
        for j in i + 1..n {
            let lengths = (gram.length(i) * gram.length(j)).max(SHORTEST);
            sum += (gram.product(i, j) / lengths).clamp(-1.0, 1.0);
        }
    }
    let n = n as f64;
    let cosine = sum / (n * (n - 1.0) / 2.0);
    let divisor = 1.0 + (n - 1.0) * cosine;
    let t = if divisor.abs() < SMALLEST_DIVISOR { 0.0 } else { n * cosine / divisor };
    (t / n) as f32
}

/// Each row by itself.
struct Rows {
    /// Models beside the base.
    n: usize,
    width: usize,
}

impl Apply for Rows {
    fn granularity(&self) -> Granularity {
        Granularity::Row
    }

    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        let mut gram = Gram::zeros(self.n);
        for (row, out) in out.chunks_mut(self.width.max(1)).enumerate() {
            let range = row * self.width..row * self.width + out.len();
            gram.measure(chunk.base, chunk.inputs, range.clone());
            let factor = factor(&gram);
            let terms = chunk.inputs.iter().map(|input| (factor, &input[range.clone()]));
            combine(chunk.base.map(|base| &base[range.clone()]), terms, out);
        }
    }
}

#[cfg(test)]
mod tests;

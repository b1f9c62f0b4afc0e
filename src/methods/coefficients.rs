//! Methods whose output is a linear combination of their inputs, once the statistics are known.

use super::{Apply, Chunk};

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
        let mut terms = base.into_iter().chain(inputs);
        // The first term is assigned, not added to 0, so that a negative zero stays one.
        let Some((coefficient, values)) = terms.next() else { return out.fill(0.0) };
        for (out, value) in out.iter_mut().zip(values) {
            *out = coefficient * value;
        }
        for (coefficient, values) in terms {
            for (out, value) in out.iter_mut().zip(values) {
                *out += coefficient * value;
            }
        }
    }
}

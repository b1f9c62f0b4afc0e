//! Combinations of a few rows.

use rayon::prelude::*;

use crate::kernels::simd::vectorized;

use super::super::SurgeonError;
use super::super::rows::Rows;

/// A combination of some rows out of many.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Sparse {
    /// Places of the rows.
    pub(in super::super) places: Vec<u32>,
    /// Parallel to `places`.
    pub(in super::super) coefficients: Vec<f64>,
}

/// Writes the combinations of `rows` that `sparse` describes into the rows of `out`.
pub(in super::super) fn combine(
    rows: &Rows,
    sparse: &[Sparse],
    out: &mut [f32],
) -> Result<(), SurgeonError> {
    let width = rows.width();
    out.par_chunks_exact_mut(width).zip(sparse).try_for_each_init(
        Vec::new,
        |atoms, (out, sparse)| {
            rows.gather(&sparse.places, atoms)?;
            out.fill(0.0);
            for (atom, &coefficient) in atoms.chunks_exact(width).zip(&sparse.coefficients) {
                add_scaled(out, coefficient as f32, atom);
            }
            Ok(())
        },
    )
}

/// `out += factor · row`.
pub(in super::super) fn add_scaled(out: &mut [f32], factor: f32, row: &[f32]) {
    vectorized(
        #[inline(always)]
        || out.iter_mut().zip(row).for_each(|(out, value)| *out += factor * value),
    );
}

//! The product with a small matrix in f32, which stays in the cache however few rows there are.
//!
//! There faer is faster than [`multiply`](super::product::multiply), whose packing and scattered
//! results weigh the more the smaller a matrix is; with large matrices and few rows it is slower.
//! `cargo bench --bench lm` shows both. A matrix is always multiplied in the same way, so that results do
//! not depend on the number of rows or threads here either.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::product::{Output, SMALLEST_SHARED_PRODUCT};

/// Elements of the largest small matrix: 2 MB.
const LARGEST: usize = 1 << 19;

/// Outputs that a thread takes at least.
const FEWEST_OUTPUTS: usize = 16;

/// Whether a matrix of so many elements is small.
pub(super) fn is_small(elements: usize) -> bool {
    elements <= LARGEST
}

/// `output[rows, outputs] (+)= input[rows, inputs] · weightᵀ`, on at most `threads` threads of the current
/// rayon pool.
///
/// Faer computes every row alike from two rows on; for a single one, which it treats differently, two
/// are computed.
pub(super) fn multiply(
    output: &mut [f32],
    input: &[f32],
    weight: &[f32],
    inputs: usize,
    mode: Output,
    threads: usize,
) {
    let (rows, outputs) = (input.len() / inputs, weight.len() / inputs);
    debug_assert_eq!(output.len(), rows * outputs);
    if rows == 0 {
        return;
    }
    if rows == 1 {
        let doubled = [input, input].concat();
        let mut both = [&*output, &*output].concat();
        multiply(&mut both, &doubled, weight, inputs, mode, threads);
        output.copy_from_slice(&both[..outputs]);
        return;
    }
    let parts = if rows * weight.len() >= SMALLEST_SHARED_PRODUCT { threads } else { 1 };
    let accumulate = match mode {
        Output::Replace => Accum::Replace,
        Output::Add => Accum::Add,
    };
    multiply_parts(
        MatMut::from_row_major_slice_mut(output, rows, outputs),
        MatRef::from_row_major_slice(input, rows, inputs),
        MatRef::from_row_major_slice(weight, outputs, inputs),
        accumulate,
        parts,
    );
}

/// The product in `parts` tasks, each of which reads its own share of the weight.
fn multiply_parts(
    output: MatMut<'_, f32>,
    input: MatRef<'_, f32>,
    weight: MatRef<'_, f32>,
    accumulate: Accum,
    parts: usize,
) {
    let middle = (weight.nrows() / 2).next_multiple_of(FEWEST_OUTPUTS);
    if parts < 2 || middle >= weight.nrows() {
        matmul(output, accumulate, input, weight.transpose(), 1.0, Par::Seq);
        return;
    }
    let (left, right) = output.split_at_col_mut(middle);
    let (upper, lower) = weight.split_at_row(middle);
    rayon::join(
        || multiply_parts(left, input, upper, accumulate, parts.div_ceil(2)),
        || multiply_parts(right, input, lower, accumulate, parts / 2),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_do_not_depend_on_rows_or_threads() {
        let (rows, inputs, outputs) = (37, 50, 203);
        let input: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.37).sin()).collect();
        let weight: Vec<f32> = (0..outputs * inputs).map(|i| (i as f32 * 0.71).cos()).collect();
        let mut all = vec![f32::NAN; rows * outputs];
        multiply(&mut all, &input, &weight, inputs, Output::Replace, 1);
        for (index, value) in all.iter().enumerate() {
            let input = &input[index / outputs * inputs..][..inputs];
            let weight = &weight[index % outputs * inputs..][..inputs];
            let exact: f64 =
                input.iter().zip(weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(*value) - exact).abs() < 1e-5, "{value} is not {exact}");
        }
        for count in [1, 2, 3, 16] {
            let mut few = vec![0.0; count * outputs];
            multiply(&mut few, &input[..count * inputs], &weight, inputs, Output::Add, 2);
            assert_eq!(few, all[..count * outputs]);
        }
        for (count, parts) in [(2, 2), (37, 5)] {
            let mut divided = vec![f32::NAN; count * outputs];
            multiply_parts(
                MatMut::from_row_major_slice_mut(&mut divided, count, outputs),
                MatRef::from_row_major_slice(&input[..count * inputs], count, inputs),
                MatRef::from_row_major_slice(&weight, outputs, inputs),
                Accum::Replace,
                parts,
            );
            assert_eq!(divided, all[..count * outputs]);
        }
    }
}

//! Products of matrices in row-major slices, on one thread.
//!
//! An element of a product depends on its row of one factor and its column of the other alone, bit for bit,
//! whatever else is computed with it, so that batches and threads change nothing. Only vectors would have a
//! way of their own; they are computed as matrices of two.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};

/// `out[l, r] = lhs[l, width] · rhs[r, width]ᵀ`.
pub(super) fn with_transposed(out: &mut [f32], lhs: &[f32], rhs: &[f32], width: usize) {
    let (rows, cols) = (lhs.len() / width, rhs.len() / width);
    multiply(
        MatMut::from_row_major_slice_mut(out, rows, cols),
        Accum::Replace,
        MatRef::from_row_major_slice(lhs, rows, width),
        MatRef::from_row_major_slice(rhs, cols, width).transpose(),
    );
}

/// `out[rows, cols] += lhs[rows, depth] · rhs[depth, cols]`.
pub(super) fn add(out: &mut [f32], lhs: &[f32], rhs: &[f32], depth: usize) {
    let (rows, cols) = (lhs.len() / depth, rhs.len() / depth);
    multiply(
        MatMut::from_row_major_slice_mut(out, rows, cols),
        Accum::Add,
        MatRef::from_row_major_slice(lhs, rows, depth),
        MatRef::from_row_major_slice(rhs, depth, cols),
    );
}

/// Adds rows `first ..` of `lhs[depth, height]ᵀ · rhs[depth, cols]` to `out`, as many as that holds.
pub(super) fn add_transposed(
    out: &mut [f32],
    first: usize,
    lhs: &[f32],
    height: usize,
    rhs: &[f32],
    cols: usize,
) {
    let depth = rhs.len() / cols;
    let rows = out.len() / cols;
    let lhs = MatRef::from_row_major_slice(lhs, depth, height).subcols(first, rows);
    multiply(
        MatMut::from_row_major_slice_mut(out, rows, cols),
        Accum::Add,
        lhs.transpose(),
        MatRef::from_row_major_slice(rhs, depth, cols),
    );
}

/// `out[rows, cols] = lhs[rows, depth] · rhs[depth, cols]`.
pub(super) fn fill(out: &mut [f32], lhs: MatRef<'_, f32>, rhs: MatRef<'_, f32>) {
    let out = MatMut::from_row_major_slice_mut(out, lhs.nrows(), rhs.ncols());
    multiply(out, Accum::Replace, lhs, rhs);
}

fn multiply(out: MatMut<'_, f32>, mode: Accum, lhs: MatRef<'_, f32>, rhs: MatRef<'_, f32>) {
    let (rows, cols, depth) = (out.nrows(), out.ncols(), lhs.ncols());
    if rows > 1 && cols > 1 {
        matmul(out, mode, lhs, rhs, 1.0, Par::Seq);
        return;
    }
    let mut out = out;
    let last = |index: usize, n: usize| index.min(n.saturating_sub(1));
    let lhs = Mat::from_fn(rows.max(2), depth, |i, j| lhs[(last(i, rows), j)]);
    let rhs = Mat::from_fn(depth, cols.max(2), |i, j| rhs[(i, last(j, cols))]);
    let mut doubled =
        Mat::from_fn(lhs.nrows(), rhs.ncols(), |i, j| out[(last(i, rows), last(j, cols))]);
    matmul(doubled.as_mut(), mode, lhs.as_ref(), rhs.as_ref(), 1.0, Par::Seq);
    for i in 0..rows {
        for j in 0..cols {
            out[(i, j)] = doubled[(i, j)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn elements_do_not_depend_on_what_else_is_computed() {
        let (rows, cols, width) = (67, 130, 1100);
        let (lhs, rhs) = (values(rows * width, 0.37), values(cols * width, 0.71));
        let mut all = vec![0.0; rows * cols];
        with_transposed(&mut all, &lhs, &rhs, width);
        for (first, l, r) in [(0, 1, 1), (3, 2, 1), (5, 1, 130), (7, 60, 3), (0, 33, 129)] {
            let mut part = vec![0.0; l * r];
            with_transposed(
                &mut part,
                &lhs[first * width..][..l * width],
                &rhs[..r * width],
                width,
            );
            for i in 0..l {
                let expected = &all[(first + i) * cols..][..r];
                assert_eq!(&part[i * r..][..r], expected, "{l}×{r}, row {i}");
            }
        }
        let exact: f64 = (0..width).map(|i| f64::from(lhs[i]) * f64::from(rhs[i])).sum();
        assert!((f64::from(all[0]) - exact).abs() < 1e-3);
    }

    #[test]
    fn sums_of_products_are_those_of_all_forms() {
        let (rows, cols, depth) = (5, 7, 9);
        let (lhs, rhs) = (values(rows * depth, 0.3), values(depth * cols, 0.9));
        let transposed = |values: &[f32], rows: usize, cols: usize| -> Vec<f32> {
            (0..cols * rows).map(|i| values[i % rows * cols + i / rows]).collect()
        };
        let mut expected = vec![0.0; rows * cols];
        with_transposed(&mut expected, &lhs, &transposed(&rhs, depth, cols), depth);
        let mut sum = vec![0.0; rows * cols];
        add(&mut sum, &lhs, &rhs, depth);
        let mut part = vec![1.0; cols * 2];
        add_transposed(&mut part, 3, &transposed(&lhs, rows, depth), rows, &rhs, cols);
        for i in 0..rows * cols {
            assert!((sum[i] - expected[i]).abs() < 1e-5);
        }
        for i in 0..2 * cols {
            assert!((part[i] - 1.0 - expected[3 * cols + i]).abs() < 1e-5);
        }
    }
}

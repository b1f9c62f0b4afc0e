//! Decompositions of matrices, and what is made with them.
//!
//! They run on one thread, since sums that are divided among threads would depend on how many there are.

use faer::diag::{Diag, DiagMut};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::svd::{ComputeSvdVectors, svd_scratch};
use faer::traits::RealField;
use faer::{Mat, MatRef, Par};
use rayon::prelude::*;

use super::rows::Rows;
use super::work::Work;
use super::{SurgeonError, product};

/// Rows that are read at a time where sums go over rows.
const DEPTH: usize = 512;

/// Rows of a product that one task computes.
const STRIP: usize = 64;

/// Of the largest singular value of `f32` products, the share up to which others are what rounding made.
pub(super) const NEGLIGIBLE: f32 = 1e-6;

/// Of the largest eigenvalue of a small `f64` system, the share up to which others are taken for zero.
const SINGULAR: f64 = 1e-12;

/// `U diag(values) Vᵀ`, values descending.
pub(super) struct Svd {
    pub(super) u: Mat<f32>,
    pub(super) values: Vec<f32>,
    pub(super) v: Mat<f32>,
}

impl Svd {
    /// The thin decomposition; `None` if it does not converge.
    pub(super) fn new(matrix: MatRef<'_, f32>) -> Option<Self> {
        let (rows, cols) = matrix.shape();
        let size = rows.min(cols);
        let (mut u, mut v) = (Mat::zeros(rows, size), Mat::zeros(cols, size));
        let mut values = Diag::zeros(size);
        let thin = ComputeSvdVectors::Thin;
        let needed = svd_scratch::<f32>(rows, cols, thin, thin, Par::Seq, Default::default());
        faer::linalg::svd::svd(
            matrix,
            values.as_mut(),
            Some(u.as_mut()),
            Some(v.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(needed)),
            Default::default(),
        )
        .ok()?;
        let values = values.column_vector().iter().copied().collect();
        Some(Self { u, values, v })
    }

    /// How many singular values are not negligible.
    pub(super) fn rank(&self) -> usize {
        let largest = self.values.first().copied().unwrap_or(0.0);
        self.values.iter().take_while(|&&value| value > NEGLIGIBLE * largest).count()
    }
}

/// Eigenvalues, ascending, and eigenvectors, as columns, of a symmetric matrix.
pub(super) fn eigen<T: RealField>(matrix: MatRef<'_, T>) -> Option<(Diag<T>, Mat<T>)> {
    let n = matrix.nrows();
    let (mut values, mut vectors) = (Diag::zeros(n), Mat::zeros(n, n));
    let yes = ComputeEigenvectors::Yes;
    let needed = self_adjoint_evd_scratch::<T>(n, yes, Par::Seq, Default::default());
    let out: DiagMut<'_, T> = values.as_mut();
    self_adjoint_evd(
        matrix,
        out,
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(needed)),
        Default::default(),
    )
    .ok()?;
    Some((values, vectors))
}

/// The shortest solution of `matrix · x = rhs`, or of what comes nearest to it, for a symmetric matrix.
pub(super) fn solve_symmetric(matrix: MatRef<'_, f64>, rhs: &[f64]) -> Option<Vec<f64>> {
    let (values, vectors) = eigen(matrix)?;
    let values: Vec<f64> = values.column_vector().iter().copied().collect();
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let mut solution = vec![0.0; rhs.len()];
    for (column, value) in values.iter().enumerate() {
        if value.abs() > SINGULAR * largest {
            let vector = vectors.col(column);
            let along: f64 = vector.iter().zip(rhs).map(|(v, r)| v * r).sum::<f64>() / value;
            solution.iter_mut().zip(vector.iter()).for_each(|(x, v)| *x += along * v);
        }
    }
    Some(solution)
}

/// `a[n, wa]ᵀ · b[n, wb]`, row-major, reading both once.
pub(super) fn cross_products(
    a: &Rows,
    b: &Rows,
    work: &Work<'_>,
) -> Result<Vec<f32>, SurgeonError> {
    let (height, cols) = (a.width(), b.width());
    let mut sum = vec![0.0f32; height * cols];
    for start in (0..a.len()).step_by(DEPTH) {
        work.check_cancelled()?;
        let range = start..a.len().min(start + DEPTH);
        let (lhs, rhs) = (a.read_range(range.clone())?, b.read_range(range)?);
        sum.par_chunks_mut(STRIP * cols).enumerate().for_each(|(strip, out)| {
            product::add_transposed(out, strip * STRIP, &lhs, height, &rhs, cols);
        });
    }
    Ok(sum)
}

/// `lhs · rhs`, row-major.
pub(super) fn multiply(lhs: MatRef<'_, f32>, rhs: MatRef<'_, f32>) -> Vec<f32> {
    let cols = rhs.ncols();
    let mut out = vec![0.0; lhs.nrows() * cols];
    out.par_chunks_mut(STRIP * cols).enumerate().for_each(|(strip, out)| {
        let n_rows = out.len() / cols;
        product::fill(out, lhs.subrows(strip * STRIP, n_rows), rhs);
    });
    out
}

/// A row-major slice as a matrix.
pub(super) fn matrix(values: &[f32], cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(values, values.len() / cols, cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_systems_have_their_shortest_solution() {
        let matrix = Mat::from_fn(2, 2, |_, _| 1.0f64);
        let solution = solve_symmetric(matrix.as_ref(), &[2.0, 2.0]).unwrap();
        assert!((solution[0] - 1.0).abs() < 1e-12 && (solution[1] - 1.0).abs() < 1e-12);
        // Not definite: [[0, 1], [1, 0]].
        let matrix = Mat::from_fn(2, 2, |i, j| f64::from(u8::from(i != j)));
        let solution = solve_symmetric(matrix.as_ref(), &[3.0, 5.0]).unwrap();
        assert!((solution[0] - 5.0).abs() < 1e-12 && (solution[1] - 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_rank_is_known() {
        let matrix = Mat::from_fn(3, 4, |i, j| ((i + 1) * (j + 2)) as f32);
        let svd = Svd::new(matrix.as_ref()).unwrap();
        assert_eq!(svd.rank(), 1);
    }
}

//! Sparse token basis: both spaces are described by the same combinations of shared tokens.
//!
//! With centred rows A of shared tokens in the donor and B in the model, the principal components of the
//! narrower space are approximated by combinations W of k shared tokens each (by
//! [orthogonal matching pursuit](super::omp)). `W A` and `W B` are then bases that mean the same, and
//! a new token keeps its coordinates:
//!
//! ```text
//! c = argmin ‖c · W A − (x − mean of A)‖
//! row = c · W B + mean of B
//! ```
//!
//! As a map, `(W A)⁺ · W B`. Costs as much as `omp` for as many tokens as the narrower model has dimensions,
//! and two decompositions of matrices of `width²`, of which some copies are held.

use faer::Mat;

use super::super::SurgeonError;
use super::super::linear::{NEGLIGIBLE, Svd, cross_products, eigen, matrix, multiply};
use super::super::rows::Rows;
use super::super::work::Work;
use super::Task;
use super::affine::Affine;
use super::omp::Pursuit;
use super::sparse::combine;

/// Principal components that are approximated at once.
const BATCH: usize = 512;

/// The method `stb`.
pub(super) fn change_of_basis(task: &Task<'_>, work: &Work<'_>) -> Result<Affine, SurgeonError> {
    let (a, b) = (task.donor_shared(), task.model_shared());
    let (mean_a, mean) = (a.mean(work)?, b.mean(work)?);
    let (a, b) = (a.centered(mean_a.clone()), b.centered(mean.clone()));
    let (from, to) = (a.width(), b.width());
    let narrower = if from < to { &a } else { &b };
    let width = narrower.width();
    let failed = || task.decomposition();
    let components = components(narrower, work)?.ok_or_else(failed)?;
    let n = components.len() / width;
    let pursuit = Pursuit::new(narrower.clone(), task.options.k, n, work)?;
    work.observer.begin("making a basis of shared tokens", n as u64);
    let (mut of_a, mut of_b) = (vec![0.0; n * from], vec![0.0; n * to]);
    let parts = of_a.chunks_mut(BATCH * from).zip(of_b.chunks_mut(BATCH * to));
    for (targets, (of_a, of_b)) in components.chunks(BATCH * width).zip(parts) {
        let sparse = pursuit.pursue(targets, work)?;
        combine(&a, &sparse, of_a)?;
        combine(&b, &sparse, of_b)?;
    }
    let svd = Svd::new(matrix(&of_a, from)).ok_or_else(failed)?;
    let rank = svd.rank();
    let coordinates = multiply(svd.u.as_ref().subcols(0, rank).transpose(), matrix(&of_b, to));
    let inverse = Mat::from_fn(from, rank, |row, col| svd.v[(row, col)] / svd.values[col]);
    let map = multiply(inverse.as_ref(), matrix(&coordinates, to));
    Ok(Affine { targets: task.donor_new().centered(mean_a), map, mean })
}

/// The principal components of centred rows, as rows; those along which there is nothing are left out.
fn components(rows: &Rows, work: &Work<'_>) -> Result<Option<Vec<f32>>, SurgeonError> {
    let covariance = cross_products(rows, rows, work)?;
    Ok(eigen(matrix(&covariance, rows.width())).map(|(values, vectors)| {
        let values: Vec<f32> = values.column_vector().iter().copied().collect();
        let largest = values.last().copied().unwrap_or(0.0);
        let columns = (0..values.len()).rev();
        let columns = columns.take_while(|&col| values[col] > NEGLIGIBLE * largest);
        columns.flat_map(|col| vectors.col(col).iter().copied().collect::<Vec<_>>()).collect()
    }))
}

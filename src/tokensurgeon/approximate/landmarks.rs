//! Shared tokens as landmarks: the donor's space is turned until they lie as in the model's.
//!
//! With centred rows A of shared tokens in the donor and B in the model, of the same width,
//!
//! ```text
//! Aᵀ B = U Σ Vᵀ,   R = U Vᵀ          turns A as near to B as rotations and reflections can
//! row = (x − mean of A) · R + mean of B
//! ```
//!
//! (the orthogonal Procrustes problem, Schönemann 1966, <https://doi.org/10.1007/BF02289451>). Where widths
//! differ, the wider space is projected on its principal components first, as many as the other has
//! dimensions. Directions in which the shared tokens say nothing are left at the mean.
//!
//! One pass over the shared rows, `2 · n · width²` operations, and the decomposition of a matrix of
//! `width²`, of which some copies are held: about 0.6 GB at a width of 4096.

use faer::MatRef;

use super::super::SurgeonError;
use super::super::linear::{Svd, cross_products, eigen, matrix, multiply};
use super::super::rows::Rows;
use super::super::work::Work;
use super::Task;
use super::affine::Affine;

/// The method `landmark_pca`.
pub(super) fn rotation(task: &Task<'_>, work: &Work<'_>) -> Result<Affine, SurgeonError> {
    let (a, b) = (task.donor_shared(), task.model_shared());
    work.observer.begin(&format!("turning {}", a.tensor()), 2);
    let (mean_a, mean) = (a.mean(work)?, b.mean(work)?);
    let (a, b) = (a.centered(mean_a.clone()), b.centered(mean.clone()));
    let products = cross_products(&a, &b, work)?;
    work.observer.advance(1);
    let (from, to) = (a.width(), b.width());
    let products = matrix(&products, to);
    let failed = || task.decomposition();
    let map = match from.cmp(&to) {
        std::cmp::Ordering::Equal => nearest_rotation(products).ok_or_else(failed)?,
        std::cmp::Ordering::Greater => {
            let components = components(&a, to, work)?.ok_or_else(failed)?;
            let components = matrix(&components, from);
            let projected = multiply(components, products);
            let turn = nearest_rotation(matrix(&projected, to)).ok_or_else(failed)?;
            multiply(components.transpose(), matrix(&turn, to))
        }
        std::cmp::Ordering::Less => {
            let components = components(&b, from, work)?.ok_or_else(failed)?;
            let components = matrix(&components, to);
            let projected = multiply(products, components.transpose());
            let turn = nearest_rotation(matrix(&projected, from)).ok_or_else(failed)?;
            multiply(matrix(&turn, from), components)
        }
    };
    work.observer.advance(1);
    Ok(Affine { targets: task.donor_new().centered(mean_a), map, mean })
}

/// The `n` principal components of centred rows, as rows.
fn components(rows: &Rows, n: usize, work: &Work<'_>) -> Result<Option<Vec<f32>>, SurgeonError> {
    let covariance = cross_products(rows, rows, work)?;
    Ok(eigen(matrix(&covariance, rows.width())).map(|(_, vectors)| {
        // Eigenvalues ascend.
        let largest = (0..vectors.ncols()).rev().take(n);
        largest.flat_map(|col| vectors.col(col).iter().copied().collect::<Vec<_>>()).collect()
    }))
}

/// `U Vᵀ` of the singular value decomposition, row-major.
fn nearest_rotation(products: MatRef<'_, f32>) -> Option<Vec<f32>> {
    let svd = Svd::new(products)?;
    let rank = svd.rank();
    Some(multiply(svd.u.as_ref().subcols(0, rank), svd.v.as_ref().subcols(0, rank).transpose()))
}

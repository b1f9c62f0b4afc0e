//! The nearest shared tokens in the donor, with weights, in the model.
//!
//! Nearest by distance, or by the angle's cosine. Weights of neighbours P of x:
//!
//! ```text
//! distance_proportional   1 / distance, or the cosine; divided by their sum
//! barycentric             [P Pᵀ 1; 1ᵀ 0] · [c; μ] = [P x; 1]      least squares with Σ c = 1
//! least_squares           argmin ‖Pᵀ c − x‖
//! ```
//!
//! `2 · n · width` operations for each token, to find neighbours, and those of a system of k equations. Held are
//! a batch of tokens, and for each thread a block of rows and its products with them.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use faer::Mat;
use rayon::prelude::*;

use super::super::linear::solve_symmetric;
use super::super::rows::Rows;
use super::super::work::Work;
use super::super::{SurgeonError, WeightScheme};
use super::omp::dot;
use super::sparse::{Sparse, combine};
use super::{Approximation, Task};

/// Distances, lengths and sums of weights below this count as this.
const LEAST: f64 = 1e-6;

/// The method `common_interpolation`.
pub(super) struct Neighbours {
    targets: Rows,
    donor: Rows,
    model: Rows,
    k: usize,
    by_cosine: bool,
    scheme: WeightScheme,
    failure: String,
}

impl Neighbours {
    pub(super) fn new(task: &Task<'_>) -> Self {
        Self {
            targets: task.donor_new(),
            donor: task.donor_shared(),
            model: task.model_shared(),
            k: task.options.k,
            by_cosine: task.options.cosine_similarity,
            scheme: task.options.weight_scheme,
            failure: task.model.matrix.name().to_owned(),
        }
    }

    /// Places of the nearest rows of each target, the nearest first.
    fn nearest(&self, targets: &[f32], work: &Work<'_>) -> Result<Vec<Vec<u32>>, SurgeonError> {
        let width = self.donor.width();
        let lengths: Vec<f64> =
            targets.chunks_exact(width).map(|row| squared(row).sqrt()).collect();
        let nearest: Vec<_> = lengths.iter().map(|_| Mutex::new(Nearest::new(self.k))).collect();
        self.donor.for_products(targets, self.donor.len(), work, |start, block, products| {
            let rows: Vec<f64> = block.chunks_exact(width).map(squared).collect();
            for (token, products) in products.chunks_exact(rows.len()).enumerate() {
                // Each insertion leaves a list in order, so a panic elsewhere leaves nothing to repair.
                let mut nearest = nearest[token].lock().unwrap_or_else(PoisonError::into_inner);
                for (index, (&product, squared)) in products.iter().zip(&rows).enumerate() {
                    let product = f64::from(product);
                    let score = match self.by_cosine {
                        true => -product / (lengths[token] * squared.sqrt()).max(LEAST),
                        false => squared - 2.0 * product,
                    };
                    nearest.insert(score, (start + index) as u32);
                }
            }
            Ok(())
        })?;
        let places = nearest.into_iter().map(|nearest| {
            let Nearest { found, .. } =
                nearest.into_inner().unwrap_or_else(PoisonError::into_inner);
            found.into_iter().map(|(_, place)| place).collect()
        });
        Ok(places.collect())
    }

    /// Weights of the neighbours `points` of `target`.
    fn weights(&self, target: &[f32], points: &[f32]) -> Option<Vec<f64>> {
        let points: Vec<&[f32]> = points.chunks_exact(target.len()).collect();
        let wide = |row: &[f32]| row.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let x = wide(target);
        let along = || points.iter().map(|point| dot(point, &x));
        if self.scheme == WeightScheme::DistanceProportional {
            let weights: Vec<f64> = match self.by_cosine {
                true => {
                    let length = dot(target, &x).sqrt();
                    let cosine = |(point, along): (&&[f32], f64)| {
                        along / (length * squared(point).sqrt()).max(LEAST)
                    };
                    points.iter().zip(along()).map(cosine).collect()
                }
                false => points.iter().map(|point| 1.0 / distance(point, &x).max(LEAST)).collect(),
            };
            let sum = weights.iter().sum::<f64>().max(LEAST);
            return Some(weights.iter().map(|weight| weight / sum).collect());
        }
        let constrained = usize::from(self.scheme == WeightScheme::Barycentric);
        let n = points.len();
        let mut system = Mat::<f64>::zeros(n + constrained, n + constrained);
        for (i, point) in points.iter().enumerate() {
            let point = wide(point);
            for (j, other) in points.iter().enumerate().skip(i) {
                let product = dot(other, &point);
                system[(i, j)] = product;
                system[(j, i)] = product;
            }
            if constrained == 1 {
                system[(i, n)] = 1.0;
                system[(n, i)] = 1.0;
            }
        }
        let rhs: Vec<f64> = along().chain(std::iter::repeat_n(1.0, constrained)).collect();
        let mut weights = solve_symmetric(system.as_ref(), &rhs)?;
        weights.truncate(n);
        Some(weights)
    }
}

/// The square of a row's length.
fn squared(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

fn distance(point: &[f32], x: &[f64]) -> f64 {
    point.iter().zip(x).map(|(&p, x)| (x - f64::from(p)).powi(2)).sum::<f64>().sqrt()
}

/// The `k` smallest scores, in order; of equal ones, those of lower places.
struct Nearest {
    k: usize,
    found: Vec<(f64, u32)>,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, found: Vec::with_capacity(k + 1) }
    }

    fn insert(&mut self, score: f64, place: u32) {
        let is_before = |(other, at): &(f64, u32)| (*other, *at) < (score, place);
        if self.found.len() == self.k && self.found.last().is_some_and(is_before) {
            return;
        }
        let index = self.found.partition_point(is_before);
        self.found.insert(index, (score, place));
        self.found.truncate(self.k);
    }
}

impl Approximation for Neighbours {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        let targets = self.targets.read_range(tokens.clone())?;
        let places = self.nearest(&targets, work)?;
        let targets = targets.par_chunks_exact(self.donor.width());
        let sparse = targets.zip(places).map_init(Vec::new, |points, (target, places)| {
            self.donor.gather(&places, points)?;
            let failed = || SurgeonError::Decomposition { tensor: self.failure.clone() };
            let coefficients = self.weights(target, points).ok_or_else(failed)?;
            Ok(Sparse { places, coefficients })
        });
        let sparse: Vec<Sparse> = sparse.collect::<Result<_, SurgeonError>>()?;
        combine(&self.model, &sparse, out)?;
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_kept_in_order() {
        let mut nearest = Nearest::new(3);
        for (place, score) in [5.0, 1.0, 4.0, 1.0, 9.0, 4.0].into_iter().enumerate().rev() {
            nearest.insert(score, place as u32);
        }
        assert_eq!(nearest.found, [(1.0, 1), (1.0, 3), (4.0, 2)]);
    }
}

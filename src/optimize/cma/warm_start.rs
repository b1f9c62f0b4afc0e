//! Beginning where earlier evaluations were good.
//!
//! WS-CMA-ES (Nomura et al. 2021, <https://arxiv.org/abs/2012.06932>): the best tenth of the points,
//! each blurred by a normal distribution of deviation 0.1, is one distribution; the search begins
//! with the normal distribution of the same mean and covariance.

use super::covariance::Covariance;
use super::distribution::Distribution;
use super::options::{CmaOptions, Variant};
use crate::optimize::domain::Domain;
use crate::optimize::eigen::Eigen;

/// Share of the points that count.
const BEST_SHARE: f64 = 0.1;

/// Deviation with which each is blurred, as a share of the box.
const BLUR: f64 = 0.1;

/// The distribution to begin with; `None` if there is nothing to begin with.
///
/// With fewer good points than directions their covariance says nothing: then the search begins at
/// the best of them, with half the step size.
pub(super) fn distribution(options: &CmaOptions, domain: &Domain) -> Option<Distribution> {
    let mut earlier: Vec<_> =
        options.earlier.iter().filter(|evaluation| evaluation.value.is_finite()).collect();
    earlier.sort_by(|a, b| a.value.total_cmp(&b.value));
    let n = domain.dimension();
    let n_best = (earlier.len() as f64 * BEST_SHARE).ceil() as usize;
    let n_best = n_best.max(n + 1);
    let Some(best) = earlier.get(..n_best) else {
        let start = domain.raw(&earlier.first()?.point);
        return Some(Distribution::new(start, options.sigma0 / 2.0, options.covariance(domain)));
    };
    let points: Vec<Vec<f64>> =
        best.iter().map(|evaluation| domain.raw(&evaluation.point)).collect();
    let share = 1.0 / points.len() as f64;
    let mut mean = vec![0.0; n];
    for point in &points {
        mean.iter_mut().zip(point).for_each(|(mean, x)| *mean += share * x);
    }
    let mut matrix = vec![0.0; n * n];
    for point in &points {
        for i in 0..n {
            for j in 0..n {
                matrix[i * n + j] += share * (point[i] - mean[i]) * (point[j] - mean[j]);
            }
        }
    }
    matrix.iter_mut().step_by(n + 1).for_each(|variance| *variance += BLUR * BLUR);

    if options.variant == Variant::Separable {
        let variances: Vec<f64> = matrix.into_iter().step_by(n + 1).collect();
        return Some(scaled(mean, &variances, |square| {
            let variances: Vec<f64> = variances.iter().map(|variance| variance / square).collect();
            Covariance::diagonal(&variances)
        }));
    }
    let eigen = Eigen::new(&matrix, n)?;
    Some(scaled(mean, &eigen.values, |square| {
        let mut covariance = Covariance::full(&vec![1.0; n]);
        covariance.replace(matrix.iter().map(|element| element / square).collect());
        covariance.refresh();
        covariance
    }))
}

/// σ² is the geometric mean of the variances along the axes, and C is what remains.
fn scaled(
    mean: Vec<f64>,
    variances: &[f64],
    covariance: impl FnOnce(f64) -> Covariance,
) -> Distribution {
    let logarithms: f64 = variances.iter().map(|variance| libm::log(*variance)).sum();
    let square = libm::exp(logarithms / variances.len() as f64);
    Distribution::new(mean, square.sqrt(), covariance(square))
}

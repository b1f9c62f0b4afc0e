//! Against parameters and traces of pycma 4.5.0 and CyberAgent's cmaes 0.13.1.
//!
//! A trace's samples are x = m + σ C^{1/2} z with the symmetric root, which does not depend on the
//! signs of eigenvectors; z comes from SplitMix64 and Box–Muller, candidate by candidate. The trace
//! `ties` was made with cmaes and tie-averaged weights.

use serde::Deserialize;

use super::distribution::Distribution;
use super::options::{Constants, Variant};
use super::parameters::Parameters;
use super::ranking::Ranking;
use crate::optimize::cma::covariance::Covariance;
use crate::optimize::eigen::Eigen;
use crate::optimize::testing::{SplitMix64, assert_close};

#[derive(Deserialize)]
struct Golden {
    parameters: Vec<GoldenParameters>,
    traces: Traces,
}

#[derive(Deserialize)]
struct GoldenParameters {
    n: usize,
    lam: usize,
    cma: GoldenConstants,
    sep: GoldenConstants,
    pycma: GoldenConstants,
}

#[derive(Deserialize)]
struct GoldenConstants {
    weights: Vec<f64>,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    chi_n: Option<f64>,
    funhist: Option<usize>,
    lazy_gap: Option<f64>,
}

#[derive(Deserialize)]
struct Traces {
    cma: Trace,
    ties: Trace,
    sep: SeparableTrace,
    lra: Trace,
}

#[derive(Deserialize)]
struct Trace<C = Vec<Vec<f64>>> {
    x0: Vec<f64>,
    sigma0: f64,
    lam: usize,
    rng_seed: u64,
    generations: Vec<Generation<C>>,
}

type SeparableTrace = Trace<Vec<f64>>;

#[derive(Deserialize)]
struct Generation<C> {
    f: Vec<f64>,
    mean: Vec<f64>,
    sigma: f64,
    p_sigma: Vec<f64>,
    p_c: Vec<f64>,
    #[serde(rename = "C")]
    covariance: C,
    eta_mean: Option<f64>,
    eta_sigma: Option<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/optimiser.json")).unwrap()
}

#[test]
fn parameters_are_those_of_both_references() {
    for GoldenParameters { n, lam, cma, sep, pycma } in golden().parameters {
        for (constants, variant, expected) in [
            (Constants::Cmaes, Variant::Full, cma),
            (Constants::Cmaes, Variant::Separable, sep),
            (Constants::Pycma, Variant::Full, pycma),
        ] {
            let ours = Parameters::new(n, lam, constants, variant);
            let what = format!("{constants:?}, {variant:?}, n = {n}, λ = {lam}");
            let weights = ours.weights(lam);
            assert_close(&weights[..expected.weights.len()], &expected.weights, 1e-12, &what);
            assert_close(
                &[ours.c_sigma, ours.d_sigma, ours.c_c, ours.c_1, ours.c_mu],
                &[expected.c_sigma, expected.d_sigma, expected.c_c, expected.c_1, expected.c_mu],
                1e-12,
                &what,
            );
            if let Some(chi) = expected.chi_n {
                assert_close(&[ours.chi], &[chi], 1e-12, &what);
            }
            if let Some(lazy_gap) = expected.lazy_gap {
                assert_close(&[ours.lazy_gap()], &[lazy_gap], 1e-12, &what);
            }
            if let Some(window) = expected.funhist {
                assert_eq!(ours.history_window(), window, "{what}");
            }
        }
    }
}

#[test]
fn follows_the_reference_generation_by_generation() {
    follow(golden().traces.cma, Variant::Full, rosenbrock, |c| c.concat());
}

#[test]
fn follows_the_reference_through_ties() {
    let value = |x: &[f64]| (rosenbrock(x) / 25.0).floor();
    follow(golden().traces.ties, Variant::Full, value, |c| c.concat());
}

#[test]
fn follows_the_reference_without_covariances() {
    follow(golden().traces.sep, Variant::Separable, rosenbrock, |c| c);
}

#[test]
fn follows_the_reference_with_learning_rates() {
    follow(golden().traces.lra, Variant::LearningRates, rosenbrock, |c| c.concat());
}

fn follow<C>(
    trace: Trace<C>,
    variant: Variant,
    value: impl Fn(&[f64]) -> f64,
    elements: impl Fn(C) -> Vec<f64>,
) {
    let n = trace.x0.len();
    let parameters = Parameters::new(n, trace.lam, Constants::Cmaes, variant);
    let covariance = match variant {
        Variant::Separable => Covariance::diagonal(&vec![1.0; n]),
        _ => Covariance::full(&vec![1.0; n]),
    };
    let mut distribution = Distribution::new(trace.x0, trace.sigma0, covariance);
    if variant == Variant::LearningRates {
        distribution = distribution.with_adaptive_learning_rates();
    }
    let mut normals = SplitMix64::new(trace.rng_seed);
    for (generation, expected) in trace.generations.into_iter().enumerate() {
        let points: Vec<Vec<f64>> =
            (0..trace.lam).map(|_| symmetric_sample(&distribution, &mut normals)).collect();
        let values: Vec<f64> = points.iter().map(|point| value(point)).collect();
        let what = |part: &str| format!("{part} of generation {generation}");
        assert_close(&values, &expected.f, 1e-9, &what("values"));

        let outcomes: Vec<_> = values.into_iter().map(Some).collect();
        let ranking = Ranking::new(&outcomes, 0.0);
        let weights = ranking.weights(&parameters).unwrap();
        let steps: Vec<_> =
            ranking.order.iter().map(|&best| distribution.step_to(&points[best])).collect();
        distribution.update(generation as u64, &steps, &weights, &parameters);

        assert_close(&distribution.mean, &expected.mean, 1e-9, &what("mean"));
        assert_close(&[distribution.sigma], &[expected.sigma], 1e-9, &what("sigma"));
        assert_close(&distribution.p_sigma, &expected.p_sigma, 1e-9, &what("p_sigma"));
        assert_close(&distribution.p_c, &expected.p_c, 1e-9, &what("p_c"));
        let covariance = elements(expected.covariance);
        assert_close(distribution.covariance.elements(), &covariance, 1e-9, &what("covariance"));
        if let (Some(mean), Some(sigma)) = (expected.eta_mean, expected.eta_sigma) {
            let rates = distribution.learning_rates.as_ref().unwrap();
            let ours = [rates.mean.rate, rates.covariance.rate];
            assert_close(&ours, &[mean, sigma], 1e-9, &what("learning rates"));
        }
    }
}

/// m + σ C^{1/2} z with the symmetric root.
fn symmetric_sample(distribution: &Distribution, normals: &mut SplitMix64) -> Vec<f64> {
    let n = distribution.mean.len();
    let z: Vec<f64> = (0..n).map(|_| normals.normal()).collect();
    let step = symmetric_root_times(&distribution.covariance, &z);
    distribution.mean.iter().zip(step).map(|(m, y)| m + distribution.sigma * y).collect()
}

/// C^{1/2} z with the symmetric root.
pub(in crate::optimize) fn symmetric_root_times(covariance: &Covariance, z: &[f64]) -> Vec<f64> {
    let Some(full) = covariance.as_full() else { return covariance.scale(z) };
    let eigen = Eigen::new(full.matrix(), z.len()).unwrap();
    let mut step = vec![0.0; z.len()];
    for (axis, variance) in eigen.vectors.chunks_exact(z.len()).zip(&eigen.values) {
        let along: f64 = axis.iter().zip(z).map(|(a, b)| a * b).sum();
        for (y, component) in step.iter_mut().zip(axis) {
            *y += variance.sqrt() * along * component;
        }
    }
    step
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (pair[0] - 1.0).powi(2))
        .sum()
}

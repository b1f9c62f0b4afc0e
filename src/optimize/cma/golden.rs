//! Against parameters and traces of pycma 4.5.0 and CyberAgent's cmaes 0.13.1.
//!
//! A trace's samples are x = m + σ C^{1/2} z with the symmetric root, which does not depend on the
//! signs of eigenvectors; z comes from SplitMix64 and Box–Muller, candidate by candidate. The trace
//! `ties` was made with cmaes and tie-averaged weights.

use serde::Deserialize;

use super::distribution::Distribution;
use super::options::Constants;
use super::parameters::Parameters;
use super::ranking::Ranking;
use crate::optimize::eigen::Eigen;

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
}

#[derive(Deserialize)]
struct Trace {
    x0: Vec<f64>,
    sigma0: f64,
    lam: usize,
    rng_seed: u64,
    generations: Vec<Generation>,
}

#[derive(Deserialize)]
struct Generation {
    f: Vec<f64>,
    mean: Vec<f64>,
    sigma: f64,
    p_sigma: Vec<f64>,
    p_c: Vec<f64>,
    #[serde(rename = "C")]
    covariance: Vec<Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/optimiser.json")).unwrap()
}

#[test]
fn parameters_are_those_of_both_references() {
    for GoldenParameters { n, lam, cma, pycma } in golden().parameters {
        for (constants, expected) in [(Constants::Cmaes, cma), (Constants::Pycma, pycma)] {
            let ours = Parameters::new(n, lam, constants);
            let what = format!("{constants:?}, n = {n}, λ = {lam}");
            assert_close(&ours.weights(lam), &expected.weights, 1e-12, &what);
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
    follow(&golden().traces.cma, rosenbrock);
}

#[test]
fn follows_the_reference_through_ties() {
    follow(&golden().traces.ties, |x| (rosenbrock(x) / 25.0).floor());
}

fn follow(trace: &Trace, value: impl Fn(&[f64]) -> f64) {
    let n = trace.x0.len();
    let parameters = Parameters::new(n, trace.lam, Constants::Cmaes);
    let mut distribution = Distribution::new(trace.x0.clone(), trace.sigma0, &vec![1.0; n]);
    let mut normals = Normals::new(trace.rng_seed);
    for (generation, expected) in trace.generations.iter().enumerate() {
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
        let covariance = expected.covariance.concat();
        assert_close(&distribution.covariance, &covariance, 1e-9, &what("covariance"));
    }
}

/// m + σ C^{1/2} z with the symmetric root.
fn symmetric_sample(distribution: &Distribution, normals: &mut Normals) -> Vec<f64> {
    let n = distribution.mean.len();
    let z: Vec<f64> = (0..n).map(|_| normals.next()).collect();
    let eigen = Eigen::new(&distribution.covariance, n).unwrap();
    let mut point = distribution.mean.clone();
    for (axis, variance) in eigen.vectors.chunks_exact(n).zip(&eigen.values) {
        let along: f64 = axis.iter().zip(&z).map(|(a, b)| a * b).sum();
        for (x, component) in point.iter_mut().zip(axis) {
            *x += distribution.sigma * variance.sqrt() * along * component;
        }
    }
    point
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (pair[0] - 1.0).powi(2))
        .sum()
}

/// Equal up to a relative tolerance of the largest number.
fn assert_close(ours: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
    for (a, b) in ours.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * scale, "{what}: {a} instead of {b}");
    }
}

/// SplitMix64 and Box–Muller, cosine first, as the traces were made.
struct Normals {
    state: u64,
    spare: Option<f64>,
}

impl Normals {
    fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / 2f64.powi(53)
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

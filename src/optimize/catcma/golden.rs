//! Against a trace of CyberAgent's cmaes 0.13.1.
//!
//! The reference searches [−10, 10]; here that is [0, 1], and what is σ there is divided between σ
//! and C here. Samples are v = m + σ A C^{1/2} z with the symmetric root.

use serde::Deserialize;

use super::*;
use crate::optimize::cma::golden::symmetric_root_times;
use crate::optimize::testing::{SplitMix64, assert_close};
use crate::optimize::{Constants, Variable};

#[derive(Deserialize)]
struct Golden {
    traces: Traces,
}

#[derive(Deserialize)]
struct Traces {
    catcmawm: Trace,
}

#[derive(Deserialize)]
struct Trace {
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
    #[serde(rename = "C")]
    covariance: Vec<Vec<f64>>,
    #[serde(rename = "A")]
    stretch: Vec<f64>,
    p_mut: Vec<f64>,
    q: Vec<Vec<f64>>,
    #[serde(rename = "asng_Delta")]
    inverse_step: f64,
    #[serde(rename = "asng_s")]
    path: Vec<f64>,
    #[serde(rename = "asng_gamma")]
    gamma: f64,
}

const WIDTH: f64 = 20.0;

fn unit(x: f64) -> f64 {
    (x + 10.0) / WIDTH
}

#[test]
fn follows_the_reference_generation_by_generation() {
    let text = include_str!("../../../tests/golden/optimiser.json");
    let trace = serde_json::from_str::<Golden>(text).unwrap().traces.catcmawm;
    let variables = vec![
        Variable::new(Range::Linear { low: -10.0, high: 10.0 }, 0.0),
        Variable::new(Range::Linear { low: -10.0, high: 10.0 }, 0.0),
        Variable::new(Range::Whole { low: -10, high: 10 }, 0.0),
        Variable::new(Range::Whole { low: -10, high: 10 }, 0.0),
        Variable::new(Range::Categories(3), 0.0),
        Variable::new(Range::Categories(3), 0.0),
    ];
    let mut options = CatCmaOptions {
        sigma0: 1.0 / 12.0,
        constants: Constants::Cmaes,
        ..CatCmaOptions::new(variables)
    };
    let (search, mut state) = CatCmaWithMargin::start(&mut options).unwrap();
    assert_eq!(search.population_size(&state), trace.lam);

    let mut random = SplitMix64::new(trace.rng_seed);
    for (generation, expected) in trace.generations.iter().enumerate() {
        let points: Vec<Vec<f64>> =
            (0..trace.lam).map(|_| sample(&search, &state, &mut random)).collect();
        let values: Vec<f64> = points.iter().map(|raw| value(&search, raw)).collect();
        let what = |part: &str| format!("{part} of generation {generation}");
        assert_close(&values, &expected.f, 1e-9, &what("values"));
        let told: Vec<Told<'_>> = points
            .iter()
            .zip(&values)
            .map(|(raw, value)| {
                let values = Some(std::slice::from_ref(value));
                Told { index: 0, raw, values, foreign: false }
            })
            .collect();
        search.learn(&mut state, generation as u64, &told);

        let distribution = state.distribution.as_ref().unwrap();
        let mean: Vec<f64> = expected.mean.iter().map(|&m| unit(m)).collect();
        assert_close(&distribution.mean, &mean, 1e-9, &what("mean"));
        assert_close(&distribution.p_sigma, &expected.p_sigma, 1e-9, &what("p_sigma"));
        let square = distribution.sigma * distribution.sigma;
        let ours: Vec<f64> =
            distribution.covariance.elements().iter().map(|element| square * element).collect();
        let square = (expected.sigma / WIDTH).powi(2);
        let covariance: Vec<f64> =
            expected.covariance.concat().iter().map(|element| square * element).collect();
        assert_close(&ours, &covariance, 1e-9, &what("covariance"));
        assert_close(&state.integers.stretch, &expected.stretch, 1e-9, &what("stretch"));
        assert_close(&state.integers.mutation, &expected.p_mut, 1e-9, &what("mutation"));
        let probabilities = state.categories.probabilities.concat();
        assert_close(&probabilities, &expected.q.concat(), 1e-9, &what("probabilities"));
        assert_close(&state.categories.path, &expected.path, 1e-9, &what("path"));
        assert_close(
            &[state.categories.gamma, state.categories.inverse_step],
            &[expected.gamma, expected.inverse_step],
            1e-9,
            &what("step of the categories"),
        );
    }
}

fn sample(search: &CatCmaWithMargin, state: &State, random: &mut SplitMix64) -> Vec<f64> {
    let distribution = state.distribution.as_ref().unwrap();
    let normals: Vec<f64> = (0..4).map(|_| random.normal()).collect();
    let step = symmetric_root_times(&distribution.covariance, &normals);
    let numbers: Vec<f64> = (0..4)
        .map(|i| distribution.mean[i] + distribution.sigma * state.integers.stretch[i] * step[i])
        .collect();
    let uniforms = [random.uniform(), random.uniform()];
    search.combined(&numbers, &state.categories.draw(&uniforms))
}

/// Continuous numbers towards 3.3, whole ones towards 4, categories towards 0.
fn value(search: &CatCmaWithMargin, raw: &[f64]) -> f64 {
    let decoded = search.domain.point(raw);
    let continuous = raw[..2].iter().map(|r| (r * WIDTH - 10.0).clamp(-10.0, 10.0) - 3.3);
    let whole = decoded[2..4].iter().map(|z| z - 4.0);
    let squares: f64 = continuous.chain(whole).map(|v| v * v).sum();
    squares + decoded[4..].iter().filter(|&&category| category != 0.0).count() as f64
}

//! The search as its caller sees it: failures, degenerate cases, convergence.

use serde_json::Value;

use super::*;
use crate::optimize::testing::{ask_all, run};
use crate::optimize::{Candidate, Optimizer, Outcome, Range, TellError, Variable, restore};

const UNIT: Range = Range::Linear { low: 0.0, high: 1.0 };

pub(super) fn boxed(n: usize) -> CmaOptions {
    CmaOptions::new(vec![Variable::new(UNIT, 0.5); n])
}

fn unbounded(n: usize, start: f64, sigma0: f64) -> CmaOptions {
    let variables = vec![Variable::new(Range::Unbounded, start); n];
    CmaOptions { sigma0, ..CmaOptions::new(variables) }
}

fn sphere(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

fn ellipsoid(x: &[f64]) -> f64 {
    let last = (x.len() - 1) as f64;
    x.iter().enumerate().map(|(i, x)| (1000f64.powf(i as f64 / last) * x).powi(2)).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (pair[0] - 1.0).powi(2))
        .sum()
}

/// Evaluations until the first value at or below the target; `None` beyond the budget.
fn evaluations_to(
    target: f64,
    budget: u64,
    options: &CmaOptions,
    f: fn(&[f64]) -> f64,
) -> Option<u64> {
    let mut search = CmaEs::new(options).unwrap();
    while search.status().evaluations < budget {
        for candidate in ask_all(&mut search) {
            let value = f(&candidate.x);
            search.tell(candidate.id, Outcome::Scored(value)).unwrap();
            if value <= target {
                return Some(search.status().evaluations);
            }
        }
    }
    None
}

#[test]
fn candidates_are_functions_of_seed_restart_generation_and_index() {
    let first = |change: fn(&mut CmaOptions)| {
        let mut options = boxed(3);
        change(&mut options);
        ask_all(&mut CmaEs::new(&options).unwrap())
    };
    let candidates = first(|_| ());
    assert_eq!(candidates.len(), 7);
    assert_eq!(candidates, first(|_| ()));
    assert_eq!(candidates[..4], first(|options| options.search.population_size = Some(4)));
    assert_ne!(candidates[0].x, first(|options| options.search.seed = 1)[0].x);
    assert_ne!(candidates[0].x, first(|options| options.search.restart = 1)[0].x);
    assert_ne!(candidates[0].x, candidates[1].x);
}

#[test]
fn outcomes_are_taken_once() {
    let mut search = CmaEs::new(&boxed(2)).unwrap();
    assert_eq!(search.tell(0, Outcome::Infeasible), Err(TellError::UnknownId(0)));
    search.ask();
    let before = search.state();
    let infinite = Outcome::Scored(f64::NEG_INFINITY);
    assert_eq!(search.tell(0, infinite), Err(TellError::MinusInfinity(0)));
    assert_eq!(search.state(), before);
    assert_eq!(search.tell(0, Outcome::Scored(1.0)), Ok(()));
    let before = search.state();
    assert_eq!(search.tell(0, Outcome::Scored(0.0)), Err(TellError::UnknownId(0)));
    assert_eq!(search.state(), before);
}

#[test]
fn values_matter_only_by_their_order() {
    let run_with = |transform: fn(f64) -> f64| {
        let mut search = CmaEs::new(&unbounded(4, 1.0, 0.5)).unwrap();
        run(&mut search, 30, |c| Outcome::Scored(transform(sphere(&c.x))));
        search.progress().state.distribution.clone()
    };
    assert_eq!(run_with(|f| f), run_with(|f| (f + 1.0).ln()));
    assert_eq!(run_with(|f| f), run_with(|f| 4.0 * f));
}

#[test]
fn a_generation_that_lost_some_is_updated_with_the_rest() {
    let mut search = CmaEs::new(&boxed(5)).unwrap();
    run(&mut search, 1, |c| if c.id < 4 { Outcome::Lost } else { Outcome::Scored(c.x[0]) });
    let status = search.status();
    assert_eq!((status.generation, status.evaluations), (1, 4));
}

#[test]
fn a_generation_that_lost_most_asks_for_replacements() {
    let mut search = CmaEs::new(&boxed(5)).unwrap();
    let first = ask_all(&mut search);
    for candidate in &first {
        let lost = candidate.id < 5;
        let outcome = if lost { Outcome::Lost } else { Outcome::Scored(candidate.x[0]) };
        search.tell(candidate.id, outcome).unwrap();
    }
    assert_eq!(search.status().generation, 0);
    let replacements = ask_all(&mut search);
    assert_eq!(replacements.iter().map(|c| c.id).collect::<Vec<_>>(), [8, 9, 10, 11, 12]);
    assert!(replacements.iter().all(|c| first.iter().all(|f| f.x != c.x) && c.born == 0));
    for candidate in &replacements {
        search.tell(candidate.id, Outcome::Scored(candidate.x[0])).unwrap();
    }
    assert_eq!((search.status().generation, search.status().evaluations), (1, 8));
    assert_eq!(search.stop(), []);
}

#[test]
fn losing_everything_is_reported_after_three_rounds_of_replacements() {
    let mut search = CmaEs::new(&boxed(2)).unwrap();
    run(&mut search, 3, |_| Outcome::Lost);
    assert_eq!(search.stop(), []);
    run(&mut search, 1, |_| Outcome::Lost);
    assert_eq!(search.stop(), [Reason::TooManyLost]);
    assert_eq!(search.status().generation, 0);
    run(&mut search, 1, |c| Outcome::Scored(c.x[0]));
    assert_eq!(search.stop(), []);
    assert_eq!(search.status().generation, 1);
}

#[test]
fn nothing_feasible_is_reported_after_five_generations() {
    let mut search = CmaEs::new(&boxed(3)).unwrap();
    run(&mut search, 4, |_| Outcome::Scored(f64::NAN));
    assert_eq!(search.stop(), []);
    assert_eq!(search.status().sigma, boxed(3).sigma0 / 16.0);
    run(&mut search, 1, |_| Outcome::Infeasible);
    assert_eq!(search.stop(), [Reason::NothingFeasible]);
    assert_eq!((search.status().generation, search.status().best), (5, None));
    run(&mut search, 2000, |_| Outcome::Infeasible);
    assert!(search.progress().state.distribution.is_sound());
}

#[test]
fn flat_generations_are_a_neutral_walk() {
    let mut search = CmaEs::new(&boxed(10)).unwrap();
    run(&mut search, 1000, |_| Outcome::Scored(0.5));
    assert_eq!(search.stop(), [Reason::EqualFun]);
    assert!(search.progress().state.distribution.is_sound());
    assert_eq!(search.status().best.unwrap().1, 0.5);
}

#[test]
fn a_fixed_variable_stays_and_the_others_are_searched() {
    let fixed = Range::Linear { low: 0.3, high: 0.3 };
    let mut options = boxed(3);
    options.search.variables[1] = Variable::new(fixed, 0.3);
    let mut search = CmaEs::new(&options).unwrap();
    run(&mut search, 80, |c| {
        assert_eq!(c.x[1], 0.3);
        Outcome::Scored((c.x[0] - 0.7).powi(2) + (c.x[2] - 0.1).powi(2))
    });
    let status = search.status();
    assert_eq!(status.deviations[1], 0.0);
    assert!((status.mean[0] - 0.7).abs() < 1e-4 && (status.mean[2] - 0.1).abs() < 1e-4);
}

#[test]
fn spread_scales_the_initial_deviation() {
    let mut options = boxed(2);
    options.search.variables[1].spread = 0.5;
    let deviations = CmaEs::new(&options).unwrap().status().deviations;
    assert!((deviations[1] / deviations[0] - 0.5).abs() < 1e-12);
}

#[test]
fn optimum_in_a_corner_of_the_box_from_a_start_on_the_bound() {
    let mut options = boxed(6);
    options.search.variables[0].start = 1.0;
    let mut search = CmaEs::new(&options).unwrap();
    let target = [0.0, 1.0, 0.0, 1.0, 0.25, 0.75];
    let value = |c: &Candidate| -> f64 {
        c.x.iter().zip(target).map(|(x, t)| (x - t).abs().powf(1.5)).sum()
    };
    run(&mut search, 150, |c| Outcome::Scored(value(c)));
    assert!(search.status().best.unwrap().1 < 1e-6);
}

#[test]
fn logarithmic_scales_find_small_numbers() {
    let range = Range::Logarithmic { low: 1e-6, high: 1.0 };
    let options = CmaOptions::new(vec![Variable::new(range, 1e-3); 3]);
    let mut search = CmaEs::new(&options).unwrap();
    run(&mut search, 100, |c| Outcome::Scored(c.x.iter().map(|x| (x / 2e-5).ln().powi(2)).sum()));
    for x in search.status().mean {
        assert!((x / 2e-5 - 1.0).abs() < 1e-3);
    }
}

#[test]
fn one_dimension_and_the_smallest_population() {
    for constants in [Constants::Tutorial, Constants::Pycma, Constants::Cmaes] {
        let options = CmaOptions { constants, ..unbounded(1, 3.0, 2.0) };
        assert_eq!(CmaEs::new(&options).unwrap().status().population_size, 4);
        assert!(evaluations_to(1e-10, 400, &options, sphere).is_some());
    }
}

#[test]
fn a_third_of_failures_is_no_obstacle() {
    let mut search = CmaEs::new(&unbounded(5, 3.0, 2.0)).unwrap();
    run(&mut search, 200, |c| match c.id % 3 {
        0 => Outcome::Infeasible,
        _ => Outcome::Scored(sphere(&c.x)),
    });
    assert!(search.status().best.unwrap().1 < 1e-8);
}

#[test]
fn an_optimum_on_the_border_of_the_feasible_is_found() {
    let mut search = CmaEs::new(&unbounded(5, 3.0, 2.0)).unwrap();
    run(&mut search, 300, |c| match c.x[0] < 0.0 {
        true => Outcome::Infeasible,
        false => Outcome::Scored(sphere(&c.x)),
    });
    assert!(search.status().best.unwrap().1 < 1e-6);
}

#[test]
fn a_runaway_search_stays_in_the_range_of_numbers() {
    let mut search = CmaEs::new(&unbounded(3, 0.0, 1.0)).unwrap();
    run(&mut search, 60, |c| Outcome::Scored(-c.x[0]));
    assert!(search.stop().contains(&Reason::TolXUp));
    run(&mut search, 1500, |c| Outcome::Scored(-c.x[0]));
    assert!(search.progress().state.distribution.is_sound());
    assert!(!search.stop().is_empty());
}

#[test]
fn standard_functions_within_their_budget() {
    for seed in 0..5 {
        let mut easy = unbounded(5, 3.0, 2.0);
        easy.search.seed = seed;
        assert!(evaluations_to(1e-8, 1000, &easy, sphere).is_some());
        assert!(evaluations_to(1e-8, 2400, &easy, ellipsoid).is_some());
        let mut valley = unbounded(5, 0.0, 0.1);
        valley.search.seed = seed;
        assert!(evaluations_to(1e-8, 6000, &valley, rosenbrock).is_some());
    }
}

#[test]
fn convergence_ends_with_a_reason() {
    let mut search = CmaEs::new(&unbounded(4, 3.0, 2.0)).unwrap();
    run(&mut search, 400, |c| Outcome::Scored(sphere(&c.x)));
    assert!(search.stop().contains(&Reason::TolFun));
}

#[test]
fn states_that_were_never_saved_are_refused() {
    let mut search = CmaEs::new(&boxed(2)).unwrap();
    run(&mut search, 2, |c| Outcome::Scored(sphere(&c.x)));
    let message = |pointer: &str, value: Value| {
        let mut state = search.state();
        *state.pointer_mut(pointer).unwrap() = value;
        restore(&state).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        message("/version", 2.into()),
        "the saved state of the optimizer has version 2; this program reads 1"
    );
    assert_eq!(
        message("/algorithm", "annealing".into()),
        "the saved state belongs to the optimizer `annealing`"
    );
    assert_eq!(
        message("/progress/state/distribution/sigma", "wide".into()),
        "the saved state of the optimizer is damaged"
    );
    assert_eq!(
        message("/progress/state/distribution/sigma", (-1.0).into()),
        "the saved state of the optimizer is damaged: its distribution is not one that can be \
        drawn from"
    );
    assert_eq!(
        message("/progress/state/distribution/mean", vec![0.5].into()),
        "the saved state of the optimizer is damaged: its dimension is not that of its options"
    );
    assert_eq!(
        message("/progress/queue", Value::Array(Vec::new())),
        "the saved state of the optimizer is damaged: its generation does not have the size of \
        the population"
    );
    assert_eq!(message("/options/sigma0", 0.0.into()), "the initial step size cannot be `0`");
}

//! The search as its caller sees it.

use super::*;
use crate::optimize::testing::{ask_all, run};
use crate::optimize::{Candidate, Optimizer, Outcome, hypervolume, restore};

fn options() -> ComoOptions {
    let mut variables = vec![Variable::new(Range::Linear { low: -5.0, high: 15.0 }, 0.0); 3];
    variables.extend(vec![Variable::new(Range::Whole { low: -5, high: 15 }, 0.0); 3]);
    variables.extend(vec![Variable::new(Range::Categories(5), 0.0); 3]);
    ComoOptions { reference: Some([4.0, 4.0]), ..ComoOptions::new(variables) }
}

/// Two spheres and two ends of categories.
fn values(candidate: &Candidate) -> Outcome {
    let x = &candidate.x;
    let mean = |part: &[f64], target: f64| {
        part.iter().map(|x| (x / 10.0 - target).powi(2)).sum::<f64>() / 3.0
    };
    let leading = x[6..].iter().take_while(|&&c| c == 0.0).count() as f64;
    let trailing = x[6..].iter().rev().take_while(|&&c| c == 4.0).count() as f64;
    Outcome::Multi(vec![
        mean(&x[..3], 0.0) + mean(&x[3..6], 0.0) + (3.0 - leading) / 3.0,
        mean(&x[..3], 1.0) + mean(&x[3..6], 1.0) + (3.0 - trailing) / 3.0,
    ])
}

fn area(search: &dyn Optimizer) -> f64 {
    let front = search.status().front;
    hypervolume(front.iter().map(|point| &point.values[..]), [4.0, 4.0])
}

#[test]
fn finds_a_front() {
    let mut search = ComoCatCma::new(&options()).unwrap();
    while search.status().evaluations < 4000 {
        run(&mut search, 1, values);
    }
    assert!(area(&search) > 13.2, "{}", area(&search));
}

#[test]
fn every_kernel_has_its_turn_and_its_incumbent_is_scored() {
    let mut search = ComoCatCma::new(&options()).unwrap();
    let first = ask_all(&mut search);
    assert_eq!(first.len(), 10 + 9);
    for candidate in &first {
        search.tell(candidate.id, values(candidate)).unwrap();
    }
    for _ in 1..20 {
        assert_eq!(search.status().population_size, 10 + 1);
        run(&mut search, 1, values);
    }
    let state = &search.progress().state;
    assert!(state.kernels.iter().all(|kernel| kernel.generation == 2));
}

#[test]
fn failures_and_the_end_of_a_process_are_survived() {
    let mut search = ComoCatCma::new(&options()).unwrap();
    let outcome = |candidate: &Candidate| match candidate.id % 7 {
        2 => Outcome::Infeasible,
        4 => Outcome::Lost,
        _ => values(candidate),
    };
    run(&mut search, 25, outcome);
    let mut restored = restore(&search.state()).unwrap();
    for _ in 0..30 {
        for candidate in ask_all(&mut search) {
            assert_eq!(restored.ask(), Some(candidate.clone()));
            search.tell(candidate.id, outcome(&candidate)).unwrap();
            restored.tell(candidate.id, outcome(&candidate)).unwrap();
        }
    }
    assert_eq!(restored.state(), search.state());
    assert!(area(&search) > 6.0);
}

#[test]
fn mistakes_are_named() {
    let one = ComoOptions { kernels: 1, ..options() };
    assert_eq!(
        ComoCatCma::new(&one).unwrap_err().to_string(),
        "1 kernel cannot approximate a front; there have to be 2 at least"
    );
    let mut steady = options();
    steady.kernel.search.pacing = Pacing::Steady;
    assert_eq!(
        ComoCatCma::new(&steady).unwrap_err().to_string(),
        "COMO-CatCMA learns from whole generations only"
    );
}

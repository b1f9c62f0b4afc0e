//! The search as its caller sees it.

use super::*;
use crate::optimize::testing::{ask_all, run};
use crate::optimize::{CmaEs, CmaOptions, Optimizer, Outcome, Variable, restore};

fn mixed() -> CatCmaOptions {
    CatCmaOptions::new(vec![
        Variable::new(Range::Linear { low: -1.0, high: 1.0 }, 0.0),
        Variable::new(Range::Categories(3), 2.0),
        Variable::new(Range::Whole { low: 0, high: 30 }, 15.0),
        Variable::new(Range::Values(vec![0.01, 0.1, 1.0]), 1.0),
        Variable::new(Range::Categories(2), 0.0),
    ])
}

fn value(x: &[f64]) -> f64 {
    (x[0] - 0.3).powi(2)
        + f64::from(x[1] != 1.0)
        + (x[2] - 21.0).abs() / 10.0
        + f64::from(x[3] != 0.1)
        + f64::from(x[4] != 1.0)
}

#[test]
fn finds_the_optimum_of_a_mixed_space() {
    for seed in 0..5 {
        let mut options = mixed();
        options.search.seed = seed;
        let mut search = CatCma::new(&options).unwrap();
        run(&mut search, 80, |c| Outcome::Scored(value(&c.x)));
        let (x, best) = search.status().best.unwrap();
        assert!(best < 1e-3, "{x:?} {best}");
        assert_eq!(x[1..], [1.0, 21.0, 0.1, 1.0]);
    }
}

#[test]
fn begins_at_the_start() {
    let search = CatCma::new(&mixed()).unwrap();
    assert_eq!(search.status().mean, [0.0, 2.0, 15.0, 1.0, 0.0]);
}

#[test]
fn is_cma_es_where_all_numbers_are_continuous() {
    let variables = vec![Variable::new(Range::Linear { low: 0.0, high: 1.0 }, 0.5); 5];
    let mut mixed = CatCma::new(&CatCmaOptions::new(variables.clone())).unwrap();
    let mut plain = CmaEs::new(&CmaOptions::new(variables)).unwrap();
    for _ in 0..50 {
        let candidates = ask_all(&mut mixed);
        assert_eq!(candidates, ask_all(&mut plain));
        for candidate in candidates {
            let outcome = Outcome::Scored(candidate.x.iter().map(|x| (x - 0.2).powi(2)).sum());
            mixed.tell(candidate.id, outcome.clone()).unwrap();
            plain.tell(candidate.id, outcome).unwrap();
        }
    }
    assert_eq!(mixed.status(), plain.status());
    assert_eq!(mixed.stop(), plain.stop());
}

#[test]
fn searches_categories_alone() {
    let variables = vec![Variable::new(Range::Categories(4), 0.0); 6];
    let mut search = CatCma::new(&CatCmaOptions::new(variables)).unwrap();
    run(&mut search, 100, |c| {
        Outcome::Scored(c.x.iter().filter(|&&category| category != 3.0).count() as f64)
    });
    assert_eq!(search.status().mean, [3.0; 6]);
}

#[test]
fn continues_from_its_state() {
    let mut search = CatCma::new(&mixed()).unwrap();
    run(&mut search, 7, |c| Outcome::Scored(value(&c.x)));
    search.ask();
    let mut restored = restore(&search.state()).unwrap();
    assert_eq!(restored.pending(), search.pending());
    for _ in 0..40 {
        for candidate in ask_all(&mut search) {
            assert_eq!(restored.ask(), Some(candidate));
        }
        for candidate in search.pending() {
            let outcome = Outcome::Scored(value(&candidate.x));
            search.tell(candidate.id, outcome.clone()).unwrap();
            restored.tell(candidate.id, outcome).unwrap();
        }
    }
    assert_eq!(restored.state(), search.state());
}

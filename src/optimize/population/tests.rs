//! The searches as their caller sees them.

use serde_json::Value;

use super::*;
use crate::optimize::testing::{ask_all, run};
use crate::optimize::{Candidate, Optimizer, Outcome, restore};

fn variables() -> Vec<Variable> {
    vec![
        Variable::new(Range::Linear { low: -2.0, high: 2.0 }, 0.0),
        Variable::new(Range::Logarithmic { low: 1e-4, high: 1.0 }, 0.1),
        Variable::new(Range::Whole { low: 0, high: 9 }, 0.0),
        Variable::new(Range::Categories(3), 0.0),
        Variable::new(Range::Values(vec![7.0]), 7.0),
    ]
}

fn value(x: &[f64]) -> f64 {
    (x[0] - 0.7).abs()
        + (x[1] / 0.01).ln().abs() / 5.0
        + (x[2] - 6.0).abs() / 9.0
        + f64::from(x[3] != 1.0)
}

fn searches() -> Vec<Box<dyn Optimizer>> {
    let options = PopulationOptions::new(variables());
    vec![
        Box::new(GeneticAlgorithm::new(&options).unwrap()),
        Box::new(DifferentialEvolution::new(&options).unwrap()),
        Box::new(ParticleSwarm::new(&options).unwrap()),
    ]
}

fn scored(candidate: &Candidate) -> Outcome {
    assert_eq!(candidate.x[4], 7.0);
    assert!((1e-4..=1.0).contains(&candidate.x[1]));
    match candidate.id % 17 {
        3 => Outcome::Infeasible,
        5 => Outcome::Lost,
        _ => Outcome::Scored(value(&candidate.x)),
    }
}

#[test]
fn find_optima_in_spite_of_failures() {
    for mut search in searches() {
        run(&mut *search, 100, scored);
        let status = search.status();
        let (x, best) = status.best.unwrap();
        assert!(best < 0.05, "{x:?}: {best}");
        assert_eq!(x[2..4], [6.0, 1.0]);
        assert!(status.sigma < 0.2 && search.stop().is_empty());
    }
}

#[test]
fn given_points_come_first() {
    let mut options = PopulationOptions::new(variables());
    let point = vec![0.5, 0.02, 6.0, 1.0, 7.0];
    options.search.points = vec![point.clone()];
    for mut search in [
        Box::new(GeneticAlgorithm::new(&options).unwrap()) as Box<dyn Optimizer>,
        Box::new(DifferentialEvolution::new(&options).unwrap()),
        Box::new(ParticleSwarm::new(&options).unwrap()),
    ] {
        let first = search.ask().unwrap().x;
        assert!(first.iter().zip(&point).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_ne!(search.ask().unwrap().x, point);
    }
}

#[test]
fn continue_from_their_states() {
    for mut search in searches() {
        run(&mut *search, 3, scored);
        let text = serde_json::to_string(&search.state()).unwrap();
        let mut restored = restore(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
        for _ in 0..20 {
            for candidate in ask_all(&mut *search) {
                assert_eq!(restored.ask(), Some(candidate.clone()));
                search.tell(candidate.id, scored(&candidate)).unwrap();
                restored.tell(candidate.id, scored(&candidate)).unwrap();
            }
        }
        assert_eq!(restored.state(), search.state());
    }
}

#[test]
fn two_objectives_leave_a_front() {
    let x = Variable::new(Range::Linear { low: -5.0, high: 15.0 }, 0.0);
    let mut options = PopulationOptions { objectives: 2, ..PopulationOptions::new(vec![x; 3]) };
    options.search.population_size = Some(50);
    let mut search = GeneticAlgorithm::new(&options).unwrap();
    run(&mut search, 40, |candidate| {
        let objective = |target: f64| {
            candidate.x.iter().map(|x| (x / 10.0 - target).powi(2)).sum::<f64>() / 3.0
        };
        Outcome::Multi(vec![objective(0.0), objective(1.0)])
    });
    let front = search.status().front;
    assert!(front.len() > 30);
    // The whole front, where all coordinates are equal, encloses 3 5/6 with this corner.
    let area = hypervolume(front.iter().map(|point| &point.values[..]), [2.0, 2.0]);
    assert!((3.75..3.8334).contains(&area), "{area}");
}

#[test]
fn mistakes_are_named() {
    let unbounded = PopulationOptions::new(vec![Variable::new(Range::Unbounded, 0.0)]);
    assert_eq!(
        ParticleSwarm::new(&unbounded).unwrap_err().to_string(),
        "the particle swarm needs a range for every variable, but variable 0 has none"
    );
    let two = PopulationOptions { objectives: 2, ..PopulationOptions::new(variables()) };
    assert_eq!(
        DifferentialEvolution::new(&two).unwrap_err().to_string(),
        "differential evolution is for 1 objective, not for 2"
    );
    let mut options = PopulationOptions::new(variables());
    options.search.points = vec![vec![0.5, 0.02, 6.5, 1.0, 7.0]];
    assert_eq!(
        GeneticAlgorithm::new(&options).unwrap_err().to_string(),
        "point 0 has `6.5` for variable 2, which is outside of its range"
    );
}

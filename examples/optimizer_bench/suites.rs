//! What is run, and what is noted of it.

use std::collections::BTreeMap;

use mergekit::optimize::{Outcome, Range, Variable, hypervolume};
use rayon::prelude::*;

use crate::contest::{Setting, run};
use crate::figures::{Figure, Problem};
use crate::problems::{
    Accuracy, Bounded, CATEGORIES, CONTINUOUS, Measure, Mixed, SplitMix64, TWO_OBJECTIVES,
    rastrigin, rotation, sphere, times,
};

/// Seeds of the runs.
fn seeds(count: u64) -> impl IndexedParallelIterator<Item = u64> {
    (0..count as usize).into_par_iter().map(|seed| seed as u64 + 1)
}

fn unbounded(d: usize, start: f64) -> Vec<Variable> {
    vec![Variable::new(Range::Unbounded, start); d]
}

fn unit_box(d: usize) -> Vec<Variable> {
    vec![Variable::new(Range::Linear { low: 0.0, high: 1.0 }, 0.5); d]
}

/// Evaluations until the first value at or below a target.
fn evaluations_to(
    name: &str,
    setting: &Setting,
    may_stop: bool,
    target: f64,
    value: impl Fn(&[f64]) -> f64,
) -> Option<f64> {
    let mut search = setting.build(name).expect("the setting is sound");
    run(&mut *search, setting.budget, may_stop, |evaluation| {
        let value = value(evaluation.x);
        if value <= target { Err(evaluation.number as f64) } else { Ok(Outcome::Scored(value)) }
    })
}

/// Smooth functions, most of them with one optimum.
pub(crate) fn continuous(n_seeds: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for function in &CONTINUOUS {
        for rotated in [false, true] {
            if rotated && function.name == "sphere" {
                continue;
            }
            for d in [5, 10, 20, 40] {
                let budget = if d == 40 && function.is_unimodal { 200_000 } else { 100_000 };
                let prefix = if rotated { "rot_" } else { "" };
                let problem = Problem {
                    suite: "continuous",
                    function: format!("{prefix}{}", function.name),
                    d,
                };
                let matrix = rotated.then(|| rotation(d, 1000 + d as u64));
                let value = |x: &[f64]| match &matrix {
                    Some(matrix) => (function.value)(&times(matrix, x)),
                    None => (function.value)(x),
                };
                for name in ["CMA-ES", "sep-CMA-ES", "LRA-CMA-ES", "BIPOP"] {
                    let is_long = matches!(name, "LRA-CMA-ES" | "BIPOP");
                    let count = match (is_long, function.is_unimodal, d, name) {
                        (true, false, 10.., _) if rotated => continue,
                        (true, false, 40, _) => 10,
                        (_, true, 40, "LRA-CMA-ES") if function.name != "sphere" => 5,
                        _ => 25,
                    };
                    let runs: Vec<Option<f64>> = seeds(count.min(n_seeds))
                        .map(|seed| {
                            let variables = unbounded(d, function.start);
                            let setting = Setting::new(variables, function.sigma0, seed, budget);
                            evaluations_to(name, &setting, true, function.target, value)
                        })
                        .collect();
                    figures.push(problem.figure(name, "evaluations_to_target", "", &runs));
                }
            }
        }
    }
    figures
}

/// Optima on the bounds.
pub(crate) fn bounds(n_seeds: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (kind, rotated) in [("sep", false), ("rot", true)] {
        for d in [10, 20] {
            let function = format!("bound_ellipsoid_{kind}");
            let problem = Problem { suite: "bounds", function, d };
            let bounded = Bounded::new(d, rotated);
            for name in ["CMA-ES", "CatCMA"] {
                let runs: Vec<Option<f64>> = seeds(n_seeds)
                    .map(|seed| {
                        let setting = Setting::new(unit_box(d), 0.2, seed, 20_000);
                        evaluations_to(name, &setting, true, 1e-6, |x| bounded.value(x))
                    })
                    .collect();
                figures.push(problem.figure(name, "evaluations_to_target", "", &runs));
            }
        }
    }
    figures
}

/// Candidates that cannot be scored.
pub(crate) fn failures(n_seeds: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for case in ["random30", "halfspace", "corner"] {
        let problem = Problem { suite: "failures", function: format!("sphere_{case}"), d: 10 };
        let runs: Vec<Option<f64>> = seeds(n_seeds)
            .map(|seed| {
                let mut random = SplitMix64::new(5_000_000 + seed);
                let setting = Setting::new(unbounded(10, 3.0), 2.0, seed, 20_000);
                let mut search = setting.build("CMA-ES").expect("the setting is sound");
                run(&mut *search, setting.budget, false, |evaluation| {
                    let fails = match case {
                        "random30" => random.uniform() < 0.3,
                        "halfspace" => evaluation.x[0] < 0.0,
                        _ => evaluation.x[..5].iter().any(|&x| x < 0.0),
                    };
                    let value = sphere(evaluation.x);
                    match (fails, value <= 1e-6) {
                        (true, _) => Ok(Outcome::Infeasible),
                        (false, true) => Err(evaluation.number as f64),
                        (false, false) => Ok(Outcome::Scored(value)),
                    }
                })
            })
            .collect();
        figures.push(problem.figure("CMA-ES", "evaluations_to_target", "", &runs));
    }
    figures
}

/// Values noted at some numbers of evaluations, by metric and number.
type Notes = BTreeMap<(&'static str, u64), f64>;

/// One figure for each metric and number.
fn figures_of(problem: &Problem, name: &str, runs: &[Notes]) -> Vec<Figure> {
    let keys: Vec<(&'static str, u64)> =
        runs.first().into_iter().flat_map(|notes| notes.keys().copied()).collect();
    keys.into_iter()
        .map(|key| {
            let values: Vec<Option<f64>> =
                runs.iter().map(|notes| notes.get(&key).copied()).collect();
            problem.figure(name, key.0, &key.1.to_string(), &values)
        })
        .collect()
}

/// A function without noise.
type Function = fn(&[f64]) -> f64;

/// Additive noise.
pub(crate) fn noisy(n_seeds: u64) -> Vec<Figure> {
    const CHECKS: [u64; 3] = [1000, 5000, 20_000];
    let cases: [(&str, Function, usize); 4] = [
        ("noisy_sphere", sphere, 10),
        ("noisy_sphere", sphere, 20),
        ("noisy_rastrigin", rastrigin, 5),
        ("noisy_rastrigin", rastrigin, 10),
    ];
    let mut figures = Vec::new();
    for (function, value, d) in cases {
        let problem = Problem { suite: "noisy", function: function.to_owned(), d };
        for name in
            ["CMA-ES", "CMA-ES 2λ", "CMA-ES 4λ", "sep-CMA-ES", "LRA-CMA-ES", "LRA-CMA-ES 4λ"]
        {
            let runs: Vec<Notes> = seeds(n_seeds)
                .map(|seed| {
                    let setting = Setting::new(unbounded(d, 3.0), 2.0, seed, u64::MAX);
                    let mut search = setting.build(name).expect("the setting is sound");
                    let mut random = SplitMix64::new(1_000_000 + seed);
                    let mut notes = Notes::new();
                    let mut checks = CHECKS.into_iter().peekable();
                    run(&mut *search, u64::MAX, false, |evaluation| {
                        while checks.peek().is_some_and(|&check| evaluation.learnt_from >= check) {
                            let value = value(evaluation.mean);
                            notes
                                .extend(checks.next().map(|check| (("f_true_mean", check), value)));
                        }
                        if checks.peek().is_none() {
                            return Err(());
                        }
                        Ok(Outcome::Scored(value(evaluation.x) + random.normal()))
                    });
                    notes
                })
                .collect();
            figures.extend(figures_of(&problem, name, &runs));
        }
    }
    figures
}

/// Accuracies of few items.
fn accuracy(
    problem: &Problem,
    measure: Measure,
    edge: bool,
    sigma0: f64,
    names: &[&str],
    n_seeds: u64,
) -> Vec<Figure> {
    const CHECKS: [u64; 3] = [100, 200, 500];
    let d = problem.d;
    let mut figures = Vec::new();
    for name in names {
        let runs: Vec<Notes> = seeds(n_seeds)
            .map(|seed| {
                let setting = Setting::new(unit_box(d), sigma0, seed, 500);
                let mut search = setting.build(name).expect("the setting is sound");
                let mut accuracy = Accuracy::new(d, seed, edge);
                let (mut best, mut best_truth) = (f64::NEG_INFINITY, 0.0);
                let mut notes = Notes::new();
                run(&mut *search, 500, false, |evaluation| {
                    let measured = accuracy.measured(evaluation.x, measure);
                    if measured > best {
                        (best, best_truth) = (measured, accuracy.truth(evaluation.x));
                    }
                    if CHECKS.contains(&evaluation.number) {
                        notes.insert(("best_measured", evaluation.number), best_truth);
                        let mean = accuracy.truth(evaluation.mean);
                        notes.insert(("mean", evaluation.number), mean);
                    }
                    Ok::<_, ()>(Outcome::Scored(1.0 - measured))
                });
                notes
            })
            .collect();
        figures.extend(figures_of(problem, name, &runs));
    }
    figures
}

/// Accuracies of few items, with the optimum inside of the box.
pub(crate) fn plateau(n_seeds: u64) -> Vec<Figure> {
    let names =
        ["CMA-ES", "CMA-ES 2λ", "sep-CMA-ES", "LRA-CMA-ES", "GA", "DE", "PSO", "random", "Sobol"];
    let mut figures = Vec::new();
    for (kind, measure) in
        [("rounded", Measure::Rounded), ("items", Measure::Items), ("binomial", Measure::Binomial)]
    {
        for d in [10, 20] {
            let problem = Problem { suite: "plateau", function: format!("acc_{kind}"), d };
            figures.extend(accuracy(&problem, measure, false, 0.2, &names, n_seeds));
        }
    }
    figures
}

/// The same, with the optimum inside of the box and on its edge.
pub(crate) fn plateau_edge(n_seeds: u64) -> Vec<Figure> {
    let names = ["CMA-ES", "CMA-ES 2λ", "sep-CMA-ES"];
    let mut figures = Vec::new();
    for (place, edge) in [("interior", false), ("edge", true)] {
        for (kind, measure) in [("rounded", Measure::Rounded), ("binomial", Measure::Binomial)] {
            for d in [10, 20] {
                let function = format!("acc_{place}_{kind}");
                let problem = Problem { suite: "plateau-edge", function, d };
                figures.extend(accuracy(&problem, measure, edge, 0.2, &names, n_seeds));
            }
        }
    }
    figures
}

/// Continuous numbers, whole numbers and categories together.
pub(crate) fn mixed(n_seeds: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (size, budget) in [(5, 20_000), (10, 40_000)] {
        for mixed in Mixed::all(size) {
            let d = mixed.dimension();
            let problem = Problem { suite: "mixed", function: mixed.name.to_owned(), d };
            let mut variables = vec![
                Variable::new(Range::Linear { low: -10.0, high: 10.0 }, 0.0);
                mixed.continuous
            ];
            variables
                .extend(vec![Variable::new(Range::Whole { low: -10, high: 10 }, 0.0); mixed.whole]);
            variables
                .extend(vec![Variable::new(Range::Categories(CATEGORIES), 0.0); mixed.categories]);
            let runs: Vec<Option<f64>> = seeds(n_seeds)
                .map(|seed| {
                    // The reference's start: a sixth of the way from the middle to the bounds.
                    let setting = Setting::new(variables.clone(), 1.0 / 12.0, seed, budget);
                    evaluations_to("CatCMA", &setting, false, 1e-8, |x| mixed.value(x))
                })
                .collect();
            figures.push(problem.figure("CatCMA", "evaluations_to_target", "", &runs));
        }
    }
    figures
}

/// Two objectives.
pub(crate) fn multiobjective(n_seeds: u64) -> Vec<Figure> {
    const CHECKS: [u64; 4] = [1000, 2000, 4000, 7000];
    let mut figures = Vec::new();
    for objectives in TWO_OBJECTIVES {
        let d = objectives.dimension();
        let function = objectives.name.to_owned();
        let problem = Problem { suite: "multiobjective", function, d };
        let n = objectives.size;
        let mut variables = vec![Variable::new(Range::Linear { low: -5.0, high: 15.0 }, 5.0); n];
        if objectives.mixed {
            variables.extend(vec![Variable::new(Range::Whole { low: -5, high: 15 }, 5.0); n]);
            variables.extend(vec![Variable::new(Range::Categories(CATEGORIES), 0.0); n]);
        }
        let corner = [objectives.reference; 2];
        for name in ["COMO-CatCMA", "NSGA-II"] {
            let runs: Vec<Notes> = seeds(n_seeds)
                .map(|seed| {
                    let mut setting = Setting::new(variables.clone(), 0.1, seed, 7000);
                    setting.reference = Some(corner);
                    let mut search = setting.build(name).expect("the setting is sound");
                    let mut all: Vec<[f64; 2]> = Vec::new();
                    let mut notes = Notes::new();
                    run(&mut *search, 7000, false, |evaluation| {
                        let values = objectives.values(evaluation.x);
                        all.push(values);
                        if CHECKS.contains(&evaluation.number) {
                            let area = hypervolume(all.iter().map(|v| &v[..]), corner);
                            notes.insert(("hypervolume_archive", evaluation.number), area);
                        }
                        Ok::<_, ()>(Outcome::Multi(values.to_vec()))
                    });
                    notes
                })
                .collect();
            figures.extend(figures_of(&problem, name, &runs));
        }
    }
    figures
}

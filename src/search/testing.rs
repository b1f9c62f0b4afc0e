//! Fakes and samples for the tests of this room: a search without a model.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;

use super::objective::Objective;
use super::record::{
    Evaluation, FORMAT, Header, ItemValues, Scores, SplitIdentity, Status, TaskIdentity,
    TaskResult, Term,
};
use super::scorer::{CandidateScorer, ItemSets, Measurement, Proposal, ScoreFailure};
use crate::evaluate::MetricValues;
use crate::optimize::{
    Candidate, Optimizer, Outcome, Reason, Status as OptimizerStatus, TellError,
};

pub(super) fn objective() -> Objective {
    let term = |task: &str| Term {
        task: task.to_owned(),
        metric: "acc,none".to_owned(),
        weight: 1.0,
        higher_is_better: true,
    };
    Objective::new(vec![term("one"), term("two")]).unwrap()
}

/// Scores whose metric is the mean of its items.
pub(super) fn scores(tasks: &[(&str, Vec<f64>)]) -> Scores {
    let tasks = tasks.iter().map(|(task, items)| {
        let mean = items.iter().sum::<f64>() / items.len() as f64;
        let metrics = IndexMap::from([("acc,none".to_owned(), mean)]);
        let items = IndexMap::from([(
            "acc,none".to_owned(),
            ItemValues(MetricValues::single(items.clone())),
        )]);
        ((*task).to_owned(), TaskResult { metrics, items })
    });
    objective().scores(tasks.collect()).unwrap()
}

pub(super) fn header() -> Header {
    let identity = TaskIdentity { search: 4, validation: 4, digest: "00".to_owned() };
    Header {
        format: FORMAT,
        program: "mergekit 0.0.0".to_owned(),
        search_file: "aa".to_owned(),
        seed: 7,
        evaluations: 24,
        variables: vec!["x".to_owned(), "y".to_owned()],
        objective: objective().terms().to_vec(),
        split: SplitIdentity {
            seed: 1,
            fraction: 0.5,
            tasks: IndexMap::from([
                ("one".to_owned(), identity.clone()),
                ("two".to_owned(), identity),
            ]),
        },
        models: IndexMap::from([("base".to_owned(), "bb".to_owned())]),
    }
}

pub(super) fn evaluation(index: u64) -> Evaluation {
    Evaluation {
        index,
        generation: 0,
        genotype: vec![0.1 + index as f64, 1.0 / 3.0],
        values: vec![0.1 + index as f64, 1.0 / 3.0],
        config: "cc".to_owned(),
        status: Status::Ok,
        scores: Some(scores(&[("one", vec![1.0, 0.0]), ("two", vec![0.25, 1.0])])),
        error: None,
        same_as: None,
        merge_seconds: 0.5,
        evaluation_seconds: 1.5,
        elapsed_seconds: 2.0 * (index + 1) as f64,
    }
}

/// Walks towards the best of each generation; as simple as an optimizer can be that depends on all
/// outcomes and their meaning.
pub(super) struct Walk {
    seed: u64,
    population_size: usize,
    mean: [f64; 2],
    generation: u64,
    asked: u64,
    out: Vec<(Candidate, Option<Outcome>)>,
    best: Option<(Vec<f64>, f64)>,
    pub(super) stop_after: Option<u64>,
}

impl Walk {
    pub(super) fn new(seed: u64, population_size: usize) -> Self {
        let (mean, out) = ([0.5; 2], Vec::new());
        Self {
            seed,
            population_size,
            mean,
            generation: 0,
            asked: 0,
            out,
            best: None,
            stop_after: None,
        }
    }
}

impl Optimizer for Walk {
    fn ask(&mut self) -> Option<Candidate> {
        if self.out.len() == self.population_size {
            return None;
        }
        let id = self.asked;
        let step = |axis: u64| {
            let word = (id * 2 + axis + self.seed * 1000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (word >> 40) as f64 / (1u64 << 24) as f64 - 0.5
        };
        let x = vec![self.mean[0] + 0.4 * step(0), self.mean[1] + 0.4 * step(1)];
        let candidate = Candidate { id, raw: x.clone(), x, born: self.generation };
        self.asked += 1;
        self.out.push((candidate.clone(), None));
        Some(candidate)
    }

    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError> {
        let Some((candidate, told)) =
            self.out.iter_mut().find(|(candidate, told)| candidate.id == id && told.is_none())
        else {
            return Err(TellError::UnknownId(id));
        };
        if let Outcome::Scored(value) = outcome
            && self.best.as_ref().is_none_or(|(_, best)| value < *best)
        {
            self.best = Some((candidate.x.clone(), value));
        }
        *told = Some(outcome);
        let complete = self.out.len() == self.population_size;
        if complete && self.out.iter().all(|(_, told)| told.is_some()) {
            let value = |outcome: &Option<Outcome>| match outcome {
                Some(Outcome::Scored(value)) => *value,
                _ => f64::INFINITY,
            };
            self.out.sort_by(|(_, a), (_, b)| value(a).total_cmp(&value(b)));
            let best = &self.out[0].0.x;
            self.mean = [best[0], best[1]];
            self.out.clear();
            self.generation += 1;
        }
        Ok(())
    }

    fn pending(&self) -> Vec<Candidate> {
        let waiting = self.out.iter().filter(|(_, told)| told.is_none());
        waiting.map(|(candidate, _)| candidate.clone()).collect()
    }

    fn status(&self) -> OptimizerStatus {
        OptimizerStatus {
            generation: self.generation,
            evaluations: self.asked,
            population_size: self.population_size,
            sigma: 0.4,
            mean: self.mean.to_vec(),
            deviations: vec![0.4; 2],
            condition: 1.0,
            covariance_resets: 0,
            best: self.best.clone(),
            front: Vec::new(),
        }
    }

    fn stop(&self) -> Vec<Reason> {
        let over = self.stop_after.is_some_and(|generations| self.generation >= generations);
        if over { vec![Reason::Stagnation] } else { Vec::new() }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// A scorer that is a formula: accuracies on 8 items of two tasks that want different points.
#[derive(Default)]
pub(super) struct Formula {
    /// Number of calls of `score`.
    pub(super) calls: AtomicUsize,
    /// Genotypes are rounded to multiples of this before they become a config.
    pub(super) grain: Option<f64>,
    /// Points whose first coordinate is above are infeasible.
    pub(super) fails_above: Option<f64>,
    /// The machine fails on these calls.
    pub(super) lost: Range<usize>,
    /// Called with the number of calls so far, before each score.
    pub(super) before: Option<Box<dyn Fn(usize) + Sync>>,
}

impl CandidateScorer for Formula {
    fn propose(&self, genotype: &[f64]) -> Proposal {
        let round = |x: f64| self.grain.map_or(x, |grain| (x / grain).round() * grain);
        let values: Vec<_> = genotype.iter().map(|&x| round(x)).collect();
        let config = serde_json::to_string(&values).unwrap();
        Proposal { values, config: Ok(config) }
    }

    fn score(&self, config: &str, sets: ItemSets) -> Result<Measurement, ScoreFailure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(before) = &self.before {
            before(call);
        }
        if self.lost.contains(&call) {
            return Err(ScoreFailure::Lost("the machine is gone".to_owned()));
        }
        let point: Vec<f64> = serde_json::from_str(config).unwrap();
        assert!(point[0] < 1e6, "a candidate that panics");
        if self.fails_above.is_some_and(|limit| point[0] > limit) {
            return Err(ScoreFailure::Infeasible("a tensor holds NaN".to_owned()));
        }
        let items = |target: f64, shift: f64| -> Vec<f64> {
            let reach = 1.0 - (point[0] - target).hypot(point[1] - target);
            (0..8).map(|item| f64::from(u8::from(f64::from(item) / 8.0 + shift < reach))).collect()
        };
        let set = |shift| scores(&[("one", items(0.2, shift)), ("two", items(0.6, shift))]);
        Ok(Measurement {
            search: sets.search.then(|| set(0.0)),
            validation: sets.validation.then(|| set(0.05)),
            merge_seconds: 0.001,
            evaluation_seconds: 0.002,
        })
    }
}

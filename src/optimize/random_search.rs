//! Draws from the whole box: what a search has to beat.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::domain::Domain;
use super::draws::DrawKey;
use super::record::{Best, STATE_VERSION, expect_algorithm};
use super::sobol::Sobol;
use super::{
    Candidate, Optimizer, OptimizerError, Outcome, Range, Reason, Status, TellError, Variable,
};

/// Name in saved states.
pub(super) const ALGORITHM: &str = "random_search";

/// Options of [`RandomSearch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomSearchOptions {
    /// What is drawn; each needs a range. Starts and spreads do not matter.
    pub variables: Vec<Variable>,
    /// Candidate `k` is drawn with a key made of this seed and `k`.
    pub seed: u64,
    /// How the box is filled.
    pub sequence: Sequence,
}

/// How the box is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sequence {
    /// By independent uniform draws.
    #[default]
    Independent,
    /// By Sobol's sequence with random direction numbers and a random shift: more evenly.
    Sobol,
}

/// Draws candidates uniformly, on a logarithmic scale where the range has one.
///
/// Every candidate is a generation of its own, so `ask` never waits. `status` describes the uniform
/// distribution, and `stop` never has a reason.
#[derive(Debug, Clone)]
pub struct RandomSearch {
    options: RandomSearchOptions,
    domain: Domain,
    sobol: Option<Sobol>,
    progress: Progress,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    next_id: u64,
    told: u64,
    evaluations: u64,
    /// Ids of the candidates that wait for outcomes, ascending.
    pending: Vec<u64>,
    best: Best,
}

/// The form in which a search is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u64,
    algorithm: String,
    options: RandomSearchOptions,
    progress: Progress,
}

impl RandomSearch {
    /// Starts a search. Fails if a variable is not sound or has no range.
    pub fn new(options: &RandomSearchOptions) -> Result<Self, OptimizerError> {
        let domain = Domain::new(&options.variables)?;
        if let Some(variable) = domain.first(|range| *range == Range::Unbounded) {
            return Err(OptimizerError::UnboundedVariable { optimizer: "random search", variable });
        }
        let sobol = (options.sequence == Sequence::Sobol)
            .then(|| Sobol::new(domain.dimension(), options.seed));
        Ok(Self { options: options.clone(), domain, sobol, progress: Progress::default() })
    }

    /// Continues a search from its [`state`](Optimizer::state).
    pub fn restore(state: &Value) -> Result<Self, OptimizerError> {
        expect_algorithm(state, ALGORITHM)?;
        let saved =
            Saved::deserialize(state).map_err(|source| OptimizerError::StateSyntax { source })?;
        let mut search = Self::new(&saved.options)?;
        let Progress { next_id, pending, best, .. } = &saved.progress;
        if !best.has_dimension(search.domain.n_variables()) {
            let fact = "its dimension is not that of its options";
            return Err(OptimizerError::StateContent { fact });
        }
        if !pending.is_sorted_by(|a, b| a < b) || pending.last().is_some_and(|id| id >= next_id) {
            let fact = "its candidates are not in the order asked";
            return Err(OptimizerError::StateContent { fact });
        }
        search.progress = saved.progress;
        Ok(search)
    }

    fn candidate(&self, id: u64) -> Candidate {
        let key =
            DrawKey { seed: self.options.seed, restart: 0, generation: id, index: 0, attempt: 0 };
        let raw = match &self.sobol {
            Some(sobol) => sobol.point(id),
            None => key.uniforms(self.domain.dimension()),
        };
        Candidate { id, x: self.domain.point_at(&raw), raw, born: id }
    }
}

impl Optimizer for RandomSearch {
    fn ask(&mut self) -> Option<Candidate> {
        let id = self.progress.next_id;
        self.progress.next_id += 1;
        self.progress.pending.push(id);
        Some(self.candidate(id))
    }

    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError> {
        let position =
            self.progress.pending.binary_search(&id).map_err(|_| TellError::UnknownId(id))?;
        let outcome = outcome.cleaned(id, 1)?;
        self.progress.pending.remove(position);
        self.progress.told += 1;
        if outcome != Outcome::Lost {
            self.progress.evaluations += 1;
        }
        if let Some(values) = outcome.values() {
            let x = self.candidate(id).x;
            self.progress.best.consider(id, values, || x);
        }
        Ok(())
    }

    fn pending(&self) -> Vec<Candidate> {
        self.progress.pending.iter().map(|&id| self.candidate(id)).collect()
    }

    fn status(&self) -> Status {
        // The standard deviation of a uniform draw from the unit interval.
        let sigma = (1.0_f64 / 12.0).sqrt();
        let n = self.domain.dimension();
        Status {
            generation: self.progress.told,
            evaluations: self.progress.evaluations,
            population_size: 1,
            sigma,
            mean: self.domain.point_at(&vec![0.5; n]),
            deviations: self.domain.per_variable(&vec![sigma; n]),
            condition: 1.0,
            covariance_resets: 0,
            best: self.progress.best.single(),
            front: Vec::new(),
        }
    }

    fn stop(&self) -> Vec<Reason> {
        Vec::new()
    }

    fn state(&self) -> Value {
        let saved = Saved {
            version: STATE_VERSION,
            algorithm: ALGORITHM.to_owned(),
            options: self.options.clone(),
            progress: self.progress.clone(),
        };
        serde_json::to_value(saved).expect("the state is plain data with string keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::{Range, restore};

    fn search() -> RandomSearch {
        let variables = vec![
            Variable::new(Range::Linear { low: -1.0, high: 3.0 }, 0.0),
            Variable::new(Range::Logarithmic { low: 0.01, high: 1.0 }, 0.1),
        ];
        RandomSearch::new(&RandomSearchOptions {
            variables,
            seed: 7,
            sequence: Sequence::Independent,
        })
        .unwrap()
    }

    #[test]
    fn draws_are_uniform_on_the_scale_of_the_range() {
        let mut search = search();
        let points: Vec<_> = (0..4000).map(|_| search.ask().unwrap().x).collect();
        let share = |variable: usize, below: f64| {
            points.iter().filter(|x| x[variable] < below).count() as f64 / 4000.0
        };
        for (variable, below, expected) in
            [(0, -1.0, 0.0), (0, 0.0, 0.25), (0, 1.0, 0.5), (0, 3.0, 1.0), (1, 0.1, 0.5)]
        {
            assert!((share(variable, below) - expected).abs() < 0.03);
        }
    }

    #[test]
    fn continues_from_its_state() {
        let mut search = search();
        for id in 0..10 {
            search.ask();
            if id % 3 != 0 {
                search.tell(id, Outcome::Scored(-(id as f64))).unwrap();
            }
        }
        let mut restored = restore(&search.state()).unwrap();
        assert_eq!(restored.pending(), search.pending());
        assert_eq!(restored.pending().len(), 4);
        assert_eq!(restored.ask(), search.ask());
        restored.tell(6, Outcome::Lost).unwrap();
        search.tell(6, Outcome::Lost).unwrap();
        assert_eq!(restored.state(), search.state());
        assert_eq!(search.status().evaluations, 6);
        assert_eq!(search.status().best.unwrap().1, -8.0);
    }

    #[test]
    fn outcomes_are_taken_once() {
        let mut search = search();
        search.ask();
        assert_eq!(search.tell(1, Outcome::Infeasible), Err(TellError::UnknownId(1)));
        let infinite = Outcome::Scored(f64::NEG_INFINITY);
        assert_eq!(search.tell(0, infinite), Err(TellError::MinusInfinity(0)));
        assert_eq!(search.tell(0, Outcome::Infeasible), Ok(()));
        assert_eq!(search.tell(0, Outcome::Infeasible), Err(TellError::UnknownId(0)));
    }

    #[test]
    fn a_variable_without_a_range_cannot_be_drawn() {
        let variables = vec![Variable::new(Range::Unbounded, 0.0)];
        let error = RandomSearch::new(&RandomSearchOptions {
            variables,
            seed: 0,
            sequence: Sequence::Sobol,
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "random search needs a range for every variable, but variable 0 has none"
        );
    }
}

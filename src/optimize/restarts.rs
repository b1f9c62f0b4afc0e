//! One search after the other: what to do when going on is useless and there is budget left.
//!
//! IPOP (Auger & Hansen 2005): every restart doubles the population. BIPOP (Hansen 2009, BBOB
//! workshop): large populations as in IPOP, and in between small ones with small steps, both with
//! the same number of evaluations in all.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catcma::{CatCma, CatCmaOptions};
use super::cma::{CmaEs, CmaOptions};
use super::domain::Domain;
use super::draws::DrawKey;
use super::record::{Best, STATE_VERSION, expect_algorithm};
use super::{
    Candidate, Optimizer, OptimizerError, Outcome, Range, Reason, SearchOptions, Status, TellError,
    Variable,
};

/// Name in saved states.
pub(super) const ALGORITHM: &str = "restarts";

/// Most doublings of the population.
const MOST_DOUBLINGS: u32 = 9;

/// A restart that could not finish so many generations is not begun.
const FEWEST_GENERATIONS: u64 = 10;

/// What is restarted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restarted {
    /// CMA-ES or one of its relatives.
    Cma(CmaOptions),
    /// CatCMA with margin.
    CatCma(CatCmaOptions),
}

/// How restarts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Each has twice the population of the one before.
    Ipop,
    /// Large populations, and small ones with small steps in between.
    Bipop,
}

/// Options of [`Restarts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartOptions {
    /// The first search. Others start elsewhere, with other populations and step sizes.
    pub first: Restarted,
    /// How they differ.
    pub policy: RestartPolicy,
    /// Evaluations in all, if there is a limit.
    pub budget: Option<u64>,
}

/// A search that begins anew, elsewhere, whenever going on is useless.
///
/// The number of the restart is part of the key of all random numbers, so no two are alike. The best
/// candidate is the best of all.
pub struct Restarts {
    options: RestartOptions,
    domain: Domain,
    search: Box<dyn Optimizer>,
    progress: Progress,
}

/// Which budget a search uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Regime {
    Large,
    Small,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Which search this is, from 0.
    run: u32,
    regime: Regime,
    /// Population of the first search.
    first_population: u64,
    doublings: u32,
    /// Most evaluations of this search, if there is a limit.
    limit: Option<u64>,
    /// Evaluations of finished searches with large and with small populations.
    large_evaluations: u64,
    small_evaluations: u64,
    /// Generations of finished searches.
    generations: u64,
    /// What candidates of this search are numbered from.
    first_id: u64,
    next_id: u64,
    best: Best,
    /// Candidates of finished searches that are still out.
    late: Vec<Candidate>,
}

/// The form in which a search is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u64,
    algorithm: String,
    options: RestartOptions,
    progress: Progress,
    search: Value,
}

impl Restarted {
    fn search(&self) -> &SearchOptions {
        match self {
            Self::Cma(options) => &options.search,
            Self::CatCma(options) => &options.search,
        }
    }

    fn sigma0(&self) -> f64 {
        match self {
            Self::Cma(options) => options.sigma0,
            Self::CatCma(options) => options.sigma0,
        }
    }

    fn begin(&self) -> Result<Box<dyn Optimizer>, OptimizerError> {
        Ok(match self {
            Self::Cma(options) => Box::new(CmaEs::new(options)?),
            Self::CatCma(options) => Box::new(CatCma::new(options)?),
        })
    }

    fn restore(&self, state: &Value) -> Result<Box<dyn Optimizer>, OptimizerError> {
        Ok(match self {
            Self::Cma(_) => Box::new(CmaEs::restore(state)?),
            Self::CatCma(_) => Box::new(CatCma::restore(state)?),
        })
    }

    /// The options of another search from another start.
    fn changed(&self, run: u32, population_size: usize, step_factor: f64) -> Self {
        let mut changed = self.clone();
        let sigma0 = self.sigma0();
        let (search, step) = match &mut changed {
            Self::Cma(options) => {
                options.earlier.clear();
                (&mut options.search, &mut options.sigma0)
            }
            Self::CatCma(options) => (&mut options.search, &mut options.sigma0),
        };
        *step = sigma0 * step_factor;
        search.restart = run;
        search.population_size = Some(population_size);
        search.points.clear();
        let uniforms = decisions(search.seed, run).uniforms(2 + search.variables.len());
        for (variable, &u) in search.variables.iter_mut().zip(&uniforms[2..]) {
            variable.start = start_elsewhere(variable, u, sigma0);
        }
        changed
    }
}

/// The key of what is decided about a restart.
fn decisions(seed: u64, restart: u32) -> DrawKey {
    DrawKey { seed, restart, generation: u64::MAX, index: 0, attempt: 0 }
}

/// Anywhere in the range; without one, within the first step size of the start.
fn start_elsewhere(variable: &Variable, u: f64, sigma0: f64) -> f64 {
    match variable.range {
        Range::Unbounded => variable.start + sigma0 * variable.spread * (2.0 * u - 1.0),
        _ if variable.is_fixed() => variable.start,
        _ => variable.at_share(u),
    }
}

impl Restarts {
    /// Starts the first search. Fails if an option is out of its range.
    pub fn new(options: &RestartOptions) -> Result<Self, OptimizerError> {
        let search = options.first.begin()?;
        let progress = Progress {
            run: 0,
            regime: match options.policy {
                RestartPolicy::Ipop => Regime::Large,
                RestartPolicy::Bipop => Regime::Small,
            },
            first_population: search.status().population_size as u64,
            doublings: 0,
            limit: None,
            large_evaluations: 0,
            small_evaluations: 0,
            generations: 0,
            first_id: 0,
            next_id: 0,
            best: Best::default(),
            late: Vec::new(),
        };
        let domain = Domain::new(&options.first.search().variables)?;
        Ok(Self { options: options.clone(), domain, search, progress })
    }

    /// Continues a search from its [`state`](Optimizer::state).
    pub fn restore(state: &Value) -> Result<Self, OptimizerError> {
        expect_algorithm(state, ALGORITHM)?;
        let saved =
            Saved::deserialize(state).map_err(|source| OptimizerError::StateSyntax { source })?;
        let mut search = Self::new(&saved.options)?;
        search.search = saved.options.first.restore(&saved.search)?;
        let Progress { best, late, first_id, next_id, .. } = &saved.progress;
        let fact = if !best.has_dimension(search.domain.n_variables()) {
            Some("its dimension is not that of its options")
        } else if first_id > next_id || late.iter().any(|candidate| candidate.id >= *first_id) {
            Some("its candidates are not in the order asked")
        } else {
            None
        };
        if let Some(fact) = fact {
            return Err(OptimizerError::StateContent { fact });
        }
        search.progress = saved.progress;
        Ok(search)
    }

    fn numbered(&self, mut candidate: Candidate) -> Candidate {
        candidate.id += self.progress.first_id;
        candidate
    }

    /// Begins another search if this one is at its end and there is something left to try.
    fn restart_if_over(&mut self) {
        let reasons = self.search.stop();
        let evaluations = self.search.status().evaluations;
        let is_at_limit = self.progress.limit.is_some_and(|limit| evaluations >= limit);
        if (reasons.is_empty() && !is_at_limit) || reasons.contains(&Reason::TooManyLost) {
            return;
        }
        let Some((next, regime, limit)) = self.next(evaluations) else { return };
        // The options differ from checked ones in what is in range by construction.
        let Ok(search) = next.begin() else { return };

        let late: Vec<Candidate> =
            self.search.pending().into_iter().map(|candidate| self.numbered(candidate)).collect();
        let generation = self.search.status().generation;
        let progress = &mut self.progress;
        progress.late.extend(late);
        match progress.regime {
            Regime::Large => progress.large_evaluations += evaluations,
            Regime::Small => progress.small_evaluations += evaluations,
        }
        progress.run += 1;
        progress.generations += generation;
        progress.first_id = progress.next_id;
        progress.regime = regime;
        progress.limit = limit;
        if regime == Regime::Large {
            progress.doublings += 1;
        }
        self.search = search;
    }

    /// The next search, what it counts as, and its limit; `None` if all has been tried.
    fn next(&self, evaluations: u64) -> Option<(Restarted, Regime, Option<u64>)> {
        let Progress { run, regime, first_population, doublings, .. } = self.progress;
        let mut used = (self.progress.large_evaluations, self.progress.small_evaluations);
        match regime {
            Regime::Large => used.0 += evaluations,
            Regime::Small => used.1 += evaluations,
        }
        let (large, small) = used;
        let first = &self.options.first;
        let (population, factor, regime, limit) =
            if self.options.policy == RestartPolicy::Bipop && small < large {
                let draws = decisions(first.search().seed, run + 1).uniforms(2);
                let ratio = (1_u64 << doublings) as f64;
                let population = first_population as f64 * libm::pow(ratio, draws[0] * draws[0]);
                let factor = libm::pow(10.0, -2.0 * draws[1]);
                ((population as u64).max(4), factor, Regime::Small, Some((large / 2).max(1)))
            } else if doublings < MOST_DOUBLINGS {
                (first_population << (doublings + 1), 1.0, Regime::Large, None)
            } else {
                return None;
            };
        let left = self.options.budget.map(|budget| budget.saturating_sub(large + small));
        if left.is_some_and(|left| left < FEWEST_GENERATIONS * population) {
            return None;
        }
        let population = usize::try_from(population).ok()?;
        Some((first.changed(run + 1, population, factor), regime, limit))
    }
}

impl Optimizer for Restarts {
    fn ask(&mut self) -> Option<Candidate> {
        let candidate = self.search.ask()?;
        let candidate = self.numbered(candidate);
        self.progress.next_id = candidate.id + 1;
        Some(candidate)
    }

    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError> {
        let position = self.progress.late.iter().position(|candidate| candidate.id == id);
        let outcome = outcome.cleaned(id, 1)?;
        let values = outcome.values().map(<[f64]>::to_vec);
        let x = match position {
            Some(position) => self.progress.late.remove(position).x,
            None => {
                let inner =
                    id.checked_sub(self.progress.first_id).ok_or(TellError::UnknownId(id))?;
                let waiting = self.search.pending();
                let candidate = waiting.into_iter().find(|candidate| candidate.id == inner);
                let candidate = candidate.ok_or(TellError::UnknownId(id))?;
                self.search.tell(inner, outcome)?;
                candidate.x
            }
        };
        if let Some(values) = values {
            self.progress.best.consider(id, &values, || x);
        }
        if position.is_none() {
            self.restart_if_over();
        }
        Ok(())
    }

    fn pending(&self) -> Vec<Candidate> {
        let own = self.search.pending().into_iter().map(|candidate| self.numbered(candidate));
        self.progress.late.iter().cloned().chain(own).collect()
    }

    fn status(&self) -> Status {
        let mut status = self.search.status();
        status.generation += self.progress.generations;
        status.evaluations += self.progress.large_evaluations + self.progress.small_evaluations;
        status.best = self.progress.best.single();
        status
    }

    fn stop(&self) -> Vec<Reason> {
        self.search.stop()
    }

    fn state(&self) -> Value {
        let saved = Saved {
            version: STATE_VERSION,
            algorithm: ALGORITHM.to_owned(),
            options: self.options.clone(),
            progress: self.progress.clone(),
            search: self.search.state(),
        };
        serde_json::to_value(saved).expect("the state is plain data with string keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::restore;

    const BUDGET: u64 = 40_000;

    fn rastrigin(x: &[f64]) -> f64 {
        x.iter().map(|x| 10.0 + x * x - 10.0 * (std::f64::consts::TAU * x).cos()).sum()
    }

    fn options(policy: RestartPolicy, seed: u64) -> RestartOptions {
        let variables = vec![Variable::new(Range::Unbounded, 3.0); 3];
        let mut first = CmaOptions { sigma0: 2.0, ..CmaOptions::new(variables) };
        first.search.seed = seed;
        RestartOptions { first: Restarted::Cma(first), policy, budget: Some(BUDGET) }
    }

    /// Evaluations until the target.
    fn solve(search: &mut Restarts) -> Option<u64> {
        while search.status().evaluations < BUDGET {
            let candidate = search.ask()?;
            search.tell(candidate.id, Outcome::Scored(rastrigin(&candidate.x))).unwrap();
            if search.status().best.unwrap().1 < 1e-8 {
                return Some(search.status().evaluations);
            }
        }
        None
    }

    #[test]
    fn solve_what_one_search_does_not() {
        for policy in [RestartPolicy::Ipop, RestartPolicy::Bipop] {
            let mut restarts = 0;
            for seed in 0..5 {
                let mut search = Restarts::new(&options(policy, seed)).unwrap();
                assert!(solve(&mut search).is_some(), "{policy:?}, seed {seed}");
                restarts += search.progress.run;
            }
            assert!(restarts > 0, "{policy:?}");
        }
    }

    #[test]
    fn both_regimes_get_the_same_budget() {
        let mut search = Restarts::new(&options(RestartPolicy::Bipop, 1)).unwrap();
        while search.status().evaluations < 15_000 {
            let candidate = search.ask().unwrap();
            search.tell(candidate.id, Outcome::Scored(rastrigin(&candidate.x))).unwrap();
        }
        let Progress { large_evaluations, small_evaluations, doublings, .. } = search.progress;
        assert!(doublings > 1 && small_evaluations > 0);
        assert!(small_evaluations <= 2 * large_evaluations);
    }

    #[test]
    fn nothing_is_begun_that_could_not_be_finished() {
        let mut options = options(RestartPolicy::Ipop, 0);
        options.budget = Some(1);
        let mut search = Restarts::new(&options).unwrap();
        for _ in 0..2000 {
            let candidate = search.ask().unwrap();
            search.tell(candidate.id, Outcome::Scored(rastrigin(&candidate.x))).unwrap();
        }
        assert_eq!(search.progress.run, 0);
        assert!(!search.stop().is_empty());
    }

    #[test]
    fn continue_from_their_state() {
        let mut search = Restarts::new(&options(RestartPolicy::Bipop, 2)).unwrap();
        let step = |search: &mut Restarts, restored: Option<&mut Box<dyn Optimizer>>| {
            let candidate = search.ask().unwrap();
            let value = rastrigin(&candidate.x);
            search.tell(candidate.id, Outcome::Scored(value)).unwrap();
            if let Some(restored) = restored {
                assert_eq!(restored.ask(), Some(candidate.clone()));
                restored.tell(candidate.id, Outcome::Scored(value)).unwrap();
            }
        };
        while search.progress.run < 2 {
            step(&mut search, None);
        }
        let mut restored = restore(&search.state()).unwrap();
        for _ in 0..3000 {
            step(&mut search, Some(&mut restored));
        }
        assert_eq!(restored.state(), search.state());
    }
}

//! CMA-ES: covariance matrix adaptation evolution strategy (Hansen 2016,
//! <https://arxiv.org/abs/1604.00772>), weighted and active.
//!
//! What is not in the paper: candidates are drawn on the unbounded line and folded into the box
//! (`bounds`), equal values share their weights (`ranking`), candidates may fail or get lost, and
//! every random number is a function of what it is for (`draws`). Memory 3 n², time per generation
//! about 9 n³ + λ n² for n variables.

mod distribution;
#[cfg(test)]
mod golden;
mod options;
mod parameters;
#[cfg(test)]
mod properties;
mod ranking;
mod termination;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::distribution::Distribution;
use self::parameters::Parameters;
use self::ranking::Ranking;
use self::termination::{History, Limits};
use super::draws::DrawKey;
use super::record::{Best, STATE_VERSION, expect_algorithm};
use super::variable::Domain;
use super::{Candidate, Optimizer, OptimizerError, Outcome, Reason, Status, TellError};

pub use options::{CmaOptions, Constants, Tolerances};

/// Name in saved states.
pub(super) const ALGORITHM: &str = "cma_es";

/// Rounds of replacements for lost candidates before the machine is held responsible.
const MAX_REPLACEMENT_ROUNDS: u32 = 3;

/// Generations in a row without a feasible candidate before the search is held to be hopeless.
const MAX_INFEASIBLE_GENERATIONS: u64 = 5;

/// The search: see [`Optimizer`] for how to drive it, [`CmaOptions`] for what can be decided.
///
/// Lost candidates: a generation that keeps at least half of its candidates is updated with the
/// weights of the smaller population. Otherwise `ask` gives replacements for the lost ones.
///
/// Infeasible candidates take the last ranks, so that the search learns to avoid them. A
/// generation without a feasible one halves the step size.
#[derive(Debug, Clone)]
pub struct CmaEs {
    options: CmaOptions,
    domain: Domain,
    parameters: Parameters,
    limits: Limits,
    progress: Progress,
}

/// What changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    generation: u64,
    evaluations: u64,
    next_id: u64,
    /// How often lost candidates of this generation were replaced.
    round: u32,
    /// Which candidates of this generation are still to be asked for.
    queue: VecDeque<u32>,
    /// Those already asked for, in that order, without those lost in earlier rounds.
    asked: Vec<Asked>,
    best: Best,
    infeasible_generations: u64,
    distribution: Distribution,
    history: History,
    reasons: Vec<Reason>,
}

/// A candidate of the current generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: u64,
    index: u32,
    raw: Vec<f64>,
    outcome: Option<Outcome>,
}

/// The form in which a search is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u64,
    algorithm: String,
    options: CmaOptions,
    progress: Progress,
}

impl CmaEs {
    /// Starts a search. Fails if an option is out of its range.
    pub fn new(options: &CmaOptions) -> Result<Self, OptimizerError> {
        let mut options = options.clone();
        let domain = options.resolve()?;
        let population_size = options.population_size.expect("resolve filled it in");
        let parameters = Parameters::new(domain.dimension(), population_size, options.constants);
        let spreads = domain.spreads();
        let limits = Limits {
            deviation: options.tolerances.x.expect("resolve filled it in"),
            value: options.tolerances.value,
            axis: options.tolerances.growth
                * options.sigma0
                * spreads.iter().copied().fold(0.0, f64::max),
            condition: options.tolerances.condition,
        };
        let progress = Progress {
            generation: 0,
            evaluations: 0,
            next_id: 0,
            round: 0,
            queue: (0..population_size as u32).collect(),
            asked: Vec::new(),
            best: Best::default(),
            infeasible_generations: 0,
            distribution: Distribution::new(domain.start(), options.sigma0, &spreads),
            history: History::default(),
            reasons: Vec::new(),
        };
        Ok(Self { options, domain, parameters, limits, progress })
    }

    /// Continues a search from its [`state`](Optimizer::state).
    pub fn restore(state: &Value) -> Result<Self, OptimizerError> {
        expect_algorithm(state, ALGORITHM)?;
        let saved =
            Saved::deserialize(state).map_err(|source| OptimizerError::StateSyntax { source })?;
        let mut search = Self::new(&saved.options)?;
        search.progress = saved.progress;
        search.check().map_err(|fact| OptimizerError::StateContent { fact })?;
        Ok(search)
    }

    /// The options, with the defaults filled in.
    pub fn options(&self) -> &CmaOptions {
        &self.options
    }

    /// What a restored state must be for nothing to go wrong later.
    fn check(&self) -> Result<(), &'static str> {
        let Progress { distribution, asked, queue, history, best, .. } = &self.progress;
        let n = self.domain.dimension();
        let population_size = self.parameters.population_size;
        let facts = [
            (
                !distribution.has_dimension(n)
                    || !best.has_dimension(self.domain.n_variables())
                    || asked.iter().any(|one| one.raw.len() != n),
                "its dimension is not that of its options",
            ),
            (
                asked.len() + queue.len() != population_size
                    || (queue.is_empty() && asked.iter().all(|one| one.outcome.is_some())),
                "its generation does not have the size of the population",
            ),
            (
                !asked.is_sorted_by(|a, b| a.id < b.id)
                    || asked.last().is_some_and(|one| one.id >= self.progress.next_id),
                "its candidates are not in the order asked",
            ),
            (!history.is_sound(), "its histories have different lengths"),
        ];
        if let Some((_, fact)) = facts.into_iter().find(|(wrong, _)| *wrong) {
            return Err(fact);
        }
        if !distribution.is_sound() || distribution.decomposed_at > self.progress.generation {
            return Err("its distribution is not one that can be drawn from");
        }
        Ok(())
    }

    fn candidate(&self, asked: &Asked) -> Candidate {
        Candidate {
            id: asked.id,
            x: self.domain.point(&asked.raw),
            raw: asked.raw.clone(),
            born: self.progress.generation,
        }
    }

    /// Updates the distribution, or has lost candidates replaced if too few are left.
    fn finish_round(&mut self) {
        let progress = &mut self.progress;
        let lost = |one: &Asked| one.outcome == Some(Outcome::Lost);
        let n_lost = progress.asked.iter().filter(|one| lost(one)).count();
        let n_left = progress.asked.len() - n_lost;
        if n_left < self.parameters.population_size.div_ceil(2) {
            let indices = progress.asked.iter().filter(|one| lost(one)).map(|one| one.index);
            progress.queue = indices.collect();
            progress.asked.retain(|one| !lost(one));
            progress.round = progress.round.saturating_add(1);
            return;
        }
        let mut generation = std::mem::take(&mut progress.asked);
        generation.retain(|one| !lost(one));
        progress.round = 0;
        progress.queue = (0..self.parameters.population_size as u32).collect();
        self.learn(&generation);
    }

    /// The update: one generation, lost candidates left out.
    fn learn(&mut self, generation: &[Asked]) {
        let progress = &mut self.progress;
        let distribution = &mut progress.distribution;
        let outcomes: Vec<Option<f64>> = generation
            .iter()
            .map(|one| match one.outcome {
                Some(Outcome::Scored(value)) => Some(value),
                _ => None,
            })
            .collect();
        let ranking = Ranking::new(&outcomes, self.options.resolution);
        match ranking.weights(&self.parameters) {
            Some(weights) => {
                let steps: Vec<Vec<f64>> = ranking.order[..weights.mean.len()]
                    .iter()
                    .map(|&position| distribution.step_to(&generation[position].raw))
                    .collect();
                distribution.update(progress.generation, &steps, &weights, &self.parameters);
                progress.infeasible_generations = 0;
                progress.history.record(&ranking, progress.generation + 1, &self.parameters);
            }
            None => {
                distribution.retreat();
                progress.infeasible_generations += 1;
            }
        }
        distribution.limit_deviations(&self.domain.bounded());
        progress.generation += 1;
        progress.reasons = termination::reasons(
            &progress.history,
            distribution,
            progress.generation,
            &self.parameters,
            &self.limits,
        );
    }
}

impl Optimizer for CmaEs {
    fn ask(&mut self) -> Option<Candidate> {
        let index = self.progress.queue.pop_front()?;
        let key = DrawKey {
            seed: self.options.seed,
            restart: self.options.restart,
            generation: self.progress.generation,
            index,
            attempt: self.progress.round,
        };
        let normals = key.normals(self.domain.dimension());
        let raw = self.progress.distribution.sample(&normals);
        let asked = Asked { id: self.progress.next_id, index, raw, outcome: None };
        self.progress.next_id += 1;
        let candidate = self.candidate(&asked);
        self.progress.asked.push(asked);
        Some(candidate)
    }

    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError> {
        let progress = &mut self.progress;
        let asked = progress
            .asked
            .iter_mut()
            .find(|one| one.id == id && one.outcome.is_none())
            .ok_or(TellError::UnknownId(id))?;
        let outcome = outcome.cleaned(id)?;
        asked.outcome = Some(outcome);
        if outcome != Outcome::Lost {
            progress.evaluations += 1;
        }
        if let Outcome::Scored(value) = outcome {
            progress.best.consider(id, value, || self.domain.point(&asked.raw));
        }
        if progress.queue.is_empty() && progress.asked.iter().all(|one| one.outcome.is_some()) {
            self.finish_round();
        }
        Ok(())
    }

    fn pending(&self) -> Vec<Candidate> {
        let waiting = self.progress.asked.iter().filter(|one| one.outcome.is_none());
        waiting.map(|one| self.candidate(one)).collect()
    }

    fn status(&self) -> Status {
        let Progress { distribution, .. } = &self.progress;
        let deviations: Vec<f64> = distribution
            .relative_deviations()
            .map(|deviation| distribution.sigma * deviation)
            .collect();
        Status {
            generation: self.progress.generation,
            evaluations: self.progress.evaluations,
            population_size: self.parameters.population_size,
            sigma: distribution.sigma,
            mean: self.domain.point(&distribution.mean),
            deviations: self.domain.per_variable(&deviations),
            condition: distribution.condition(),
            covariance_resets: distribution.resets,
            best: self.progress.best.get(),
        }
    }

    fn stop(&self) -> Vec<Reason> {
        let mut reasons = self.progress.reasons.clone();
        if self.progress.round > MAX_REPLACEMENT_ROUNDS {
            reasons.push(Reason::TooManyLost);
        }
        if self.progress.infeasible_generations >= MAX_INFEASIBLE_GENERATIONS {
            reasons.push(Reason::NothingFeasible);
        }
        reasons
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

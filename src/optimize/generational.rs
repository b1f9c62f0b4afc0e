//! What all optimizers that learn from generations share: who is out, who is back, who is replaced.
//!
//! A [`Strategy`] draws candidates from where it stands and learns from a generation's outcomes;
//! [`Generational`] makes an [`Optimizer`] of it.

use std::collections::VecDeque;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::domain::Domain;
use super::draws::DrawKey;
use super::options::{Pacing, SearchOptions};
use super::record::{Best, STATE_VERSION, expect_algorithm};
use super::{Candidate, Optimizer, OptimizerError, Outcome, Reason, Status, TellError};

/// Rounds of replacements for lost candidates before the machine is held responsible.
const MAX_REPLACEMENT_ROUNDS: u32 = 3;

/// Generations in a row without a feasible candidate before the search is held to be hopeless.
const MAX_INFEASIBLE_GENERATIONS: u64 = 5;

/// Generations after which an outcome that comes late is too old to learn from.
const MAX_AGE: u64 = 3;

/// How candidates are drawn and learnt from. Everything that changes is in its state, so that the
/// state is all there is to save.
pub trait Strategy: Clone + Send + Sized {
    /// Name in saved states.
    const ALGORITHM: &'static str;
    /// What the user decides.
    type Options: Clone + Serialize + DeserializeOwned + Send;
    /// What changes during a search.
    type State: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send;

    /// Checks the options, fills in the defaults, and says where the search begins.
    fn start(options: &mut Self::Options) -> Result<(Self, Self::State), OptimizerError>;

    /// The options that all have.
    fn common(options: &Self::Options) -> &SearchOptions;

    /// What is searched.
    fn domain(&self) -> &Domain;

    /// Candidates of the generation that is drawn.
    fn population_size(&self, state: &Self::State) -> usize;

    /// How many values every candidate has.
    fn n_objectives(&self) -> usize {
        1
    }

    /// The coordinates of a candidate.
    fn draw(&self, state: &Self::State, key: DrawKey) -> Vec<f64>;

    /// The point that coordinates stand for.
    fn point(&self, raw: &[f64]) -> Vec<f64> {
        self.domain().point(raw)
    }

    /// Coordinates that stand for a point.
    fn raw(&self, point: &[f64]) -> Vec<f64> {
        self.domain().raw(point)
    }

    /// Takes in generation number `generation` from 0, in the order asked, lost ones left out.
    fn learn(&self, state: &mut Self::State, generation: u64, told: &[Told<'_>]);

    /// What a restored state must be for nothing to go wrong later; otherwise a sentence.
    fn check(&self, state: &Self::State, generation: u64) -> Result<(), &'static str>;

    /// Where the search stands: step size, mean, deviations, condition.
    fn describe(&self, state: &Self::State, status: &mut Status);

    /// Why going on is useless.
    fn reasons(&self, state: &Self::State) -> Vec<Reason>;
}

/// A candidate that is back.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Its place in the generation.
    pub(super) index: u32,
    /// Its coordinates.
    pub(super) raw: &'a [f64],
    /// Its values; `None` if it is infeasible.
    pub(super) values: Option<&'a [f64]>,
    /// Whether it was not drawn from where the search stands: given by the user, or late.
    pub(super) foreign: bool,
}

impl Told<'_> {
    /// Its only or first value; `None` if it is infeasible.
    pub(super) fn value(&self) -> Option<f64> {
        self.values.map(|values| values[0])
    }
}

/// An optimizer that learns from one generation after the other.
///
/// Lost candidates: a generation that keeps at least half of its candidates is learnt from as it is.
/// Otherwise `ask` gives replacements for the lost ones. With [`Pacing::Steady`] nothing waits for a
/// generation to be complete: as soon as as many outcomes as it has candidates are there, they are
/// learnt from, whenever they were asked for.
#[derive(Debug, Clone)]
pub struct Generational<S: Strategy> {
    options: S::Options,
    strategy: S,
    progress: Progress<S::State>,
}

/// What changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress<T> {
    generation: u64,
    evaluations: u64,
    next_id: u64,
    /// How often lost candidates of this generation were replaced.
    round: u32,
    /// Which candidates of this generation are still to be asked for.
    queue: VecDeque<u32>,
    /// The index after the last that was given out in this generation.
    next_index: u32,
    /// Those already asked for, in that order, without those lost in earlier rounds.
    asked: Vec<Asked>,
    best: Best,
    infeasible_generations: u64,
    pub(super) state: T,
}

/// A candidate that is out, or back and not yet learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: u64,
    index: u32,
    born: u64,
    given: bool,
    raw: Vec<f64>,
    outcome: Option<Outcome>,
}

impl Asked {
    fn is_lost(&self) -> bool {
        self.outcome == Some(Outcome::Lost)
    }

    fn is_out(&self) -> bool {
        self.outcome.is_none()
    }
}

/// The form in which a search is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<O, T> {
    version: u64,
    algorithm: String,
    options: O,
    progress: Progress<T>,
}

impl<S: Strategy> Generational<S> {
    /// Starts a search. Fails if an option is out of its range.
    pub fn new(options: &S::Options) -> Result<Self, OptimizerError> {
        let mut options = options.clone();
        let (strategy, state) = S::start(&mut options)?;
        strategy.domain().check_points(&S::common(&options).points)?;
        let progress = Progress {
            generation: 0,
            evaluations: 0,
            next_id: 0,
            round: 0,
            queue: VecDeque::new(),
            next_index: 0,
            asked: Vec::new(),
            best: Best::default(),
            infeasible_generations: 0,
            state,
        };
        let mut search = Self { options, strategy, progress };
        search.begin_generation();
        Ok(search)
    }

    /// Continues a search from its [`state`](Optimizer::state).
    pub fn restore(state: &Value) -> Result<Self, OptimizerError> {
        expect_algorithm(state, S::ALGORITHM)?;
        let saved = Saved::<S::Options, S::State>::deserialize(state)
            .map_err(|source| OptimizerError::StateSyntax { source })?;
        let mut search = Self::new(&saved.options)?;
        search.progress = saved.progress;
        search.check().map_err(|fact| OptimizerError::StateContent { fact })?;
        Ok(search)
    }

    /// The options, with the defaults filled in.
    pub fn options(&self) -> &S::Options {
        &self.options
    }

    #[cfg(test)]
    pub(super) fn progress(&self) -> &Progress<S::State> {
        &self.progress
    }

    fn common(&self) -> &SearchOptions {
        S::common(&self.options)
    }

    fn population_size(&self) -> usize {
        self.strategy.population_size(&self.progress.state)
    }

    fn is_steady(&self) -> bool {
        self.common().pacing == Pacing::Steady
    }

    fn check(&self) -> Result<(), &'static str> {
        let Progress { asked, queue, best, .. } = &self.progress;
        let domain = self.strategy.domain();
        let population_size = self.population_size();
        let n_told = asked.iter().filter(|one| !one.is_out()).count();
        let is_whole = match self.common().pacing {
            Pacing::Generation => {
                asked.len() + queue.len() == population_size
                    && !(queue.is_empty() && n_told == asked.len())
            }
            Pacing::Steady => n_told < population_size && queue.is_empty(),
        };
        let facts = [
            (
                !best.has_dimension(domain.n_variables())
                    || asked.iter().any(|one| one.raw.len() != domain.dimension()),
                "its dimension is not that of its options",
            ),
            (!is_whole, "its generation does not have the size of the population"),
            (
                !asked.is_sorted_by(|a, b| a.id < b.id)
                    || asked.last().is_some_and(|one| one.id >= self.progress.next_id),
                "its candidates are not in the order asked",
            ),
        ];
        if let Some((_, fact)) = facts.into_iter().find(|(wrong, _)| *wrong) {
            return Err(fact);
        }
        self.strategy.check(&self.progress.state, self.progress.generation)
    }

    fn candidate(&self, asked: &Asked) -> Candidate {
        Candidate {
            id: asked.id,
            x: self.strategy.point(&asked.raw),
            raw: asked.raw.clone(),
            born: asked.born,
        }
    }

    fn begin_generation(&mut self) {
        self.progress.round = 0;
        self.progress.next_index = 0;
        if !self.is_steady() {
            self.progress.queue = (0..self.population_size() as u32).collect();
        }
    }

    /// Learns from the generation, or has lost candidates replaced if too few are left.
    fn finish_round(&mut self) {
        let population_size = self.population_size();
        let progress = &mut self.progress;
        let n_lost = progress.asked.iter().filter(|one| one.is_lost()).count();
        let n_left = progress.asked.len() - n_lost;
        if n_left < population_size.div_ceil(2) {
            let lost = progress.asked.iter().filter(|one| one.is_lost()).map(|one| one.index);
            progress.queue = lost.collect();
            progress.asked.retain(|one| !one.is_lost());
            progress.round = progress.round.saturating_add(1);
            return;
        }
        let mut generation = std::mem::take(&mut progress.asked);
        generation.retain(|one| !one.is_lost());
        self.learn(&generation);
    }

    /// Learns from what has come back, when that is as much as a generation.
    fn finish_steadily(&mut self) {
        let population_size = self.population_size();
        let progress = &mut self.progress;
        let (n_asked, generation) = (progress.asked.len(), progress.generation);
        progress.asked.retain(|one| !one.is_lost());
        if progress.asked.len() < n_asked {
            progress.round = progress.round.saturating_add(1);
        }
        progress.asked.retain(|one| one.is_out() || one.born + MAX_AGE >= generation);
        let n_told = progress.asked.iter().filter(|one| !one.is_out()).count();
        if n_told >= population_size {
            let (out, told) =
                std::mem::take(&mut progress.asked).into_iter().partition(Asked::is_out);
            progress.asked = out;
            self.learn(&told);
        }
    }

    fn learn(&mut self, generation: &[Asked]) {
        let progress = &mut self.progress;
        let told: Vec<Told<'_>> = generation
            .iter()
            .map(|one| Told {
                index: one.index,
                raw: &one.raw,
                values: one.outcome.as_ref().and_then(Outcome::values),
                foreign: one.given || one.born < progress.generation,
            })
            .collect();
        self.strategy.learn(&mut progress.state, progress.generation, &told);
        if told.iter().any(|one| one.values.is_some()) {
            progress.infeasible_generations = 0;
        } else {
            progress.infeasible_generations += 1;
        }
        progress.generation += 1;
        self.begin_generation();
    }

    fn next_index(&mut self) -> Option<u32> {
        let index = match self.common().pacing {
            Pacing::Generation => self.progress.queue.pop_front()?,
            Pacing::Steady => self.progress.next_index,
        };
        self.progress.next_index = self.progress.next_index.max(index.saturating_add(1));
        Some(index)
    }

    /// The point that the user wants in this place of this generation, if there is one.
    fn given(&self, index: u32) -> Option<&[f64]> {
        let per_generation = (self.population_size() / 2) as u64;
        let index = u64::from(index);
        if self.progress.round > 0 || index >= per_generation {
            return None;
        }
        let place = self.progress.generation.saturating_mul(per_generation).saturating_add(index);
        let points = &self.common().points;
        points.get(usize::try_from(place).ok()?).map(Vec::as_slice)
    }
}

impl<S: Strategy> Optimizer for Generational<S> {
    fn ask(&mut self) -> Option<Candidate> {
        let index = self.next_index()?;
        let given = self.given(index).map(|point| self.strategy.raw(point));
        let key = DrawKey {
            seed: self.common().seed,
            restart: self.common().restart,
            generation: self.progress.generation,
            index,
            attempt: self.progress.round,
        };
        let asked = Asked {
            id: self.progress.next_id,
            index,
            born: self.progress.generation,
            given: given.is_some(),
            raw: given.unwrap_or_else(|| self.strategy.draw(&self.progress.state, key)),
            outcome: None,
        };
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
            .find(|one| one.id == id && one.is_out())
            .ok_or(TellError::UnknownId(id))?;
        let outcome = outcome.cleaned(id, self.strategy.n_objectives())?;
        if outcome != Outcome::Lost {
            progress.evaluations += 1;
        }
        if let Some(values) = outcome.values() {
            progress.best.consider(id, values, || self.strategy.point(&asked.raw));
        }
        asked.outcome = Some(outcome);
        if self.is_steady() {
            self.finish_steadily();
        } else if self.progress.queue.is_empty() && !self.progress.asked.iter().any(Asked::is_out) {
            self.finish_round();
        }
        Ok(())
    }

    fn pending(&self) -> Vec<Candidate> {
        let waiting = self.progress.asked.iter().filter(|one| one.is_out());
        waiting.map(|one| self.candidate(one)).collect()
    }

    fn status(&self) -> Status {
        let mut status = Status {
            generation: self.progress.generation,
            evaluations: self.progress.evaluations,
            population_size: self.population_size(),
            sigma: 0.0,
            mean: Vec::new(),
            deviations: Vec::new(),
            condition: 1.0,
            covariance_resets: 0,
            best: self.progress.best.single(),
            front: self.progress.best.front(),
        };
        self.strategy.describe(&self.progress.state, &mut status);
        status
    }

    fn stop(&self) -> Vec<Reason> {
        let mut reasons = self.strategy.reasons(&self.progress.state);
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
            algorithm: S::ALGORITHM.to_owned(),
            options: self.options.clone(),
            progress: self.progress.clone(),
        };
        serde_json::to_value(saved).expect("the state is plain data with string keys")
    }
}

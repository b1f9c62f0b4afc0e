//! The loop: ask, score, write down, tell.
//!
//! The optimizer is a function of its options, its seed and the outcomes told, and outcomes are told
//! in the order of the candidates. So a search is resumed by replay: the loop runs as ever, and takes
//! from the journal what it finds there. Records are written as scores arrive, out of order within a
//! generation when several threads work.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::SearchError;
use super::journal::{Journal, digest};
use super::record::{Ending, Evaluation, Record, Reference, Status};
use super::scorer::{CandidateScorer, ItemSets, Measurement, Proposal, ScoreFailure};
use super::workers::{Job, score_all};
use crate::optimize::{self, Candidate, Optimizer, Outcome};

/// Fewest candidates that are asked for before any is told, from optimizers that would give more and
/// more without waiting. Not the number of threads, which must not show in the history.
const SMALLEST_ROUND: usize = 8;

/// After so many candidates, all infeasible, the search file is at fault.
const HOPELESS: usize = 20;

/// Candidates asked for before any is told: a generation where the optimizer has generations.
pub(super) fn round_size(optimizer: &dyn Optimizer) -> usize {
    optimizer.status().population_size.max(SMALLEST_ROUND)
}

/// When to stop. All limits hold across interruptions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// Most candidates; the last generation is cut to it.
    pub evaluations: Option<u64>,
    /// Longest run; no candidate is started later.
    pub wall_clock: Option<Duration>,
    /// A score that is good enough, checked after each generation.
    pub target: Option<f64>,
}

/// Asks a running search to stop, from a signal handler or another thread.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    /// Asks to finish what runs and to start nothing more. Returns whether this was the first time.
    pub fn request(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether anybody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How long a search has run, with the runs before this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
    before: f64,
}

impl Clock {
    /// A clock that shows `before` seconds now.
    pub(super) fn continued(before: f64) -> Self {
        Self { started: Instant::now(), before }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

/// What a search reports while it runs.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A parent or the uniform average has been scored, or its score was found in the journal.
    Reference(&'a Reference),
    /// A candidate has been scored now.
    Evaluated(&'a Evaluation),
    /// A candidate's record was found in the journal.
    Replayed(&'a Evaluation),
    /// The candidates of a generation are told; the optimizer stands where `status` says.
    Generation {
        /// All evaluations so far, by index.
        history: &'a [Evaluation],
        /// The optimizer.
        status: &'a optimize::Status,
    },
    /// After a generation there is a new best candidate.
    Best {
        /// The candidate.
        evaluation: &'a Evaluation,
        /// Its merge config.
        config: &'a str,
    },
    /// The winner is chosen and is scored on the validation items.
    Winner(&'a Evaluation),
}

/// Everything the loop needs.
pub(super) struct Evolution<'a> {
    pub(super) optimizer: &'a mut dyn Optimizer,
    pub(super) scorer: &'a dyn CandidateScorer,
    pub(super) journal: &'a mut Journal,
    pub(super) budget: Budget,
    pub(super) workers: usize,
    pub(super) interrupt: &'a Interrupt,
    pub(super) clock: Clock,
    pub(super) observe: &'a mut dyn FnMut(Event<'_>),
}

/// A candidate on its way to a record.
struct Pending {
    candidate: Candidate,
    index: u64,
    proposal: Proposal,
    digest: String,
    record: Option<Evaluation>,
}

impl Evolution<'_> {
    /// Runs until something ends the search. `recorded` are the evaluations of the journal; the
    /// answer holds them and the new ones, by index.
    pub(super) fn run(
        mut self,
        recorded: Vec<Evaluation>,
    ) -> Result<(Vec<Evaluation>, Ending), SearchError> {
        let mut recorded: BTreeMap<u64, Evaluation> =
            recorded.into_iter().map(|evaluation| (evaluation.index, evaluation)).collect();
        let mut history: Vec<Evaluation> = Vec::new();
        let mut first_with: HashMap<String, u64> = HashMap::new();
        let mut best_index = None;
        let ending = loop {
            if let Some(ending) = self.ending(&history) {
                break ending;
            }
            let mut generation = self.ask(&history, &mut recorded)?;
            if generation.is_empty() {
                break Ending::Optimizer(self.optimizer.stop());
            }
            let early = self.score(&mut generation, &history, &mut first_with)?;
            for pending in &generation {
                if let Some(record) = &pending.record {
                    self.optimizer.tell(pending.candidate.id, outcome(record))?;
                }
            }
            history.extend(generation.into_iter().filter_map(|pending| pending.record));
            if history.len() >= HOPELESS
                && history.iter().all(|evaluation| evaluation.status == Status::Infeasible)
            {
                return Err(SearchError::nothing_scored(&history));
            }
            let status = self.optimizer.status();
            (self.observe)(Event::Generation { history: &history, status: &status });
            if let Some(evaluation) = best(&history)
                && best_index != Some(evaluation.index)
                && let Ok(config) = self.scorer.propose(&evaluation.genotype).config
            {
                best_index = Some(evaluation.index);
                (self.observe)(Event::Best { evaluation, config: &config });
            }
            if let Some(ending) = early {
                break ending;
            }
        };
        if let Some(&index) = recorded.keys().next() {
            let path = self.journal.path().to_owned();
            return Err(SearchError::Diverged { path, index, what: "place in the search" });
        }
        Ok((history, ending))
    }

    /// Why no further generation should be asked for.
    fn ending(&self, history: &[Evaluation]) -> Option<Ending> {
        if self.budget.evaluations.is_some_and(|limit| history.len() as u64 >= limit) {
            return Some(Ending::Evaluations);
        }
        if let Some(target) = self.budget.target
            && history.iter().any(|evaluation| evaluation.score().is_some_and(|s| s >= target))
        {
            return Some(Ending::Target);
        }
        let reasons = self.optimizer.stop();
        (!reasons.is_empty()).then_some(Ending::Optimizer(reasons))
    }

    /// The candidates of a generation, with their records where the journal has them.
    fn ask(
        &mut self,
        history: &[Evaluation],
        recorded: &mut BTreeMap<u64, Evaluation>,
    ) -> Result<Vec<Pending>, SearchError> {
        let mut generation = Vec::new();
        let most = round_size(self.optimizer);
        while generation.len() < most {
            let index = (history.len() + generation.len()) as u64;
            if self.budget.evaluations.is_some_and(|limit| index >= limit) {
                break;
            }
            let Some(candidate) = self.optimizer.ask() else { break };
            let proposal = self.scorer.propose(&candidate.x);
            let digest = match &proposal.config {
                Ok(config) => digest(config.as_bytes()),
                Err(_) => String::new(),
            };
            let record = recorded.remove(&index);
            if let Some(record) = &record {
                let diverged = |what| {
                    let path = self.journal.path().to_owned();
                    Err(SearchError::Diverged { path, index, what })
                };
                if !same_bits(&record.genotype, &candidate.x) {
                    return diverged("genotype");
                }
                if record.config != digest {
                    return diverged("merge config");
                }
                (self.observe)(Event::Replayed(record));
            }
            generation.push(Pending { candidate, index, proposal, digest, record });
        }
        Ok(generation)
    }

    /// Fills in the missing records. Of several candidates with one merge config the first is scored
    /// and the others share its outcome, unless it was lost.
    fn score(
        &mut self,
        generation: &mut [Pending],
        history: &[Evaluation],
        first_with: &mut HashMap<String, u64>,
    ) -> Result<Option<Ending>, SearchError> {
        loop {
            let mut todo: Vec<usize> = Vec::new();
            for position in 0..generation.len() {
                if generation[position].record.is_some() {
                    remember(&generation[position], first_with);
                    continue;
                }
                let known = known_record(&generation[position], generation, history, first_with);
                let record = match (known, &generation[position].proposal.config) {
                    (Some(known), _) => self.shared(&generation[position], &known),
                    (None, Err(error)) => {
                        let failure = ScoreFailure::Infeasible(error.clone());
                        self.record(&generation[position], Err(failure))
                    }
                    (None, Ok(_)) => {
                        let digest = &generation[position].digest;
                        let waits = todo.iter().any(|&other| generation[other].digest == *digest);
                        if !waits {
                            todo.push(position);
                        }
                        continue;
                    }
                };
                self.keep(&mut generation[position], record)?;
                remember(&generation[position], first_with);
            }
            if todo.is_empty() && generation.iter().all(|pending| pending.record.is_some()) {
                return Ok(None);
            }
            if let Some(ending) = self.stop_now() {
                return Ok(Some(ending));
            }
            self.score_now(generation, &todo)?;
            if let Some(ending) = self.stop_now()
                && todo.iter().any(|&position| generation[position].record.is_none())
            {
                return Ok(Some(ending));
            }
        }
    }

    /// Scores the candidates at the given positions, as many as may still be started.
    fn score_now(&mut self, generation: &mut [Pending], todo: &[usize]) -> Result<(), SearchError> {
        let configs: Vec<String> = todo
            .iter()
            .map(|&position| {
                let config = &generation[position].proposal.config;
                config.clone().expect("only candidates with a config are scored")
            })
            .collect();
        let jobs: Vec<Job<'_>> =
            configs.iter().map(|config| Job { config, sets: ItemSets::SEARCH }).collect();
        let (interrupt, clock, wall_clock) = (self.interrupt, self.clock, self.budget.wall_clock);
        let may_start = || stop_reason(interrupt, &clock, wall_clock).is_none();
        let (scorer, workers) = (self.scorer, self.workers);
        score_all(scorer, &jobs, workers, &may_start, &mut |job, result| {
            let pending = &mut generation[todo[job]];
            let record = self.record(pending, result);
            self.keep(pending, record)
        })
    }

    fn stop_now(&self) -> Option<Ending> {
        stop_reason(self.interrupt, &self.clock, self.budget.wall_clock)
    }

    /// Writes a record down; from then on it is never made again.
    fn keep(&mut self, pending: &mut Pending, record: Evaluation) -> Result<(), SearchError> {
        self.journal.append(&Record::Evaluation(Box::new(record.clone())))?;
        (self.observe)(Event::Evaluated(&record));
        pending.record = Some(record);
        Ok(())
    }

    fn record(&self, pending: &Pending, result: Result<Measurement, ScoreFailure>) -> Evaluation {
        let mut record = Evaluation {
            index: pending.index,
            generation: pending.candidate.born,
            genotype: pending.candidate.x.clone(),
            values: pending.proposal.values.clone(),
            config: pending.digest.clone(),
            status: Status::Ok,
            scores: None,
            error: None,
            same_as: None,
            merge_seconds: 0.0,
            evaluation_seconds: 0.0,
            elapsed_seconds: self.clock.seconds(),
        };
        match result {
            Ok(measurement) => {
                record.merge_seconds = measurement.merge_seconds;
                record.evaluation_seconds = measurement.evaluation_seconds;
                match measurement.search.filter(|scores| scores.score.is_finite()) {
                    Some(scores) => record.scores = Some(scores),
                    None => {
                        record.status = Status::Infeasible;
                        record.error = Some("the score is not a finite number".to_owned());
                    }
                }
            }
            Err(ScoreFailure::Infeasible(error)) => {
                (record.status, record.error) = (Status::Infeasible, Some(error));
            }
            Err(ScoreFailure::Lost(error)) => {
                (record.status, record.error) = (Status::Lost, Some(error));
            }
        }
        record
    }

    /// The record of a candidate whose merge config is that of `known`.
    fn shared(&self, pending: &Pending, known: &Evaluation) -> Evaluation {
        Evaluation {
            index: pending.index,
            generation: pending.candidate.born,
            genotype: pending.candidate.x.clone(),
            values: pending.proposal.values.clone(),
            same_as: Some(known.index),
            merge_seconds: 0.0,
            evaluation_seconds: 0.0,
            elapsed_seconds: self.clock.seconds(),
            ..known.clone()
        }
    }
}

fn stop_reason(
    interrupt: &Interrupt,
    clock: &Clock,
    wall_clock: Option<Duration>,
) -> Option<Ending> {
    if interrupt.requested() {
        Some(Ending::Interrupted)
    } else if wall_clock.is_some_and(|limit| clock.seconds() >= limit.as_secs_f64()) {
        Some(Ending::WallClock)
    } else {
        None
    }
}

/// The best evaluation: highest score, the first of several.
pub fn best(history: &[Evaluation]) -> Option<&Evaluation> {
    let mut best: Option<(&Evaluation, f64)> = None;
    for evaluation in history {
        if let Some(score) = evaluation.score()
            && best.is_none_or(|(_, highest)| score > highest)
        {
            best = Some((evaluation, score));
        }
    }
    best.map(|(evaluation, _)| evaluation)
}

/// What the optimizer, which minimises, is told.
fn outcome(record: &Evaluation) -> Outcome {
    match (record.status, record.score()) {
        (Status::Ok, Some(score)) => Outcome::Scored(-score),
        (Status::Lost, _) => Outcome::Lost,
        _ => Outcome::Infeasible,
    }
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Notes which evaluation was the first with its merge config.
fn remember(pending: &Pending, first_with: &mut HashMap<String, u64>) {
    let Some(record) = &pending.record else { return };
    if record.status != Status::Lost && !record.config.is_empty() {
        first_with.entry(record.config.clone()).or_insert(record.index);
    }
}

/// The first finished evaluation with the candidate's merge config.
fn known_record(
    pending: &Pending,
    generation: &[Pending],
    history: &[Evaluation],
    first_with: &HashMap<String, u64>,
) -> Option<Evaluation> {
    let &index = first_with.get(&pending.digest)?;
    let in_generation =
        generation.iter().find(|other| other.index == index).and_then(|other| other.record.clone());
    in_generation.or_else(|| history.get(index as usize).cloned())
}

#[cfg(test)]
mod tests;

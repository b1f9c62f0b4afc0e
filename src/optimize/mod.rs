//! Optimizers with ask and tell: vectors and numbers in, vectors and numbers out.
//!
//! Nothing here knows of models, files, clocks or threads. An optimizer is a function of (options,
//! seed, the outcomes told and their order), so replaying a journal rebuilds it exactly. Values are
//! minimised; a caller whose scores are higher-is-better negates them.

use serde::{Deserialize, Serialize};

/// A search driven by its caller: ask for candidates, evaluate them anywhere, tell the outcomes.
pub trait Optimizer: Send {
    /// The next candidate of the current generation; `None` while the generation waits for
    /// outcomes. Never blocks, never fails.
    fn ask(&mut self) -> Option<Candidate>;

    /// One outcome, in any order. The update runs inside the `tell` that completes a generation.
    /// Telling an unknown or an already told id is an error that leaves the state unchanged.
    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError>;

    /// Where the search stands.
    fn status(&self) -> Status;

    /// Why going on is useless; empty while it is not. Advisory: `ask` still works afterwards.
    fn stop(&self) -> Vec<Reason>;

    /// The whole state as plain data.
    fn state(&self) -> serde_json::Value;
}

/// A point put up for evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Counts from 0 in the order asked.
    pub id: u64,
    /// What is evaluated: inside the box.
    pub x: Vec<f64>,
    /// The point of the search distribution, which may lie outside the box.
    pub raw: Vec<f64>,
    /// The generation it was sampled in, from 0.
    pub born: u64,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its value; smaller is better. NaN and +∞ count as `Infeasible`.
    Scored(f64),
    /// The candidate itself is bad: ranked after every scored one.
    Infeasible,
    /// The machine failed: the candidate is removed from its generation.
    Lost,
}

/// A `tell` that could not be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TellError {
    /// No candidate with this id is waiting.
    #[error("no candidate with id {0} is waiting for an outcome")]
    UnknownId(u64),
    /// Minus infinity would win every comparison.
    #[error("the value of candidate {0} is minus infinity")]
    MinusInfinity(u64),
}

/// Where a search stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Finished updates.
    pub generation: u64,
    /// Outcomes told, lost ones not counted.
    pub evaluations: u64,
    /// Candidates per generation.
    pub population_size: usize,
    /// Overall step size.
    pub sigma: f64,
    /// Mean of the search distribution, mapped into the box.
    pub mean: Vec<f64>,
    /// Standard deviation per coordinate.
    pub deviations: Vec<f64>,
    /// Condition number of the covariance matrix.
    pub condition: f64,
    /// Best scored candidate so far: its point and value.
    pub best: Option<(Vec<f64>, f64)>,
}

/// Why an optimizer sees no sense in going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// All coordinates' steps are below the tolerance.
    TolX,
    /// Values no longer differ.
    TolFun,
    /// Too many generations were flat.
    EqualFun,
    /// The step size grew without end.
    TolXUp,
    /// The covariance matrix is numerically singular.
    Condition,
    /// A step along a principal axis has no effect.
    NoEffectAxis,
    /// A step along a coordinate has no effect.
    NoEffectCoordinate,
    /// No progress over a long history.
    Stagnation,
    /// Too many candidates of one generation were lost.
    TooManyLost,
    /// Generation after generation without one feasible candidate.
    NothingFeasible,
}

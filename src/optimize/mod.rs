//! Optimizers with ask and tell: vectors and numbers in, vectors and numbers out.
//!
//! Nothing here knows of models, files, clocks or threads. An optimizer is a function of (options,
//! seed, the outcomes told and their order), so replaying a journal rebuilds it exactly. Values are
//! minimised; a caller whose scores are higher-is-better negates them.
//!
//! [`CmaEs`] is the search, [`RandomSearch`] the baseline it is compared with. Both search a box of
//! [`Variable`]s and can be stopped and continued through [`Optimizer::state`] and [`restore`].

mod catcma;
mod cma;
mod como;
mod domain;
mod draws;
mod eigen;
mod error;
mod generational;
mod normal;
mod options;
mod population;
mod random_search;
mod record;
mod restarts;
mod sobol;
#[cfg(test)]
mod testing;

use serde::{Deserialize, Serialize};

use self::generational::Strategy;

pub use catcma::{CatCma, CatCmaOptions, CatCmaWithMargin};
pub use cma::{Cma, CmaEs, CmaOptions, Constants, EarlierEvaluation, Tolerances, Variant};
pub use como::{Como, ComoCatCma, ComoOptions};
pub use domain::{Range, Variable};
pub use error::{OptimizerError, TellError};
pub use generational::Generational;
pub use options::{Pacing, SearchOptions};
pub use population::{
    Differential, DifferentialEvolution, Genetic, GeneticAlgorithm, ParticleSwarm,
    PopulationOptions, Swarm, hypervolume,
};
pub use random_search::{RandomSearch, RandomSearchOptions, Sequence};
pub use restarts::{RestartOptions, RestartPolicy, Restarted, Restarts};

/// A search driven by its caller: ask for candidates, evaluate them anywhere, tell the outcomes.
pub trait Optimizer: Send {
    /// The next candidate of the current generation; `None` while the generation waits for
    /// outcomes. Never blocks, never fails.
    fn ask(&mut self) -> Option<Candidate>;

    /// One outcome, in any order. The update runs inside the `tell` that completes a generation.
    /// Telling an unknown or an already told id is an error that leaves the state unchanged.
    fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), TellError>;

    /// The candidates asked for and not yet told, in the order asked. `ask` will not return them
    /// again: they are what a restored search evaluates first.
    fn pending(&self) -> Vec<Candidate>;

    /// Where the search stands.
    fn status(&self) -> Status;

    /// Why going on is useless; empty while it is not. Advisory: `ask` still works afterwards.
    fn stop(&self) -> Vec<Reason>;

    /// The whole state as plain data, at any moment. [`restore`] continues from it bit for bit,
    /// provided that the data is written with round-trip floats.
    fn state(&self) -> serde_json::Value;
}

/// Rebuilds an optimizer from its [`state`](Optimizer::state).
///
/// Fails if the state is of another version or algorithm, or is not one that was ever saved.
pub fn restore(state: &serde_json::Value) -> Result<Box<dyn Optimizer>, OptimizerError> {
    match record::algorithm(state)? {
        <Cma as Strategy>::ALGORITHM => Ok(Box::new(CmaEs::restore(state)?)),
        <CatCmaWithMargin as Strategy>::ALGORITHM => Ok(Box::new(CatCma::restore(state)?)),
        <Genetic as Strategy>::ALGORITHM => Ok(Box::new(GeneticAlgorithm::restore(state)?)),
        <Differential as Strategy>::ALGORITHM => {
            Ok(Box::new(DifferentialEvolution::restore(state)?))
        }
        <Swarm as Strategy>::ALGORITHM => Ok(Box::new(ParticleSwarm::restore(state)?)),
        restarts::ALGORITHM => Ok(Box::new(Restarts::restore(state)?)),
        <Como as Strategy>::ALGORITHM => Ok(Box::new(ComoCatCma::restore(state)?)),
        random_search::ALGORITHM => Ok(Box::new(RandomSearch::restore(state)?)),
        other => Err(OptimizerError::StateAlgorithm { found: other.to_owned() }),
    }
}

/// A point put up for evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Counts from 0 in the order asked.
    pub id: u64,
    /// What is evaluated: one number per variable, in its own units and inside the box.
    pub x: Vec<f64>,
    /// The point of the search distribution, in the optimizer's coordinates: one number per
    /// variable that is free to vary, the box being [0, 1]. May lie outside of it.
    pub raw: Vec<f64>,
    /// The generation it was sampled in, from 0.
    pub born: u64,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its value; smaller is better. NaN and +∞ count as `Infeasible`.
    Scored(f64),
    /// Its values, one for each objective of an optimizer that has several.
    Multi(Vec<f64>),
    /// The candidate itself is bad: ranked after every scored one.
    Infeasible,
    /// The machine failed: the candidate is removed from its generation.
    Lost,
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
    /// Overall step size, as a share of the box.
    pub sigma: f64,
    /// Mean of the search distribution, mapped into the box: one number per variable, in its own
    /// units. Under noise a better answer than `best`, whose value is biased by having been chosen.
    pub mean: Vec<f64>,
    /// Standard deviation per variable before mapping into the box, as a share of its range;
    /// in its own units where it has no range, 0 where it is fixed.
    pub deviations: Vec<f64>,
    /// Condition number of the covariance matrix: squared ratio of its longest to its shortest axis.
    pub condition: f64,
    /// How often the covariance matrix was beyond repair and had to be started anew.
    pub covariance_resets: u64,
    /// Best scored candidate so far: its point in the variables' units, and its value. Of several
    /// with that value, the one asked for first.
    pub best: Option<(Vec<f64>, f64)>,
    /// With several objectives, the candidates that no other beats in all of them, in the order
    /// asked; of those with equal values the first.
    pub front: Vec<FrontPoint>,
}

/// A candidate that no other beats in all objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontPoint {
    /// Its id.
    pub id: u64,
    /// One number per variable, in its own units.
    pub x: Vec<f64>,
    /// One value per objective.
    pub values: Vec<f64>,
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

impl Reason {
    /// The reason as a clause for people: "steps are too small to matter".
    pub fn words(self) -> &'static str {
        match self {
            Self::TolX => "steps are too small to matter",
            Self::TolFun => "scores hardly differ any more",
            Self::EqualFun => "too many candidates have equal scores",
            Self::TolXUp => "the step size grew without end",
            Self::Condition => "the search distribution has become too narrow to compute with",
            Self::NoEffectAxis => "steps along one direction have no effect",
            Self::NoEffectCoordinate => "steps of one variable have no effect",
            Self::Stagnation => "there has been no progress for long",
            Self::TooManyLost => "too many candidates were lost",
            Self::NothingFeasible => "no candidate can be scored",
        }
    }
}

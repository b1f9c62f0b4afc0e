//! Searches that keep a population of points: what a model-based search has to beat.
//!
//! All work on shares, the way from the lower to the upper bounds in [0, 1], so every kind of
//! variable with a range can be searched. Single values divide the way equally among them.

mod differential;
mod fronts;
mod genetic;
mod members;
mod operators;
mod swarm;
#[cfg(test)]
mod tests;

pub use self::differential::{Differential, DifferentialEvolution};
pub use self::fronts::hypervolume;
pub use self::genetic::{Genetic, GeneticAlgorithm};
pub use self::swarm::{ParticleSwarm, Swarm};

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use super::{OptimizerError, Range, SearchOptions, Variable};

/// Candidates per generation unless the user says otherwise.
const DEFAULT_POPULATION: usize = 20;

/// Options of [`GeneticAlgorithm`], [`DifferentialEvolution`] and [`ParticleSwarm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationOptions {
    /// What all optimizers have. Every variable needs a range; spreads do not matter, and starts
    /// only of variables that are fixed. By default 20 candidates.
    pub search: SearchOptions,
    /// How many values every candidate has: 1, or 2 with [`GeneticAlgorithm`].
    pub objectives: usize,
}

impl PopulationOptions {
    /// The defaults for these variables and one objective.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self { search: SearchOptions::new(variables), objectives: 1 }
    }

    /// Fills in what was left to default, and checks all of it.
    fn resolve(
        &mut self,
        optimizer: &'static str,
        objectives: RangeInclusive<usize>,
    ) -> Result<Domain, OptimizerError> {
        let domain = Domain::new(&self.search.variables)?;
        if let Some(variable) = domain.first(|range| *range == Range::Unbounded) {
            return Err(OptimizerError::UnboundedVariable { optimizer, variable });
        }
        if !objectives.contains(&self.objectives) {
            let (found, most) = (self.objectives, *objectives.end());
            return Err(OptimizerError::Objectives { optimizer, found, most });
        }
        self.search.resolve_population(DEFAULT_POPULATION)?;
        Ok(domain)
    }
}

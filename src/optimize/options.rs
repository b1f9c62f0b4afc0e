//! What the user decides about any optimizer.

use serde::{Deserialize, Serialize};

use super::{OptimizerError, Variable};

/// The index of a candidate in its generation is kept in 32 bits.
const MAX_POPULATION_SIZE: usize = 1 << 24;

/// Options that all optimizers have. [`SearchOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchOptions {
    /// What is searched, and where from. Those that have only one value are fixed.
    pub variables: Vec<Variable>,
    /// Candidate `k` of generation `g` is drawn with a key made of this seed, `restart`, `g`, `k`.
    /// Default 0.
    pub seed: u64,
    /// Which restart of a search this is; each draws other numbers. Default 0.
    pub restart: u32,
    /// Candidates per generation, at least 4. By default the optimizer's own choice.
    pub population_size: Option<usize>,
    /// Points to evaluate and to learn from before others, one number per variable: at most half
    /// of each generation's candidates are such points until there are none left. Default none.
    pub points: Vec<Vec<f64>>,
    /// When outcomes are learnt from. Default [`Pacing::Generation`].
    pub pacing: Pacing,
}

/// When outcomes are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pacing {
    /// When all candidates of a generation are back. What is learnt does not depend on the order in
    /// which they come.
    #[default]
    Generation,
    /// As soon as as many outcomes are there as a generation has candidates, so that nobody waits
    /// for the slowest. There is always a candidate to ask for.
    Steady,
}

impl SearchOptions {
    /// The defaults for these variables.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self {
            variables,
            seed: 0,
            restart: 0,
            population_size: None,
            points: Vec::new(),
            pacing: Pacing::Generation,
        }
    }

    /// The population size, after filling in `default` where there is none.
    pub(super) fn resolve_population(&mut self, default: usize) -> Result<usize, OptimizerError> {
        let population_size = *self.population_size.get_or_insert(default);
        if !(4..=MAX_POPULATION_SIZE).contains(&population_size) {
            return Err(OptimizerError::PopulationSize { population_size });
        }
        Ok(population_size)
    }
}

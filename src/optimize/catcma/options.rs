//! What the user may decide about CatCMA with margin.

use serde::{Deserialize, Serialize};

use crate::optimize::cma::{check_sigma0, check_tolerance, default_population_size};
use crate::optimize::domain::Domain;
use crate::optimize::{Constants, OptimizerError, SearchOptions, Tolerances, Variable};

/// Options of [`CatCma`](super::CatCma). [`CatCmaOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatCmaOptions {
    /// What all optimizers have. The population is by default 4 + ⌊3 ln n⌋ for n variables that
    /// are not fixed.
    pub search: SearchOptions,
    /// Initial standard deviation of numbers, as a share of every range (in own units where there
    /// is none); those with single values begin with 1.2 times as much. Default 1/6.
    pub sigma0: f64,
    /// Values that differ by less count as equal, on top of equal ones. Default 0.
    pub resolution: f64,
    /// When going on is useless. Where there are single values or categories, only what values say
    /// counts.
    pub tolerances: Tolerances,
    /// Whose constants are used. Default [`Constants::Tutorial`].
    pub constants: Constants,
}

impl CatCmaOptions {
    /// The defaults for these variables.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self {
            search: SearchOptions::new(variables),
            sigma0: 1.0 / 6.0,
            resolution: 0.0,
            tolerances: Tolerances::default(),
            constants: Constants::Tutorial,
        }
    }

    /// Fills in what was left to default, and checks all of it.
    pub(super) fn resolve(&mut self) -> Result<Domain, OptimizerError> {
        let domain = Domain::new(&self.search.variables)?;
        check_sigma0(self.sigma0)?;
        self.search.resolve_population(default_population_size(domain.dimension()))?;
        self.tolerances.resolve(self.sigma0)?;
        check_tolerance("resolution", self.resolution)?;
        Ok(domain)
    }
}

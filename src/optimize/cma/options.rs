//! What the user may decide about CMA-ES.

use serde::{Deserialize, Serialize};

use crate::optimize::variable::Domain;
use crate::optimize::{OptimizerError, Variable};

/// Beyond these, steps would leave the precision of `f64`.
pub(super) const SIGMA_RANGE: std::ops::RangeInclusive<f64> = 1e-150..=1e32;

/// The index of a candidate in its generation is kept in 32 bits.
const MAX_POPULATION_SIZE: usize = 1 << 24;

/// Options of [`CmaEs`](super::CmaEs). [`CmaOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmaOptions {
    /// What is searched, and where from. Those whose bounds coincide are fixed.
    pub variables: Vec<Variable>,
    /// Initial standard deviation, as a share of every range (in own units where there is none).
    /// Default 1/6.
    pub sigma0: f64,
    /// Candidates per generation, at least 4. By default 4 + ⌊3 ln n⌋ for n variables that are not
    /// fixed; twice as many are better from 500 noisy evaluations on.
    pub population_size: Option<usize>,
    /// Candidate `k` of generation `g` is drawn with a key made of this seed, `restart`, `g`, `k`.
    /// Default 0.
    pub seed: u64,
    /// Which restart of a search this is; each draws other numbers. Default 0.
    pub restart: u32,
    /// Values that differ by less count as equal, on top of equal ones; for example half an item
    /// of an accuracy. Default 0.
    pub resolution: f64,
    /// When going on is useless.
    pub tolerances: Tolerances,
    /// Whose constants are used. Default [`Constants::Tutorial`].
    pub constants: Constants,
}

/// When CMA-ES calls going on useless. The default is as strict as a benchmark needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerances {
    /// Smallest deviation worth searching, in the units of `sigma0`; merge weights that differ by
    /// less than 1e-4 give the same bfloat16 model. `None` stands for 1e-12 · `sigma0`.
    pub x: Option<f64>,
    /// Smallest difference between values. Default 1e-12.
    pub value: f64,
    /// Largest growth of the longest axis. Default 1e4.
    pub growth: f64,
    /// Largest condition number of the covariance matrix. Default 1e14, and no more is possible.
    pub condition: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { x: None, value: 1e-12, growth: 1e4, condition: 1e14 }
    }
}

/// Whose constants CMA-ES works with. They differ little; all but the first are for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constants {
    /// Hansen's tutorial in its revision of 2023 (<https://arxiv.org/abs/1604.00772>).
    Tutorial,
    /// Those of pycma 4.5: faster step-size adaptation, stronger damping for large populations.
    Pycma,
    /// Those of CyberAgent's cmaes 0.13: slower rank-μ learning, unlimited growth of the step.
    Cmaes,
}

impl CmaOptions {
    /// The defaults for these variables.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self {
            variables,
            sigma0: 1.0 / 6.0,
            population_size: None,
            seed: 0,
            restart: 0,
            resolution: 0.0,
            tolerances: Tolerances::default(),
            constants: Constants::Tutorial,
        }
    }

    /// Fills in what was left to default, and checks all of it.
    pub(super) fn resolve(&mut self) -> Result<Domain, OptimizerError> {
        let domain = Domain::new(&self.variables)?;
        if !SIGMA_RANGE.contains(&self.sigma0) {
            return Err(OptimizerError::Sigma0 { sigma0: self.sigma0 });
        }
        let population_size = *self
            .population_size
            .get_or_insert_with(|| default_population_size(domain.dimension()));
        if !(4..=MAX_POPULATION_SIZE).contains(&population_size) {
            return Err(OptimizerError::PopulationSize { population_size });
        }
        let x = *self.tolerances.x.get_or_insert(1e-12 * self.sigma0);
        for (name, value) in [
            ("x", x),
            ("value", self.tolerances.value),
            ("growth", self.tolerances.growth),
            ("condition", self.tolerances.condition),
            ("resolution", self.resolution),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(OptimizerError::Tolerance { name, value });
            }
        }
        Ok(domain)
    }
}

fn default_population_size(n: usize) -> usize {
    4 + (3.0 * libm::log(n as f64)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::Range;

    fn options() -> CmaOptions {
        CmaOptions::new(vec![Variable::new(Range::Linear { low: 0.0, high: 1.0 }, 0.5)])
    }

    #[test]
    fn default_population_grows_with_the_logarithm() {
        for (n, expected) in [(1, 4), (2, 6), (5, 8), (10, 10), (20, 12), (40, 15)] {
            assert_eq!(default_population_size(n), expected);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |change: fn(&mut CmaOptions)| {
            let mut options = options();
            change(&mut options);
            options.resolve().unwrap_err().to_string()
        };
        assert_eq!(message(|o| o.sigma0 = 0.0), "the initial step size cannot be `0`");
        assert_eq!(message(|o| o.sigma0 = f64::NAN), "the initial step size cannot be `NaN`");
        assert_eq!(
            message(|o| o.population_size = Some(3)),
            "a generation cannot have 3 candidates"
        );
        assert_eq!(message(|o| o.tolerances.value = -1.0), "the tolerance `value` cannot be `-1`");
        assert_eq!(message(|o| o.variables.clear()), "there are no variables to search");
        assert!(options().resolve().is_ok());
    }
}

//! What the user may decide about CMA-ES.

use serde::{Deserialize, Serialize};

use super::termination::Limits;
use crate::optimize::domain::Domain;
use crate::optimize::{OptimizerError, Range, SearchOptions, Variable};

/// Beyond these, steps would leave the precision of `f64`.
pub(in crate::optimize) const SIGMA_RANGE: std::ops::RangeInclusive<f64> = 1e-150..=1e32;

/// Options of [`CmaEs`](super::CmaEs). [`CmaOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmaOptions {
    /// What all optimizers have. The population is by default 4 + ⌊3 ln n⌋ for n variables that
    /// are not fixed; twice as many are better from 500 noisy evaluations on.
    pub search: SearchOptions,
    /// Initial standard deviation, as a share of every range (in own units where there is none).
    /// Default 1/6.
    pub sigma0: f64,
    /// What is learnt. Default [`Variant::Full`].
    pub variant: Variant,
    /// Evaluations of a similar search to begin with. They decide where the search starts and how
    /// far it looks, in place of `start`, `spread` and `sigma0`. Default none.
    pub earlier: Vec<EarlierEvaluation>,
    /// Values that differ by less count as equal, on top of equal ones; for example half an item
    /// of an accuracy. Default 0.
    pub resolution: f64,
    /// When going on is useless.
    pub tolerances: Tolerances,
    /// Whose constants are used. Default [`Constants::Tutorial`].
    pub constants: Constants,
}

/// What CMA-ES learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The whole covariance matrix: CMA-ES.
    Full,
    /// Variances without covariances: sep-CMA-ES (Ros & Hansen 2008). For more than about 100
    /// variables, or fewer than ten evaluations per variable.
    Separable,
    /// The whole matrix, with learning rates that adapt to noise: LRA-CMA-ES (Nomura, Akimoto & Ono
    /// 2023). For noisy values and more than about 100 evaluations per variable.
    LearningRates,
}

/// A point of an earlier search and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierEvaluation {
    /// One number per variable, each within its range.
    pub point: Vec<f64>,
    /// Smaller is better.
    pub value: f64,
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
            search: SearchOptions::new(variables),
            sigma0: 1.0 / 6.0,
            variant: Variant::Full,
            earlier: Vec::new(),
            resolution: 0.0,
            tolerances: Tolerances::default(),
            constants: Constants::Tutorial,
        }
    }

    /// Fills in what was left to default, and checks all of it.
    pub(super) fn resolve(&mut self) -> Result<Domain, OptimizerError> {
        let domain = Domain::new(&self.search.variables)?;
        if let Some(variable) = domain.first(Range::is_discrete) {
            return Err(OptimizerError::DiscreteVariable { optimizer: "CMA-ES", variable });
        }
        check_sigma0(self.sigma0)?;
        self.search.resolve_population(default_population_size(domain.dimension()))?;
        domain.check_points(self.earlier.iter().map(|evaluation| &evaluation.point))?;
        self.tolerances.resolve(self.sigma0)?;
        check_tolerance("resolution", self.resolution)?;
        Ok(domain)
    }
}

impl Tolerances {
    /// Fills in what was left to default, and checks all of it.
    pub(in crate::optimize) fn resolve(&mut self, sigma0: f64) -> Result<(), OptimizerError> {
        let x = *self.x.get_or_insert(1e-12 * sigma0);
        for (name, value) in [
            ("x", x),
            ("value", self.value),
            ("growth", self.growth),
            ("condition", self.condition),
        ] {
            check_tolerance(name, value)?;
        }
        Ok(())
    }

    /// In the optimizer's units.
    pub(in crate::optimize) fn limits(&self, sigma0: f64, largest_spread: f64) -> Limits {
        Limits {
            deviation: self.x.unwrap_or_default(),
            value: self.value,
            axis: self.growth * sigma0 * largest_spread,
            condition: self.condition,
        }
    }
}

/// Checks an initial step size.
pub(in crate::optimize) fn check_sigma0(sigma0: f64) -> Result<(), OptimizerError> {
    if SIGMA_RANGE.contains(&sigma0) { Ok(()) } else { Err(OptimizerError::Sigma0 { sigma0 }) }
}

/// Checks a tolerance.
pub(in crate::optimize) fn check_tolerance(
    name: &'static str,
    value: f64,
) -> Result<(), OptimizerError> {
    let is_sound = value.is_finite() && value >= 0.0;
    if is_sound { Ok(()) } else { Err(OptimizerError::Tolerance { name, value }) }
}

/// 4 + ⌊3 ln n⌋.
pub(in crate::optimize) fn default_population_size(n: usize) -> usize {
    4 + (3.0 * libm::log(n as f64)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

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
            message(|o| o.search.population_size = Some(3)),
            "a generation cannot have 3 candidates"
        );
        assert_eq!(message(|o| o.tolerances.value = -1.0), "the tolerance `value` cannot be `-1`");
        assert_eq!(message(|o| o.search.variables.clear()), "there are no variables to search");
        assert!(options().resolve().is_ok());
    }
}

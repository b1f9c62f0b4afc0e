//! What a search may vary, and the coordinates it is done in.
//!
//! Every range becomes [0, 1], linearly or by its logarithm, so that one step size suits all
//! variables. A variable without a range is searched in its own units. A variable whose bounds
//! coincide is fixed and has no coordinate.

use serde::{Deserialize, Serialize};

use super::OptimizerError;
use super::bounds::{fold, unfold};

/// Beyond these the initial covariance matrix would be near the limit of its precision.
const SPREAD_RANGE: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

/// A number to search for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Where it may lie.
    pub range: Range,
    /// Where the search starts, in its own units; within the range, bounds included.
    pub start: f64,
    /// Factor on its initial standard deviation, from 0.001 to 1000; 1 treats it like the others.
    pub spread: f64,
}

/// Where a variable may lie, and on which scale steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Range {
    /// Anywhere.
    Unbounded,
    /// From `low` to `high`, both included; equal steps are equal differences.
    Linear {
        /// Lower bound.
        low: f64,
        /// Upper bound, not below `low`.
        high: f64,
    },
    /// From `low` to `high`, both included; equal steps are equal ratios.
    Logarithmic {
        /// Lower bound, above 0.
        low: f64,
        /// Upper bound, not below `low`.
        high: f64,
    },
}

impl Variable {
    /// A variable that varies like the others.
    pub fn new(range: Range, start: f64) -> Self {
        Self { range, start, spread: 1.0 }
    }

    fn is_fixed(&self) -> bool {
        match self.range {
            Range::Unbounded => false,
            Range::Linear { low, high } | Range::Logarithmic { low, high } => low == high,
        }
    }

    fn check(&self, variable: usize) -> Result<(), OptimizerError> {
        let inside = match self.range {
            Range::Unbounded => self.start.is_finite(),
            Range::Linear { low, high } | Range::Logarithmic { low, high } => {
                if !((high - low).is_finite() && low <= high) {
                    return Err(OptimizerError::Bounds { variable, low, high });
                }
                if matches!(self.range, Range::Logarithmic { .. }) {
                    if low <= 0.0 {
                        return Err(OptimizerError::LogarithmOfBound { variable, low });
                    }
                    if low < high && libm::log(low) >= libm::log(high) {
                        return Err(OptimizerError::Bounds { variable, low, high });
                    }
                }
                (low..=high).contains(&self.start)
            }
        };
        if !inside {
            return Err(OptimizerError::Start { variable, start: self.start });
        }
        if !SPREAD_RANGE.contains(&self.spread) {
            return Err(OptimizerError::Spread { variable, spread: self.spread });
        }
        Ok(())
    }

    /// From the variable's units to the optimizer's.
    fn raw_of(&self, x: f64) -> f64 {
        match self.range {
            Range::Unbounded => x,
            Range::Linear { low, high } => unfold((x - low) / (high - low)),
            Range::Logarithmic { low, high } => {
                let (bottom, top) = (libm::log(low), libm::log(high));
                unfold(((libm::log(x) - bottom) / (top - bottom)).clamp(0.0, 1.0))
            }
        }
    }

    /// From the optimizer's units to the variable's.
    fn at_raw(&self, raw: f64) -> f64 {
        match self.range {
            Range::Unbounded => raw,
            _ => self.at_share(fold(raw)),
        }
    }

    /// The point that lies `share` of the way, in [0, 1], from the lower to the upper bound.
    fn at_share(&self, share: f64) -> f64 {
        match self.range {
            Range::Unbounded => share,
            Range::Linear { low, high } => (low * (1.0 - share) + high * share).clamp(low, high),
            Range::Logarithmic { low, high } => {
                let logarithm = libm::log(low) * (1.0 - share) + libm::log(high) * share;
                libm::exp(logarithm).clamp(low, high)
            }
        }
    }
}

/// Variables that were checked, and which of them have a coordinate.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    variables: Vec<Variable>,
    free: Vec<usize>,
}

impl Domain {
    /// Checks the variables. At least one of them must be free to vary.
    pub(super) fn new(variables: &[Variable]) -> Result<Self, OptimizerError> {
        if variables.is_empty() {
            return Err(OptimizerError::NoVariables);
        }
        for (index, variable) in variables.iter().enumerate() {
            variable.check(index)?;
        }
        let free: Vec<_> = (0..variables.len()).filter(|&i| !variables[i].is_fixed()).collect();
        if free.is_empty() {
            return Err(OptimizerError::NothingVaries);
        }
        Ok(Self { variables: variables.to_vec(), free })
    }

    /// Number of coordinates.
    pub(super) fn dimension(&self) -> usize {
        self.free.len()
    }

    /// Number of variables, fixed ones included.
    pub(super) fn n_variables(&self) -> usize {
        self.variables.len()
    }

    /// Where the search starts, one number per coordinate.
    pub(super) fn start(&self) -> Vec<f64> {
        self.free_variables().map(|variable| variable.raw_of(variable.start)).collect()
    }

    /// The factors on the initial deviations, one per coordinate.
    pub(super) fn spreads(&self) -> Vec<f64> {
        self.free_variables().map(|variable| variable.spread).collect()
    }

    /// Whether each coordinate has bounds.
    pub(super) fn bounded(&self) -> Vec<bool> {
        self.free_variables().map(|variable| variable.range != Range::Unbounded).collect()
    }

    /// The first variable that has no range.
    pub(super) fn first_unbounded(&self) -> Option<usize> {
        self.variables.iter().position(|variable| variable.range == Range::Unbounded)
    }

    /// The point inside the box that coordinates anywhere stand for.
    pub(super) fn point(&self, raw: &[f64]) -> Vec<f64> {
        self.spread_out(raw, |variable| variable.start, Variable::at_raw)
    }

    /// The point that lies the given shares of the way from the lower to the upper bounds.
    pub(super) fn point_at(&self, shares: &[f64]) -> Vec<f64> {
        self.spread_out(shares, |variable| variable.start, Variable::at_share)
    }

    /// One number per variable from one per coordinate, 0 for the fixed ones.
    pub(super) fn per_variable(&self, values: &[f64]) -> Vec<f64> {
        self.spread_out(values, |_| 0.0, |_, value| value)
    }

    fn spread_out(
        &self,
        coordinates: &[f64],
        fixed: impl Fn(&Variable) -> f64,
        free: impl Fn(&Variable, f64) -> f64,
    ) -> Vec<f64> {
        let mut values: Vec<f64> = self.variables.iter().map(fixed).collect();
        for (&index, &coordinate) in self.free.iter().zip(coordinates) {
            values[index] = free(&self.variables[index], coordinate);
        }
        values
    }

    fn free_variables(&self) -> impl Iterator<Item = &Variable> {
        self.free.iter().map(|&index| &self.variables[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn linear(low: f64, high: f64, start: f64) -> Variable {
        Variable::new(Range::Linear { low, high }, start)
    }

    fn logarithmic(low: f64, high: f64, start: f64) -> Variable {
        Variable::new(Range::Logarithmic { low, high }, start)
    }

    #[test]
    fn starts_map_to_themselves() {
        let variables = [
            linear(-2.0, 6.0, -2.0),
            linear(-2.0, 6.0, 5.9),
            logarithmic(1e-4, 10.0, 1e-4),
            logarithmic(1e-4, 10.0, 0.03),
            logarithmic(1e-4, 10.0, 10.0),
            Variable::new(Range::Unbounded, 1e6),
        ];
        let domain = Domain::new(&variables).unwrap();
        for (x, variable) in domain.point(&domain.start()).iter().zip(&variables) {
            assert!((x - variable.start).abs() <= 1e-12 * variable.start.abs());
        }
    }

    #[test]
    fn bounds_are_reached_exactly() {
        let domain = Domain::new(&[linear(0.1, 0.7, 0.2), logarithmic(0.3, 0.9, 0.4)]).unwrap();
        assert_eq!(domain.point_at(&[0.0, 0.0]), [0.1, 0.3]);
        assert_eq!(domain.point_at(&[1.0, 1.0]), [0.7, 0.9]);
    }

    #[test]
    fn logarithmic_steps_are_ratios() {
        let domain = Domain::new(&[logarithmic(0.01, 1.0, 0.1)]).unwrap();
        assert!((domain.point(&[0.5])[0] - 0.1).abs() < 1e-15);
        assert!((domain.point(&[0.75])[0] - 0.1 * 10f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn fixed_variables_have_no_coordinate() {
        let variables = [linear(0.0, 1.0, 0.5), linear(2.0, 2.0, 2.0), linear(0.0, 4.0, 1.0)];
        let domain = Domain::new(&variables).unwrap();
        assert_eq!(domain.dimension(), 2);
        assert_eq!(domain.point(&[0.25, 0.5]), [0.25, 2.0, 2.0]);
        assert_eq!(domain.per_variable(&[7.0, 8.0]), [7.0, 0.0, 8.0]);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |variables: &[Variable]| Domain::new(variables).unwrap_err().to_string();
        assert_eq!(message(&[]), "there are no variables to search");
        assert_eq!(
            message(&[linear(0.0, 1.0, 0.5), linear(1.0, 0.0, 0.5)]),
            "variable 1 cannot range from `1` to `0`"
        );
        assert_eq!(
            message(&[linear(0.0, f64::INFINITY, 0.5)]),
            "variable 0 cannot range from `0` to `inf`"
        );
        assert_eq!(
            message(&[logarithmic(0.0, 1.0, 0.5)]),
            "variable 0 has a logarithmic scale, but its lower bound is `0`"
        );
        assert_eq!(
            message(&[linear(0.0, 1.0, 1.5)]),
            "variable 0 cannot start at `1.5`, which is outside of its range"
        );
        assert_eq!(
            message(&[Variable::new(Range::Unbounded, f64::NAN)]),
            "variable 0 cannot start at `NaN`, which is outside of its range"
        );
        assert_eq!(
            message(&[Variable { spread: 0.0, ..linear(0.0, 1.0, 0.5) }]),
            "variable 0 cannot have the initial spread `0`"
        );
        assert!(matches!(
            Domain::new(&[linear(1.0, 1.0, 1.0)]),
            Err(OptimizerError::NothingVaries)
        ));
    }

    proptest! {
        #[test]
        fn points_are_inside(
            low in 1e-9..1e3_f64,
            width in 1e-9..1e3_f64,
            raw in prop::array::uniform2(-1e20..1e20_f64),
        ) {
            let high = low + width;
            prop_assume!(low < high);
            let domain =
                Domain::new(&[linear(low, high, low), logarithmic(low, high, high)]).unwrap();
            for x in domain.point(&raw) {
                prop_assert!((low..=high).contains(&x));
            }
        }
    }
}

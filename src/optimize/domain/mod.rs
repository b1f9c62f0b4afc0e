//! What a search may vary, and the coordinates it is done in.
//!
//! Every range becomes [0, 1], linearly or by its logarithm, so that one step size suits all
//! variables. A variable without a range is searched in its own units, and a category's coordinate
//! is its number. A variable that has only one value is fixed and has no coordinate.

mod bounds;
mod variable;

pub(super) use self::variable::Levels;
pub use self::variable::{Range, Variable};
use super::OptimizerError;

/// Variables that were checked, and which of them have a coordinate.
#[derive(Debug, Clone)]
pub struct Domain {
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

    /// Whether each coordinate is folded into bounds.
    pub(super) fn bounded(&self) -> Vec<bool> {
        let folded =
            |range: &Range| matches!(range, Range::Linear { .. } | Range::Logarithmic { .. });
        self.free_variables().map(|variable| folded(&variable.range)).collect()
    }

    /// What each coordinate may be.
    pub(super) fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.free_variables().map(|variable| &variable.range)
    }

    /// The first variable that a property holds for.
    pub(super) fn first(&self, property: impl Fn(&Range) -> bool) -> Option<usize> {
        self.variables.iter().position(|variable| !variable.is_fixed() && property(&variable.range))
    }

    /// Checks that points have one number per variable, each within its range.
    pub(super) fn check_points<'a>(
        &self,
        points: impl IntoIterator<Item = &'a Vec<f64>>,
    ) -> Result<(), OptimizerError> {
        for (point, values) in points.into_iter().enumerate() {
            let (found, expected) = (values.len(), self.n_variables());
            if found != expected {
                return Err(OptimizerError::PointLength { point, found, expected });
            }
            let mut pairs = self.variables.iter().zip(values);
            if let Some(variable) = pairs.position(|(variable, &x)| !variable.contains(x)) {
                let value = values[variable];
                return Err(OptimizerError::PointOutside { point, variable, value });
            }
        }
        Ok(())
    }

    /// Coordinates that stand for a point inside the box.
    pub(super) fn raw(&self, point: &[f64]) -> Vec<f64> {
        self.gather(point, Variable::raw_of)
    }

    /// How much of the way from the lower to the upper bounds lies before a point.
    pub(super) fn shares(&self, point: &[f64]) -> Vec<f64> {
        self.gather(point, Variable::share_of)
    }

    fn gather(&self, point: &[f64], map: impl Fn(&Variable, f64) -> f64) -> Vec<f64> {
        self.free.iter().map(|&index| map(&self.variables[index], point[index])).collect()
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

//! One number that a search may turn, and its map to the unit interval.
//!
//! Optimizers work in the unit cube, in which every variable has the same length. With `u` in
//! `[0, 1]`, low end `l` and high end `h`:
//!
//! ```text
//! uniform      l·(1 − u) + h·u
//! log_uniform  exp(ln l · (1 − u) + ln h · u)
//! ```
//!
//! The ends are reached exactly, and logarithms come from `libm`, so that a journal replayed on
//! another machine gives the same numbers.

/// A number that the search may turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Unique in its search: the path in the merge config with models by their short names, such
    /// as `models.adder.weight[layers 0-3]`.
    pub name: String,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
    /// Whether equal ratios, not equal differences, are equally far apart.
    pub log: bool,
    /// Where the search starts, in `low ..= high`.
    pub initial: f64,
}

impl Variable {
    /// The value at `unit`, which is clamped to `[0, 1]`.
    pub fn value(&self, unit: f64) -> f64 {
        if unit <= 0.0 {
            self.low
        } else if unit >= 1.0 {
            self.high
        } else if self.log {
            libm::exp(libm::log(self.low) * (1.0 - unit) + libm::log(self.high) * unit)
                .clamp(self.low, self.high)
        } else {
            (self.low * (1.0 - unit) + self.high * unit).clamp(self.low, self.high)
        }
    }

    /// Where in `[0, 1]` the value lies; the inverse of [`Variable::value`] up to rounding.
    pub fn unit(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let unit = if self.log {
            let low = libm::log(self.low);
            (libm::log(value) - low) / (libm::log(self.high) - low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        unit.clamp(0.0, 1.0)
    }
}

/// The middle of an interval: arithmetic, or geometric for logarithmic variables.
pub(super) fn middle(low: f64, high: f64, log: bool) -> f64 {
    let middle = if log { low.sqrt() * high.sqrt() } else { low / 2.0 + high / 2.0 };
    middle.clamp(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(low: f64, high: f64, log: bool) -> Variable {
        Variable { name: "v".to_owned(), low, high, log, initial: middle(low, high, log) }
    }

    #[test]
    fn ends_and_middles_are_exact() {
        let weight = variable(0.1, 0.7, false);
        assert_eq!((weight.value(0.0), weight.value(1.0)), (0.1, 0.7));
        assert!((weight.unit(weight.initial) - 0.5).abs() < 1e-15);
        let density = variable(0.01, 1.0, true);
        assert_eq!((density.value(0.0), density.value(1.0)), (0.01, 1.0));
        assert!((density.initial - 0.1).abs() < 1e-15);
        assert!((density.unit(0.1) - 0.5).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn values_stay_inside_and_come_back(
            low in 1e-6f64..10.0, width in 1e-3f64..10.0, log: bool, unit in -0.5f64..1.5,
        ) {
            let variable = variable(low, low + width, log);
            let value = variable.value(unit);
            prop_assert!(variable.low <= value && value <= variable.high);
            prop_assert!((variable.unit(value) - unit.clamp(0.0, 1.0)).abs() < 1e-9);
        }
    }
}

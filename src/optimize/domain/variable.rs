//! A single variable: where it may lie, and how its coordinate stands for it.

use serde::{Deserialize, Serialize};

use super::bounds::{fold, unfold};
use crate::optimize::OptimizerError;

/// Beyond these the initial covariance matrix would be near the limit of its precision.
const SPREAD_RANGE: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

/// Whole numbers up to here are exact in `f64`.
const LARGEST_WHOLE: i64 = 1 << 53;

/// A number to search for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Where it may lie.
    pub range: Range,
    /// Where the search starts, in its own units; within the range, bounds included.
    pub start: f64,
    /// Factor on its initial standard deviation, from 0.001 to 1000; 1 treats it like the others.
    /// Without meaning for categories.
    pub spread: f64,
}

/// Where a variable may lie, and on which scale steps are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The whole numbers from `low` to `high`, both included.
    Whole {
        /// Lower bound, from -2⁵³.
        low: i64,
        /// Upper bound, up to 2⁵³, not below `low`.
        high: i64,
    },
    /// These numbers, in ascending order and each once.
    Values(Vec<f64>),
    /// Things without an order, numbered from 0; so many.
    Categories(usize),
}

impl Range {
    /// Whether it consists of single points.
    pub fn is_discrete(&self) -> bool {
        matches!(self, Self::Whole { .. } | Self::Values(_) | Self::Categories(_))
    }

    /// The single points of a range with an order.
    pub(crate) fn levels(&self) -> Option<Levels<'_>> {
        match self {
            Self::Whole { low, high } => Some(Levels::Whole { low: *low, count: high - low + 1 }),
            Self::Values(values) => Some(Levels::Values(values)),
            _ => None,
        }
    }
}

impl Variable {
    /// A variable that varies like the others.
    pub fn new(range: Range, start: f64) -> Self {
        Self { range, start, spread: 1.0 }
    }

    pub(in crate::optimize) fn is_fixed(&self) -> bool {
        match &self.range {
            Range::Unbounded => false,
            Range::Linear { low, high } | Range::Logarithmic { low, high } => low == high,
            Range::Whole { low, high } => low == high,
            Range::Values(values) => values.len() == 1,
            Range::Categories(count) => *count == 1,
        }
    }

    pub(super) fn check(&self, variable: usize) -> Result<(), OptimizerError> {
        match self.range {
            Range::Unbounded => {}
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
            }
            Range::Whole { low, high } => {
                if low > high || low < -LARGEST_WHOLE || high > LARGEST_WHOLE {
                    let (low, high) = (low as f64, high as f64);
                    return Err(OptimizerError::Bounds { variable, low, high });
                }
            }
            Range::Values(ref values) => {
                let ascends = values.is_sorted_by(|a, b| a < b);
                if values.is_empty() || !ascends || !values.iter().all(|value| value.is_finite()) {
                    return Err(OptimizerError::Values { variable });
                }
            }
            Range::Categories(count) => {
                if count == 0 || count > u32::MAX as usize {
                    return Err(OptimizerError::Values { variable });
                }
            }
        }
        if !self.contains(self.start) {
            return Err(OptimizerError::Start { variable, start: self.start });
        }
        if !SPREAD_RANGE.contains(&self.spread) {
            return Err(OptimizerError::Spread { variable, spread: self.spread });
        }
        Ok(())
    }

    /// Whether the variable may have the value.
    pub(super) fn contains(&self, x: f64) -> bool {
        match &self.range {
            Range::Unbounded => x.is_finite(),
            Range::Linear { low, high } | Range::Logarithmic { low, high } => {
                (*low..=*high).contains(&x)
            }
            Range::Whole { low, high } => {
                x.fract() == 0.0 && (*low as f64..=*high as f64).contains(&x)
            }
            Range::Values(values) => values.contains(&x),
            Range::Categories(count) => x.fract() == 0.0 && (0.0..*count as f64).contains(&x),
        }
    }

    /// From the variable's units to the optimizer's.
    pub(super) fn raw_of(&self, x: f64) -> f64 {
        match &self.range {
            Range::Unbounded | Range::Categories(_) => x,
            Range::Linear { .. } | Range::Logarithmic { .. } => unfold(self.share_of(x)),
            range => range.levels().map_or(x, |levels| levels.coordinate(levels.index_of(x))),
        }
    }

    /// From the optimizer's units to the variable's.
    pub(super) fn at_raw(&self, raw: f64) -> f64 {
        match &self.range {
            Range::Unbounded | Range::Categories(_) => raw,
            Range::Linear { .. } | Range::Logarithmic { .. } => self.at_share(fold(raw)),
            range => range.levels().map_or(raw, |levels| levels.value(levels.cell(raw))),
        }
    }

    /// The point that lies `share` of the way, in [0, 1], from the lower to the upper bound. Single
    /// points divide the way equally among them.
    pub(in crate::optimize) fn at_share(&self, share: f64) -> f64 {
        let part = |count: usize| ((share * count as f64) as usize).min(count - 1);
        match &self.range {
            Range::Unbounded => share,
            Range::Linear { low, high } => (low * (1.0 - share) + high * share).clamp(*low, *high),
            Range::Logarithmic { low, high } => {
                let logarithm = libm::log(*low) * (1.0 - share) + libm::log(*high) * share;
                libm::exp(logarithm).clamp(*low, *high)
            }
            Range::Categories(count) => part(*count) as f64,
            range => range.levels().map_or(share, |levels| levels.value(part(levels.count()))),
        }
    }

    /// How much of the way from the lower to the upper bound lies before `x`, in [0, 1]: the middle
    /// of what [`Self::at_share`] maps to it.
    pub(super) fn share_of(&self, x: f64) -> f64 {
        let middle = |index: usize, count: usize| (index as f64 + 0.5) / count as f64;
        match &self.range {
            Range::Unbounded => x,
            Range::Linear { low, high } => (x - low) / (high - low),
            Range::Logarithmic { low, high } => {
                let (bottom, top) = (libm::log(*low), libm::log(*high));
                ((libm::log(x) - bottom) / (top - bottom)).clamp(0.0, 1.0)
            }
            Range::Categories(count) => middle(x as usize, *count),
            range => range.levels().map_or(x, |levels| middle(levels.index_of(x), levels.count())),
        }
    }
}

/// Numbers in ascending order, at least two, of which the first has the coordinate 0 and the last
/// the coordinate 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Levels<'a> {
    /// So many whole numbers from `low` on.
    Whole {
        /// The first.
        low: i64,
        /// How many.
        count: i64,
    },
    /// These.
    Values(&'a [f64]),
}

impl Levels<'_> {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Whole { count, .. } => *count as usize,
            Self::Values(values) => values.len(),
        }
    }

    fn value(&self, index: usize) -> f64 {
        match self {
            Self::Whole { low, .. } => (low + index as i64) as f64,
            Self::Values(values) => values[index],
        }
    }

    fn index_of(&self, value: f64) -> usize {
        match self {
            Self::Whole { low, .. } => (value as i64 - low).max(0) as usize,
            Self::Values(values) => values.partition_point(|&other| other < value),
        }
    }

    /// The coordinate of a level.
    pub(crate) fn coordinate(&self, index: usize) -> f64 {
        let last = self.count() - 1;
        match self {
            Self::Whole { .. } => index as f64 / last as f64,
            Self::Values(values) => (values[index] - values[0]) / (values[last] - values[0]),
        }
    }

    /// The coordinate half way between a level and the next.
    pub(crate) fn threshold(&self, index: usize) -> f64 {
        (self.coordinate(index) + self.coordinate(index + 1)) / 2.0
    }

    /// The level nearest to a coordinate; of two, the lower.
    pub(crate) fn cell(&self, coordinate: f64) -> usize {
        let last = self.count() - 1;
        match self {
            Self::Whole { .. } => {
                (coordinate * last as f64 - 0.5).ceil().clamp(0.0, last as f64) as usize
            }
            Self::Values(_) => {
                let (mut low, mut high) = (0, last);
                while low < high {
                    let middle = (low + high) / 2;
                    if self.threshold(middle) < coordinate {
                        low = middle + 1
                    } else {
                        high = middle
                    }
                }
                low
            }
        }
    }
}

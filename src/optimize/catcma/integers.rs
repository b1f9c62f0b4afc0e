//! Numbers with single values under a normal distribution: never so narrow that they stand still.
//!
//! CatCMA with margin, sections on integer variables (Hamano et al. 2025,
//! <https://arxiv.org/abs/2504.07884>). A coordinate is decoded to the nearest value, so a deviation
//! that is small beside the distance of values would never mutate it again. Each such coordinate is
//! therefore stretched by a factor of its own, A, and its mean moved, until the probability of
//! another value has a margin.

use serde::{Deserialize, Serialize};

use crate::optimize::cma::distribution::Distribution;
use crate::optimize::domain::Levels;
use crate::optimize::normal;

/// Probabilities are kept this far from 0 and 1/2.
const SMALLEST_PROBABILITY: f64 = 1e-8;

/// What is remembered of the integer coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Integers {
    /// A: one factor per coordinate of the distribution, 1 for continuous ones.
    pub(super) stretch: Vec<f64>,
    /// The probability of another value than the mean's, one per integer coordinate.
    pub(super) mutation: Vec<f64>,
}

/// A coordinate of the distribution that has single values.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntegerCoordinate<L> {
    /// Which.
    pub(super) index: usize,
    /// Its values.
    pub(super) levels: L,
}

impl Integers {
    /// Nothing stretched, mutations as likely as they may be.
    pub(super) fn new(n: usize, n_integers: usize) -> Self {
        Self { stretch: vec![1.0; n], mutation: vec![0.5 - SMALLEST_PROBABILITY; n_integers] }
    }

    /// Whether all is in range for `n` coordinates.
    pub(super) fn is_sound(&self, n: usize, n_integers: usize) -> bool {
        self.stretch.len() == n
            && self.mutation.len() == n_integers
            && self.stretch.iter().all(|&stretch| stretch > 0.0 && stretch.is_finite())
            && self.mutation.iter().all(|mutation| (0.0..=1.0).contains(mutation))
    }

    /// Moves the better points of a generation to the values that they were decoded to, where these
    /// differ from the mean's, and the others of them back by as much in all. Says of every integer
    /// coordinate whether there was such a mutation.
    pub(super) fn center(
        coordinates: &[IntegerCoordinate<Levels<'_>>],
        mean: &[f64],
        better: &mut [Vec<f64>],
    ) -> Vec<bool> {
        let center = |&IntegerCoordinate { index, levels }: &IntegerCoordinate<Levels<'_>>| {
            let of_mean = levels.cell(mean[index]);
            let mut shift = 0.0;
            let (mut upwards, mut downwards) = (0.0, 0.0);
            let mut succeeded = false;
            let mut unmoved = Vec::new();
            for (position, point) in better.iter_mut().enumerate() {
                let cell = levels.cell(point[index]);
                let way = levels.coordinate(cell) - point[index];
                if cell != of_mean {
                    succeeded = true;
                    shift += way;
                    point[index] += way;
                } else {
                    if way > 0.0 {
                        upwards += way
                    } else {
                        downwards += way
                    }
                    unmoved.push((position, way));
                }
            }
            let available = if shift < 0.0 { upwards } else { downwards };
            if shift * available < 0.0 {
                let share = (-shift / available).min(1.0);
                for (position, way) in unmoved.into_iter().filter(|(_, way)| shift * way < 0.0) {
                    better[position][index] += share * way;
                }
            }
            succeeded
        };
        coordinates.iter().map(center).collect()
    }

    /// Gives every integer coordinate its margin: `margin` is the least probability of another
    /// value. Coordinates without a mutation among the better points mutate no more than before.
    pub(super) fn correct(
        &mut self,
        coordinates: &[IntegerCoordinate<Levels<'_>>],
        distribution: &mut Distribution,
        succeeded: &[bool],
        margin: f64,
    ) {
        let deviations: Vec<f64> = distribution
            .relative_deviations()
            .map(|deviation| distribution.sigma * deviation)
            .collect();
        let numbered = coordinates.iter().zip(succeeded).zip(&mut self.mutation);
        for ((coordinate, &succeeded), mutation) in numbered {
            let IntegerCoordinate { index, levels } = *coordinate;
            let mut axis = Axis {
                mean: distribution.mean[index],
                stretch: self.stretch[index],
                deviation: deviations[index],
            };
            let ceiling = if succeeded { None } else { Some(*mutation) };
            *mutation = axis.keep_margin(levels, margin, ceiling);
            distribution.mean[index] = axis.mean;
            self.stretch[index] = axis.stretch;
        }
    }
}

/// One coordinate of the distribution: its deviation is `stretch · deviation`.
struct Axis {
    mean: f64,
    stretch: f64,
    deviation: f64,
}

impl Axis {
    /// Moves and stretches until the probability of other values is at least `margin` and, if it may
    /// not grow, at most `ceiling`. Returns it.
    fn keep_margin(&mut self, levels: Levels<'_>, margin: f64, ceiling: Option<f64>) -> f64 {
        let last = levels.count() - 1;
        let cell = levels.cell(self.mean);
        // In an outer cell both are the only neighbouring threshold.
        let low = levels.threshold(cell.saturating_sub(1));
        let high = levels.threshold(cell.min(last - 1));
        let scale = self.stretch * self.deviation;
        let below = normal::cdf((low - self.mean) / scale);
        let above = normal::cdf((self.mean - high) / scale);
        if below.max(above) > 0.5 {
            let wish = below.min(above).max(margin);
            let probability = clip(ceiling.map_or(wish, |ceiling| wish.min(ceiling)));
            let distance = (levels.coordinate(cell) - high).abs();
            self.stretch =
                self.stretch.max(distance / (self.deviation * -normal::quantile(margin)));
            let side = if self.mean > high { 1.0 } else { -1.0 };
            let way = self.stretch * self.deviation * -normal::quantile(probability);
            self.mean = high + side * way;
            return probability;
        }
        let floor = margin / 2.0;
        let mut middle = 1.0 - below - above;
        let (mut below, mut above) = (below.max(floor), above.max(floor));
        let middle_floor = match ceiling {
            Some(ceiling) => 1.0 - ceiling,
            None => floor,
        };
        if ceiling.is_some() {
            middle = middle.max(middle_floor);
        }
        // What is too much in all is taken from each by how far it is above its floor.
        let spare = below + above + middle - margin - middle_floor;
        if spare > 0.0 {
            let share = (1.0 - below - above - middle) / spare;
            below += share * (below - floor);
            above += share * (above - floor);
        }
        let (below, above) = (clip(below), clip(above));
        let (to_low, to_high) = (-normal::quantile(below), -normal::quantile(above));
        self.stretch = (high - low) / ((to_low + to_high) * self.deviation);
        self.mean = (low * to_high + high * to_low) / (to_low + to_high);
        below + above
    }
}

fn clip(probability: f64) -> f64 {
    probability.clamp(SMALLEST_PROBABILITY, 0.5 - SMALLEST_PROBABILITY)
}

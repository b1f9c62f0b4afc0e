//! Signs that going on is useless.
//!
//! After Hansen 2009, BBOB benchmarking of a BI-population CMA-ES, with two changes for values that
//! are steps (accuracies): nothing is concluded before the histories are full, and where most
//! generations are flat, only [`Reason::EqualFun`] is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::parameters::Parameters;
use super::ranking::Ranking;
use crate::optimize::Reason;

/// Generations before any conclusion.
const EARLIEST: u64 = 10;

/// Longest history that is compared for stagnation, in generations.
const LONGEST_HISTORY: usize = 20_000;

/// Beyond which values each sign shows, in the optimizer's units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::optimize) struct Limits {
    /// Smallest deviation worth searching.
    pub(in crate::optimize) deviation: f64,
    /// Smallest difference between values.
    pub(in crate::optimize) value: f64,
    /// Largest standard deviation along an axis.
    pub(in crate::optimize) axis: f64,
    /// Largest condition number.
    pub(in crate::optimize) condition: f64,
}

/// The values of past generations, oldest first. Generations without one feasible candidate have
/// no values and are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct History {
    best: VecDeque<f64>,
    median: VecDeque<f64>,
    flat: VecDeque<bool>,
    /// Difference between worst and best of the last generation.
    span: f64,
}

impl History {
    /// Notes a generation that has at least one scored candidate. `generation` counts it.
    pub(in crate::optimize) fn record(
        &mut self,
        ranking: &Ranking,
        generation: u64,
        parameters: &Parameters,
    ) {
        let values = &ranking.values;
        self.best.push_back(values[0]);
        self.median.push_back(values[(values.len() - 1) / 2]);
        self.flat.push_back(ranking.is_flat());
        self.span = (values[values.len() - 1] - values[0]).min(f64::MAX);

        let window = parameters.history_window();
        let keep = window.max(stagnation_window(generation, parameters));
        keep_newest(&mut self.best, keep);
        keep_newest(&mut self.median, keep);
        keep_newest(&mut self.flat, window);
    }

    /// Whether the histories belong together.
    pub(in crate::optimize) fn is_sound(&self) -> bool {
        self.best.len() == self.median.len() && self.flat.len() <= self.best.len()
    }

    fn mostly_flat(&self, window: usize) -> bool {
        let n_flat = self.flat.iter().filter(|&&flat| flat).count();
        self.flat.len() >= window && 3 * n_flat > window
    }

    fn has_converged(&self, window: usize, tolerance: f64) -> bool {
        if self.best.len() < window {
            return false;
        }
        let newest = self.best.range(self.best.len() - window..);
        let (low, high) = newest.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        high - low < tolerance && self.span < tolerance
    }

    /// Neither the best nor the median of the newest 30 % is better than that of the oldest 30 %.
    fn stagnates(&self, window: usize) -> bool {
        if self.best.len() < window {
            return false;
        }
        let part = window * 3 / 10;
        [&self.best, &self.median].into_iter().all(|values| {
            let start = values.len() - window;
            let oldest = median(values.range(start..start + part));
            let newest = median(values.range(values.len() - part..));
            newest >= oldest
        })
    }
}

/// All signs after `generation` finished generations.
pub(in crate::optimize) fn reasons(
    history: &History,
    distribution: Option<&Distribution>,
    generation: u64,
    parameters: &Parameters,
    limits: &Limits,
) -> Vec<Reason> {
    if generation < EARLIEST {
        return Vec::new();
    }
    let window = parameters.history_window();
    let flat = history.mostly_flat(window);
    let converged = !flat && history.has_converged(window, limits.value);
    let stagnates = !flat && history.stagnates(stagnation_window(generation, parameters));
    let of_values =
        [(Reason::TolFun, converged), (Reason::EqualFun, flat), (Reason::Stagnation, stagnates)];
    let of_distribution =
        distribution.map(|distribution| reasons_of_distribution(distribution, generation, limits));
    of_values
        .into_iter()
        .chain(of_distribution.into_iter().flatten())
        .filter_map(|(reason, holds)| holds.then_some(reason))
        .collect()
}

fn reasons_of_distribution(
    distribution: &Distribution,
    generation: u64,
    limits: &Limits,
) -> [(Reason, bool); 5] {
    let longest = distribution.sigma * distribution.covariance.axis_lengths().0;
    let is_narrow =
        distribution.covariance.is_lifted() || distribution.condition() > limits.condition;
    [
        (Reason::TolX, steps_are_below(distribution, limits.deviation)),
        (Reason::TolXUp, longest > limits.axis),
        (Reason::Condition, is_narrow),
        (Reason::NoEffectAxis, has_no_effect_along_axis(distribution, generation)),
        (Reason::NoEffectCoordinate, has_no_effect_along_coordinate(distribution)),
    ]
}

fn stagnation_window(generation: u64, parameters: &Parameters) -> usize {
    let shortest = 110 + parameters.history_window();
    let share = usize::try_from(generation / 5).unwrap_or(LONGEST_HISTORY);
    shortest.max(share).min(LONGEST_HISTORY)
}

fn steps_are_below(distribution: &Distribution, tolerance: f64) -> bool {
    let sigma = distribution.sigma;
    distribution.relative_deviations().all(|deviation| sigma * deviation < tolerance)
        && distribution.p_c.iter().all(|p| sigma * p.abs() < tolerance)
}

/// Looks at one axis per generation, in turn.
fn has_no_effect_along_axis(distribution: &Distribution, generation: u64) -> bool {
    let n = distribution.mean.len();
    let index = (generation % n as u64) as usize;
    let axis = distribution.covariance.axis(index);
    let share = 0.1 * distribution.sigma;
    distribution.mean.iter().zip(&axis).all(|(m, component)| m + share * component == *m)
}

fn has_no_effect_along_coordinate(distribution: &Distribution) -> bool {
    let sigma = distribution.sigma;
    distribution
        .mean
        .iter()
        .zip(distribution.relative_deviations())
        .any(|(m, deviation)| m + 0.2 * sigma * deviation == *m)
}

fn keep_newest<T>(values: &mut VecDeque<T>, count: usize) {
    let surplus = values.len().saturating_sub(count);
    values.drain(..surplus);
}

/// The lower median; no mean of two, which could overflow.
fn median<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let mut sorted: Vec<f64> = values.copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::cma::covariance::Covariance;
    use crate::optimize::cma::options::{Constants, Variant};

    const N: usize = 3;

    fn parameters() -> Parameters {
        Parameters::new(N, 7, Constants::Tutorial, Variant::Full)
    }

    const LIMITS: Limits = Limits { deviation: 1e-12, value: 1e-12, axis: 1e4, condition: 1e14 };

    /// The reasons after generations whose candidates have the given values.
    fn reasons_after<const LAMBDA: usize>(
        n_generations: u64,
        values: impl Fn(u64) -> [f64; LAMBDA],
        change: impl Fn(&mut Distribution),
    ) -> Vec<Reason> {
        let mut history = History::default();
        for generation in 1..=n_generations {
            let outcomes = values(generation).map(Some);
            history.record(&Ranking::new(&outcomes, 0.0), generation, &parameters());
        }
        let mut distribution = Distribution::new(vec![1.0; N], 0.1, Covariance::full(&[1.0; N]));
        change(&mut distribution);
        assert!(history.is_sound());
        reasons(&history, Some(&distribution), n_generations, &parameters(), &LIMITS)
    }

    fn improving(generation: u64) -> [f64; 4] {
        [0.0, 1.0, 2.0, 3.0].map(|value| value - generation as f64)
    }

    #[test]
    fn progress_is_no_reason() {
        assert_eq!(reasons_after(1000, improving, |_| ()), []);
    }

    #[test]
    fn nothing_is_concluded_early() {
        assert_eq!(reasons_after(9, improving, |d| d.sigma = 1e-20), []);
    }

    #[test]
    fn each_state_of_the_distribution_has_its_reason() {
        let after = |change: fn(&mut Distribution)| reasons_after(20, improving, change);
        let tiny = after(|d| d.sigma = 1e-13);
        assert_eq!(tiny, [Reason::TolX]);
        let too_tiny = after(|d| d.sigma = 1e-20);
        assert_eq!(too_tiny, [Reason::TolX, Reason::NoEffectAxis, Reason::NoEffectCoordinate]);
        assert_eq!(after(|d| d.sigma = 1e5), [Reason::TolXUp]);
        assert_eq!(
            after(|d| d.covariance = Covariance::full(&[1e-15, 1.0, 1.0])),
            [Reason::Condition]
        );
    }

    #[test]
    fn flat_values_are_equal_and_nothing_else() {
        assert_eq!(reasons_after(22, |_| [1.0; 4], |_| ()), []);
        assert_eq!(reasons_after(23, |_| [1.0; 4], |_| ()), [Reason::EqualFun]);
        assert_eq!(reasons_after(1000, |_| [1.0; 4], |_| ()), [Reason::EqualFun]);
    }

    #[test]
    fn values_may_converge() {
        let values = |generation| {
            let error = libm::pow(0.1, generation as f64);
            [1.0, 1.0 + error, 1.0 + 2.0 * error, 1.0 + 3.0 * error]
        };
        assert_eq!(reasons_after(14, values, |_| ()), []);
        let nearly = |_| [1.0, 1.0 + 1e-14, 1.0 + 2e-14, 1.0 + 3e-14];
        assert_eq!(reasons_after(23, nearly, |_| ()), [Reason::TolFun]);
    }

    #[test]
    fn values_may_stagnate() {
        let values = |generation| [0.0, 1.0, 2.0, 3.0].map(|v| v + (generation % 7) as f64);
        assert_eq!(reasons_after(132, values, |_| ()), []);
        assert_eq!(reasons_after(133, values, |_| ()), [Reason::Stagnation]);
    }
}

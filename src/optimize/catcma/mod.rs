//! CatCMA with margin: continuous numbers, numbers with single values and categories together
//! (Hamano et al. 2025, <https://arxiv.org/abs/2504.07884>).
//!
//! Numbers share one normal distribution, adapted as in CMA-ES; every category has a distribution of
//! its own. Where there are only continuous numbers, this is CMA-ES. What is not in the paper:
//! continuous numbers are folded into their bounds instead of clipped and penalised, equal values
//! share their weights, and candidates may fail or get lost.

mod categories;
#[cfg(test)]
mod golden;
mod integers;
mod options;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::categories::Categories;
use self::integers::{IntegerCoordinate, Integers};
use super::cma::covariance::Covariance;
use super::cma::distribution::Distribution;
use super::cma::parameters::Parameters;
use super::cma::ranking::Ranking;
use super::cma::termination::{self, History, Limits};
use super::domain::{Domain, Levels};
use super::draws::DrawKey;
use super::generational::{Generational, Strategy, Told};
use super::options::SearchOptions;
use super::{OptimizerError, Range, Reason, Status, Variant};

pub use options::CatCmaOptions;

/// The least probability of any mutation: so that at least one variable of all mutates with
/// probability 0.27.
const ALL_UNCHANGED: f64 = 0.73;

/// A deviation that is smaller could not be computed with.
const SMALLEST_VARIANCE: f64 = 1e-30;

/// How much farther numbers with single values look than others, at first.
const INTEGER_SPREAD: f64 = 6.0 / 5.0;

/// The search: see [`Optimizer`](super::Optimizer) for how to drive it, [`CatCmaOptions`] for what
/// can be decided. Failed candidates are treated as by [`CmaEs`](super::CmaEs).
pub type CatCma = Generational<CatCmaWithMargin>;

/// How CatCMA with margin draws and learns.
#[derive(Debug, Clone)]
pub struct CatCmaWithMargin {
    options: CatCmaOptions,
    domain: Domain,
    /// Which coordinates are numbers.
    numbers: Vec<usize>,
    /// Whether each number is folded into bounds.
    bounded: Vec<bool>,
    /// Which of the numbers have single values, and their ranges.
    integers: Vec<IntegerCoordinate<Range>>,
    /// Which coordinates are categories.
    categories: Vec<usize>,
    /// How many categories each has.
    counts: Vec<usize>,
    /// The categories that the search starts from.
    preferred: Vec<usize>,
    parameters: Parameters,
    limits: Limits,
    margin: f64,
}

/// What changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Of the numbers; none if there are none.
    distribution: Option<Distribution>,
    integers: Integers,
    categories: Categories,
    history: History,
    reasons: Vec<Reason>,
}

impl CatCmaWithMargin {
    fn integer_coordinates(&self) -> Vec<IntegerCoordinate<Levels<'_>>> {
        self.integers
            .iter()
            .filter_map(|one| {
                let levels = one.levels.levels()?;
                Some(IntegerCoordinate { index: one.index, levels })
            })
            .collect()
    }

    fn numbers_of(&self, raw: &[f64]) -> Vec<f64> {
        self.numbers.iter().map(|&index| raw[index]).collect()
    }

    fn categories_of(&self, raw: &[f64]) -> Vec<usize> {
        self.categories.iter().map(|&index| raw[index] as usize).collect()
    }

    fn combined(&self, numbers: &[f64], categories: &[usize]) -> Vec<f64> {
        let mut raw = vec![0.0; self.domain.dimension()];
        for (&index, number) in self.numbers.iter().zip(numbers) {
            raw[index] = *number;
        }
        for (&index, &category) in self.categories.iter().zip(categories) {
            raw[index] = category as f64;
        }
        raw
    }

    /// The point that the distribution is centred on, with the most probable categories.
    pub(super) fn incumbent(&self, state: &State) -> Vec<f64> {
        let mean = state.distribution.as_ref().map_or(&[][..], |distribution| &distribution.mean);
        self.combined(mean, &state.categories.modes(&self.preferred))
    }

    fn learn_numbers(
        &self,
        state: &mut State,
        generation: u64,
        told: &[Told<'_>],
        ranking: &Ranking,
    ) {
        let Some(distribution) = &mut state.distribution else { return };
        let Some(mut weights) = ranking.weights(&self.parameters) else {
            distribution.retreat();
            return;
        };
        let ranked = &ranking.order[..weights.mean.len()];
        let mut points: Vec<Vec<f64>> =
            ranked.iter().map(|&position| self.numbers_of(told[position].raw)).collect();
        let n_better = weights.mean.iter().take_while(|&&weight| weight > 0.0).count();
        let coordinates = self.integer_coordinates();
        let succeeded = Integers::center(&coordinates, &distribution.mean, &mut points[..n_better]);

        let mut steps: Vec<Vec<f64>> = points
            .iter()
            .map(|point| {
                let mut step = distribution.step_to(point);
                step.iter_mut().zip(&state.integers.stretch).for_each(|(y, stretch)| *y /= stretch);
                step
            })
            .collect();
        for (rank, &position) in ranked.iter().enumerate() {
            if told[position].foreign {
                distribution.shorten(&mut steps[rank]);
                weights.covariance[rank] = weights.covariance[rank].max(0.0);
            }
        }
        distribution.update(generation, &steps, &weights, &self.parameters);
        distribution.limit_deviations(&self.bounded);
        distribution.lift_variance(SMALLEST_VARIANCE);
        state.integers.correct(&coordinates, distribution, &succeeded, self.margin);
    }

    fn learn_categories(&self, state: &mut State, told: &[Told<'_>], ranking: &Ranking) {
        let Some(weights) = ranking.weights(&self.parameters) else { return };
        if self.categories.is_empty() {
            return;
        }
        let drawn: Vec<Vec<usize>> =
            ranking.order.iter().map(|&position| self.categories_of(told[position].raw)).collect();
        let better: Vec<(&[usize], f64)> = drawn
            .iter()
            .zip(&weights.mean)
            .map(|(categories, weight)| (&categories[..], *weight))
            .collect();
        state.categories.learn(&better, self.margin);
    }
}

impl Strategy for CatCmaWithMargin {
    const ALGORITHM: &'static str = "cat_cma";
    type Options = CatCmaOptions;
    type State = State;

    fn start(options: &mut CatCmaOptions) -> Result<(Self, State), OptimizerError> {
        let domain = options.resolve()?;
        let ranges: Vec<&Range> = domain.ranges().collect();
        let is_category = |&index: &usize| matches!(ranges[index], Range::Categories(_));
        let (categories, numbers): (Vec<usize>, Vec<usize>) =
            (0..domain.dimension()).partition(is_category);
        let integers: Vec<_> = numbers
            .iter()
            .enumerate()
            .filter(|&(_, &coordinate)| ranges[coordinate].is_discrete())
            .map(|(index, &coordinate)| IntegerCoordinate {
                index,
                levels: ranges[coordinate].clone(),
            })
            .collect();
        let counts: Vec<usize> = categories
            .iter()
            .filter_map(|&index| match ranges[index] {
                Range::Categories(count) => Some(*count),
                _ => None,
            })
            .collect();
        let start = domain.start();
        let preferred = categories.iter().map(|&index| start[index] as usize).collect();

        let spreads = domain.spreads();
        let spreads: Vec<f64> = numbers
            .iter()
            .map(|&index| {
                spreads[index] * if ranges[index].is_discrete() { INTEGER_SPREAD } else { 1.0 }
            })
            .collect();
        let variances: Vec<f64> = spreads.iter().map(|spread| spread * spread).collect();
        let mean: Vec<f64> = numbers.iter().map(|&index| start[index]).collect();
        let distribution = (!numbers.is_empty())
            .then(|| Distribution::new(mean, options.sigma0, Covariance::full(&variances)));

        let n_discrete = integers.len() + categories.len();
        let largest_spread = spreads.iter().copied().fold(1.0, f64::max);
        let population_size = options.search.population_size.unwrap_or_default();
        let bounded = domain.bounded();
        let state = State {
            distribution,
            integers: Integers::new(numbers.len(), integers.len()),
            categories: Categories::new(&counts),
            history: History::default(),
            reasons: Vec::new(),
        };
        let strategy = Self {
            bounded: numbers.iter().map(|&index| bounded[index]).collect(),
            parameters: Parameters::new(
                numbers.len().max(1),
                population_size,
                options.constants,
                Variant::Full,
            ),
            limits: options.tolerances.limits(options.sigma0, largest_spread),
            margin: 1.0 - libm::pow(ALL_UNCHANGED, 1.0 / n_discrete.max(1) as f64),
            options: options.clone(),
            domain,
            numbers,
            integers,
            categories,
            counts,
            preferred,
        };
        Ok((strategy, state))
    }

    fn common(options: &CatCmaOptions) -> &SearchOptions {
        &options.search
    }

    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn population_size(&self, _: &State) -> usize {
        self.parameters.population_size
    }

    fn draw(&self, state: &State, key: DrawKey) -> Vec<f64> {
        let (normals, uniforms) =
            key.normals_and_uniforms(self.numbers.len(), self.categories.len());
        let numbers = match &state.distribution {
            Some(distribution) => distribution.stretched_sample(&normals, &state.integers.stretch),
            None => Vec::new(),
        };
        self.combined(&numbers, &state.categories.draw(&uniforms))
    }

    fn learn(&self, state: &mut State, generation: u64, told: &[Told<'_>]) {
        let outcomes: Vec<Option<f64>> = told.iter().map(Told::value).collect();
        let ranking = Ranking::new(&outcomes, self.options.resolution);
        self.learn_numbers(state, generation, told, &ranking);
        self.learn_categories(state, told, &ranking);
        let generation = generation + 1;
        if !ranking.values.is_empty() {
            state.history.record(&ranking, generation, &self.parameters);
        }
        state.reasons = termination::reasons(
            &state.history,
            state.distribution.as_ref(),
            generation,
            &self.parameters,
            &self.limits,
        );
        if self.domain.first(Range::is_discrete).is_some() {
            // Values that mutate as long as the search goes on make steps and axes meaningless.
            let of_values = [Reason::TolFun, Reason::EqualFun, Reason::Stagnation];
            state.reasons.retain(|reason| of_values.contains(reason));
        }
    }

    fn check(&self, state: &State, generation: u64) -> Result<(), &'static str> {
        let n = self.numbers.len();
        let fits = match &state.distribution {
            Some(distribution) => n > 0 && distribution.has_dimension(n),
            None => n == 0,
        };
        if !fits {
            return Err("its dimension is not that of its options");
        }
        if !state.history.is_sound() {
            return Err("its histories have different lengths");
        }
        let drawable = state.distribution.as_ref().is_none_or(|distribution| {
            distribution.is_sound() && distribution.refreshed_at <= generation
        });
        if !drawable
            || !state.integers.is_sound(n, self.integers.len())
            || !state.categories.is_sound(&self.counts)
        {
            return Err("its distribution is not one that can be drawn from");
        }
        Ok(())
    }

    fn describe(&self, state: &State, status: &mut Status) {
        status.mean = self.domain.point(&self.incumbent(state));
        let mut deviations = vec![0.0; self.domain.dimension()];
        if let Some(distribution) = &state.distribution {
            let stretched = distribution.relative_deviations().zip(&state.integers.stretch);
            for (&index, (deviation, stretch)) in self.numbers.iter().zip(stretched) {
                deviations[index] = distribution.sigma * deviation * stretch;
            }
            status.sigma = distribution.sigma;
            status.condition = distribution.condition();
            status.covariance_resets = distribution.resets;
        }
        for (&index, probabilities) in self.categories.iter().zip(&state.categories.probabilities) {
            // How likely two draws differ.
            let same: f64 = probabilities.iter().map(|probability| probability * probability).sum();
            deviations[index] = 1.0 - same;
        }
        status.deviations = self.domain.per_variable(&deviations);
    }

    fn reasons(&self, state: &State) -> Vec<Reason> {
        state.reasons.clone()
    }
}

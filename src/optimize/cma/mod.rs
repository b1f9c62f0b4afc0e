//! CMA-ES: covariance matrix adaptation evolution strategy (Hansen 2016,
//! <https://arxiv.org/abs/1604.00772>), weighted and active, and two of its relatives: sep-CMA-ES
//! for many variables and LRA-CMA-ES for noisy values.
//!
//! What is not in the papers: candidates are drawn on the unbounded line and folded into the box
//! (`domain::bounds`), equal values share their weights (`ranking`), candidates may fail or get
//! lost, and every random number is a function of what it is for (`draws`). Memory 3 n², time per
//! generation about 9 n³ + λ n² for n variables; sep-CMA-ES: λ n.

pub(super) mod covariance;
pub(super) mod distribution;
#[cfg(test)]
pub(super) mod golden;
mod learning_rate;
mod options;
pub(super) mod parameters;
#[cfg(test)]
mod properties;
pub(super) mod ranking;
pub(super) mod termination;
#[cfg(test)]
mod tests;
mod warm_start;

use serde::{Deserialize, Serialize};

use self::covariance::Covariance;
use self::distribution::Distribution;
use self::parameters::Parameters;
use self::ranking::Ranking;
use self::termination::{History, Limits};
use super::domain::Domain;
use super::draws::DrawKey;
use super::generational::{Generational, Strategy, Told};
use super::options::SearchOptions;
use super::{OptimizerError, Reason, Status};

pub(super) use self::options::{check_sigma0, check_tolerance, default_population_size};
pub use options::{CmaOptions, Constants, EarlierEvaluation, Tolerances, Variant};

/// The search: see [`Optimizer`](super::Optimizer) for how to drive it, [`CmaOptions`] for what can
/// be decided.
///
/// Infeasible candidates take the last ranks, so that the search learns to avoid them. A
/// generation without a feasible one halves the step size.
pub type CmaEs = Generational<Cma>;

/// How CMA-ES draws and learns.
#[derive(Debug, Clone)]
pub struct Cma {
    options: CmaOptions,
    domain: Domain,
    bounded: Vec<bool>,
    parameters: Parameters,
    limits: Limits,
}

/// What changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub(super) distribution: Distribution,
    history: History,
    reasons: Vec<Reason>,
}

impl Strategy for Cma {
    const ALGORITHM: &'static str = "cma_es";
    type Options = CmaOptions;
    type State = State;

    fn start(options: &mut CmaOptions) -> Result<(Self, State), OptimizerError> {
        let domain = options.resolve()?;
        let n = domain.dimension();
        let population_size = options.search.population_size.unwrap_or_default();
        let parameters = Parameters::new(n, population_size, options.constants, options.variant);
        let mut distribution = options.distribution(&domain);
        if options.variant == Variant::LearningRates {
            distribution = distribution.with_adaptive_learning_rates();
        }
        let largest_spread = domain.spreads().into_iter().fold(0.0, f64::max);
        let limits = options.tolerances.limits(options.sigma0, largest_spread);
        let state = State { distribution, history: History::default(), reasons: Vec::new() };
        let bounded = domain.bounded();
        Ok((Self { options: options.clone(), domain, bounded, parameters, limits }, state))
    }

    fn common(options: &CmaOptions) -> &SearchOptions {
        &options.search
    }

    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn population_size(&self, _: &State) -> usize {
        self.parameters.population_size
    }

    fn draw(&self, state: &State, key: DrawKey) -> Vec<f64> {
        state.distribution.sample(&key.normals(self.domain.dimension()))
    }

    fn learn(&self, state: &mut State, generation: u64, told: &[Told<'_>]) {
        let State { distribution, history, reasons } = state;
        let outcomes: Vec<Option<f64>> = told.iter().map(Told::value).collect();
        let ranking = Ranking::new(&outcomes, self.options.resolution);
        match ranking.weights(&self.parameters) {
            Some(mut weights) => {
                let ranked = &ranking.order[..weights.mean.len()];
                let mut steps = Vec::with_capacity(ranked.len());
                for (rank, &position) in ranked.iter().enumerate() {
                    let Told { raw, foreign, .. } = told[position];
                    let mut step = distribution.step_to(raw);
                    if foreign {
                        distribution.shorten(&mut step);
                        weights.covariance[rank] = weights.covariance[rank].max(0.0);
                    }
                    steps.push(step);
                }
                distribution.update(generation, &steps, &weights, &self.parameters);
                history.record(&ranking, generation + 1, &self.parameters);
            }
            None => distribution.retreat(),
        }
        distribution.limit_deviations(&self.bounded);
        let generation = generation + 1;
        *reasons = termination::reasons(
            history,
            Some(distribution),
            generation,
            &self.parameters,
            &self.limits,
        );
        if self.options.variant == Variant::LearningRates {
            // Slow progress is what small learning rates are for.
            reasons.retain(|reason| *reason != Reason::Stagnation);
        }
    }

    fn check(&self, state: &State, generation: u64) -> Result<(), &'static str> {
        if !state.distribution.has_dimension(self.domain.dimension()) {
            return Err("its dimension is not that of its options");
        }
        if !state.history.is_sound() {
            return Err("its histories have different lengths");
        }
        if !state.distribution.is_sound() || state.distribution.refreshed_at > generation {
            return Err("its distribution is not one that can be drawn from");
        }
        Ok(())
    }

    fn describe(&self, state: &State, status: &mut Status) {
        let distribution = &state.distribution;
        let deviations: Vec<f64> = distribution
            .relative_deviations()
            .map(|deviation| distribution.sigma * deviation)
            .collect();
        status.sigma = distribution.sigma;
        status.mean = self.domain.point(&distribution.mean);
        status.deviations = self.domain.per_variable(&deviations);
        status.condition = distribution.condition();
        status.covariance_resets = distribution.resets;
    }

    fn reasons(&self, state: &State) -> Vec<Reason> {
        state.reasons.clone()
    }
}

impl CmaOptions {
    /// Where the search begins.
    fn distribution(&self, domain: &Domain) -> Distribution {
        if let Some(distribution) = warm_start::distribution(self, domain) {
            return distribution;
        }
        Distribution::new(domain.start(), self.sigma0, self.covariance(domain))
    }

    /// The shape that the variables' spreads make.
    fn covariance(&self, domain: &Domain) -> Covariance {
        let variances: Vec<f64> =
            domain.spreads().into_iter().map(|spread| spread * spread).collect();
        match self.variant {
            Variant::Separable => Covariance::diagonal(&variances),
            _ => Covariance::full(&variances),
        }
    }
}

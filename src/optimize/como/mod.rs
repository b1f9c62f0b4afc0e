//! COMO-CatCMA with margin: several searches that share a front (Hamano et al. 2025,
//! <https://arxiv.org/abs/2504.07884>; Touré et al. 2019, <https://arxiv.org/abs/1904.08823>).
//!
//! Each of some kernels is a [`CatCma`](super::CatCma) that is to find one point of the front. In
//! turn, each draws a generation; its candidates are ranked by what they would add to the points that
//! the other kernels stand for, and then its own point, the incumbent, is evaluated, too.

mod improvement;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::improvement::improvement;
use super::catcma::{self, CatCmaOptions, CatCmaWithMargin};
use super::domain::Domain;
use super::draws::DrawKey;
use super::generational::{Generational, Strategy, Told};
use super::{OptimizerError, Pacing, Range, Reason, SearchOptions, Status, Variable};

/// How many values a candidate has.
const OBJECTIVES: usize = 2;

/// How far the reference point lies behind the worst values, as a share of their range.
const REFERENCE_MARGIN: f64 = 0.1;

/// Smallest range of values.
const SMALLEST_RANGE: f64 = 1e-7;

/// Options of [`ComoCatCma`]. [`ComoOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComoOptions {
    /// What every kernel is made of; its start is drawn from the ranges. The population is a
    /// kernel's. [`Pacing::Steady`] is not possible.
    pub kernel: CatCmaOptions,
    /// Number of kernels, at least 2; the front will have about so many points. Default 10; with
    /// fewer than 1000 evaluations 3 to 5 are better.
    pub kernels: usize,
    /// What every good point beats in both objectives. By default a little worse than the worst
    /// values so far.
    pub reference: Option<[f64; 2]>,
}

impl ComoOptions {
    /// The defaults for these variables.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self { kernel: CatCmaOptions::new(variables), kernels: 10, reference: None }
    }
}

/// The search: see [`Optimizer`](super::Optimizer) for how to drive it, [`ComoOptions`] for what can
/// be decided. [`Status::front`] has the front of all candidates, which is more than the kernels'.
pub type ComoCatCma = Generational<Como>;

/// How COMO-CatCMA draws and learns.
#[derive(Debug, Clone)]
pub struct Como {
    options: ComoOptions,
    kernel: CatCmaWithMargin,
}

/// What changes during a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    kernels: Vec<Kernel>,
    /// The kernels of this round, in the order of their turns.
    turns: Vec<usize>,
    /// Whose turn it is.
    turn: usize,
    /// The kernels whose incumbents are evaluated in this generation.
    unscored: Vec<usize>,
    /// Best and worst value of each objective so far.
    ideal: Option<[f64; 2]>,
    nadir: Option<[f64; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kernel {
    state: catcma::State,
    /// Finished generations of it.
    generation: u64,
    /// The values of its incumbent, once they are known and if it is feasible.
    incumbent: Option<[f64; 2]>,
}

impl Como {
    fn n_candidates(&self, state: &State) -> usize {
        self.kernel.population_size(&state.kernels[0].state)
    }

    fn reference(&self, state: &State) -> Option<[f64; 2]> {
        if self.options.reference.is_some() {
            return self.options.reference;
        }
        let (ideal, nadir) = (state.ideal?, state.nadir?);
        Some(std::array::from_fn(|k| {
            nadir[k] + REFERENCE_MARGIN * (nadir[k] - ideal[k]).max(SMALLEST_RANGE)
        }))
    }

    /// A random order of the kernels.
    fn round(&self, round: u64) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..self.options.kernels).collect();
        let key = DrawKey {
            seed: self.options.kernel.search.seed,
            restart: self.options.kernel.search.restart,
            generation: round,
            index: u32::MAX,
            attempt: 0,
        };
        // Fisher and Yates.
        for (i, u) in key.uniforms(turns.len()).into_iter().enumerate().rev() {
            turns.swap(i, ((u * (i + 1) as f64) as usize).min(i));
        }
        turns
    }
}

impl Strategy for Como {
    const ALGORITHM: &'static str = "como_cat_cma";
    type Options = ComoOptions;
    type State = State;

    fn start(options: &mut ComoOptions) -> Result<(Self, State), OptimizerError> {
        if options.kernels < 2 {
            return Err(OptimizerError::Kernels { kernels: options.kernels });
        }
        if options.kernel.search.pacing == Pacing::Steady {
            return Err(OptimizerError::Pacing { optimizer: "COMO-CatCMA" });
        }
        let (kernel, _) = CatCmaWithMargin::start(&mut options.kernel)?;
        let search = &options.kernel.search;
        let mut kernels = Vec::with_capacity(options.kernels);
        for index in 0..options.kernels {
            let key = DrawKey {
                seed: search.seed,
                restart: search.restart,
                generation: u64::MAX,
                index: index as u32,
                attempt: 0,
            };
            let mut own = options.kernel.clone();
            let uniforms = key.uniforms(own.search.variables.len());
            for (variable, u) in own.search.variables.iter_mut().zip(uniforms) {
                if !matches!(variable.range, Range::Unbounded) && !variable.is_fixed() {
                    variable.start = variable.at_share(u);
                }
            }
            let (_, state) = CatCmaWithMargin::start(&mut own)?;
            kernels.push(Kernel { state, generation: 0, incumbent: None });
        }
        let como = Self { options: options.clone(), kernel };
        let turns = como.round(0);
        let unscored = turns[1..].to_vec();
        let state = State { kernels, turns, turn: 0, unscored, ideal: None, nadir: None };
        Ok((como, state))
    }

    fn common(options: &ComoOptions) -> &SearchOptions {
        &options.kernel.search
    }

    fn domain(&self) -> &Domain {
        self.kernel.domain()
    }

    fn population_size(&self, state: &State) -> usize {
        self.n_candidates(state) + state.unscored.len()
    }

    fn n_objectives(&self) -> usize {
        OBJECTIVES
    }

    fn draw(&self, state: &State, key: DrawKey) -> Vec<f64> {
        let index = key.index as usize;
        match index.checked_sub(self.n_candidates(state)) {
            Some(position) => self.kernel.incumbent(&state.kernels[state.unscored[position]].state),
            None => self.kernel.draw(&state.kernels[state.turns[state.turn]].state, key),
        }
    }

    fn learn(&self, state: &mut State, generation: u64, told: &[Told<'_>]) {
        for values in told.iter().filter_map(|one| one.values) {
            let values = [values[0], values[1]];
            let ideal = state.ideal.get_or_insert(values);
            let nadir = state.nadir.get_or_insert(values);
            for k in 0..OBJECTIVES {
                ideal[k] = ideal[k].min(values[k]);
                nadir[k] = nadir[k].max(values[k]);
            }
        }
        let n_candidates = self.n_candidates(state);
        for &kernel in &state.unscored {
            state.kernels[kernel].incumbent = None;
        }
        for one in told {
            if let Some(position) = (one.index as usize).checked_sub(n_candidates) {
                let incumbent = one.values.map(|values| [values[0], values[1]]);
                state.kernels[state.unscored[position]].incumbent = incumbent;
            }
        }

        let current = state.turns[state.turn];
        let others: Vec<[f64; 2]> = state
            .kernels
            .iter()
            .enumerate()
            .filter_map(|(index, kernel)| kernel.incumbent.filter(|_| index != current))
            .collect();
        let reference = self.reference(state);
        let losses: Vec<Option<f64>> = told
            .iter()
            .map(|one| {
                let values = one.values?;
                Some(-improvement([values[0], values[1]], &others, reference?))
            })
            .collect();
        let ranked: Vec<Told<'_>> = told
            .iter()
            .zip(&losses)
            .filter(|(one, _)| (one.index as usize) < n_candidates)
            .map(|(one, loss)| Told { values: loss.as_ref().map(std::slice::from_ref), ..*one })
            .collect();
        let kernel = &mut state.kernels[current];
        self.kernel.learn(&mut kernel.state, kernel.generation, &ranked);
        kernel.generation += 1;

        state.unscored = vec![current];
        state.turn += 1;
        if state.turn == state.turns.len() {
            state.turns = self.round((generation + 1) / self.options.kernels as u64);
            state.turn = 0;
        }
    }

    fn check(&self, state: &State, generation: u64) -> Result<(), &'static str> {
        let n = self.options.kernels;
        let mut turns = state.turns.clone();
        turns.sort_unstable();
        if turns != (0..n).collect::<Vec<_>>()
            || state.kernels.len() != n
            || state.turn >= n
            || state.unscored.iter().any(|&kernel| kernel >= n)
        {
            return Err("its kernels are not those of its options");
        }
        for kernel in &state.kernels {
            if kernel.generation > generation {
                return Err("its kernels are not those of its options");
            }
            self.kernel.check(&kernel.state, kernel.generation)?;
        }
        Ok(())
    }

    fn describe(&self, state: &State, status: &mut Status) {
        self.kernel.describe(&state.kernels[state.turns[state.turn]].state, status);
    }

    fn reasons(&self, _: &State) -> Vec<Reason> {
        Vec::new()
    }
}

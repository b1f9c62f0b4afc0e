//! A genetic algorithm for real numbers.

use serde::{Deserialize, Serialize};

use super::members::{Member, describe};
use super::operators::{child, draws_per_child};
use super::{PopulationOptions, fronts};
use crate::optimize::domain::Domain;
use crate::optimize::draws::DrawKey;
use crate::optimize::generational::{Generational, Strategy, Told};
use crate::optimize::{OptimizerError, Reason, SearchOptions, Status};

/// A genetic algorithm: parents win tournaments of two, children come of simulated binary crossover
/// and polynomial mutation, and the best of parents and children survive. With two objectives it is
/// NSGA-II (Deb et al. 2002, <https://doi.org/10.1109/4235.996017>): better is who has fewer fronts
/// before his own and, within a front, who is lonelier on it.
pub type GeneticAlgorithm = Generational<Genetic>;

/// How the genetic algorithm draws and learns.
#[derive(Debug, Clone)]
pub struct Genetic {
    domain: Domain,
    population_size: usize,
    n_objectives: usize,
}

/// The survivors, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    survivors: Vec<Member>,
}

impl Strategy for Genetic {
    const ALGORITHM: &'static str = "genetic_algorithm";
    type Options = PopulationOptions;
    type State = State;

    fn start(options: &mut PopulationOptions) -> Result<(Self, State), OptimizerError> {
        let domain = options.resolve("the genetic algorithm", 1..=2)?;
        let population_size = options.search.population_size.unwrap_or_default();
        let n_objectives = options.objectives;
        Ok((Self { domain, population_size, n_objectives }, State { survivors: Vec::new() }))
    }

    fn common(options: &PopulationOptions) -> &SearchOptions {
        &options.search
    }

    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn population_size(&self, _: &State) -> usize {
        self.population_size
    }

    fn n_objectives(&self) -> usize {
        self.n_objectives
    }

    fn draw(&self, state: &State, key: DrawKey) -> Vec<f64> {
        let n = self.domain.dimension();
        let survivors = &state.survivors;
        if survivors.len() < 2 {
            return key.uniforms(n);
        }
        let uniforms = key.uniforms(4 + draws_per_child(n));
        let pick = |u: f64| (u * survivors.len() as f64) as usize;
        // Survivors are sorted, so the smaller index wins.
        let parent = |a: f64, b: f64| &survivors[pick(a).min(pick(b))].shares;
        let (a, b) = (parent(uniforms[0], uniforms[1]), parent(uniforms[2], uniforms[3]));
        child(a, b, &uniforms[4..])
    }

    fn point(&self, raw: &[f64]) -> Vec<f64> {
        self.domain.point_at(raw)
    }

    fn raw(&self, point: &[f64]) -> Vec<f64> {
        self.domain.shares(point)
    }

    fn learn(&self, state: &mut State, _: u64, told: &[Told<'_>]) {
        for one in told {
            let member = one.member();
            // Copies would fill a front without adding to it.
            let is_copy = |other: &Member| other.shares == member.shares;
            if self.n_objectives == 1 || !state.survivors.iter().any(is_copy) {
                state.survivors.push(member);
            }
        }
        if self.n_objectives == 1 {
            state.survivors.sort_by(|a, b| a.key().total_cmp(&b.key()));
        } else {
            state.survivors = fronts::sorted(std::mem::take(&mut state.survivors));
        }
        state.survivors.truncate(self.population_size);
    }

    fn check(&self, state: &State, _: u64) -> Result<(), &'static str> {
        let n = self.domain.dimension();
        if state.survivors.iter().all(|member| member.is_sound(n, self.n_objectives)) {
            Ok(())
        } else {
            Err("its population is not one of points in the box")
        }
    }

    fn describe(&self, state: &State, status: &mut Status) {
        describe(&self.domain, state.survivors.iter(), status);
    }

    fn reasons(&self, _: &State) -> Vec<Reason> {
        Vec::new()
    }
}

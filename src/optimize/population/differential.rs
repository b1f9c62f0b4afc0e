//! Differential evolution.

use serde::{Deserialize, Serialize};

use super::PopulationOptions;
use super::members::{Member, describe};
use crate::optimize::domain::Domain;
use crate::optimize::draws::DrawKey;
use crate::optimize::generational::{Generational, Strategy, Told};
use crate::optimize::{OptimizerError, Reason, SearchOptions, Status};

/// F: how much of a difference is added.
const SCALE: f64 = 0.5;
/// CR: how probable it is that a coordinate is taken from the mutant.
const CROSSOVER: f64 = 0.9;

/// Differential evolution (Storn & Price 1997), DE/rand/1/bin: every member is challenged by a
/// mixture of itself and a third member moved by the difference of two others. Coordinates that
/// leave the box are put half way between the member's and the bound.
pub type DifferentialEvolution = Generational<Differential>;

/// How differential evolution draws and learns.
#[derive(Debug, Clone)]
pub struct Differential {
    domain: Domain,
    population_size: usize,
}

/// The members in their places; a place is empty until a first candidate has come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    members: Vec<Option<Member>>,
}

impl Strategy for Differential {
    const ALGORITHM: &'static str = "differential_evolution";
    type Options = PopulationOptions;
    type State = State;

    fn start(options: &mut PopulationOptions) -> Result<(Self, State), OptimizerError> {
        let domain = options.resolve("differential evolution", 1..=1)?;
        let population_size = options.search.population_size.unwrap_or_default();
        Ok((Self { domain, population_size }, State { members: vec![None; population_size] }))
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

    fn draw(&self, state: &State, key: DrawKey) -> Vec<f64> {
        let n = self.domain.dimension();
        let place = key.index as usize % self.population_size;
        let others: Vec<&Member> = state
            .members
            .iter()
            .enumerate()
            .filter_map(|(other, member)| member.as_ref().filter(|_| other != place))
            .collect();
        let (Some(target), true) = (&state.members[place], others.len() >= 3) else {
            return key.uniforms(n);
        };
        let uniforms = key.uniforms(4 + n);
        let [base, plus, minus] = distinct(&uniforms[..3], others.len()).map(|i| &others[i].shares);
        let sure = (uniforms[3] * n as f64) as usize;
        let mut trial = target.shares.clone();
        for i in 0..n {
            if i == sure || uniforms[4 + i] < CROSSOVER {
                let mutant = base[i] + SCALE * (plus[i] - minus[i]);
                trial[i] = match mutant {
                    x if x < 0.0 => target.shares[i] / 2.0,
                    x if x > 1.0 => (target.shares[i] + 1.0) / 2.0,
                    x => x,
                };
            }
        }
        trial
    }

    fn point(&self, raw: &[f64]) -> Vec<f64> {
        self.domain.point_at(raw)
    }

    fn raw(&self, point: &[f64]) -> Vec<f64> {
        self.domain.shares(point)
    }

    fn learn(&self, state: &mut State, _: u64, told: &[Told<'_>]) {
        for one in told {
            let place = &mut state.members[one.index as usize % self.population_size];
            let challenger = one.member();
            if place.as_ref().is_none_or(|member| challenger.key() <= member.key()) {
                *place = Some(challenger);
            }
        }
    }

    fn check(&self, state: &State, _: u64) -> Result<(), &'static str> {
        let n = self.domain.dimension();
        let sound = state.members.iter().flatten().all(|member| member.is_sound(n, 1));
        if sound && state.members.len() == self.population_size {
            Ok(())
        } else {
            Err("its population is not one of points in the box")
        }
    }

    fn describe(&self, state: &State, status: &mut Status) {
        describe(&self.domain, state.members.iter().flatten(), status);
    }

    fn reasons(&self, _: &State) -> Vec<Reason> {
        Vec::new()
    }
}

/// Three different indices below `count`, at least 3, from three uniform draws.
fn distinct(uniforms: &[f64], count: usize) -> [usize; 3] {
    let mut chosen = [0; 3];
    for (k, uniform) in uniforms.iter().enumerate().take(3) {
        // The index among those not chosen yet.
        let mut index = (uniform * (count - k) as f64) as usize;
        let mut before = chosen[..k].to_vec();
        before.sort_unstable();
        for other in before {
            if index >= other {
                index += 1;
            }
        }
        chosen[k] = index;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_indices_differ() {
        for a in 0..5 {
            for b in 0..5 {
                for c in 0..5 {
                    let uniforms = [a, b, c].map(|k| f64::from(k) / 5.0);
                    let [x, y, z] = distinct(&uniforms, 4);
                    assert!(x != y && y != z && x != z && x.max(y).max(z) < 4);
                }
            }
        }
    }
}

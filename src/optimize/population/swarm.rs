//! Particle swarm optimisation.

use serde::{Deserialize, Serialize};

use super::PopulationOptions;
use super::members::{Member, describe};
use crate::optimize::domain::Domain;
use crate::optimize::draws::DrawKey;
use crate::optimize::generational::{Generational, Strategy, Told};
use crate::optimize::{OptimizerError, Reason, SearchOptions, Status};

/// ω and c of Clerc & Kennedy 2002: the swarm neither explodes nor freezes.
const INERTIA: f64 = 0.729_8;
const ATTRACTION: f64 = 1.496_18;

/// Fastest move of a particle, as a share of the box.
const FASTEST: f64 = 0.2;

/// Particle swarm optimisation (Kennedy & Eberhart 1995, with the constriction of Clerc & Kennedy
/// 2002): every particle is drawn to the best point of its own and to the best of all.
pub type ParticleSwarm = Generational<Swarm>;

/// How the swarm draws and learns.
#[derive(Debug, Clone)]
pub struct Swarm {
    domain: Domain,
    population_size: usize,
}

/// The particles in their places; a place is empty until its first candidate has come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    particles: Vec<Option<Particle>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Particle {
    position: Vec<f64>,
    velocity: Vec<f64>,
    best: Member,
}

impl State {
    fn leader(&self) -> Option<&Member> {
        let bests = self.particles.iter().flatten().map(|particle| &particle.best);
        bests.min_by(|a, b| a.key().total_cmp(&b.key()))
    }
}

impl Strategy for Swarm {
    const ALGORITHM: &'static str = "particle_swarm";
    type Options = PopulationOptions;
    type State = State;

    fn start(options: &mut PopulationOptions) -> Result<(Self, State), OptimizerError> {
        let domain = options.resolve("the particle swarm", 1..=1)?;
        let population_size = options.search.population_size.unwrap_or_default();
        Ok((Self { domain, population_size }, State { particles: vec![None; population_size] }))
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
        let particle = &state.particles[key.index as usize % self.population_size];
        let (Some(particle), Some(leader)) = (particle, state.leader()) else {
            return key.uniforms(n);
        };
        let uniforms = key.uniforms(2 * n);
        let step = |i: usize| {
            let x = particle.position[i];
            let velocity = INERTIA * particle.velocity[i]
                + ATTRACTION * uniforms[2 * i] * (particle.best.shares[i] - x)
                + ATTRACTION * uniforms[2 * i + 1] * (leader.shares[i] - x);
            (x + velocity.clamp(-FASTEST, FASTEST)).clamp(0.0, 1.0)
        };
        (0..n).map(step).collect()
    }

    fn point(&self, raw: &[f64]) -> Vec<f64> {
        self.domain.point_at(raw)
    }

    fn raw(&self, point: &[f64]) -> Vec<f64> {
        self.domain.shares(point)
    }

    fn learn(&self, state: &mut State, _: u64, told: &[Told<'_>]) {
        for one in told {
            let place = &mut state.particles[one.index as usize % self.population_size];
            let new = one.member();
            match place {
                Some(particle) => {
                    particle.velocity = new
                        .shares
                        .iter()
                        .zip(&particle.position)
                        .map(|(new, old)| new - old)
                        .collect();
                    particle.position.clone_from(&new.shares);
                    if new.key() <= particle.best.key() {
                        particle.best = new;
                    }
                }
                None => {
                    *place = Some(Particle {
                        position: new.shares.clone(),
                        velocity: vec![0.0; new.shares.len()],
                        best: new,
                    });
                }
            }
        }
    }

    fn check(&self, state: &State, _: u64) -> Result<(), &'static str> {
        let n = self.domain.dimension();
        let sound = state.particles.iter().flatten().all(|particle| {
            particle.best.is_sound(n, 1)
                && particle.position.len() == n
                && particle.position.iter().all(|share| (0.0..=1.0).contains(share))
                && particle.velocity.len() == n
                && particle.velocity.iter().all(|velocity| velocity.is_finite())
        });
        if sound && state.particles.len() == self.population_size {
            Ok(())
        } else {
            Err("its population is not one of points in the box")
        }
    }

    fn describe(&self, state: &State, status: &mut Status) {
        let bests = state.particles.iter().flatten().map(|particle| &particle.best);
        describe(&self.domain, bests, status);
    }

    fn reasons(&self, _: &State) -> Vec<Reason> {
        Vec::new()
    }
}

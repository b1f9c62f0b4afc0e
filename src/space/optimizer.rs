//! The section `optimizer` of a search file: which method proposes candidates, and how.

use super::error::SpaceError;
use super::sections::{at_least, out_of_range, seed, unknown_word};
use crate::config::yaml::Node;

/// Initial step size in the unit cube, as in mergekit-evolve.
const SIGMA0: f64 = 1.0 / 6.0;

/// `optimizer:` how candidates are proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerOptions {
    /// Which method.
    pub kind: OptimizerKind,
    /// Candidates per generation, at least 4; `None` for the method's own choice, and for methods
    /// without generations.
    pub population: Option<usize>,
    /// Initial standard deviation in the unit cube, in `(0, 1]`; of methods that have one.
    pub sigma0: f64,
    /// Seed of all candidates.
    pub seed: u64,
    /// What happens when going on is useless.
    pub restarts: RestartKind,
}

/// A method that proposes candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Covariance matrix adaptation.
    CmaEs,
    /// The same with variances only.
    SepCmaEs,
    /// The same with learning rates that adapt to noise.
    LraCmaEs,
    /// A genetic algorithm.
    Genetic,
    /// Differential evolution.
    DifferentialEvolution,
    /// A particle swarm.
    ParticleSwarm,
    /// Independent uniform points.
    Random,
    /// Points of Sobol's sequence.
    Sobol,
}

/// What happens when a search sees no sense in going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartKind {
    /// It ends.
    None,
    /// It begins anew elsewhere, each time with twice the population.
    Ipop,
    /// The same, with small populations and steps in between.
    Bipop,
}

/// Every method by the word for it.
const KINDS: [(&str, OptimizerKind); 8] = [
    ("cma_es", OptimizerKind::CmaEs),
    ("sep_cma_es", OptimizerKind::SepCmaEs),
    ("lra_cma_es", OptimizerKind::LraCmaEs),
    ("genetic", OptimizerKind::Genetic),
    ("differential_evolution", OptimizerKind::DifferentialEvolution),
    ("particle_swarm", OptimizerKind::ParticleSwarm),
    ("random", OptimizerKind::Random),
    ("sobol", OptimizerKind::Sobol),
];

const RESTARTS: [(&str, RestartKind); 3] =
    [("none", RestartKind::None), ("ipop", RestartKind::Ipop), ("bipop", RestartKind::Bipop)];

impl OptimizerKind {
    fn has_population(self) -> bool {
        !matches!(self, Self::Random | Self::Sobol)
    }

    fn has_restarts(self) -> bool {
        matches!(self, Self::CmaEs | Self::SepCmaEs | Self::LraCmaEs)
    }
}

impl OptimizerOptions {
    pub(super) fn parse(section: Option<&Node<'_>>) -> Result<Self, SpaceError> {
        let mut options = Self {
            kind: OptimizerKind::CmaEs,
            population: None,
            sigma0: SIGMA0,
            seed: 0,
            restarts: RestartKind::None,
        };
        let Some(section) = section else { return Ok(options) };
        let fields = section.fields()?;
        fields.only(&["kind", "population", "sigma0", "seed", "restarts"])?;
        if let Some(node) = fields.get("kind") {
            options.kind = word(&node, &KINDS)?;
        }
        if let Some(node) = fields.get("population") {
            if !options.kind.has_population() {
                return Err(SpaceError::Conflict {
                    at: node.key_place(),
                    problem: format!(
                        "`{}` draws every candidate on its own, in no population",
                        word_for(options.kind)
                    ),
                    remedy: "leave `population` out, or choose `kind: cma_es`",
                });
            }
            options.population = Some(at_least(&node, 4, "a whole number of at least 4")?);
        }
        if let Some(node) = fields.get("sigma0") {
            options.sigma0 = node.number()?;
            if !(options.sigma0 > 0.0 && options.sigma0 <= 1.0) {
                return Err(out_of_range(&node, "a number above 0 and at most 1"));
            }
        }
        if let Some(node) = fields.get("seed") {
            options.seed = seed(&node)?;
        }
        if let Some(node) = fields.get("restarts") {
            options.restarts = word(&node, &RESTARTS)?;
            if options.restarts != RestartKind::None && !options.kind.has_restarts() {
                return Err(SpaceError::Conflict {
                    at: node.key_place(),
                    problem: format!("`{}` has no reason to restart", word_for(options.kind)),
                    remedy: "leave `restarts` out, or choose `kind: cma_es`",
                });
            }
        }
        Ok(options)
    }
}

/// The value that a word stands for.
fn word<T: Copy>(node: &Node<'_>, known: &[(&str, T)]) -> Result<T, SpaceError> {
    let text = node.text()?;
    match known.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(unknown_word(node, &known.iter().map(|(word, _)| *word).collect::<Vec<_>>())),
    }
}

fn word_for(kind: OptimizerKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word)
}

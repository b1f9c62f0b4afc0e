//! The optimizer that a search file asks for.

use super::error::SearchError;
use crate::optimize::{
    CmaEs, CmaOptions, DifferentialEvolution, GeneticAlgorithm, Optimizer, ParticleSwarm,
    PopulationOptions, RandomSearch, RandomSearchOptions, Range, RestartOptions, RestartPolicy,
    Restarted, Restarts, Sequence, Tolerances, Variable, Variant,
};
use crate::space::{OptimizerKind, OptimizerOptions, RestartKind};

/// Weights that differ by less give the same model in bfloat16.
const SMALLEST_STEP: f64 = 1e-4;

/// The optimizer for points in the unit cube that starts at `initial`. `evaluations` is the budget.
pub(super) fn optimizer(
    options: &OptimizerOptions,
    initial: Vec<f64>,
    evaluations: u64,
) -> Result<Box<dyn Optimizer>, SearchError> {
    let unit = Range::Linear { low: 0.0, high: 1.0 };
    let variables = initial.into_iter().map(|start| Variable::new(unit.clone(), start)).collect();
    Ok(match options.kind {
        OptimizerKind::CmaEs => cma(options, variables, Variant::Full, evaluations)?,
        OptimizerKind::SepCmaEs => cma(options, variables, Variant::Separable, evaluations)?,
        OptimizerKind::LraCmaEs => cma(options, variables, Variant::LearningRates, evaluations)?,
        OptimizerKind::Genetic => Box::new(GeneticAlgorithm::new(&population(options, variables))?),
        OptimizerKind::DifferentialEvolution => {
            Box::new(DifferentialEvolution::new(&population(options, variables))?)
        }
        OptimizerKind::ParticleSwarm => {
            Box::new(ParticleSwarm::new(&population(options, variables))?)
        }
        OptimizerKind::Random => random(options, variables, Sequence::Independent)?,
        OptimizerKind::Sobol => random(options, variables, Sequence::Sobol)?,
    })
}

fn cma(
    options: &OptimizerOptions,
    variables: Vec<Variable>,
    variant: Variant,
    evaluations: u64,
) -> Result<Box<dyn Optimizer>, SearchError> {
    let mut first = CmaOptions {
        sigma0: options.sigma0,
        variant,
        tolerances: Tolerances { x: Some(SMALLEST_STEP), ..Tolerances::default() },
        ..CmaOptions::new(variables)
    };
    first.search.population_size = options.population;
    first.search.seed = options.seed;
    let policy = match options.restarts {
        RestartKind::None => return Ok(Box::new(CmaEs::new(&first)?)),
        RestartKind::Ipop => RestartPolicy::Ipop,
        RestartKind::Bipop => RestartPolicy::Bipop,
    };
    let (first, budget) = (Restarted::Cma(first), Some(evaluations));
    Ok(Box::new(Restarts::new(&RestartOptions { first, policy, budget })?))
}

fn population(options: &OptimizerOptions, variables: Vec<Variable>) -> PopulationOptions {
    let mut population = PopulationOptions::new(variables);
    population.search.population_size = options.population;
    population.search.seed = options.seed;
    population
}

fn random(
    options: &OptimizerOptions,
    variables: Vec<Variable>,
    sequence: Sequence,
) -> Result<Box<dyn Optimizer>, SearchError> {
    let options = RandomSearchOptions { variables, seed: options.seed, sequence };
    Ok(Box::new(RandomSearch::new(&options)?))
}

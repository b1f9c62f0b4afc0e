//! The searches that take part, and how a run goes.

use mergekit::optimize::{
    CatCma, CatCmaOptions, CmaEs, CmaOptions, ComoCatCma, ComoOptions, DifferentialEvolution,
    GeneticAlgorithm, Optimizer, OptimizerError, Outcome, ParticleSwarm, PopulationOptions,
    RandomSearch, RandomSearchOptions, RestartOptions, RestartPolicy, Restarted, Restarts,
    Sequence, Variable, Variant,
};

/// What a search is made of.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) variables: Vec<Variable>,
    pub(crate) sigma0: f64,
    pub(crate) seed: u64,
    /// Factor on the default population.
    pub(crate) population_factor: usize,
    pub(crate) budget: u64,
    /// What good points beat in both objectives.
    pub(crate) reference: Option<[f64; 2]>,
}

impl Setting {
    pub(crate) fn new(variables: Vec<Variable>, sigma0: f64, seed: u64, budget: u64) -> Self {
        Self { variables, sigma0, seed, population_factor: 1, budget, reference: None }
    }

    fn cma(&self, variant: Variant) -> CmaOptions {
        let mut options =
            CmaOptions { sigma0: self.sigma0, variant, ..CmaOptions::new(self.variables.clone()) };
        options.search.seed = self.seed;
        if self.population_factor > 1 {
            let n = self.variables.len() as f64;
            let default = 4 + (3.0 * n.ln()) as usize;
            options.search.population_size = Some(self.population_factor * default);
        }
        options
    }

    fn cat_cma(&self) -> CatCmaOptions {
        let mut options =
            CatCmaOptions { sigma0: self.sigma0, ..CatCmaOptions::new(self.variables.clone()) };
        options.search.seed = self.seed;
        options
    }

    fn population(&self, size: usize, objectives: usize) -> PopulationOptions {
        let mut options =
            PopulationOptions { objectives, ..PopulationOptions::new(self.variables.clone()) };
        options.search.seed = self.seed;
        options.search.population_size = Some(size);
        options
    }

    fn random(&self, sequence: Sequence) -> RandomSearchOptions {
        RandomSearchOptions { variables: self.variables.clone(), seed: self.seed, sequence }
    }

    /// The search of that name; `λ` at the end of a name doubles the population as often as it says.
    pub(crate) fn build(&self, name: &str) -> Result<Box<dyn Optimizer>, OptimizerError> {
        if let Some(name) = name.strip_suffix(" 2λ") {
            return Self { population_factor: 2, ..self.clone() }.build(name);
        }
        if let Some(name) = name.strip_suffix(" 4λ") {
            return Self { population_factor: 4, ..self.clone() }.build(name);
        }
        let restarts = |policy| RestartOptions {
            first: Restarted::Cma(self.cma(Variant::Full)),
            policy,
            budget: Some(self.budget),
        };
        Ok(match name {
            "CMA-ES" => Box::new(CmaEs::new(&self.cma(Variant::Full))?),
            "sep-CMA-ES" => Box::new(CmaEs::new(&self.cma(Variant::Separable))?),
            "LRA-CMA-ES" => Box::new(CmaEs::new(&self.cma(Variant::LearningRates))?),
            "BIPOP" => Box::new(Restarts::new(&restarts(RestartPolicy::Bipop))?),
            "IPOP" => Box::new(Restarts::new(&restarts(RestartPolicy::Ipop))?),
            "CatCMA" => Box::new(CatCma::new(&self.cat_cma())?),
            "COMO-CatCMA" => Box::new(ComoCatCma::new(&ComoOptions {
                kernel: self.cat_cma(),
                reference: self.reference,
                ..ComoOptions::new(Vec::new())
            })?),
            "NSGA-II" => Box::new(GeneticAlgorithm::new(&self.population(50, 2))?),
            "GA" => Box::new(GeneticAlgorithm::new(&self.population(20, 1))?),
            "DE" => Box::new(DifferentialEvolution::new(&self.population(20, 1))?),
            "PSO" => Box::new(ParticleSwarm::new(&self.population(20, 1))?),
            "random" => Box::new(RandomSearch::new(&self.random(Sequence::Independent))?),
            "Sobol" => Box::new(RandomSearch::new(&self.random(Sequence::Sobol))?),
            other => unreachable!("there is no search `{other}`"),
        })
    }
}

/// One evaluation of a run.
pub(crate) struct Evaluation<'a> {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) x: &'a [f64],
    /// Where the search stood before its generation.
    pub(crate) mean: &'a [f64],
    /// How many evaluations it had learnt from then.
    pub(crate) learnt_from: u64,
}

/// Asks and tells until `evaluate` breaks with a result, the budget is used up or, if `may_stop`,
/// the search sees no sense in going on.
pub(crate) fn run<T>(
    search: &mut dyn Optimizer,
    budget: u64,
    may_stop: bool,
    mut evaluate: impl FnMut(Evaluation<'_>) -> Result<Outcome, T>,
) -> Option<T> {
    let mut number = 0;
    while number < budget {
        let mean = search.status().mean;
        let learnt_from = number;
        let mut generation = Vec::new();
        while let Some(candidate) = search.ask() {
            generation.push(candidate);
            // Searches without generations always have another one.
            if generation.len() as u64 >= search.status().population_size.max(1) as u64 {
                break;
            }
        }
        for candidate in generation {
            number += 1;
            match evaluate(Evaluation { number, x: &candidate.x, mean: &mean, learnt_from }) {
                Ok(outcome) => search.tell(candidate.id, outcome).expect("it was asked for"),
                Err(result) => return Some(result),
            }
            if number >= budget {
                return None;
            }
        }
        if may_stop && !search.stop().is_empty() {
            return None;
        }
    }
    None
}

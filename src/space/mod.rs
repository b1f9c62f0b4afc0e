//! Search variables, genotypes and the merge configs they stand for.
//!
//! A [`SearchFile`] describes a merge in which some numbers are open; a [`SearchSpace`] is the cube
//! of all ways to close them. Optimizers work in the unit cube `[0, 1]ⁿ`, one coordinate per
//! [`Variable`]; a point is decoded into a plain [`MergeConfig`] that runs by itself:
//!
//! ```text
//! point in [0, 1]ⁿ ─ values ─► one value per variable ─ decode ─► merge config
//! ```
//!
//! The step size of an optimizer is therefore a share of a variable's range, whatever its unit, or
//! of the logarithm of its range.

mod benchmarks;
mod builder;
mod cut;
mod error;
mod file;
mod genome;
mod genotypes;
mod merge_form;
mod names;
mod optimizer;
mod sections;
mod spread;
mod template;
#[cfg(test)]
mod tests;
mod variable;
mod warning;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

pub use benchmarks::is_benchmark;
pub use error::SpaceError;
pub use file::SearchFile;
pub use optimizer::{OptimizerKind, OptimizerOptions, RestartKind};
pub use sections::{Budget, EvaluationOptions, TaskRequest, Validation};
pub use variable::Variable;
pub use warning::Warning;

use crate::config::MergeConfig;
use file::Form;
use genotypes::Genotypes;
use template::Template;

/// All merge configs that a search file describes, for models of a given depth.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSpace {
    variables: Vec<Variable>,
    decoder: Decoder,
}

/// How values become a config.
#[derive(Debug, Clone, PartialEq)]
enum Decoder {
    /// They fill the gaps of the config in a `merge:` file.
    Merge(Box<Template>),
    /// They are the genotype of a `genome:` file.
    Genome(Box<Genotypes>),
}

impl SearchSpace {
    /// The space of a search file for models of `n_layers` layers.
    ///
    /// Fails when groups of layers do not fit that number.
    pub fn new(file: &SearchFile, n_layers: usize) -> Result<Self, SpaceError> {
        let (mut variables, decoder) = match &file.form {
            Form::Merge(merge) => {
                let (template, variables) = merge.template(n_layers)?;
                (variables, Decoder::Merge(Box::new(template)))
            }
            Form::Genome(genome) => {
                let genotypes = Genotypes::new((**genome).clone(), n_layers)?;
                (genotypes.variables(), Decoder::Genome(Box::new(genotypes)))
            }
        };
        if file.random_init {
            let mut random = ChaCha8Rng::seed_from_u64(file.optimizer.seed);
            for variable in &mut variables {
                let start: f64 = random.random();
                variable.initial = start.clamp(variable.low, variable.high);
            }
        }
        Ok(Self { variables, decoder })
    }

    /// The variables, in the order of a point's coordinates.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Number of variables.
    pub fn dimension(&self) -> usize {
        self.variables.len()
    }

    /// The point at which the search starts.
    pub fn initial(&self) -> Vec<f64> {
        self.variables.iter().map(|variable| variable.unit(variable.initial)).collect()
    }

    /// The values of the variables at a point of the unit cube, to which coordinates are clamped.
    pub fn values(&self, point: &[f64]) -> Vec<f64> {
        self.variables.iter().zip(point).map(|(variable, &unit)| variable.value(unit)).collect()
    }

    /// The point with these values of the variables, which are clamped to their bounds.
    pub fn point(&self, values: &[f64]) -> Vec<f64> {
        self.variables.iter().zip(values).map(|(variable, &value)| variable.unit(value)).collect()
    }

    /// The merge config of a point of the unit cube, to which coordinates are clamped.
    ///
    /// Fails when the point does not have one finite coordinate per variable.
    pub fn decode(&self, point: &[f64]) -> Result<MergeConfig, SpaceError> {
        self.check(point)?;
        Ok(self.config(&self.values(point)))
    }

    /// The merge config with these values of the variables, which may lie outside of their bounds.
    ///
    /// For a `genome:` file the values are a genotype as mergekit-evolve has them. Fails when there
    /// is not one finite value per variable.
    pub fn decode_values(&self, values: &[f64]) -> Result<MergeConfig, SpaceError> {
        self.check(values)?;
        Ok(self.config(values))
    }

    fn check(&self, point: &[f64]) -> Result<(), SpaceError> {
        if point.len() != self.dimension() {
            return Err(SpaceError::Dimension { expected: self.dimension(), found: point.len() });
        }
        for (variable, &found) in self.variables.iter().zip(point) {
            if !found.is_finite() {
                return Err(SpaceError::NotFinite { variable: variable.name.clone(), found });
            }
        }
        Ok(())
    }

    fn config(&self, values: &[f64]) -> MergeConfig {
        match &self.decoder {
            Decoder::Merge(template) => template.fill(values),
            Decoder::Genome(genotypes) => genotypes.decode(values),
        }
    }
}

//! Genotypes of mergekit-evolve, and the merge configs they are decoded into.
//!
//! A genotype is an array of shape `[groups, models, filters + 1, parameters]`, the last dimension
//! running fastest, with the catch-all behind the filters. In Python it is unbounded: weights are
//! decoded as `|v|` and densities as `min(|v|, 1)`. Each good point then has mirror images, between
//! which the mean of a search distribution is no good point, and beyond a density of 1 the score is
//! flat. Here variables are bounded to where decoding changes nothing:
//!
//! | variable | domain | why |
//! |---|---|---|
//! | `weight`, normalised | 0 to 1 | only ratios count |
//! | `weight`, not normalised | 0 to 2 | beyond that models rarely work |
//! | the same with `allow_negative_weights` | −1 to 1, −2 to 2 | |
//! | `density` | 0.01 to 1 | at 0 a model would vanish, or its rescaling fail |
//! | `t` (slerp) | −2 to 2 | a difference of 4 leaves the lesser model a share of 0.018 |
//!
//! The start is Python's: `1 / models` for weights and `t`, 1 for densities.

use std::ops::Range;

use indexmap::IndexMap;

use super::error::SpaceError;
use super::genome::Genome;
use super::names::{make_unique, short_names};
use super::spread::{filter_suffix, group_suffix};
use super::template::{Entry, Model, Number, Parameters, Profile, Recipe, Template, fixed};
use super::variable::Variable;
use crate::config;
use crate::config::{MergeConfig, ModelReference, Scalar, Setting, Value};
use crate::kernels::dtype::DType;

/// All genotypes of a genome over models of a given depth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Genotypes {
    genome: Genome,
    layers: usize,
    groups: usize,
    /// `None` for slerp, whose recipe depends on the values.
    template: Option<Template>,
}

impl Genotypes {
    pub(super) fn new(genome: Genome, layers: usize) -> Result<Self, SpaceError> {
        let groups = genome.groups(layers)?;
        let mut genotypes = Self { genome, layers, groups, template: None };
        if genotypes.genome.method != "slerp" {
            genotypes.template = Some(genotypes.recipe_with_gaps());
        }
        Ok(genotypes)
    }

    /// The variables in the order of the genotype.
    pub(super) fn variables(&self) -> Vec<Variable> {
        let genome = &self.genome;
        let names = short_names(&genome.models);
        let mut variables = Vec::new();
        for group in 0..self.groups {
            let group = group_suffix(group, self.groups, genome.smooth, Some(&(0..self.layers)));
            for model in &names {
                for filter in 0..=genome.filters.len() {
                    let filter = filter_suffix(filter, &genome.filters);
                    for &parameter in genome.parameters {
                        let name = format!("models.{model}.{parameter}{group}{filter}");
                        let (low, high, initial) = self.domain(parameter);
                        variables.push(Variable { name, low, high, log: false, initial });
                    }
                }
            }
        }
        make_unique(variables.iter_mut().map(|variable| &mut variable.name));
        variables
    }

    /// The merge config of a genotype, which may lie outside of the variables' bounds.
    pub(super) fn decode(&self, genotype: &[f64]) -> MergeConfig {
        match &self.template {
            Some(template) => template.fill(&self.express(genotype)),
            None => self.slerp(genotype),
        }
    }

    /// Bounds and start of a parameter.
    fn domain(&self, parameter: &str) -> (f64, f64, f64) {
        let share = 1.0 / self.genome.models.len() as f64;
        match parameter {
            "density" => (0.01, 1.0, 1.0),
            "t" => (-2.0, 2.0, share),
            _ => {
                let high = if self.genome.normalize { 1.0 } else { 2.0 };
                (if self.genome.allow_negative_weights { -high } else { 0.0 }, high, share)
            }
        }
    }

    /// The values that Python's decoding makes of a genotype, which may lie outside of the bounds.
    fn express(&self, genotype: &[f64]) -> Vec<f64> {
        let parameters = self.genome.parameters.iter().cycle();
        genotype
            .iter()
            .zip(parameters)
            .map(|(&value, &parameter)| match parameter {
                "density" => value.abs().min(1.0),
                "weight" if !self.genome.allow_negative_weights => value.abs(),
                _ => value,
            })
            .collect()
    }

    /// One slice per group of layers, or whole models with gradients.
    fn recipe_with_gaps(&self) -> Template {
        let genome = &self.genome;
        let mut models: Vec<Model> = genome
            .models
            .iter()
            .enumerate()
            .map(|(index, model)| Model {
                model: model.clone(),
                parameters: self.model_parameters(index),
            })
            .collect();
        let frame = self.config(config::Recipe::Models(Vec::new()));
        let shared = fixed(&frame.parameters);
        if !genome.smooth {
            return Template::sliced(frame, Recipe::Models(models), shared, self.layers);
        }
        if let Some(base) = genome.base_model.as_ref().filter(|base| !genome.models.contains(base))
        {
            models.push(Model { model: base.clone(), parameters: Parameters::new() });
        }
        Template::new(frame, Recipe::Models(models), shared, self.layers)
    }

    fn model_parameters(&self, model: usize) -> Parameters {
        let genome = &self.genome;
        let sets = genome.filters.len() + 1;
        let index = |group: usize, set: usize, parameter: usize| {
            ((group * genome.models.len() + model) * sets + set) * genome.parameters.len()
                + parameter
        };
        let entry = |parameter: usize, set: usize| {
            let number = |group| Number::Variable(index(group, set, parameter));
            let profile = match self.groups {
                1 => Profile::Constant(number(0)),
                _ if genome.smooth => Profile::Gradient((0..self.groups).map(number).collect()),
                _ => Profile::Steps((0..self.groups).map(number).collect()),
            };
            Entry { filter: genome.filters.get(set).cloned(), profile }
        };
        let parameters = genome.parameters.iter().enumerate();
        parameters
            .map(|(position, name)| {
                ((*name).to_owned(), (0..sets).map(|set| entry(position, set)).collect())
            })
            .collect()
    }

    /// The slerp of a genotype: each group has the two models of the largest values, and `t` is the
    /// lesser one's share in the softmax of both.
    fn slerp(&self, genotype: &[f64]) -> MergeConfig {
        let models = &self.genome.models;
        let slices = genotype.chunks_exact(models.len()).enumerate().map(|(group, values)| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            let (first, second) = (order[0], order[1]);
            let t = 1.0 / (1.0 + libm::exp(values[first] - values[second]));
            let layers = group * self.layers / self.groups..(group + 1) * self.layers / self.groups;
            slerp_slice(&models[first], &models[second], t, layers)
        });
        self.config(config::Recipe::Slices(slices.collect()))
    }

    fn config(&self, recipe: config::Recipe) -> MergeConfig {
        let boolean = |value| Setting::Plain(Value::Scalar(Scalar::Bool(value)));
        MergeConfig {
            merge_method: self.genome.method.to_owned(),
            recipe,
            base_model: self.genome.base_model.clone(),
            parameters: IndexMap::from([
                ("normalize".to_owned(), boolean(self.genome.normalize)),
                ("int8_mask".to_owned(), boolean(true)),
            ]),
            dtype: Some(DType::BF16),
            out_dtype: None,
            tokenizer: None,
            chat_template: None,
        }
    }
}

fn slerp_slice(
    first: &ModelReference,
    second: &ModelReference,
    t: f64,
    layers: Range<usize>,
) -> config::OutputSlice {
    let source = |model: &ModelReference| config::SliceSource {
        model: model.clone(),
        layers: layers.clone(),
        parameters: config::Settings::new(),
    };
    config::OutputSlice {
        sources: vec![source(first), source(second)],
        base_model: Some(first.clone()),
        parameters: IndexMap::from([(
            "t".to_owned(),
            Setting::Plain(Value::Scalar(Scalar::Float(t))),
        )]),
    }
}

//! Merge configs with gaps: every number is fixed, or a variable, or lies between two others.
//!
//! [`Template::new`] puts the recipe into a form that merge configs have, once, before any value is
//! known. Filling the gaps is then a plain copy.

use std::ops::Range;

use indexmap::IndexMap;

use super::cut::{cut_recipe, has_steps, is_layered, recipe_has_steps};
use crate::config;
use crate::config::{MergeConfig, ModelReference, Scalar};

/// A number of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    /// As written.
    Fixed(Scalar),
    /// The value of the variable with this index.
    Variable(usize),
    /// `(1 − fraction)·from + fraction·to`, both numeric.
    Between { from: Box<Number>, to: Box<Number>, fraction: f64 },
}

/// Numbers over the layers of a stack.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Profile {
    /// The same in all layers.
    Constant(Number),
    /// Spread evenly over the layers and interpolated between; never empty.
    Gradient(Vec<Number>),
    /// One per group of layers; never empty. Gone once the recipe is cut.
    Steps(Vec<Number>),
}

/// A profile for the tensors that a filter matches.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// As in [`config::Conditional`].
    pub(super) filter: Option<String>,
    /// The numbers.
    pub(super) profile: Profile,
}

/// Parameters by name; of a parameter's entries the first that matches counts.
pub(super) type Parameters = IndexMap<String, Vec<Entry>>;

/// A model and its own parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub(super) model: ModelReference,
    pub(super) parameters: Parameters,
}

/// A run of output layers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slice {
    pub(super) sources: Vec<(Model, Range<usize>)>,
    pub(super) base_model: Option<ModelReference>,
    pub(super) parameters: Parameters,
}

/// The forms of a merge.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recipe {
    Models(Vec<Model>),
    Slices(Vec<Slice>),
    Modules(IndexMap<String, (Recipe, Parameters)>),
}

/// A merge config with gaps for the variables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    /// Everything that has no gaps; its recipe and parameters are not used.
    frame: MergeConfig,
    recipe: Recipe,
    parameters: Parameters,
}

impl Template {
    /// A template over models of `layers` layers.
    ///
    /// A recipe is cut into slices if one of its parameters has groups of layers. Every group must
    /// have a layer: the caller has compared their number with the layers.
    pub(super) fn new(
        frame: MergeConfig,
        recipe: Recipe,
        parameters: Parameters,
        layers: usize,
    ) -> Self {
        if has_steps(&parameters) || recipe_has_steps(&recipe) {
            Self::sliced(frame, recipe, parameters, layers)
        } else {
            Self { frame, recipe, parameters }
        }
    }

    /// A template in `slices:` form, whether or not groups of layers ask for it.
    pub(super) fn sliced(
        frame: MergeConfig,
        recipe: Recipe,
        mut parameters: Parameters,
        layers: usize,
    ) -> Self {
        let recipe = cut_recipe(recipe, &[&parameters], frame.base_model.as_ref(), layers);
        parameters.retain(|_, entries| !is_layered(entries));
        Self { frame, recipe, parameters }
    }

    /// The merge config with these values of the variables.
    pub(super) fn fill(&self, values: &[f64]) -> MergeConfig {
        MergeConfig {
            recipe: fill_recipe(&self.recipe, values),
            parameters: fill_parameters(&self.parameters, values),
            ..self.frame.clone()
        }
    }

    /// How often each of `n` variables is used.
    #[cfg(test)]
    pub(super) fn uses(&self, n: usize) -> Vec<usize> {
        fn count(number: &Number, uses: &mut Vec<usize>) {
            match number {
                Number::Fixed(_) => {}
                Number::Variable(index) => uses[*index] += 1,
                Number::Between { from, to, .. } => {
                    count(from, uses);
                    count(to, uses);
                }
            }
        }
        let mut uses = vec![0; n];
        let mut parameters = vec![&self.parameters];
        let mut recipes = vec![&self.recipe];
        while let Some(recipe) = recipes.pop() {
            match recipe {
                Recipe::Models(models) => parameters.extend(models.iter().map(|m| &m.parameters)),
                Recipe::Slices(slices) => {
                    for slice in slices {
                        parameters.push(&slice.parameters);
                        parameters.extend(slice.sources.iter().map(|(m, _)| &m.parameters));
                    }
                }
                Recipe::Modules(modules) => {
                    for (recipe, own) in modules.values() {
                        parameters.push(own);
                        recipes.push(recipe);
                    }
                }
            }
        }
        for number in
            parameters.iter().flat_map(|p| p.values()).flatten().flat_map(|e| match &e.profile {
                Profile::Constant(number) => std::slice::from_ref(number),
                Profile::Gradient(numbers) | Profile::Steps(numbers) => numbers,
            })
        {
            count(number, &mut uses);
        }
        uses
    }
}

/// Settings as parameters without gaps.
pub(super) fn fixed(settings: &config::Settings) -> Parameters {
    settings
        .iter()
        .map(|(name, setting)| {
            let entries = match setting {
                config::Setting::Plain(value) => {
                    vec![Entry { filter: None, profile: fixed_profile(value) }]
                }
                config::Setting::Conditional(conditions) => conditions
                    .iter()
                    .map(|condition| Entry {
                        filter: condition.filter.clone(),
                        profile: fixed_profile(&condition.value),
                    })
                    .collect(),
            };
            (name.clone(), entries)
        })
        .collect()
}

fn fixed_profile(value: &config::Value) -> Profile {
    let number = |scalar: &Scalar| Number::Fixed(scalar.clone());
    match value {
        config::Value::Scalar(scalar) => Profile::Constant(number(scalar)),
        config::Value::Gradient(scalars) => Profile::Gradient(scalars.iter().map(number).collect()),
    }
}

fn fill_recipe(recipe: &Recipe, values: &[f64]) -> config::Recipe {
    match recipe {
        Recipe::Models(models) => config::Recipe::Models(
            models
                .iter()
                .map(|entry| config::ModelEntry {
                    model: entry.model.clone(),
                    parameters: fill_parameters(&entry.parameters, values),
                })
                .collect(),
        ),
        Recipe::Slices(slices) => config::Recipe::Slices(
            slices
                .iter()
                .map(|slice| config::OutputSlice {
                    sources: slice
                        .sources
                        .iter()
                        .map(|(entry, layers)| config::SliceSource {
                            model: entry.model.clone(),
                            layers: layers.clone(),
                            parameters: fill_parameters(&entry.parameters, values),
                        })
                        .collect(),
                    base_model: slice.base_model.clone(),
                    parameters: fill_parameters(&slice.parameters, values),
                })
                .collect(),
        ),
        Recipe::Modules(modules) => config::Recipe::Modules(
            modules
                .iter()
                .map(|(name, (recipe, parameters))| {
                    let entry = config::ModuleEntry {
                        recipe: fill_recipe(recipe, values),
                        parameters: fill_parameters(parameters, values),
                    };
                    (name.clone(), entry)
                })
                .collect(),
        ),
    }
}

fn fill_parameters(parameters: &Parameters, values: &[f64]) -> config::Settings {
    parameters
        .iter()
        .map(|(name, entries)| {
            let setting = match entries.as_slice() {
                [Entry { filter: None, profile }] => {
                    config::Setting::Plain(fill_profile(profile, values))
                }
                _ => config::Setting::Conditional(
                    entries
                        .iter()
                        .map(|entry| config::Conditional {
                            filter: entry.filter.clone(),
                            value: fill_profile(&entry.profile, values),
                        })
                        .collect(),
                ),
            };
            (name.clone(), setting)
        })
        .collect()
}

fn fill_profile(profile: &Profile, values: &[f64]) -> config::Value {
    let fill = |numbers: &[Number]| numbers.iter().map(|n| fill_number(n, values)).collect();
    match profile {
        Profile::Constant(number) => config::Value::Scalar(fill_number(number, values)),
        Profile::Gradient(numbers) | Profile::Steps(numbers) => {
            config::Value::Gradient(fill(numbers))
        }
    }
}

fn fill_number(number: &Number, values: &[f64]) -> Scalar {
    match number {
        Number::Fixed(scalar) => scalar.clone(),
        Number::Variable(index) => Scalar::Float(values[*index]),
        Number::Between { from, to, fraction } => {
            let value = |number| {
                let value = fill_number(number, values).as_number();
                value.expect("only gradients of numbers are interpolated")
            };
            Scalar::Float((1.0 - fraction) * value(from) + fraction * value(to))
        }
    }
}

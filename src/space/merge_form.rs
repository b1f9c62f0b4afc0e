//! The `merge:` form: a merge config in which numbers are replaced by variables.
//!
//! Variables may stand for a whole parameter, for an entry of a gradient, and for the `value` of a
//! conditional. A variable's name is its path in the config with models by their short names and
//! without `parameters` behind a model, and then what tells its numbers apart:
//!
//! ```text
//! models.adder.weight[layers 0-3]          parameters.t
//! models.adder.density[self_attn]          slices[1].adder.weight[point 2 of 4]
//! models.adder.density[rest]               slices[1].parameters.t[0]
//! ```
//!
//! Layers are counted over the output, from 0. Names that would be equal all the same, as those of
//! a model listed twice, are followed by ` #2`, ` #3`, ….

use std::collections::{HashMap, HashSet};

use serde_yaml::{Mapping, Value};

use super::builder::Builder;
use super::error::SpaceError;
use super::names::{make_unique, short_names};
use super::spread::{Spread, is_variable};
use super::template::Template;
use super::variable::Variable;
use super::warning::Warning;
use crate::config;
use crate::config::yaml::{FieldPath, Node, Step};
use crate::config::{MergeConfig, ModelReference};

/// A merge config and the variables in it, as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MergeForm {
    /// With every variable at its start.
    config: MergeConfig,
    /// By their path from the config's root, in the order of the file.
    spreads: Vec<(FieldPath, Spread)>,
}

impl MergeForm {
    /// Reads and checks the config with all variables at their start, at their lower ends and at
    /// their upper ends.
    pub(super) fn read(node: &Node<'_>, warnings: &mut Vec<Warning>) -> Result<Self, SpaceError> {
        let mut spreads = Vec::new();
        collect(node, FieldPath::default(), &mut spreads)?;
        if spreads.is_empty() {
            return Err(SpaceError::NoVariables { at: node.key_place() });
        }
        let by_path: HashMap<&FieldPath, &Spread> = spreads.iter().map(|(p, s)| (p, s)).collect();
        let config_with = |pick: fn(&Spread) -> f64| {
            let value = substitute(node.value(), &FieldPath::default(), &by_path, pick);
            MergeConfig::from_node(&node.with_value(&value))
        };
        let (config, found) = config_with(|spread| spread.initial)?;
        config_with(|spread| spread.low)?;
        config_with(|spread| spread.high)?;
        warnings.extend(found.into_iter().map(Warning::from));
        Ok(Self { config, spreads })
    }

    /// The models, base first, the others in the order of the file, each once.
    pub(super) fn models(&self) -> Vec<ModelReference> {
        let mut models: Vec<ModelReference> = self.config.base_model.iter().cloned().collect();
        collect_models(&self.config.recipe, &mut models);
        let mut seen = HashSet::new();
        models.retain(|model| seen.insert(model.clone()));
        models
    }

    /// The template and its variables for models of `layers` layers.
    pub(super) fn template(&self, layers: usize) -> Result<(Template, Vec<Variable>), SpaceError> {
        let models = self.models();
        let names = short_names(&models);
        let count = self.spreads.iter().map(|(_, spread)| spread.len()).sum();
        let mut builder = Builder {
            spreads: self.spreads.iter().map(|(path, spread)| (path, spread)).collect(),
            names: models.into_iter().zip(names).collect(),
            variables: vec![None; count],
            layers,
        };
        let template = builder.template(&self.config)?;
        let mut variables: Vec<Variable> = builder
            .variables
            .into_iter()
            .map(|variable| variable.expect("every variable stands where a config has a parameter"))
            .collect();
        make_unique(variables.iter_mut().map(|variable| &mut variable.name));
        Ok((template, variables))
    }
}

/// Finds all variables below `node`, whose path from the config's root is `path`.
fn collect(
    node: &Node<'_>,
    path: FieldPath,
    spreads: &mut Vec<(FieldPath, Spread)>,
) -> Result<(), SpaceError> {
    if is_variable(node) {
        let first = spreads.last().map_or(0, |(_, last)| last.first + last.len());
        let place = number_place(&path.0).ok_or_else(|| SpaceError::NotAVariablePlace {
            at: node.place(),
            instead: "only numbers of `parameters` can be search variables",
        })?;
        let spread = Spread::read(node, first)?;
        let instead = match place {
            NumberPlace::Entry if !spread.is_single() => {
                "`layer_groups` and `filters` are for whole parameters, not for an entry of a gradient"
            }
            NumberPlace::Condition if spread.has_filters() => {
                "`filters` are for whole parameters; here the conditional has its `filter`"
            }
            _ => {
                spreads.push((path, spread));
                return Ok(());
            }
        };
        return Err(SpaceError::NotAVariablePlace { at: node.place(), instead });
    }
    match node.value() {
        Value::Mapping(_) => {
            for (name, child) in node.fields()?.all()? {
                collect(&child, path.key(name), spreads)?;
            }
        }
        Value::Sequence(_) => {
            for (index, child) in node.items()?.iter().enumerate() {
                collect(child, path.index(index), spreads)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a number of a merge config is part of.
enum NumberPlace {
    /// A whole parameter.
    Parameter,
    /// One value of a gradient.
    Entry,
    /// The value of a conditional.
    Condition,
}

/// What a value at this path of a merge config is, if it may be a variable.
fn number_place(mut steps: &[Step]) -> Option<NumberPlace> {
    let is = |step: &Step, name: &str| matches!(step, Step::Key(key) if key == name);
    if let [modules, Step::Key(_), rest @ ..] = steps
        && is(modules, "modules")
    {
        steps = rest;
    }
    steps = match steps {
        [slices, Step::Index(_), sources, Step::Index(_), rest @ ..]
            if is(slices, "slices") && is(sources, "sources") =>
        {
            rest
        }
        [list, Step::Index(_), rest @ ..] if is(list, "models") || is(list, "slices") => rest,
        rest => rest,
    };
    let [parameters, Step::Key(_), rest @ ..] = steps else { return None };
    if !is(parameters, "parameters") {
        return None;
    }
    match rest {
        [] => Some(NumberPlace::Parameter),
        [Step::Index(_)] => Some(NumberPlace::Entry),
        [value] | [Step::Index(_), value] if is(value, "value") => Some(NumberPlace::Condition),
        [value, Step::Index(_)] | [Step::Index(_), value, Step::Index(_)] if is(value, "value") => {
            Some(NumberPlace::Entry)
        }
        _ => None,
    }
}

/// The value with a number in the place of every variable.
fn substitute(
    value: &Value,
    path: &FieldPath,
    spreads: &HashMap<&FieldPath, &Spread>,
    pick: fn(&Spread) -> f64,
) -> Value {
    if let Some(spread) = spreads.get(path) {
        return Value::from(pick(spread));
    }
    match value {
        Value::Mapping(pairs) => {
            let mut numbers = Mapping::new();
            for (key, value) in pairs {
                let path = path.key(key.as_str().unwrap_or_default());
                numbers.insert(key.clone(), substitute(value, &path, spreads, pick));
            }
            Value::Mapping(numbers)
        }
        Value::Sequence(items) => {
            let items = items.iter().enumerate();
            Value::Sequence(
                items
                    .map(|(index, item)| substitute(item, &path.index(index), spreads, pick))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn collect_models(recipe: &config::Recipe, models: &mut Vec<ModelReference>) {
    match recipe {
        config::Recipe::Models(entries) => {
            models.extend(entries.iter().map(|entry| entry.model.clone()));
        }
        config::Recipe::Slices(slices) => {
            for slice in slices {
                models.extend(slice.base_model.clone());
                models.extend(slice.sources.iter().map(|source| source.model.clone()));
            }
        }
        config::Recipe::Modules(modules) => {
            for module in modules.values() {
                collect_models(&module.recipe, models);
            }
        }
    }
}

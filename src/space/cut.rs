//! Recipes cut into slices, for parameters with one value per group of layers.
//!
//! Such a parameter has no direct form in a merge config, where a `models:` recipe has the same
//! scalar in all layers, so the recipe is restacked as `slices:`.
//!
//! Group `g` of `G` over a stack of `n` layers is the layers `l` with `floor(l·G/n) = g`. A recipe
//! is cut at the boundaries of all groups of all its variables, and each slice gets
//!
//! * the value of its group for each grouped variable,
//! * for each gradient, its values on the slice's layers as a gradient of their own, which gives
//!   each layer the value it would have without the cut (up to the last bit, as positions are
//!   fractions),
//! * parameters of outer scopes that change over the layers, which would otherwise start anew in
//!   each slice.
//!
//! Tensors in front of the layers read the first slice and those behind them the last, at the
//! slice's first layer. A final norm therefore has the values of the last slice's first layer; it
//! would have had a gradient's first value without the cut.

use std::collections::BTreeSet;
use std::ops::Range;

use super::template::{Entry, Model, Number, Parameters, Profile, Recipe, Slice};
use crate::config::ModelReference;

/// The layers of group `group` of `groups` over `layers` layers.
pub(super) fn group_layers(group: usize, groups: usize, layers: usize) -> Range<usize> {
    let first = |group: usize| (group * layers).div_ceil(groups);
    first(group)..first(group + 1)
}

pub(super) fn recipe_has_steps(recipe: &Recipe) -> bool {
    match recipe {
        Recipe::Models(models) => models.iter().any(|model| has_steps(&model.parameters)),
        Recipe::Slices(slices) => slices.iter().any(|slice| {
            has_steps(&slice.parameters)
                || slice.sources.iter().any(|(model, _)| has_steps(&model.parameters))
        }),
        Recipe::Modules(modules) => modules
            .values()
            .any(|(recipe, parameters)| has_steps(parameters) || recipe_has_steps(recipe)),
    }
}

pub(super) fn has_steps(parameters: &Parameters) -> bool {
    parameters.values().flatten().any(|entry| matches!(entry.profile, Profile::Steps(_)))
}

/// Whether a parameter differs between layers.
pub(super) fn is_layered(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| !matches!(entry.profile, Profile::Constant(_)))
}

/// Whether entries match every tensor, so that outer scopes are never asked.
fn matches_all(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.filter.as_deref(), None | Some("*")))
}

/// `recipe` as slices; `outer` are the parameters around it, innermost first.
pub(super) fn cut_recipe(
    recipe: Recipe,
    outer: &[&Parameters],
    base: Option<&ModelReference>,
    layers: usize,
) -> Recipe {
    let slices = match recipe {
        Recipe::Models(mut models) => {
            if let Some(base) = base
                && models.iter().all(|entry| entry.model != *base)
            {
                models.push(Model { model: base.clone(), parameters: Parameters::new() });
            }
            let sources = models.into_iter().map(|model| (model, 0..layers)).collect();
            vec![Slice { sources, base_model: None, parameters: Parameters::new() }]
        }
        Recipe::Slices(slices) => slices,
        Recipe::Modules(modules) => {
            return Recipe::Modules(
                modules
                    .into_iter()
                    .map(|(name, (recipe, mut parameters))| {
                        let scopes: Vec<&Parameters> =
                            std::iter::once(&parameters).chain(outer.iter().copied()).collect();
                        let recipe = cut_recipe(recipe, &scopes, base, layers);
                        parameters.retain(|_, entries| !is_layered(entries));
                        (name, (recipe, parameters))
                    })
                    .collect(),
            );
        }
    };
    Recipe::Slices(slices.into_iter().flat_map(|slice| cut_slice(slice, outer)).collect())
}

/// The slices that together are `slice`, each without steps inside.
fn cut_slice(mut slice: Slice, outer: &[&Parameters]) -> Vec<Slice> {
    inherit(&mut slice.parameters, outer);
    // Sources of different depth are an error that the plan reports.
    let layers = slice.sources.iter().map(|(_, layers)| layers.len()).min().unwrap_or(0);
    let scopes = || {
        std::iter::once(&slice.parameters).chain(slice.sources.iter().map(|(m, _)| &m.parameters))
    };
    let cuts: BTreeSet<usize> = scopes()
        .flat_map(|parameters| parameters.values().flatten())
        .flat_map(|entry| cuts_of(&entry.profile, layers))
        .chain([0, layers])
        .collect();
    let cuts: Vec<usize> = cuts.into_iter().collect();
    let restricted = |parameters: &Parameters, part: &Range<usize>| -> Parameters {
        parameters
            .iter()
            .map(|(name, entries)| {
                let entries = entries
                    .iter()
                    .map(|entry| Entry {
                        filter: entry.filter.clone(),
                        profile: restrict(&entry.profile, layers, part),
                    })
                    .collect();
                (name.clone(), entries)
            })
            .collect()
    };
    if cuts.len() < 2 {
        return vec![slice];
    }
    cuts.windows(2)
        .map(|ends| {
            let part = ends[0]..ends[1];
            let sources = slice
                .sources
                .iter()
                .map(|(source, range)| {
                    let end = if part.end == layers { range.end } else { range.start + part.end };
                    let model = Model {
                        model: source.model.clone(),
                        parameters: restricted(&source.parameters, &part),
                    };
                    (model, range.start + part.start..end)
                })
                .collect();
            Slice {
                sources,
                base_model: slice.base_model.clone(),
                parameters: restricted(&slice.parameters, &part),
            }
        })
        .collect()
}

/// Adds to a slice's parameters those of outer scopes that change over the layers.
fn inherit(parameters: &mut Parameters, outer: &[&Parameters]) {
    let names: BTreeSet<&String> = outer.iter().flat_map(|scope| scope.keys()).collect();
    for name in names {
        let mut entries = parameters.get(name).cloned().unwrap_or_default();
        let mut layered = false;
        for more in outer.iter().filter_map(|scope| scope.get(name)) {
            if matches_all(&entries) {
                break;
            }
            layered |= is_layered(more);
            entries.extend(more.iter().cloned());
        }
        if layered {
            parameters.insert(name.clone(), entries);
        }
    }
}

/// The layers in front of which a stack of `layers` layers must be cut.
fn cuts_of(profile: &Profile, layers: usize) -> Vec<usize> {
    match profile {
        Profile::Constant(_) => Vec::new(),
        Profile::Steps(numbers) => (1..numbers.len())
            .map(|group| group_layers(group, numbers.len(), layers).start)
            .collect(),
        // Words are not interpolated but change at once.
        Profile::Gradient(numbers) if !is_numeric(numbers) => (1..layers)
            .filter(|&layer| {
                point(numbers.len(), layer - 1, layers).0 != point(numbers.len(), layer, layers).0
            })
            .collect(),
        Profile::Gradient(_) => Vec::new(),
    }
}

/// A profile over `layers` layers, as seen by the layers of `part`.
fn restrict(profile: &Profile, layers: usize, part: &Range<usize>) -> Profile {
    match profile {
        Profile::Constant(number) => Profile::Constant(number.clone()),
        Profile::Steps(numbers) => {
            Profile::Constant(numbers[part.start * numbers.len() / layers.max(1)].clone())
        }
        Profile::Gradient(_) if *part == (0..layers) => profile.clone(),
        Profile::Gradient(numbers) if !is_numeric(numbers) => {
            Profile::Constant(numbers[point(numbers.len(), part.start, layers).0].clone())
        }
        Profile::Gradient(numbers) => {
            let mut seen: Vec<Number> =
                part.clone().map(|layer| interpolate(numbers, layer, layers)).collect();
            if seen.iter().all(|number| *number == seen[0]) {
                Profile::Constant(seen.swap_remove(0))
            } else {
                Profile::Gradient(seen)
            }
        }
    }
}

/// Between which of `n` gradient entries a layer lies, and how far behind the first.
fn point(n: usize, layer: usize, layers: usize) -> (usize, f64) {
    let t = if layers == 1 { 1.0 } else { layer as f64 / (layers - 1) as f64 };
    let x = t * (n - 1) as f64;
    ((x.floor() as usize).min(n - 1), x - x.floor())
}

fn interpolate(numbers: &[Number], layer: usize, layers: usize) -> Number {
    let (first, fraction) = point(numbers.len(), layer, layers);
    match numbers.get(first + 1) {
        Some(to) if fraction > 0.0 => Number::Between {
            from: Box::new(numbers[first].clone()),
            to: Box::new(to.clone()),
            fraction,
        },
        _ => numbers[first].clone(),
    }
}

fn is_numeric(numbers: &[Number]) -> bool {
    numbers.iter().all(|number| match number {
        Number::Fixed(scalar) => scalar.as_number().is_some(),
        Number::Variable(_) | Number::Between { .. } => true,
    })
}

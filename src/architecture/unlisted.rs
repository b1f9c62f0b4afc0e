//! Tensors that models have beyond their definition: attention biases of a fine-tune, a value head, the
//! layers behind the last that predict further tokens.
//!
//! What all models have alike is merged like everything else, so the definition is extended by it. The
//! rest has no place in the output, and is told to the caller.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::infer::{is_before_layers, is_vocabulary};
use super::{
    Architecture, ArchitectureDefinition, Location, ModelConfig, NameTemplate, TensorTemplate,
};
use crate::checkpoint::TensorSource;

/// A model, read as one of the definition that is to be extended.
#[derive(Clone, Copy)]
pub(crate) struct ExtendedModel<'m> {
    /// With this model's layer counts.
    pub(crate) architecture: &'m Architecture,
    /// Its config.
    pub(crate) config: &'m ModelConfig,
    /// Its tensors.
    pub(crate) source: &'m dyn TensorSource,
}

/// A place in a definition for tensors that it does not list.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place<'d> {
    module: &'d str,
    name: NameTemplate,
    /// Whether the name is that of a layer behind the last.
    is_behind: bool,
}

/// What models have in a [`Place`].
#[derive(Default)]
struct Found<'m> {
    /// Tensors of each model.
    counts: Vec<usize>,
    /// Those that all models have in the same shape and of a floating type.
    common: Vec<&'m str>,
}

/// `definition` with the tensors that it does not list and that all `models`, at least one, have alike;
/// and for each model those that are still not listed, in file order, without those that loaders
/// compute.
///
/// In modules that `is_restacked` names, the layers of the output are not those of the inputs: what not
/// every layer has, or what has the number of a layer behind the last, has no place there.
pub(crate) fn with_unlisted(
    definition: &Arc<ArchitectureDefinition>,
    models: &[ExtendedModel<'_>],
    is_restacked: impl Fn(&str) -> bool,
) -> (Arc<ArchitectureDefinition>, Vec<Vec<String>>) {
    let unlisted: Vec<Vec<&str>> = models
        .iter()
        .map(|model| {
            let shape = |name: &str| &model.source.tensors()[name].shape;
            let names = model.architecture.unlisted(model.source).into_iter();
            names.filter(|name| !is_computed(name, shape(name))).collect()
        })
        .collect();
    let mut extended = ArchitectureDefinition::clone(definition);
    let mut listed = HashSet::new();
    for (Place { module: name, name: template, is_behind }, found) in
        find(definition, models, &unlisted)
    {
        let module = &mut extended.modules[name];
        let Found { counts, common } = found;
        let Some(&example) = common.first() else { continue };
        if counts.iter().any(|&count| count != common.len()) || (is_behind && is_restacked(name)) {
            continue;
        }
        let template = TensorTemplate { optional: true, ..TensorTemplate::named(template) };
        if !template.name.has_layer_index() {
            let is_vocabulary = models.iter().all(|model| {
                is_vocabulary(example, model.config, &model.source.tensors()[example])
            });
            let template =
                TensorTemplate { vocabulary_axis: is_vocabulary.then_some(0), ..template };
            let is_before = is_before_layers(example);
            if is_before { &mut module.pre } else { &mut module.post }.push(template);
        } else if !is_restacked(name) || is_in_all_layers(models, name, &common) {
            module.layer.push(template);
        } else {
            continue;
        }
        listed.extend(common);
    }
    let left = unlisted.iter().map(|names| {
        names.iter().filter(|name| !listed.contains(*name)).map(|&name| name.to_owned()).collect()
    });
    let left = left.collect();
    if listed.is_empty() { (Arc::clone(definition), left) } else { (Arc::new(extended), left) }
}

/// Whether loaders compute the tensor from the config and pass over what is stored: frequencies and
/// tables of rotary embeddings, masks, and the numbers of positions.
fn is_computed(name: &str, shape: &[usize]) -> bool {
    const ENDS: [&str; 6] =
        [".inv_freq", ".cos_cached", ".sin_cached", ".masked_bias", ".position_ids", ".rope.freqs"];
    // Masks are `[1, 1, positions, positions]`; others have real biases of that name.
    let is_mask =
        shape.len() == 4 && [".attn.bias", ".attention.bias"].iter().any(|end| name.ends_with(end));
    is_mask || ENDS.iter().any(|end| name.ends_with(end))
}

/// What `models` have in every place, in the order of their files.
fn find<'d, 'm>(
    definition: &'d ArchitectureDefinition,
    models: &[ExtendedModel<'m>],
    unlisted: &[Vec<&'m str>],
) -> IndexMap<Place<'d>, Found<'m>> {
    let all: Vec<HashSet<&str>> =
        unlisted.iter().map(|names| names.iter().copied().collect()).collect();
    let is_common = |name: &str| {
        let shape = &models[0].source.tensors()[name].shape;
        models.iter().zip(&all).all(|(model, names)| {
            let info = names.contains(name).then(|| &model.source.tensors()[name]);
            info.is_some_and(|info| info.shape == *shape && info.dtype.is_float())
        })
    };
    let mut places: IndexMap<Place<'d>, Found<'m>> = IndexMap::new();
    for (index, (model, names)) in models.iter().zip(unlisted).enumerate() {
        for &name in names {
            let found = places.entry(place(definition, model, name)).or_default();
            found.counts.resize(models.len(), 0);
            found.counts[index] += 1;
            if index == 0 && is_common(name) {
                found.common.push(name);
            }
        }
    }
    places
}

/// Where tensors called `name` in `model` belong.
fn place<'d>(
    definition: &'d ArchitectureDefinition,
    model: &ExtendedModel<'_>,
    name: &str,
) -> Place<'d> {
    for (module, tensors) in &definition.modules {
        let mut own = tensors.layer.iter().flat_map(|t| std::iter::once(&t.name).chain(&t.aliases));
        if let Some((layer, template)) = own.find_map(|own| own.beginning_in(name)) {
            let (_, n_layers) =
                model.architecture.module(module).expect("both are of one definition");
            let is_behind = layer >= n_layers;
            let name = if is_behind { NameTemplate::literal(name) } else { template };
            return Place { module, name, is_behind };
        }
    }
    let alike = |template: &TensorTemplate| {
        let listed = template.name.name_for(Location::Layer(0), 0);
        name.bytes().zip(listed.bytes()).take_while(|(a, b)| a == b).count()
    };
    let (module, _) = definition
        .modules
        .iter()
        .max_by_key(|(_, module)| module.templates().map(alike).max())
        .expect("a model with a definition has modules");
    Place { module, name: NameTemplate::literal(name), is_behind: false }
}

/// Whether `common` are the tensors of all layers of every model, and of one shape.
fn is_in_all_layers(models: &[ExtendedModel<'_>], module: &str, common: &[&str]) -> bool {
    let shapes: HashSet<_> =
        common.iter().map(|&name| &models[0].source.tensors()[name].shape).collect();
    shapes.len() == 1
        && models.iter().all(|model| {
            model.architecture.module(module).is_some_and(|(_, n_layers)| n_layers == common.len())
        })
}

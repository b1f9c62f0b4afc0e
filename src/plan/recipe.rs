//! The three forms of a recipe as one: slices of opened models for every module.

use std::ops::Range;
use std::sync::Arc;

use crate::architecture::{Architecture, ArchitectureDefinition};
use crate::config::{
    MergeConfig, ModelEntry, ModelReference, OutputSlice, Recipe, Settings, SliceSource,
};
use crate::methods::{BaseRole, MethodDefinition};

use super::models::InputModel;
use super::{PlanError, PlanWarning};

/// What one module of the output is made of.
pub(super) struct ModuleRecipe<'c> {
    /// As the architecture calls it.
    pub(super) name: String,
    /// Output layers, in order; at least one slice.
    pub(super) slices: Vec<Slice<'c>>,
    /// Parameters of the module.
    pub(super) scope: Option<Scope<'c>>,
    /// Whether layers are rearranged, as opposed to whole models.
    pub(super) is_restacked: bool,
}

/// A run of output layers.
pub(super) struct Slice<'c> {
    /// What is merged; at least one, all with the same number of layers.
    pub(super) sources: Vec<Source<'c>>,
    /// Position among `sources` of a base that the method treats apart.
    pub(super) base: Option<usize>,
    /// Parameters of the slice.
    pub(super) scope: Option<Scope<'c>>,
}

/// Layers of one model.
pub(super) struct Source<'c> {
    pub(super) model: Arc<InputModel>,
    /// Layers of the module that the whole model has.
    pub(super) n_layers: usize,
    /// Layers that take part.
    pub(super) layers: Range<usize>,
    /// Parameters of this source alone. A base that no list names has none.
    pub(super) scope: Option<Scope<'c>>,
    /// Path in the config, such as `models[1]`; `base_model` for a base that no list names.
    pub(super) field: String,
}

impl Source<'_> {
    /// Path of where the model is named.
    pub(super) fn model_field(&self) -> String {
        match self.scope {
            Some(_) => format!("{}.model", self.field),
            None => self.field.clone(),
        }
    }
}

/// Parameters written in one place.
#[derive(Clone)]
pub(super) struct Scope<'c> {
    /// Path of that place in the config, empty for the top.
    pub(super) field: Arc<str>,
    pub(super) settings: &'c Settings,
}

impl Scope<'_> {
    /// Path of a parameter written here.
    pub(super) fn path(&self, parameter: &str) -> String {
        path(&self.field, parameter)
    }
}

/// Path of a parameter in the place `field`.
pub(super) fn path(field: &str, parameter: &str) -> String {
    let separator = if field.is_empty() { "" } else { "." };
    format!("{field}{separator}parameters.{parameter}")
}

/// Every model that the config mentions, each with the path of where it is mentioned first: the base,
/// then in document order.
pub(super) fn references(config: &MergeConfig) -> Vec<(String, &ModelReference)> {
    fn listed<'c>(recipe: &'c Recipe, field: &str, found: &mut Vec<(String, &'c ModelReference)>) {
        match recipe {
            Recipe::Models(models) => {
                for (index, entry) in models.iter().enumerate() {
                    found.push((join(field, &format!("models[{index}].model")), &entry.model));
                }
            }
            Recipe::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    let field = join(field, &format!("slices[{index}]"));
                    for (index, source) in slice.sources.iter().enumerate() {
                        found.push((format!("{field}.sources[{index}].model"), &source.model));
                    }
                    let base = slice.base_model.iter();
                    found.extend(base.map(|base| (format!("{field}.base_model"), base)));
                }
            }
            Recipe::Modules(modules) => {
                for (name, module) in modules {
                    listed(&module.recipe, &format!("modules.{name}"), found);
                }
            }
        }
    }
    let mut found: Vec<_> =
        config.base_model.iter().map(|base| ("base_model".to_owned(), base)).collect();
    listed(&config.recipe, "", &mut found);
    let mut seen = std::collections::HashSet::new();
    found.retain(|(_, reference)| seen.insert(*reference));
    found
}

/// Brings the recipe of `config` into the form of modules with slices.
pub(super) fn normalise<'c>(
    config: &'c MergeConfig,
    models: &[Arc<InputModel>],
    method: &'static MethodDefinition,
    definition: &ArchitectureDefinition,
    warnings: &mut Vec<PlanWarning>,
) -> Result<Vec<ModuleRecipe<'c>>, PlanError> {
    let known = || definition.modules.keys().cloned().collect::<Vec<_>>();
    let context = Context { config, models, method, definition };
    match &config.recipe {
        Recipe::Models(models) => definition
            .modules
            .keys()
            .map(|name| {
                let slices = vec![context.whole_models(name, models, "")?];
                let name = name.clone();
                Ok(ModuleRecipe { name, slices, scope: None, is_restacked: false })
            })
            .collect(),
        Recipe::Slices(slices) => {
            let mut names = definition.modules.keys();
            let (Some(name), None) = (names.next(), names.next()) else {
                let (architecture, known) = (definition.name.clone(), known());
                return Err(PlanError::SeveralModules { architecture, known });
            };
            let slices = context.stack(name, slices, "")?;
            Ok(vec![ModuleRecipe { name: name.clone(), slices, scope: None, is_restacked: true }])
        }
        Recipe::Modules(modules) => {
            for module in definition.modules.keys().filter(|name| !modules.contains_key(*name)) {
                warnings.push(PlanWarning::OmittedModule { module: module.clone() });
            }
            let module = |(name, entry): (&'c String, &'c crate::config::ModuleEntry)| {
                let field = format!("modules.{name}");
                let (slices, is_restacked) = match &entry.recipe {
                    _ if !definition.modules.contains_key(name) => {
                        return Err(PlanError::UnknownModule {
                            module: name.clone(),
                            architecture: definition.name.clone(),
                            known: known(),
                        });
                    }
                    Recipe::Models(models) => {
                        (vec![context.whole_models(name, models, &field)?], false)
                    }
                    Recipe::Slices(slices) => (context.stack(name, slices, &field)?, true),
                    Recipe::Modules(_) => unreachable!("a module's recipe is never modules"),
                };
                let scope = Some(Scope { field: field.into(), settings: &entry.parameters });
                Ok(ModuleRecipe { name: name.clone(), slices, scope, is_restacked })
            };
            modules.iter().map(module).collect()
        }
    }
}

struct Context<'c, 's> {
    config: &'c MergeConfig,
    /// Every model that the config mentions.
    models: &'s [Arc<InputModel>],
    method: &'static MethodDefinition,
    definition: &'s ArchitectureDefinition,
}

impl<'c> Context<'c, '_> {
    /// One slice with all layers of every model, and the base behind them unless it is listed.
    fn whole_models(
        &self,
        module: &str,
        models: &'c [ModelEntry],
        field: &str,
    ) -> Result<Slice<'c>, PlanError> {
        let mut sources = Vec::with_capacity(models.len() + 1);
        for (index, entry) in models.iter().enumerate() {
            let field = join(field, &format!("models[{index}]"));
            let scope = Scope { field: field.as_str().into(), settings: &entry.parameters };
            sources.push(self.source(module, &entry.model, None, Some(scope), field)?);
        }
        let base = self.config.base_model.as_ref();
        if let Some(base) = base
            && models.iter().all(|entry| entry.model != *base)
        {
            sources.push(self.source(module, base, None, None, "base_model".to_owned())?);
        }
        self.slice(sources, base, None, field.to_owned())
    }

    fn stack(
        &self,
        module: &str,
        slices: &'c [OutputSlice],
        field: &str,
    ) -> Result<Vec<Slice<'c>>, PlanError> {
        let slice = |(index, slice): (usize, &'c OutputSlice)| {
            let field = join(field, &format!("slices[{index}]"));
            let source = |(index, source): (usize, &'c SliceSource)| {
                let field = format!("{field}.sources[{index}]");
                let scope = Scope { field: field.as_str().into(), settings: &source.parameters };
                self.source(module, &source.model, Some(&source.layers), Some(scope), field)
            };
            let sources = slice.sources.iter().enumerate().map(source).collect::<Result<_, _>>()?;
            let base = slice.base_model.as_ref().or(self.config.base_model.as_ref());
            let scope = Scope { field: field.as_str().into(), settings: &slice.parameters };
            self.slice(sources, base, Some(scope), field)
        };
        slices.iter().enumerate().map(slice).collect()
    }

    fn source(
        &self,
        module: &str,
        reference: &ModelReference,
        layers: Option<&Range<usize>>,
        scope: Option<Scope<'c>>,
        field: String,
    ) -> Result<Source<'c>, PlanError> {
        let model = self.models.iter().find(|model| model.reference == *reference);
        let model = Arc::clone(model.expect("all models that are mentioned were opened"));
        let n_layers = n_layers(&model, self.definition, module)?;
        let layers = layers.cloned().unwrap_or(0..n_layers);
        let (start, end) = (layers.start, layers.end);
        if end > n_layers {
            let model = model.label();
            return Err(PlanError::LayerRange { field, model, start, end, n_layers });
        }
        if layers.is_empty() && n_layers > 0 {
            return Err(PlanError::EmptyRange { field, start, end });
        }
        Ok(Source { model, n_layers, layers, scope, field })
    }

    fn slice(
        &self,
        sources: Vec<Source<'c>>,
        base: Option<&ModelReference>,
        scope: Option<Scope<'c>>,
        field: String,
    ) -> Result<Slice<'c>, PlanError> {
        let is_base = |source: &Source<'_>| Some(&source.model.reference) == base;
        if let Some(first) = sources.first()
            && let Some(other) =
                sources.iter().find(|source| source.layers.len() != first.layers.len())
        {
            return Err(PlanError::LayerCounts {
                field,
                first: first.model.label(),
                expected: first.layers.len(),
                model: other.model.label(),
                found: other.layers.len(),
            });
        }
        for (index, second) in sources.iter().enumerate() {
            let first = sources[..index].iter().find(|first| {
                first.model.reference == second.model.reference
                    && (first.layers == second.layers || is_base(first))
            });
            if let Some(first) = first {
                return Err(PlanError::Duplicate {
                    field: second.field.clone(),
                    first: first.field.clone(),
                    model: second.model.label(),
                });
            }
        }
        let position = sources.iter().position(is_base);
        let method = self.method.name;
        let base = match (self.method.base, base, position) {
            (BaseRole::Ignored, ..) | (BaseRole::Optional, None, _) => None,
            (BaseRole::Required, None, _) => return Err(PlanError::NoBase { method }),
            (_, Some(base), None) => {
                return Err(PlanError::BaseNotListed { field, base: base.to_string() });
            }
            (_, Some(_), position) => position,
        };
        let (least, most) = self.method.inputs;
        let found = self.method.n_counted(sources.len(), base.is_some());
        if !(least..=most).contains(&found) {
            let beside_base = found < sources.len();
            return Err(PlanError::InputCount { field, method, found, least, most, beside_base });
        }
        Ok(Slice { sources, base, scope })
    }
}

fn join(field: &str, more: &str) -> String {
    if field.is_empty() { more.to_owned() } else { format!("{field}.{more}") }
}

/// Layers that `model` has in a module of `definition`, which is usually its own.
fn n_layers(
    model: &InputModel,
    definition: &ArchitectureDefinition,
    module: &str,
) -> Result<usize, PlanError> {
    if **model.architecture.definition() == *definition {
        let (_, n_layers) = model.architecture.module(module).expect("the definition has it");
        return Ok(n_layers);
    }
    // Inferred for all models together or, an allowed crime, that of the output.
    let definition = Arc::new(definition.clone());
    let read_as = Architecture::with_definition(definition, &model.config, &*model.checkpoint)?;
    Ok(read_as.module(module).expect("the definition has it").1)
}

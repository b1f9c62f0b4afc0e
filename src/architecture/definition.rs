//! What models of one architecture have in common: their modules, and the tensors of each.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{NameTemplate, TensorNames};
use crate::checkpoint::TensorSource;
use crate::kernels::dtype::DType;

/// Which tensors the models of one architecture have.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchitectureDefinition {
    /// What this project calls the architecture. Where its models store their layers in several ways,
    /// a model's own definition also has the name of the way, as in `mixtral (fused)`.
    pub name: String,
    /// The `model_type` of its configs.
    pub model_type: String,
    /// The `architectures` entries that it stands for.
    pub architectures: Vec<String>,
    /// By name, in output order. A language model has one, called `default`.
    pub modules: IndexMap<String, Module>,
    /// Where `config.json` may have the vocabulary's size, as dotted paths, at least one; the first
    /// that is there.
    pub vocabulary_size_keys: Vec<String>,
    /// Where `config.json` may have the number of experts per layer, as dotted paths, the first that
    /// is there. Empty where no name contains `${expert_index}`.
    pub expert_count_keys: Vec<String>,
    /// Files to copy beside those that every model has.
    pub side_files: Vec<String>,
    /// Whether it was read off the models themselves, so that it lists what they have and not what
    /// they should have.
    pub is_inferred: bool,
}

/// A part of a model: tensors before its layers, in each layer, and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Where the number of layers comes from.
    pub layer_count: LayerCount,
    /// Tensors before the layers.
    pub pre: Vec<TensorTemplate>,
    /// Tensors of each layer, those of all kinds of layers among them.
    pub layer: Vec<TensorTemplate>,
    /// Further tensors of each layer, of which a model has one list. The definition of a model has
    /// that one in `layer`, and no variants.
    pub layer_variants: IndexMap<String, Vec<TensorTemplate>>,
    /// Tensors after the layers.
    pub post: Vec<TensorTemplate>,
}

/// Where a module's number of layers comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerCount {
    /// Dotted paths into `config.json`, at least one; the first that is there.
    Keys(Vec<String>),
    /// The same in every model.
    Fixed(usize),
    /// The highest layer index in the names of the model's tensors.
    Stored,
}

/// A tensor that every model of an architecture has, or every layer of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorTemplate {
    /// The name in any output.
    pub name: NameTemplate,
    /// Whether models may lack it.
    pub optional: bool,
    /// Other names to read it under, in order.
    pub aliases: Vec<NameTemplate>,
    /// Tensors to read in its place when it has none of its own names, in order.
    pub tied: Vec<NameTemplate>,
    /// The type it has whatever the merge config says.
    pub forced_dtype: Option<DType>,
    /// The axis that token ids index.
    pub vocabulary_axis: Option<usize>,
    /// The kind of layers that have it, such as `dense`, where a module has layers of several kinds. A
    /// layer is of a kind when the model has any tensor of that kind there.
    pub kind: Option<String>,
    /// Tensors of another layout that this one consists of: those of each expert in turn, stacked along
    /// a new first axis, or a single one that only has another name there.
    pub parts: Vec<NameTemplate>,
}

/// Where in its module a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// Before the layers.
    Pre,
    /// In the layer with this index, from 0.
    Layer(usize),
    /// After the layers.
    Post,
}

impl ArchitectureDefinition {
    /// Whether names contain `${expert_index}`.
    pub(super) fn has_experts(&self) -> bool {
        self.modules.values().any(|module| {
            let variants = module.layer_variants.values().flatten();
            module.layer.iter().chain(variants).any(|tensor| tensor.name.has_expert_index())
        })
    }

    /// The definition of a model that stores its layers as `source` does, as far as that makes a
    /// difference.
    pub(super) fn in_variant_of(self: Arc<Self>, source: &dyn TensorSource) -> Arc<Self> {
        if self.modules.values().all(|module| module.layer_variants.is_empty()) {
            return self;
        }
        let mut definition = Self::clone(&self);
        let mut chosen: Option<String> = None;
        for module in definition.modules.values_mut() {
            let variants = std::mem::take(&mut module.layer_variants);
            let is_stored = |tensors: &[TensorTemplate]| {
                source.tensors().keys().any(|name| tensors.iter().any(|t| t.is_of_some_layer(name)))
            };
            let last = variants.len().saturating_sub(1);
            let index = variants.values().position(|v| is_stored(v)).unwrap_or(last);
            if let Some((name, tensors)) = variants.into_iter().nth(index) {
                module.layer.extend(tensors);
                chosen.get_or_insert(name);
            }
        }
        if let Some(variant) = chosen {
            definition.name = format!("{} ({})", definition.name, variant.replace('_', " "));
        }
        Arc::new(definition)
    }

    /// The definition of a model with `n_experts` experts in each layer, for one with names of experts.
    pub(super) fn with_experts(&self, n_experts: usize) -> Self {
        let mut definition = self.clone();
        for module in definition.modules.values_mut() {
            let layer = std::mem::take(&mut module.layer);
            module.layer = layer.into_iter().flat_map(|t| t.for_experts(n_experts)).collect();
        }
        // Models with other numbers of experts are of another architecture, and messages should show it.
        let name = definition.name.strip_suffix(')');
        definition.name = match name {
            Some(name) => format!("{name}, {n_experts} experts)"),
            None => format!("{} ({n_experts} experts)", definition.name),
        };
        definition
    }
}

impl Module {
    /// Every tensor of a module with `n_layers` layers, in output order.
    pub fn tensors(&self, n_layers: usize) -> impl Iterator<Item = (Location, &TensorTemplate)> {
        let pre = self.pre.iter().map(|tensor| (Location::Pre, tensor));
        let layers = (0..n_layers).flat_map(|layer| {
            self.layer.iter().map(move |tensor| (Location::Layer(layer), tensor))
        });
        let post = self.post.iter().map(|tensor| (Location::Post, tensor));
        pre.chain(layers).chain(post)
    }

    /// Whether layers are of several kinds.
    pub fn has_kinds(&self) -> bool {
        self.layer.iter().any(|tensor| tensor.kind.is_some())
    }

    /// The kinds of a layer: those of which `is_stored` says that it has any tensor.
    pub fn kinds_of_layer(&self, is_stored: impl Fn(&TensorTemplate) -> bool) -> Vec<&str> {
        let mut kinds = Vec::new();
        for tensor in &self.layer {
            if let Some(kind) = tensor.kind.as_deref()
                && !kinds.contains(&kind)
                && is_stored(tensor)
            {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The tensors that a layer of these kinds should have. One that is of none should be of the first.
    pub fn tensors_of_layer(&self, kinds: &[&str]) -> impl Iterator<Item = &TensorTemplate> {
        let first = self.layer.iter().find_map(|tensor| tensor.kind.as_deref());
        self.layer.iter().filter(move |tensor| match tensor.kind.as_deref() {
            None => true,
            kind if kinds.is_empty() => kind == first,
            Some(kind) => kinds.contains(&kind),
        })
    }

    /// Every tensor, those of the layers once.
    pub(super) fn templates(&self) -> impl Iterator<Item = &TensorTemplate> {
        self.pre.iter().chain(&self.layer).chain(&self.post)
    }

    /// Layers in the names of `source`: the highest index and one. All names of a stack that was
    /// inferred begin alike.
    pub(super) fn stored_layers(&self, source: &dyn TensorSource) -> usize {
        let Some(first) = self.layer.first() else { return 0 };
        let layers = source.tensors().keys().filter_map(|name| first.name.beginning_in(name));
        layers.map(|(layer, _)| layer).max().map_or(0, |highest| highest.saturating_add(1))
    }
}

impl TensorTemplate {
    /// A tensor that models must have, under this name only.
    pub(super) fn named(name: NameTemplate) -> Self {
        Self {
            name,
            optional: false,
            aliases: Vec::new(),
            tied: Vec::new(),
            forced_dtype: None,
            vocabulary_axis: None,
            kind: None,
            parts: Vec::new(),
        }
    }

    /// Whether an input with `n_layers` layers may have the tensor of some layer under `name`.
    pub(super) fn names(&self, name: &str, n_layers: usize) -> bool {
        self.name.names(name, n_layers)
            || self.aliases.iter().any(|alias| alias.names(name, n_layers))
    }

    /// Whether `name` is that of the first expert in a layer, however many layers there are.
    fn is_of_some_layer(&self, name: &str) -> bool {
        let names = std::iter::once(&self.name).chain(&self.aliases);
        names.into_iter().any(|own| own.clone().with_expert(0).layer_in(name).is_some())
    }

    /// The tensor of each expert, or the tensor itself where it is not one of an expert.
    fn for_experts(self, n_experts: usize) -> Vec<Self> {
        if !self.name.has_expert_index() {
            return vec![self];
        }
        let all = |names: &[NameTemplate], expert: usize| {
            names.iter().map(|name| name.clone().with_expert(expert)).collect()
        };
        let tensor = |expert: usize| Self {
            name: self.name.clone().with_expert(expert),
            aliases: all(&self.aliases, expert),
            tied: all(&self.tied, expert),
            kind: self.kind.clone(),
            parts: Vec::new(),
            ..self
        };
        (0..n_experts).map(tensor).collect()
    }

    /// The name in an output, at `location` of a module with `n_layers` layers.
    pub fn name_for(&self, location: Location, n_layers: usize) -> String {
        self.name.name_for(location, n_layers)
    }

    /// The names to look for in an input, at `location` of a module with `n_layers` layers.
    pub fn names_for(&self, location: Location, n_layers: usize) -> TensorNames {
        let all = |names: &[NameTemplate]| {
            names.iter().map(|name| name.name_for(location, n_layers)).collect()
        };
        TensorNames {
            name: self.name_for(location, n_layers),
            aliases: all(&self.aliases),
            tied: all(&self.tied),
        }
    }
}

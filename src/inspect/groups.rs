//! Statistics by layer, by kind, by both, and in total.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::Place;
use crate::architecture::Location;
use crate::kernels::dtype::DType;

/// Statistics that can be taken together.
pub trait Accumulate: Default {
    /// Takes in the statistics of further elements.
    fn add(&mut self, other: &Self);
}

/// Statistics of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured<T> {
    /// Its name, as models of its architecture share it.
    pub name: String,
    /// Where in the model it is.
    pub place: Place,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// As stored, in each model that was read.
    pub dtypes: Vec<DType>,
    /// What was measured.
    pub part: T,
}

/// A layer of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layer {
    /// What is before its number in tensor names, such as `model.layers`.
    pub stack: String,
    /// Its number in the stack.
    pub index: usize,
}

/// Statistics of groups of tensors, in model order.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups<T> {
    /// Tensors before the layers, by kind.
    pub before: IndexMap<String, T>,
    /// Everything in a layer.
    pub layers: IndexMap<Layer, T>,
    /// All tensors of a kind in the layers.
    pub kinds: IndexMap<String, T>,
    /// Tensors of a kind in a layer, by their indices in `layers` and `kinds`.
    pub cells: HashMap<(usize, usize), T>,
    /// Tensors after the layers, by kind.
    pub after: IndexMap<String, T>,
    /// All tensors.
    pub total: T,
    several_stacks: bool,
}

impl<T: Accumulate> Groups<T> {
    /// Groups `tensors`, adding in their order.
    pub fn of(tensors: &[Measured<T>]) -> Self {
        let mut groups = Self {
            before: IndexMap::new(),
            layers: IndexMap::new(),
            kinds: IndexMap::new(),
            cells: HashMap::new(),
            after: IndexMap::new(),
            total: T::default(),
            several_stacks: false,
        };
        for Measured { place, part, .. } in tensors {
            groups.total.add(part);
            let kind = place.kind.clone();
            let index = match place.location {
                Location::Pre => {
                    groups.before.entry(kind).or_default().add(part);
                    continue;
                }
                Location::Post => {
                    groups.after.entry(kind).or_default().add(part);
                    continue;
                }
                Location::Layer(index) => index,
            };
            let layer = groups.layers.entry(Layer { stack: place.stack.clone(), index });
            let layer_index = layer.index();
            layer.or_default().add(part);
            let kind = groups.kinds.entry(kind);
            let kind_index = kind.index();
            kind.or_default().add(part);
            groups.cells.entry((layer_index, kind_index)).or_default().add(part);
        }
        let mut layers = groups.layers.keys();
        let first = layers.next();
        groups.several_stacks =
            first.is_some_and(|first| layers.any(|layer| layer.stack != first.stack));
        groups
    }
}

impl<T> Groups<T> {
    /// Whether layers have the same numbers in several stacks, so that those have to be named.
    pub fn has_several_stacks(&self) -> bool {
        self.several_stacks
    }

    /// How a layer is called among the others: by its number, with the stack where there are several.
    pub fn layer_name(&self, layer: &Layer) -> String {
        match self.has_several_stacks() {
            true => format!("{}.{}", layer.stack, layer.index),
            false => layer.index.to_string(),
        }
    }

    /// The groups by kind: before the layers, in them, after them. All together are the model.
    pub fn by_kind(&self) -> impl Iterator<Item = (&str, &T)> {
        let all = self.before.iter().chain(&self.kinds).chain(&self.after);
        all.map(|(kind, part)| (kind.as_str(), part))
    }
}

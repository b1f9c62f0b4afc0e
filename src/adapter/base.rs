//! The model under an adapter: what is called there as the adapter calls it.

use std::cell::OnceCell;
use std::collections::HashMap;

use indexmap::IndexMap;

use crate::architecture::{Architecture, TensorNames};
use crate::checkpoint::{TensorInfo, TensorSource};

/// Parts of a name that another class may have in front of its own names, at most.
const MOST_IN_FRONT: usize = 8;

/// A model that an adapter is put on.
pub(super) struct Base<'b> {
    pub(super) source: &'b dyn TensorSource,
    /// What messages call it.
    pub(super) label: &'b str,
    /// Tensors of its architecture, by each name of their own.
    listed: IndexMap<String, Listed>,
    /// Made when a name is not found as it is.
    alike: OnceCell<Alike>,
}

/// A tensor that an architecture lists.
struct Listed {
    names: TensorNames,
    /// Whether it has a row for each token.
    is_vocabulary: bool,
}

/// How the base has a tensor.
pub(super) enum Found {
    /// Under this name.
    Stored(String),
    /// Not itself; this one stands in for it.
    Tied(String),
    Absent,
}

/// Names of stored tensors without what classes of transformers differ in. `None` stands for several.
#[derive(Default)]
struct Alike {
    whole: HashMap<String, Option<String>>,
    /// Every end of a name, from a dot on.
    ends: HashMap<String, Option<String>>,
}

impl<'b> Base<'b> {
    pub(super) fn new(
        source: &'b dyn TensorSource,
        label: &'b str,
        architecture: &Architecture,
    ) -> Self {
        Self { source, label, listed: listed_in(architecture), alike: OnceCell::new() }
    }

    /// The stored tensor `name`.
    pub(super) fn info(&self, name: &str) -> &TensorInfo {
        &self.source.tensors()[name]
    }

    /// Whether the tensor has a row for each token.
    pub(super) fn is_vocabulary(&self, name: &str) -> bool {
        self.listed.get(name).is_some_and(|listed| listed.is_vocabulary)
    }

    /// Names of all tensors with a row for each token that the architecture lists.
    pub(super) fn vocabularies(&self) -> impl Iterator<Item = &str> {
        self.listed.keys().map(String::as_str).filter(|name| self.is_vocabulary(name))
    }

    /// The tensor that an adapter calls `name`.
    pub(super) fn find(&self, name: &str) -> Found {
        if self.source.tensors().contains_key(name) {
            return Found::Stored(name.to_owned());
        }
        if let Some(Listed { names, .. }) = self.listed.get(name)
            && let Some(found) = names.resolve(self.source)
        {
            let found = found.to_owned();
            return match names.is_stored_in(self.source) {
                true => Found::Stored(found),
                false => Found::Tied(found),
            };
        }
        let alike = self.alike.get_or_init(|| Alike::of(self.source));
        alike.find(name).map_or(Found::Absent, |stored| Found::Stored(stored.to_owned()))
    }
}

impl Alike {
    fn of(source: &dyn TensorSource) -> Self {
        let mut alike = Self::default();
        for stored in source.tensors().keys() {
            let bare = bare(stored);
            let add = |names: &mut HashMap<String, Option<String>>, name: &str| {
                let several = names.contains_key(name);
                names.insert(name.to_owned(), (!several).then(|| stored.clone()));
            };
            add(&mut alike.whole, &bare);
            ends(&bare).for_each(|end| add(&mut alike.ends, end));
        }
        alike
    }

    /// The only stored tensor that `name` may mean. Classes of transformers hold the same model under
    /// attributes of different names, which are in front of all names or not; and its fifth version
    /// has another order of `model` and the name of a part than files have.
    fn find(&self, name: &str) -> Option<&str> {
        let bare = bare(name);
        if let Some(stored) = self.whole.get(&bare) {
            return stored.as_deref();
        }
        let longer = self.ends.get(&bare).into_iter();
        let mut found = longer.chain(ends(&bare).filter_map(|end| self.whole.get(end)));
        match (found.next(), found.next()) {
            (Some(stored), None) => stored.as_deref(),
            _ => None,
        }
    }
}

/// A name without its parts `model`.
fn bare(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| *part != "model").collect();
    parts.join(".")
}

/// What is left of a name without one or more parts in front.
fn ends(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').take(MOST_IN_FRONT).map(|(dot, _)| &name[dot + 1..])
}

/// Every tensor of `architecture`, by each name that is its own.
fn listed_in(architecture: &Architecture) -> IndexMap<String, Listed> {
    let mut listed = IndexMap::new();
    for (_, module, n_layers) in architecture.modules() {
        for (location, template) in module.tensors(n_layers) {
            let names = template.names_for(location, n_layers);
            let is_vocabulary = template.vocabulary_axis == Some(0);
            for name in std::iter::once(&names.name).chain(&names.aliases) {
                listed.insert(name.clone(), Listed { names: names.clone(), is_vocabulary });
            }
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::MemoryCheckpoint;

    #[test]
    fn names_are_found_whatever_holds_the_model() {
        let mut source = MemoryCheckpoint::new();
        for name in [
            "language_model.model.layers.0.q.weight",
            "language_model.lm_head.weight",
            "vision_tower.layers.0.q.weight",
            "vision_tower.layers.0.k.weight",
            "model.model.twice.weight",
            "model.twice.weight",
        ] {
            source.insert(name, &[1], &[0.0]).unwrap();
        }
        let alike = Alike::of(&source);
        let cases = [
            (
                "model.language_model.layers.0.q.weight",
                Some("language_model.model.layers.0.q.weight"),
            ),
            ("model.vision_tower.layers.0.q.weight", Some("vision_tower.layers.0.q.weight")),
            ("lm_head.weight", Some("language_model.lm_head.weight")),
            ("model.layers.0.k.weight", Some("vision_tower.layers.0.k.weight")),
            ("more.vision_tower.layers.0.k.weight", Some("vision_tower.layers.0.k.weight")),
            // Ambiguous ones, and none.
            ("model.layers.0.q.weight", None),
            ("twice.weight", None),
            ("k.bias", None),
            ("head.weight", None),
        ];
        for (name, stored) in cases {
            assert_eq!(alike.find(name), stored, "{name}");
        }
    }
}

//! Tensor names with a place for the layer index, and how a name is found in a checkpoint.

use std::fmt;

use serde::Deserialize;

use super::Location;
use crate::checkpoint::TensorSource;

const EXPERT_INDEX: &str = "${expert_index}";

/// A tensor name in which `${layer_index}` and `${num_layers}`, optionally with `+1` or `-1` behind
/// the word, stand for numbers: `model.layers.${layer_index}.mlp.up_proj.weight`. `${expert_index}`
/// is in the names of built-in definitions only, not in those of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NameTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    /// Added to the layer's index.
    LayerIndex(isize),
    /// Added to the number of layers.
    LayerCount(isize),
    ExpertIndex,
}

/// A `${…}` that stands for nothing.
#[derive(Debug, thiserror::Error)]
#[error("tensor name `{name}` contains the unknown placeholder `{placeholder}`")]
pub struct UnknownPlaceholder {
    name: String,
    placeholder: String,
}

impl NameTemplate {
    /// The name at `location` of a model with `n_layers` layers.
    ///
    /// The definition's check makes sure that only names of layers ask for a layer index. An index
    /// below zero is given as 0.
    pub fn name_for(&self, location: Location, n_layers: usize) -> String {
        let layer = match location {
            Location::Layer(layer) => layer,
            Location::Pre | Location::Post => 0,
        };
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name += text,
                Piece::LayerIndex(offset) => {
                    name += &layer.saturating_add_signed(*offset).to_string();
                }
                Piece::LayerCount(offset) => {
                    name += &n_layers.saturating_add_signed(*offset).to_string();
                }
                Piece::ExpertIndex => name += EXPERT_INDEX,
            }
        }
        name
    }

    /// Whether `name` is what the template gives for some layer of a model with `n_layers` layers,
    /// or, without a layer index, outside of them. Takes no longer for more layers.
    pub(super) fn names(&self, name: &str, n_layers: usize) -> bool {
        // Most names are told apart by their ends alone, without any text being put together.
        if let Some(Piece::Text(start)) = self.pieces.first()
            && !name.starts_with(start.as_str())
        {
            return false;
        }
        if let Some(Piece::Text(end)) = self.pieces.last()
            && !name.ends_with(end.as_str())
        {
            return false;
        }
        let gives = |location| self.name_for(location, n_layers) == name;
        let Some(index) =
            self.pieces.iter().position(|piece| matches!(piece, Piece::LayerIndex(_)))
        else {
            return gives(Location::Post);
        };
        let Piece::LayerIndex(offset) = self.pieces[index] else { return false };
        let before = Self { pieces: self.pieces[..index].to_vec() };
        let Some(rest) = name.strip_prefix(&before.name_for(Location::Post, n_layers)) else {
            return false;
        };
        // The text behind the index may begin with a digit too, so every end of it is tried. Layer 0
        // is tried whatever the digits are, because what lies below it is given as 0.
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let written = (1..=n_digits).map_while(|end| rest[..end].parse::<usize>().ok());
        let layers = written.filter_map(|number| number.checked_add_signed(-offset));
        let mut layers = std::iter::once(0).chain(layers).filter(|&layer| layer < n_layers);
        layers.any(|layer| gives(Location::Layer(layer)))
    }

    /// The layer whose name this is, for a template that has text around a plain layer index and no
    /// other placeholder before it. Text after further placeholders is not looked at.
    pub(super) fn layer_in(&self, name: &str) -> Option<usize> {
        let (layer, mut rest, pieces) = self.split_at_layer(name)?;
        for piece in pieces {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                _ => return Some(layer),
            }
        }
        rest.is_empty().then_some(layer)
    }

    /// What a name that begins like those of this template, up to the layer's index and in plain
    /// digits, has in its place: the layer, and the template of all layers' tensors that go on alike.
    pub(super) fn beginning_in(&self, name: &str) -> Option<(usize, Self)> {
        let (layer, rest, behind) = self.split_at_layer(name)?;
        let mut pieces = self.pieces[..self.pieces.len() - behind.len()].to_vec();
        pieces.push(Piece::Text(rest.to_owned()));
        let template = Self { pieces };
        let is_plain = template.name_for(Location::Layer(layer), 0) == name;
        is_plain.then_some((layer, template))
    }

    /// The layer in `name`, what follows its index there, and what should.
    fn split_at_layer<'n>(&self, name: &'n str) -> Option<(usize, &'n str, &[Piece])> {
        let mut rest = name;
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::LayerIndex(offset) => {
                    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let index = rest[..n_digits].parse::<usize>().ok()?;
                    let layer = index.checked_add_signed(-offset)?;
                    return Some((layer, &rest[n_digits..], &self.pieces[at + 1..]));
                }
                Piece::LayerCount(_) | Piece::ExpertIndex => return None,
            }
        }
        None
    }

    /// The name of tensors called `prefix`, a layer's index and `rest`, whatever characters they have.
    pub(super) fn of_layer(prefix: &str, rest: &str) -> Self {
        let text = |text: &str| Piece::Text(text.to_owned());
        Self { pieces: vec![text(prefix), Piece::LayerIndex(0), text(rest)] }
    }

    /// The name `name`, whatever characters it has.
    pub(super) fn literal(name: &str) -> Self {
        Self { pieces: vec![Piece::Text(name.to_owned())] }
    }

    /// Whether the name differs from expert to expert.
    pub(super) fn has_expert_index(&self) -> bool {
        self.pieces.contains(&Piece::ExpertIndex)
    }

    /// The name of an expert's tensor.
    pub(super) fn with_expert(mut self, expert: usize) -> Self {
        for piece in &mut self.pieces {
            if *piece == Piece::ExpertIndex {
                *piece = Piece::Text(expert.to_string());
            }
        }
        self
    }

    /// Whether the name differs from layer to layer.
    pub fn has_layer_index(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::LayerIndex(_)))
    }

    /// The same name with `prefix` in front.
    pub(super) fn with_prefix(mut self, prefix: &str) -> Self {
        if !prefix.is_empty() {
            self.pieces.insert(0, Piece::Text(prefix.to_owned()));
        }
        self
    }
}

impl TryFrom<String> for NameTemplate {
    type Error = UnknownPlaceholder;

    fn try_from(name: String) -> Result<Self, UnknownPlaceholder> {
        let mut pieces = Vec::new();
        let mut rest = name.as_str();
        while let Some(start) = rest.find("${") {
            let end = rest[start..].find('}').map_or(rest.len(), |length| start + length + 1);
            let placeholder = &rest[start..end];
            let piece = match placeholder {
                "${layer_index}" => Piece::LayerIndex(0),
                "${layer_index+1}" => Piece::LayerIndex(1),
                "${layer_index-1}" => Piece::LayerIndex(-1),
                EXPERT_INDEX => Piece::ExpertIndex,
                "${num_layers}" => Piece::LayerCount(0),
                "${num_layers+1}" => Piece::LayerCount(1),
                "${num_layers-1}" => Piece::LayerCount(-1),
                _ => {
                    let placeholder = placeholder.to_owned();
                    return Err(UnknownPlaceholder { name, placeholder });
                }
            };
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            pieces.push(piece);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }
}

/// The name as written in a definition.
impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::LayerIndex(0) => f.write_str("${layer_index}")?,
                Piece::LayerIndex(offset) => write!(f, "${{layer_index{offset:+}}}")?,
                Piece::ExpertIndex => f.write_str(EXPERT_INDEX)?,
                Piece::LayerCount(0) => f.write_str("${num_layers}")?,
                Piece::LayerCount(offset) => write!(f, "${{num_layers{offset:+}}}")?,
            }
        }
        Ok(())
    }
}

/// The names under which one tensor of one model may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorNames {
    /// The name in any output.
    pub name: String,
    /// Other names for the same tensor.
    pub aliases: Vec<String>,
    /// Tensors to use in its place when it is stored under none of its own names.
    pub tied: Vec<String>,
}

impl TensorNames {
    /// The first of name, aliases and tied names that `source` has.
    pub fn resolve(&self, source: &dyn TensorSource) -> Option<&str> {
        self.own_names().chain(self.tied.iter().map(String::as_str)).find(|&name| has(source, name))
    }

    /// Whether `source` has the tensor itself, as opposed to one that it is tied to.
    pub fn is_stored_in(&self, source: &dyn TensorSource) -> bool {
        self.own_names().any(|name| has(source, name))
    }

    fn own_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }
}

fn has(source: &dyn TensorSource, name: &str) -> bool {
    source.tensors().contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::MemoryCheckpoint;

    fn template(name: &str) -> NameTemplate {
        NameTemplate::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn placeholders_become_numbers() {
        let name = template("h.${layer_index}.next.${layer_index+1}.of.${num_layers-1}");
        assert_eq!(name.name_for(Location::Layer(4), 12), "h.4.next.5.of.11");
        assert_eq!(template("layers.${num_layers}").name_for(Location::Post, 12), "layers.12");
        assert_eq!(template("wte").name_for(Location::Pre, 12), "wte");
    }

    #[test]
    fn names_are_recognised_as_far_as_there_are_layers() {
        let many = 4_294_967_295;
        let name = template("h.${layer_index}.w");
        assert!(name.names("h.0.w", 1) && name.names("h.4294967294.w", many));
        for other in ["h.4294967295.w", "h.01.w", "h..w", "h.+1.w", "h.1.v", "h.1", "g.1.w", ""] {
            assert!(!name.names(other, many), "{other}");
        }
        let twice = template("h.${layer_index+1}.${layer_index-1}0.of.${num_layers}");
        for layer in 0..12 {
            assert!(twice.names(&twice.name_for(Location::Layer(layer), 12), 12));
        }
        assert!(!twice.names("h.3.20.of.12", 12) && !twice.names("h.13.110.of.12", 12));
        assert!(template("wte").names("wte", 0) && !template("wte").names("wte.1", 2));
        assert!(!name.names("h.99999999999999999999999.w", many));
    }

    #[test]
    fn names_tell_their_layer() {
        let name = template("h.${layer_index+1}.w");
        assert_eq!(name.layer_in("h.1.w"), Some(0));
        assert_eq!(name.layer_in("h.12.w"), Some(11));
        for other in ["h.0.w", "h.1.v", "h.1.w.x", "h..w", "g.1.w", "h.1"] {
            assert_eq!(name.layer_in(other), None, "{other}");
        }
        assert_eq!(template("wte").layer_in("wte"), None);
        let (layer, alike) = name.beginning_in("h.7.attn.bias").unwrap();
        assert_eq!((layer, alike.to_string().as_str()), (6, "h.${layer_index+1}.attn.bias"));
        for other in ["h.0.v", "h.07.v", "h.v", "g.7.v"] {
            assert_eq!(name.beginning_in(other), None, "{other}");
        }
        let expert = template("h.${layer_index}.e.${expert_index}.w");
        assert!(expert.has_expert_index());
        assert_eq!(expert.with_expert(4).layer_in("h.3.e.4.w"), Some(3));
    }

    #[test]
    fn templates_print_as_written() {
        for name in
            ["a.${layer_index}.${expert_index}.b", "${num_layers-1}${layer_index+1}", "a}b$c{", ""]
        {
            assert_eq!(template(name).to_string(), name);
        }
    }

    #[test]
    fn unknown_placeholders_are_named() {
        for (name, placeholder) in
            [("a.${layer}.b", "${layer}"), ("a${layer_index", "${layer_index")]
        {
            let error = NameTemplate::try_from(name.to_owned()).unwrap_err().to_string();
            let expected =
                format!("tensor name `{name}` contains the unknown placeholder `{placeholder}`");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn own_name_comes_before_aliases_and_aliases_before_tied_tensors() {
        let names = TensorNames {
            name: "head".to_owned(),
            aliases: vec!["old_head".to_owned()],
            tied: vec!["embedding".to_owned()],
        };
        let mut source = MemoryCheckpoint::new();
        assert_eq!(names.resolve(&source), None);
        for (name, is_stored) in [("embedding", false), ("old_head", true), ("head", true)] {
            source.insert(name, &[1], &[0.0]).unwrap();
            assert_eq!(names.resolve(&source), Some(name));
            assert_eq!(names.is_stored_in(&source), is_stored);
        }
    }
}

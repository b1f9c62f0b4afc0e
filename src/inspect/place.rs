//! Where in a model a tensor is, as its name tells.

use crate::architecture::{Location, is_before_layers};

/// Where in a model a tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is before the layer's number, such as `model.layers`; empty outside of layers.
    pub stack: String,
    /// The layer, or on which side of the layers.
    pub location: Location,
    /// What the tensor has in common with those of other layers, such as `self_attn.q_proj`. Further
    /// numbers, those of experts, are given as `*`.
    pub kind: String,
}

impl Place {
    /// The place that `name` tells: its first number is the layer.
    pub fn of(name: &str) -> Self {
        let parts: Vec<&str> = name.split('.').collect();
        let number = |part: &str| {
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<usize>().ok())?
        };
        let layer =
            parts.iter().enumerate().skip(1).find_map(|(at, part)| Some((at, number(part)?)));
        let Some((at, layer)) = layer else {
            let location = if is_before_layers(name) { Location::Pre } else { Location::Post };
            let kind = without_weight(name.strip_prefix("model.").unwrap_or(name));
            return Self { stack: String::new(), location, kind: kind.to_owned() };
        };
        let rest: Vec<&str> =
            parts[at + 1..].iter().map(|part| number(part).map_or(*part, |_| "*")).collect();
        let kind = match rest.is_empty() {
            true => parts[at - 1].to_owned(),
            false => without_weight(&rest.join(".")).to_owned(),
        };
        Self { stack: parts[..at].join("."), location: Location::Layer(layer), kind }
    }
}

/// `weight` is what nearly all tensors are, so it says nothing.
fn without_weight(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_layer_and_kind() {
        let place = |name: &str| {
            let Place { stack, location, kind } = Place::of(name);
            (stack, location, kind)
        };
        let layer = |stack: &str, layer, kind: &str| {
            (stack.to_owned(), Location::Layer(layer), kind.to_owned())
        };
        let outside = |location, kind: &str| (String::new(), location, kind.to_owned());
        let cases = [
            (
                "model.layers.12.self_attn.q_proj.weight",
                layer("model.layers", 12, "self_attn.q_proj"),
            ),
            (
                "model.layers.0.self_attn.q_proj.bias",
                layer("model.layers", 0, "self_attn.q_proj.bias"),
            ),
            (
                "model.layers.3.mlp.experts.17.w1.weight",
                layer("model.layers", 3, "mlp.experts.*.w1"),
            ),
            ("h.7", layer("h", 7, "h")),
            ("encoder.block.1.layer.0.wo.weight", layer("encoder.block", 1, "layer.*.wo")),
            ("model.embed_tokens.weight", outside(Location::Pre, "embed_tokens")),
            ("transformer.wte.weight", outside(Location::Pre, "transformer.wte")),
            ("model.norm.weight", outside(Location::Post, "norm")),
            ("lm_head.weight", outside(Location::Post, "lm_head")),
            ("weight", outside(Location::Post, "weight")),
            ("0", outside(Location::Post, "0")),
            ("", outside(Location::Post, "")),
            ("a.99999999999999999999999.b", outside(Location::Post, "a.99999999999999999999999.b")),
        ];
        for (name, expected) in cases {
            assert_eq!(place(name), expected, "{name}");
        }
    }
}

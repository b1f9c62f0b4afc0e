//! `mergekit architectures`: which models have a definition of what they consist of.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use super::terminal::print;
use crate::architecture::{
    ArchitectureDefinition, LayerCount, Module, TensorTemplate, built_in_definitions,
};
use crate::report::{Align, Columns};

/// List the architectures that are known
///
/// A known architecture says which tensors its models have, in which modules and layers. Models of any
/// other architecture can be merged too: what they consist of is then inferred from the names of their
/// tensors, with a warning.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit architectures
      classes, modules, and how many tensors these have before the layers, per layer, and after;
      where there are several kinds of layers, with a number for each
  mergekit architectures --json | jq '.architectures[] | select(.name == \"qwen3\")'
      every tensor of one architecture, for programs")]
pub(super) struct Arguments {
    /// Print everything as JSON, with all tensors
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let definitions = built_in_definitions().iter().map(|definition| &**definition);
    print(&match arguments.json {
        true => {
            let list: Vec<Value> = definitions.map(definition_json).collect();
            format!("{:#}\n", json!({ "architectures": list }))
        }
        false => table(definitions),
    })
}

/// A line for every class and, where there are several, every module and every way to store its layers.
fn table<'d>(definitions: impl Iterator<Item = &'d ArchitectureDefinition>) -> String {
    let mut columns = Columns::new(&[
        ("architecture", Align::Left),
        ("class", Align::Left),
        ("tensors", Align::Left),
    ]);
    for definition in definitions {
        let parts = parts(definition);
        let (own, below) = match parts.as_slice() {
            [(_, tensors)] => (tensors.as_str(), &[][..]),
            several => ("", several),
        };
        for (index, class) in definition.architectures.iter().enumerate() {
            let (name, tensors) =
                if index == 0 { (definition.name.as_str(), own) } else { ("", "") };
            columns.line([name, class, tensors]);
        }
        for (name, tensors) in below {
            columns.line([format!("  {name}").as_str(), "", tensors]);
        }
    }
    columns.render()
}

/// The modules and layouts of a definition, each with the numbers of its tensors.
fn parts(definition: &ArchitectureDefinition) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    for (name, module) in &definition.modules {
        let name = if definition.modules.len() == 1 { "" } else { name };
        if module.layer_variants.is_empty() {
            parts.push((name.to_owned(), tensor_counts(module, &[])));
        }
        for (variant, tensors) in &module.layer_variants {
            let variant = variant.replace('_', " ");
            let name = if name.is_empty() { variant } else { format!("{name}, {variant}") };
            parts.push((name, tensor_counts(module, tensors)));
        }
    }
    parts
}

/// Tensors before the layers, of each layer of every kind, and after. Those of experts count once.
fn tensor_counts(module: &Module, variant: &[TensorTemplate]) -> String {
    let layer = || module.layer.iter().chain(variant);
    let of_kind = |kind: Option<&str>| layer().filter(|t| t.kind.as_deref() == kind).count();
    let common = of_kind(None);
    let kinds = layer().filter_map(|tensor| tensor.kind.as_deref());
    let mut per_layer: BTreeSet<usize> = kinds.map(|kind| common + of_kind(Some(kind))).collect();
    if per_layer.is_empty() {
        per_layer.insert(common);
    }
    let (before, after) = (module.pre.len(), module.post.len());
    let per_layer: Vec<String> = per_layer.iter().map(usize::to_string).collect();
    match per_layer.join("/").as_str() {
        "0" => (before + after).to_string(),
        per_layer => format!("{before} + {per_layer} per layer + {after}"),
    }
}

fn definition_json(definition: &ArchitectureDefinition) -> Value {
    let modules: Vec<Value> = definition.modules.iter().map(module_json).collect();
    json!({
        "name": definition.name,
        "model_type": definition.model_type,
        "architectures": definition.architectures,
        "vocabulary_size_keys": definition.vocabulary_size_keys,
        "expert_count_keys": definition.expert_count_keys,
        "side_files": definition.side_files,
        "modules": modules,
    })
}

fn module_json((name, module): (&String, &Module)) -> Value {
    let tensors = |list: &[TensorTemplate]| list.iter().map(tensor_json).collect::<Vec<_>>();
    let (keys, fixed) = match &module.layer_count {
        LayerCount::Keys(keys) => (Some(keys), None),
        LayerCount::Fixed(n_layers) => (None, Some(n_layers)),
        LayerCount::Stored => (None, None),
    };
    let variants: serde_json::Map<String, Value> = module
        .layer_variants
        .iter()
        .map(|(name, list)| (name.clone(), tensors(list).into()))
        .collect();
    json!({
        "name": name,
        "layer_count_keys": keys,
        "layer_count": fixed,
        "pre": tensors(&module.pre),
        "layer": tensors(&module.layer),
        "layer_variants": variants,
        "post": tensors(&module.post),
    })
}

fn tensor_json(tensor: &TensorTemplate) -> Value {
    let texts = |names: &[crate::architecture::NameTemplate]| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    json!({
        "name": tensor.name.to_string(),
        "optional": tensor.optional,
        "aliases": texts(&tensor.aliases),
        "tied": texts(&tensor.tied),
        "dtype": tensor.forced_dtype.map(|dtype| dtype.to_string()),
        "vocabulary_axis": tensor.vocabulary_axis,
        "kind": tensor.kind,
        "parts": texts(&tensor.parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_class_and_fits_a_page() {
        let definitions = || built_in_definitions().iter().map(|definition| &**definition);
        let text = table(definitions());
        for class in definitions().flat_map(|definition| &definition.architectures) {
            assert!(text.contains(class), "{class}");
        }
        let widest = text.lines().map(str::len).max().unwrap();
        assert!(widest <= 100, "{widest}");
        let from = |start: &str, n_lines: usize| -> Vec<String> {
            let lines = text.lines().skip_while(|line| !line.trim_start().starts_with(start));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.take(n_lines).map(words).collect()
        };
        assert_eq!(from("qwen3 ", 1), ["qwen3 Qwen3ForCausalLM 1 + 11 per layer + 2"]);
        let mixtral = [
            "mixtral MixtralForCausalLM",
            "per expert 1 + 10 per layer + 2",
            "fused 1 + 9 per layer + 2",
        ];
        assert_eq!(from("mixtral ", 3), mixtral);
        let t5 = [
            "t5 T5ForConditionalGeneration",
            "decoder, gated 1 + 15 per layer + 1",
            "decoder, plain 1 + 14 per layer + 1",
            "encoder, gated 1 + 10 per layer + 1",
            "encoder, plain 1 + 9 per layer + 1",
            "shared 2",
        ];
        assert_eq!(from("t5 ", 6), t5);
        let afmoe = ["afmoe AfmoeForCausalLM", "per expert 1 + 14/19 per layer + 2"];
        assert_eq!(from("afmoe ", 2), afmoe);
    }

    #[test]
    fn json_has_every_tensor() {
        let list: Vec<Value> =
            built_in_definitions().iter().map(|definition| definition_json(definition)).collect();
        let bert = list.iter().find(|entry| entry["name"] == "bert").unwrap();
        let module = &bert["modules"][0];
        assert_eq!(module["layer_count_keys"], json!(["num_hidden_layers"]));
        let expected = json!({
            "name": "embeddings.position_ids", "optional": true,
            "aliases": ["bert.embeddings.position_ids"], "tied": [], "dtype": "int64",
            "vocabulary_axis": null, "kind": null, "parts": [],
        });
        assert!(module["pre"].as_array().unwrap().contains(&expected));
        assert_eq!(module["layer"].as_array().unwrap().len(), 16);
    }
}

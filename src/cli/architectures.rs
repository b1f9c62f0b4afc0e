//! `mergekit architectures`: which models have a definition of what they consist of.

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
      one line for every module
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

/// A line for every module: the tensors before the layers, in each of them, and after.
fn table<'d>(definitions: impl Iterator<Item = &'d ArchitectureDefinition>) -> String {
    let mut columns = Columns::new(&[
        ("architecture", Align::Left),
        ("module", Align::Left),
        ("before", Align::Right),
        ("per layer", Align::Right),
        ("after", Align::Right),
        ("layouts", Align::Left),
        ("classes", Align::Left),
    ]);
    for definition in definitions {
        for (index, (name, module)) in definition.modules.iter().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let module_name = if definition.modules.len() == 1 { "" } else { name };
            let layouts: Vec<String> =
                module.layer_variants.keys().map(|variant| variant.replace('_', " ")).collect();
            columns.line([
                first(definition.name.clone()),
                module_name.to_owned(),
                module.pre.len().to_string(),
                per_layer(module),
                module.post.len().to_string(),
                layouts.join(", "),
                first(definition.architectures.join(", ")),
            ]);
        }
    }
    columns.render()
}

/// Tensors of each layer: one number for each layout. Those of experts count once.
fn per_layer(module: &Module) -> String {
    let common = module.layer.len();
    if module.layer_variants.is_empty() {
        return common.to_string();
    }
    let counts: Vec<String> =
        module.layer_variants.values().map(|v| (common + v.len()).to_string()).collect();
    counts.join(", ")
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
        "parts": texts(&tensor.parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_every_module() {
        let definitions = built_in_definitions().iter().map(|definition| &**definition);
        let text = table(definitions.clone());
        let n_modules: usize = definitions.map(|definition| definition.modules.len()).sum();
        assert_eq!(text.lines().count(), 1 + n_modules);
        let line = |start: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("qwen3 "), "qwen3 1 11 2 Qwen3ForCausalLM");
        let mixtral = "mixtral 1 10, 9 2 per expert, fused MixtralForCausalLM";
        assert_eq!(line("mixtral "), mixtral);
        assert_eq!(line("t5 "), "t5 decoder 1 15, 14 1 gated, plain T5ForConditionalGeneration");
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
            "vocabulary_axis": null, "parts": [],
        });
        assert!(module["pre"].as_array().unwrap().contains(&expected));
        assert_eq!(module["layer"].as_array().unwrap().len(), 16);
    }
}

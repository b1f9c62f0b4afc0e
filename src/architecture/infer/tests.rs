//! Inference on small lists of names.

use serde_json::json;

use super::*;
use crate::architecture::{Architecture, Location};
use crate::checkpoint::MemoryCheckpoint;

fn checkpoint(tensors: &[(&str, &[usize])]) -> MemoryCheckpoint {
    let mut checkpoint = MemoryCheckpoint::new();
    for (name, shape) in tensors {
        checkpoint.insert(name, shape, &vec![0.0; shape.iter().product()]).unwrap();
    }
    checkpoint
}

fn config(values: Value) -> ModelConfig {
    ModelConfig::new(values, "config.json".into()).unwrap()
}

fn names(tensors: &[TensorTemplate]) -> Vec<String> {
    let mark = |tensor: &TensorTemplate| if tensor.optional { "?" } else { "" };
    tensors.iter().map(|tensor| format!("{}{}", tensor.name, mark(tensor))).collect()
}

#[test]
fn the_first_number_between_dots_is_the_layer() {
    assert_eq!(split("h.3.w"), Some(("h.", 3, ".w")));
    assert_eq!(split("a.b.0.experts.12.w"), Some(("a.b.", 0, ".experts.12.w")));
    for name in
        ["wte.weight", "0.w", "h.3", "h.03.w", "h.x3.w", "h..w", "", "h.99999999999999999999.w"]
    {
        assert_eq!(split(name), None, "{name}");
    }
}

#[test]
fn one_stack_is_the_default_module_and_tensors_that_are_missing_somewhere_are_optional() {
    let a = checkpoint(&[
        ("wte.weight", &[5, 2]),
        ("h.0.a", &[1]),
        ("h.0.dense", &[1]),
        ("h.1.a", &[1]),
        ("h.1.experts.0.w", &[1]),
        ("ln_f.weight", &[1]),
        ("lm_head.weight", &[5, 2]),
    ]);
    let b = checkpoint(&[("wte.weight", &[5, 2]), ("h.0.a", &[1]), ("ln_f.weight", &[1])]);
    let (of_a, of_b) = (config(json!({"n_layer": 2})), config(json!({"n_layer": 1})));
    let definition = infer_definition("New", &[(&of_a, &a), (&of_b, &b)]);
    assert_eq!(definition.name, "New");
    let module = &definition.modules["default"];
    assert_eq!(definition.modules.len(), 1);
    assert_eq!(module.layer_count, LayerCount::Keys(vec!["n_layer".to_owned()]));
    assert_eq!(names(&module.pre), ["wte.weight"]);
    let layer = ["h.${layer_index}.a", "h.${layer_index}.dense?", "h.${layer_index}.experts.0.w?"];
    assert_eq!(names(&module.layer), layer);
    assert_eq!(names(&module.post), ["ln_f.weight", "lm_head.weight?"]);
    assert_eq!(module.post[1].tied, [NameTemplate::literal("wte.weight")]);
    let axes = |list: &[TensorTemplate]| list.iter().map(|t| t.vocabulary_axis).collect::<Vec<_>>();
    assert_eq!((axes(&module.pre), axes(&module.post)), (vec![Some(0)], vec![None, Some(0)]));
}

#[test]
fn several_stacks_are_modules_with_layer_counts_of_their_own() {
    let source = checkpoint(&[
        ("vision.blocks.0.w", &[1]),
        ("vision.blocks.1.w", &[1]),
        ("text.layers.0.a", &[1]),
        ("text.layers.0.b", &[1]),
        ("text.layers.1.a", &[1]),
        ("text.layers.1.b", &[1]),
        ("merger.mlp.0.w", &[1]),
        ("merger.mlp.2.w", &[1]),
        ("text.wte.weight", &[5, 2]),
    ]);
    let values = json!({
        "architectures": ["New"],
        "text_config": {"num_layers": 2, "vocab_size": 5}, "vision_config": {"depth": 2},
    });
    let config = config(values);
    let architecture = Architecture::known_or_inferred(&config, &source).unwrap();
    let counts: Vec<_> = architecture
        .modules()
        .map(|(name, module, n_layers)| (name, module.layer_count.clone(), n_layers))
        .collect();
    let key = |key: &str| LayerCount::Keys(vec![key.to_owned()]);
    let expected = [
        ("vision.blocks", key("vision_config.depth"), 2),
        ("text.layers", key("text_config.num_layers"), 2),
        ("merger.mlp", LayerCount::Stored, 3),
        ("default", LayerCount::Fixed(0), 0),
    ];
    assert_eq!(counts, expected);
    let (merger, n_layers) = architecture.module("merger.mlp").unwrap();
    assert_eq!(names(&merger.layer), ["merger.mlp.${layer_index}.w?"]);
    let last = merger.tensors(n_layers).last().unwrap();
    assert_eq!(
        (last.0, last.1.name_for(last.0, 3)),
        (Location::Layer(2), "merger.mlp.2.w".to_owned())
    );
    assert_eq!(architecture.unlisted(&source), [""; 0]);
}

#[test]
fn numbers_that_are_no_layers_stay_in_the_name() {
    let source = checkpoint(&[("a.0.w", &[1]), ("a.4000000000.w", &[1]), ("${b}.w", &[1])]);
    let config = config(json!({}));
    let definition = infer_definition("New", &[(&config, &source)]);
    let post = names(&definition.modules["default"].post);
    assert_eq!(post, ["a.0.w", "a.4000000000.w", "${b}.w"]);
    let empty = infer_definition("New", &[(&config, &MemoryCheckpoint::new())]);
    assert!(empty.modules.is_empty());
}

#[test]
fn tensors_that_come_together_make_kinds_of_layers() {
    let dense = ["h.0.mlp.up", "h.0.mlp.down"];
    let sparse = |layer: usize| {
        ["gate", "experts.0", "experts.1"].map(|name| format!("h.{layer}.mlp.{name}"))
    };
    let all = |n_layers: usize| {
        let common = (0..n_layers).map(|layer| format!("h.{layer}.norm"));
        let sparse = (1..n_layers).flat_map(sparse);
        dense.map(str::to_owned).into_iter().chain(common).chain(sparse).collect::<Vec<_>>()
    };
    let layer = |sources: &[Vec<String>]| {
        let sources: Vec<MemoryCheckpoint> = sources
            .iter()
            .map(|names| {
                checkpoint(&names.iter().map(|name| (name.as_str(), &[1][..])).collect::<Vec<_>>())
            })
            .collect();
        let config = config(json!({}));
        let models: Vec<_> =
            sources.iter().map(|source| (&config, source as &dyn TensorSource)).collect();
        let definition = infer_definition("New", &models);
        let template = |tensor: &TensorTemplate| {
            let mark = if tensor.optional { "?" } else { "" };
            let name = tensor.name.to_string().replace("h.${layer_index}.", "");
            format!("{name}{mark} {}", tensor.kind.as_deref().unwrap_or_default())
        };
        definition.modules["default"].layer.iter().map(template).collect::<Vec<_>>()
    };
    let expected = [
        "mlp.up mlp.up",
        "mlp.down mlp.up",
        "norm ",
        "mlp.gate mlp.gate",
        "mlp.experts.0 mlp.gate",
        "mlp.experts.1 mlp.gate",
    ];
    assert_eq!(layer(&[all(4)]), expected);
    assert_eq!(layer(&[all(4), all(3)]), expected);
    // What only one layer of a kind has comes beside it, and what only one model has is no kind.
    let further = ["h.3.predicts_more".to_owned(), "h.0.only_in_one".to_owned()];
    let with_more = [all(4), further.to_vec()].concat();
    let found = layer(&[with_more, all(4)]);
    assert_eq!(found[..6], expected);
    assert_eq!(found[6..], ["predicts_more? ", "only_in_one? "]);
    // Layers that have nothing of any kind could be of any.
    let with_fourth = [all(4), vec!["h.4.norm".to_owned()]].concat();
    let optional = expected.map(|line| match line.split_once(' ') {
        Some(("norm", _)) => "norm ".to_owned(),
        Some((name, _)) => format!("{name}? "),
        None => unreachable!(),
    });
    assert_eq!(layer(&[with_fourth]), optional);
}

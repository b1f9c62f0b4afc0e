//! Inputs of every kind in one merge, and each kind alone.

use indexmap::IndexMap;
use mergekit::checkpoint::{Checkpoint, Layout, ShardSize, TensorInfo, TensorSource, WeightFormat};
use mergekit::kernels::dtype::{DType, round_to};
use serde_json::json;

use crate::{Place, noise, tiny, values};

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const EXTRA: &str = "model.layers.0.self_attn.sinks";

/// An input, and what is special about it.
struct Kind {
    name: &'static str,
    dtype: DType,
    format: WeightFormat,
    shard_size: ShardSize,
    is_tied: bool,
    has_extra: bool,
}

const PLAIN: Kind = Kind {
    name: "f32",
    dtype: DType::F32,
    format: WeightFormat::Safetensors,
    shard_size: ShardSize::UNLIMITED,
    is_tied: false,
    has_extra: false,
};

const KINDS: [Kind; 7] = [
    PLAIN,
    Kind { name: "sharded", shard_size: ShardSize::from_bytes(400), ..PLAIN },
    Kind { name: "bin", format: WeightFormat::Pickle, ..PLAIN },
    Kind {
        name: "bin-sharded",
        format: WeightFormat::Pickle,
        shard_size: ShardSize::from_bytes(400),
        ..PLAIN
    },
    Kind { name: "bf16", dtype: DType::BF16, ..PLAIN },
    Kind { name: "tied", is_tied: true, ..PLAIN },
    Kind { name: "extra", has_extra: true, ..PLAIN },
];

/// What a model of this kind has.
fn tensors(kind: &Kind) -> IndexMap<String, TensorInfo> {
    let mut tensors = tiny::llama(2, 6, kind.dtype);
    if kind.is_tied {
        tensors.shift_remove(HEAD);
    }
    if kind.has_extra {
        tensors.insert(EXTRA.to_owned(), TensorInfo { dtype: kind.dtype, shape: vec![3] });
    }
    tensors
}

/// Writes one model of each kind, all with the same architecture.
fn place() -> Place {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    for (seed, kind) in (0..).zip(&KINDS) {
        let directory = place.path(kind.name);
        std::fs::create_dir(&directory).unwrap();
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "vocab_size": 6,
            "tie_word_embeddings": kind.is_tied, "dtype": kind.dtype.to_string(),
        });
        place.write(&format!("{}/config.json", kind.name), config.to_string());
        let layout = Layout::in_format(kind.format, tensors(kind), kind.shard_size).unwrap();
        tiny::write_weights(&directory, layout, noise(seed));
    }
    place
}

/// The values of tensor `name` in the input of this kind, as merges see them.
fn input(kind: &Kind, seed: u32, name: &str, info: &TensorInfo) -> Vec<f32> {
    let stored = if kind.is_tied && name == HEAD { EMBEDDING } else { name };
    let mut values: Vec<f32> =
        (0..info.elements()).map(|element| noise(seed)(stored, element)).collect();
    round_to(kind.dtype, &mut values);
    values
}

/// The weight of input `index`. They sum to 1 for all seven.
fn weight(index: usize) -> f32 {
    (index + 1) as f32 / 28.0
}

/// A linear merge of these kinds, without normalization, in float32.
fn config(members: &[usize]) -> String {
    let mut text =
        "merge_method: linear\ndtype: float32\nparameters: {normalize: false}\nmodels:\n"
            .to_owned();
    for &index in members {
        text += &format!(
            "- model: {}\n  parameters: {{weight: {}}}\n",
            KINDS[index].name,
            weight(index)
        );
    }
    text
}

/// The output has the weighted sum of the members' tensors, and no others.
#[track_caller]
fn assert_sum(place: &Place, members: &[usize]) {
    let merged = Checkpoint::open(&place.path("merged")).unwrap();
    let expected: IndexMap<String, TensorInfo> = tiny::llama(2, 6, DType::F32);
    assert_eq!(merged.tensors().len(), expected.len());
    for (name, info) in &expected {
        assert_eq!(&merged.tensors()[name], info, "{name}");
        let inputs: Vec<(f32, Vec<f32>)> = members
            .iter()
            .map(|&index| (weight(index), input(&KINDS[index], index as u32, name, info)))
            .collect();
        for (element, actual) in values(&merged, name).into_iter().enumerate() {
            let sum: f32 = inputs.iter().map(|(weight, values)| weight * values[element]).sum();
            assert!((actual - sum).abs() <= 1e-6, "{name}[{element}]: {actual}, expected {sum}");
        }
    }
}

#[test]
fn all_kinds_merge_together() {
    let place = place();
    let all: Vec<usize> = (0..KINDS.len()).collect();
    let said = place.merge(&config(&all), "merged", &[]);
    assert!(said.contains(EXTRA), "what is left out is named: {said}");
    assert_sum(&place, &all);
    assert_eq!(place.json("merged/config.json")["tie_word_embeddings"], false);
}

#[test]
fn each_kind_merges_with_a_plain_model() {
    let place = place();
    for index in 1..KINDS.len() {
        // In both orders: the first is the donor of the config.
        for members in [[0, index], [index, 0]] {
            place.merge(&config(&members), "merged", &["--overwrite"]);
            assert_sum(&place, &members);
            let config = place.json("merged/config.json");
            assert_eq!(config["tie_word_embeddings"], false, "{members:?}");
            assert_eq!(config["dtype"], "float32");
        }
    }
}

#[test]
fn each_kind_alone_keeps_what_it_is() {
    let place = place();
    for (seed, kind) in (0..).zip(&KINDS) {
        let text = format!("merge_method: passthrough\nmodels: [{{model: {}}}]\n", kind.name);
        let said = place.merge(&text, "merged", &["--overwrite"]);
        // What all models have is merged, whether the architecture mentions it or not.
        assert!(!said.contains(EXTRA), "{said}");
        let merged = Checkpoint::open(&place.path("merged")).unwrap();
        let expected = tensors(kind);
        assert_eq!(merged.tensors().len(), expected.len(), "{}", kind.name);
        for (name, info) in &expected {
            assert_eq!(&merged.tensors()[name], info, "{}: {name}", kind.name);
            assert_eq!(values(&merged, name), input(kind, seed, name, info), "{name}");
        }
        let config = place.json("merged/config.json");
        assert_eq!(config["tie_word_embeddings"], kind.is_tied, "{}", kind.name);
        assert_eq!(config["dtype"], kind.dtype.to_string());
    }
}

#[test]
fn a_head_is_announced_also_where_the_donor_says_nothing() {
    let place = place();
    for donor in ["tied", "f32"] {
        let config = place.read(&format!("{donor}/config.json"));
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config.as_object_mut().unwrap().remove("tie_word_embeddings");
        place.write(&format!("{donor}/config.json"), config.to_string());
    }
    let tied = |first: usize, second: usize| {
        place.merge(&config(&[first, second]), "merged", &["--overwrite"]);
        place.json("merged/config.json").get("tie_word_embeddings").cloned()
    };
    // The donor has no head of its own, so that its architecture must be tied unless told otherwise.
    assert_eq!(tied(5, 1), Some(false.into()));
    // It has one, and its config stays as it was.
    assert_eq!(tied(0, 1), None);
}

#[test]
fn what_does_not_fit_is_named() {
    let place = place();
    // Another number of tokens, in one model's embedding only.
    let mut tensors = tiny::llama(2, 6, DType::F32);
    tensors[EMBEDDING].shape = vec![9, 6];
    tiny::write_model(&place.path("longer"), 2, tensors.clone(), noise(9));
    let text = config(&[0]) + "- model: longer\n  parameters: {weight: 1}\n";
    place.write("merge.yml", &text);
    let said = place.refused(&["merge.yml", "merged"], "merged");
    for part in [EMBEDDING, "[9, 6]", "longer", "[6, 6]", "f32"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }

    // A tensor that every model of its kind needs.
    tensors[EMBEDDING].shape = vec![6, 6];
    tensors.shift_remove("model.layers.1.mlp.up_proj.weight");
    std::fs::remove_dir_all(place.path("longer")).unwrap();
    tiny::write_model(&place.path("longer"), 2, tensors, noise(9));
    let said = place.refused(&["merge.yml", "merged"], "merged");
    for part in ["model.layers.1.mlp.up_proj.weight", "longer"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

//! The config of an adapter either is refused with a message, or gives every element of the adapted
//! model, in whatever parts they are read.

use std::path::Path;
use std::sync::Arc;

use mergekit::adapter::{AdaptedCheckpoint, Adapter};
use mergekit::architecture::Architecture;
use mergekit::checkpoint::{MemoryCheckpoint, TensorSource};

type Shape = (&'static str, &'static [usize]);

const BASE: [Shape; 4] = [
    ("model.embed_tokens.weight", &[7, 4]),
    ("model.layers.0.self_attn.q_proj.weight", &[6, 4]),
    ("model.layers.0.self_attn.q_proj.bias", &[6]),
    ("model.norm.weight", &[4]),
];

const ADAPTER: [Shape; 6] = [
    ("model.embed_tokens.lora_embedding_A", &[2, 7]),
    ("model.embed_tokens.lora_embedding_B", &[4, 2]),
    ("model.layers.0.self_attn.q_proj.lora_A.weight", &[2, 4]),
    ("model.layers.0.self_attn.q_proj.lora_B.weight", &[6, 2]),
    ("model.layers.0.self_attn.q_proj.lora_B.bias", &[6]),
    ("model.norm.modules_to_save.weight", &[4]),
];

/// What DoRA has in addition.
const MAGNITUDES: [Shape; 2] = [
    ("model.embed_tokens.lora_magnitude_vector", &[4]),
    ("model.layers.0.self_attn.q_proj.lora_magnitude_vector", &[6]),
];

/// Fails when that is not so for a config of these `bytes`. Tells whether some adapter can have it.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let with_magnitudes = [&ADAPTER[..], &MAGNITUDES].concat();
    let mut is_sound = false;
    for tensors in [&ADAPTER[..], &with_magnitudes] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        if let Some(adapted) = open(directory.path(), bytes, tensors) {
            read_whole_and_in_parts(&adapted);
            is_sound = true;
        }
    }
    is_sound
}

fn open(directory: &Path, config: &[u8], tensors: &[Shape]) -> Option<AdaptedCheckpoint> {
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.join(name), bytes).expect("a temporary file can be written");
    };
    write("adapter_config.json", config);
    write("adapter_model.safetensors", &safetensors(tensors));
    let mut base = MemoryCheckpoint::new();
    for (name, shape) in BASE {
        base.insert(name, shape, &vec![0.5; shape.iter().product()]).expect("names differ");
    }
    let architecture = Architecture::inferred("LlamaForCausalLM", &base);
    let adapted = Adapter::open(directory).and_then(|adapter| {
        AdaptedCheckpoint::new(Arc::new(base), "base", &architecture, adapter, None)
    });
    match adapted {
        Ok(adapted) => Some(adapted),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn read_whole_and_in_parts(adapted: &AdaptedCheckpoint) {
    for (name, info) in adapted.tensors() {
        let mut whole = vec![0.0; info.elements()];
        adapted.read_into(name, 0, &mut whole).expect("adapters are checked when they are put on");
        let held = adapted.hold(name).expect("what can be read can be held");
        for (index, value) in whole.iter().enumerate() {
            let mut part = [0.0];
            adapted.read_into(name, index, &mut part).expect("parts can be read too");
            assert_eq!(part[0].to_bits(), value.to_bits(), "{name}");
        }
        drop(held);
    }
}

/// A file of `tensors`, all of whose elements are 1.
fn safetensors(tensors: &[Shape]) -> Vec<u8> {
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, shape)| {
            let start = end;
            end += 4 * shape.iter().product::<usize>();
            format!(
                r#""base_model.model.{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let values = 1f32.to_le_bytes().repeat(end / 4);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat()
}

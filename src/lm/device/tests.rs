//! Models whose attention goes in many steps, and products in 16 bits.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::*;
use crate::lm::families;
use crate::lm::limits::DecoderOptions;
use crate::lm::network::Skeleton;
use crate::lm::runner::Runner;
use crate::lm::storage::Storage;
use crate::lm::{ScoreRequest, scoring};

const VOCABULARY: usize = 40;

fn config() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "vocab_size": VOCABULARY, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "sliding_window": 9,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    })
}

fn tensors(storage: Storage) -> IndexMap<String, StoredTensor> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, 32]),
        ("model.norm.weight".to_owned(), vec![32]),
    ];
    for layer in 0..2 {
        let of_layer: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[32]),
            ("post_attention_layernorm", &[32]),
            ("self_attn.q_proj", &[32, 32]),
            ("self_attn.k_proj", &[16, 32]),
            ("self_attn.v_proj", &[16, 32]),
            ("self_attn.o_proj", &[32, 32]),
            ("mlp.gate_proj", &[48, 32]),
            ("mlp.up_proj", &[48, 32]),
            ("mlp.down_proj", &[32, 48]),
        ];
        let named = of_layer
            .iter()
            .map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        shapes.extend(named);
    }
    let filled = shapes.into_iter().enumerate().map(|(seed, (name, shape))| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i| ((i * 7 + seed * 131) as f32 * 0.731).sin() * 0.4).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values");
        let stored = StoredTensor::convert(&name, &tensor, storage).expect("floats");
        (name, stored)
    });
    filled.collect()
}

/// Scores of the model on a backend.
fn scores<B: Backend>(backend: B, storage: Storage, requests: &[ScoreRequest]) -> Vec<f64> {
    let blueprint = families::read(&config()).expect("a known family");
    let skeleton = Skeleton::new(blueprint, &DecoderOptions::default());
    let network = skeleton.load(&backend, tensors(storage)).expect("all tensors");
    let runner = Runner::new(network, backend);
    let scores = scoring::score(&runner, requests).expect("scores");
    scores.iter().map(|score| score.log_likelihood).collect()
}

fn requests() -> Vec<ScoreRequest> {
    let token = |seed: usize, index: usize| ((seed * 13 + index * index * 7) % VOCABULARY) as u32;
    let request = |seed: usize| {
        let beginning = (0..12).map(|index| token(0, index));
        let rest = (0..seed * 5 % 17 + 1).map(|index| token(seed, index));
        ScoreRequest {
            context: beginning.chain(rest).collect(),
            continuation: (0..seed % 3 + 1).map(|index| token(seed + 1, index)).collect(),
        }
    };
    (0..20).map(request).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn attention_in_many_steps_gives_the_same() {
    let requests = requests();
    let expected = scores(crate::lm::cpu::Cpu::new(), Storage::F32, &requests);
    for most_scores in [1, 300, 5000, MOST_SCORES] {
        let backend = OnDevice { most_scores, ..OnDevice::new(Device::Cpu) };
        let found = scores(backend, Storage::F32, &requests);
        let worst = largest_difference(&found, &expected);
        assert!(worst < 1e-5, "{most_scores}: {worst}");
    }
}

#[test]
fn products_in_16_bits_agree_as_far_as_these_go() {
    let requests = requests();
    let exact = scores(OnDevice::new(Device::Cpu), Storage::F16, &requests);
    let halved = OnDevice { half_products: true, ..OnDevice::new(Device::Cpu) };
    let worst = largest_difference(&scores(halved, Storage::F16, &requests), &exact);
    assert!(worst > 1e-6 && worst < 1e-2, "{worst}");
}

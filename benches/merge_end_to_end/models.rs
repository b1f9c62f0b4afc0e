//! Synthetic models: a Llama and three fine-tunes of it, the same bytes on every machine.
//!
//! Weights of the base are normal with a deviation of 0.02, those of a fine-tune differ by normal
//! deltas of 1.5e-4. That is about one step of bfloat16 at the size of the weights, so that, as in real
//! fine-tunes, a good part of the deltas rounds to exactly zero and many are tied.

use std::path::{Path, PathBuf};

use anyhow::Context;
use indexmap::IndexMap;
use mergekit::architecture::ModelConfig;
use mergekit::checkpoint::{CheckpointWriter, Layout, OutputDirectory, ShardSize, TensorInfo};
use mergekit::kernels::dtype::{DType, narrow, round_to};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde_json::json;

/// The base comes first.
pub(crate) const NAMES: [&str; 4] = ["base", "one", "two", "three"];

const WEIGHT_DEVIATION: f32 = 0.02;
const DELTA_DEVIATION: f32 = 1.5e-4;

/// Elements made at a time.
const BLOCK: usize = 1 << 15;

/// Splits each model into several files, as models of a real size are.
const SHARD_BYTES: u64 = 500_000_000;

/// Counts up when the models change, so that old ones are not taken for new ones.
const VERSION: u32 = 1;

/// The sizes of a Llama.
pub(crate) struct Llama {
    pub hidden: usize,
    pub layers: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
}

impl Llama {
    /// 0.35 billion parameters in 24 layers, times the square of `width`.
    pub(crate) fn new(width: usize, layers: usize) -> Self {
        Self {
            hidden: 1024 * width,
            layers,
            intermediate: 2816 * width,
            vocabulary: 32_000 * width,
        }
    }

    fn heads(&self) -> usize {
        self.hidden / 64
    }

    /// Every tensor, in bfloat16. Two query heads share one key and value head.
    fn tensors(&self) -> IndexMap<String, TensorInfo> {
        let (hidden, intermediate, kv) = (self.hidden, self.intermediate, self.hidden / 2);
        let mut tensors = IndexMap::new();
        let mut add = |name: String, shape: &[usize]| {
            tensors.insert(name, TensorInfo { dtype: DType::BF16, shape: shape.to_vec() });
        };
        add("model.embed_tokens.weight".to_owned(), &[self.vocabulary, hidden]);
        for layer in 0..self.layers {
            let parts: [(&str, &[usize]); 9] = [
                ("self_attn.q_proj", &[hidden, hidden]),
                ("self_attn.k_proj", &[kv, hidden]),
                ("self_attn.v_proj", &[kv, hidden]),
                ("self_attn.o_proj", &[hidden, hidden]),
                ("mlp.gate_proj", &[intermediate, hidden]),
                ("mlp.up_proj", &[intermediate, hidden]),
                ("mlp.down_proj", &[hidden, intermediate]),
                ("input_layernorm", &[hidden]),
                ("post_attention_layernorm", &[hidden]),
            ];
            for (part, shape) in parts {
                add(format!("model.layers.{layer}.{part}.weight"), shape);
            }
        }
        add("model.norm.weight".to_owned(), &[hidden]);
        add("lm_head.weight".to_owned(), &[self.vocabulary, hidden]);
        tensors
    }

    pub(crate) fn parameters(&self) -> usize {
        self.tensors().values().map(TensorInfo::elements).sum()
    }

    fn config(&self) -> serde_json::Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads(),
            "num_key_value_heads": self.heads() / 2,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
        })
    }

    /// The directories of the first `count` models below `parent`; makes those that are not there.
    pub(crate) fn prepare(&self, parent: &Path, count: usize) -> anyhow::Result<Vec<PathBuf>> {
        let parent = parent.join(format!("llama-{}x{}-v{VERSION}", self.hidden, self.layers));
        let normal = normal_draws();
        let make = |(index, name): (usize, &&str)| {
            let directory = parent.join(name);
            if !directory.is_dir() {
                eprintln!("making {}", directory.display());
                self.write(&directory, index as u64, &normal)
                    .with_context(|| format!("cannot make `{}`", directory.display()))?;
            }
            Ok(directory)
        };
        NAMES.iter().take(count).enumerate().map(make).collect()
    }

    fn write(&self, directory: &Path, model: u64, normal: &[f32]) -> anyhow::Result<()> {
        let output = OutputDirectory::create(directory, false)?;
        let layout = Layout::new(self.tensors(), ShardSize::from_bytes(SHARD_BYTES))?;
        let writer = CheckpointWriter::create(output.path(), layout)?;
        writer.layout().tensors().values().enumerate().try_for_each(|(index, info)| {
            let n = info.elements();
            let blocks = (0..n.div_ceil(BLOCK)).into_par_iter().with_max_len(1);
            blocks.try_for_each(|block| {
                let length = BLOCK.min(n - block * BLOCK);
                let seed = |model: u64| model << 56 ^ (index as u64) << 32 ^ block as u64;
                let mean = if info.shape.len() == 1 { 1.0 } else { 0.0 };
                let mut values = vec![mean; length];
                add_noise(normal, seed(0), WEIGHT_DEVIATION, &mut values);
                if model > 0 {
                    round_to(DType::BF16, &mut values);
                    add_noise(normal, seed(model), DELTA_DEVIATION, &mut values);
                }
                let mut bytes = vec![0; length * DType::BF16.size()];
                narrow(DType::BF16, &values, &mut bytes);
                writer.write_at(index, block * BLOCK * DType::BF16.size(), &bytes)
            })
        })?;
        writer.finish()?;
        ModelConfig::new(self.config(), directory.join("config.json"))?.save(output.path())?;
        output.commit()?;
        Ok(())
    }
}

/// Normal numbers to pick from: much quicker than drawing each anew.
fn normal_draws() -> Vec<f32> {
    StandardNormal.sample_iter(ChaCha8Rng::seed_from_u64(0)).take(1 << 16).collect()
}

fn add_noise(normal: &[f32], seed: u64, deviation: f32, values: &mut [f32]) {
    for (group, values) in (0u64..).zip(values.chunks_mut(4)) {
        let random = scramble(scramble(seed) ^ group);
        for (part, value) in values.iter_mut().enumerate() {
            *value += deviation * normal[(random >> (16 * part)) as usize & 0xffff];
        }
    }
}

/// The finalizer of SplitMix64: every input bit reaches every output bit.
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

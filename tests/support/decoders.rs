//! Tiny models of every family, with texts for them; see golden/lm/make.py.

use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use mergekit::lm::ScoreRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A model, and what it is given.
#[derive(Deserialize)]
pub(crate) struct Golden {
    /// Of the family and what is special.
    pub(crate) name: String,
    /// Its config.json.
    pub(crate) config: Value,
    /// Names and shapes on disk.
    pub(crate) tensors: IndexMap<String, Vec<usize>>,
    /// Texts of different lengths.
    pub(crate) texts: Vec<Vec<u32>>,
    /// Beginning of a greedy answer.
    pub(crate) prompt: Vec<u32>,
    /// What is produced after the prompt, with a cache.
    pub(crate) answer: Vec<u32>,
}

/// All of them, with as much of each as `T` asks for.
pub(crate) fn goldens<T: DeserializeOwned>() -> Vec<T> {
    serde_json::from_str(include_str!("../golden/lm/families.json")).expect("golden data is valid")
}

/// The same weights as in make.py: a stream of random numbers per tensor, seeded by its name.
fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let is_norm = (name.contains("norm") || name.contains("ln_")) && name.ends_with("weight");
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let value = (state >> 40) as f32 / 8_388_608.0 - 1.0;
            if is_norm { 1.0 + value * 0.25 } else { value * 0.5 }
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape says")
}

/// The model's weights, under their names on disk.
pub(crate) fn tensors(golden: &Golden) -> IndexMap<String, Tensor> {
    golden.tensors.iter().map(|(name, shape)| (name.clone(), tensor(name, shape))).collect()
}

/// A request for a continuation's probability.
pub(crate) fn request(context: &[u32], continuation: &[u32]) -> ScoreRequest {
    ScoreRequest { context: context.to_vec(), continuation: continuation.to_vec() }
}

/// A stop rule that stops nothing.
pub(crate) fn never(_: usize, _: &[u32]) -> bool {
    false
}

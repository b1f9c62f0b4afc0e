//! Small models of nothing but embeddings, with tokenizers of whole words.

use std::fs;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Surgeon, SurgeonError, SurgeonOptions, TransplantFiles};
use crate::architecture::ModelConfig;
use crate::checkpoint::{Checkpoint, MemoryCheckpoint, TensorSource};
use crate::config::ModelReference;
use crate::plan::InputModel;

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";

/// A model with its tokenizer on disk.
pub(super) struct Toy {
    pub(super) input: Arc<InputModel>,
    _directory: TempDir,
}

/// A Llama without layers, whose embedding has `value(row, column)`.
pub(super) fn toy(tokens: &[String], width: usize, value: impl Fn(usize, usize) -> f32) -> Toy {
    let vocabulary = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), json!(id)));
    let tokenizer = json!({
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {
            "type": "WordLevel",
            "vocab": Value::Object(vocabulary.collect::<Map<_, _>>()),
            "unk_token": "t0",
        },
    });
    toy_of(&tokenizer, &json!({}), &[(EMBEDDING, tokens.len())], width, |_, row, col| {
        value(row, col)
    })
}

/// A Llama without layers, with these matrices and files of a tokenizer.
pub(super) fn toy_of(
    tokenizer: &Value,
    tokenizer_config: &Value,
    matrices: &[(&str, usize)],
    width: usize,
    value: impl Fn(&str, usize, usize) -> f32,
) -> Toy {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let path = directory.path().join("tokenizer_config.json");
    fs::write(path, tokenizer_config.to_string()).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 0,
        "num_attention_heads": 2,
        "vocab_size": matrices[0].1,
        "eos_token_id": 7,
    });
    let mut checkpoint = MemoryCheckpoint::new();
    checkpoint.insert("model.norm.weight", &[width], &vec![0.5; width]).unwrap();
    for (name, rows) in matrices {
        let values: Vec<f32> =
            (0..rows * width).map(|at| value(name, at / width, at % width)).collect();
        checkpoint.insert(name, &[*rows, width], &values).unwrap();
    }
    let config = ModelConfig::new(config, directory.path().join("config.json")).unwrap();
    let reference = ModelReference::new(directory.path().to_str().unwrap());
    let path = directory.path().to_owned();
    let input = InputModel::new(reference, path, Box::new(checkpoint), config).unwrap();
    Toy { input: Arc::new(input), _directory: directory }
}

/// `t0`, `t1` and so on.
pub(super) fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("t{index}")).collect()
}

/// A number between −1 and 1 that looks random.
pub(super) fn noise(seed: u64, row: usize, col: usize) -> f32 {
    let word = crate::kernels::random::mix(seed << 40 ^ (row as u64) << 16 ^ col as u64);
    (word >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// A model after its transplant.
pub(super) struct Outcome {
    pub(super) directory: TempDir,
    pub(super) checkpoint: Checkpoint,
}

impl Outcome {
    pub(super) fn values(&self, name: &str) -> Vec<f32> {
        let mut values = vec![0.0; self.checkpoint.tensors()[name].elements()];
        self.checkpoint.read_into(name, 0, &mut values).unwrap();
        values
    }
}

/// The model with the donor's vocabulary, made on `threads` threads.
pub(super) fn transplanted_on(
    threads: usize,
    model: &Toy,
    donor: &Toy,
    options: SurgeonOptions,
) -> Result<Outcome, SurgeonError> {
    let surgeon = Surgeon::new(Some(threads), Arc::default())?;
    let transplant = surgeon.plan(&model.input, &donor.input, options, &())?;
    let directory = tempfile::tempdir().unwrap();
    surgeon.write(&transplant, directory.path(), &TransplantFiles::default(), &())?;
    let checkpoint = Checkpoint::open(directory.path())?;
    Ok(Outcome { directory, checkpoint })
}

/// The same on two threads.
pub(super) fn transplanted(
    model: &Toy,
    donor: &Toy,
    options: SurgeonOptions,
) -> Result<Outcome, SurgeonError> {
    transplanted_on(2, model, donor, options)
}

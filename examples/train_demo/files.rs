//! What the program leaves behind: models in Hugging Face layout, tasks, and the README.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::characters;
use crate::model::{NORM_EPSILON, Parameters, ROPE_THETA, Sizes};
use crate::skills::{Item, Level, Skill};
use crate::training::{BATCH, Run};

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, format!("{value:#}\n").as_bytes())
}

/// The parameters as a bf16 checkpoint holds them, in f32.
pub(crate) fn round_to_bf16(parameters: &Parameters) -> Result<Parameters> {
    let round = |tensor: &Tensor| tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32);
    Ok(parameters
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), round(tensor)?)))
        .collect::<candle_core::Result<_>>()?)
}

/// Writes a model and gives the SHA-256 of its weights file, in hexadecimal digits.
pub(crate) fn write_model(
    directory: &Path,
    sizes: Sizes,
    parameters: &Parameters,
) -> Result<String> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "hidden_act": "silu",
        "max_position_embeddings": sizes.positions,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": characters::PADDING,
        "pad_token_id": characters::PADDING,
        "torch_dtype": "bfloat16",
    });
    write_json(&directory.join("config.json"), &config)?;
    write_json(&directory.join("tokenizer.json"), &characters::tokenizer())?;
    let tokenizer_config = characters::tokenizer_config(sizes.positions);
    write_json(&directory.join("tokenizer_config.json"), &tokenizer_config)?;

    let tensors = parameters
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_dtype(DType::BF16)?)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    // Hugging Face transformers refuses files that do not name their format.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(tensors, Some(metadata))?;
    write(&directory.join("model.safetensors"), &bytes)?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a generation task per skill, and a multiple-choice task for addition.
pub(crate) fn write_tasks(directory: &Path, exam: &[(Skill, Vec<Item>)]) -> Result<()> {
    for (skill, items) in exam {
        let name = skill.name();
        let mut lines = String::new();
        for item in items {
            let mut row = json!({"prompt": item.prompt, "answer": item.answer});
            if let Some((choices, right)) = skill.choices(item) {
                row["choices"] = json!(choices);
                row["right"] = json!(right);
            }
            writeln!(lines, "{row}")?;
        }
        write(&directory.join(format!("{name}.jsonl")), lines.as_bytes())?;
        write(&directory.join(format!("{name}.yaml")), generation_task(*skill).as_bytes())?;
    }
    write(&directory.join("addition_choice.yaml"), choice_task(Skill::Addition).as_bytes())
}

/// What a skill asks, in one sentence.
fn description(skill: Skill) -> &'static str {
    match skill {
        Skill::Addition => "Adds two numbers of two digits.",
        Skill::Sorting => "Puts six letters in alphabetical order.",
        Skill::Reversal => "Writes seven letters backwards.",
        Skill::Dates => "Writes a date in digits, month first.",
    }
}

fn task_head(task: &str, skill: Skill, comment: &str) -> String {
    format!(
        "# {comment}\n\
         # Written by examples/train_demo.\n\
         task: {task}\n\
         dataset_path: json\n\
         dataset_kwargs:\n  data_files:\n    test: evaluators/demo/{}.jsonl\n\
         test_split: test\n",
        skill.name()
    )
}

fn generation_task(skill: Skill) -> String {
    let mut text = task_head(skill.name(), skill, description(skill));
    text.push_str(
        "output_type: generate_until\n\
         doc_to_text: \"{{prompt}}\"\n\
         doc_to_target: \"{{answer}}\"\n\
         generation_kwargs:\n  until: [\"\\n\"]\n  max_gen_toks: 12\n  do_sample: false\n\
         metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n\
         metadata:\n  version: 1.0\n",
    );
    text
}

fn choice_task(skill: Skill) -> String {
    let comment = "The right sum among four: acc asks which the model finds likeliest.";
    let mut text = task_head(&format!("{}_choice", skill.name()), skill, comment);
    text.push_str(
        "output_type: multiple_choice\n\
         doc_to_text: \"{{prompt}}\"\n\
         doc_to_choice: \"{{choices}}\"\n\
         doc_to_target: \"{{right}}\"\n\
         target_delimiter: \"\"\n\
         metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n\
         metadata:\n  version: 1.0\n",
    );
    text
}

/// What is worth knowing about the trained models.
pub(crate) struct Facts {
    sizes: Sizes,
    items: usize,
    models: Vec<ModelFacts>,
}

struct ModelFacts {
    name: &'static str,
    run: Run,
    digest: String,
    /// Exact match by skill, in the order of [`Skill::ALL`].
    scores: Vec<f64>,
}

impl Facts {
    /// No models yet; `items` is the number of evaluation items per skill.
    pub(crate) fn new(sizes: Sizes, items: usize) -> Self {
        Self { sizes, items, models: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, run: Run, digest: String, scores: Vec<f64>) {
        self.models.push(ModelFacts { name, run, digest, scores });
    }

    /// Models × skills, exact match in percent, as a Markdown table.
    pub(crate) fn table(&self) -> String {
        let names: Vec<&str> = Skill::ALL.iter().map(|skill| skill.name()).collect();
        let mut table = format!("| model | {} | mean |\n", names.join(" | "));
        table.push_str(&format!("|---|{}\n", "---:|".repeat(names.len() + 1)));
        for model in &self.models {
            let mean = model.scores.iter().sum::<f64>() / model.scores.len() as f64;
            let cells: Vec<String> = model
                .scores
                .iter()
                .chain([&mean])
                .map(|score| format!("{:.1}", 100.0 * score))
                .collect();
            table.push_str(&format!("| {} | {} |\n", model.name, cells.join(" | ")));
        }
        table
    }

    /// The text of `examples/demo/README.md`.
    pub(crate) fn readme(&self, elapsed: Duration) -> String {
        let sizes = &self.sizes;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut text = format!(
            "# The demo models\n\n\
             A base model and {} specialists fine-tuned from it, small enough to search merges of \
             in minutes.\nTrained by [`examples/train_demo`](../train_demo/main.rs), which also \
             wrote this file and the tasks in `evaluators/demo/`:\n\n\
             ```sh\nRAYON_NUM_THREADS=1 cargo run --release --example train_demo\n```\n\n\
             Each is a Llama of {} parameters in bf16: {} layers, hidden size {}, intermediate \
             size {}, {} heads, tied embeddings,\none token per character ({} tokens). \
             All runs together took {:.1} minutes ({threads} processors available).\n\n\
             ## The skills\n\n| task | example | what it asks |\n|---|---|---|\n",
            self.models.len() - 1,
            grouped(sizes.parameter_count()),
            sizes.layers,
            sizes.hidden,
            sizes.intermediate,
            sizes.heads,
            sizes.vocabulary,
            elapsed.as_secs_f64() / 60.0,
        );
        for skill in Skill::ALL {
            let item = &skill.evaluation_items(1)[0];
            let _ = writeln!(
                text,
                "| {} | `{}` → `{}` | {} |",
                skill.name(),
                item.prompt,
                item.answer,
                description(skill)
            );
        }
        let _ = write!(
            text,
            "\nWhich items may be trained on and which are kept for evaluation is decided by a \
             hash of the question (see\n[`skills.rs`](../train_demo/skills.rs)), so the {} \
             evaluation items of each skill were never trained on.\n\n\
             ## What each model can do\n\n\
             Exact match in percent on the evaluation items, weights as written.\n\n{}\n\
             ## How they were trained\n\n\
             AdamW, batches of {BATCH} items, loss on the answers only, cosine schedule. \
             Specialists start from the base model as written.\n\n\
             | model | items drawn from | steps | learning rate | seed | SHA-256 of the weights |\n\
             |---|---|---:|---:|---:|---|\n",
            self.items,
            self.table(),
        );
        for model in &self.models {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | `{}` |",
                model.name,
                mixture(&model.run),
                model.run.steps,
                model.run.learning_rate,
                model.run.seed,
                model.digest
            );
        }
        text
    }
}

fn mixture(run: &Run) -> String {
    let total: u32 = run.mixture.iter().map(|(_, _, share)| share).sum();
    let parts: Vec<String> = run
        .mixture
        .iter()
        .map(|(skill, level, share)| {
            let level = match level {
                Level::Easy => "easy ",
                Level::Full => "",
            };
            let percent = 100.0 * f64::from(*share) / f64::from(total);
            format!("{level}{} {percent:.0} %", skill.name())
        })
        .collect();
    parts.join(", ")
}

/// `192000` as `192,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

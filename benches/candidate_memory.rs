//! Memory that a candidate of a search takes, from merging it to scoring it, by the form in which its
//! weights are kept.
//!
//! `cargo bench --bench candidate_memory -- --size 7b --storage q4_0` makes a synthetic Llama in
//! bfloat16 and a fine-tune of it (once; 30 GB for 7b, 14 GB for 3b), averages them into memory as a
//! search does, runs the result on prompts of 512 tokens with two continuations each, and prints the
//! largest anonymous memory, which is all that cannot be dropped and read again.

// Only a part of what the other program uses.
#[allow(dead_code)]
#[path = "merge_end_to_end/models.rs"]
mod models;
#[allow(dead_code)]
#[path = "merge_end_to_end/process.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions};
use mergekit::lm::{
    DecoderOptions, DecoderSkeleton, LanguageModel, ScoreRequest, Storage, StoredTensor,
};
use mergekit::plan::{MergePlan, ModelStore, PlanOptions};

use models::Llama;
use process::MemoryWatch;

/// Memory of a candidate, by the form of its weights
#[derive(Parser)]
struct Options {
    /// Parameters of the model
    #[arg(long, value_enum, default_value = "1b")]
    size: Size,

    /// Form in which weights are kept
    #[arg(long, default_value = "q8_0")]
    storage: Storage,

    /// Bytes that the merge and the running model may take, each, besides the weights
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    memory: u64,

    /// Prompts to score
    #[arg(long, value_name = "N", default_value_t = 4)]
    prompts: usize,

    /// Where the model is kept
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,

    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    #[value(name = "1b")]
    Billion,
    #[value(name = "3b")]
    ThreeBillion,
    #[value(name = "7b")]
    SevenBillion,
}

impl Size {
    fn llama(self) -> Llama {
        let (hidden, layers, intermediate, vocabulary) = match self {
            Size::Billion => (2048, 16, 8192, 32_000),
            Size::ThreeBillion => (3072, 28, 8192, 128_000),
            Size::SevenBillion => (4096, 32, 14_336, 32_000),
        };
        Llama { hidden, layers, intermediate, vocabulary }
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let llama = options.size.llama();
    let models = llama.prepare(&options.dir, 2)?;
    println!("{:.2} B parameters, {}", llama.parameters() as f64 * 1e-9, options.storage.name());

    let watch = MemoryWatch::start();
    let started = Instant::now();
    let config = MergeConfig::parse(&average(&models), Path::new("candidate"))?;
    let plan = MergePlan::new(&config, &ModelStore::new(), &PlanOptions::default())?;
    let engine = Engine::new(EngineOptions {
        memory_limit: Some(options.memory),
        ..EngineOptions::default()
    })?;
    let tensors = engine.merge_to_memory_as(&plan, |name, tensor| {
        StoredTensor::convert(name, &tensor, options.storage)
    })?;
    let bytes: usize = tensors.values().map(StoredTensor::bytes).sum();
    println!(
        "merged into {:.2} GB in {:.1} s; largest memory {:.2} GB",
        bytes as f64 * 1e-9,
        started.elapsed().as_secs_f64(),
        process::bytes_of("/proc/self/status", "RssAnon") as f64 * 1e-9,
    );

    let started = Instant::now();
    let decoder_options =
        DecoderOptions { memory_limit: Some(options.memory), ..DecoderOptions::default() };
    let decoder = DecoderSkeleton::new(plan.model_config(), &decoder_options)?.load(tensors)?;
    let requests: Vec<ScoreRequest> = (0..options.prompts as u32 * 2)
        .map(|index| ScoreRequest {
            context: (0..512).map(|token| (token * 7 + index / 2 * 31) % 1000).collect(),
            continuation: vec![index % 2, 5, 9],
        })
        .collect();
    let scores = decoder.score(&requests)?;
    let [anonymous, _] = watch.finish();
    println!(
        "{} prompts in {:.1} s, the first with log-likelihood {:.3}; largest memory {:.2} GB",
        options.prompts,
        started.elapsed().as_secs_f64(),
        scores.first().map_or(f64::NAN, |score| score.log_likelihood),
        anonymous as f64 * 1e-9,
    );
    Ok(())
}

fn average(models: &[PathBuf]) -> String {
    let model = |path: &PathBuf| {
        format!("  - {{model: '{}', parameters: {{weight: 0.5}}}}\n", path.display())
    };
    let models: String = models.iter().map(model).collect();
    format!("merge_method: linear\ndtype: bfloat16\nmodels:\n{models}")
}

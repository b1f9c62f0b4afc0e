//! Trains the demo models and writes their tasks.
//!
//!     RAYON_NUM_THREADS=1 cargo run --release --example train_demo [DIRECTORY]
//!
//! The matrices are so small that a second thread costs more than it gives; the result is the same.
//!
//! One base model learns a little of several text skills, then each specialist is fine-tuned from
//! it on one of them. Everything is drawn from fixed seeds. Into DIRECTORY (by default the current
//! one) go `examples/demo/`, with a directory per model and a README of what came out, and
//! `evaluators/demo/`, with a task per skill.

mod characters;
mod files;
mod model;
mod skills;
mod training;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::files::Facts;
use crate::model::{Llama, Parameters, Sizes};
use crate::skills::{Item, Level, Skill};
use crate::training::{Run, exact_match};

/// Evaluation items per skill; a search with `validation: {fraction: 0.5}` sees half of them.
const ITEMS: usize = 300;

/// Seed of the base model's first parameters.
const INITIAL_SEED: u64 = 0;

/// The base model meets every skill, in items mostly too easy to be in the exam.
const BASE: Run = Run {
    mixture: &[
        (Skill::Addition, Level::Easy, 8),
        (Skill::Addition, Level::Full, 12),
        (Skill::Sorting, Level::Easy, 8),
        (Skill::Sorting, Level::Full, 1),
        (Skill::Reversal, Level::Easy, 9),
        (Skill::Reversal, Level::Full, 1),
        (Skill::Dates, Level::Easy, 4),
    ],
    steps: 1000,
    warm_up: 50,
    learning_rate: 1.5e-3,
    final_share: 1.0,
    seed: 1,
};

/// Directory name, and how the specialist is fine-tuned from the base model.
const SPECIALISTS: [(&str, Run); 4] = [
    ("adder", specialist(&[(Skill::Addition, Level::Full, 1)], 120, 4e-4, 2)),
    ("sorter", specialist(&[(Skill::Sorting, Level::Full, 1)], 100, 5e-4, 3)),
    ("reverser", specialist(&[(Skill::Reversal, Level::Full, 1)], 100, 5e-4, 4)),
    ("dater", specialist(&[(Skill::Dates, Level::Full, 1)], 80, 3e-4, 5)),
];

const fn specialist(
    mixture: &'static [(Skill, Level, u32)],
    steps: usize,
    learning_rate: f64,
    seed: u64,
) -> Run {
    Run { mixture, steps, warm_up: 20, learning_rate, final_share: 0.1, seed }
}

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let sizes = Sizes {
        vocabulary: characters::vocabulary_size(),
        hidden: 64,
        intermediate: 160,
        layers: 4,
        heads: 4,
        positions: 64,
    };
    let exam: Vec<(Skill, Vec<Item>)> =
        Skill::ALL.into_iter().map(|skill| (skill, skill.evaluation_items(ITEMS))).collect();
    files::write_tasks(&directory.join("evaluators/demo"), &exam)?;

    let started = Instant::now();
    let mut facts = Facts::new(sizes, ITEMS);
    let mut rng = ChaCha8Rng::seed_from_u64(INITIAL_SEED);
    let fresh = model::initial_parameters(&sizes, &mut rng)?;
    let base = make("base", BASE, &fresh, sizes, &exam, &directory, &mut facts)?;
    for (name, run) in SPECIALISTS {
        make(name, run, &base, sizes, &exam, &directory, &mut facts)?;
    }
    let readme = facts.readme(started.elapsed());
    files::write(&directory.join("examples/demo/README.md"), readme.as_bytes())?;
    println!("\n{}", facts.table());
    Ok(())
}

/// Trains one model, writes it, examines it as written, and gives back the parameters as written.
fn make(
    name: &'static str,
    run: Run,
    start: &Parameters,
    sizes: Sizes,
    exam: &[(Skill, Vec<Item>)],
    directory: &Path,
    facts: &mut Facts,
) -> Result<Parameters> {
    let started = Instant::now();
    let trained = run.train(sizes, start, |step, loss| {
        println!("{name}: step {step} of {}, loss {loss:.3}", run.steps);
    })?;
    let written = files::round_to_bf16(&trained)?;
    let digest = files::write_model(&directory.join("examples/demo").join(name), sizes, &written)?;
    let llama = Llama::new(sizes, &written)?;
    let scores = exam
        .iter()
        .map(|(_, items)| exact_match(&llama, items))
        .collect::<candle_core::Result<Vec<f64>>>()?;
    println!("{name}: exact match {scores:.3?} after {:.0?}", started.elapsed());
    facts.add(name, run, digest, scores);
    Ok(written)
}

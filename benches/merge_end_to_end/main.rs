//! Speed and memory of every merge method, beside the *copy limit* of the same inputs.
//!
//! `cargo bench --bench merge_end_to_end -- --help` lists the options. Makes a synthetic Llama and
//! three fine-tunes (2.8 GB, once), then measures, each time in a new process: the copy limit (all
//! threads read every input byte once as the engine does, and write as many bytes as the output has),
//! the method, the limit again, and so on. `docs/performance.md` says how to read the table.

mod job;
mod models;
mod process;
mod recipes;
mod startup;
mod table;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use mergekit::methods::METHODS;
use rayon::prelude::*;

use job::{Cost, Job, Work};
use models::Llama;
use process::bytes_of;
use recipes::Recipe;
use table::{Conditions, Row};

/// Speed and memory of every merge method
#[derive(Parser)]
struct Options {
    /// Methods to measure; all if not given
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    methods: Vec<String>,

    /// Measurements of each method, of which the median counts
    #[arg(long, value_name = "N", default_value = "5")]
    repeat: std::num::NonZeroUsize,

    /// Where the models are kept and outputs written
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_DIRECTORY)]
    dir: PathBuf,

    /// Layers of the models
    #[arg(long, value_name = "N", default_value_t = 24)]
    layers: usize,

    /// Models with N times as many weights; a square, since layers get wider in both directions
    #[arg(long = "scale", value_name = "N", default_value = "1", value_parser = width)]
    width: usize,

    /// Threads to use; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// KiB that the copy limit reads and writes at a time; as much as a chunk of the engine has in bfloat16
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    block: usize,

    /// Writes the table to this file, too
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Makes the models, writes a merge config for every method to this directory, and measures nothing
    #[arg(long, value_name = "DIRECTORY")]
    write_configs: Option<PathBuf>,

    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,

    #[arg(long, hide = true, requires = "started")]
    job: Option<String>,

    #[arg(long, hide = true)]
    started: Option<u64>,
}

const DEFAULT_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-models");

/// Reads how many times as many weights the models are to have; returns how much wider that makes
/// their layers.
fn width(scale: &str) -> Result<usize, String> {
    let scale: usize = scale.parse().map_err(|_| "write a whole number".to_owned())?;
    match scale.isqrt() {
        0 => Err("models have weights".to_owned()),
        width if width * width == scale => Ok(width),
        _ => Err("write a square, such as 4: layers grow in both directions".to_owned()),
    }
}

/// Dirty pages below which another run is not disturbed by writing them.
const SETTLED: u64 = 64 << 20;

/// Longest wait for the disk between runs: somebody else may be writing without end.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        // `cargo test --benches` only wants to know that it builds and starts.
        println!("measures nothing unless it is run by `cargo bench`");
        return Ok(());
    }
    if let (Some(job), Some(started)) = (&options.job, options.started) {
        let job: Job = serde_json::from_str(job)?;
        let cost = job.run_here(started)?;
        println!("{}", serde_json::to_string(&cost)?);
        return Ok(());
    }
    let recipes = recipes(&options.methods)?;
    let llama = Llama::new(options.width, options.layers);
    let directories = llama.prepare(&options.dir, models::NAMES.len())?;
    if let Some(configs) = &options.write_configs {
        return write_configs(&recipes, &directories, &options.dir, configs);
    }

    read_all(&directories)?;
    let mut conditions = Conditions::now(&options, &llama);
    conditions.startup = startup::measure(&options.dir)?;
    let mut rows = Vec::new();
    for recipe in recipes {
        let row = measure(recipe, &directories, &options)
            .with_context(|| format!("cannot measure `{}`", recipe.method))?;
        eprintln!("{}", row.summary());
        rows.push(row);
    }
    let report = table::report(&conditions, &rows);
    println!("{report}");
    if let Some(path) = &options.save {
        fs::write(path, report).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// How to run the methods asked for, in the order of the registry.
fn recipes(names: &[String]) -> anyhow::Result<Vec<&'static Recipe>> {
    if let Some(unknown) = names.iter().find(|name| mergekit::methods::find(name).is_none()) {
        bail!("there is no method `{unknown}`");
    }
    let wanted = METHODS
        .iter()
        .filter(|method| names.is_empty() || names.iter().any(|name| name == method.name));
    let mut recipes = Vec::new();
    for method in wanted {
        match Recipe::find(method.name) {
            Some(recipe) => recipes.push(recipe),
            None => eprintln!("no parameters are known for `{}`: left out", method.name),
        }
    }
    Ok(recipes)
}

/// One config for each recipe, and `startup.yml` for a merge of next to nothing.
fn write_configs(
    recipes: &[&Recipe],
    models: &[PathBuf],
    parent: &Path,
    to: &Path,
) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let write = |name: &str, text: String| {
        let path = to.join(format!("{name}.yml"));
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    write("startup", startup::config(parent)?)?;
    recipes.iter().try_for_each(|recipe| write(recipe.method, recipe.config(models)))
}

/// Reads every model once, so that the page cache is warm.
fn read_all(directories: &[PathBuf]) -> anyhow::Result<()> {
    directories.par_iter().try_for_each(|directory| {
        let mut buffer = vec![0; 1 << 20];
        for entry in fs::read_dir(directory)? {
            let mut file = File::open(entry?.path())?;
            while file.read(&mut buffer)? > 0 {}
        }
        Ok(())
    })
}

/// Measures the copy limit and the method in turn, beginning and ending with the limit.
fn measure(recipe: &Recipe, directories: &[PathBuf], options: &Options) -> anyhow::Result<Row> {
    let merge = Job {
        work: Work::Merge,
        config: recipe.config(directories),
        out: options.dir.join("merged"),
        threads: options.threads,
        block: options.block << 10,
    };
    let limit = Job { work: Work::CopyLimit, ..merge.clone() };
    let run = |job: &Job| -> anyhow::Result<Cost> {
        let cost = job.run();
        settle();
        cost
    };
    let mut limits = vec![run(&limit)?];
    let mut merges = Vec::new();
    for _ in 0..options.repeat.get() {
        merges.push(run(&merge)?);
        limits.push(run(&limit)?);
    }
    Ok(Row::new(recipe, &limits, &merges))
}

/// Waits until the disk has little left to write.
fn settle() {
    let start = Instant::now();
    let unwritten = || bytes_of("/proc/meminfo", "Dirty") + bytes_of("/proc/meminfo", "Writeback");
    while unwritten() > SETTLED && start.elapsed() < LONGEST_WAIT {
        thread::sleep(Duration::from_millis(20));
    }
}

//! Runs the optimizers on standard problems and prints what they reach beside pycma 4.5,
//! CyberAgent's cmaes 0.13 and pymoo 0.6 on the same problems.
//!
//! ```text
//! cargo run --release --example optimizer_bench             # all suites, 25 seeds
//! cargo run --release --example optimizer_bench plateau mixed --seeds 5
//! ```
//!
//! Figures go to `results/optimizers.csv`. Counts of evaluations do not depend on the machine.

mod contest;
mod figures;
mod problems;
mod suites;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::figures::{Figure, Reference, higher_is_better, short};

/// Compares the optimizers with pycma, cmaes and pymoo.
#[derive(Parser)]
struct Arguments {
    /// Which suites; all of them if none is named.
    #[arg(value_parser = NAMES)]
    suites: Vec<String>,
    /// Runs per problem.
    #[arg(long, default_value_t = 25)]
    seeds: u64,
    /// Where the figures go.
    #[arg(long, default_value = "results/optimizers.csv")]
    output: PathBuf,
}

type Suite = fn(u64) -> Vec<Figure>;

const SUITES: [(&str, Suite); 8] = [
    ("continuous", suites::continuous),
    ("bounds", suites::bounds),
    ("failures", suites::failures),
    ("noisy", suites::noisy),
    ("plateau", suites::plateau),
    ("plateau-edge", suites::plateau_edge),
    ("mixed", suites::mixed),
    ("multiobjective", suites::multiobjective),
];

const NAMES: [&str; 8] = [
    SUITES[0].0,
    SUITES[1].0,
    SUITES[2].0,
    SUITES[3].0,
    SUITES[4].0,
    SUITES[5].0,
    SUITES[6].0,
    SUITES[7].0,
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let reference = Reference::read()?;
    for (name, suite) in SUITES {
        if !arguments.suites.is_empty() && !arguments.suites.iter().any(|other| other == name) {
            continue;
        }
        let figures = suite(arguments.seeds);
        print(name, &figures, &reference);
        if let Some(directory) = arguments.output.parent().filter(|p| *p != Path::new("")) {
            std::fs::create_dir_all(directory)?;
        }
        figures::write(&arguments.output, &figures)?;
    }
    Ok(())
}

/// One line for each problem: ours, and the reference's from the best on.
fn print(suite: &str, figures: &[Figure], reference: &Reference) {
    println!("\n## {suite}\n");
    let mut printed: Vec<(String, usize, String, String)> = Vec::new();
    for figure in figures {
        let key = (figure.function.clone(), figure.d, figure.metric.clone(), figure.at.clone());
        if printed.contains(&key) {
            continue;
        }
        printed.push(key);
        let ours: Vec<&Figure> = figures
            .iter()
            .filter(|other| {
                other.function == figure.function
                    && other.d == figure.d
                    && other.metric == figure.metric
                    && other.at == figure.at
            })
            .collect();
        let at = if figure.at.is_empty() { String::new() } else { format!(" @ {}", figure.at) };
        println!("{} d={} {}{at}", figure.function, figure.d, figure.metric);
        println!("    ours      {}", line(ours));
        println!("    reference {}", line(reference.of(figure).collect()));
    }
}

/// Medians, the best first, with the share of runs that have one where it is not all.
fn line(mut figures: Vec<&Figure>) -> String {
    figures.sort_by(|a, b| {
        let key = |figure: &Figure| {
            let sign = if higher_is_better(&figure.metric) { -1.0 } else { 1.0 };
            (-figure.success, sign * figure.median.unwrap_or(f64::INFINITY))
        };
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let text = |figure: &Figure| {
        let share = match figure.success {
            1.0 => String::new(),
            share => format!(" ({share:.2})"),
        };
        format!("{} {}{share}", figure.algorithm, short(figure.median))
    };
    figures.into_iter().map(text).collect::<Vec<_>>().join(" · ")
}

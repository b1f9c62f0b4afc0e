//! Runs the demo search with five seeds and writes what came of it to `results/demo-seeds.md`.
//!
//!     cargo run --release --example demo_seeds
//!
//! A seed counts as won when the evolved merge beats every parent and the uniform average on the
//! validation items, with the whole paired 95 % interval above zero. The searches themselves stay in
//! `results/demo-seed-N/`; they are continued, not repeated, when the program runs again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mergekit::report::write_outputs;
use mergekit::search::{
    Estimate, Finish, Interrupt, PrepareOptions, PreparedSearch, Role, Row, Run,
};
use mergekit::space::SearchFile;

const SEARCH_FILE: &str = "search-spaces/demo.yml";
const TABLE: &str = "results/demo-seeds.md";
const SEEDS: std::ops::Range<u64> = 0..5;

fn main() -> Result<()> {
    let mut finishes = Vec::new();
    for seed in SEEDS {
        let directory = PathBuf::from(format!("results/demo-seed-{seed}"));
        let finish = search(seed, &directory).with_context(|| format!("while searching {seed}"))?;
        println!("{}", line(seed, &finish)?);
        finishes.push((seed, finish));
    }
    let text = report(&finishes)?;
    std::fs::write(TABLE, &text).with_context(|| format!("cannot write `{TABLE}`"))?;
    println!("\n{text}\nWritten to `{TABLE}`.");
    Ok(())
}

/// The end of the search with `seed`, from its journal as far as that goes.
fn search(seed: u64, directory: &Path) -> Result<Finish> {
    let mut file = SearchFile::read(Path::new(SEARCH_FILE))?;
    file.optimizer.seed = seed;
    let mut search = PreparedSearch::new(&file, &PrepareOptions::default())?;
    let mut open = search.open(directory)?;
    if let Some(finish) = &open.results().finish {
        return Ok(finish.clone());
    }
    match search.run(&mut open, &Interrupt::default(), &mut |_| ())? {
        Run::Complete(closing) => {
            write_outputs(&closing.results, directory, false, |config, model| {
                search.write_model(config, model)
            })?;
            open.finish(closing)?.finish.context("a finished search has an end")
        }
        Run::Interrupted(_) => bail!("the search was interrupted"),
    }
}

fn report(finishes: &[(u64, Finish)]) -> Result<String> {
    let mut lines = vec![
        "# The demo search with five seeds".to_owned(),
        String::new(),
        format!("`{SEARCH_FILE}`, run by `cargo run --release --example demo_seeds`."),
        "Scores are means over the skills on validation items, which no search saw, with 95 % bootstrap"
            .to_owned(),
        "intervals. A lead is paired: the evolved merge minus the other model on the same items."
            .to_owned(),
        String::new(),
        "| seed | evolved merge | uniform average | best parent | lead over the average | lead over the \
         best parent | beats all |"
            .to_owned(),
        "|---:|---|---|---|---|---|---|".to_owned(),
    ];
    let mut won = 0;
    for (seed, finish) in finishes {
        lines.push(line(*seed, finish)?);
        won += usize::from(beats_all(finish));
    }
    lines.push(String::new());
    lines.push(format!(
        "The evolved merge beats every parent and the uniform average beyond the interval for {won} of {} \
         seeds.",
        finishes.len()
    ));
    let (seed, finish) = &finishes[0];
    lines.extend([
        String::new(),
        format!("By skill, on validation items, seed {seed}:"),
        String::new(),
        format!(
            "| model |{}",
            finish.table[0].terms.keys().map(|k| format!(" {k} |")).collect::<String>()
        ),
        format!("|---|{}", "---:|".repeat(finish.table[0].terms.len())),
    ]);
    for row in &finish.table {
        let cells: String = row.terms.values().map(|value| format!(" {value:.3} |")).collect();
        lines.push(format!("| {} |{cells}", short(&row.name)));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// One row of the table.
fn line(seed: u64, finish: &Finish) -> Result<String> {
    let value = |row: &Row| row.validation.map_or(f64::NEG_INFINITY, |score| score.value);
    let find = |role| {
        let rows = finish.table.iter().filter(move |row| row.role == role);
        rows.max_by(|a, b| value(a).total_cmp(&value(b))).context("the closing table lacks a row")
    };
    let (winner, average, parent) =
        (find(Role::Winner)?, find(Role::UniformAverage)?, find(Role::Parent)?);
    Ok(format!(
        "| {seed} | {} | {} | {} {} | {} | {} | {} |",
        score(winner.validation),
        score(average.validation),
        short(&parent.name),
        score(parent.validation),
        lead(average.gain),
        lead(parent.gain),
        if beats_all(finish) { "yes" } else { "no" },
    ))
}

/// Whether the winner leads every other row with the whole interval.
fn beats_all(finish: &Finish) -> bool {
    let mut others = finish.table.iter().filter(|row| row.role != Role::Winner);
    others.all(|row| row.gain.is_some_and(|gain| gain.low > 0.0))
}

fn score(estimate: Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |Estimate { value, low, high }| {
        format!("{value:.3} [{low:.3}, {high:.3}]")
    })
}

fn lead(estimate: Option<Estimate>) -> String {
    estimate.map_or("-".to_owned(), |Estimate { value, low, high }| {
        format!("{value:+.3} [{low:+.3}, {high:+.3}]")
    })
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

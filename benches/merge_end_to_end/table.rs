//! The table of results, in Markdown.

use std::fmt::Write;

use crate::job::Cost;
use crate::models::Llama;
use crate::recipes::Recipe;
use crate::{Options, process};

/// Most anonymous memory that a merge may take, whatever the models' size.
const MEMORY_TARGET: u64 = 256_000_000;

/// Longest time to the first byte of the output, in seconds.
const STARTUP_TARGET: f64 = 0.050;

/// What the numbers depend on beside the program.
pub(crate) struct Conditions {
    command: String,
    machine: String,
    models: String,
    threads: usize,
    load: String,
    /// Seconds that a tiny merge takes, whole.
    pub startup: f64,
}

impl Conditions {
    pub(crate) fn now(options: &Options, llama: &Llama) -> Self {
        let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let arguments: Vec<String> = arguments.collect();
        let separator = if arguments.is_empty() { "" } else { " -- " };
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find(|line| line.starts_with("model name"));
        let cpu = cpu.and_then(|line| line.split_once(": ")).map_or("unknown CPU", |(_, cpu)| cpu);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            command: format!(
                "cargo bench --bench merge_end_to_end{separator}{}",
                arguments.join(" ")
            ),
            machine: format!("{cpu}, {cores} cores"),
            models: format!(
                "{:.2} billion parameters in bfloat16 ({} layers, hidden size {})",
                llama.parameters() as f64 * 1e-9,
                llama.layers,
                llama.hidden
            ),
            threads: options.threads.unwrap_or(cores),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
            startup: 0.0,
        }
    }
}

/// Results of one method.
pub(crate) struct Row {
    method: &'static str,
    inputs: usize,
    target: Option<f64>,
    limit: Cost,
    merge: Cost,
    /// Time and processor time, as multiples of the limit's.
    ratio: f64,
    processor_ratio: f64,
}

impl Row {
    /// `limits` were measured before the first of `merges` and after each.
    pub(crate) fn new(recipe: &Recipe, limits: &[Cost], merges: &[Cost]) -> Self {
        let ratio = |time: fn(&Cost) -> f64| {
            let around = limits.windows(2).map(|pair| (time(&pair[0]) + time(&pair[1])) / 2.0);
            median(merges.iter().zip(around).map(|(merge, limit)| time(merge) / limit).collect())
        };
        Self {
            method: recipe.method,
            inputs: recipe.inputs(),
            target: recipe.target,
            limit: typical(limits),
            merge: typical(merges),
            ratio: ratio(|cost| cost.last_byte),
            processor_ratio: ratio(processor),
        }
    }

    /// One line for whoever waits.
    pub(crate) fn summary(&self) -> String {
        let Self { method, ratio, processor_ratio, merge, .. } = self;
        format!(
            "{method}: {:.3} s, {ratio:.2} × the limit, {processor_ratio:.2} × its processor time",
            merge.last_byte
        )
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            None => "–",
            Some(target) if self.ratio <= target => "ok",
            Some(_) => "**over**",
        }
    }
}

fn processor(cost: &Cost) -> f64 {
    cost.user + cost.system
}

/// The median of each part.
fn typical(costs: &[Cost]) -> Cost {
    let part = |part: fn(&Cost) -> f64| median(costs.iter().map(part).collect());
    let largest = |part: fn(&Cost) -> u64| costs.iter().map(part).max().unwrap_or(0);
    Cost {
        first_byte: part(|cost| cost.first_byte),
        last_byte: part(|cost| cost.last_byte),
        commit: part(|cost| cost.commit),
        user: part(|cost| cost.user),
        system: part(|cost| cost.system),
        peak_anonymous: largest(|cost| cost.peak_anonymous),
        peak_resident: largest(|cost| cost.peak_resident),
        read: largest(|cost| cost.read),
        written: largest(|cost| cost.written),
    }
}

/// The middle value; of an even number, the mean of the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The whole report.
pub(crate) fn report(conditions: &Conditions, rows: &[Row]) -> String {
    let Conditions { command, machine, models, threads, load, startup } = conditions;
    let free = process::bytes_of("/proc/meminfo", "MemAvailable") >> 20;
    let mut text = format!(
        "`{command}`\n\n{machine}; {threads} threads; load {load} at the start; {free} MiB available. \
         Models of {models}.\n\n"
    );
    text += "| method | models | limit s | time s | × limit | at most | | GB/s | CPU s (user + system) \
             | limit CPU s | × CPU | commit s | first byte ms | RssAnon MB | RSS MB |\n";
    text += "| --- |";
    text += &" ---: |".repeat(14);
    text.push('\n');
    for row in rows {
        let Row { method, inputs, limit, merge, ratio, processor_ratio, .. } = row;
        let target = row.target.map_or("–".to_owned(), |target| format!("{target:.1}"));
        let verdict = row.verdict();
        let rate = (merge.read + merge.written) as f64 * 1e-9 / merge.last_byte;
        let (limit_time, time, commit) = (limit.last_byte, merge.last_byte, merge.commit);
        let (spent, user, system) = (processor(merge), merge.user, merge.system);
        let limit_spent = processor(limit);
        let first = merge.first_byte * 1e3;
        let [anonymous, resident] =
            [merge.peak_anonymous, merge.peak_resident].map(|bytes| bytes as f64 * 1e-6);
        writeln!(
            text,
            "| {method} | {inputs} | {limit_time:.3} | {time:.3} | {ratio:.2} | {target} | {verdict} \
             | {rate:.1} | {spent:.2} ({user:.2} + {system:.2}) | {limit_spent:.2} \
             | {processor_ratio:.2} | {commit:.2} | {first:.0} | {anonymous:.0} | {resident:.0} |"
        )
        .expect("strings take any text");
    }
    let most = rows.iter().map(|row| row.merge.peak_anonymous).max().unwrap_or(0);
    let verdict = |holds| if holds { "ok" } else { "**over**" };
    write!(
        text,
        "\nPeak RssAnon {:.0} MB, at most {:.0}: {}. A whole merge of two tiny layers takes `mergekit \
         merge` {:.0} ms, at most {:.0}: {}.\n",
        most as f64 * 1e-6,
        MEMORY_TARGET as f64 * 1e-6,
        verdict(most <= MEMORY_TARGET),
        startup * 1e3,
        STARTUP_TARGET * 1e3,
        verdict(*startup <= STARTUP_TARGET),
    )
    .expect("strings take any text");
    text
}

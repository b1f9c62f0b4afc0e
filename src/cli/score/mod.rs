//! `mergekit score`: a model on tasks of lm-evaluation-harness.

mod files;
mod notes;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indexmap::IndexSet;
use serde_json::{Value, json};

use super::interrupt::end_on_ctrl_c;
use super::model::{ModelArguments, PreparedModel};
use super::prompting::Prompting;
use super::task_files::TaskFiles;
use super::terminal::print;
use super::{Failure, Talk, Verbosity};
use crate::evaluate::{
    BOOTSTRAP_ITERATIONS, ChatOptions, EvaluatorKinds, Limit, Samples, SelectedTask, TaskOptions,
};
use crate::report::{
    FAILURES_DIRECTORY, ScoredTask, Scores, count, duration_words, scores_json, scores_text,
};
use files::{RESULTS_FILE, check_output, write_output};
use notes::{description, run_config};
use watched::WatchedCandidate;

/// The seeds of the harness for Python, NumPy, PyTorch and the draw of examples.
const DEFAULT_SEEDS: [u64; 4] = [0, 1234, 1234, 1234];

/// Score a model on tasks, as lm-evaluation-harness does
///
/// Task files, prompts, figures and files are those of lm-evaluation-harness 0.4.13; docs/score.md says
/// what agrees to the last digit and what is not done.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit score examples/demo/adder --tasks addition,sorting --include-path evaluators
      tasks by name, from a directory of task files
  mergekit score model --tasks my_task.yaml --limit 100 --output results/my_task
      a task file by its path; the first 100 documents; figures and samples to files
  mergekit score model --tasks a,b --include-path tasks --apply-chat-template --num-fewshot 3
      examples as earlier turns of a conversation
  mergekit score merge.yml --tasks a --include-path tasks --json
      a merge that is only made in memory; figures as JSON

Exit code: 0 when all tasks are scored, 1 when the machine failed, 2 when something that
was given has to be changed, 130 after Ctrl-C.")]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Tasks, groups and tags by name, and task files by path, separated by commas
    #[arg(long, value_name = "NAME,…", required = true, value_delimiter = ',', num_args = 1..)]
    tasks: Vec<String>,

    #[command(flatten)]
    files: TaskFiles,

    /// Score the first N documents of each task only, or below 1 this share of them
    #[arg(short = 'L', long, value_name = "N", value_parser = limit)]
    limit: Option<Limit>,

    #[command(flatten)]
    prompting: Prompting,

    /// Accepted as in the harness; sequences are packed by their tokens, and scores do not depend on it
    #[arg(short, long, value_name = "auto|N", default_value = "auto", alias = "batch_size")]
    #[arg(value_parser = batch_size)]
    batch_size: String,

    /// Seed of drawn answers and of the draw of examples; of four numbers, as the harness takes them, the
    /// third and the fourth
    #[arg(long, value_name = "N", value_delimiter = ',', num_args = 1)]
    seed: Vec<u64>,

    /// How often items are drawn again for errors of metrics that are not means; 0 for no errors
    #[arg(long, value_name = "N", default_value_t = BOOTSTRAP_ITERATIONS, alias = "bootstrap_iters")]
    bootstrap_iters: usize,

    /// Write results.json, and samples_TASK.jsonl for each task, into this directory
    #[arg(short, long, value_name = "DIRECTORY", alias = "output_path")]
    output: Option<PathBuf>,

    /// Replace results that are there
    #[arg(long, requires = "output")]
    overwrite: bool,

    /// Print the contents of results.json in place of the table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the command.
pub(in crate::cli) fn run(
    arguments: &Arguments,
    evaluators: Arc<EvaluatorKinds>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let talk = Talk::new(arguments.verbosity);
    if let Some(output) = &arguments.output {
        check_output(output, arguments.overwrite)?;
    }
    let library = arguments.files.library(&arguments.tasks, Vec::new())?.with_kinds(evaluators);
    let model = arguments.model.prepare(talk)?;
    let options = arguments.task_options(&model, talk)?;
    let names: Vec<&str> = arguments.tasks.iter().map(|name| name.trim()).collect();
    let selection = library.select(&names)?;
    let notes: IndexSet<String> = selection.tasks.iter().flat_map(SelectedTask::notes).collect();
    for note in notes {
        talk.say(&format_args!("note: {note}"));
    }
    let load = |task: &SelectedTask| task.load(&model.tokenizer, &options);
    let tasks = selection.tasks.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    for warning in tasks.iter().flat_map(|task| task.warnings()) {
        talk.warn(warning, None);
    }
    let described = description(arguments, &model, &options);
    let candidate = model.candidate();
    let watched = WatchedCandidate::new(&model, &candidate, talk);
    tasks.iter().try_for_each(|task| task.check(&watched))?;

    end_on_ctrl_c();
    let bar = talk.count_progress(tasks.len());
    let mut scored = Vec::with_capacity(tasks.len());
    for task in tasks {
        let n_items = count(task.n_items(), "item");
        bar.set_message(format!("{}: {n_items}", task.name()));
        let since = Instant::now();
        let items: Vec<usize> = (0..task.n_items()).collect();
        let scores = model.threads.install(|| task.evaluate(&watched, &items));
        let scores = scores.inspect_err(|_| bar.finish_and_clear())?;
        let (requests, cut_requests) = watched.take_counts();
        let seconds = since.elapsed().as_secs_f64();
        bar.suspend(|| {
            let asked = count(requests, "request");
            talk.detail(&format_args!("{}: {n_items}, {asked} in {seconds:.2} s", task.name()));
        });
        bar.inc(1);
        scored.push(ScoredTask { task, scores, requests, cut_requests });
    }
    bar.finish_and_clear();

    let scores = Scores::new(selection, scored, arguments.bootstrap_iters);
    let samples: Vec<(String, Samples)> = match arguments.output {
        Some(_) => scores
            .tasks
            .iter()
            .map(|task| (task.task.name().to_owned(), Samples::new(&*task.task, &task.scores)))
            .collect(),
        None => Vec::new(),
    };
    let mut results = scores_json(&scores);
    results.insert("config".to_owned(), run_config(arguments, model.parameters()));
    results.insert("date".to_owned(), json!(date.as_secs_f64()));
    results.insert("mergekit_version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    results.insert("max_length".to_owned(), json!(watched.max_length()));
    results.extend(described);
    let hashes = samples.iter().map(|(name, samples)| (name.clone(), json!(samples.digest)));
    results.insert("task_hashes".to_owned(), Value::Object(hashes.collect()));
    let seconds = started.elapsed().as_secs_f64().to_string();
    results.insert("total_evaluation_time_seconds".to_owned(), json!(seconds));
    let results = format!("{:#}\n", Value::Object(results));

    if let Some(output) = &arguments.output {
        write_output(output, arguments.overwrite, &results, &samples)?;
        talk.say(&format_args!("wrote `{}`", output.join(RESULTS_FILE).display()));
    }
    for task in scores.tasks.iter().filter(|task| task.cut_requests > 0) {
        let (name, cut, all) = (task.task.name(), task.cut_requests, task.requests);
        let text = format_args!(
            "task `{name}`: {cut} of {all} prompts are longer than the context of {} tokens and lost \
             their beginning, as in the harness",
            watched.max_length().unwrap_or_default()
        );
        talk.warn(&text, None);
    }
    if arguments.json {
        return print(&results);
    }
    print(&scores_text(&scores))?;
    let took = duration_words(started.elapsed());
    talk.say(&format_args!("scored `{}` in {took}", arguments.model.model.display()));
    Ok(())
}

impl Arguments {
    fn task_options(&self, model: &PreparedModel, talk: Talk) -> Result<TaskOptions, Failure> {
        let chat = match self.prompting.apply_chat_template {
            false => None,
            true => {
                let template = Arc::new(model.chat_template()?);
                if template.depends_on_date() {
                    let text = "the chat template tells the model today's date (that of UTC), so \
                                scores change from day to day";
                    talk.warn(&text, None);
                }
                Some(ChatOptions { template, multiturn: self.prompting.fewshot_as_multiturn })
            }
        };
        Ok(TaskOptions {
            limit: self.limit,
            num_fewshot: self.prompting.num_fewshot,
            fewshot_seed: self.seeds()?[3],
            sampling_seed: self.seeds()?[2],
            system_instruction: self.prompting.system_instruction.clone(),
            chat,
            records: self.output.is_some(),
            failures: self.output.as_ref().map(|output| output.join(FAILURES_DIRECTORY)),
        })
    }

    /// For Python, NumPy, PyTorch and the draw of examples.
    fn seeds(&self) -> Result<[u64; 4], Failure> {
        match *self.seed.as_slice() {
            [] => Ok(DEFAULT_SEEDS),
            [seed] => Ok([seed; 4]),
            [python, numpy, torch, fewshot] => Ok([python, numpy, torch, fewshot]),
            _ => Err(Failure::refused(
                format!("`--seed` has {} numbers", self.seed.len()),
                "give one number, or four: for Python, NumPy, PyTorch and the draw of examples",
            )),
        }
    }
}

/// Reads `--limit`.
fn limit(text: &str) -> Result<Limit, String> {
    let number: Option<f64> = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    match number {
        Some(share) if share > 0.0 && share < 1.0 => Ok(Limit::Share(share)),
        Some(items) if items >= 1.0 && items.fract() == 0.0 => Ok(Limit::Items(items as usize)),
        _ => Err("write a whole number, 1 or more, or a share between 0 and 1".to_owned()),
    }
}

/// Reads `--batch-size`.
fn batch_size(text: &str) -> Result<String, String> {
    let number = text.split(':').next().unwrap_or_default();
    match number == "auto" || text.parse::<usize>().is_ok_and(|size| size > 0) {
        true => Ok(text.to_owned()),
        false => Err("write `auto`, or a whole number, 1 or more".to_owned()),
    }
}

//! `mergekit evolve`, also `mergekit-evolve`: one search file, one directory with the best merge.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::hub::hub;
use super::interrupt::on_ctrl_c;
use super::search_progress::SearchProgress;
use super::terminal::print;
use super::{Failure, Talk, Verbosity, memory_limit, thread_count, useful_threads};
use crate::evaluate::EvaluatorKinds;
use crate::files::write_atomically;
use crate::report::{
    BEST_CONFIG_FILE, BEST_MODEL_DIRECTORY, FAILURES_DIRECTORY, HISTORY_FILE, PLOT_FILE,
    closing_text, count, write_history, write_outputs,
};
use crate::search::{
    Event, Header, Interrupt, PrepareOptions, PreparedSearch, Reference, Results, Run,
    SEARCH_FILE_COPY, SearchError,
};
use crate::space::SearchFile;

/// Between two updates of table and plot while the search runs.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Search for the best merge as a search file says
///
/// Every candidate is merged in memory and scored on the search items of the file's tasks. A search
/// that was stopped, by whatever means, is continued by the same command: nothing is scored twice,
/// and the result is that of a search that was never stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit-evolve search-spaces/demo.yml
      search; results go to the directory that the file names
  mergekit-evolve search-spaces/demo.yml --seed 1 --output results/demo-1
      the same search with other random numbers, in a directory of its own
  mergekit-evolve my-search.yml --evaluations 20 --task-search-path my-tasks
      a short look, with tasks of your own
  mergekit merge results/demo/best_config.yaml merged
      make the winner again

Ctrl-C finishes the running evaluations and stops; a second one stops at once.

Exit code: 0 when the search is done, 1 when the machine failed, 2 when something that
was given has to be changed, 130 after Ctrl-C.")]
pub(super) struct Arguments {
    /// The search file, in YAML; mergekit-evolve's own files work, too
    search: PathBuf,

    /// Directory for the results, instead of the file's `output`
    #[arg(short, long, value_name = "DIRECTORY", alias = "storage-path")]
    output: Option<PathBuf>,

    /// Seed of the optimizer, instead of the file's `optimizer.seed`
    #[arg(long, value_name = "N", alias = "random-seed")]
    seed: Option<u64>,

    /// Number of candidates, instead of the file's `budget.evaluations`
    #[arg(long, value_name = "N", alias = "max-fevals")]
    evaluations: Option<NonZeroU64>,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    #[arg(value_parser = thread_count)]
    threads: Option<NonZeroUsize>,

    /// Most bytes of memory for merges, with k, m or b for 10^3, 10^6 or 10^9; half of what is free
    /// if not given
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<u64>,

    /// One more directory with task files; may be repeated
    #[arg(long, value_name = "DIRECTORY")]
    task_search_path: Vec<PathBuf>,

    /// Search on public benchmarks although nobody can judge the result by them any more
    #[arg(long, alias = "i-understand-the-depths-of-the-evils-i-am-unleashing")]
    allow_benchmark_tasks: bool,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, evaluators: Arc<EvaluatorKinds>) -> Result<(), Failure> {
    let talk = Talk::new(arguments.verbosity);
    let mut file = SearchFile::read(&arguments.search)?;
    for warning in &file.warnings {
        talk.warn(warning, warning.hint());
    }
    if file.evaluation.batch_size.is_some() {
        let text = "`batch_size` has no effect: prompts are batched by the model's size";
        talk.warn(&text, Some("write `batch_size: auto`, or leave it out".to_owned()));
    }
    file.optimizer.seed = arguments.seed.unwrap_or(file.optimizer.seed);
    file.budget.evaluations =
        arguments.evaluations.map_or(file.budget.evaluations, NonZeroU64::get);
    let directory = arguments.output.clone().unwrap_or_else(|| file.output.clone());

    let options = PrepareOptions { evaluators, ..prepare_options(arguments, &directory, talk)? };
    if let Some(results) = finished(&file, &directory)? {
        talk.say(&format_args!("`{}` holds this search, finished:\n", directory.display()));
        write_outputs(&results, &directory, true, |config, model| {
            talk.detail(&"the best model is missing: writing it again");
            let search = PreparedSearch::new(&file, &options)?;
            // Checks that the models are still those of the search, and keeps other writers out.
            let _open = search.open(&directory)?;
            search.write_model(config, model)
        })?;
        return tell_results(&results, &directory, &talk);
    }
    let mut search = PreparedSearch::new(&file, &options)?;
    for warning in search.warnings() {
        talk.warn(&warning, None);
    }
    let mut open = search.open(&directory)?;
    announce(&search, open.results(), &talk);

    let interrupt = Arc::new(Interrupt::default());
    let mut progress =
        SearchProgress::new(talk, &file.budget, search.n_comparisons(), open.results());
    let (stop, notice) = (Arc::clone(&interrupt), progress.notice());
    on_ctrl_c(move || {
        stop.request();
        notice("stopping when the running evaluations are done; Ctrl-C stops at once");
    });
    let mut outputs = RunningOutputs::new(&directory, open.results().header.clone());
    let run = search.run(&mut open, &interrupt, &mut |event| {
        progress.show(&event);
        outputs.follow(&event);
    });
    progress.close();
    match run? {
        Run::Interrupted(results) => {
            write_history(&results, &directory)?;
            let (done, all) = (results.history.len(), count(file.budget.evaluations, "evaluation"));
            Err(Failure::interrupted(
                format!("stopped after {done} of {all}, all of which are kept"),
                "the same command goes on from here".to_owned(),
            ))
        }
        Run::Complete(closing) => {
            talk.detail(&"writing the best model");
            write_outputs(&closing.results, &directory, false, |config, model| {
                search.write_model(config, model)
            })?;
            let results = open.finish(closing)?;
            tell_results(&results, &directory, &talk)
        }
    }
}

fn prepare_options(
    arguments: &Arguments,
    directory: &Path,
    talk: Talk,
) -> Result<PrepareOptions, Failure> {
    Ok(PrepareOptions {
        threads: arguments.threads.map(|threads| useful_threads(threads, talk)),
        memory_limit: arguments.memory_limit,
        task_path: arguments.task_search_path.clone(),
        allow_benchmark_tasks: arguments.allow_benchmark_tasks,
        failures: Some(directory.join(FAILURES_DIRECTORY)),
        // Ctrl-C ends a download at once: what has arrived is kept.
        hub: Some(hub(None, talk, Arc::default())?),
        ..PrepareOptions::default()
    })
}

/// The results in `directory` when this very search has been finished there before.
fn finished(file: &SearchFile, directory: &Path) -> Result<Option<Results>, SearchError> {
    let Some(results) = Results::read(directory)? else { return Ok(None) };
    if results.finish.is_none() {
        return Ok(None);
    }
    let (seed, evaluations) = (file.optimizer.seed, file.budget.evaluations);
    results.check(directory, &file.text, seed, evaluations)?;
    Ok(Some(results))
}

/// Says what is about to happen.
fn announce(search: &PreparedSearch, results: &Results, talk: &Talk) {
    let header = search.header();
    let tasks: Vec<_> = header.split.tasks.iter().collect();
    let items: usize = tasks.iter().map(|(_, task)| task.search).sum();
    talk.say(&format_args!(
        "searching over {} of {}, on {} of {}",
        count(header.variables.len(), "variable"),
        count(header.models.len(), "model"),
        count(items, "search item"),
        count(tasks.len(), "task"),
    ));
    for (name, task) in tasks {
        let search = count(task.search, "search item");
        let validation = count(task.validation, "validation item");
        talk.detail(&format_args!("{name}: {search}, {validation}"));
    }
    let workers = count(search.workers(), "candidate");
    talk.detail(&format_args!("up to {workers} at the same time"));
    if results.references.is_empty() {
        let models = count(search.n_comparisons(), "model");
        talk.say(&format_args!("scoring {models} to compare the winner with"));
    }
    if !results.history.is_empty() {
        let kept = results.history.len();
        talk.say(&format_args!("continuing: the journal holds {}", count(kept, "evaluation")));
    }
}

/// The files that keep up with a running search. They are made from what the journal holds already,
/// so trouble with them waits until the end, where they are written once more.
struct RunningOutputs<'a> {
    directory: &'a Path,
    header: Header,
    references: Vec<Reference>,
    written: Option<Instant>,
}

impl<'a> RunningOutputs<'a> {
    fn new(directory: &'a Path, header: Header) -> Self {
        Self { directory, header, references: Vec::new(), written: None }
    }

    fn follow(&mut self, event: &Event<'_>) {
        match event {
            Event::Reference(reference) => self.references.push((*reference).clone()),
            Event::Best { config, .. } => {
                let _ = write_atomically(&self.directory.join(BEST_CONFIG_FILE), config.as_bytes());
            }
            Event::Generation { history, .. } if self.is_due() => {
                let (header, references) = (self.header.clone(), self.references.clone());
                let results = Results::new(header, references, history.to_vec(), None);
                let _ = write_history(&results, self.directory);
                self.written = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= REPORT_INTERVAL)
    }
}

/// Prints the closing table, and where the rest is.
fn tell_results(results: &Results, directory: &Path, talk: &Talk) -> Result<(), Failure> {
    print(&closing_text(results))?;
    let directory = directory.display();
    talk.say(&format_args!(
        "\nThe model is in `{directory}/{BEST_MODEL_DIRECTORY}`, its merge config in \
         `{directory}/{BEST_CONFIG_FILE}`, all evaluations in `{directory}/{HISTORY_FILE}`, the plot \
         in `{directory}/{PLOT_FILE}`, the search file in `{directory}/{SEARCH_FILE_COPY}`."
    ));
    Ok(())
}

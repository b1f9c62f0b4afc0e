//! `mergekit evolve`, also `mergekit-evolve`: one search file, one directory with the best merge.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::search_progress::SearchProgress;
use super::{Failure, Talk, Verbosity, memory_limit};
use crate::report::{closing_text, convergence_svg, history_csv};
use crate::search::{
    Event, Header, Interrupt, PrepareOptions, PreparedSearch, Reference, Results, Run,
    SEARCH_FILE_COPY, SearchError, write_atomically,
};
use crate::space::SearchFile;

/// The winner's merge config.
const BEST_CONFIG_FILE: &str = "best_config.yaml";
/// The winner itself.
const BEST_MODEL_DIRECTORY: &str = "best_model";
/// One row for each evaluation.
const HISTORY_FILE: &str = "history.csv";
/// The convergence plot.
const PLOT_FILE: &str = "convergence.svg";
/// The closing table.
const SUMMARY_FILE: &str = "summary.txt";

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
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
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

    if let Some(results) = finished(&file, &directory)? {
        talk.say(&format_args!("`{}` holds this search, finished:\n", directory.display()));
        return tell_results(&results, &directory, &talk);
    }
    let mut search = PreparedSearch::new(&file, &prepare_options(arguments))?;
    for warning in search.warnings() {
        talk.warn(&warning, None);
    }
    let mut open = search.open(&directory)?;
    announce(&search, open.results(), &talk);

    let interrupt = Arc::new(Interrupt::default());
    stop_on_ctrl_c(Arc::clone(&interrupt));
    let before = Duration::from_secs_f64(open.results().elapsed_seconds());
    let mut progress = SearchProgress::new(talk, &file.budget, search.n_comparisons(), before);
    let mut outputs = RunningOutputs::new(&directory, open.results().header.clone());
    let run = search.run(&mut open, &interrupt, &mut |event| {
        progress.show(&event);
        outputs.follow(&event);
    });
    progress.close();
    match run? {
        Run::Interrupted(results) => {
            write_report(&results, &directory)?;
            let (done, all) = (results.history.len(), file.budget.evaluations);
            Err(Failure::interrupted(
                format!("stopped after {done} of {all} evaluations, all of which are kept"),
                "the same command goes on from here".to_owned(),
            ))
        }
        Run::Complete(closing) => {
            talk.detail(&"writing the best model");
            let config = closing.config.as_bytes();
            write_atomically(&directory.join(BEST_CONFIG_FILE), config)?;
            search.write_model(&closing.config, &directory.join(BEST_MODEL_DIRECTORY))?;
            write_report(&closing.results, &directory)?;
            let text = closing_text(&closing.results);
            write_atomically(&directory.join(SUMMARY_FILE), text.as_bytes())?;
            let results = open.finish(closing)?;
            tell_results(&results, &directory, &talk)
        }
    }
}

fn prepare_options(arguments: &Arguments) -> PrepareOptions {
    PrepareOptions {
        threads: arguments.threads,
        memory_limit: arguments.memory_limit,
        task_path: arguments.task_search_path.clone(),
        allow_benchmark_tasks: arguments.allow_benchmark_tasks,
    }
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
        "searching over {} of {}, on {items} search items of {}",
        count(header.variables.len(), "variable"),
        count(header.models.len(), "model"),
        count(tasks.len(), "task"),
    ));
    for (name, task) in tasks {
        let (search, validation) = (task.search, task.validation);
        talk.detail(&format_args!("{name}: {search} search items, {validation} validation items"));
    }
    talk.detail(&format_args!("up to {} candidates at the same time", search.workers()));
    if results.references.is_empty() {
        let models = search.n_comparisons();
        talk.say(&format_args!("scoring {models} models to compare the winner with"));
    }
    if !results.history.is_empty() {
        let kept = results.history.len();
        talk.say(&format_args!("continuing: the journal holds {}", count(kept, "evaluation")));
    }
}

/// A number of things.
fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
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
                let _ = write_report(&results, self.directory);
                self.written = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= REPORT_INTERVAL)
    }
}

/// Writes the table and the plot of the history.
fn write_report(results: &Results, directory: &Path) -> Result<(), Failure> {
    write_atomically(&directory.join(HISTORY_FILE), history_csv(results).as_bytes())?;
    let plot = convergence_svg(results).map_err(|error| Failure::new(&error, None, false))?;
    Ok(write_atomically(&directory.join(PLOT_FILE), plot.as_bytes())?)
}

/// Prints the closing table, and where the rest is.
fn tell_results(results: &Results, directory: &Path, talk: &Talk) -> Result<(), Failure> {
    if talk.is_quiet() {
        return Ok(());
    }
    print!("{}", closing_text(results));
    let directory = directory.display();
    talk.say(&format_args!(
        "\nThe model is in `{directory}/{BEST_MODEL_DIRECTORY}`, its merge config in \
         `{directory}/{BEST_CONFIG_FILE}`, all evaluations in `{directory}/{HISTORY_FILE}`, the plot \
         in `{directory}/{PLOT_FILE}`, the search file in `{directory}/{SEARCH_FILE_COPY}`."
    ));
    Ok(())
}

/// The first Ctrl-C asks to stop, the second ends the process.
fn stop_on_ctrl_c(interrupt: Arc<Interrupt>) {
    let handler = move || {
        if interrupt.request() {
            eprintln!("\nstopping when the running evaluations are done; Ctrl-C stops at once");
        } else {
            std::process::exit(super::INTERRUPTED.into());
        }
    };
    // Where the signal cannot be taken over, Ctrl-C ends the process at once, as it always did. The
    // journal survives that, too.
    let _ = ctrlc::set_handler(handler);
}

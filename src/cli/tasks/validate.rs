//! `mergekit tasks validate`: everything that is wrong with task files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;

use crate::cli::task_files::TaskFiles;
use crate::cli::terminal::print;
use crate::cli::{Failure, Talk, Verbosity};
use crate::evaluate::{EvaluatorKinds, TaskLibrary, ValidationOptions};
use crate::report::{count, validation_json, validation_text};

/// How long a check may take before its progress is shown.
const SOON: Duration = Duration::from_secs(1);

/// Find everything that is wrong with task files, before a search starts
///
/// Reads files as they are read for scoring, and goes on after each mistake. Mistakes are separated into
/// files that are broken, functions in Python that would have to be run, and what is not supported.
/// docs/tasks.md says how many tasks of lm-evaluation-harness can be used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit tasks validate
      all files in `evaluators`
  mergekit tasks validate my_tasks other/task.yaml
      all files in a directory, and one more
  mergekit tasks validate mmlu gsm8k --include-path lm_eval/tasks --data
      a group with all that is in it, and a task; with their data and every prompt
  mergekit tasks validate my_tasks --json | jq -r '.problems[].message'
      for programs

Exit code: 0 when all files can be used, 1 when one cannot, 2 when something that was given
has to be changed.")]
pub(in crate::cli) struct Arguments {
    /// Tasks, groups, tags and patterns by name, files and directories by path; all files that are found
    /// if not given
    #[arg(value_name = "WHAT")]
    wanted: Vec<String>,

    #[command(flatten)]
    files: TaskFiles,

    /// Read the data too, and make every prompt
    #[arg(long)]
    data: bool,

    /// Print everything as JSON
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
    let talk = Talk::new(arguments.verbosity);
    let library = arguments.library()?.with_kinds(evaluators);
    let files = library.files_of(&arguments.wanted)?;
    let options = ValidationOptions { data: arguments.data };
    let progress = LateProgress::new(talk, files.len());
    let checked = library.validate(&files, &options, &|| progress.advance());
    progress.finish();
    print(&match arguments.json {
        true => format!("{:#}\n", validation_json(&checked)),
        false => validation_text(&checked, arguments.data),
    })?;
    match checked.iter().filter(|file| !file.can_be_used()).count() {
        0 => Ok(()),
        faulty => {
            let of = count(checked.len(), "file");
            Err(Failure::found(format!("{faulty} of {of} cannot be used")))
        }
    }
}

impl Arguments {
    /// The task files there are, with those in directories that are given.
    fn library(&self) -> Result<TaskLibrary, Failure> {
        let paths = self.wanted.iter().map(PathBuf::from);
        self.files.library(&self.wanted, paths.filter(|path| path.is_dir()).collect())
    }
}

/// A progress bar that appears when it has taken a while.
struct LateProgress {
    talk: Talk,
    started: Instant,
    total: usize,
    done: AtomicU64,
    bar: OnceLock<ProgressBar>,
}

impl LateProgress {
    fn new(talk: Talk, total: usize) -> Self {
        let (done, bar) = (AtomicU64::new(0), OnceLock::new());
        Self { talk, started: Instant::now(), total, done, bar }
    }

    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.started.elapsed() > SOON {
            self.bar.get_or_init(|| self.talk.count_progress(self.total)).set_position(done);
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

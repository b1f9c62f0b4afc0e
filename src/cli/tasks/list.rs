//! `mergekit tasks list`: which tasks, groups and tags there are.

use clap::{Args, ValueEnum};

use crate::cli::Failure;
use crate::cli::task_files::TaskFiles;
use crate::cli::terminal::print;
use crate::evaluate::EntryKind;
use crate::report::{task_list_json, task_list_text};

/// List the tasks, groups and tags that are found
///
/// Only task files are read, with what they include, no data.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit tasks list
      all in `evaluators`
  mergekit tasks list 'arc_*' 'mmlu*' --include-path lm_eval/tasks
      those with such names
  mergekit tasks list --kind group --include-path lm_eval/tasks
      groups only
  mergekit tasks list --json | jq -r '.[] | select(.asks == \"multiple_choice\") | .name'
      for programs")]
pub(in crate::cli) struct Arguments {
    /// Names, or patterns with * and ?; all if not given
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    #[command(flatten)]
    files: TaskFiles,

    /// List only what is of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// What names can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Task,
    Group,
    Tag,
    /// A task that is a class in Python
    Class,
}

impl Kind {
    fn of(kind: EntryKind) -> Kind {
        match kind {
            EntryKind::Task => Kind::Task,
            EntryKind::Group => Kind::Group,
            EntryKind::Tag => Kind::Tag,
            EntryKind::Class => Kind::Class,
        }
    }
}

/// Runs the command.
pub(in crate::cli) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let library = arguments.files.library(&arguments.patterns, Vec::new())?;
    let mut entries = library.entries_like(&arguments.patterns)?;
    if !arguments.kind.is_empty() {
        entries.retain(|_, entry| arguments.kind.contains(&Kind::of(entry.kind)));
    }
    print(&match arguments.json {
        true => format!("{:#}\n", task_list_json(&entries)),
        false => task_list_text(&entries),
    })
}

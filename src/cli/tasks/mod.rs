//! `mergekit tasks`: which tasks there are, how they ask, and what is wrong with them.

mod list;
mod show;
mod validate;

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::Failure;
use crate::evaluate::EvaluatorKinds;

/// See which tasks there are, how they ask, and what is wrong with their files
///
/// Tasks are those of lm-evaluation-harness, from its own files, and evaluators; docs/tasks.md explains.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  mergekit tasks list 'mmlu*' --include-path lm_eval/tasks
      tasks, groups and tags whose name begins so
  mergekit tasks show addition --item 3
      what a task asks for its item 3, with every space visible
  mergekit tasks validate my_tasks
      everything that is wrong with the files in a directory")]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Show(show::Arguments),
    Validate(validate::Arguments),
}

/// Runs the command.
pub(in crate::cli) fn run(
    arguments: &Arguments,
    evaluators: Arc<EvaluatorKinds>,
) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Show(arguments) => show::run(arguments, evaluators),
        Command::Validate(arguments) => validate::run(arguments, evaluators),
    }
}

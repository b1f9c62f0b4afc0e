//! The command line: one file per subcommand, with its arguments and its `run`.
//!
//! What a program is asked for goes to standard output, everything else to standard error. Exit
//! codes: 0 when all went well, 1 when the machine failed or a check found something, 2 when something
//! that was given has to be changed, 130 after Ctrl-C.

mod architectures;
mod compatibility;
mod diff;
mod evolve;
mod failure;
mod generate;
mod hub;
mod inspect;
mod interrupt;
mod merge;
mod model;
mod options;
mod plan;
mod prompting;
mod score;
mod search_progress;
mod statistics;
mod task_files;
mod tasks;
mod terminal;
mod tokensurgeon;
mod warnings;

use std::env::args_os;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

pub use failure::Failure;
pub use interrupt::cancelled_by_ctrl_c;
pub use terminal::{Talk, Verbosity};

use crate::evaluate::EvaluatorKinds;
use crate::panics;
use failure::INTERRUPTED;
use options::{memory_limit, thread_count, useful_threads};

/// Merge language models, and search for the best merge.
#[derive(Debug, Parser)]
#[command(name = "mergekit", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  mergekit merge configs/ties.yml merged
      merge models as a config says
  mergekit plan configs/ties.yml
      see before what would be merged
  mergekit evolve search-spaces/demo.yml
      search for the best merge; the same as mergekit-evolve
  mergekit diff one another --base base
      how two models differ, layer by layer, to choose weights by
  mergekit score merged --tasks addition --include-path evaluators
      how well a model does on tasks of lm-evaluation-harness
  mergekit tasks show addition
      what a task asks, and how
  mergekit generate merged --prompt 'Once upon a time'
      what it writes
  mergekit merge --help
      all options of a command, with more examples")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Merge(merge::Arguments),
    Plan(plan::Arguments),
    Evolve(evolve::Arguments),
    Inspect(inspect::Arguments),
    Diff(diff::Arguments),
    Score(Box<score::Arguments>),
    Tasks(Box<tasks::Arguments>),
    Generate(Box<generate::Arguments>),
    Architectures(architectures::Arguments),
    Tokensurgeon(Box<tokensurgeon::Arguments>),
}

// `mergekit evolve` under the name that it has in mergekit. No doc comment: clap would show it.
#[derive(Debug, Parser)]
#[command(name = "mergekit-evolve", version, arg_required_else_help = true)]
struct EvolveArguments {
    #[command(flatten)]
    arguments: evolve::Arguments,
}

// `mergekit merge` under the name that it has in mergekit.
#[derive(Debug, Parser)]
#[command(name = "mergekit-yaml", version, arg_required_else_help = true)]
#[command(after_help = "\
Every flag of mergekit is accepted; those that ask for nothing here are not listed above. The page
docs/flags.md of the project has the table of all flags and says what each does here.

Examples:
  mergekit-yaml configs/ties.yml merged
      write the model to `merged`, which must not exist yet, or be empty
  mergekit-yaml merge.yml merged --overwrite --out-shard-size 2b
      replace `merged`, in files of at most 2 GB")]
struct YamlArguments {
    #[command(flatten)]
    arguments: merge::Arguments,
}

/// The program `mergekit`.
pub fn main() -> ExitCode {
    main_with(EvaluatorKinds::default())
}

/// The program `mergekit`, with these kinds of evaluators for task files to ask for.
pub fn main_with(evaluators: EvaluatorKinds) -> ExitCode {
    panics::silence_caught();
    let evaluators = Arc::new(evaluators);
    let Arguments { command } = Arguments::parse_from(tokensurgeon::spelled_out(args_os()));
    exit(match command {
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Evolve(arguments) => evolve::run(&arguments, evaluators),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Score(arguments) => score::run(&arguments, evaluators),
        Command::Tasks(arguments) => tasks::run(&arguments, evaluators),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Architectures(arguments) => architectures::run(&arguments),
        Command::Tokensurgeon(arguments) => tokensurgeon::run(&arguments),
    })
}

/// The program `mergekit-evolve`.
pub fn evolve_main() -> ExitCode {
    panics::silence_caught();
    exit(evolve::run(&EvolveArguments::parse().arguments, Arc::default()))
}

/// The program `mergekit-yaml`.
pub fn yaml_main() -> ExitCode {
    exit(merge::run(&YamlArguments::parse().arguments))
}

/// Prints what went wrong, if anything did, and gives the exit code for it.
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
        EvolveArguments::command().debug_assert();
        YamlArguments::command().debug_assert();
    }

    #[test]
    fn help_of_mergekit_yaml_says_where_the_flags_are() {
        let help = YamlArguments::command().render_help().to_string();
        assert!(help.contains("docs/flags.md"), "{help}");
        assert!(help.contains("224m"), "{help}");
    }

    #[test]
    fn no_threads_are_refused_with_what_to_write() {
        let of = |arguments: &[&str]| Arguments::try_parse_from(arguments).unwrap_err().to_string();
        for command in [
            &["mergekit", "merge", "a", "b", "--threads", "0"][..],
            &["mergekit", "inspect", "a", "--threads", "0"],
            &["mergekit", "evolve", "a", "--threads", "0"],
            &["mergekit", "tokensurgeon", "a", "b", "c", "--threads", "0"],
        ] {
            let error = of(command);
            assert!(error.contains("write 1 or more, or leave it out for all cores"), "{error}");
        }
    }
}

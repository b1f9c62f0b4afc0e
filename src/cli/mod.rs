//! The command line: one file per subcommand, with its arguments and its `run`.
//!
//! What a program is asked for goes to standard output, everything else to standard error. Exit
//! codes: 0 when all went well, 1 when the machine failed, 2 when something that was given has to be
//! changed, 130 after Ctrl-C.

mod failure;
mod interrupt;
mod merge;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;
pub use interrupt::cancelled_by_ctrl_c;
pub use terminal::{Talk, Verbosity};

/// Merge language models, and search for the best merge.
#[derive(Debug, Parser)]
#[command(name = "mergekit", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Merge(merge::Arguments),
}

/// The program `mergekit`.
pub fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    exit(match command {
        Command::Merge(arguments) => merge::run(&arguments),
    })
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
    }
}

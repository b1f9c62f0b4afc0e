//! What a command says on standard error while it works.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::{ArgAction, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much to say.
#[derive(Debug, Clone, Copy, Args)]
pub struct Verbosity {
    /// Say more about what is done; twice for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Show no progress and no closing line, only warnings and errors
    #[arg(long, overrides_with = "no_quiet")]
    pub quiet: bool,

    #[arg(long, hide = true)]
    no_quiet: bool,
}

/// Says things on standard error, as far as they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    verbosity: Verbosity,
}

impl Talk {
    /// Says as much as `verbosity` asks for.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity }
    }

    /// Whether only warnings and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.verbosity.quiet
    }

    /// Says that something may not be as meant. Always shown.
    pub fn warn(&self, text: &dyn std::fmt::Display, hint: Option<String>) {
        eprintln!("warning: {text}");
        if let Some(hint) = hint {
            eprintln!("  hint: {hint}");
        }
    }

    /// Says what has been done, unless `--quiet`.
    pub fn say(&self, text: &dyn std::fmt::Display) {
        if !self.verbosity.quiet {
            eprintln!("{text}");
        }
    }

    /// Says a detail that only `--verbose` asks for.
    pub fn detail(&self, text: &dyn std::fmt::Display) {
        if self.verbosity.verbose > 0 {
            eprintln!("{text}");
        }
    }

    /// Says a detail that only `-vv` asks for.
    pub fn fine_detail(&self, text: &dyn std::fmt::Display) {
        if self.verbosity.verbose > 1 {
            eprintln!("{text}");
        }
    }

    /// A progress bar over bytes; invisible with `--quiet` and where there is no terminal.
    pub fn byte_progress(&self, bytes: u64) -> ProgressBar {
        let target = match self.verbosity.quiet || !stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(10),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let template = "merging {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

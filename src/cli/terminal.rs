//! What a command says on standard error while it works, and how it prints its results.
//!
//! Nothing here panics when the reader of a pipe goes away, as `head` does.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::time::Duration;

use clap::{ArgAction, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Failure;

/// How much to say.
#[derive(Debug, Clone, Copy, Args)]
pub struct Verbosity {
    /// Say more about what is done; merge, plan and evolve say still more with -vv
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// On standard error, show only warnings and errors: no progress, no closing line
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
    pub fn warn(&self, text: &dyn Display, hint: Option<String>) {
        error_line(format_args!("warning: {text}"));
        if let Some(hint) = hint {
            error_line(format_args!("  hint: {hint}"));
        }
    }

    /// Says what has been done, unless `--quiet`.
    pub fn say(&self, text: &dyn Display) {
        if !self.verbosity.quiet {
            error_line(text);
        }
    }

    /// Says a detail that only `--verbose` asks for.
    pub fn detail(&self, text: &dyn Display) {
        if self.verbosity.verbose > 0 {
            error_line(text);
        }
    }

    /// Says a detail that only `-vv` asks for.
    pub fn fine_detail(&self, text: &dyn Display) {
        if self.verbosity.verbose > 1 {
            error_line(text);
        }
    }

    /// A progress bar over bytes; invisible with `--quiet` and where there is no terminal.
    pub fn byte_progress(&self, bytes: u64) -> ProgressBar {
        self.byte_progress_of("merging", bytes)
    }

    /// The same for bytes that are read only.
    pub fn read_progress(&self, bytes: u64) -> ProgressBar {
        self.byte_progress_of("reading", bytes)
    }

    /// The same for bytes that are downloaded.
    pub fn fetch_progress(&self, bytes: u64) -> ProgressBar {
        self.byte_progress_of("fetching", bytes)
    }

    /// Something that turns while work of unknown length goes on; invisible as the bars are.
    pub fn spinner(&self, doing: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, self.target());
        let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// A progress bar over so many things; its message says which one is at work.
    pub fn count_progress(&self, things: usize) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(things as u64), self.target());
        let style = ProgressStyle::with_template("{spinner} {bar:16} {pos}/{len}  {wide_msg}");
        bar.set_style(style.expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn target(&self) -> ProgressDrawTarget {
        match self.verbosity.quiet || !stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(10),
        }
    }

    fn byte_progress_of(&self, verb: &str, bytes: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(bytes), self.target());
        let rest =
            "{bar:16} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
        let template = format!("{verb} {rest}");
        bar.set_style(ProgressStyle::with_template(&template).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Writes a line to standard error. Where that is closed nobody wants to hear, and the work goes on.
pub(super) fn error_line(text: impl Display) {
    let _ = writeln!(stderr().lock(), "{text}");
}

/// Prints what the command was asked for to standard output. A reader that left has read enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::standard_output(error)),
        _ => Ok(()),
    }
}

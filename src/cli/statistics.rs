//! What `mergekit inspect` and `mergekit diff` have in common: reading models, and where results go.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::hub::{hub, locate_whole};
use super::options::thread_count;
use super::terminal::print;
use super::{Failure, Talk, Verbosity, cancelled_by_ctrl_c};
use crate::files::write_atomically;
use crate::hub::{Hub, Kind};
use crate::inspect::{Accumulate, MeasureOptions, Model};
use crate::report::{OutputError, Quantity, Statistics, count, heat_map_svg};

/// Options of commands that measure models.
#[derive(Debug, Args)]
pub(super) struct StatisticsArguments {
    /// Show every tensor too, not only kinds and layers
    #[arg(long)]
    pub(super) tensors: bool,

    /// Write all numbers as CSV; `-` for standard output, in place of the tables
    #[arg(long, value_name = "FILE|-")]
    csv: Option<PathBuf>,

    /// Print all numbers as JSON in place of the tables
    #[arg(long)]
    json: bool,

    /// Draw layers and kinds of tensors as an SVG heat map
    #[arg(long, visible_alias = "svg", value_name = "FILE")]
    heat_map: Option<PathBuf>,

    /// Threads to use; all cores if not given
    #[arg(short = 'j', long, visible_alias = "num-threads", value_name = "N")]
    #[arg(value_parser = thread_count)]
    threads: Option<NonZeroUsize>,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// A command at work: what it says and how it measures.
pub(super) struct Measuring {
    pub(super) talk: Talk,
    hub: Arc<Hub>,
    pub(super) options: MeasureOptions,
}

impl StatisticsArguments {
    /// Checks what can be checked before models are read, and gets ready.
    pub(super) fn begin(&self) -> Result<Measuring, Failure> {
        if self.json && self.csv_to_stdout() {
            return Err(Failure::refused(
                "`--json` and `--csv -` both go to standard output",
                "give `--csv` a file",
            ));
        }
        let csv = self.csv.as_deref().filter(|_| !self.csv_to_stdout());
        if self.heat_map.as_deref() == Some(Path::new("-")) {
            return Err(Failure::refused(
                "`--heat-map -`: a heat map is not written to standard output",
                "give the name of a file, such as `map.svg`",
            ));
        }
        if let (Some(csv), Some(map)) = (csv, &self.heat_map)
            && is_same_file(csv, map)
            && !is_special(map)
        {
            return Err(Failure::refused(
                format!("`--csv` and `--heat-map` both go to `{}`", map.display()),
                "give them different files",
            ));
        }
        for file in [csv, self.heat_map.as_deref()].into_iter().flatten() {
            check_place(file)?;
        }
        let threads = self.threads.map(Into::into);
        let options = MeasureOptions { threads, cancelled: cancelled_by_ctrl_c() };
        let talk = Talk::new(self.verbosity);
        let hub = hub(None, talk, cancelled_by_ctrl_c())?;
        Ok(Measuring { talk, hub, options })
    }

    /// Shows results as asked for: `text` and `json` make what goes to standard output. `models` says
    /// under a heat map's title what was measured.
    pub(super) fn show<T: Accumulate>(
        &self,
        measuring: &Measuring,
        statistics: &Statistics<'_, T>,
        quantity: &Quantity<T>,
        models: &[String],
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let written = |what: &str, file: &Path| {
            measuring.talk.say(&format_args!("wrote {what} to `{}`", file.display()));
        };
        if let Some(file) = &self.heat_map {
            let svg = heat_map_svg(statistics.groups, quantity, models);
            write(file, &svg)?;
            written("the heat map", file);
        }
        if let Some(file) = self.csv.as_ref().filter(|_| !self.csv_to_stdout()) {
            write(file, &statistics.csv())?;
            written("all numbers", file);
        }
        match (self.json, self.csv_to_stdout()) {
            (true, _) => print(&format!("{:#}\n", json())),
            (false, true) => print(&statistics.csv()),
            (false, false) => print(&text()),
        }
    }

    fn csv_to_stdout(&self) -> bool {
        self.csv.as_deref() == Some(Path::new("-"))
    }
}

impl Measuring {
    /// Opens a model, which may have an adapter, fetching what of them is on the Hub. Says when its config
    /// is not used.
    pub(super) fn open(&self, argument: &Path) -> Result<Model, Failure> {
        let (path, adapter) = model_and_adapter(argument);
        let locate = |path: &Path, kind| locate_whole(&self.hub, path, kind, self.talk);
        let path = locate(&path, Kind::Model)?;
        let adapter = adapter.map(|path| locate(&path, Kind::Adapter)).transpose()?;
        let (model, reason) = Model::open(&path, adapter.as_deref())?;
        let model = model.called(argument.display().to_string());
        if let Some(reason) = reason {
            let reason = Failure::new(&reason, None, true);
            let hint = "layers and kinds are told from the tensors' names";
            self.talk.warn(&reason.message(), Some(hint.to_owned()));
        }
        let tensors = count(model.tensors().len(), "tensor");
        let architecture = model.architecture();
        let inferred = if architecture.definition().is_inferred { " (inferred)" } else { "" };
        let name = architecture.name();
        self.talk.detail(&format_args!("{}: {tensors}, {name}{inferred}", model.label()));
        Ok(model)
    }
}

/// `MODEL+ADAPTER` as two paths. A path that exists as it is has no adapter, whatever is in its name.
fn model_and_adapter(argument: &Path) -> (PathBuf, Option<PathBuf>) {
    let text = argument.to_string_lossy();
    if argument.exists() || !text.contains('+') {
        return (argument.to_owned(), None);
    }
    let split = |at: usize| (PathBuf::from(&text[..at]), Some(PathBuf::from(&text[at + 1..])));
    let mut splits = text.match_indices('+').map(|(at, _)| split(at));
    let existing = splits.find(|(model, _)| model.exists());
    existing.unwrap_or_else(|| split(text.find('+').unwrap_or_default()))
}

/// Writes a file as a whole, or into what is no file.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = match is_special(path) {
        true => fs::write(path, text),
        false => write_atomically(path, text.as_bytes()),
    };
    Ok(written.map_err(|source| OutputError::Write { path: path.to_owned(), source })?)
}

/// Whether two paths lead to one file, which need not exist yet.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
        let path = parent.join(path.file_name()?);
        Some(path.canonicalize().unwrap_or(path))
    };
    a == b || place(a).is_some_and(|a| place(b) == Some(a))
}

/// Whether what is there can take more than one text, and must not be replaced by a file, such as a
/// pipe or `/dev/null`.
fn is_special(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// Refuses a file that cannot be written because of where it should be.
fn check_place(file: &Path) -> Result<(), Failure> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if file.is_dir() {
        let message = format!("cannot write `{}`: it is a directory", file.display());
        return Err(Failure::refused(message, "give the name of a file in it"));
    }
    match parent {
        Some(parent) if !parent.is_dir() => Err(Failure::refused(
            format!("cannot write `{}`: there is no such directory", file.display()),
            format!("create `{}` first", parent.display()),
        )),
        _ => Ok(()),
    }
}

//! The files of a search beside its journal. All of them can be made again from the journal, the model
//! with the input models' help.

use std::io;
use std::path::{Path, PathBuf};

use super::{PlotError, closing_text, convergence_svg, history_csv};
use crate::files;
use crate::search::{Results, Role, SearchError};

/// The winner's merge config.
pub const BEST_CONFIG_FILE: &str = "best_config.yaml";
/// The winner itself.
pub const BEST_MODEL_DIRECTORY: &str = "best_model";

/// Directory with what commands of evaluators that failed have said.
pub const FAILURES_DIRECTORY: &str = "failures";
/// One row for each evaluation.
pub const HISTORY_FILE: &str = "history.csv";
/// The convergence plot.
pub const PLOT_FILE: &str = "convergence.svg";
/// The closing table.
pub const SUMMARY_FILE: &str = "summary.txt";

/// An output could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The model could not be written.
    #[error(transparent)]
    Search(#[from] SearchError),

    /// The plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

impl OutputError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Search(error) => error.hint(),
            Self::Write { .. } | Self::Plot(_) => None,
        }
    }

    /// Whether something that was given has to be changed, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::Search(error) => error.is_users_mistake(),
            Self::Write { source, .. } => files::is_users_mistake(source),
            Self::Plot(_) => false,
        }
    }
}

fn write(path: &Path, contents: &[u8]) -> Result<(), OutputError> {
    files::write_atomically(path, contents)
        .map_err(|source| OutputError::Write { path: path.to_owned(), source })
}

/// Writes the table and the plot of the history, of a running search too.
pub fn write_history(results: &Results, directory: &Path) -> Result<(), OutputError> {
    write(&directory.join(HISTORY_FILE), history_csv(results).as_bytes())?;
    write(&directory.join(PLOT_FILE), convergence_svg(results)?.as_bytes())?;
    Ok(())
}

/// Writes all outputs of a search that is done: the winner's config, the model, which `write_model`
/// makes from that config in the directory given, the table, the plot and the summary. With
/// `only_missing`, what is there stays as it is.
pub fn write_outputs(
    results: &Results,
    directory: &Path,
    only_missing: bool,
    write_model: impl FnOnce(&str, &Path) -> Result<(), SearchError>,
) -> Result<(), OutputError> {
    let wanted = |name: &str| !(only_missing && directory.join(name).exists());
    let config = results.reference(Role::Winner).map(|winner| winner.config.as_str());
    if let Some(config) = config.filter(|_| wanted(BEST_CONFIG_FILE)) {
        write(&directory.join(BEST_CONFIG_FILE), config.as_bytes())?;
    }
    if wanted(HISTORY_FILE) || wanted(PLOT_FILE) {
        write_history(results, directory)?;
    }
    if let Some(config) = config.filter(|_| wanted(BEST_MODEL_DIRECTORY)) {
        write_model(config, &directory.join(BEST_MODEL_DIRECTORY))?;
    }
    if wanted(SUMMARY_FILE) {
        write(&directory.join(SUMMARY_FILE), closing_text(results).as_bytes())?;
    }
    Ok(())
}

//! What people and programs are shown: tables, plots, CSV, JSON.
//!
//! The records of a search's journal become text, of which [`write_outputs`] makes files; statistics of
//! models become [`Statistics`].

mod color_scale;
mod columns;
mod difference;
mod heat_map;
mod history;
mod inspection;
mod outputs;
mod plot;
mod quantity;
mod scores;
mod statistics;
mod svg;
mod table;
mod tasks;

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use indexmap::IndexSet;

pub use difference::{ComparedModels, difference_json, difference_statistics, difference_text};
pub use heat_map::heat_map_svg;
pub use history::history_csv;
pub use inspection::{inspection_json, inspection_statistics, inspection_text};
pub use outputs::{
    BEST_CONFIG_FILE, BEST_MODEL_DIRECTORY, FAILURES_DIRECTORY, HISTORY_FILE, OutputError,
    PLOT_FILE, SUMMARY_FILE, write_history, write_outputs,
};
pub use plot::{PlotError, convergence_svg};
pub use quantity::{COMPARED, Form, INSPECTED, Quantity, compared};
pub use scores::{ScoredTask, Scores, scores_json, scores_text};
pub use statistics::Statistics;
pub use table::closing_text;
pub use tasks::{
    RequestTokens, ShownItem, ShownTask, selection_json, selection_text, task_json, task_list_json,
    task_list_text, task_text, validation_json, validation_text,
};

pub(crate) use columns::{Align, Columns};
use quantity::grouped;

use crate::search::{Reference, Role, Row};

/// Seconds as a person says them: `42 s`, `3 min 05 s`, `2 h 10 min`.
pub fn duration_words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A number of things whose plural ends in s: `1 model`, `2 models`.
pub fn count<N: Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// Something with a role and a name.
trait Named {
    fn role(&self) -> Role;
    fn name(&self) -> &str;
}

impl Named for Reference {
    fn role(&self) -> Role {
        self.role
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Row {
    fn role(&self) -> Role {
        self.role
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// `[4096, 14336]`; `scalar` for no dimension.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    if shape.is_empty() { "scalar".to_owned() } else { format!("{shape:?}") }
}

/// Paths by their last component, and that of an adapter behind a `+`, unless two share it.
pub(crate) struct ShortNames {
    all_differ: bool,
}

impl ShortNames {
    /// For all of `names`.
    pub(crate) fn new<S: AsRef<str>>(names: impl ExactSizeIterator<Item = S>) -> Self {
        let n = names.len();
        let short: IndexSet<String> = names.map(|name| last(name.as_ref()).into_owned()).collect();
        Self { all_differ: short.len() == n }
    }

    /// What to call one of them.
    pub(crate) fn of<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.all_differ { last(name) } else { name.into() }
    }
}

fn last(name: &str) -> Cow<'_, str> {
    fn of_path(path: &str) -> &str {
        let path = path.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or(path)
    }
    match name.split_once('+') {
        Some((model, adapter)) => format!("{}+{}", of_path(model), of_path(adapter)).into(),
        None => of_path(name).into(),
    }
}

/// Names short enough to read; only models have paths.
fn short_names<T: Named>(named: &[T]) -> Vec<String> {
    let short = ShortNames::new(named.iter().map(Named::name));
    let name = |one: &T| match one.role() {
        Role::Parent => short.of(one.name()).into_owned(),
        _ => one.name().to_owned(),
    };
    named.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        let words = |seconds| duration_words(Duration::from_secs_f64(seconds));
        assert_eq!(words(0.2), "0 s");
        assert_eq!(words(59.7), "1 min 00 s");
        assert_eq!(words(185.0), "3 min 05 s");
        assert_eq!(words(7_860.0), "2 h 11 min");
    }
}

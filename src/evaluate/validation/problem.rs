//! A problem as a person sees it.

use std::path::Path;

use super::notes::Note;
use crate::config::yaml::{Node, Place};
use crate::evaluate::EvaluateError;

/// What is to be done about a problem. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The file is not what a task file should be.
    Broken,
    /// A function or class in Python is needed, which cannot be run.
    NeedsPython,
    /// Something is asked for that does not exist here.
    Unsupported,
    /// Documents are not on this machine.
    NoData,
    /// Something to know that keeps nobody from using the file.
    Note,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [ProblemKind; 5] =
        [Self::Broken, Self::NeedsPython, Self::Unsupported, Self::NoData, Self::Note];

    /// One word for programs: `broken`, `python`, `unsupported`, `data` or `note`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::NeedsPython => "python",
            Self::Unsupported => "unsupported",
            Self::NoData => "data",
            Self::Note => "note",
        }
    }

    /// Whether the file cannot be used for what is in it.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Broken | Self::NeedsPython | Self::Unsupported)
    }

    pub(super) fn of(error: &EvaluateError) -> ProblemKind {
        match error {
            EvaluateError::Function { .. } => Self::NeedsPython,
            EvaluateError::Unsupported { .. } => Self::Unsupported,
            EvaluateError::NoDataset { .. }
            | EvaluateError::NoDataFile { .. }
            | EvaluateError::NoDataInFolder { .. }
            | EvaluateError::DatasetScript { .. }
            | EvaluateError::AbsentSplit { .. }
            | EvaluateError::MissingParts { .. } => Self::NoData,
            _ => Self::Broken,
        }
    }
}

/// Something about a task file.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What is to be done about it.
    pub kind: ProblemKind,
    /// Where it is.
    pub at: Place,
    /// What is wrong, a sentence without its full stop.
    pub sentence: String,
    /// What would fix it.
    pub hint: Option<String>,
    /// The function or class in Python that is needed.
    pub function: Option<String>,
}

impl Problem {
    /// An error in what `path` defines.
    pub(super) fn of(error: &EvaluateError, path: &Path) -> Problem {
        let whole = || Place { file: Some(path.to_owned()), ..Place::default() };
        let at = error.at().cloned().unwrap_or_else(whole);
        let (sentence, function) = match error {
            // Of all tasks that include the field it is the same problem.
            EvaluateError::Function { function, problem, .. } => {
                let sentence = format!("needs the Python function `{function}`, {problem}");
                (sentence, Some(function.clone()))
            }
            _ => {
                let text = error.to_string();
                let place = format!("{at}: ");
                (text.strip_prefix(&place).map_or(text.clone(), str::to_owned), None)
            }
        };
        Problem { kind: ProblemKind::of(error), at, sentence, hint: error.hint(), function }
    }

    /// That a task is a class in Python.
    pub(super) fn class(node: &Node<'_>) -> Problem {
        let name = match node.value() {
            serde_yaml::Value::Tagged(tagged) => tagged.value.as_str(),
            value => value.as_str(),
        };
        let name = name.unwrap_or_default();
        Problem {
            kind: ProblemKind::NeedsPython,
            at: node.place(),
            sentence: format!("needs the Python class `{name}`, which cannot be run"),
            hint: None,
            function: Some(name.to_owned()),
        }
    }

    pub(super) fn note(note: Note) -> Problem {
        let Note { at, sentence } = note;
        Problem { kind: ProblemKind::Note, at, sentence, hint: None, function: None }
    }

    /// That `other` defines `name` too, and is what the name stands for.
    pub(super) fn hidden(path: &Path, name: &str, other: &Path) -> Problem {
        Problem {
            kind: ProblemKind::Note,
            at: Place { file: Some(path.to_owned()), ..Place::default() },
            sentence: format!("`{name}` stands for the one in `{}`", other.display()),
            hint: None,
            function: None,
        }
    }

    /// By which problems are sorted.
    pub(crate) fn position(&self) -> (Option<std::path::PathBuf>, Option<u32>, Option<u32>) {
        (self.at.file.clone(), self.at.line, self.at.column)
    }
}

//! What there is to know of a command that gave no scores.

use std::path::PathBuf;

/// The command of an evaluator gave no scores.
#[derive(Debug, thiserror::Error)]
#[error("task `{task}`: the command `{program}` {problem}{}{}", self.last_words(), self.kept_in())]
pub struct CommandFailure {
    /// The task's name.
    pub task: String,
    /// The program.
    pub program: String,
    /// What it did, such as `failed with exit status: 1`.
    pub problem: String,
    /// The last lines that it wrote; may be empty.
    pub said: String,
    /// Where all of it is kept.
    pub kept: Option<PathBuf>,
    /// Whether another attempt may succeed, for all that is known.
    pub is_machine: bool,
}

impl CommandFailure {
    fn last_words(&self) -> String {
        match self.said.as_str() {
            "" => String::new(),
            said => format!(", and said at last: {said}"),
        }
    }

    fn kept_in(&self) -> String {
        let all = |path: &PathBuf| format!(" (all of it is in `{}`)", path.display());
        self.kept.as_ref().map(all).unwrap_or_default()
    }
}

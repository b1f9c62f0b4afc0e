//! Where commands look for task files.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::evaluate::TaskLibrary;

/// Where task files are looked for if nothing is said, as by searches.
const DEFAULT_DIRECTORY: &str = "evaluators";

/// Where task files are looked for.
#[derive(Debug, Args)]
pub(super) struct TaskFiles {
    /// Directory with task files; may be repeated, a later one overriding an earlier. `evaluators` if not
    /// given
    #[arg(long, value_name = "DIRECTORY", alias = "include_path")]
    include_path: Vec<PathBuf>,
}

impl TaskFiles {
    /// The task files there are, also in `further` directories. Without a directory to look in, all that is
    /// `wanted` has to be files.
    pub(super) fn library(
        &self,
        wanted: &[String],
        further: Vec<PathBuf>,
    ) -> Result<TaskLibrary, Failure> {
        let mut directories = self.include_path.clone();
        let default = Path::new(DEFAULT_DIRECTORY);
        if directories.is_empty() && default.is_dir() {
            directories.push(default.to_owned());
        }
        directories.extend(further);
        if directories.is_empty() {
            let problem = match wanted.iter().find(|name| !Path::new(name.trim()).is_file()) {
                None if wanted.is_empty() => {
                    "there is no directory to look for tasks in".to_owned()
                }
                None => return Ok(TaskLibrary::new(&[])?),
                Some(name) => {
                    format!("there is no task file `{name}`, and no directory to look for tasks in")
                }
            };
            let hint = "name a directory with task files by `--include-path`";
            return Err(Failure::refused(problem, hint));
        }
        Ok(TaskLibrary::new(&directories)?)
    }
}

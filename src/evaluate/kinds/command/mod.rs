//! `evaluator: command`: any program as the judge. It is given the model as a directory, or its merge
//! config, and says its scores as JSON.

mod process;
mod scores;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

pub use self::process::end_commands;
use self::process::{Ending, Said};
use self::settings::{Settings, Source};
use super::EvaluatorFile;
use crate::evaluate::{Candidate, EvaluateError, Evaluator, TaskInfo, TaskScores, sha256};
use crate::files::Temporary;

/// The kind's name in files.
pub(super) const NAME: &str = "command";

/// Wait before the second attempt; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Largest file whose contents are part of what a command is, in bytes.
const DIGESTED: u64 = 16 << 20;

/// What may be written in arguments and in the environment, and stands for a path.
const MODEL: &str = "{model}";
const CONFIG: &str = "{config}";
const WORK: &str = "{work}";
const FOLDER: &str = "{folder}";
/// Stands for a JSON list of the indices of the items that are asked for.
const ITEMS: &str = "{items}";

/// An evaluator that runs a program.
struct Command {
    name: String,
    info: TaskInfo,
    settings: Settings,
    /// The directory of the file.
    folder: PathBuf,
    /// Where to keep what a program that fails has said.
    failures: Option<PathBuf>,
    permits: Permits,
}

/// Loads a file of this kind.
pub(super) fn load(file: &EvaluatorFile<'_>) -> Result<Box<dyn Evaluator>, EvaluateError> {
    let (name, settings) = (file.name()?, Settings::parse(file)?);
    let written = file.document.to_json();
    let text = |field: &str| written.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut info = TaskInfo::new(&name, settings.n_items());
    info.alias = text("task_alias").unwrap_or(info.alias);
    info.version = written
        .get("metadata")
        .and_then(|metadata| metadata.get("version"))
        .cloned()
        .unwrap_or_default();
    info.config = written;
    Ok(Box::new(Command {
        name,
        info,
        folder: std::path::absolute(file.folder()).unwrap_or_else(|_| file.folder().to_owned()),
        failures: file.options().failures.clone(),
        permits: Permits::new(settings.at_once),
        settings,
    }))
}

impl Evaluator for Command {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.settings.n_items()
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        self.settings
            .metrics
            .iter()
            .map(|(key, metric)| (key.clone(), metric.higher_is_better))
            .collect()
    }

    fn info(&self) -> std::borrow::Cow<'_, TaskInfo> {
        std::borrow::Cow::Borrowed(&self.info)
    }

    fn definition(&self) -> String {
        let Settings { command, env, metrics, .. } = &self.settings;
        // Another judge under the same name is another judge.
        let digests = command.iter().map(|argument| {
            let path = PathBuf::from(argument.replace(FOLDER, &self.folder.to_string_lossy()));
            let is_small = fs::metadata(&path).is_ok_and(|data| data.len() <= DIGESTED);
            is_small.then(|| fs::read(path).ok().map(sha256)).flatten()
        });
        json!({
            "command": command,
            "files": digests.collect::<Vec<_>>(),
            "env": env,
            "metrics": metrics.iter().map(|(key, metric)| (key, &metric.at)).collect::<Vec<_>>(),
            "scores": match &self.settings.source {
                Source::Output => None,
                Source::File(pattern) => Some(pattern),
            },
        })
        .to_string()
    }

    fn evaluate(
        &self,
        candidate: &dyn Candidate,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let _permit = self.permits.take();
        let mut wait = FIRST_WAIT;
        let mut attempt = 0;
        loop {
            let trouble = match self.attempt(candidate, items)? {
                Ok(scores) => return Ok(scores),
                Err(trouble) => trouble,
            };
            if attempt == self.settings.retries {
                return Err(self.failure(candidate, trouble));
            }
            attempt += 1;
            thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// What went wrong in an attempt, and what the program had said by then.
struct Trouble {
    problem: String,
    said: Said,
    /// Whether the machine, and not the model, is at fault for all that is known.
    is_machine: bool,
}

impl Command {
    /// Runs the program once. Errors of the model are outside, those of the program inside.
    fn attempt(
        &self,
        candidate: &dyn Candidate,
        items: &[usize],
    ) -> Result<Result<TaskScores, Trouble>, EvaluateError> {
        let unwritable = |source| EvaluateError::Temporary { source };
        // Programs answer in the order of the data.
        let mut asked = items.to_vec();
        asked.sort_unstable();
        asked.dedup();

        let root = Temporary::new("mergekit-command-").map_err(unwritable)?;
        let work = root.path().join("work");
        fs::create_dir(&work).map_err(unwritable)?;
        let mut values: Vec<(&str, String)> = vec![
            (WORK, work.to_string_lossy().into_owned()),
            (FOLDER, self.folder.to_string_lossy().into_owned()),
            (ITEMS, json!(asked).to_string()),
        ];
        if self.settings.uses(MODEL) {
            let directory = candidate.directory()?;
            let directory = std::path::absolute(directory).map_err(unwritable)?;
            values.push((MODEL, directory.to_string_lossy().into_owned()));
        }
        if self.settings.uses(CONFIG) {
            let path = root.path().join("config.yml");
            fs::write(&path, candidate.config()?).map_err(unwritable)?;
            values.push((CONFIG, path.to_string_lossy().into_owned()));
        }
        let fill = |text: &String| {
            values.iter().fold(text.clone(), |text, (name, value)| text.replace(name, value))
        };
        let command: Vec<String> = self.settings.command.iter().map(fill).collect();
        let env = self.settings.env.iter().map(|(name, value)| (name.clone(), fill(value)));
        let env: Vec<(String, String)> = env.collect();

        let ended = process::run(&command, &env, root.path(), self.settings.timeout);
        let (ending, said) = ended.map_err(unwritable)?;
        let trouble =
            |problem: String, is_machine| Err(Trouble { problem, said: said.clone(), is_machine });
        match ending {
            Ending::NotStarted(error) => {
                return Ok(trouble(format!("cannot be started: {error}"), false));
            }
            Ending::TimedOut => {
                let seconds = self.settings.timeout.as_secs_f64();
                return Ok(trouble(format!("was ended after {seconds} s, its `timeout`"), false));
            }
            Ending::Exited(status) if !status.success() => {
                let is_machine = status.code().is_none();
                return Ok(trouble(format!("failed with {status}"), is_machine));
            }
            Ending::Exited(_) => {}
        }
        let printed = match &self.settings.source {
            Source::Output => scores::of_output(&said.stdout),
            Source::File(pattern) => scores::of_file(Path::new(&fill(pattern))),
        };
        let scores = printed.and_then(|printed| {
            let n_items = self.settings.items;
            scores::read(&printed, &self.settings.metrics, n_items, &asked, items)
        });
        Ok(scores.or_else(|problem| trouble(problem, false)))
    }

    /// Keeps what the program said, and says where.
    fn failure(&self, candidate: &dyn Candidate, trouble: Trouble) -> EvaluateError {
        let Trouble { problem, said, is_machine } = trouble;
        let kept = self.keep(candidate, &said).ok();
        EvaluateError::Command {
            task: self.name.clone(),
            program: self.settings.command.first().cloned().unwrap_or_default(),
            problem,
            said: said.last_words(),
            kept,
            is_machine,
        }
    }

    fn keep(&self, candidate: &dyn Candidate, said: &Said) -> std::io::Result<PathBuf> {
        let directory = match &self.failures {
            None => tempfile::Builder::new().prefix("mergekit-failed-").tempdir()?.keep(),
            Some(failures) => {
                fs::create_dir_all(failures)?;
                let prefix = format!("{}-", crate::files::file_name_of(&self.name));
                tempfile::Builder::new().prefix(&prefix).tempdir_in(failures)?.keep()
            }
        };
        fs::write(directory.join("stdout.txt"), &said.stdout)?;
        fs::write(directory.join("stderr.txt"), &said.stderr)?;
        if let Ok(config) = candidate.config() {
            fs::write(directory.join("config.yml"), config)?;
        }
        Ok(directory)
    }
}

/// Lets so many run at once.
struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// The right to run, given back when dropped.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn new(count: usize) -> Permits {
        Permits { free: Mutex::new(count), returned: Condvar::new() }
    }

    fn take(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.returned.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

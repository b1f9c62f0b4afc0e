//! Kinds of evaluators beside tasks of the harness: a file says which by `evaluator: KIND`.

mod command;
mod preset;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use self::command::{CommandFailure, end_commands};
use self::preset::Preset;
use super::dataset::{FILES, read_files};
use super::document::TaskDocument;
use super::prompt::TaskData;
use super::task::TaskConfig;
use super::{EvaluateError, Evaluator, TaskOptions, Tokenizer, TokenizerSource};
use crate::config::yaml::YamlError;

/// The field that names the kind.
pub(super) const FIELD: &str = "evaluator";

/// Fields that every file may have, whatever its kind.
const COMMON: [&str; 5] = ["task", FIELD, "task_alias", "tag", "metadata"];

/// Makes an evaluator of a file.
pub(super) type Load =
    dyn Fn(&EvaluatorFile<'_>) -> Result<Box<dyn Evaluator>, EvaluateError> + Send + Sync;

/// The kinds of evaluators that files may ask for, by name. As [`Default`] they are those of this
/// program: `perplexity`, `preference` and `command`.
#[derive(Clone)]
pub struct EvaluatorKinds {
    kinds: IndexMap<String, Kind>,
}

/// How a kind's evaluators are made.
#[derive(Clone)]
enum Kind {
    /// They are tasks.
    Task(&'static Preset),
    /// By themselves.
    Own(Arc<Load>),
}

impl Default for EvaluatorKinds {
    fn default() -> Self {
        let mut kinds = Self { kinds: IndexMap::new() };
        for preset in &preset::PRESETS {
            kinds.kinds.insert(preset.name.to_owned(), Kind::Task(preset));
        }
        kinds.add(command::NAME, command::load);
        kinds
    }
}

impl EvaluatorKinds {
    /// Adds a kind: files with `evaluator: NAME` are loaded by `load`. An earlier kind of that name is
    /// replaced.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        load: impl Fn(&EvaluatorFile<'_>) -> Result<Box<dyn Evaluator>, EvaluateError>
        + Send
        + Sync
        + 'static,
    ) {
        self.kinds.insert(name.into(), Kind::Own(Arc::new(load)));
    }

    /// Loads what a file describes: an evaluator of the kind that it names, or a task.
    pub(super) fn load(
        &self,
        file: &EvaluatorFile<'_>,
    ) -> Result<Box<dyn Evaluator>, EvaluateError> {
        match self.described(file.document)? {
            Described::Task(task) => file.load_task(&task),
            Described::Own(load) => load(file),
        }
    }

    /// What a file describes.
    pub(super) fn described<'d>(
        &'d self,
        document: &'d TaskDocument,
    ) -> Result<Described<'d>, EvaluateError> {
        let Some(node) = document.get(FIELD) else {
            if let Some(files) = document.get(FILES) {
                return Err(EvaluateError::NoKind { at: files.key_place().into() });
            }
            return Ok(Described::Task(Cow::Borrowed(document)));
        };
        let name = node.text()?;
        match self.kinds.get(name) {
            Some(Kind::Task(preset)) => Ok(Described::Task(Cow::Owned(preset.expand(document)?))),
            Some(Kind::Own(load)) => Ok(Described::Own(&**load)),
            None => {
                let (at, name) = (node.place().into(), name.to_owned());
                let known = self.kinds.keys().cloned().collect();
                Err(EvaluateError::UnknownKind { at, name, known })
            }
        }
    }
}

/// What a file describes.
pub(super) enum Described<'d> {
    /// A task, with all that its kind of evaluator fills in.
    Task(Cow<'d, TaskDocument>),
    /// An evaluator that is no task.
    Own(&'d Load),
}

impl fmt::Debug for EvaluatorKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kinds.keys()).finish()
    }
}

/// A file that asks for an evaluator, with all that may be needed to make it.
pub struct EvaluatorFile<'a> {
    pub(super) document: &'a TaskDocument,
    /// The name that replaces the file's own.
    pub(super) name: Option<&'a str>,
    pub(super) tokenizer: &'a dyn TokenizerSource,
    pub(super) options: &'a TaskOptions,
}

impl EvaluatorFile<'_> {
    /// The task's name.
    pub fn name(&self) -> Result<String, EvaluateError> {
        match self.name {
            Some(name) => Ok(name.to_owned()),
            None => Ok(self.document.require("task")?.text()?.to_owned()),
        }
    }

    /// The directory that the file is in.
    pub fn folder(&self) -> &Path {
        self.document.folder()
    }

    /// How tasks are to be loaded.
    pub fn options(&self) -> &TaskOptions {
        self.options
    }

    /// The tokenizer of the models that are to be scored.
    pub fn tokenizer(&self) -> Result<&Tokenizer, EvaluateError> {
        self.tokenizer.tokenizer()
    }

    /// The file's fields as a type of one's own, without those that all evaluators have (`task`,
    /// `evaluator`, `task_alias`, `tag`, `metadata`) and `files`.
    ///
    /// # Errors
    ///
    /// What the type refuses, with the file's name. A type with `#[serde(deny_unknown_fields)]` finds
    /// misspelt fields.
    pub fn fields<T: DeserializeOwned>(&self) -> Result<T, EvaluateError> {
        let own = self.document.clone().without(&COMMON).without(&[FILES]);
        serde_json::from_value(Value::Object(own.to_json())).map_err(|problem| {
            let (at, problem) = (self.document.place().into(), problem.to_string());
            EvaluateError::Fields { at, problem }
        })
    }

    /// The rows of the data files that the field `files` names, in JSON, CSV, Parquet or text; of all of
    /// them if `files` divides them into splits. No more than [`TaskOptions::limit`] asks for.
    pub fn rows(&self) -> Result<Vec<Map<String, Value>>, EvaluateError> {
        let node = self.document.require(FILES)?;
        let options = self.document.get("dataset_kwargs");
        let mut rows = read_files(&node, options.as_ref(), self.document.roots())?;
        rows.truncate(self.options.limit.map_or(rows.len(), |limit| limit.of(rows.len())));
        Ok(rows)
    }

    /// That the value of a field will not do: `problem` is a clause such as `has to be positive`.
    pub fn refuse(&self, field: &str, problem: impl Into<String>) -> EvaluateError {
        let problem = problem.into();
        match self.document.get(field) {
            // A place says which field it is.
            Some(node) => EvaluateError::Fields { at: node.place().into(), problem },
            None => {
                let (at, problem) = (self.document.place().into(), format!("`{field}` {problem}"));
                EvaluateError::Fields { at, problem }
            }
        }
    }

    /// Loads the task that `document` describes.
    fn load_task(&self, document: &TaskDocument) -> Result<Box<dyn Evaluator>, EvaluateError> {
        let config = TaskConfig::parse(document, self.name)?;
        let prepare = config.output_type.prepare;
        prepare(TaskData::read(config)?, self.tokenizer()?, self.options)
    }

    /// Refuses fields that are neither in `known` nor common to all evaluators.
    fn only(&self, known: &[&str]) -> Result<(), YamlError> {
        self.document.only(&[&COMMON[..], known].concat())
    }
}

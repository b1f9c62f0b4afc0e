//! What there is to say of a task before it is loaded: its fields, and what they amount to.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde_yaml::Value;

use super::kinds::{Described, FIELD};
use super::library::text;
use super::metric::Metrics;
use super::selection::SelectedTask;
use super::task::TaskConfig;
use super::validation::notes;
use super::{EvaluateError, TaskOptions, Tokenizer};
use crate::config::yaml::{Node, Place};

/// A task before it is loaded.
#[derive(Debug)]
pub struct TaskOutline {
    /// Every field, included ones first.
    pub fields: Vec<TaskField>,
    /// What they amount to, unless something is wrong with them.
    pub summary: Result<TaskSummary, EvaluateError>,
    /// What a person should know, a sentence each with the place in front.
    pub notes: Vec<String>,
}

/// A field of a task.
#[derive(Debug, Clone)]
pub struct TaskField {
    /// The field.
    pub name: String,
    /// Where its value is.
    pub at: Place,
    /// The value.
    pub value: Value,
}

/// What the fields of a task amount to.
#[derive(Debug)]
pub struct TaskSummary {
    /// The output type, or the kind of an evaluator that is no task.
    pub asks: String,
    /// By metric and filter, whether higher is better.
    pub metrics: IndexMap<String, bool>,
    /// Number of examples in front of each document.
    pub num_fewshot: usize,
    /// The split whose documents are evaluated; nothing of an evaluator that is no task.
    pub split: Option<String>,
    /// The files of each split, if they are on this machine.
    pub data: Result<IndexMap<String, Vec<PathBuf>>, EvaluateError>,
}

impl SelectedTask {
    /// The task's fields and what they amount to. No data are read.
    pub fn outline(&self) -> TaskOutline {
        let field = |(name, node): (&str, Node<'_>)| TaskField {
            name: name.to_owned(),
            at: node.place(),
            value: node.value().clone(),
        };
        TaskOutline {
            fields: self.document.all().map(field).collect(),
            summary: self.summary(),
            notes: self.notes(),
        }
    }

    /// What a person should know of the task's fields, a sentence each with the place in front.
    pub fn notes(&self) -> Vec<String> {
        let notes = notes(&self.document).into_iter();
        notes.map(|note| format!("{}: {}", note.at, note.sentence)).collect()
    }

    fn summary(&self) -> Result<TaskSummary, EvaluateError> {
        let task = match self.kinds.described(&self.document)? {
            Described::Task(task) => task,
            Described::Own(_) => return self.summary_of_loaded(),
        };
        let mut config = TaskConfig::describe(&task, Some(&self.name))?;
        let found = config.data.find(&task);
        let data = &config.data;
        let split = data.test.as_ref().or(data.validation.as_ref());
        Ok(TaskSummary {
            asks: config.output_type.name.to_owned(),
            metrics: Metrics::new(config.metrics, &config.pipelines).keys(),
            num_fewshot: config.fewshot.count.unwrap_or(0),
            split: split.map(|split| split.name.clone()),
            data: found.map(|()| config.data.files()),
        })
    }

    /// Of an evaluator that is no task, what it says itself.
    fn summary_of_loaded(&self) -> Result<TaskSummary, EvaluateError> {
        let loaded = self.load(&Tokenizer::of_bytes(), &TaskOptions::default())?;
        Ok(TaskSummary {
            asks: text(&self.document, FIELD).unwrap_or_default(),
            metrics: loaded.metrics(),
            num_fewshot: loaded.info().num_fewshot,
            split: None,
            data: Ok(IndexMap::new()),
        })
    }
}

//! What is told of single items beside their values: which texts a model was given and what it said.
//!
//! Kept only when [`TaskOptions::records`](super::TaskOptions::records) asks for it.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::field::python_text;
use crate::lm::Score;

/// An item as texts: the row of the data and the requests made from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRecord {
    /// The row, with all columns of its split.
    pub document: Map<String, Value>,
    /// What `doc_to_target` gives for it, printed as Python prints it.
    pub target: String,
    /// In the order in which they are made.
    pub requests: Vec<RequestRecord>,
}

impl ItemRecord {
    /// The record of a row whose target is `target`.
    pub(super) fn new(
        document: &Map<String, Value>,
        target: &Value,
        requests: Vec<RequestRecord>,
    ) -> ItemRecord {
        ItemRecord { document: document.clone(), target: python_text(target), requests }
    }
}

/// A request as texts.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestRecord {
    /// The log-likelihood of a text after another one.
    LogLikelihood {
        /// What is given; may be empty.
        context: String,
        /// What is scored.
        continuation: String,
    },
    /// The log-likelihood of a whole text.
    Rolling {
        /// The text.
        text: String,
    },
    /// A text to be continued.
    Generation {
        /// What is given.
        context: String,
        /// `generation_kwargs` of the task, defaults included.
        options: Value,
    },
}

/// What a model answered to one item's requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemResponses {
    /// For each request of the item's record, the responses to each of its repeats.
    pub responses: Vec<Vec<Response>>,
    /// By filter pipeline: for each request, what the filters made of its responses.
    pub filtered: IndexMap<String, Vec<Response>>,
    /// By metric and filter (`f1,none`): what the harness notes for the item where that is not the
    /// number in [`TaskScores::values`](super::TaskScores::values), such as the right and the chosen
    /// answer.
    pub noted: IndexMap<String, Value>,
}

/// A model's answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Of a continuation: log-likelihood, and whether it is what greedy decoding produces.
    Score(Score),
    /// Log-likelihood of a whole text.
    LogLikelihood(f64),
    /// What was written, up to the stop strings.
    Text(String),
}

/// What reports say of a task beside its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskInfo {
    /// Label in tables: `task_alias`, or the name.
    pub alias: String,
    /// `version` in the task's `metadata`; the text `Yaml` if there is none, as in the harness.
    pub version: Value,
    /// Number of examples in front of each document.
    pub num_fewshot: usize,
    /// Number of documents there are, whatever the limit.
    pub n_documents: usize,
    /// The fields of the task's file and its includes.
    pub config: Map<String, Value>,
}

impl TaskInfo {
    /// That a task has a name and so many items, and no more.
    pub fn new(name: &str, n_items: usize) -> TaskInfo {
        TaskInfo {
            alias: name.to_owned(),
            version: Value::Null,
            num_fewshot: 0,
            n_documents: n_items,
            config: Map::new(),
        }
    }
}

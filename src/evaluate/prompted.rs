//! A document with its prompts, on its way to an item.

use serde_json::Value;

use super::data::Document;
use super::error::Row;
use super::field::Fields;
use super::prompt::TaskData;
use super::record::{ItemRecord, RequestRecord};
use super::tokenizer::{PairProblem, TokenPair};
use super::{EvaluateError, TaskOptions, Tokenizer};

/// A document of a task with its prompts.
pub(super) struct PromptedDocument<'a> {
    pub(super) data: &'a TaskData,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) options: &'a TaskOptions,
    /// The document's index in the task.
    pub(super) index: usize,
    /// One for each choice in tasks with multiple inputs, otherwise one.
    pub(super) prompts: Vec<String>,
}

impl<'a> PromptedDocument<'a> {
    /// The document, for messages.
    pub(super) fn row(&self) -> Row {
        Row::Item(self.index)
    }

    /// Question, target and choices of the task.
    pub(super) fn fields(&self) -> &'a Fields {
        &self.data.config.prompt.fields
    }

    /// The text in front of the answer; the first where there are several.
    pub(super) fn prompt(&self) -> &str {
        self.prompts.first().map_or("", String::as_str)
    }

    /// [`PromptedDocument::prompt`] when nothing else is needed any more.
    pub(super) fn into_prompt(self) -> String {
        self.prompts.into_iter().next().unwrap_or_default()
    }

    fn document(&self) -> &'a Document {
        &self.data.documents[self.index]
    }

    /// What `doc_to_text` gives.
    pub(super) fn text(&self) -> Result<Value, EvaluateError> {
        self.fields().text(self.document(), &self.data.columns, self.row())
    }

    /// What `doc_to_target` gives.
    pub(super) fn target(&self) -> Result<Value, EvaluateError> {
        self.fields().target(self.document(), &self.data.columns, self.row())
    }

    /// What `doc_to_target` gives where it has to be text.
    pub(super) fn target_text(&self) -> Result<String, EvaluateError> {
        match self.target()? {
            Value::String(text) => Ok(text),
            other => Err(self.fields().target.wrong_value(self.row(), "a text", &other)),
        }
    }

    /// What `doc_to_choice` gives; `None` in tasks without.
    pub(super) fn choices(&self) -> Result<Option<Vec<String>>, EvaluateError> {
        self.fields().choices(self.document(), &self.data.columns, self.row())
    }

    /// The choices that filters of the task look for; none if no filter needs them.
    pub(super) fn filter_choices(&self) -> Result<Vec<String>, EvaluateError> {
        let mut choices = Vec::new();
        for pipeline in &self.data.config.pipelines {
            let wanted = pipeline.choices(self.document(), self.row())?;
            choices = if wanted.is_empty() { choices } else { wanted };
        }
        Ok(choices)
    }

    /// The tokens of a context and a continuation.
    pub(super) fn encode_pair(
        &self,
        context: &str,
        continuation: &str,
    ) -> Result<TokenPair, EvaluateError> {
        self.tokenizer.encode_pair(context, continuation).map_err(|problem| match problem {
            PairProblem::EmptyContinuation => {
                let (task, row) = (self.data.config.name.clone(), self.row());
                EvaluateError::EmptyContinuation { task, row }
            }
            PairProblem::EmptyContext => self.empty_prompt(),
        })
    }

    /// The error that there is no token in front of the answer.
    pub(super) fn empty_prompt(&self) -> EvaluateError {
        EvaluateError::EmptyPrompt { task: self.data.config.name.clone(), row: self.row() }
    }

    /// The document's texts, if they are asked for.
    pub(super) fn record(
        &self,
        requests: impl FnOnce() -> Vec<RequestRecord>,
    ) -> Result<Option<Box<ItemRecord>>, EvaluateError> {
        if !self.options.records {
            return Ok(None);
        }
        let target = self.target()?;
        Ok(Some(Box::new(ItemRecord::new(&self.document().columns, &target, requests()))))
    }
}

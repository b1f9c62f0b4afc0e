//! Evaluators that are tasks with most fields filled in: a file says where its `files` are. Every field of
//! task files may be given in addition, and then wins.

use std::path::Path;

use super::FIELD;
use crate::config::yaml::Document;
use crate::evaluate::EvaluateError;
use crate::evaluate::dataset::FILES;
use crate::evaluate::document::TaskDocument;

/// A kind of evaluator that is a task.
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// The fields that files of this kind need not have.
    fields: &'static str,
}

/// To add one, write its fields and add an entry.
pub(super) const PRESETS: [Preset; 2] = [
    // How well a model predicts texts: files of text, or rows with a column `text`.
    Preset { name: "perplexity", fields: include_str!("perplexity.yaml") },
    // How often a model finds the better of two answers likelier, in all or per character: rows with
    // `chosen` and `rejected`, and mostly a `prompt`.
    Preset { name: "preference", fields: include_str!("preference.yaml") },
];

impl Preset {
    /// The task that a file of this kind stands for.
    pub(super) fn expand(&self, document: &TaskDocument) -> Result<TaskDocument, EvaluateError> {
        document.require(FILES)?;
        let file = format!("evaluator `{}`", self.name);
        let fields = Document::parse(self.fields, Path::new(&file))?;
        let mut task = document.clone().without(&[FIELD]);
        task.fill(&TaskDocument::inline(&fields.root())?);
        Ok(task)
    }
}

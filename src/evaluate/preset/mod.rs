//! Kinds of evaluators that are tasks with most fields filled in: a file says `evaluator: KIND` and
//! where its `files` are. Every field of task files may be given in addition, and then wins.

use std::borrow::Cow;
use std::path::Path;

use super::EvaluateError;
use super::dataset::FILES;
use super::document::TaskDocument;
use crate::config::yaml::Document;

/// The field that names the kind.
const FIELD: &str = "evaluator";

/// A kind of evaluator.
struct Preset {
    name: &'static str,
    /// The fields that files of this kind need not have.
    fields: &'static str,
}

/// To add one, write its fields and add an entry.
const PRESETS: [Preset; 2] = [
    // How well a model predicts texts: files of text, or rows with a column `text`.
    Preset { name: "perplexity", fields: include_str!("perplexity.yaml") },
    // How often a model finds the better of two answers likelier, in all or per character: rows with
    // `chosen` and `rejected`, and mostly a `prompt`.
    Preset { name: "preference", fields: include_str!("preference.yaml") },
];

/// A document as a task, whatever kind of evaluator it asks for.
pub(super) fn expand(document: &TaskDocument) -> Result<Cow<'_, TaskDocument>, EvaluateError> {
    let Some(node) = document.get(FIELD) else { return Ok(Cow::Borrowed(document)) };
    let name = node.text()?;
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let known = PRESETS.iter().map(|preset| preset.name).collect();
        return Err(EvaluateError::unsupported(&node, "evaluator", name, known));
    };
    document.require(FILES)?;
    let file = format!("evaluator `{name}`");
    let fields = Document::parse(preset.fields, Path::new(&file))?;
    let mut task = document.clone().without(&[FIELD]);
    task.fill(&TaskDocument::inline(&fields.root())?);
    Ok(Cow::Owned(task))
}

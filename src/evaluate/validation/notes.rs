//! What a person should know of a task's fields that is no mistake.

use crate::config::yaml::{Node, Place, as_boolean};
use crate::evaluate::document::TaskDocument;

/// Something to know of a field.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct Note {
    pub(in crate::evaluate) at: Place,
    /// A sentence without its full stop.
    pub(in crate::evaluate) sentence: String,
}

/// Everything to know of a task's fields.
pub(in crate::evaluate) fn notes(document: &TaskDocument) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note =
        |at: Place, sentence: &str| notes.push(Note { at, sentence: sentence.to_owned() });
    let field = |outer: &str, inner: &str| document.get(outer)?.fields().ok()?.get(inner);
    let is_true = |node: &Node<'_>| as_boolean(node.value()) == Some(true);
    if let Some(node) = document.get("should_decontaminate").filter(is_true) {
        note(node.place(), "nothing is decontaminated; it has no effect on scores");
    }
    if let Some(node) = field("fewshot_config", "fewshot_indices") {
        note(node.place(), "has no effect, as in the harness");
    }
    if let Some(node) = field("generation_kwargs", "do_sample").filter(is_true) {
        note(node.place(), "answers are drawn with other random numbers than the harness's");
    }
    for (key, at) in document.repeated_keys() {
        note(at, &format!("`{key}` is given again; the last one counts"));
    }
    notes
}

//! Every mistake of a document: what is wrong is noted and taken away, and the rest is read again.

use std::path::PathBuf;

use super::ProblemKind;
use crate::config::yaml::{FieldPath, Place, Step, YamlError};
use crate::evaluate::EvaluateError;
use crate::evaluate::document::TaskDocument;

/// Without it there is nowhere to look for documents.
const DATASET: &str = "dataset_path";

/// Fields that cannot be judged once another one was taken away.
const DEPENDENT: [(&str, &[&str]); 2] =
    [("output_type", &["metric_list", "filter_list"]), ("custom_dataset", &[DATASET])];

/// Every error that `read` gives for a document, in the order in which it finds them.
///
/// What an error is about is hidden before the next attempt, so that there are no more attempts than
/// values. An error that only comes of what was hidden before is not given.
pub(super) fn every_error(
    document: &TaskDocument,
    read: impl Fn(&TaskDocument) -> Result<(), EvaluateError>,
) -> Vec<EvaluateError> {
    let mut rest = Rest { document: document.clone(), hidden: Vec::new() };
    let mut errors = Vec::new();
    while let Err(error) = read(&rest.document) {
        let (is_consequence, goes_on) = rest.take_away(&error);
        if !is_consequence {
            errors.push(error);
        }
        if !goes_on {
            break;
        }
    }
    errors
}

/// What is left of a document.
struct Rest {
    document: TaskDocument,
    /// What is not there any more, by file and path.
    hidden: Vec<(Option<PathBuf>, FieldPath)>,
}

impl Rest {
    /// Hides what an error is about. Gives whether the error comes of what was hidden before, and whether
    /// reading again makes sense.
    fn take_away(&mut self, error: &EvaluateError) -> (bool, bool) {
        // Documents are looked for when all else is read.
        if ProblemKind::of(error) == ProblemKind::NoData {
            return (false, false);
        }
        let Some(place) = error.at() else { return (false, false) };
        let Some(path) = FieldPath::parse(&place.field) else { return (false, false) };
        if let EvaluateError::Yaml(problem) = error
            && let YamlError::MissingField { name, .. } = &**problem
        {
            return self.do_without(place, &path, name);
        }
        let is_consequence = self
            .hidden
            .iter()
            .any(|(file, hidden)| *file == place.file && hidden.0.starts_with(&path.0));
        let goes_on = self.hide(place, &path);
        let (last, parents) =
            (path.0.last(), FieldPath(path.0[..path.0.len().max(1) - 1].to_vec()));
        let dependent =
            DEPENDENT.iter().filter(|(field, _)| last == Some(&Step::Key((*field).to_owned())));
        for field in dependent.flat_map(|(_, fields)| *fields) {
            let found = self.document.get(field).map(|node| (node.place(), node.path().clone()));
            let (place, path) = found.unwrap_or_else(|| (place.clone(), parents.key(field)));
            self.hide(&place, &path);
        }
        (is_consequence, goes_on)
    }

    /// Goes on after a field of the mapping at `path` was missed: without the mapping, or with an empty
    /// text in the field if the mapping is the whole document.
    fn do_without(&mut self, place: &Place, path: &FieldPath, name: &str) -> (bool, bool) {
        let is_task = *place == self.document.place();
        let wanted = path.key(name);
        let is_consequence = self.hidden.iter().any(|(file, hidden)| match is_task {
            // A field of the task may be from any of its files.
            true => hidden.0.last() == wanted.0.last() && hidden.0.len() == wanted.0.len(),
            false => *file == place.file && *hidden == wanted,
        });
        let goes_on = match is_task {
            true if name == DATASET => false,
            true => self.document.stand_in(name),
            false => self.hide(place, path),
        };
        (is_consequence, goes_on)
    }

    fn hide(&mut self, place: &Place, path: &FieldPath) -> bool {
        self.hidden.push((place.file.clone(), path.clone()));
        self.document.hide(place.file.as_deref(), path)
    }
}

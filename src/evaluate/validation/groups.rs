//! What is wrong with a group: its own fields, its members, and what it says of them.

use std::collections::HashSet;
use std::path::Path;

use super::every_error;
use crate::evaluate::EvaluateError;
use crate::evaluate::document::TaskDocument;
use crate::evaluate::group::{AGGREGATES, Aggregate};
use crate::evaluate::library::TaskLibrary;
use crate::evaluate::selection::SelectedTask;
use crate::evaluate::task::TaskConfig;

impl TaskLibrary {
    /// Everything that is wrong with a group. Mistakes in files of its members are theirs.
    pub(super) fn errors_of_group(&self, document: &TaskDocument) -> Vec<EvaluateError> {
        let (mut errors, _) =
            every_error(document, |document| Aggregate::parse(document).map(drop));
        let members = document.clone().without(&[AGGREGATES]);
        let (of_members, members) =
            every_error(&members, |members| self.select_group(members).map(drop));
        errors.extend(of_members);
        // A mistake that could not be left out is in the file of a member.
        let Ok(selection) = self.select_group(&members) else { return errors };
        let own: HashSet<&Path> = document.files().collect();
        let overridden =
            |task: &&SelectedTask| task.document.files().any(|file| own.contains(file));
        for task in selection.tasks.iter().filter(overridden) {
            let name = Some(task.name.as_str());
            let (found, _) = every_error(&task.document, |document| {
                TaskConfig::describe(document, name).map(drop)
            });
            let is_own = |error: &EvaluateError| {
                let file = error.at().and_then(|at| at.file.as_deref());
                file.is_some_and(|file| own.contains(file))
            };
            errors.extend(found.into_iter().filter(is_own));
        }
        errors
    }
}

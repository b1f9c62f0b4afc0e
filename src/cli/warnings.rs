//! What a merge config and its plan warn of, in the order of the file.

use std::collections::HashSet;

use super::Talk;
use super::failure::in_config;
use crate::config::ConfigFile;
use crate::config::yaml::Place;
use crate::plan::PlanWarning;

/// A warning as a person sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What of the config it is about, as far as that is known.
    pub(super) place: Place,
}

/// Everything that `file` and `planned` warn of, by line; what has no line comes last. What an anchor
/// and its aliases repeat is said once.
pub(super) fn of_merge(file: &ConfigFile, planned: &[PlanWarning]) -> Vec<Told> {
    let of_config = file.warnings.iter().map(|one| Told {
        message: one.to_string(),
        hint: one.hint(),
        place: one.at().clone(),
    });
    let of_plan = planned.iter().map(|one| Told {
        message: in_config(one, file),
        hint: one.hint(),
        place: one.field().map(|field| file.place_of(field)).unwrap_or_default(),
    });
    let mut told: Vec<Told> = of_config.chain(of_plan).collect();
    told.sort_by_key(|one| (one.place.line.is_none(), one.place.line, one.place.column));
    let mut said = HashSet::new();
    told.retain(|Told { message, place, .. }| match place.line {
        Some(line) => {
            // Aliases differ in nothing but the path.
            let text = message.replacen(&place.field, "", usize::from(!place.field.is_empty()));
            said.insert((line, place.column, text))
        }
        None => true,
    });
    told
}

/// Says all of them.
pub(super) fn show(file: &ConfigFile, planned: &[PlanWarning], talk: Talk) {
    for Told { message, hint, .. } in of_merge(file, planned) {
        talk.warn(&message, hint);
    }
}

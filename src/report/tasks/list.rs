//! Which tasks, groups and tags there are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::evaluate::{EntryKind, LibraryEntry};
use crate::report::{Align, Columns, quantity::grouped};

/// Columns of the table. Files come last: their names may be long.
const HEADINGS: [(&str, Align); 5] = [
    ("name", Align::Left),
    ("kind", Align::Left),
    ("members", Align::Right),
    ("asks", Align::Left),
    ("file", Align::Left),
];

/// A line for each name, and how many there are.
pub fn task_list_text(entries: &BTreeMap<&str, &LibraryEntry>) -> String {
    let mut table = Columns::new(&HEADINGS);
    for (name, entry) in entries {
        let members = match entry.kind {
            EntryKind::Group | EntryKind::Tag => entry.members.len().to_string(),
            EntryKind::Task | EntryKind::Class => String::new(),
        };
        let file = match entry.kind {
            EntryKind::Tag => String::new(),
            _ => entry.path.display().to_string(),
        };
        let asks = asks(entry).unwrap_or_default();
        table.line([*name, kind_name(entry.kind), &members, asks, &file]);
    }
    let numbers = [
        (EntryKind::Task, "task"),
        (EntryKind::Class, "Python class"),
        (EntryKind::Group, "group"),
        (EntryKind::Tag, "tag"),
    ];
    let numbers = numbers.iter().filter_map(|&(kind, thing)| {
        let n = entries.values().filter(|entry| entry.kind == kind).count();
        let ending = match (n, thing) {
            (1, _) => "",
            (_, "Python class") => "es",
            _ => "s",
        };
        (n > 0).then(|| format!("{} {thing}{ending}", grouped(n as u64)))
    });
    let numbers: Vec<String> = numbers.collect();
    format!("{}\n{}\n", table.render(), numbers.join(", "))
}

/// Every name as JSON.
pub fn task_list_json(entries: &BTreeMap<&str, &LibraryEntry>) -> Value {
    let entries = entries.iter().map(|(name, entry)| {
        json!({
            "name": name,
            "kind": kind_name(entry.kind),
            "members": entry.members,
            "asks": asks(entry),
            "file": entry.path,
        })
    });
    entries.collect()
}

/// What kind of thing a name stands for, in a word.
pub(super) fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Task => "task",
        EntryKind::Group => "group",
        EntryKind::Tag => "tag",
        EntryKind::Class => "class",
    }
}

/// The output type of a task, or the kind of an evaluator.
fn asks(entry: &LibraryEntry) -> Option<&str> {
    match entry.kind {
        EntryKind::Task => Some(entry.asks.as_deref().unwrap_or("generate_until")),
        _ => None,
    }
}

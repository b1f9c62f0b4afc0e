//! Groups and tags with what is in them.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::evaluate::{Selection, TaskGroup};
use crate::report::count;

/// What a name selects, as a tree: groups with their members below them.
pub fn selection_text(name: &str, selection: &Selection) -> String {
    let mut text = format!("{name}: {}\n\n", count(selection.tasks.len(), "task"));
    match selection.groups.iter().find(|group| group.name == name) {
        Some(group) => write_group(&mut text, selection, group, 0),
        None => {
            for task in &selection.tasks {
                let _ = writeln!(text, "  {}", task.name);
            }
        }
    }
    text
}

fn write_group(text: &mut String, selection: &Selection, group: &TaskGroup, depth: usize) {
    let figures = if group.has_figures() { ", with figures of its own" } else { "" };
    let _ = writeln!(
        text,
        "  {}{} (group, {}{figures})",
        "  ".repeat(depth),
        group.name,
        count(group.tasks.len(), "task"),
    );
    for member in &group.members {
        match selection.groups.iter().find(|other| other.name == *member) {
            Some(inner) => write_group(text, selection, inner, depth + 1),
            None => {
                let _ = writeln!(text, "  {}{member}", "  ".repeat(depth + 1));
            }
        }
    }
}

/// What a name selects, for programs.
pub fn selection_json(name: &str, selection: &Selection) -> Value {
    let tasks: Vec<&str> = selection.tasks.iter().map(|task| task.name.as_str()).collect();
    let groups = selection.groups.iter().map(|group| {
        json!({
            "name": group.name,
            "alias": group.alias,
            "members": group.members,
            "tasks": group.tasks,
            "has_figures": group.has_figures(),
        })
    });
    json!({ "name": name, "tasks": tasks, "groups": groups.collect::<Vec<_>>() })
}

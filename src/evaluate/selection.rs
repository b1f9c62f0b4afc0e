//! What names of tasks, groups and tags select: single tasks, and groups over them.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::document::TaskDocument;
use super::group::{Aggregate, GROUP_FIELDS, GroupFigures, TaskGroup};
use super::kinds::{EvaluatorFile, EvaluatorKinds};
use super::library::{EntryKind, LibraryEntry, TaskLibrary};
use super::{EvaluateError, Evaluator, TaskFigures, TaskOptions, TokenizerSource};
use crate::config::yaml::Node;

/// The tasks that some names stand for, and the groups that they are in.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Every task once, in the order in which the names give them.
    pub tasks: Vec<SelectedTask>,
    /// Every group that was named or is in one that was, outer ones first.
    pub groups: Vec<TaskGroup>,
}

/// A task of a [`Selection`], with what its groups say of it.
#[derive(Debug, Clone)]
pub struct SelectedTask {
    /// The task's name.
    pub name: String,
    pub(super) document: TaskDocument,
    pub(super) kinds: Arc<EvaluatorKinds>,
}

impl SelectedTask {
    /// Reads the task's documents, makes every prompt and tokenizes it.
    ///
    /// # Errors
    ///
    /// As of [`TaskLibrary::load`].
    pub fn load(
        &self,
        tokenizer: &dyn TokenizerSource,
        options: &TaskOptions,
    ) -> Result<Box<dyn Evaluator>, EvaluateError> {
        let (document, name) = (&self.document, Some(self.name.as_str()));
        self.kinds.load(&EvaluatorFile { document, name, tokenizer, options })
    }
}

impl Selection {
    /// The figures of every group from those of the tasks, by their names; inner groups come before
    /// the ones they are in. Groups that have none are there with an empty table.
    pub fn group_figures(
        &self,
        tasks: &IndexMap<String, TaskFigures>,
    ) -> IndexMap<String, GroupFigures> {
        let mut figures = IndexMap::new();
        for group in &self.groups {
            self.add_figures(group, tasks, &mut figures);
        }
        figures
    }

    fn add_figures(
        &self,
        group: &TaskGroup,
        tasks: &IndexMap<String, TaskFigures>,
        figures: &mut IndexMap<String, GroupFigures>,
    ) {
        if figures.contains_key(&group.name) {
            return;
        }
        let is_member = |other: &&TaskGroup| group.members.contains(&other.name);
        for inner in self.groups.iter().filter(is_member) {
            self.add_figures(inner, tasks, figures);
        }
        figures.insert(group.name.clone(), group.figures(tasks));
    }

    /// A later task of the same name replaces the earlier one, at its place.
    fn add_task(&mut self, task: SelectedTask) {
        match self.tasks.iter_mut().find(|other| other.name == task.name) {
            Some(earlier) => *earlier = task,
            None => self.tasks.push(task),
        }
    }
}

impl TaskLibrary {
    /// The tasks that names stand for. A name may be that of a task, of a group, of a tag (all its
    /// tasks in alphabetical order, without a group), a pattern with `*` and `?` for any of these, or
    /// the path of a file with a task or a group.
    ///
    /// Nothing but task files is read: documents come with [`SelectedTask::load`].
    ///
    /// # Errors
    ///
    /// A name that stands for nothing, a group that contains itself, and a task that two of the names
    /// select; and what is wrong in the files of groups.
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Selection, EvaluateError> {
        let mut selection = Selection::default();
        let mut selected_by: IndexMap<String, String> = IndexMap::new();
        for name in names.iter().flat_map(|name| self.matching(name.as_ref())) {
            let mut builder =
                Builder { library: self, selection: &mut selection, chain: Vec::new() };
            for (source, tasks) in builder.add_named(&name)? {
                for task in tasks {
                    match selected_by.get(&task) {
                        Some(first) if *first != source => {
                            let (first, second) = (first.clone(), source);
                            return Err(EvaluateError::SelectedTwice { task, first, second });
                        }
                        _ => selected_by.insert(task, source.clone()),
                    };
                }
            }
        }
        Ok(selection)
    }

    /// What a group stands for.
    pub(super) fn select_group(&self, group: &TaskDocument) -> Result<Selection, EvaluateError> {
        let mut selection = Selection::default();
        let name = group.require("group")?.text()?.to_owned();
        Builder { library: self, selection: &mut selection, chain: Vec::new() }.add_group(
            name,
            group.clone(),
            None,
        )?;
        Ok(selection)
    }

    /// The names that a pattern matches, sorted; what is no pattern, or matches nothing, is itself.
    pub(super) fn matching(&self, pattern: &str) -> Vec<String> {
        if !pattern.contains(['*', '?']) {
            return vec![pattern.to_owned()];
        }
        let is_match = |name: &&String| matches(pattern, name);
        let mut names: Vec<String> = self.entries.keys().filter(is_match).cloned().collect();
        names.sort();
        if names.is_empty() { vec![pattern.to_owned()] } else { names }
    }
}

/// Whether a text is as a pattern says, where `*` stands for any characters and `?` for any one.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(index, _)| index).chain([text.len()]);
            ends.into_iter().any(|start| matches(rest.as_str(), &text[start..]))
        }
        Some(wanted) => {
            let mut others = text.chars();
            others.next().is_some_and(|c| wanted == '?' || wanted == c)
                && matches(rest.as_str(), others.as_str())
        }
    }
}

/// Puts a selection together.
struct Builder<'a> {
    library: &'a TaskLibrary,
    selection: &'a mut Selection,
    /// Groups that are being read, outer ones first.
    chain: Vec<String>,
}

/// A member of a group that was added: its name and the tasks in it.
type Added = (String, Vec<String>);

impl Builder<'_> {
    /// Adds what a name that somebody asks for stands for; a tag counts as its single tasks.
    fn add_named(&mut self, name: &str) -> Result<Vec<Added>, EvaluateError> {
        if let Some(entry) = self.library.entries.get(name) {
            return self.add_entry(name, entry, None);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "yaml") || !path.is_file() {
            return Err(self.library.no_task(name, self.library.all_names()));
        }
        let document = self.library.document(path)?;
        if let Some(group) = document.get("group") {
            let name = group.text()?.to_owned();
            return Ok(vec![self.add_group(name, document, None)?]);
        }
        let name = document.require("task")?.text()?.to_owned();
        Ok(vec![self.add_task(name, document, None)?])
    }

    /// Adds what has a name in the library; `overrides` are fields that win over its own.
    fn add_entry(
        &mut self,
        name: &str,
        entry: &LibraryEntry,
        overrides: Option<&TaskDocument>,
    ) -> Result<Vec<Added>, EvaluateError> {
        match entry.kind {
            EntryKind::Group => {
                let document = self.library.document(&entry.path)?;
                Ok(vec![self.add_group(name.to_owned(), document, overrides)?])
            }
            EntryKind::Tag => entry
                .members
                .iter()
                .map(|member| self.add_library_task(member, overrides))
                .collect(),
            EntryKind::Task | EntryKind::Class => Ok(vec![self.add_library_task(name, overrides)?]),
        }
    }

    fn add_library_task(
        &mut self,
        name: &str,
        overrides: Option<&TaskDocument>,
    ) -> Result<Added, EvaluateError> {
        let document = self.library.document(&self.library.find(name)?)?;
        self.add_task(name.to_owned(), document, overrides)
    }

    fn add_task(
        &mut self,
        name: String,
        mut document: TaskDocument,
        overrides: Option<&TaskDocument>,
    ) -> Result<Added, EvaluateError> {
        if let Some(overrides) = overrides {
            document.overlay(overrides);
        }
        self.selection.add_task(SelectedTask {
            name: name.clone(),
            document,
            kinds: Arc::clone(&self.library.kinds),
        });
        Ok((name.clone(), vec![name]))
    }

    /// Adds a group and all that is in it. What it says of its tasks yields to `outer`.
    fn add_group(
        &mut self,
        name: String,
        document: TaskDocument,
        outer: Option<&TaskDocument>,
    ) -> Result<Added, EvaluateError> {
        if self.chain.contains(&name) {
            return Err(EvaluateError::GroupCycle { at: document.place().into(), group: name });
        }
        self.chain.push(name.clone());
        let mut overrides = document.clone().without(GROUP_FIELDS);
        if let Some(outer) = outer {
            overrides.overlay(outer);
        }
        let alias = match document.get("group_alias") {
            Some(node) => node.text()?.to_owned(),
            None => name.clone(),
        };
        let group = TaskGroup {
            alias,
            version: version(&document),
            members: Vec::new(),
            tasks: Vec::new(),
            aggregates: Aggregate::parse(&document)?,
            name: name.clone(),
        };
        // Groups stand in front of what is in them.
        let groups = &mut self.selection.groups;
        let place = match groups.iter().position(|other| other.name == name) {
            Some(place) => {
                groups[place] = group;
                place
            }
            None => {
                groups.push(group);
                groups.len() - 1
            }
        };

        let list = document.require("task")?;
        let items = if list.value().is_string() { vec![list] } else { list.items()? };
        let mut members: IndexMap<String, Vec<String>> = IndexMap::new();
        for item in &items {
            members.extend(self.add_member(&name, item, &overrides)?);
        }
        let tasks: Vec<String> = members.values().flatten().cloned().collect();
        let group = &mut self.selection.groups[place];
        group.members = members.into_keys().collect();
        group.tasks.clone_from(&tasks);
        self.chain.pop();
        Ok((name, tasks))
    }

    /// Adds a member of a group: a name, or a mapping with a name and fields that win over those of
    /// what it names; a group or task that no file defines is defined by the mapping.
    fn add_member(
        &mut self,
        parent: &str,
        item: &Node<'_>,
        overrides: &TaskDocument,
    ) -> Result<Vec<Added>, EvaluateError> {
        let library = self.library;
        if let Some(name) = item.value().as_str() {
            return match library.entries.get(name) {
                Some(entry) => self.add_entry(name, entry, Some(overrides)),
                None => Err(EvaluateError::NoMember {
                    at: item.place().into(),
                    name: name.to_owned(),
                    known: library.all_names(),
                }),
            };
        }
        let wrong = || item.wrong_type("a name, or a mapping with `task` or `group`");
        let fields = item.fields().map_err(|_| wrong())?;
        let own = TaskDocument::inline(item)?;
        let mut merged = overrides.clone();
        merged.overlay(&own.clone().without(&["task", "group"]));
        if let Some(node) = fields.get("group") {
            let name = node.text()?;
            return match library.entries.get(name) {
                Some(entry) => self.add_entry(name, entry, Some(&merged)),
                None => {
                    let name = format!("{parent}::{name}");
                    Ok(vec![self.add_group(name, own, Some(overrides))?])
                }
            };
        }
        let name = fields.get("task").ok_or_else(wrong)?;
        let name = name.text()?;
        match library.entries.get(name) {
            Some(entry) => self.add_entry(name, entry, Some(&merged)),
            None => Ok(vec![self.add_task(format!("{parent}::{name}"), own, Some(&merged))?]),
        }
    }
}

/// `version` in a group's `metadata`, null if there is none.
fn version(document: &TaskDocument) -> serde_json::Value {
    let metadata = document.get("metadata");
    let version = metadata.as_ref().and_then(|node| node.value().get("version"));
    version.and_then(|version| serde_json::to_value(version).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, TaskLibrary) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let library = TaskLibrary::new(&[directory.path().to_owned()]).expect("a library");
        (directory, library)
    }

    const FILES: &[(&str, &str)] = &[
        ("a.yaml", "task: a\ntag: t\n"),
        ("b.yaml", "task: b\ntag: [t, u]\nnum_fewshot: 1\n"),
        ("c.yaml", "task: c\n"),
        ("g.yaml", "group: g\ntask: [c, t]\nnum_fewshot: 2\n"),
        (
            "h.yaml",
            "group: h\ngroup_alias: H\ntask:\n  - g\n  - group: inner\n    task:\n      \
             - {task: d, dataset_path: json}\n    num_fewshot: 4\nrepeats: 3\nmetadata: {version: 1}\n",
        ),
        ("i.yaml", "group: i\ntask: [{task: b, num_fewshot: 7}, {group: g, num_fewshot: 5}]\n"),
    ];

    fn names(selection: &Selection) -> Vec<&str> {
        selection.tasks.iter().map(|task| task.name.as_str()).collect()
    }

    fn number(selection: &Selection, task: &str, field: &str) -> Option<i64> {
        let task = selection.tasks.iter().find(|other| other.name == task).expect("selected");
        task.document.get(field).and_then(|node| node.value().as_i64())
    }

    #[test]
    fn names_stand_for_tasks_tags_and_groups() {
        let (_directory, library) = library(FILES);
        let selection = library.select(&["c", "t"]).expect("tasks");
        assert_eq!(names(&selection), ["c", "a", "b"]);
        assert!(selection.groups.is_empty());
    }

    #[test]
    fn groups_nest_and_say_things_of_their_tasks() {
        let (_directory, library) = library(FILES);
        let selection = library.select(&["h"]).expect("tasks");
        assert_eq!(names(&selection), ["c", "a", "b", "h::inner::d"]);
        let groups: Vec<_> = selection
            .groups
            .iter()
            .map(|group| (group.name.as_str(), group.members.join(" "), group.tasks.len()))
            .collect();
        assert_eq!(
            groups,
            [
                ("h", "g h::inner".to_owned(), 4),
                ("g", "c a b".to_owned(), 3),
                ("h::inner", "h::inner::d".to_owned(), 1),
            ]
        );
        assert_eq!(selection.groups[0].alias, "H");
        assert_eq!(selection.groups[0].version, serde_json::json!(1));
        let of_b = ["num_fewshot", "repeats"].map(|field| number(&selection, "b", field));
        assert_eq!(of_b, [Some(2), Some(3)]);
        let of_d = ["num_fewshot", "repeats"].map(|field| number(&selection, "h::inner::d", field));
        assert_eq!(of_d, [Some(4), Some(3)]);
        assert_eq!(
            selection.group_figures(&IndexMap::new()).keys().collect::<Vec<_>>(),
            ["g", "h::inner", "h"]
        );
    }

    #[test]
    fn what_a_member_says_wins_over_its_group() {
        let (_directory, library) = library(FILES);
        let selection = library.select(&["i"]).expect("tasks");
        assert_eq!(number(&selection, "b", "num_fewshot"), Some(5));
        assert_eq!(names(&selection), ["b", "c", "a"]);
        assert_eq!(selection.groups[0].tasks, ["b", "c", "a", "b"]);
    }

    #[test]
    fn mistakes_are_named() {
        let mut files = FILES.to_vec();
        files.push(("j.yaml", "group: j\ntask:\n  - k\n"));
        files.push(("k.yaml", "group: k\ntask: [j, {x: 1}]\n"));
        files.push(("l.yaml", "group: l\ntask: [{task: c}, cc]\n"));
        let (directory, library) = library(&files);
        let message = |names: &[&str]| {
            let error = library.select(names).expect_err("a mistake");
            assert!(error.is_users_mistake());
            let folder = format!("{}/", directory.path().display());
            (error.to_string().replace(&folder, ""), error.hint().unwrap_or_default())
        };
        assert_eq!(message(&["j"]).0, "j.yaml:1:1: group `j` contains itself");
        assert_eq!(message(&["l"]).0, "l.yaml:2:19: task[1]: there is no task, group or tag `cc`");
        assert_eq!(message(&["c", "g"]).0, "task `c` is selected twice, by `c` and by `g`");
        assert!(message(&["gg"]).1.contains("`g`"));
    }

    #[test]
    fn patterns_match_names() {
        assert!(matches("a*c", "abbc") && matches("*", "") && matches("a?c*", "aéc"));
        assert!(!matches("a*c", "ab") && !matches("a?", "a"));
        let (_directory, library) = library(FILES);
        assert_eq!(names(&library.select(&["b*"]).expect("tasks")), ["b"]);
    }
}

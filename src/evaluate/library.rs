//! Finding tasks by name in directories of task files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use rayon::prelude::*;
use serde_yaml::Value;

use super::dataset::{DataRoots, MAPPING};
use super::document::{IncludedFiles, TaskDocument};
use super::functions::{self, Functions};
use super::kinds::{EvaluatorFile, EvaluatorKinds, FIELD};
use super::{EvaluateError, Evaluator, TaskOptions, TokenizerSource};
use crate::config::yaml::Document;

/// The task files of some directories, by the names of their tasks.
#[derive(Debug)]
pub struct TaskLibrary {
    directories: Vec<PathBuf>,
    pub(super) entries: IndexMap<String, LibraryEntry>,
    /// Files that cannot be read.
    unreadable: Vec<PathBuf>,
    pub(super) kinds: Arc<EvaluatorKinds>,
    functions: Arc<Functions>,
    roots: DataRoots,
}

/// What a name stands for.
#[derive(Debug)]
pub struct LibraryEntry {
    /// What it is.
    pub kind: EntryKind,
    /// The file that defines it; of a tag, the first that has it.
    pub path: PathBuf,
    /// Names of what a group or tag consists of, and of what groups that are written inside a group do.
    pub members: Vec<String>,
    /// The output type or the kind of evaluator of a task, where it is said.
    pub asks: Option<String>,
}

/// What names can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A task or evaluator.
    Task,
    /// Tasks with figures of their own.
    Group,
    /// Tasks that are called by one name.
    Tag,
    /// A task that is a class in Python.
    Class,
}

impl LibraryEntry {
    fn new(kind: EntryKind, path: PathBuf) -> LibraryEntry {
        LibraryEntry { kind, path, members: Vec::new(), asks: None }
    }
}

impl TaskLibrary {
    /// Searches directories, and those in them, for `*.yaml` files. A later directory overrides an
    /// earlier one; in one directory the first file by path wins. What a file defines may be said in one
    /// that it includes.
    ///
    /// A file that is not valid YAML is passed over, and named when a task is not found.
    pub fn new(directories: &[PathBuf]) -> Result<TaskLibrary, EvaluateError> {
        let mut library = TaskLibrary {
            directories: directories.to_vec(),
            entries: IndexMap::new(),
            unreadable: Vec::new(),
            kinds: Arc::default(),
            functions: Arc::new(Functions::of(directories)),
            roots: DataRoots::new(directories),
        };
        let included = IncludedFiles::default();
        for directory in directories {
            let files = task_files(directory)?;
            let documents: Vec<Option<TaskDocument>> =
                files.par_iter().map(|path| to_be_indexed(path, &included)).collect();
            let mut found = IndexMap::new();
            let mut tags = IndexMap::new();
            for (path, document) in files.into_iter().zip(documents) {
                match document {
                    Some(document) => index(&document, path, &mut found, &mut tags),
                    None => library.unreadable.push(path),
                }
            }
            for (name, mut tag) in tags {
                tag.members.sort();
                found.entry(name).or_insert(tag);
            }
            library.entries.extend(found);
        }
        Ok(library)
    }

    /// The same files, with other kinds of evaluators than this program's own.
    #[must_use]
    pub fn with_kinds(self, kinds: Arc<EvaluatorKinds>) -> TaskLibrary {
        TaskLibrary { kinds, ..self }
    }

    /// The directories that are searched.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// What a name stands for.
    pub fn entry(&self, name: &str) -> Option<&LibraryEntry> {
        self.entries.get(name)
    }

    /// All that names and patterns with `*` and `?` stand for, by name; everything if there are none.
    ///
    /// # Errors
    ///
    /// A name or pattern that stands for nothing.
    pub fn entries_like<S: AsRef<str>>(
        &self,
        patterns: &[S],
    ) -> Result<BTreeMap<&str, &LibraryEntry>, EvaluateError> {
        if patterns.is_empty() {
            return Ok(self.entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect());
        }
        let mut found = BTreeMap::new();
        for name in patterns.iter().flat_map(|pattern| self.matching(pattern.as_ref())) {
            match self.entries.get_key_value(&name) {
                Some((name, entry)) => found.insert(name.as_str(), entry),
                None => return Err(self.no_task(&name, self.all_names())),
            };
        }
        Ok(found)
    }

    /// Names of all tasks, sorted.
    pub fn names(&self) -> Vec<&str> {
        let tasks = self.entries.iter().filter(|(_, entry)| entry.kind == EntryKind::Task);
        let mut names: Vec<&str> = tasks.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Names of all tasks, groups and tags, sorted.
    pub(super) fn all_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Reads a task and its documents, makes every prompt and tokenizes it. `name` may also be the
    /// path of a task file.
    pub fn load(
        &self,
        name: &str,
        tokenizer: &dyn TokenizerSource,
        options: &TaskOptions,
    ) -> Result<Box<dyn Evaluator>, EvaluateError> {
        let document = self.document(&self.find(name)?)?;
        self.kinds.load(&EvaluatorFile { document: &document, name: None, tokenizer, options })
    }

    /// Reads the file of a task or group.
    pub(super) fn document(&self, path: &Path) -> Result<TaskDocument, EvaluateError> {
        self.document_among(path, &IncludedFiles::default())
    }

    /// Reads the file of one of many tasks or groups.
    pub(super) fn document_among(
        &self,
        path: &Path,
        included: &IncludedFiles,
    ) -> Result<TaskDocument, EvaluateError> {
        Ok(TaskDocument::read_among(path, included)?.among(&self.functions, &self.roots))
    }

    /// The file of a task.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf, EvaluateError> {
        let Some(entry) = self.entries.get(name) else {
            let path = Path::new(name);
            if path.extension().is_some_and(|extension| extension == "yaml") && path.is_file() {
                return Ok(path.to_owned());
            }
            let known = self.names().into_iter().map(str::to_owned).collect();
            return Err(self.no_task(name, known));
        };
        let (kind, field) = match entry.kind {
            EntryKind::Task => return Ok(entry.path.clone()),
            EntryKind::Group => ("a group", "group"),
            EntryKind::Tag => ("a tag", "tag"),
            EntryKind::Class => ("a Python class", "class"),
        };
        Err(EvaluateError::NotATask {
            at: Document::read(&entry.path)?.place_of(field).into(),
            name: name.to_owned(),
            kind,
            members: entry.members.clone(),
        })
    }

    /// The error that a name stands for nothing; `known` are those that it could have been.
    pub(super) fn no_task(&self, name: &str, known: Vec<String>) -> EvaluateError {
        // A broken file of that name is what was meant.
        let is_namesake = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == name);
        let broken = self.unreadable.iter().find(is_namesake).or(self.unreadable.first());
        EvaluateError::NoTask {
            name: name.to_owned(),
            searched: self.directories.clone(),
            known,
            // Reading it again gives the error as a value of its own.
            unreadable: broken.and_then(|path| TaskDocument::read(path).err()).map(Box::new),
        }
    }
}

/// What a task file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A task of that name.
    Task(String),
    /// A group of that name.
    Group(String),
    /// A task of that name that is a class in Python.
    Class(String),
    /// Nothing: it is there to be included.
    Nothing,
    /// It is not valid YAML.
    Unreadable,
}

impl FileContent {
    /// The name that it defines.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Task(name) | Self::Group(name) | Self::Class(name) => Some(name),
            Self::Nothing | Self::Unreadable => None,
        }
    }
}

/// What a file defines.
pub(super) fn content_of(document: &TaskDocument) -> FileContent {
    let (task, group) = (text(document, "task"), text(document, "group"));
    match document.get("class") {
        Some(_) => task.map_or(FileContent::Nothing, FileContent::Class),
        None => match (group, task) {
            (Some(name), _) => FileContent::Group(name),
            (None, Some(name)) => FileContent::Task(name),
            (None, None) => FileContent::Nothing,
        },
    }
}

/// A file with what it includes, or alone if that cannot be read, which is told when it is needed;
/// nothing if the file itself is no valid YAML.
fn to_be_indexed(path: &Path, included: &IncludedFiles) -> Option<TaskDocument> {
    let alone = || {
        let document = Document::read_with_repeated_keys(path).ok()?;
        TaskDocument::inline(&document.root()).ok()
    };
    TaskDocument::read_among(path, included).ok().or_else(alone)
}

/// Notes what a file defines.
fn index(
    document: &TaskDocument,
    path: PathBuf,
    found: &mut IndexMap<String, LibraryEntry>,
    tags: &mut IndexMap<String, LibraryEntry>,
) {
    let (name, kind, members) = match content_of(document) {
        FileContent::Task(name) => (name, EntryKind::Task, Vec::new()),
        FileContent::Group(name) => (name, EntryKind::Group, member_names(document)),
        FileContent::Class(name) => (name, EntryKind::Class, Vec::new()),
        FileContent::Nothing | FileContent::Unreadable => return,
    };
    if found.contains_key(&name) {
        return;
    }
    if kind != EntryKind::Group {
        for tag in texts(document, "tag") {
            let entry = || LibraryEntry::new(EntryKind::Tag, path.clone());
            tags.entry(tag).or_insert_with(entry).members.push(name.clone());
        }
    }
    let asks = match kind {
        EntryKind::Task => [FIELD, "output_type"].iter().find_map(|field| text(document, field)),
        _ => None,
    };
    found.insert(name, LibraryEntry { asks, members, ..LibraryEntry::new(kind, path) });
}

/// The value of a field that is a text.
pub(super) fn text(document: &TaskDocument, field: &str) -> Option<String> {
    document.get(field)?.value().as_str().map(str::to_owned)
}

/// Names of the members of a group, and of those of groups that are written inside it.
fn member_names(document: &TaskDocument) -> Vec<String> {
    fn add(member: &Value, names: &mut Vec<String>) {
        let name = ["task", "group"].iter().find_map(|field| member.get(field)?.as_str());
        names.extend(member.as_str().or(name).map(str::to_owned));
        let inner = member.get("task").and_then(Value::as_sequence);
        inner.into_iter().flatten().for_each(|member| add(member, names));
    }
    let mut names = Vec::new();
    let list = document.get("task");
    let members = list.as_ref().and_then(|list| list.value().as_sequence());
    members.into_iter().flatten().for_each(|member| add(member, &mut names));
    names
}

/// The values of a field that is a text or a list of texts.
fn texts(document: &TaskDocument, field: &str) -> Vec<String> {
    let Some(node) = document.get(field) else { return Vec::new() };
    match node.value().as_str() {
        Some(text) => vec![text.to_owned()],
        None => {
            let items = node.items().unwrap_or_default();
            items.iter().filter_map(|item| item.value().as_str().map(str::to_owned)).collect()
        }
    }
}

/// Directories that hold no task files of their own, as in the harness.
const IGNORED: [&str; 2] = ["__pycache__", ".ipynb_checkpoints"];

/// Every `*.yaml` file below a directory but those with substitutes for functions and with data sets, sorted by path.
/// Links to directories are not followed.
pub(super) fn task_files(directory: &Path) -> Result<Vec<PathBuf>, EvaluateError> {
    let read = |path: &Path, source| EvaluateError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|source| read(&directory, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| read(&directory, source))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|source| read(&path, source))?;
            if kind.is_dir() {
                if !IGNORED.iter().any(|ignored| path.ends_with(ignored)) {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "yaml")
                && path.file_name().is_none_or(|name| name != functions::FILE && name != MAPPING)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

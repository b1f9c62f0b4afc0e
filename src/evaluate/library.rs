//! Finding tasks by name in directories of task files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::document::TaskDocument;
use super::functions::{self, Functions};
use super::prompt::TaskData;
use super::task::TaskConfig;
use super::{EvaluateError, Evaluator, TaskOptions, Tokenizer, preset};
use crate::config::yaml::{Document, Fields, Node, YamlError};

/// The task files of some directories, by the names of their tasks.
#[derive(Debug)]
pub struct TaskLibrary {
    directories: Vec<PathBuf>,
    pub(super) entries: IndexMap<String, Entry>,
    unreadable: Vec<(PathBuf, YamlError)>,
    functions: Arc<Functions>,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The file that defines it; of a tag, the first that has it.
    pub(super) path: PathBuf,
    /// Names of what a group or tag consists of.
    pub(super) members: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Task,
    Group,
    Tag,
    Class,
}

impl TaskLibrary {
    /// Searches directories, and those in them, for `*.yaml` files. A later directory overrides an
    /// earlier one; in one directory the first file by path wins.
    ///
    /// A file that is not valid YAML is passed over, and named when a task is not found.
    pub fn new(directories: &[PathBuf]) -> Result<TaskLibrary, EvaluateError> {
        let mut library = TaskLibrary {
            directories: directories.to_vec(),
            entries: IndexMap::new(),
            unreadable: Vec::new(),
            functions: Arc::new(Functions::of(directories)),
        };
        for directory in directories {
            let mut found = IndexMap::new();
            let mut tags = IndexMap::new();
            for path in task_files(directory)? {
                match Document::read(&path) {
                    Ok(document) => index(&document, path, &mut found, &mut tags),
                    Err(problem) => library.unreadable.push((path, problem)),
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

    /// Names of all tasks, sorted.
    pub fn names(&self) -> Vec<&str> {
        let tasks = self.entries.iter().filter(|(_, entry)| entry.kind == Kind::Task);
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
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<Box<dyn Evaluator>, EvaluateError> {
        prepare(&self.document(&self.find(name)?)?, None, tokenizer, options)
    }

    /// Reads the file of a task or group.
    pub(super) fn document(&self, path: &Path) -> Result<TaskDocument, EvaluateError> {
        Ok(TaskDocument::read(path)?.with_functions(&self.functions))
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
            Kind::Task => return Ok(entry.path.clone()),
            Kind::Group => ("a group", "group"),
            Kind::Tag => ("a tag", "tag"),
            Kind::Class => ("a Python class", "class"),
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
        let is_namesake =
            |(path, _): &&(PathBuf, YamlError)| path.file_stem().is_some_and(|stem| stem == name);
        let broken = self.unreadable.iter().find(is_namesake).or(self.unreadable.first());
        EvaluateError::NoTask {
            name: name.to_owned(),
            searched: self.directories.clone(),
            known,
            // Reading it again gives the error as a value of its own.
            unreadable: broken.and_then(|(path, _)| Document::read(path).err()).map(Box::new),
        }
    }
}

/// Reads the documents of a task and makes every prompt. `name` replaces the one that the file has.
pub(super) fn prepare(
    document: &TaskDocument,
    name: Option<&str>,
    tokenizer: &Tokenizer,
    options: &TaskOptions,
) -> Result<Box<dyn Evaluator>, EvaluateError> {
    let task = preset::expand(document)?;
    let config = TaskConfig::parse(&task, name)?;
    let prepare = config.output_type.prepare;
    prepare(TaskData::read(config)?, tokenizer, options)
}

/// Notes what a file defines. Files that define nothing are there to be included.
fn index(
    document: &Document,
    path: PathBuf,
    found: &mut IndexMap<String, Entry>,
    tags: &mut IndexMap<String, Entry>,
) {
    let Ok(fields) = document.root().fields() else { return };
    let (task, group) = (fields.get("task"), fields.get("group"));
    let text =
        |node: Option<&Node<'_>>| node.and_then(|node| node.value().as_str()).map(str::to_owned);
    let (name, entry) = match (text(task.as_ref()), text(group.as_ref())) {
        (Some(name), _) if fields.get("class").is_some() => {
            (name, Entry { kind: Kind::Class, path, members: Vec::new() })
        }
        (Some(name), _) => {
            for tag in tag_names(&fields) {
                let entry = || Entry { kind: Kind::Tag, path: path.clone(), members: Vec::new() };
                tags.entry(tag).or_insert_with(entry).members.push(name.clone());
            }
            (name, Entry { kind: Kind::Task, path, members: Vec::new() })
        }
        (None, Some(name)) => {
            let members = task.and_then(|list| list.items().ok()).unwrap_or_default();
            let members = members.iter().filter_map(|member| {
                let own = member.value().as_str().or_else(|| member.value().get("task")?.as_str());
                own.map(str::to_owned)
            });
            (name, Entry { kind: Kind::Group, path, members: members.collect() })
        }
        (None, None) => return,
    };
    found.entry(name).or_insert(entry);
}

/// `tag` is a text or a list of texts.
fn tag_names(fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.get("tag") else { return Vec::new() };
    match node.value().as_str() {
        Some(tag) => vec![tag.to_owned()],
        None => {
            let items = node.items().unwrap_or_default();
            items.iter().filter_map(|item| item.value().as_str().map(str::to_owned)).collect()
        }
    }
}

/// Every `*.yaml` file below a directory but those with substitutes for functions, sorted by path. Links to directories are not followed.
fn task_files(directory: &Path) -> Result<Vec<PathBuf>, EvaluateError> {
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
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml")
                && path.file_name().is_none_or(|name| name != functions::FILE)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

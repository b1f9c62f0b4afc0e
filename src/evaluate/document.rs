//! A task file with what it includes, as one mapping whose values know where they stand.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_yaml::Value;

use super::EvaluateError;
use crate::config::yaml::{Document, Node, YamlError};

/// A task file and its includes, merged: a key of the file itself wins over an included one, a
/// later include over an earlier. Values are not merged into each other.
#[derive(Debug, Clone)]
pub(super) struct TaskDocument {
    /// Included files first, the task's own last.
    documents: Vec<Document>,
    /// The document each key comes from.
    owners: IndexMap<String, usize>,
}

impl TaskDocument {
    /// Reads a task file.
    pub(super) fn read(path: &Path) -> Result<TaskDocument, EvaluateError> {
        let mut merged = TaskDocument { documents: Vec::new(), owners: IndexMap::new() };
        merged.add(path, &mut Vec::new())?;
        Ok(merged)
    }

    fn add(&mut self, path: &Path, chain: &mut Vec<PathBuf>) -> Result<(), EvaluateError> {
        let document = Document::read(path)?;
        let fields = document.root().fields()?;
        chain.push(identity(path));
        for include in includes(&document)? {
            let folder = path.parent().unwrap_or(Path::new(""));
            let included = folder.join(include.text()?);
            if chain.contains(&identity(&included)) {
                return Err(EvaluateError::IncludeCycle {
                    at: include.place().into(),
                    path: included,
                });
            }
            self.add(&included, chain).map_err(|error| not_found_at(error, &include, &included))?;
            self.owners.shift_remove("task_list");
        }
        chain.pop();
        let index = self.documents.len();
        for (name, _) in fields.all()? {
            self.owners.insert(name.to_owned(), index);
        }
        self.owners.shift_remove("include");
        self.documents.push(document);
        Ok(())
    }

    /// The value of a field; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Node<'_>> {
        let document = &self.documents[*self.owners.get(name)?];
        document.root().fields().ok()?.get(name)
    }

    /// Every field, with the value it has as JSON; what JSON has no form for is left out.
    pub(super) fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = |name: &String| serde_json::to_value(self.get(name)?.value()).ok();
        self.owners.keys().filter_map(|name| Some((name.clone(), value(name)?))).collect()
    }

    /// The value of a field that has to be there.
    pub(super) fn require(&self, name: &str) -> Result<Node<'_>, YamlError> {
        self.get(name).ok_or_else(|| YamlError::MissingField {
            at: self.own().root().place(),
            name: name.to_owned(),
        })
    }

    /// Refuses every field that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), YamlError> {
        for (name, &owner) in &self.owners {
            if !known.contains(&name.as_str()) {
                let fields = self.documents[owner].root().fields()?;
                let all = fields.all()?;
                let node = all.iter().find(|(key, _)| *key == name.as_str());
                return Err(YamlError::UnknownField {
                    at: node.map_or_else(|| fields.node().place(), |(_, node)| node.key_place()),
                    name: name.clone(),
                    known: known.iter().map(|&name| name.to_owned()).collect(),
                });
            }
        }
        Ok(())
    }

    /// The task's own file.
    pub(super) fn own(&self) -> &Document {
        self.documents.last().expect("reading a task adds its own document last")
    }
}

/// The values of `include`: a path or a list of paths.
fn includes(document: &Document) -> Result<Vec<Node<'_>>, YamlError> {
    match document.root().fields()?.get("include") {
        None => Ok(Vec::new()),
        Some(node) if node.value().is_string() => Ok(vec![node]),
        Some(node) => node.items().map_err(|_| node.wrong_type("a path or a list of paths")),
    }
}

/// One name for a file, however it is reached.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// An include that does not exist is a mistake of the file that names it.
fn not_found_at(error: EvaluateError, include: &Node<'_>, path: &Path) -> EvaluateError {
    match &error {
        EvaluateError::Yaml(problem) => match &**problem {
            YamlError::Read { path: unread, source }
                if unread == path && source.kind() == std::io::ErrorKind::NotFound =>
            {
                let (at, path) = (include.place().into(), path.to_owned());
                EvaluateError::NoInclude { at, path }
            }
            _ => error,
        },
        _ => error,
    }
}

/// The first value that is a Python function, searched from `node` down.
pub(super) fn find_function<'a>(node: &Node<'a>) -> Option<(Node<'a>, String)> {
    match node.value() {
        Value::Tagged(tagged) if tagged.tag == "function" => {
            let name = tagged.value.as_str().unwrap_or_default().to_owned();
            Some((node.clone(), name))
        }
        Value::Sequence(_) => node.items().ok()?.iter().find_map(find_function),
        Value::Mapping(_) => {
            let fields = node.fields().ok()?.all().ok()?;
            fields.iter().find_map(|(_, child)| find_function(child))
        }
        _ => None,
    }
}

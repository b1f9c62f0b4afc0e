//! A task file with what it includes and what groups say of it, as one mapping whose values know
//! where they stand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use serde_yaml::Value;

use super::EvaluateError;
use super::dataset::DataRoots;
use super::functions::Functions;
use crate::config::yaml::{Document, FieldPath, Fields, Node, Place, Step, YamlError};

/// A task or group with all that its fields come from, merged: a key of the file itself wins over an
/// included one, a later include over an earlier, and what a group says of its members over both.
/// Values are not merged into each other.
#[derive(Debug, Clone)]
pub(super) struct TaskDocument {
    /// Later ones win.
    documents: Vec<Arc<Document>>,
    /// The mapping each key comes from.
    owners: IndexMap<String, Mapping>,
    /// The mapping that is the task's or group's own.
    own: Mapping,
    /// What stands for Python functions in the fields.
    functions: Arc<Functions>,
    /// Where data may be.
    roots: DataRoots,
}

/// Files that are included, each parsed once however many tasks include it.
#[derive(Debug, Default)]
pub(super) struct IncludedFiles {
    parsed: Mutex<HashMap<PathBuf, Arc<Document>>>,
}

impl IncludedFiles {
    fn read(&self, path: &Path) -> Result<Arc<Document>, YamlError> {
        let lock = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(path).map(Arc::clone);
        if let Some(document) = known {
            return Ok(document);
        }
        let document = Arc::new(Document::read_with_repeated_keys(path)?);
        lock().insert(path.to_owned(), Arc::clone(&document));
        Ok(document)
    }
}

/// A mapping in one of the documents.
#[derive(Debug, Clone)]
struct Mapping {
    document: usize,
    path: FieldPath,
}

impl TaskDocument {
    /// Reads a task file.
    pub(super) fn read(path: &Path) -> Result<TaskDocument, EvaluateError> {
        TaskDocument::read_among(path, &IncludedFiles::default())
    }

    /// Reads one of many task files.
    pub(super) fn read_among(
        path: &Path,
        included: &IncludedFiles,
    ) -> Result<TaskDocument, EvaluateError> {
        let own = Mapping { document: 0, path: FieldPath::default() };
        let mut merged = TaskDocument {
            documents: Vec::new(),
            owners: IndexMap::new(),
            own,
            functions: Arc::default(),
            roots: DataRoots::default(),
        };
        let document = Arc::new(Document::read_with_repeated_keys(path)?);
        merged.add(path, document, included, &mut Vec::new())?;
        merged.own.document = merged.documents.len() - 1;
        Ok(merged)
    }

    /// A task or group that is written inside another file.
    pub(super) fn inline(node: &Node<'_>) -> Result<TaskDocument, EvaluateError> {
        let own = Mapping { document: 0, path: node.path().clone() };
        let keys = node.fields()?.all()?;
        let owners = keys.iter().map(|(name, _)| ((*name).to_owned(), own.clone())).collect();
        let documents = vec![Arc::new(node.document().clone())];
        let (functions, roots) = (Arc::default(), DataRoots::default());
        Ok(TaskDocument { documents, owners, own, functions, roots })
    }

    /// The same among the directories of tasks, which have substitutes for Python functions and data.
    #[must_use]
    pub(super) fn among(self, functions: &Arc<Functions>, roots: &DataRoots) -> TaskDocument {
        TaskDocument { functions: Arc::clone(functions), roots: roots.clone(), ..self }
    }

    /// Where data may be.
    pub(super) fn roots(&self) -> &DataRoots {
        &self.roots
    }

    /// What stands for Python functions in the fields.
    pub(super) fn functions(&self) -> &Functions {
        &self.functions
    }

    fn add(
        &mut self,
        path: &Path,
        document: Arc<Document>,
        files: &IncludedFiles,
        chain: &mut Vec<PathBuf>,
    ) -> Result<(), EvaluateError> {
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
            let inner =
                files.read(&included).map_err(|error| not_found_at(error, &include, &included))?;
            self.add(&included, inner, files, chain)?;
            self.owners.shift_remove("task_list");
        }
        chain.pop();
        let own = Mapping { document: self.documents.len(), path: FieldPath::default() };
        for (name, _) in fields.all()? {
            self.owners.insert(name.to_owned(), own.clone());
        }
        self.owners.shift_remove("include");
        self.documents.push(document);
        Ok(())
    }

    /// Lets the fields of another win over those that are here.
    pub(super) fn overlay(&mut self, other: &TaskDocument) {
        if other.owners.is_empty() {
            return;
        }
        let shift = self.documents.len();
        self.documents.extend(other.documents.iter().cloned());
        for (name, Mapping { document, path }) in &other.owners {
            let moved = Mapping { document: document + shift, path: path.clone() };
            self.owners.insert(name.clone(), moved);
        }
    }

    /// Adds the fields of another that are not here.
    pub(super) fn fill(&mut self, defaults: &TaskDocument) {
        let given = self.owners.clone();
        self.overlay(defaults);
        self.owners.extend(given);
    }

    /// Forgets some fields.
    #[must_use]
    pub(super) fn without(mut self, names: &[&str]) -> TaskDocument {
        self.owners.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// Takes the value at a place, wherever it is in the task's files, out of the document; `false` if it
    /// was out already, or if it is the whole document.
    pub(super) fn hide(&mut self, file: Option<&Path>, path: &FieldPath) -> bool {
        let mut is_new = false;
        for (index, document) in self.documents.iter_mut().enumerate() {
            if document.file() != file || path.0.is_empty() || document.is_hidden(path) {
                continue;
            }
            Arc::make_mut(document).hide(path.clone());
            is_new = true;
            self.owners
                .retain(|name, owner| owner.document != index || owner.path.key(name) != *path);
        }
        is_new
    }

    /// Puts an empty text where a field is missing; `false` if that was done already.
    pub(super) fn stand_in(&mut self, name: &str) -> bool {
        let text = Value::Mapping([(Value::from(name), Value::from(""))].into_iter().collect());
        let own = Mapping { document: self.documents.len(), path: FieldPath::default() };
        let is_missing = self.get(name).is_none();
        self.documents.push(Arc::new(Document::from_value(text)));
        self.owners.insert(name.to_owned(), own);
        is_missing
    }

    /// Every field that has a value, in the order in which they were read: included ones first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Node<'_>)> {
        self.owners.keys().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The files that its fields are from, as often as there are fields.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.owners.values().filter_map(|owner| self.documents[owner.document].file())
    }

    /// The keys that one of its mappings has had before.
    pub(super) fn repeated_keys(&self) -> Vec<(String, Place)> {
        self.documents.iter().flat_map(|document| document.repeated_keys()).collect()
    }

    /// The value of a field; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Node<'_>> {
        self.fields(self.owners.get(name)?)?.get(name)
    }

    /// Every field, with the value it has as JSON; what JSON has no form for is left out.
    pub(super) fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = |name: &String| serde_json::to_value(self.get(name)?.value()).ok();
        self.owners.keys().filter_map(|name| Some((name.clone(), value(name)?))).collect()
    }

    /// The value of a field that has to be there.
    pub(super) fn require(&self, name: &str) -> Result<Node<'_>, YamlError> {
        self.get(name)
            .ok_or_else(|| YamlError::MissingField { at: self.place(), name: name.to_owned() })
    }

    /// Refuses every field that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), YamlError> {
        for (name, owner) in &self.owners {
            if !known.contains(&name.as_str()) {
                let path = owner.path.key(name);
                return Err(YamlError::UnknownField {
                    at: self.documents[owner.document].key_place(&path),
                    name: name.clone(),
                    known: known.iter().map(|&name| name.to_owned()).collect(),
                });
            }
        }
        Ok(())
    }

    /// The directory of the file that the task or group itself is in.
    pub(super) fn folder(&self) -> &Path {
        self.documents[self.own.document].file().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// Where the task or group itself is.
    pub(super) fn place(&self) -> Place {
        self.documents[self.own.document].place(&self.own.path)
    }

    fn fields(&self, mapping: &Mapping) -> Option<Fields<'_>> {
        let mut node = self.documents[mapping.document].root();
        for step in &mapping.path.0 {
            node = match step {
                Step::Key(key) => node.fields().ok()?.get(key)?,
                Step::Index(index) => {
                    let path = node.path().index(*index);
                    node.items().ok()?.into_iter().find(|item| *item.path() == path)?
                }
            };
        }
        node.fields().ok()
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
fn not_found_at(error: YamlError, include: &Node<'_>, path: &Path) -> EvaluateError {
    match error {
        YamlError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let (at, path) = (include.place().into(), path.to_owned());
            EvaluateError::NoInclude { at, path }
        }
        error => error.into(),
    }
}

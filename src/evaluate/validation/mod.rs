//! What is wrong with task files, all of it, before anything is run.

mod groups;
mod notes;
mod problem;
mod search;

use std::path::{Path, PathBuf};

use indexmap::IndexSet;
use rayon::prelude::*;

pub(super) use self::notes::notes;
pub use self::problem::{Problem, ProblemKind};
use self::search::every_error;
use super::document::{IncludedFiles, TaskDocument};
use super::kinds::{Described, EvaluatorFile};
use super::library::{EntryKind, FileContent, TaskLibrary, content_of, task_files};
use super::task::TaskConfig;
use super::{EvaluateError, TaskOptions, Tokenizer};

/// How thoroughly to look.
#[derive(Debug, Clone, Default)]
pub struct ValidationOptions {
    /// Whether documents are read and every prompt is made. Data that are not here are a problem then.
    pub data: bool,
}

/// What was found in a task file.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    /// The file.
    pub path: PathBuf,
    /// What it defines.
    pub content: FileContent,
    /// In the order of the files that it consists of, by line.
    pub problems: Vec<Problem>,
}

impl CheckedFile {
    /// Whether nothing but missing data keeps it from being used.
    pub fn can_be_used(&self) -> bool {
        !self.problems.iter().any(|problem| problem.kind.is_fault())
    }
}

impl TaskLibrary {
    /// The task files that some words stand for, each once: those of tasks, groups with all that is in
    /// them, and tags, by name or pattern; files; and all in directories. Without words, all files of the
    /// library.
    ///
    /// # Errors
    ///
    /// A word that stands for nothing, and a directory that cannot be read.
    pub fn files_of<S: AsRef<str>>(&self, words: &[S]) -> Result<Vec<PathBuf>, EvaluateError> {
        let mut files = IndexSet::new();
        if words.is_empty() {
            for directory in self.directories() {
                files.extend(task_files(directory)?);
            }
        }
        for word in words {
            let path = Path::new(word.as_ref());
            if path.is_dir() && !self.entries.contains_key(word.as_ref()) {
                files.extend(task_files(path)?);
            } else if path.is_file() {
                files.insert(path.to_owned());
            } else {
                for name in self.matching(word.as_ref()) {
                    self.add_files_of(&name, &mut files)?;
                }
            }
        }
        Ok(files.into_iter().collect())
    }

    fn add_files_of(&self, name: &str, files: &mut IndexSet<PathBuf>) -> Result<(), EvaluateError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(self.no_task(name, self.all_names()));
        };
        // A file that is there already may be in a group that contains itself.
        if entry.kind != EntryKind::Tag && !files.insert(entry.path.clone()) {
            return Ok(());
        }
        for member in entry.members.iter().filter(|member| self.entries.contains_key(*member)) {
            self.add_files_of(member, files)?;
        }
        Ok(())
    }

    /// Everything that is wrong with task files, in their order. `on_file` is called after each, from
    /// several threads.
    pub fn validate(
        &self,
        files: &[PathBuf],
        options: &ValidationOptions,
        on_file: &(dyn Fn() + Sync),
    ) -> Vec<CheckedFile> {
        let included = IncludedFiles::default();
        let check = |path: &PathBuf| {
            let checked = self.check_file(path, &included, options);
            on_file();
            checked
        };
        files.par_iter().map(check).collect()
    }

    fn check_file(
        &self,
        path: &Path,
        included: &IncludedFiles,
        options: &ValidationOptions,
    ) -> CheckedFile {
        let path = path.to_owned();
        let document = match self.document_among(&path, included) {
            Ok(document) => document,
            Err(error) => {
                let problems = vec![Problem::of(&error, &path)];
                return CheckedFile { content: FileContent::Unreadable, problems, path };
            }
        };
        let content = content_of(&document);
        let errors = match content {
            FileContent::Task(_) => self.errors_of_task(&document, options),
            FileContent::Group(_) => self.errors_of_group(&document),
            _ => Vec::new(),
        };
        let mut problems: Vec<Problem> =
            errors.iter().map(|error| Problem::of(error, &path)).collect();
        if let (FileContent::Class(_), Some(class)) = (&content, document.get("class")) {
            problems.push(Problem::class(&class));
        }
        problems.extend(notes(&document).into_iter().map(Problem::note));
        problems.extend(self.hidden_by(&path, &content));
        problems.sort_by_key(Problem::position);
        CheckedFile { path, content, problems }
    }

    fn errors_of_task(
        &self,
        document: &TaskDocument,
        options: &ValidationOptions,
    ) -> Vec<EvaluateError> {
        let (mut errors, _) =
            every_error(document, |document| match self.kinds.described(document)? {
                Described::Task(task) => TaskConfig::parse(&task, None).map(drop),
                Described::Own(_) => self.load_document(document),
            });
        if options.data && errors.is_empty() {
            errors.extend(self.load_document(document).err());
        }
        errors
    }

    /// Reads the documents of a task and makes every prompt.
    fn load_document(&self, document: &TaskDocument) -> Result<(), EvaluateError> {
        let (tokenizer, options) = (Tokenizer::of_bytes(), TaskOptions::default());
        let (tokenizer, options) = (&tokenizer, &options);
        self.kinds.load(&EvaluatorFile { document, name: None, tokenizer, options }).map(drop)
    }

    /// That another file defines the same name, and wins.
    fn hidden_by(&self, path: &Path, content: &FileContent) -> Option<Problem> {
        let name = content.name()?;
        let entry = self.entries.get(name)?;
        let is_other =
            entry.path != path && entry.path.canonicalize().ok() != path.canonicalize().ok();
        is_other.then(|| Problem::hidden(path, name, &entry.path))
    }
}

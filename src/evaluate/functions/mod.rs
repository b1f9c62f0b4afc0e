//! Substitutes for Python functions of task files, as data.
//!
//! Where a task file says `!function utils.process_docs`, a table says what that function of that file
//! does: ours, and those that users write in `functions.yaml`. An entry of ours is for one text of the
//! module: its digest and those of the files it depends on are compared, so that a function which has
//! changed is not taken for the one that was described. The digest is of the whole file, since what a
//! function does also depends on helpers and constants beside it.

mod documents;
mod expression;
mod filters;
mod pattern;
mod results;
mod table;

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::Value;

pub(super) use self::documents::DocumentSteps;
pub(super) use self::expression::Expression;
pub(super) use self::results::ResultTemplate;
use self::table::{Action, Definition, Module, Table};
use super::EvaluateError;
use super::sample::sha256;
use crate::config::yaml::{Document, Node, Place};

/// The name of files with substitutes.
pub(super) const FILE: &str = "functions.yaml";

/// The tag of functions in task files.
const TAG: &str = "function";

/// Our own substitutes, by theme. To add a file, add a line.
const BUILT_IN: [(&str, &str); 6] = [
    ("functions/answers.yaml", include_str!("answers.yaml")),
    ("functions/african.yaml", include_str!("african.yaml")),
    ("functions/arabic.yaml", include_str!("arabic.yaml")),
    ("functions/exams.yaml", include_str!("exams.yaml")),
    ("functions/mmlu.yaml", include_str!("mmlu.yaml")),
    ("functions/reasoning.yaml", include_str!("reasoning.yaml")),
];

/// The substitutes that tasks may use: those in files of users, read when they are first needed, and
/// our own.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// Directories of tasks, of which a later one wins.
    directories: Vec<PathBuf>,
    known: Mutex<HashMap<PathBuf, Option<Arc<Table>>>>,
}

/// The same for one task, which messages name.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskFunctions<'a> {
    functions: &'a Functions,
    task: &'a str,
}

/// Fields that may be functions; of lists all items may.
const FIELDS: [&str; 10] = [
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "process_docs",
    "process_results",
    "fewshot_config.doc_to_text",
    "fewshot_config.doc_to_target",
    "fewshot_config.doc_to_choice",
    "fewshot_config.process_docs",
    "metric_list.aggregation",
];

/// What stands for a function in a field.
#[derive(Debug, Clone)]
pub(super) struct Substitute {
    definition: Definition,
    /// Of its templates.
    variables: Value,
    /// What a person should know of it.
    warning: Option<String>,
    /// The function in the task file.
    at: Place,
    task: String,
    function: String,
}

/// Why there is no substitute for a function.
#[derive(Debug)]
enum NoSubstitute {
    /// No table has the function.
    Unknown,
    /// A file is not the one that the substitute is for.
    Changed(PathBuf),
    /// The file is absent, and substitutes for several texts of it are known.
    Ambiguous(PathBuf),
    /// A function that a field cannot have, or a substitute for another field.
    Misplaced,
    /// The substitute does not compute a metric that the task has.
    Metric(String),
}

/// The function that a value names.
fn function_of(node: &Node<'_>) -> Option<String> {
    match node.value() {
        serde_yaml::Value::Tagged(tagged) if tagged.tag == TAG => {
            Some(tagged.value.as_str().unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

impl Functions {
    /// The substitutes for tasks in some directories, of which a later one wins.
    pub(super) fn of(directories: &[PathBuf]) -> Functions {
        let directories = directories.iter().map(|directory| plain(directory)).collect();
        Functions { directories, known: Mutex::default() }
    }

    /// The same for one task.
    pub(super) fn of_task<'a>(&'a self, task: &'a str) -> TaskFunctions<'a> {
        TaskFunctions { functions: self, task }
    }

    /// Folders that may have a file with substitutes for tasks in `folder`: itself and those above it
    /// up to the directory of tasks, and every directory of tasks, the later ones first.
    fn folders(&self, folder: &Path) -> Vec<PathBuf> {
        let top = self.directories.iter().rev().find(|directory| folder.starts_with(directory));
        let above = folder.ancestors().take_while(|above| match top {
            Some(top) => above.starts_with(top),
            None => *above == folder,
        });
        let mut folders: Vec<PathBuf> = above.map(Path::to_owned).collect();
        folders.extend(self.directories.iter().rev().cloned());
        folders
    }

    /// The substitutes in a folder, if it has any.
    fn table(&self, folder: &Path) -> Result<Option<Arc<Table>>, EvaluateError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = known.get(folder) {
            return Ok(table.clone());
        }
        let path = folder.join(FILE);
        let table = path.is_file().then(|| Table::read(&path).map(Arc::new)).transpose()?;
        known.insert(folder.to_owned(), table.clone());
        Ok(table)
    }
}

impl TaskFunctions<'_> {
    /// What stands for the function that `node` names; `None` if it names none.
    pub(super) fn substitute(&self, node: &Node<'_>) -> Result<Option<Substitute>, EvaluateError> {
        let Some(function) = function_of(node) else { return Ok(None) };
        let at = node.place();
        let fail = |problem| no_substitute(&at, self.task, &function, problem);
        let Some((module, name)) = function.rsplit_once('.') else {
            return Err(fail(NoSubstitute::Unknown));
        };
        let path =
            plain(&at.file.clone().unwrap_or_default()).with_file_name(format!("{module}.py"));
        let mut tables = Vec::new();
        for folder in self.functions.folders(path.parent().unwrap_or(Path::new(""))) {
            tables.extend(self.functions.table(&folder)?);
        }
        let tables = tables.iter().map(|table| &**table).chain(BUILT_IN_TABLES.iter());
        let found = find(tables, &path, name, &digest_of_file).map_err(fail)?;
        let (definition, variables, warning) = found;
        let task = self.task.to_owned();
        Ok(Some(Substitute { definition, variables, warning, at, task, function }))
    }

    /// Refuses functions below the field `name` that have no substitute, or stand where none may. What
    /// a person should know of the others is added to `warnings`.
    pub(super) fn check(
        &self,
        node: &Node<'_>,
        name: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), EvaluateError> {
        match node.value() {
            serde_yaml::Value::Sequence(_) => {
                node.items()?.iter().try_for_each(|item| self.check(item, name, warnings))
            }
            serde_yaml::Value::Mapping(_) => {
                let fields = node.fields()?.all()?;
                fields.iter().try_for_each(|(child, node)| {
                    self.check(node, &format!("{name}.{child}"), warnings)
                })
            }
            _ => {
                let Some(substitute) = self.substitute(node)? else { return Ok(()) };
                if !FIELDS.contains(&name) {
                    return Err(substitute.misplaced());
                }
                warnings.extend(substitute.warning);
                Ok(())
            }
        }
    }
}

impl Substitute {
    /// Variables of its templates.
    pub(super) fn variables(&self) -> &Value {
        &self.variables
    }

    /// Where it is written.
    pub(super) fn place(&self) -> &Place {
        &self.definition.at
    }

    /// What it gives for a document.
    pub(super) fn value(&self) -> Result<Expression, EvaluateError> {
        match &self.definition.action {
            Action::Value(value) => Ok(value.clone()),
            _ => Err(self.misplaced()),
        }
    }

    /// What it does with the documents of a split.
    pub(super) fn documents(&self) -> Result<DocumentSteps, EvaluateError> {
        match &self.definition.action {
            Action::Documents(steps) => Ok(steps.with_variables(self.variables.clone())),
            _ => Err(self.misplaced()),
        }
    }

    /// The value of a metric that it computes.
    pub(super) fn result(&self, metric: &str) -> Result<ResultTemplate, EvaluateError> {
        let Action::Results(metrics) = &self.definition.action else {
            return Err(self.misplaced());
        };
        match metrics.iter().find(|(name, _)| name == metric) {
            Some((_, template)) => Ok(template.with_variables(&self.variables)),
            None => {
                let problem = NoSubstitute::Metric(metric.to_owned());
                Err(no_substitute(&self.at, &self.task, &self.function, problem))
            }
        }
    }

    /// The aggregation that it is.
    pub(super) fn aggregation(&self) -> Result<&str, EvaluateError> {
        match &self.definition.action {
            Action::Aggregation(name) => Ok(name),
            _ => Err(self.misplaced()),
        }
    }

    fn misplaced(&self) -> EvaluateError {
        no_substitute(&self.at, &self.task, &self.function, NoSubstitute::Misplaced)
    }
}

/// The error that there is no substitute for a function.
fn no_substitute(at: &Place, task: &str, function: &str, problem: NoSubstitute) -> EvaluateError {
    EvaluateError::Function {
        at: at.clone().into(),
        task: task.to_owned(),
        function: function.to_owned(),
        problem: problem.to_string(),
    }
}

static BUILT_IN_TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let table = |(name, text): &(&str, &str)| {
        let document = Document::parse(text, Path::new(name)).map_err(EvaluateError::from);
        document.and_then(|document| Table::of(&document))
    };
    let tables: Result<Vec<Table>, EvaluateError> = BUILT_IN.iter().map(table).collect();
    tables.unwrap_or_else(|error| unreachable!("a test reads the tables: {error}"))
});

/// The first substitute for a function of the module at `path`, its variables, and a warning.
fn find<'a>(
    tables: impl Iterator<Item = &'a Table>,
    path: &Path,
    function: &str,
    digest_of: &DigestOf,
) -> Result<(Definition, Value, Option<String>), NoSubstitute> {
    let text = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
    let mut changed = None;
    let mut unchecked: Option<(Definition, Value)> = None;
    for module in tables.flat_map(|table| &table.modules) {
        let Some(mut captures) = module.captures(&text) else { continue };
        let Some((definition, others)) = module.function(function) else { continue };
        captures.extend(others);
        let found = (definition.clone(), module.variables(captures));
        match check(module, path, digest_of) {
            Digest::Right => return Ok((found.0, found.1, None)),
            Digest::Wrong(file) => changed = changed.or(Some(file)),
            Digest::Absent if unchecked.is_some() => {
                return Err(NoSubstitute::Ambiguous(path.to_owned()));
            }
            Digest::Absent => unchecked = Some(found),
        }
    }
    match (unchecked, changed) {
        (Some((definition, variables)), _) => {
            let warning = format!(
                "`{}` is not there, so that it is not known whether the substitute for its function \
                 `{function}` does the same",
                path.display()
            );
            Ok((definition, variables, Some(warning)))
        }
        (None, Some(file)) => Err(NoSubstitute::Changed(file)),
        (None, None) => Err(NoSubstitute::Unknown),
    }
}

/// What comparing files with their digests shows.
enum Digest {
    Right,
    Wrong(PathBuf),
    Absent,
}

/// Gives the digest of a file; `None` if it is not there.
type DigestOf = dyn Fn(&Path) -> Option<String>;

fn check(module: &Module, path: &Path, digest_of: &DigestOf) -> Digest {
    if module.digests.is_empty() && module.others.is_empty() {
        return Digest::Right;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let own = std::iter::once((path.to_owned(), &module.digests));
    let others = module.others.iter().map(|(other, digests)| (folder.join(other), digests));
    for (path, digests) in own.chain(others) {
        match digest_of(&path) {
            None => return Digest::Absent,
            Some(digest) if digests.is_empty() || digests.contains(&digest) => {}
            Some(_) => return Digest::Wrong(path),
        }
    }
    Digest::Right
}

/// A path without `..`, from the root.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// SHA-256 of a file, whichever way its lines end; empty if it is not text.
fn digest_of_file(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| digest(&bytes))
}

fn digest(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes)
        .map_or_else(|_| String::new(), |text| sha256(text.replace("\r\n", "\n")))
}

impl fmt::Display for NoSubstitute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSubstitute::Unknown => f.write_str("which cannot be run and has no substitute"),
            NoSubstitute::Changed(file) => write!(
                f,
                "whose substitute is for another text of `{}` than the one here",
                file.display()
            ),
            NoSubstitute::Ambiguous(file) => write!(
                f,
                "whose substitute depends on the text of `{}`, which is not there",
                file.display()
            ),
            NoSubstitute::Metric(name) => {
                write!(f, "whose substitute says nothing of the metric `{name}`")
            }
            NoSubstitute::Misplaced => f.write_str("which has no substitute for this field"),
        }
    }
}

#[cfg(test)]
mod tests;

//! Files with substitutes, `functions.yaml`: which functions they are for and what those do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::Value;
use minijinja::value::{Serde, merge_maps};

use super::documents::{DocumentSteps, read_expression};
use super::expression::Expression;
use super::pattern::{Captures, NamePattern};
use super::results::ResultTemplate;
use crate::config::yaml::{Document, Fields, Node, Place, YamlError};
use crate::evaluate::EvaluateError;

/// Substitutes for the functions of some modules.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) modules: Vec<Module>,
}

/// A file of Python functions.
#[derive(Debug)]
pub(super) struct Module {
    /// The end of its path, or of those of several files that are alike.
    files: Vec<NamePattern>,
    /// SHA-256 of each text of the file that the substitutes are for; any text if there is none.
    pub(super) digests: Vec<String>,
    /// The same of other files that the functions depend on, by their paths from the module's folder.
    pub(super) others: Vec<(PathBuf, Vec<String>)>,
    /// Values that templates may use.
    variables: Value,
    functions: Vec<(NamePattern, Definition)>,
}

/// What a function does.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) at: Box<Place>,
    pub(super) action: Action,
}

/// What a function does, by the use that a task makes of it.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Gives a value for a document, or for none.
    Value(Expression),
    /// Changes the documents of a split.
    Documents(DocumentSteps),
    /// Is the aggregation of that name.
    Aggregation(String),
    /// Judges what a model answered: the value of each metric.
    Results(Vec<(String, ResultTemplate)>),
}

/// The name of an action's field.
type ReadAction = fn(&Node<'_>) -> Result<Action, EvaluateError>;

/// What may be said of a function. To add one, add a line and a variant of [`Action`].
const ACTIONS: &[(&str, ReadAction)] = &[
    ("value", |node| Ok(Action::Value(read_expression(node)?))),
    ("documents", |node| Ok(Action::Documents(DocumentSteps::parse(node)?))),
    ("aggregation", |node| Ok(Action::Aggregation(node.text()?.to_owned()))),
    ("results", |node| {
        let metrics = node.fields()?.all()?.into_iter();
        let metrics = metrics
            .map(|(name, template)| Ok((name.to_owned(), ResultTemplate::parse(&template)?)));
        Ok(Action::Results(metrics.collect::<Result<_, EvaluateError>>()?))
    }),
];

impl Table {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Table, EvaluateError> {
        Table::of(&Document::read(path)?)
    }

    /// Reads a document.
    pub(super) fn of(document: &Document) -> Result<Table, EvaluateError> {
        let fields = document.root().fields()?;
        fields.only(&["modules"])?;
        let modules = fields.require("modules")?.items()?;
        Ok(Table { modules: modules.iter().map(Module::parse).collect::<Result<_, _>>()? })
    }
}

impl Module {
    fn parse(node: &Node<'_>) -> Result<Module, EvaluateError> {
        let fields = node.fields()?;
        fields.only(&["file", "sha256", "others", "variables", "functions"])?;
        let file = fields.require("file")?;
        let files = if file.value().is_string() { vec![file] } else { file.items()? };
        let pattern = |file: &Node<'_>| {
            let text = file.text()?;
            NamePattern::new(text).ok_or_else(|| no_pattern(file.place(), text))
        };
        let others = match fields.get("others") {
            Some(others) => others.fields()?.all()?,
            None => Vec::new(),
        };
        let other = |(path, node): &(&str, Node<'_>)| Ok((PathBuf::from(path), digests(node)?));
        let functions = fields.require("functions")?.fields()?.all()?;
        let function = |(name, node): &(&str, Node<'_>)| {
            let pattern =
                NamePattern::new(name).ok_or_else(|| no_pattern(node.key_place(), name))?;
            Ok((pattern, Definition::parse(node)?))
        };
        Ok(Module {
            files: files.iter().map(pattern).collect::<Result<_, _>>()?,
            digests: fields.get("sha256").as_ref().map_or(Ok(Vec::new()), digests)?,
            others: others.iter().map(other).collect::<Result<_, YamlError>>()?,
            variables: variables(&fields)?,
            functions: functions.iter().map(function).collect::<Result<_, EvaluateError>>()?,
        })
    }

    /// The parts of a file's path that are captured; `None` if this is not about the file.
    pub(super) fn captures(&self, path: &str) -> Option<Captures> {
        self.files.iter().find_map(|pattern| pattern.captures_of_end(path))
    }

    /// What a function does, and the parts that its name's pattern captures.
    pub(super) fn function(&self, name: &str) -> Option<(&Definition, Captures)> {
        self.functions
            .iter()
            .find_map(|(pattern, definition)| Some((definition, pattern.captures(name)?)))
    }

    /// What templates may use: captured parts and the module's own values.
    pub(super) fn variables(&self, captures: Captures) -> Value {
        let captures: BTreeMap<String, String> = captures.into_iter().collect();
        merge_maps([Value::from(captures), self.variables.clone()])
    }
}

impl Definition {
    fn parse(node: &Node<'_>) -> Result<Definition, EvaluateError> {
        let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
        let fields = node.fields()?;
        fields.only(&names)?;
        let all = fields.all()?;
        let [(name, value)] = all.as_slice() else {
            return Err(node.wrong_type(format!("one of `{}`", names.join("`, `"))).into());
        };
        let read = ACTIONS.iter().find(|(known, _)| known == name).map(|(_, read)| read);
        let read =
            read.ok_or_else(|| node.wrong_type(format!("one of `{}`", names.join("`, `"))))?;
        Ok(Definition { at: node.key_place().into(), action: read(value)? })
    }
}

fn variables(fields: &Fields<'_>) -> Result<Value, YamlError> {
    let Some(node) = fields.get("variables") else { return Ok(Value::UNDEFINED) };
    node.fields()?;
    let json = serde_json::to_value(node.value())
        .map_err(|_| node.wrong_type("values that JSON has, too"))?;
    Ok(Value::from(Serde(json)))
}

/// One digest or several.
fn digests(node: &Node<'_>) -> Result<Vec<String>, YamlError> {
    let nodes = if node.value().is_string() { vec![node.clone()] } else { node.items()? };
    let digest = |node: &Node<'_>| {
        let text = node.text()?;
        let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_digest {
            true => Ok(text.to_ascii_lowercase()),
            false => Err(node.wrong_type("a SHA-256 of 64 hexadecimal digits")),
        }
    };
    nodes.iter().map(digest).collect()
}

fn no_pattern(at: Place, found: &str) -> EvaluateError {
    let expected = "a name, in which `{name}` and `*` stand for any part".to_owned();
    YamlError::WrongType { at, expected, found: format!("`{found}`") }.into()
}

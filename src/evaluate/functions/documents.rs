//! What stands for `process_docs`: steps that change the documents of a split.

use std::collections::HashSet;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::expression::Expression;
use crate::config::yaml::{Node, Place, YamlError};
use crate::evaluate::EvaluateError;
use crate::evaluate::data::{Document, Split, describe};
use crate::evaluate::error::Row;

/// The steps of a substitute for `process_docs`, in their order.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct DocumentSteps {
    at: Box<Place>,
    steps: Vec<Step>,
    /// Variables of the templates.
    variables: Value,
}

#[derive(Debug, Clone)]
struct Step {
    at: Box<Place>,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    /// Keeps documents for which this is true.
    Keep(Expression),
    /// Gives columns other values, all computed from the document as it was, and adds those that are
    /// not there.
    Set(Vec<(String, Expression)>),
    /// Leaves columns out.
    Remove(Vec<String>),
    /// Leaves out all other columns.
    Only(Vec<String>),
    /// Gives columns other names.
    Rename(Vec<(String, String)>),
}

impl DocumentSteps {
    /// Reads a list of steps.
    pub(super) fn parse(list: &Node<'_>) -> Result<DocumentSteps, EvaluateError> {
        let steps = list.items()?.iter().map(Step::parse).collect::<Result<_, _>>()?;
        Ok(DocumentSteps { at: list.place().into(), steps, variables: Value::UNDEFINED })
    }

    /// The same steps, with variables for their templates.
    pub(super) fn with_variables(&self, variables: Value) -> DocumentSteps {
        DocumentSteps { variables, ..self.clone() }
    }

    /// The documents of a split after all steps, of which there is at least one. `row` says what a
    /// document is, for messages.
    pub(in crate::evaluate) fn apply(
        &self,
        split: Split,
        name: &str,
        row: fn(usize) -> Row,
    ) -> Result<Split, EvaluateError> {
        let mut documents = split.documents;
        for step in &self.steps {
            let mut changed = Vec::with_capacity(documents.len());
            for (index, document) in documents.into_iter().enumerate() {
                changed.extend(step.apply(document, &self.variables, row(index))?);
            }
            documents = changed;
        }
        let Some(first) = documents.first() else {
            let (at, split) = (self.at.clone(), name.to_owned());
            return Err(EvaluateError::NoDocumentsLeft { at, split });
        };
        let columns: HashSet<String> = first.columns.keys().cloned().collect();
        Ok(Split { documents, columns })
    }
}

impl Step {
    fn parse(node: &Node<'_>) -> Result<Step, EvaluateError> {
        let fields = node.fields()?;
        fields.only(&["keep", "set", "remove", "only", "rename"])?;
        let all = fields.all()?;
        let [(name, value)] = all.as_slice() else {
            return Err(node.wrong_type("one of `keep`, `set`, `remove`, `only`, `rename`").into());
        };
        let change = match *name {
            "keep" => Change::Keep(read_expression(value)?),
            "set" => {
                let columns = value.fields()?.all()?.into_iter();
                let columns =
                    columns.map(|(name, value)| Ok((name.to_owned(), read_expression(&value)?)));
                Change::Set(columns.collect::<Result<_, EvaluateError>>()?)
            }
            "remove" => Change::Remove(names(value)?),
            "only" => Change::Only(names(value)?),
            _ => {
                let columns = value.fields()?.all()?.into_iter();
                let columns =
                    columns.map(|(from, to)| Ok((from.to_owned(), to.text()?.to_owned())));
                Change::Rename(columns.collect::<Result<_, YamlError>>()?)
            }
        };
        Ok(Step { at: value.place().into(), change })
    }

    fn apply(
        &self,
        document: Document,
        variables: &Value,
        row: Row,
    ) -> Result<Option<Document>, EvaluateError> {
        let value = |expression: &Expression| {
            expression.value(variables, &document).map_err(|problem| EvaluateError::Template {
                at: self.at.clone(),
                row,
                problem,
            })
        };
        let columns: Map<String, Json> = match &self.change {
            Change::Keep(expression) => match value(expression)? {
                Json::Bool(keeps) => return Ok(keeps.then_some(document)),
                other => {
                    return Err(EvaluateError::Value {
                        at: self.at.clone(),
                        row,
                        expected: "`true` or `false`",
                        found: describe(&other),
                    });
                }
            },
            Change::Set(new) => {
                let new: Vec<(String, Json)> = new
                    .iter()
                    .map(|(name, expression)| Ok((name.clone(), value(expression)?)))
                    .collect::<Result<_, EvaluateError>>()?;
                let mut columns = document.columns;
                columns.extend(new);
                columns
            }
            Change::Remove(names) => {
                let kept = document.columns.into_iter();
                kept.filter(|(name, _)| !names.contains(name)).collect()
            }
            Change::Only(names) => {
                let kept = document.columns.into_iter();
                kept.filter(|(name, _)| names.contains(name)).collect()
            }
            Change::Rename(names) => {
                let renamed = |name: String| {
                    let new = names.iter().find(|(from, _)| *from == name);
                    new.map_or(name, |(_, to)| to.clone())
                };
                let columns = document.columns.into_iter();
                columns.map(|(name, value)| (renamed(name), value)).collect()
            }
        };
        Ok(Some(Document::new(columns)))
    }
}

/// Reads a value: a template, or what is the same for every document.
pub(super) fn read_expression(node: &Node<'_>) -> Result<Expression, EvaluateError> {
    match node.value().as_str() {
        Some(text) => Expression::new(text).map_err(|problem| EvaluateError::Syntax {
            at: node.place().into(),
            what: "template",
            problem,
        }),
        None => serde_json::to_value(node.value())
            .map(Expression::Constant)
            .map_err(|_| node.wrong_type("a template, a number, a list or a mapping").into()),
    }
}

fn names(node: &Node<'_>) -> Result<Vec<String>, YamlError> {
    node.items()?.iter().map(|name| name.text().map(str::to_owned)).collect()
}

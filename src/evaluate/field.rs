//! Fields that describe a document: `doc_to_text`, `doc_to_target`, `doc_to_choice` and their kin.
//!
//! A text that names a column is that column's value, of any type; every other text is a template.
//! A column wins over a literal reading.

use std::collections::HashSet;

use minijinja::value::Serde;
use serde_json::Value;

use super::EvaluateError;
use super::data::{Document, describe};
use super::error::Row;
use super::functions::{Expression, TaskFunctions};
use super::python::{is_digits, parse_literal, to_text};
use super::template::Template;
use crate::config::yaml::{Node, Place};

/// A field of a task that gives a value for each document.
#[derive(Debug, Clone)]
pub(super) struct Field {
    at: Box<Place>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// The same for every document.
    Constant(Value),
    /// A text as written: a column or a template, depending on the data.
    Text(String, Box<Template>),
    /// What stands for a function, with the variables of its template.
    Function(Expression, minijinja::Value),
}

impl Field {
    /// Reads a field: a text, or a value that is the same for every document.
    pub(super) fn parse(node: &Node<'_>) -> Result<Field, EvaluateError> {
        let at = Box::new(node.place());
        let source = match node.value().as_str() {
            Some(text) => match Template::new(text) {
                Ok(template) => Source::Text(text.to_owned(), Box::new(template)),
                Err(problem) => {
                    return Err(EvaluateError::Syntax { at, what: "template", problem });
                }
            },
            None => Source::Constant(
                serde_json::to_value(node.value())
                    .map_err(|_| node.wrong_type("a text, a number, a list or a mapping"))?,
            ),
        };
        Ok(Field { at, source })
    }

    /// Reads a field that may also be a function with a substitute.
    pub(super) fn parse_with(
        node: &Node<'_>,
        functions: TaskFunctions<'_>,
    ) -> Result<Field, EvaluateError> {
        let Some(substitute) = functions.substitute(node)? else { return Field::parse(node) };
        let source = Source::Function(substitute.value()?, substitute.variables().clone());
        Ok(Field { at: Box::new(substitute.place().clone()), source })
    }

    /// The value for a document.
    fn resolve(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<Resolved, EvaluateError> {
        match &self.source {
            Source::Constant(value) => Ok(Resolved { value: value.clone(), is_rendered: false }),
            Source::Function(expression, variables) => {
                let value = expression.value(variables, document).map_err(|problem| {
                    EvaluateError::Template { at: self.at.clone(), row, problem }
                })?;
                Ok(Resolved { value, is_rendered: false })
            }
            Source::Text(text, template) => {
                if columns.contains(text)
                    && let Some(value) = document.columns.get(text)
                {
                    return Ok(Resolved { value: value.clone(), is_rendered: false });
                }
                let rendered = template.render(&document.variables).map_err(|problem| {
                    EvaluateError::Template { at: self.at.clone(), row, problem }
                })?;
                Ok(Resolved { value: Value::String(rendered), is_rendered: true })
            }
        }
    }

    /// The text as the task file has it; empty for a value of another kind.
    pub(super) fn written(&self) -> &str {
        match &self.source {
            Source::Text(text, _) => text,
            Source::Constant(_) | Source::Function(..) => "",
        }
    }

    /// The error that the field has another kind of value than it should.
    pub(super) fn wrong_value(
        &self,
        row: Row,
        expected: &'static str,
        found: &Value,
    ) -> EvaluateError {
        EvaluateError::Value { at: self.at.clone(), row, expected, found: describe(found) }
    }
}

/// A value, and whether a template made it.
struct Resolved {
    value: Value,
    is_rendered: bool,
}

/// The fields that turn a document into a question and an answer.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) text: Field,
    pub(super) target: Field,
    pub(super) choice: Option<Field>,
    pub(super) prefix: Option<Field>,
}

impl Fields {
    /// The question: text, or the index of a choice.
    pub(super) fn text(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<Value, EvaluateError> {
        let resolved = self.text.resolve(document, columns, row)?;
        Ok(self.digits_as_index(resolved))
    }

    /// The answer: text, the index of a choice, or a list of either.
    pub(super) fn target(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<Value, EvaluateError> {
        let resolved = self.target.resolve(document, columns, row)?;
        let is_rendered = resolved.is_rendered;
        let value = self.digits_as_index(resolved);
        if let Value::String(text) = &value
            && is_rendered
            && text.len() > 1
            && text.starts_with('[')
            && text.ends_with(']')
            && let Some(list) = parse_literal(text)
        {
            return Ok(list);
        }
        Ok(value)
    }

    /// The choices, if the task has any.
    pub(super) fn choices(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<Option<Vec<String>>, EvaluateError> {
        let Some(field) = &self.choice else { return Ok(None) };
        let resolved = field.resolve(document, columns, row)?;
        let value = match resolved.value {
            Value::String(text) if resolved.is_rendered => {
                parse_literal(&text).unwrap_or(Value::String(text))
            }
            other => other,
        };
        let items = match value {
            Value::Array(items) => items,
            Value::Object(map) => map.into_iter().map(|(_, value)| value).collect(),
            other => return Err(field.wrong_value(row, "a list of texts", &other)),
        };
        let texts: Option<Vec<String>> =
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        match texts {
            Some(texts) if !texts.is_empty() => Ok(Some(texts)),
            _ => Err(field.wrong_value(row, "a list of texts", &Value::Array(items))),
        }
    }

    /// What the answer starts with, already in the prompt; empty if there is nothing.
    pub(super) fn prefix(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<String, EvaluateError> {
        match &self.prefix {
            Some(field) => field.text(document, columns, row),
            None => Ok(String::new()),
        }
    }

    /// In tasks with choices a text of digits is an index.
    fn digits_as_index(&self, resolved: Resolved) -> Value {
        match &resolved.value {
            Value::String(text)
                if resolved.is_rendered && self.choice.is_some() && is_digits(text) =>
            {
                text.parse::<i64>().map_or_else(|_| resolved.value.clone(), Value::from)
            }
            _ => resolved.value,
        }
    }
}

impl Field {
    /// The value as text, printed as in Python; null is empty.
    pub(super) fn text(
        &self,
        document: &Document,
        columns: &HashSet<String>,
        row: Row,
    ) -> Result<String, EvaluateError> {
        match self.resolve(document, columns, row)?.value {
            Value::Null => Ok(String::new()),
            value => Ok(python_text(&value)),
        }
    }
}

/// `str(value)` of a value of the data.
pub(super) fn python_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => to_text(&minijinja::Value::from(Serde(other))),
    }
}

/// A value as the index of a choice; a boolean counts as 0 or 1, as it does in Python.
pub(super) fn as_index(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(boolean) => Some(i64::from(*boolean)),
        other => other.as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn fields(text: &str) -> Fields {
        let document = crate::config::yaml::Document::parse(text, Path::new("task.yaml"));
        let document = document.expect("YAML");
        let mapping = document.root().fields().expect("a mapping");
        let field = |name| mapping.get(name).map(|node| Field::parse(&node).expect("a field"));
        Fields {
            text: field("text").expect("a text"),
            target: field("target").expect("a target"),
            choice: field("choice"),
            prefix: None,
        }
    }

    fn document(columns: Value) -> (Document, HashSet<String>) {
        let Value::Object(columns) = columns else { panic!("columns are an object") };
        let names = columns.keys().cloned().collect();
        (Document::new(columns), names)
    }

    #[test]
    fn a_column_wins_over_a_template_and_keeps_its_type() {
        let fields = fields("text: question\ntarget: answer\n");
        let (row, columns) = document(json!({"question": "[1]", "other": 3}));
        assert_eq!(fields.text(&row, &columns, Row::Item(0)).expect("text"), json!("[1]"));
        assert_eq!(fields.target(&row, &columns, Row::Item(0)).expect("text"), json!("answer"));
    }

    #[test]
    fn digits_are_an_index_only_where_there_are_choices() {
        let (row, columns) = document(json!({"n": 2}));
        let with = fields("text: q\ntarget: '{{n}}'\nchoice: [a, b, c]\n");
        assert_eq!(with.target(&row, &columns, Row::Item(0)).expect("index"), json!(2));
        let without = fields("text: q\ntarget: '{{n}}'\n");
        assert_eq!(without.target(&row, &columns, Row::Item(0)).expect("text"), json!("2"));
    }

    #[test]
    fn rendered_lists_are_lists() {
        let (row, columns) = document(json!({"a": "it's", "b": "x", "c": {"k": "v"}}));
        let fields = fields("text: q\ntarget: '[{{1}}, 2]'\nchoice: '{{[a, \" \" ~ b]}}'\n");
        assert_eq!(fields.target(&row, &columns, Row::Item(0)).expect("list"), json!([1, 2]));
        let choices = fields.choices(&row, &columns, Row::Item(0)).expect("choices");
        assert_eq!(choices, Some(vec!["it's".to_owned(), " x".to_owned()]));
    }

    #[test]
    fn mistakes_name_field_and_document() {
        let (row, columns) = document(json!({"a": 1}));
        let fields = fields("text: '{{absent}}'\ntarget: a\nchoice: a\n");
        let message = fields.text(&row, &columns, Row::Item(3)).expect_err("absent").to_string();
        assert!(message.starts_with("task.yaml:1:7: text: the template fails on item 3: "));
        let message = fields.choices(&row, &columns, Row::Example(1)).expect_err("").to_string();
        assert_eq!(
            message,
            "task.yaml:3:9: choice: expected a list of texts for example 1, found `1`"
        );
    }
}

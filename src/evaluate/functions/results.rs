//! What stands for `process_results`: the values of metrics from what a model answered.

use minijinja::Value;
use minijinja::value::merge_maps;
use serde::Serialize;
use serde_json::Value as Json;

use super::documents::read_expression;
use super::expression::Expression;
use crate::config::yaml::{Node, Place};
use crate::evaluate::EvaluateError;
use crate::evaluate::data::{Document, describe};
use crate::evaluate::error::Row;

/// A metric's value on an item, computed from the item's row and the model's answer.
#[derive(Debug, Clone, Serialize)]
pub(in crate::evaluate) struct ResultTemplate {
    /// As written, for digests.
    source: Json,
    /// Variables beside the row's columns and the answer.
    variables: Value,
    #[serde(skip)]
    expression: Expression,
    #[serde(skip)]
    at: Box<Place>,
}

impl ResultTemplate {
    /// Reads a template.
    pub(super) fn parse(node: &Node<'_>) -> Result<ResultTemplate, EvaluateError> {
        let wrong = |_| node.wrong_type("a template");
        Ok(ResultTemplate {
            source: serde_json::to_value(node.value()).map_err(wrong)?,
            variables: Value::UNDEFINED,
            expression: read_expression(node)?,
            at: node.place().into(),
        })
    }

    /// The same template, with variables.
    pub(super) fn with_variables(&self, variables: &Value) -> ResultTemplate {
        ResultTemplate { variables: variables.clone(), ..self.clone() }
    }

    /// The `width` numbers for an item. `answer` is what the model said, as variables.
    pub(in crate::evaluate) fn numbers(
        &self,
        answer: Value,
        document: &Document,
        row: Row,
        width: usize,
    ) -> Result<Vec<f64>, EvaluateError> {
        let variables = merge_maps([answer, self.variables.clone()]);
        let value = self
            .expression
            .value(&variables, document)
            .map_err(|problem| EvaluateError::Template { at: self.at.clone(), row, problem })?;
        let items = match &value {
            Json::Array(items) if width > 1 => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let numbers: Option<Vec<f64>> = items.iter().map(number).collect();
        numbers.filter(|numbers| numbers.len() == width).ok_or_else(|| EvaluateError::Value {
            at: self.at.clone(),
            row,
            expected: if width == 1 { "a number" } else { "two numbers" },
            found: describe(&value),
        })
    }
}

/// A number, as which also a truth value counts. JSON has no form for what is not a number.
fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Bool(boolean) => Some(f64::from(u8::from(*boolean))),
        Json::Null => Some(f64::NAN),
        other => other.as_f64(),
    }
}

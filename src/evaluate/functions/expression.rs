//! Templates whose value need not be text: what a substitute computes.

use std::collections::BTreeMap;

use minijinja::value::{ValueKind, merge_maps};
use minijinja::{Environment, Value};

use crate::evaluate::data::Document;
use crate::evaluate::python::to_text;
use crate::evaluate::template::Template;

/// The variable that a template sets to its value.
const RESULT: &str = "result";

/// The variable with all columns of the document, for those whose names are no names of variables or
/// are captured ones.
const ROW: &str = "row";

/// A value that depends on a document.
#[derive(Debug, Clone)]
pub(in crate::evaluate) enum Expression {
    /// The same for every document.
    Constant(serde_json::Value),
    /// What `{{ … }}` gives if there is nothing else; what a template sets `result` to; otherwise the
    /// text.
    Template(Box<Template>),
}

impl Expression {
    /// Compiles a text; the error says what is wrong with it.
    pub(super) fn new(source: &str) -> Result<Expression, String> {
        if !source.contains("{{") && !source.contains("{%") {
            return Ok(Expression::Constant(source.into()));
        }
        let source = match single_expression(source) {
            Some(expression) => format!("{{% set {RESULT} = ({expression}) %}}"),
            None => source.to_owned(),
        };
        Ok(Expression::Template(Box::new(Template::with(&source, super::filters::add)?)))
    }

    /// The value for a document; `variables` win over its columns. The error says what failed.
    pub(in crate::evaluate) fn value(
        &self,
        variables: &Value,
        document: &Document,
    ) -> Result<serde_json::Value, String> {
        let template = match self {
            Expression::Constant(value) => return Ok(value.clone()),
            Expression::Template(template) => template,
        };
        let row = Value::from(BTreeMap::from([(ROW, document.variables.clone())]));
        let context = merge_maps([variables.clone(), row, document.variables.clone()]);
        let (text, result) = template.render_with(&context, RESULT)?;
        match result {
            Some(value) => to_json(&value),
            None => Ok(text.into()),
        }
    }
}

/// The expression in `{{ … }}`, if a text is nothing else.
fn single_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Environment::new().compile_expression(inner).is_ok().then_some(inner)
}

/// A value of a template as one of the data.
fn to_json(value: &Value) -> Result<serde_json::Value, String> {
    match value.kind() {
        ValueKind::Undefined => Err("undefined value".to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            items.map(|item| to_json(&item)).collect()
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| error.to_string())?;
            let item = |key: Value| {
                let item = value.get_item(&key).map_err(|error| error.to_string())?;
                Ok((to_text(&key), to_json(&item)?))
            };
            keys.map(item).collect::<Result<_, String>>().map(serde_json::Value::Object)
        }
        _ => serde_json::to_value(value).map_err(|error| error.to_string()),
    }
}

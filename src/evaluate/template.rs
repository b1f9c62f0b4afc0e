//! Prompt templates: Jinja as the harness sets it up, on minijinja.
//!
//! Undefined values are errors, the trailing newline stays, nothing is escaped, blocks are not
//! trimmed, and values print as in Python.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat;

use super::data::LEFT_OUT;
use super::python::{Pattern, is_whitespace, to_text};

/// The name of the only template of an environment.
const NAME: &str = "template";

/// A compiled template.
#[derive(Debug, Clone)]
pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Compiles a template; the error says what is wrong with it.
    pub(super) fn new(source: &str) -> Result<Template, String> {
        Template::with(source, |_| ())
    }

    /// The same, with what else the template may use.
    pub(super) fn with(
        source: &str,
        extend: impl FnOnce(&mut Environment<'static>),
    ) -> Result<Template, String> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        environment.set_syntax(syntax.build().map_err(describe)?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_unknown_method_callback(python_method);
        environment.set_formatter(|out, _state, value| {
            if value.is_undefined() {
                return Err(Error::from(ErrorKind::UndefinedError));
            }
            out.write_str(&to_text(value)).map_err(Error::from)
        });
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("string", |value: Value| to_text(&value));
        add_regex_replace(&mut environment);
        extend(&mut environment);
        environment.add_template_owned(NAME, source.to_owned()).map_err(describe)?;
        Ok(Template { environment })
    }

    /// Renders the template with a document's columns as variables; the error says what failed.
    pub(super) fn render(&self, columns: &Value) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(describe)?;
        template.render(columns).map_err(|error| self.failure(error, &template, columns))
    }

    /// The text, and what the template has set the variable `name` to.
    pub(super) fn render_with(
        &self,
        columns: &Value,
        name: &str,
    ) -> Result<(String, Option<Value>), String> {
        let template = self.environment.get_template(NAME).map_err(describe)?;
        let rendered = template.render_captured(columns);
        let rendered = rendered.map_err(|error| self.failure(error, &template, columns))?;
        let is_set = rendered.state().exports().contains(&name);
        let value = is_set.then(|| rendered.state().lookup(name)).flatten();
        if value.as_ref().is_some_and(Value::is_undefined) {
            let error = Error::from(ErrorKind::UndefinedError);
            return Err(self.failure(error, &template, columns));
        }
        Ok((rendered.into_output(), value))
    }

    fn failure(
        &self,
        error: Error,
        template: &minijinja::Template<'_, '_>,
        columns: &Value,
    ) -> String {
        match error.kind() {
            ErrorKind::UndefinedError => describe(error) + &self.absent(template, columns),
            _ => describe(error),
        }
    }

    /// Which of the variables that the template asks for are no columns, as the end of a sentence.
    fn absent(&self, template: &minijinja::Template<'_, '_>, columns: &Value) -> String {
        let is_known = |name: &String| {
            columns.get_attr(name).is_ok_and(|value| !value.is_undefined())
                || self.environment.globals().any(|(global, _)| global == name)
        };
        let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        names.retain(|name| !is_known(name));
        names.sort();
        let left_out = columns.get_attr(LEFT_OUT).unwrap_or_default();
        let mut left_out = left_out.try_iter().into_iter().flatten();
        let left_out = left_out.find(|name| names.iter().any(|other| name.as_str() == Some(other)));
        if let Some(name) = left_out {
            return format!(": the column `{name}` has values of a kind that is not read");
        }
        match names.as_slice() {
            [] => String::new(),
            names => format!(": there is no column `{}`", names.join("` or `")),
        }
    }
}

fn describe(error: Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The harness's filter `regex_replace(pattern, replacement, count=0)`, as `re.sub`. Patterns are kept,
/// since a template meets the same ones for every document.
fn add_regex_replace(environment: &mut Environment<'static>) {
    let known: Arc<Mutex<HashMap<String, Pattern>>> = Arc::default();
    let replace = move |text: &str,
                        pattern: &str,
                        replacement: &str,
                        count: Option<usize>,
                        options: Kwargs| {
        let count = count.or(options.get("count")?);
        options.assert_all_used()?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(pattern) {
            let compiled = Pattern::new(pattern)
                .map_err(|problem| Error::new(ErrorKind::InvalidOperation, problem))?;
            known.insert(pattern.to_owned(), compiled);
        }
        Ok::<_, Error>(known[pattern].replace(text, replacement, count.unwrap_or(0)))
    };
    environment.add_filter("regex_replace", replace);
}

/// Python's methods on strings, lists and maps; those whose idea of whitespace differs from
/// Rust's, and the ones that `minijinja-contrib` lacks, are here.
pub(super) fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), method) {
        (ValueKind::String, "strip" | "lstrip" | "rstrip") if arguments.is_empty() => {
            let text = value.as_str().unwrap_or_default();
            Ok(Value::from(match method {
                "strip" => text.trim_matches(is_whitespace),
                "lstrip" => text.trim_start_matches(is_whitespace),
                _ => text.trim_end_matches(is_whitespace),
            }))
        }
        (ValueKind::String, "split") if arguments.is_empty() => {
            let text = value.as_str().unwrap_or_default();
            Ok(text.split(is_whitespace).filter(|part| !part.is_empty()).map(Value::from).collect())
        }
        (ValueKind::String, "index") => {
            let (wanted,): (&str,) = from_args(arguments)?;
            let text = value.as_str().unwrap_or_default();
            match text.find(wanted) {
                Some(start) => Ok(Value::from(text[..start].chars().count())),
                None => Err(not_found(&Value::from(wanted))),
            }
        }
        (ValueKind::String, "partition" | "rpartition") => {
            let (separator,): (&str,) = from_args(arguments)?;
            let text = value.as_str().unwrap_or_default();
            let parts = match (method, text.split_once(separator), text.rsplit_once(separator)) {
                ("partition", Some((before, after)), _) => [before, separator, after],
                ("partition", None, _) => [text, "", ""],
                (_, _, Some((before, after))) => [before, separator, after],
                (_, _, None) => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        (ValueKind::String, "rsplit") => {
            let (separator, most): (&str, Option<usize>) = from_args(arguments)?;
            let text = value.as_str().unwrap_or_default();
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        (ValueKind::String, "removeprefix" | "removesuffix") => {
            let (affix,): (&str,) = from_args(arguments)?;
            let text = value.as_str().unwrap_or_default();
            let rest = match method {
                "removeprefix" => text.strip_prefix(affix),
                _ => text.strip_suffix(affix),
            };
            Ok(Value::from(rest.unwrap_or(text)))
        }
        (ValueKind::Seq | ValueKind::Iterable, "index") => {
            let (wanted,): (Value,) = from_args(arguments)?;
            match value.try_iter()?.position(|item| item == wanted) {
                Some(index) => Ok(Value::from(index)),
                None => Err(not_found(&wanted)),
            }
        }
        _ => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn not_found(wanted: &Value) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("index() did not find {}", super::python::repr(wanted)),
    )
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;
    use serde_json::json;

    use super::*;

    fn render(source: &str, columns: serde_json::Value) -> Result<String, String> {
        Template::new(source)?.render(&Value::from(Serde(columns)))
    }

    #[test]
    fn renders_as_jinja_does_in_python() {
        let table = crate::evaluate::python::golden_table();
        let variables = Value::from(Serde(&table["variables"]));
        for row in table["templates"].as_array().expect("a list") {
            let [source, text] = [0, 1].map(|column| row[column].as_str().expect("a text"));
            let rendered = Template::new(source).and_then(|template| template.render(&variables));
            assert_eq!(rendered.as_deref(), Ok(text), "{source}");
        }
    }

    #[test]
    fn whitespace_is_pythons() {
        let row = json!({"q": "\u{1c}a\u{1f}b\u{a0}"});
        assert_eq!(render("{{q.strip()}}", row.clone()).as_deref(), Ok("a\u{1f}b"));
        assert_eq!(render("{{q.split()}}", row).as_deref(), Ok("['a', 'b']"));
    }

    #[test]
    fn an_undefined_value_is_an_error() {
        assert_eq!(
            render("{{absent}}{{present}}{{range(2)}}", json!({"present": 1})),
            Err("undefined value: there is no column `absent`".to_owned())
        );
        assert!(render("{{present.absent}}", json!({"present": {}})).is_err());
    }
}

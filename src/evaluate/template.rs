//! Prompt templates: Jinja as the harness sets it up, on minijinja.
//!
//! Undefined values are errors, the trailing newline stays, nothing is escaped, blocks are not
//! trimmed, and values print as in Python.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat;

use super::python::{is_whitespace, to_text};

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
        environment.add_template_owned(NAME, source.to_owned()).map_err(describe)?;
        Ok(Template { environment })
    }

    /// Renders the template with a document's columns as variables; the error says what failed.
    pub(super) fn render(&self, columns: &Value) -> Result<String, String> {
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(columns))
            .map_err(describe)
    }
}

fn describe(error: Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Python's methods on strings, lists and maps; those whose idea of whitespace differs from
/// Rust's, and the ones that `minijinja-contrib` lacks, are here.
fn python_method(
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
        (ValueKind::Seq, "index") => {
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
    use serde_json::json;

    use super::*;

    fn render(source: &str, columns: serde_json::Value) -> Result<String, String> {
        Template::new(source)?.render(&Value::from(minijinja::value::Serde(columns)))
    }

    // The expected texts come from Jinja2 3 with the harness's settings.
    #[test]
    fn renders_as_jinja_does_in_python() {
        let row = json!({"q": " \u{1c}what? ", "n": 7, "x": 1.0, "on": true, "no": null,
            "words": ["a", "it's"], "d": {"k": 1}, "text": "a,b"});
        for (source, text) in [
            ("{{q.strip()}}\n", "what?\n"),
            ("{{n}} {{x}} {{on}} {{no}}", "7 1.0 True None"),
            ("{{words}} {{d}}", "['a', \"it's\"] {'k': 1}"),
            ("{{ [' ' ~ text, n] }}", "[' a,b', 7]"),
            ("{{['A', 'B'].index('B')}}", "1"),
            ("{{n / 2}} {{n // 2}} {{n ** 2}} {{n % 4}} {{8 / 2}}", "3.5 3 49 3 4.0"),
            ("{{words[-1]}}{{words[:1]}}", "it's['a']"),
            ("{% if no is none %}-{% endif %}{{'y' if q is defined else 'n'}}", "-y"),
            ("{{text.split(',')}}{{text.replace(',', ';')}}", "['a', 'b']a;b"),
            ("{{'x' | string}}{{x | string}}{{words | join('/')}}", "x1.0a/it's"),
            ("{% for w in words %}{{loop.index}}{{w}} {% endfor %}", "1a 2it's "),
            ("{{'ab'.capitalize()}}{{'AB'.lower()}}{{'b' in text}}", "AbabTrue"),
            ("  no braces <&> ", "  no braces <&> "),
        ] {
            assert_eq!(render(source, row.clone()).as_deref(), Ok(text), "{source}");
        }
    }

    #[test]
    fn an_undefined_value_is_an_error() {
        assert!(render("{{absent}}", json!({"present": 1})).is_err());
        assert!(render("{{present.absent}}", json!({"present": {}})).is_err());
    }
}

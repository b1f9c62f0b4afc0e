//! The Jinja that transformers gives to chat templates, on minijinja: blocks are trimmed, undefined
//! values print as nothing, and there are a few functions and filters more.

use std::sync::LazyLock;

use fancy_regex::Regex;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::date::strftime_now;
use crate::evaluate::python::{JsonStyle, dump, is_whitespace, to_text};
use crate::evaluate::template::python_method;

/// An environment without templates; the error says why there is none.
pub(super) fn new() -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().map_err(describe)?);
    environment.set_unknown_method_callback(python_method);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _state, value| {
        if value.is_undefined() {
            return Ok(());
        }
        out.write_str(&to_text(value)).map_err(Error::from)
    });
    environment.add_filter("string", |value: Value| to_text(&value));
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", trim);
    // To Python a text is a sequence, and so is a mapping.
    environment.add_test("sequence", |value: &Value| is_sized(value));
    environment.add_test("iterable", |value: &Value| is_sized(value) || value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: Value| {
        Err::<Value, Error>(Error::new(ErrorKind::InvalidOperation, to_text(&message)))
    });
    environment.add_function("strftime_now", |format: &str| {
        strftime_now(format).map_err(|problem| Error::new(ErrorKind::InvalidOperation, problem))
    });
    Ok(environment)
}

/// What went wrong, as far as possible in the template's own words.
pub(super) fn describe(error: Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

/// The template with `generation` blocks, which only mark what the model has said, as blocks that
/// minijinja knows and that do nothing either: names set in them are not seen outside.
pub(super) fn without_generation_tags(text: &str) -> String {
    static TAGS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the pattern is valid")
    });
    TAGS.replace_all(text, "{%${1} ${2}with ${3}%}").into_owned()
}

fn is_sized(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

fn trim(value: Value, characters: Option<&str>) -> String {
    let text = to_text(&value);
    match characters {
        Some(characters) => text.trim_matches(|c| characters.contains(c)),
        None => text.trim_matches(is_whitespace),
    }
    .to_owned()
}

/// `json.dumps` with its options, without the escapes that HTML would need.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let separators = separators.map(|pair| match <[String; 2]>::try_from(pair) {
        Ok([comma, colon]) => Ok((comma, colon)),
        Err(_) => Err(Error::new(ErrorKind::InvalidOperation, "`separators` needs two texts")),
    });
    let indent: Option<Value> = options.get("indent")?;
    let indent = indent.filter(|indent| !indent.is_none()).map(|indent| match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(indent.as_usize().unwrap_or(0)),
    });
    let style = JsonStyle {
        indent,
        separators: separators.transpose()?,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let text = dump(value, &style);
    text.map(Value::from).ok_or_else(|| {
        let detail = format!("a value of type {} has no form in JSON", value.kind());
        Error::new(ErrorKind::InvalidOperation, detail)
    })
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render(source: &str) -> String {
        let environment = new().expect("an environment");
        let variables = context! { x => vec!["é<", "b"], n => (), f => 1.0, s => " a\u{1f} " };
        let rendered = environment.render_str(&without_generation_tags(source), variables);
        rendered.unwrap_or_else(|error| panic!("{source}: {error:#}"))
    }

    #[test]
    fn values_and_json_print_as_in_python() {
        assert_eq!(render("{{ x|tojson }}"), "[\"é<\", \"b\"]");
        assert_eq!(
            render("{{ {'a': x}|tojson(indent=2) }}"),
            "{\n  \"a\": [\n    \"é<\",\n    \"b\"\n  ]\n}"
        );
        assert_eq!(
            render("{{ x|tojson(ensure_ascii=true, separators=(',', ':')) }}"),
            "[\"\\u00e9<\",\"b\"]"
        );
        assert_eq!(render("{{ n }} {{ f }} {{ x }} {{ absent }}."), "None 1.0 ['é<', 'b'] .");
        assert_eq!(render("{{ s|trim }}|{{ s.strip() }}|{{ 'xax'|trim('x') }}"), "a|a|a");
    }

    #[test]
    fn texts_are_sequences_and_generation_blocks_only_mark() {
        assert_eq!(
            render("{{ 's' is sequence }}{{ 's' is iterable }}{{ 1 is iterable }}"),
            "TrueTrueFalse"
        );
        let blocks = "a\n  {%- generation %}\nb\n {% endgeneration %}\nc";
        assert_eq!(render(blocks), "ab\nc");
        assert_eq!(
            render(
                "{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
            ),
            "012"
        );
        assert_eq!(render("{{ [1, 2, 3][::-1] }}"), "[3, 2, 1]");
    }
}

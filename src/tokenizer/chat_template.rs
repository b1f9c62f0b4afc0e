//! Chat templates: where models keep them, and how an output gets another one.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::TokenizerError;
use super::json_file::{read_object, write, write_object};
use crate::config::BuiltInTemplate;

const TEMPLATE_FILE: &str = "chat_template.jinja";
const PROCESSOR_FILE: &str = "chat_template.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const FIELD: &str = "chat_template";

/// The Jinja text of a template that comes with the program. It renders what the Python tool's template
/// of that name renders, white space included.
pub fn built_in(template: BuiltInTemplate) -> &'static str {
    match template {
        BuiltInTemplate::Alpaca => include_str!("chat_templates/alpaca.jinja"),
        BuiltInTemplate::ChatMl => include_str!("chat_templates/chatml.jinja"),
        BuiltInTemplate::Exaone => include_str!("chat_templates/exaone.jinja"),
        BuiltInTemplate::Llama3 => include_str!("chat_templates/llama3.jinja"),
        BuiltInTemplate::Mistral => include_str!("chat_templates/mistral.jinja"),
    }
}

/// The chat template of the model in `directory`, if it has one: of several, the default.
pub fn of_model(directory: &Path) -> Result<Option<String>, TokenizerError> {
    let path = directory.join(TEMPLATE_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => return Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(TokenizerError::Read { path, source }),
    }
    for file in [PROCESSOR_FILE, TOKENIZER_CONFIG] {
        let template = read_object(&directory.join(file))?.as_ref().and_then(default_template);
        if template.is_some() {
            return Ok(template);
        }
    }
    Ok(None)
}

/// The template that most of the models have, white space around it aside; of equally frequent ones the
/// first.
pub fn most_frequent(templates: impl IntoIterator<Item = String>) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for template in templates {
        let template = template.trim();
        match counts.iter_mut().find(|(known, _)| known == template) {
            Some((_, count)) => *count += 1,
            None => counts.push((template.to_owned(), 1)),
        }
    }
    // The last of the largest counts is the first one of the list turned round.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(template, _)| template)
}

/// Gives the tokenizer whose files are in `directory` another chat template, in every form that loaders
/// look for.
pub fn set(directory: &Path, template: &str) -> Result<(), TokenizerError> {
    for file in [PROCESSOR_FILE, TOKENIZER_CONFIG] {
        let path = directory.join(file);
        if let Some(mut fields) = read_object(&path)? {
            fields.insert(FIELD.to_owned(), template.into());
            write_object(path, fields)?;
        }
    }
    write(directory.join(TEMPLATE_FILE), template)
}

/// A text, or the entry `default` of a mapping or of a list of named templates.
fn default_template(fields: &Map<String, Value>) -> Option<String> {
    const DEFAULT: &str = "default";
    let text = match fields.get(FIELD)? {
        Value::Object(named) => named.get(DEFAULT)?,
        Value::Array(named) => named
            .iter()
            .find(|entry| entry.get("name").is_some_and(|name| name == DEFAULT))?
            .get("template")?,
        text => text,
    };
    text.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_template_is_found_in_every_form() {
        let config = r#"{"chat_template": "of the config"}"#;
        let list = r#"{"chat_template": [{"name": "tool_use", "template": "x"},
            {"name": "default", "template": "of the list"}]}"#;
        for (files, expected) in [
            (&[][..], None),
            (&[(TOKENIZER_CONFIG, "{}")], None),
            (&[(TOKENIZER_CONFIG, r#"{"chat_template": null}"#)], None),
            (&[(TOKENIZER_CONFIG, config)], Some("of the config")),
            (&[(TOKENIZER_CONFIG, r#"{"chat_template": {"default": "d"}}"#)], Some("d")),
            (&[(TOKENIZER_CONFIG, list)], Some("of the list")),
            (&[(TOKENIZER_CONFIG, config), (TEMPLATE_FILE, "of the file")], Some("of the file")),
            (&[(TOKENIZER_CONFIG, "{}"), (PROCESSOR_FILE, r#"{"chat_template": "p"}"#)], Some("p")),
        ] {
            let found = of_model(model(files).path()).unwrap();
            assert_eq!(found.as_deref(), expected, "{files:?}");
        }
        let broken = of_model(model(&[(TOKENIZER_CONFIG, "{")]).path()).unwrap_err();
        assert!(broken.is_users_mistake());
        assert!(broken.to_string().ends_with("tokenizer_config.json` is no JSON object"));
    }

    #[test]
    fn the_most_frequent_template_wins_and_the_first_of_equals() {
        let most = |all: &[&str]| most_frequent(all.iter().map(|text| (*text).to_owned()));
        assert_eq!(most(&[]), None);
        assert_eq!(most(&["a", "b", "b\n"]).as_deref(), Some("b"));
        assert_eq!(most(&["b", "a", "a", "b"]).as_deref(), Some("b"));
    }

    #[test]
    fn a_new_template_is_read_back_from_every_form() {
        let directory = model(&[
            (TOKENIZER_CONFIG, r#"{"zeta": 1.0, "chat_template": "old", "alpha": "ä"}"#),
            (PROCESSOR_FILE, r#"{"chat_template": "old"}"#),
        ]);
        set(directory.path(), "{{ new }}").unwrap();
        let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!(read(TEMPLATE_FILE), "{{ new }}");
        let expected =
            "{\n  \"zeta\": 1.0,\n  \"chat_template\": \"{{ new }}\",\n  \"alpha\": \"ä\"\n}\n";
        assert_eq!(read(TOKENIZER_CONFIG), expected);
        assert!(!read(PROCESSOR_FILE).contains("old"));
    }
}

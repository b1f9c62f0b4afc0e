//! Merge configs as YAML that this program and mergekit read back.
//!
//! Mappings are blocks, gradients are in brackets. Text is quoted whenever YAML 1.1 or 1.2 could take
//! it for something else, and floats always have a dot and a signed exponent, for mergekit reads
//! YAML 1.1.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use serde_yaml::{Mapping, Value as Yaml};

use super::tokenizer::{BASE, MODEL_TOKEN, UNION, ZERO};
use super::{
    EmbeddingSource, MergeConfig, ModelPath, ModelReference, ModuleEntry, OutputSlice, Recipe,
    Scalar, Setting, Settings, SliceSource, TokenName, TokenizerSettings, TokenizerSource, Value,
};

/// Longest key in characters that YAML takes without a `?` before it is 1,024; less, to be safe.
const LONGEST_SIMPLE_KEY: usize = 128;

/// Plain words that YAML 1.1 or 1.2 does not take as text.
const RESERVED: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "none"];

impl MergeConfig {
    /// The config as YAML, which [`MergeConfig::parse`] reads back as an equal config.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        if let Yaml::Mapping(mapping) = self.to_value() {
            write_mapping(&mut out, &mapping, 0);
        }
        out
    }

    /// The config as a YAML value, which [`MergeConfig::from_value`] reads back as an equal config.
    pub fn to_value(&self) -> Yaml {
        let mut fields = Mapping::new();
        put(&mut fields, "merge_method", self.merge_method.as_str());
        if let Some(base) = &self.base_model {
            put(&mut fields, "base_model", reference(base));
        }
        put_recipe(&mut fields, &self.recipe);
        put_settings(&mut fields, &self.parameters);
        if let Some(dtype) = self.dtype {
            put(&mut fields, "dtype", dtype.to_string());
        }
        if let Some(dtype) = self.out_dtype {
            put(&mut fields, "out_dtype", dtype.to_string());
        }
        if let Some(settings) = &self.tokenizer {
            put(&mut fields, "tokenizer", tokenizer(settings));
        }
        if let Some(template) = &self.chat_template {
            put(&mut fields, "chat_template", template.as_str());
        }
        Yaml::Mapping(fields)
    }
}

/// As [`MergeConfig::to_value`].
impl Serialize for MergeConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

fn put(fields: &mut Mapping, name: &str, value: impl Into<Yaml>) {
    fields.insert(name.into(), value.into());
}

fn put_recipe(fields: &mut Mapping, recipe: &Recipe) {
    match recipe {
        Recipe::Models(models) => {
            let entries = models.iter().map(|entry| {
                let mut fields = Mapping::new();
                put(&mut fields, "model", reference(&entry.model));
                put_settings(&mut fields, &entry.parameters);
                Yaml::Mapping(fields)
            });
            put(fields, "models", entries.collect::<Vec<_>>());
        }
        Recipe::Slices(slices) => {
            put(fields, "slices", slices.iter().map(output_slice).collect::<Vec<_>>());
        }
        Recipe::Modules(modules) => {
            let entries = modules.iter().map(|(name, entry)| (name.as_str().into(), module(entry)));
            put(fields, "modules", entries.collect::<Mapping>());
        }
    }
}

fn output_slice(slice: &OutputSlice) -> Yaml {
    let mut fields = Mapping::new();
    put(&mut fields, "sources", slice.sources.iter().map(slice_source).collect::<Vec<_>>());
    if let Some(base) = &slice.base_model {
        put(&mut fields, "base_model", reference(base));
    }
    put_settings(&mut fields, &slice.parameters);
    Yaml::Mapping(fields)
}

fn slice_source(source: &SliceSource) -> Yaml {
    let mut fields = Mapping::new();
    put(&mut fields, "model", reference(&source.model));
    let layers = [source.layers.start, source.layers.end];
    put(&mut fields, "layer_range", layers.map(Yaml::from).to_vec());
    put_settings(&mut fields, &source.parameters);
    Yaml::Mapping(fields)
}

fn module(entry: &ModuleEntry) -> Yaml {
    let mut fields = Mapping::new();
    put_recipe(&mut fields, &entry.recipe);
    put_settings(&mut fields, &entry.parameters);
    Yaml::Mapping(fields)
}

fn put_settings(fields: &mut Mapping, settings: &Settings) {
    if settings.is_empty() {
        return;
    }
    let pairs = settings.iter().map(|(name, value)| (name.as_str().into(), setting(value)));
    put(fields, "parameters", pairs.collect::<Mapping>());
}

fn setting(setting: &Setting) -> Yaml {
    match setting {
        Setting::Plain(plain) => value(plain),
        Setting::Conditional(conditions) => conditions
            .iter()
            .map(|condition| {
                let mut fields = Mapping::new();
                if let Some(filter) = &condition.filter {
                    put(&mut fields, "filter", filter.as_str());
                }
                put(&mut fields, "value", value(&condition.value));
                Yaml::Mapping(fields)
            })
            .collect::<Vec<_>>()
            .into(),
    }
}

fn value(value: &Value) -> Yaml {
    match value {
        Value::Scalar(single) => scalar(single),
        Value::Gradient(entries) => entries.iter().map(scalar).collect::<Vec<_>>().into(),
    }
}

fn scalar(scalar: &Scalar) -> Yaml {
    match scalar {
        Scalar::Bool(boolean) => (*boolean).into(),
        Scalar::Int(whole) => (*whole).into(),
        Scalar::Float(float) => (*float).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

fn reference(reference: &ModelReference) -> Yaml {
    if reference.has_string_form() {
        return reference.to_string().into();
    }
    let mut fields = Mapping::new();
    put(&mut fields, "model", model_path(&reference.model));
    if let Some(lora) = &reference.lora {
        put(&mut fields, "lora", model_path(lora));
    }
    if let Some(architecture) = &reference.override_architecture {
        put(&mut fields, "override_architecture", architecture.as_str());
    }
    Yaml::Mapping(fields)
}

fn model_path(path: &ModelPath) -> Yaml {
    let mut fields = Mapping::new();
    put(&mut fields, "path", path.path.as_str());
    if let Some(revision) = &path.revision {
        put(&mut fields, "revision", revision.as_str());
    }
    Yaml::Mapping(fields)
}

fn tokenizer(settings: &TokenizerSettings) -> Yaml {
    let mut fields = Mapping::new();
    let source = match &settings.source {
        TokenizerSource::Union => UNION.into(),
        TokenizerSource::Base => BASE.into(),
        TokenizerSource::Model(model) => match reference(model) {
            // A model of that name, not the word.
            Yaml::String(path) if [UNION, BASE].contains(&path.as_str()) => {
                Yaml::Mapping(Mapping::from_iter([("model".into(), model_path(&model.model))]))
            }
            other => other,
        },
    };
    put(&mut fields, "source", source);
    if !settings.tokens.is_empty() {
        let tokens = settings.tokens.iter().map(|(text, token)| {
            let mut fields = Mapping::new();
            put(&mut fields, "source", embedding(&token.source));
            if token.force {
                put(&mut fields, "force", true);
            }
            (text.as_str().into(), Yaml::Mapping(fields))
        });
        put(&mut fields, "tokens", tokens.collect::<Mapping>());
    }
    if let Some(multiple) = settings.pad_to_multiple_of {
        put(&mut fields, "pad_to_multiple_of", multiple);
    }
    Yaml::Mapping(fields)
}

fn embedding(source: &EmbeddingSource) -> Yaml {
    let mut fields = Mapping::new();
    match source {
        EmbeddingSource::Model(model) => return reference(model),
        EmbeddingSource::Zero => put(&mut fields, "kind", ZERO),
        EmbeddingSource::Token { model, token } => {
            put(&mut fields, "kind", MODEL_TOKEN);
            put(&mut fields, "model", reference(model));
            match token {
                TokenName::Text(text) => put(&mut fields, "token", text.as_str()),
                TokenName::Id(id) => put(&mut fields, "token_id", *id),
            }
        }
    }
    Yaml::Mapping(fields)
}

/// Writes the pairs of a mapping, the first one where the line stands and the others indented.
fn write_mapping(out: &mut String, mapping: &Mapping, indent: usize) {
    for (position, (key, value)) in mapping.iter().enumerate() {
        if position > 0 {
            push_spaces(out, indent);
        }
        let key = inline(key);
        if key.chars().count() > LONGEST_SIMPLE_KEY {
            out.push_str("? ");
            out.push_str(&key);
            out.push('\n');
            push_spaces(out, indent);
        } else {
            out.push_str(&key);
        }
        out.push(':');
        match value {
            Yaml::Mapping(inner) if !inner.is_empty() => {
                out.push('\n');
                push_spaces(out, indent + 2);
                write_mapping(out, inner, indent + 2);
            }
            Yaml::Sequence(items) if items.iter().any(Yaml::is_mapping) => {
                out.push('\n');
                for item in items {
                    push_spaces(out, indent + 2);
                    out.push_str("- ");
                    match item {
                        Yaml::Mapping(inner) => write_mapping(out, inner, indent + 4),
                        other => {
                            out.push_str(&inline(other));
                            out.push('\n');
                        }
                    }
                }
            }
            other => {
                out.push(' ');
                out.push_str(&inline(other));
                out.push('\n');
            }
        }
    }
}

fn push_spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A value on one line.
fn inline(value: &Yaml) -> String {
    match value {
        Yaml::Bool(boolean) => boolean.to_string(),
        Yaml::Number(number) => match (number.as_i64(), number.as_f64()) {
            (None, Some(float)) if number.is_f64() => float_text(float),
            _ => number.to_string(),
        },
        Yaml::String(text) => quote(text),
        Yaml::Sequence(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Yaml::Null | Yaml::Mapping(_) | Yaml::Tagged(_) => "null".to_owned(),
    }
}

/// Shortest digits that read back as the same number, in a form that YAML 1.1 takes for a float.
fn float_text(float: f64) -> String {
    if float.is_nan() {
        return ".nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{float:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let dot = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{digits}{dot}e{sign}{exponent}")
}

/// The text as it is when nothing can mistake it, and in double quotes otherwise.
fn quote(text: &str) -> String {
    let starts_plainly = text.starts_with(|first: char| first.is_ascii_alphabetic())
        || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./+@".contains(c);
    let is_reserved = RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text));
    if starts_plainly && text.chars().all(is_plain) && !is_reserved {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            ' '..='~' | '\u{a1}'..='\u{d7ff}' if !matches!(c, '\u{2028}' | '\u{2029}') => {
                quoted.push(c);
            }
            other => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\U{:08x}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

//! Model references: `PATH[@REVISION][+LORA_PATH[@LORA_REVISION]]`.
//!
//! There is no escape character: a path that contains `+` or `@` has to be written as a mapping.

use std::fmt;
use std::str::FromStr;

use super::yaml::{Node, YamlError};
use super::{ConfigError, ModelPath, ModelReference};

/// What is wrong with a model reference; the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// A part names nothing.
    #[error("has an empty path")]
    EmptyPath,
    /// More than one adapter.
    #[error("has more than one `+`")]
    SeveralAdapters,
    /// More than one revision.
    #[error("has more than one `@`")]
    SeveralRevisions,
}

impl ReferenceError {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::EmptyPath => {
                "a model is written as `PATH`, `PATH@REVISION`, or `PATH+LORA_PATH` with an adapter"
            }
            Self::SeveralAdapters | Self::SeveralRevisions => {
                "a path with `+` or `@` in it is written as a mapping: `model: {model: {path: …}}`"
            }
        }
    }
}

impl ModelReference {
    /// A model without adapter or overrides; `path` is taken literally.
    pub fn new(path: impl Into<String>) -> Self {
        let model = ModelPath { path: path.into(), revision: None };
        Self { model, lora: None, override_architecture: None }
    }

    /// Reads both the string form and the mapping form.
    pub fn from_node(node: &Node<'_>) -> Result<Self, ConfigError> {
        if let Some(text) = node.value().as_str() {
            return text.parse().map_err(|problem| malformed(node, text, problem));
        }
        let fields =
            node.fields().map_err(|_| node.wrong_type("a model's path, or a mapping with it"))?;
        fields.only(&["model", "lora", "override_architecture"])?;
        let model = path_from_node(&fields.require("model")?)?;
        let lora = fields.get("lora").as_ref().map(path_from_node).transpose()?;
        let override_architecture = fields.get("override_architecture");
        let override_architecture =
            override_architecture.map(|node| node.text().map(str::to_owned)).transpose()?;
        Ok(Self { model, lora, override_architecture })
    }

    /// Whether the string form is unambiguous, also for mergekit, which cannot write back a
    /// reference with a space or a double quote.
    pub(super) fn has_string_form(&self) -> bool {
        let paths = || [Some(&self.model), self.lora.as_ref()].into_iter().flatten();
        self.override_architecture.is_none()
            && !self.to_string().contains([' ', '"'])
            && paths().all(|path| !path.path.contains(['+', '@']))
            && paths()
                .filter_map(|path| path.revision.as_ref())
                .all(|revision| !revision.is_empty() && !revision.contains(['+', '@']))
    }
}

impl FromStr for ModelReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (model, lora) = match text.split_once('+') {
            Some((_, lora)) if lora.contains('+') => return Err(ReferenceError::SeveralAdapters),
            Some((model, lora)) => (model, Some(lora)),
            None => (text, None),
        };
        let lora = lora.map(ModelPath::from_str).transpose()?;
        Ok(Self { model: model.parse()?, lora, override_architecture: None })
    }
}

impl FromStr for ModelPath {
    type Err = ReferenceError;

    /// `PATH[@REVISION]`; a `+` is part of the path.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (path, revision) = match text.split_once('@') {
            Some((_, revision)) if revision.contains('@') => {
                return Err(ReferenceError::SeveralRevisions);
            }
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        if path.is_empty() {
            return Err(ReferenceError::EmptyPath);
        }
        let revision = revision.filter(|revision| !revision.is_empty()).map(str::to_owned);
        Ok(Self { path: path.to_owned(), revision })
    }
}

/// The string form, for people: an architecture override is not shown.
impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        match &self.lora {
            Some(lora) => write!(f, "+{lora}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ModelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// A path as text, where `@` starts the revision, or as a mapping, where nothing is special.
fn path_from_node(node: &Node<'_>) -> Result<ModelPath, ConfigError> {
    if let Some(text) = node.value().as_str() {
        return text.parse().map_err(|problem| malformed(node, text, problem));
    }
    let fields = node.fields().map_err(|_| node.wrong_type("a path, or a mapping with `path`"))?;
    fields.only(&["path", "revision"])?;
    let path = fields.require("path")?;
    let text = path.text()?;
    if text.is_empty() {
        return Err(malformed(&path, text, ReferenceError::EmptyPath));
    }
    let revision: Option<Result<&str, YamlError>> =
        fields.get("revision").map(|revision| revision.text());
    let revision = revision.transpose()?.filter(|revision| !revision.is_empty());
    Ok(ModelPath { path: text.to_owned(), revision: revision.map(str::to_owned) })
}

fn malformed(node: &Node<'_>, text: &str, problem: ReferenceError) -> ConfigError {
    ConfigError::Reference { at: node.place(), text: text.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str, revision: Option<&str>) -> ModelPath {
        ModelPath { path: path.to_owned(), revision: revision.map(str::to_owned) }
    }

    #[test]
    fn the_string_form_has_four_parts() {
        let parsed: ModelReference = "org/model@main+org/lora@v2".parse().unwrap();
        assert_eq!(parsed.model, path("org/model", Some("main")));
        assert_eq!(parsed.lora, Some(path("org/lora", Some("v2"))));
        assert_eq!(parsed.to_string(), "org/model@main+org/lora@v2");
        assert_eq!("a@".parse(), Ok(ModelReference::new("a")));
        assert_ne!("./a".parse::<ModelReference>(), Ok(ModelReference::new("a")));
    }

    #[test]
    fn malformed_strings_are_refused() {
        let error = |text: &str| text.parse::<ModelReference>().unwrap_err();
        assert_eq!(error(""), ReferenceError::EmptyPath);
        assert_eq!(error("@main"), ReferenceError::EmptyPath);
        assert_eq!(error("a+"), ReferenceError::EmptyPath);
        assert_eq!(error("a+b+c"), ReferenceError::SeveralAdapters);
        assert_eq!(error("a@b@c"), ReferenceError::SeveralRevisions);
    }
}

//! The field `tokenizer`, and its short form `tokenizer_source`.

use indexmap::IndexMap;

use super::yaml::{Fields, Node};
use super::{ConfigError, ModelReference};

/// Which tokens the output has, and how the models' embeddings are aligned to them.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerSettings {
    /// Where the output's tokens come from.
    pub source: TokenizerSource,
    /// Tokens with embeddings of their own, by their text. Those that the source lacks are added.
    pub tokens: IndexMap<String, TokenSettings>,
    /// The number of embedding rows is rounded up to a multiple of this; at least 1.
    pub pad_to_multiple_of: Option<usize>,
}

/// Where the output's tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenizerSource {
    /// The base model's, and those that only others have behind them.
    #[default]
    Union,
    /// The base model; the first one without a base.
    Base,
    /// A model, which need not take part in the merge.
    Model(ModelReference),
}

/// What becomes of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// The embedding for models that lack the token.
    pub source: EmbeddingSource,
    /// Whether models that have the token get this embedding too.
    pub force: bool,
}

/// Where an embedding comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingSource {
    /// The same token in that model.
    Model(ModelReference),
    /// All zeros.
    Zero,
    /// A token of that model.
    Token {
        /// The model.
        model: ModelReference,
        /// Which one.
        token: TokenName,
    },
}

/// A token of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    /// By its text in the vocabulary.
    Text(String),
    /// By its id: a row of the embedding, also one that no token has.
    Id(usize),
}

/// The words for sources, as written in merge configs.
pub(super) const UNION: &str = "union";
pub(super) const BASE: &str = "base";

/// The values of `kind`.
pub(super) const ZERO: &str = "zero";
pub(super) const MODEL_TOKEN: &str = "model_token";

impl TokenizerSettings {
    /// Reads whichever of the two fields is there.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>, ConfigError> {
        match (fields.get("tokenizer"), fields.get("tokenizer_source")) {
            (None, None) => Ok(None),
            (Some(node), None) => Self::from_node(&node).map(Some),
            (None, Some(node)) => Ok(Some(Self {
                source: source(&node)?,
                tokens: IndexMap::new(),
                pad_to_multiple_of: None,
            })),
            (Some(_), Some(node)) => Err(ConfigError::SeveralTokenizers { at: node.key_place() }),
        }
    }

    fn from_node(node: &Node<'_>) -> Result<Self, ConfigError> {
        let fields = node.fields()?;
        fields.only(&["source", "tokens", "pad_to_multiple_of"])?;
        let tokens = match fields.get("tokens") {
            None => IndexMap::new(),
            Some(node) => node
                .fields()?
                .all()?
                .into_iter()
                .map(|(text, node)| Ok((text.to_owned(), token(&node)?)))
                .collect::<Result<_, ConfigError>>()?,
        };
        let pad_to_multiple_of = match fields.get("pad_to_multiple_of") {
            None => None,
            Some(node) => match node.count()? {
                0 => return Err(node.wrong_type("a whole number that is at least 1").into()),
                multiple => Some(multiple),
            },
        };
        Ok(Self {
            source: fields.get("source").as_ref().map(source).transpose()?.unwrap_or_default(),
            tokens,
            pad_to_multiple_of,
        })
    }
}

fn source(node: &Node<'_>) -> Result<TokenizerSource, ConfigError> {
    Ok(match node.value().as_str() {
        Some(UNION) => TokenizerSource::Union,
        Some(BASE) => TokenizerSource::Base,
        _ => TokenizerSource::Model(ModelReference::from_node(node)?),
    })
}

fn token(node: &Node<'_>) -> Result<TokenSettings, ConfigError> {
    let fields = node.fields()?;
    fields.only(&["source", "force"])?;
    Ok(TokenSettings {
        source: embedding(&fields.require("source")?)?,
        force: fields.get("force").map(|node| node.boolean()).transpose()?.unwrap_or(false),
    })
}

fn embedding(node: &Node<'_>) -> Result<EmbeddingSource, ConfigError> {
    let fields = node.fields().ok().filter(|fields| fields.get("kind").is_some());
    let Some(fields) = fields else {
        return Ok(EmbeddingSource::Model(ModelReference::from_node(node)?));
    };
    let kind = fields.require("kind")?;
    match kind.text()? {
        ZERO => {
            fields.only(&["kind"])?;
            Ok(EmbeddingSource::Zero)
        }
        MODEL_TOKEN => {
            fields.only(&["kind", "model", "token", "token_id"])?;
            let token = match (fields.get("token"), fields.get("token_id")) {
                (Some(text), None) => TokenName::Text(text.text()?.to_owned()),
                (None, Some(id)) => TokenName::Id(id.count()?),
                _ => return Err(ConfigError::TokenName { at: node.place() }),
            };
            let model = ModelReference::from_node(&fields.require("model")?)?;
            Ok(EmbeddingSource::Token { model, token })
        }
        _ => Err(kind.wrong_type(format!("`{ZERO}` or `{MODEL_TOKEN}`")).into()),
    }
}

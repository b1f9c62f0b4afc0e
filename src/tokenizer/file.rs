//! The file `tokenizer.json`: its tokens, and how some are taken away and others added.
//!
//! Everything else in the file stays as it is: normalizer, pre-tokenizer, post-processor, merges.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TokenizerError;

/// The file's name in a model directory.
pub const FILE: &str = "tokenizer.json";
const ADDED_TOKENS: &str = "added_tokens";

/// Ids may have gaps, but embeddings have a row for each: beyond so many the file is broken.
const MOST_IDS_PER_TOKEN: usize = 4;
const SPARE_IDS: usize = 1 << 20;

/// A token that is found in a text before the text is split into pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// How it is found.
    #[serde(flatten)]
    pub flags: TokenFlags,
}

/// How an added token is found in texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFlags {
    /// Only as a word of its own.
    pub single_word: bool,
    /// With the white space before it.
    pub lstrip: bool,
    /// With the white space behind it.
    pub rstrip: bool,
    /// In the normalized text, as opposed to the text as written.
    pub normalized: bool,
    /// Left out when text is decoded for people.
    pub special: bool,
}

impl TokenFlags {
    /// Those of a token that is nothing special.
    pub const ORDINARY: Self =
        Self { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
}

/// What a file means that leaves flags out.
impl Default for TokenFlags {
    fn default() -> Self {
        Self { normalized: false, ..Self::ORDINARY }
    }
}

/// A tokenizer as stored: its tokens by their texts, and the rest of its file.
#[derive(Debug, Clone)]
pub struct TokenizerFile {
    path: PathBuf,
    fields: Map<String, Value>,
    vocabulary: IndexMap<String, u32>,
    added: IndexMap<String, AddedToken>,
    is_changed: bool,
}

impl TokenizerFile {
    /// Reads the tokenizer of the model in `directory`.
    pub fn read(directory: &Path) -> Result<Self, TokenizerError> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(TokenizerError::Missing { directory: directory.to_owned() });
            }
            other => other.map_err(|source| TokenizerError::Read { path: path.clone(), source })?,
        };
        Self::parse(&text, path)
    }

    /// Parses the content of a `tokenizer.json`; `path` is its name in messages.
    pub fn parse(text: &[u8], path: PathBuf) -> Result<Self, TokenizerError> {
        let not_an_object = |source| TokenizerError::NotAnObject { path: path.clone(), source };
        let fields = match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(not_an_object(None)),
            Err(error) => return Err(not_an_object(Some(error))),
        };
        let malformed = |problem| TokenizerError::Malformed { path: path.clone(), problem };
        let mut tokens = model_tokens(&fields).map_err(malformed)?;
        let mut added: Vec<AddedToken> = match fields.get(ADDED_TOKENS) {
            None | Some(Value::Null) => Vec::new(),
            Some(listed) => Vec::deserialize(listed)
                .map_err(|error| malformed(format!("`{ADDED_TOKENS}`: {error}")))?,
        };
        added.sort_by_key(|token| token.id);
        tokens.extend(added.iter().map(|token| (token.content.clone(), token.id)));
        tokens.sort_by(|_, a, _, b| a.cmp(b));
        if let Some((token, &id)) = tokens.last()
            && id as usize >= MOST_IDS_PER_TOKEN * tokens.len() + SPARE_IDS
        {
            let n_tokens = tokens.len();
            let problem = format!("token {token:?} has id {id}, but there are {n_tokens} tokens");
            return Err(malformed(problem));
        }
        let added = added.into_iter().map(|token| (token.content.clone(), token)).collect();
        Ok(Self { path, fields, vocabulary: tokens, added, is_changed: false })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every token with its id, by ascending id: those of the model, as `model.vocab` writes them, and
    /// the added ones.
    pub fn vocabulary(&self) -> &IndexMap<String, u32> {
        &self.vocabulary
    }

    /// The added tokens by their texts, by ascending id.
    pub fn added(&self) -> &IndexMap<String, AddedToken> {
        &self.added
    }

    /// Whether tokens of the model are bytes, each spelled as a printable character: `Ġ` is a space.
    pub fn is_byte_level(&self) -> bool {
        ["decoder", "pre_tokenizer", "normalizer"]
            .iter()
            .filter_map(|part| self.fields.get(*part))
            .any(has_byte_level)
    }

    /// The largest id, and one more.
    pub fn end(&self) -> usize {
        self.vocabulary.last().map_or(0, |(_, &id)| id as usize + 1)
    }

    /// Whether it is no longer what the file holds.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Takes away every token whose id is not below `end`, and the merges that need one of them.
    /// Returns the tokens.
    pub fn strip(&mut self, end: usize) -> Vec<String> {
        let is_kept = |id: u32| (id as usize) < end;
        let mut removed = Vec::new();
        self.vocabulary.retain(|token, id| {
            if !is_kept(*id) {
                removed.push(token.clone());
            }
            is_kept(*id)
        });
        if removed.is_empty() {
            return removed;
        }
        self.is_changed = true;
        self.added.retain(|_, token| is_kept(token.id));
        if let Some(Value::Object(model)) = self.fields.get_mut("model") {
            match model.get_mut("vocab") {
                Some(Value::Object(vocab)) => {
                    vocab.retain(|token, _| self.vocabulary.contains_key(token));
                }
                Some(Value::Array(pieces)) => pieces.truncate(end),
                _ => {}
            }
            let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str);
            let prefix = prefix.unwrap_or_default().to_owned();
            if let Some(Value::Array(merges)) = model.get_mut("merges") {
                merges.retain(|merge| {
                    let Some([left, right]) = merge_parts(merge) else { return true };
                    let right_alone = right.strip_prefix(prefix.as_str()).unwrap_or(right);
                    [left, right, &format!("{left}{right_alone}")]
                        .iter()
                        .all(|token| self.vocabulary.contains_key(*token))
                });
            }
        }
        removed
    }

    /// Makes sure that `token` is an added token, and returns its id: the one that it has, or else the
    /// next free one. An added token keeps its flags.
    pub fn add(&mut self, token: &str, flags: TokenFlags) -> u32 {
        if let Some(token) = self.added.get(token) {
            return token.id;
        }
        self.is_changed = true;
        let next = self.vocabulary.last().map_or(0, |(_, id)| id + 1);
        let content = token.to_owned();
        let id = *self.vocabulary.entry(content.clone()).or_insert(next);
        let place = self.added.partition_point(|_, other| other.id < id);
        self.added.shift_insert(place, content.clone(), AddedToken { id, content, flags });
        id
    }

    /// The content of the file.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.clone();
        let added: Vec<&AddedToken> = self.added.values().collect();
        fields.insert(ADDED_TOKENS.to_owned(), serde_json::json!(added));
        format!("{:#}", Value::Object(fields))
    }
}

/// Whether a part of a tokenizer is of type `ByteLevel`, or consists of such a part and others.
fn has_byte_level(part: &Value) -> bool {
    match part {
        Value::Object(fields) => {
            fields.get("type").is_some_and(|kind| kind == "ByteLevel")
                || fields.values().any(has_byte_level)
        }
        Value::Array(parts) => parts.iter().any(has_byte_level),
        _ => false,
    }
}

/// The tokens of the model itself.
fn model_tokens(fields: &Map<String, Value>) -> Result<IndexMap<String, u32>, String> {
    let vocab = fields.get("model").and_then(|model| model.get("vocab"));
    match vocab {
        Some(Value::Object(tokens)) => tokens
            .iter()
            .map(|(token, id)| {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let id =
                    id.ok_or_else(|| format!("the id of token {token:?} is no whole number"))?;
                Ok((token.clone(), id))
            })
            .collect(),
        // Pieces with their scores; their ids are their places.
        Some(Value::Array(pieces)) => pieces
            .iter()
            .zip(0..)
            .map(|(piece, id)| match piece.get(0).and_then(Value::as_str) {
                Some(token) => Ok((token.to_owned(), id)),
                None => Err(format!("`model.vocab[{id}]` is no token with its score")),
            })
            .collect(),
        _ => Err("`model.vocab` is missing".to_owned()),
    }
}

/// The two tokens that a merge joins, which older files write as one text.
fn merge_parts(merge: &Value) -> Option<[&str; 2]> {
    match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| [left, right]),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(left), Value::String(right)] => Some([left, right]),
            _ => None,
        },
        _ => None,
    }
}

//! The file `tokenizer.json`: its tokens, and how some are taken away and others added.
//!
//! Everything else in the file stays as it is: normalizer, pre-tokenizer, post-processor, merges.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::TokenizerError;

/// The file's name in a model directory.
pub const FILE: &str = "tokenizer.json";

/// Ids may have gaps, but embeddings have a row for each: beyond so many the file is broken.
const MOST_IDS_PER_TOKEN: usize = 4;
const SPARE_IDS: usize = 1 << 20;

/// Memory for a token beside its text: in a table, with what the allocator adds.
const BYTES_PER_TOKEN: usize = 80;

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
    /// The file as read. All but the tokens takes ten times as much memory when it is parsed, and is
    /// not needed before something is written.
    text: Arc<[u8]>,
    vocabulary: IndexMap<String, u32>,
    added: IndexMap<String, AddedToken>,
    is_byte_level: bool,
    is_changed: bool,
    /// Whether tokens have been taken away.
    is_stripped: bool,
}

/// What is read of a file at first.
#[derive(Deserialize)]
struct Tokens {
    model: Option<Model>,
    added_tokens: Option<Vec<AddedToken>>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Option<ModelVocabulary>,
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
        let malformed = |problem| TokenizerError::Malformed { path: path.clone(), problem };
        let not_an_object = |source| TokenizerError::NotAnObject { path: path.clone(), source };
        // A list would be taken for the fields in their order.
        if text.trim_ascii_start().starts_with(b"[") {
            return Err(not_an_object(None));
        }
        let tokens: Tokens =
            serde_json::from_slice(text).map_err(|error| match error.is_data() {
                true => malformed(error.to_string()),
                false => not_an_object(Some(error)),
            })?;
        let parts = [&tokens.normalizer, &tokens.pre_tokenizer, &tokens.decoder];
        let is_byte_level = parts.into_iter().flatten().any(has_byte_level);
        let vocabulary = tokens.model.and_then(|model| model.vocab);
        let ModelVocabulary(mut vocabulary) =
            vocabulary.ok_or_else(|| malformed("`model.vocab` is missing".to_owned()))?;
        let mut added = tokens.added_tokens.unwrap_or_default();
        added.sort_by_key(|token| token.id);
        vocabulary.extend(added.iter().map(|token| (token.content.clone(), token.id)));
        vocabulary.sort_by(|_, a, _, b| a.cmp(b));
        if let Some((token, &id)) = vocabulary.last()
            && id as usize >= MOST_IDS_PER_TOKEN * vocabulary.len() + SPARE_IDS
        {
            let n_tokens = vocabulary.len();
            let problem = format!("token {token:?} has id {id}, but there are {n_tokens} tokens");
            return Err(malformed(problem));
        }
        let added = added.into_iter().map(|token| (token.content.clone(), token)).collect();
        Ok(Self {
            path,
            text: text.into(),
            vocabulary,
            added,
            is_byte_level,
            is_changed: false,
            is_stripped: false,
        })
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
        self.is_byte_level
    }

    /// The largest id, and one more.
    pub fn end(&self) -> usize {
        self.vocabulary.last().map_or(0, |(_, &id)| id as usize + 1)
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> u64 {
        let text = self.text.len();
        let tokens: usize = self.vocabulary.keys().map(|token| token.len() + BYTES_PER_TOKEN).sum();
        (text + tokens) as u64
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
        if !removed.is_empty() {
            (self.is_changed, self.is_stripped) = (true, true);
            self.added.retain(|_, token| is_kept(token.id));
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

    /// The content of the file. Fails where what was read has no meaning in places that are not looked
    /// at before.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let meaningless =
            |error| TokenizerError::NotAnObject { path: self.path.clone(), source: Some(error) };
        let mut fields: IndexMap<String, Box<RawValue>> =
            serde_json::from_slice(&self.text).map_err(meaningless)?;
        if let Some(model) = fields.get_mut("model").filter(|_| self.is_stripped) {
            let mut stripped = serde_json::from_str(model.get()).map_err(meaningless)?;
            self.strip_model(&mut stripped);
            *model = to_raw_value(&stripped).map_err(meaningless)?;
        }
        let added: Vec<&AddedToken> = self.added.values().collect();
        fields.insert("added_tokens".to_owned(), to_raw_value(&added).map_err(meaningless)?);
        serde_json::to_string_pretty(&fields).map_err(meaningless)
    }

    /// Takes everything out of the file's `model` that concerns tokens that have been taken away.
    fn strip_model(&self, model: &mut Map<String, Value>) {
        let is_token = |token: &str| self.vocabulary.contains_key(token);
        match model.get_mut("vocab") {
            Some(Value::Object(vocab)) => vocab.retain(|token, _| is_token(token)),
            Some(Value::Array(pieces)) => {
                // Their ids are their places, and those that are taken away are the last.
                let text = |piece: &Value| piece.get(0).and_then(Value::as_str).map(is_token);
                let kept = pieces.iter().take_while(|piece| text(piece) == Some(true)).count();
                pieces.truncate(kept);
            }
            _ => {}
        }
        let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str);
        let prefix = prefix.unwrap_or_default().to_owned();
        if let Some(Value::Array(merges)) = model.get_mut("merges") {
            merges.retain(|merge| {
                let Some([left, right]) = merge_parts(merge) else { return true };
                let right_alone = right.strip_prefix(prefix.as_str()).unwrap_or(right);
                is_token(left) && is_token(right) && is_token(&format!("{left}{right_alone}"))
            });
        }
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

/// The tokens of the model itself: with their ids, or as pieces with their scores, whose ids are their
/// places.
struct ModelVocabulary(IndexMap<String, u32>);

impl<'de> Deserialize<'de> for ModelVocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;

        impl<'de> Visitor<'de> for Tokens {
            type Value = ModelVocabulary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tokens with their ids, or a list of pieces with their scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = IndexMap::new();
                while let Some((token, id)) = map.next_entry()? {
                    tokens.insert(token, id);
                }
                Ok(ModelVocabulary(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pieces: A) -> Result<Self::Value, A::Error> {
                let mut tokens = IndexMap::new();
                let mut id = 0;
                while let Some((token, _)) = pieces.next_element::<(String, f64)>()? {
                    tokens.insert(token, id);
                    id += 1;
                }
                Ok(ModelVocabulary(tokens))
            }
        }

        deserializer.deserialize_any(Tokens)
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

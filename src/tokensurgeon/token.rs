//! Tokens as the vocabularies of two models can be compared by them.
//!
//! Byte-level tokenizers (GPT-2, Llama 3, Qwen) spell every byte as a printable character, so that `Ġ`
//! is a space; others (Llama 2, Gemma, T5) write `▁` for a space. A [`Token`] has neither spelling: it is
//! the bytes that the token stands for, with a leading space set apart as the beginning of a word. Tokens
//! with a role, such as the end of a sequence, are the same token whatever their text is.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::SurgeonError;
use crate::tokenizer::{TokenizerFile, read_object};

/// Roles of special tokens, in the order in which a token that has several is given one.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A space in tokenizers that are not byte-level.
const SPACE: char = '▁';

/// A token without the spelling of its tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    /// A token with one of the [`ROLES`].
    Special(&'static str),
    /// Any other token.
    Text {
        /// Whether it begins with a space, which `bytes` are without.
        begins_word: bool,
        bytes: Vec<u8>,
    },
}

/// The vocabulary of a model.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Every token by ascending id.
    entries: Vec<(u32, Token)>,
    ids: HashMap<Token, u32>,
    /// The texts of tokens with roles, by role.
    roles: HashMap<&'static str, String>,
}

impl Token {
    /// The token that the vocabulary spells `text`.
    fn new(text: &str, is_byte_level: bool) -> Self {
        let (bytes, spaced): (Vec<u8>, bool) = match is_byte_level {
            true => {
                let bytes: Option<Vec<u8>> = text.chars().map(spelled_byte).collect();
                (bytes.unwrap_or_else(|| text.as_bytes().to_vec()), text.starts_with('Ġ'))
            }
            false => (text.replace(SPACE, " ").into_bytes(), text.starts_with(SPACE)),
        };
        match bytes.strip_prefix(b" ").filter(|_| spaced) {
            Some(rest) => Self::Text { begins_word: true, bytes: rest.to_vec() },
            None => Self::Text { begins_word: false, bytes },
        }
    }

    /// Proper prefixes, the longest first, each beginning a word if this does. Special tokens have none,
    /// and neither do tokens without a letter: the first prefix of nothing but space ends the list.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Self> + '_ {
        let (begins_word, bytes): (bool, &[u8]) = match self {
            Self::Special(_) => (false, &[]),
            Self::Text { begins_word, bytes } => (*begins_word, bytes),
        };
        let lengths = (1..bytes.len()).rev();
        let prefixes = lengths.map(|length| &bytes[..length]).take_while(|prefix| {
            str::from_utf8(prefix).map_or(true, |text| !text.trim().is_empty())
        });
        prefixes.map(move |prefix| Self::Text { begins_word, bytes: prefix.to_vec() })
    }

    /// The token for the same byte in the other form: `<0x61>` for `a`, and `a` for `<0x61>`.
    pub(super) fn other_byte_form(&self) -> Option<Self> {
        let Self::Text { begins_word: false, bytes } = self else { return None };
        let bytes = match **bytes {
            [byte] => format!("<0x{byte:02X}>").into_bytes(),
            [b'<', b'0', b'x', high, low, b'>'] => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                vec![(16 * digit(high)? + digit(low)?) as u8]
            }
            _ => return None,
        };
        Some(Self::Text { begins_word: false, bytes })
    }

    /// The single byte `byte`.
    pub(super) fn byte(byte: u8) -> Self {
        Self::Text { begins_word: false, bytes: vec![byte] }
    }

    /// Whether vocabularies keep the token for later use, as far as its name tells.
    pub(super) fn is_reserved(&self) -> bool {
        let Self::Text { bytes, .. } = self else { return false };
        let text = String::from_utf8_lossy(bytes);
        text.contains("unused_token") || text.contains("reserved_special_token")
    }
}

impl Tokens {
    /// Reads the tokenizer of the model `label` in `directory`: `tokenizer.json` and, where they are,
    /// `tokenizer_config.json` and `special_tokens_map.json`, which name the special tokens.
    pub(super) fn read(directory: &Path, label: &str) -> Result<Self, SurgeonError> {
        let file = TokenizerFile::read(directory)?;
        let config = read_object(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
        let map = read_object(&directory.join("special_tokens_map.json"))?.unwrap_or_default();
        let role = |name: &'static str| {
            let text = token_text(config.get(name)).or_else(|| token_text(map.get(name)))?;
            Some((name, text))
        };
        let tokens = Self::new(&file, ROLES.into_iter().filter_map(role).collect());
        match tokens.entries.is_empty() {
            true => Err(SurgeonError::NoTokens { model: label.to_owned() }),
            false => Ok(tokens),
        }
    }

    fn new(file: &TokenizerFile, roles: HashMap<&'static str, String>) -> Self {
        let is_byte_level = file.is_byte_level();
        let token = |text: &String, id: u32| {
            let token = Token::new(text, is_byte_level && !file.added().contains_key(text));
            let begins_word = matches!(token, Token::Text { begins_word: true, .. });
            let role = ROLES.into_iter().find(|role| roles.get(role) == Some(text));
            (id, role.filter(|_| !begins_word).map_or(token, Token::Special))
        };
        let entries: Vec<(u32, Token)> =
            file.vocabulary().iter().map(|(text, id)| token(text, *id)).collect();
        let mut ids = HashMap::with_capacity(entries.len());
        for (id, token) in &entries {
            ids.entry(token.clone()).or_insert(*id);
        }
        Self { entries, ids, roles }
    }

    /// Every token by ascending id.
    pub(super) fn entries(&self) -> &[(u32, Token)] {
        &self.entries
    }

    /// The id of a token; the lowest if several mean the same.
    pub(super) fn id(&self, token: &Token) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Rows of a matrix with a row for every id.
    pub(super) fn n_rows(&self) -> usize {
        self.entries.last().map_or(0, |(id, _)| *id as usize + 1)
    }

    /// The id of the token with a role, such as `eos_token`.
    pub(super) fn id_of_role(&self, role: &str) -> Option<u32> {
        let role = ROLES.into_iter().find(|known| *known == role)?;
        // A token with two roles is known by the first.
        let text = self.roles.get(role)?;
        let first = ROLES.into_iter().find(|other| self.roles.get(other) == Some(text))?;
        self.id(&Token::Special(first))
    }

    /// What a token stands for as text, where its bytes are some: that of a special token is its own.
    pub(super) fn text(&self, token: &Token) -> Option<String> {
        match token {
            Token::Special(role) => self.roles.get(role).cloned(),
            Token::Text { begins_word, bytes } => {
                let text = str::from_utf8(bytes).ok()?;
                Some(if *begins_word { format!(" {text}") } else { text.to_owned() })
            }
        }
    }
}

/// The byte that byte-level tokenizers spell as `letter`: printable characters of Latin-1 stand for
/// themselves, and the 68 others for characters from U+0100 on, in order.
fn spelled_byte(letter: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(letter) {
        code @ 0..=255 => u8::try_from(code).ok().filter(|&byte| is_printable(byte)),
        code @ 256..=323 => (0..=255).filter(|&byte| !is_printable(byte)).nth(code as usize - 256),
        _ => None,
    }
}

/// A special token's text, which stands alone or in an object with its flags.
fn token_text(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

//! The tokenizer of an output, where it is not simply the donor's.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::file::FILE;
use super::{TokenizerError, TokenizerFile, json_file};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const ADDED_TOKENS: &str = "added_tokens_decoder";

/// Files that hold the tokens in another form than `tokenizer.json`.
pub const VOCABULARY_FILES: [&str; 4] =
    ["tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json"];

/// A tokenizer to be written.
#[derive(Debug, Clone)]
pub struct OutputTokenizer {
    /// Its tokens.
    pub file: TokenizerFile,
    /// The model directory with its other files.
    pub directory: PathBuf,
    /// Rows of the embeddings that belong to it: one for each id, and padding.
    pub rows: usize,
}

impl OutputTokenizer {
    /// The first of the [`VOCABULARY_FILES`] that the directory has and that would not be true any more.
    pub fn left_out(&self) -> Option<&'static str> {
        let is_there = |name: &&str| self.directory.join(name).exists();
        VOCABULARY_FILES.into_iter().find(is_there).filter(|_| self.file.is_changed())
    }

    /// Writes the tokens to `out`, where the tokenizer's other files have been copied already, but for
    /// the [`VOCABULARY_FILES`] if the tokens have changed.
    pub fn write(&self, out: &Path) -> Result<(), TokenizerError> {
        if !self.file.is_changed() {
            return Ok(());
        }
        json_file::write(out.join(FILE), &self.file.to_json())?;
        let path = out.join(TOKENIZER_CONFIG);
        let Some(mut config) = json_file::read_object(&path)? else { return Ok(()) };
        match config.get_mut(ADDED_TOKENS) {
            Some(listed) => *listed = self.added_tokens(),
            None => return Ok(()),
        }
        json_file::write_object(path, config)
    }

    /// The added tokens as `tokenizer_config.json` lists them.
    fn added_tokens(&self) -> Value {
        let listed = self.file.added().values().map(|token| {
            let fields = json!({
                "content": token.content,
                "lstrip": token.flags.lstrip,
                "normalized": token.flags.normalized,
                "rstrip": token.flags.rstrip,
                "single_word": token.flags.single_word,
                "special": token.flags.special,
            });
            (token.id.to_string(), fields)
        });
        Value::Object(listed.collect::<Map<_, _>>())
    }
}

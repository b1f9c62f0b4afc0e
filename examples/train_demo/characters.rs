//! The tokenizer of the demo models: one token per character.

use serde_json::{Value, json};

/// Token 0 ends a text and fills batches.
pub(crate) const PADDING: u32 = 0;
/// Token 1 stands for characters outside [`CHARACTERS`].
const UNKNOWN: u32 = 1;
/// The characters, in the order of their tokens from 2 on.
const CHARACTERS: &str = "\n +=/0123456789abcdefghijklmnopqrstuvwxyz";

/// Number of tokens.
pub(crate) fn vocabulary_size() -> usize {
    CHARACTERS.len() + 2
}

/// One token per character.
pub(crate) fn encode(text: &str) -> Vec<u32> {
    text.chars()
        .map(|character| match CHARACTERS.find(character) {
            Some(place) => place as u32 + 2,
            None => UNKNOWN,
        })
        .collect()
}

/// `tokenizer.json` in the format of Hugging Face tokenizers: byte-pair encoding without a single
/// pair, which leaves characters.
pub(crate) fn tokenizer() -> Value {
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let mut vocabulary = serde_json::Map::new();
    vocabulary.insert("</s>".into(), json!(PADDING));
    vocabulary.insert("<unk>".into(), json!(UNKNOWN));
    for (place, character) in CHARACTERS.chars().enumerate() {
        vocabulary.insert(character.into(), json!(place + 2));
    }
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(PADDING, "</s>"), special(UNKNOWN, "<unk>")],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": "<unk>",
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": [],
        },
    })
}

/// `tokenizer_config.json`.
pub(crate) fn tokenizer_config(positions: usize) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": false,
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": positions,
        "clean_up_tokenization_spaces": false,
    })
}

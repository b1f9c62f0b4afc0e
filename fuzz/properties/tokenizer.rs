//! What is true of every text that is read as a `tokenizer.json`.

use std::path::PathBuf;

use mergekit::tokenizer::{ModelTokens, TokenFlags, TokenizerFile, unite};

/// Tokens can be taken away, added and united with others, and what is written reads back.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(file) = TokenizerFile::parse(bytes, PathBuf::from("tokenizer.json")) else { return };
    let half = file.end() / 2;
    let mut changed = file.clone();
    let removed = changed.strip(half);
    assert!(changed.end() <= half);
    assert_eq!(removed.len() + changed.vocabulary().len(), file.vocabulary().len());
    let added = changed.add("a token that is new", TokenFlags::ORDINARY);
    assert_eq!(added as usize + 1, changed.end());
    let all = ModelTokens { tokenizer: &file, end: file.end() };
    unite(&mut changed, &[all]);
    assert!(file.vocabulary().keys().all(|token| changed.vocabulary().contains_key(token)));
    let again = TokenizerFile::parse(changed.to_json().as_bytes(), PathBuf::new());
    let again = again.expect("what is written is read");
    assert_eq!(again.vocabulary(), changed.vocabulary());
    assert_eq!(again.added(), changed.added());
}

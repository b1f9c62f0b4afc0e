//! The union of several models' tokens.

use std::collections::{HashMap, HashSet};

use super::{TokenFlags, TokenizerFile};

/// A model's tokenizer, as far as the model's embedding goes.
#[derive(Debug, Clone, Copy)]
pub struct ModelTokens<'a> {
    /// The tokenizer.
    pub tokenizer: &'a TokenizerFile,
    /// Only tokens with ids below this have an embedding.
    pub end: usize,
}

impl<'a> ModelTokens<'a> {
    /// The tokens that have an embedding, with their ids, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, u32)> + use<'a> {
        let end = self.end;
        let tokens = self.tokenizer.vocabulary().iter();
        tokens
            .map(|(token, &id)| (token.as_str(), id))
            .take_while(move |(_, id)| (*id as usize) < end)
    }

    /// The row of a token's embedding.
    pub fn row(&self, token: &str) -> Option<u32> {
        let id = self.tokenizer.vocabulary().get(token).copied();
        id.filter(|&id| (id as usize) < self.end)
    }

    fn added(&self) -> impl Iterator<Item = (&'a str, TokenFlags)> + use<'a> {
        let end = self.end;
        let tokens = self.tokenizer.added().values();
        tokens
            .filter(move |token| (token.id as usize) < end)
            .map(|token| (token.content.as_str(), token.flags))
    }
}

/// What there is to say about a union.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct United {
    /// Tokens whose flags differ between models, in alphabetical order; those of the first model that
    /// has them hold.
    pub conflicts: Vec<String>,
    /// Ordinary tokens of other models, which texts are searched for now.
    pub ordinary: Vec<String>,
}

/// Adds to `base` what `models` have beside it.
///
/// Tokens of `base` keep their ids. Others follow in the order of the models and their ids: first
/// ordinary ones, then added tokens. All become added tokens, since nobody knows how they would be
/// merged from smaller ones; an ordinary token of one model that is an added one of another is an added
/// one.
pub fn unite(base: &mut TokenizerFile, models: &[ModelTokens<'_>]) -> United {
    let mut flags: HashMap<&str, TokenFlags> = HashMap::new();
    let mut conflicts = HashSet::new();
    for (token, own) in models.iter().flat_map(ModelTokens::added) {
        if *flags.entry(token).or_insert(own) != own {
            conflicts.insert(token);
        }
    }
    let mut ordinary = Vec::new();
    for (token, _) in models.iter().flat_map(ModelTokens::iter) {
        if !flags.contains_key(token) && !base.vocabulary().contains_key(token) {
            base.add(token, TokenFlags::ORDINARY);
            ordinary.push(token.to_owned());
        }
    }
    for (token, _) in models.iter().flat_map(ModelTokens::added) {
        base.add(token, flags[token]);
    }
    let mut conflicts: Vec<String> = conflicts.into_iter().map(str::to_owned).collect();
    conflicts.sort_unstable();
    United { conflicts, ordinary }
}

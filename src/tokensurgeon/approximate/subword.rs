//! The pieces that the model's own tokenizer makes of a new token's text.
//!
//! A token that is no text, but some bytes of a character, is made of the model's tokens for these bytes. A
//! token of which the model knows no piece is zero. Reads a few rows for each token.

use std::ops::Range;

use rayon::prelude::*;

use super::super::rows::Rows;
use super::super::token::{Token, Tokens};
use super::super::work::Work;
use super::super::{Role, SubwordMethod, SurgeonError};
use super::sparse::{Sparse, combine};
use super::{Approximation, Task};

/// The method `subword`.
pub(super) struct Subword {
    model: Rows,
    /// Ids of each token's pieces.
    pieces: Vec<Vec<u32>>,
    role: Role,
    method: SubwordMethod,
}

impl Subword {
    pub(super) fn new(task: &Task<'_>) -> Self {
        let model = task.model.matrix.all();
        let entries = task.donor.tokens.entries();
        let tokens = task.matches.new.par_iter().map(|id| {
            let place = entries.partition_point(|(other, _)| other < id);
            let (_, token) = &entries[place];
            let ids = pieces(token, task.donor.tokens, task.model.tokens, task.tokenizer);
            ids.into_iter().filter(|&id| (id as usize) < model.len()).collect()
        });
        let pieces = tokens.collect();
        Self { model, pieces, role: task.role, method: task.options.subword_method }
    }
}

/// The model's ids of the pieces of a token of the donor.
fn pieces(
    token: &Token,
    donor: &Tokens,
    model: &Tokens,
    tokenizer: Option<&tokenizers::Tokenizer>,
) -> Vec<u32> {
    match (donor.text(token), token) {
        // Encoding fails only for models that sample their merges or lack an unknown token.
        (Some(text), _) => tokenizer
            .and_then(|tokenizer| tokenizer.encode_fast(text, false).ok())
            .map_or(Vec::new(), |encoding| encoding.get_ids().to_vec()),
        (None, Token::Text { bytes, .. }) => bytes
            .iter()
            .filter_map(|&byte| {
                let byte = Token::byte(byte);
                model.id(&byte).or_else(|| model.id(&byte.other_byte_form()?))
            })
            .collect(),
        (None, Token::Special(_)) => Vec::new(),
    }
}

/// The weights of `n` pieces.
fn weights(method: SubwordMethod, role: Role, n: usize) -> Vec<f64> {
    let all = n as f64;
    match method {
        SubwordMethod::Mean => vec![1.0 / all; n],
        SubwordMethod::Sum => vec![1.0; n],
        SubwordMethod::WeightedMean => {
            let sum = all * (all + 1.0) / 2.0;
            let rising = (1..=n).map(|weight| weight as f64 / sum);
            match role {
                Role::Embedding => rising.rev().collect(),
                Role::Head => rising.collect(),
            }
        }
        SubwordMethod::FirstLast => {
            let only = if role == Role::Head { 0 } else { n.saturating_sub(1) };
            (0..n).map(|piece| f64::from(u8::from(piece == only))).collect()
        }
    }
}

impl Approximation for Subword {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        work.check_cancelled()?;
        let pieces = &self.pieces[tokens.clone()];
        let sparse = pieces.iter().map(|places| Sparse {
            places: places.clone(),
            coefficients: weights(self.method, self.role, places.len()),
        });
        combine(&self.model, &sparse.collect::<Vec<_>>(), out)?;
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_weighted_by_their_place() {
        let of = |method, role| weights(method, role, 3);
        assert_eq!(of(SubwordMethod::Mean, Role::Head), [1.0 / 3.0; 3]);
        assert_eq!(of(SubwordMethod::Sum, Role::Head), [1.0; 3]);
        let rising = [1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0];
        assert_eq!(of(SubwordMethod::WeightedMean, Role::Head), rising);
        assert_eq!(of(SubwordMethod::WeightedMean, Role::Embedding), [0.5, 2.0 / 6.0, 1.0 / 6.0]);
        assert_eq!(of(SubwordMethod::FirstLast, Role::Head), [1.0, 0.0, 0.0]);
        assert_eq!(of(SubwordMethod::FirstLast, Role::Embedding), [0.0, 0.0, 1.0]);
    }
}

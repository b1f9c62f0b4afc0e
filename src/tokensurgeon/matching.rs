//! What every token of the donor gets: a row of the model, a new one, or nothing.

use super::token::{Token, Tokens};

/// What a row of the new matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Zeros: no token, or one that neither model has been trained on.
    Nothing,
    /// The model's row of this id.
    Copied(u32),
    /// To be approximated.
    New,
}

/// How many tokens get what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The model knows the token.
    pub exact: usize,
    /// The model knows the token's byte in its other form.
    pub byte: usize,
    /// The model knows a beginning of the token.
    pub prefix: usize,
    /// The token's row is approximated.
    pub new: usize,
    /// The token's row is zero, because neither model has been trained on it or because the donor has
    /// no row for it either.
    pub junk: usize,
}

/// What the rows of a new matrix are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matches {
    /// By the donor's id.
    pub(super) origins: Vec<Origin>,
    /// Ids of the donor's tokens to approximate, ascending.
    pub(super) new: Vec<u32>,
    /// Ids in donor and model of the tokens that both know, by ascending id of the donor.
    pub(super) shared: Vec<(u32, u32)>,
    pub(super) counts: Counts,
}

/// Vocabularies, and what of them can be used for one matrix.
#[derive(Clone, Copy)]
pub(super) struct Vocabularies<'v> {
    pub(super) model: &'v Tokens,
    pub(super) donor: &'v Tokens,
    /// Rows of the model's matrix.
    pub(super) model_rows: usize,
    /// Rows of the donor's matrix.
    pub(super) donor_rows: usize,
    /// Ids that may be used of the model, and those of the donor that are to be zero.
    pub(super) trained: Option<&'v Trained>,
}

/// Which tokens training has reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trained {
    /// By the model's id: whether both models were trained on the token.
    pub(super) usable: Vec<bool>,
    /// By the donor's id: whether neither was.
    pub(super) junk: Vec<bool>,
}

impl Vocabularies<'_> {
    /// The model's id of a token, if its row can be used.
    fn known(&self, token: &Token) -> Option<u32> {
        let id = self.model.id(token)?;
        let is_usable = self.trained.is_none_or(|trained| trained.usable[id as usize]);
        (is_usable && (id as usize) < self.model_rows).then_some(id)
    }

    /// Whether the donor's token gets zeros.
    fn is_junk(&self, id: u32) -> bool {
        id as usize >= self.donor_rows
            || self.trained.is_some_and(|trained| trained.junk[id as usize])
    }

    /// Decides for each of the donor's tokens.
    pub(super) fn matches(&self, by_prefix: bool, by_byte: bool) -> Matches {
        let mut matches = Matches {
            origins: vec![Origin::Nothing; self.donor.n_rows()],
            new: Vec::new(),
            shared: Vec::new(),
            counts: Counts::default(),
        };
        let Matches { origins, new, shared, counts } = &mut matches;
        for (id, token) in self.donor.entries() {
            let exact = self.known(token);
            if let Some(model) = exact.filter(|_| (*id as usize) < self.donor_rows) {
                shared.push((*id, model));
            }
            let (origin, count) = if self.is_junk(*id) {
                (Origin::Nothing, &mut counts.junk)
            } else if let Some(row) = exact {
                (Origin::Copied(row), &mut counts.exact)
            } else if let Some(row) = self.by_byte(token).filter(|_| by_byte) {
                (Origin::Copied(row), &mut counts.byte)
            } else if let Some(row) = self.by_prefix(token).filter(|_| by_prefix) {
                (Origin::Copied(row), &mut counts.prefix)
            } else {
                (Origin::New, &mut counts.new)
            };
            *count += 1;
            let place = &mut origins[*id as usize];
            if *place == Origin::Nothing {
                *place = origin;
            }
        }
        new.extend((0u32..).zip(&*origins).filter(|(_, o)| **o == Origin::New).map(|(id, _)| id));
        matches
    }

    fn by_byte(&self, token: &Token) -> Option<u32> {
        self.known(&token.other_byte_form()?)
    }

    fn by_prefix(&self, token: &Token) -> Option<u32> {
        token.prefixes().find_map(|prefix| self.known(&prefix))
    }
}

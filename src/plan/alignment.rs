//! Which row of which model's embedding each of the output's tokens gets.
//!
//! The rules are mergekit's. A model keeps its own row of a token. For a token that it lacks it gets the
//! row of the only model that has it, or the base's, or else the mean of all, so that no model pulls on a
//! token that it does not know. Settings of single tokens come before that.

use crate::config::{EmbeddingSource, ModelReference, TokenName, TokenSettings, yaml::FieldPath};
use crate::tokenizer::{ModelTokens, Row};

use super::PlanError;
use super::models::InputModel;

/// A model that has the tensor.
pub(super) struct Participant<'a> {
    pub(super) model: &'a InputModel,
    pub(super) tokens: ModelTokens<'a>,
    /// For each token of the output the row that its tokenizer and config say.
    pub(super) rows: &'a [Option<u32>],
    /// Rows that the tensor really has.
    pub(super) n_rows: usize,
}

impl Participant<'_> {
    fn row(&self, token: usize) -> Option<u32> {
        self.rows[token].filter(|&row| (row as usize) < self.n_rows)
    }
}

/// What is asked of rows, whatever the tensor.
#[derive(Clone, Copy)]
pub(super) struct WantedRows<'a> {
    /// Those of single tokens: their ids, their texts, and what becomes of them.
    pub(super) settings: &'a [(usize, &'a str, &'a TokenSettings)],
    /// Ids that no token has.
    pub(super) gaps: &'a [usize],
    /// How many there are, those for padding included.
    pub(super) n_rows: usize,
}

/// The rows of a tensor in every model.
pub(super) struct Alignment {
    /// For each participant its rows.
    pub(super) rows: Vec<Vec<Row>>,
    /// Participants and rows of which some rows are means.
    pub(super) means: Vec<Vec<(u32, u32)>>,
    /// Tokens that no model has, and that get zeros.
    pub(super) without_row: Vec<usize>,
}

impl Alignment {
    /// Finds the rows of `tensor` for each of the models that have it. Of these the one at `base` is the
    /// base model's.
    pub(super) fn new(
        tensor: &str,
        participants: &[Participant<'_>],
        base: Option<usize>,
        wanted: WantedRows<'_>,
    ) -> Result<Self, PlanError> {
        let n_tokens = participants[0].rows.len();
        let mut alignment = Self { rows: Vec::new(), means: Vec::new(), without_row: Vec::new() };
        let mut fallbacks = vec![None; n_tokens];
        let mut forced = vec![false; n_tokens];
        for &gap in wanted.gaps {
            fallbacks[gap] = Some(Row::Padding);
        }
        for &(token, text, settings) in wanted.settings {
            fallbacks[token] = Some(embedding(tensor, participants, text, &settings.source)?);
            forced[token] = settings.force;
        }
        let fallbacks: Vec<Row> = fallbacks
            .into_iter()
            .enumerate()
            .map(|(token, set)| {
                set.unwrap_or_else(|| alignment.fallback(participants, base, token))
            })
            .collect();
        for (participant, from) in participants.iter().zip(0..) {
            let mut rows = Vec::with_capacity(wanted.n_rows);
            for (token, &fallback) in fallbacks.iter().enumerate() {
                let own = participant.row(token).filter(|_| !forced[token]);
                rows.push(own.map_or(fallback, |row| Row::Stored { from, row }));
            }
            rows.resize(wanted.n_rows, Row::Padding);
            alignment.rows.push(rows);
        }
        Ok(alignment)
    }

    /// The row for models that lack a token.
    fn fallback(
        &mut self,
        participants: &[Participant<'_>],
        base: Option<usize>,
        token: usize,
    ) -> Row {
        let row_of = |index: usize| participants[index].row(token);
        let stored = |from: u32, row: u32| Row::Stored { from, row };
        let mut having: Vec<(u32, u32)> = Vec::new();
        for (participant, from) in participants.iter().zip(0..) {
            // A model may take part with several of its layers.
            let is_new = |&(other, _): &(u32, u32)| {
                participants[other as usize].model.id() != participant.model.id()
            };
            if let Some(row) = participant.row(token)
                && having.iter().all(is_new)
            {
                having.push((from, row));
            }
        }
        match having.as_slice() {
            [] => {
                self.without_row.push(token);
                Row::Zero
            }
            [(from, row)] => stored(*from, *row),
            _ => match base.and_then(|base| Some((base as u32, row_of(base)?))) {
                Some((from, row)) => stored(from, row),
                None => {
                    self.means.push(having);
                    Row::Mean(self.means.len() as u32 - 1)
                }
            },
        }
    }
}

/// The row that the config gives to models that lack the token `text`.
fn embedding(
    tensor: &str,
    participants: &[Participant<'_>],
    text: &str,
    source: &EmbeddingSource,
) -> Result<Row, PlanError> {
    let field = || FieldPath::default().key("tokenizer").key("tokens").key(text).key("source");
    let find = |model: &ModelReference| {
        let found = participants.iter().zip(0..).find(|(other, _)| other.model.reference == *model);
        found.ok_or_else(|| PlanError::NoEmbeddingSource {
            field: field().to_string(),
            model: model.to_string(),
            tensor: tensor.to_owned(),
        })
    };
    let row_of = |model: &ModelReference, token: &str| {
        let (participant, from) = find(model)?;
        let row = participant.tokens.row(token).filter(|&row| (row as usize) < participant.n_rows);
        let no_token = || PlanError::NoToken {
            field: field().to_string(),
            model: model.to_string(),
            token: token.to_owned(),
        };
        Ok(Row::Stored { from, row: row.ok_or_else(no_token)? })
    };
    match source {
        EmbeddingSource::Zero => Ok(Row::Zero),
        EmbeddingSource::Model(model) => row_of(model, text),
        EmbeddingSource::Token { model, token: TokenName::Text(token) } => row_of(model, token),
        EmbeddingSource::Token { model, token: TokenName::Id(id) } => {
            let (Participant { n_rows, .. }, from) = find(model)?;
            match u32::try_from(*id) {
                Ok(row) if id < n_rows => Ok(Row::Stored { from, row }),
                _ => Err(PlanError::TokenId {
                    field: field().key("token_id").to_string(),
                    id: *id,
                    model: model.to_string(),
                    tensor: tensor.to_owned(),
                    n_rows: *n_rows,
                }),
            }
        }
    }
}

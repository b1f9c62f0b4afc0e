//! What a person should know about a transplant that works all the same.

use super::approximate::Side;

/// What a person should know about a transplant that works all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurgeonWarning {
    /// A tokenizer has tokens for which the model has no rows.
    #[error(
        "{n} tokens of `{model}` have ids beyond the {rows} rows of `{tensor}`, and are left out there"
    )]
    BeyondMatrix {
        /// The model.
        model: String,
        /// The matrix.
        tensor: String,
        /// Its rows.
        rows: usize,
        /// How many tokens.
        n: usize,
    },
}

impl SurgeonWarning {
    /// Tokens that a model's matrix has no rows for, if there are any.
    pub(super) fn beyond(side: &Side<'_>) -> Option<Self> {
        let rows = side.matrix.rows();
        let is_beyond = |(id, _): &&(u32, _)| *id as usize >= rows;
        let n = side.tokens.entries().iter().filter(is_beyond).count();
        (n > 0).then(|| Self::BeyondMatrix {
            model: side.input.label(),
            tensor: side.matrix.name().to_owned(),
            rows,
            n,
        })
    }
}

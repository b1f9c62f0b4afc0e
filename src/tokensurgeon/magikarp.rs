//! Tokens that a model's training hardly touched, after "Fishing for Magikarp" (Land and Bartolo 2024,
//! <https://arxiv.org/abs/2405.05417>).
//!
//! Rows without a token, and those of tokens that are called unused or reserved, are known not to have been
//! trained; others are taken for untrained when they are like those:
//!
//! ```text
//! ‖eₜ‖ < 1 % quantile of all norms               of the embedding, where there is a head
//! cos(eₜ, mean of unused rows) > max(½, 99 % quantile)   of the embedding and of the head
//! ```
//!
//! Two passes over each matrix, block by block; what is held is a number per row.

use super::embeddings::Embeddings;
use super::matching::Trained;
use super::rows::{Matrix, Rows};
use super::token::{Token, Tokens};
use super::work::Work;
use super::{Role, SurgeonError};

/// Share of rows at the end of a distribution that counts as unusual.
const TAIL: f64 = 0.01;

/// Cosines up to this say nothing, however unusual they are.
const LEAST_COSINE: f64 = 0.5;

/// Which tokens both models were trained on, and which neither.
pub(super) fn trained(
    model: (&Tokens, &Embeddings),
    donor: (&Tokens, &Embeddings),
    work: &Work<'_>,
) -> Result<Trained, SurgeonError> {
    let model_is_bad = untrained(model.0, model.1, work)?;
    let donor_is_bad = untrained(donor.0, donor.1, work)?;
    let is_good = |tokens: &Tokens, is_bad: &[bool], token: &Token| {
        tokens.id(token).is_some_and(|id| is_bad.get(id as usize) != Some(&true))
    };
    let good_in_model = |token: &Token| is_good(model.0, &model_is_bad, token);
    let good_in_donor = |token: &Token| is_good(donor.0, &donor_is_bad, token);
    let mut usable = vec![false; model.0.n_rows()];
    for (id, token) in model.0.entries() {
        usable[*id as usize] |= good_in_model(token) && good_in_donor(token);
    }
    let mut junk = vec![false; donor.0.n_rows()];
    for (id, token) in donor.0.entries() {
        junk[*id as usize] = !good_in_donor(token) && !good_in_model(token);
    }
    Ok(Trained { usable, junk })
}

/// By id of the embedding's rows, whether a token was hardly trained.
fn untrained(
    tokens: &Tokens,
    embeddings: &Embeddings,
    work: &Work<'_>,
) -> Result<Vec<bool>, SurgeonError> {
    let mut is_unused = vec![true; embeddings.input.rows()];
    for (id, token) in tokens.entries() {
        if let Some(is_unused) = is_unused.get_mut(*id as usize) {
            *is_unused = token.is_reserved();
        }
    }
    let mut is_bad = is_unused.clone();
    let unused: Vec<u32> =
        (0u32..).zip(&is_unused).filter(|(_, unused)| **unused).map(|(id, _)| id).collect();
    for role in [Role::Embedding, Role::Head] {
        let Some(matrix) = embeddings.get(role) else { continue };
        let mean = mean_of(matrix, &unused, work)?;
        let measured = measure(matrix, mean.as_deref(), work)?;
        let (norms, cosines): (Vec<f64>, Vec<f64>) = measured.into_iter().unzip();
        if role == Role::Embedding && embeddings.head.is_some() {
            let threshold = quantile(&norms, TAIL);
            mark(&mut is_bad, &norms, |norm| norm < threshold);
        }
        if mean.is_some() {
            let threshold = quantile(&cosines, 1.0 - TAIL).max(LEAST_COSINE);
            mark(&mut is_bad, &cosines, |cosine| cosine > threshold);
        }
    }
    Ok(is_bad)
}

fn mark(is_bad: &mut [bool], values: &[f64], is_unusual: impl Fn(f64) -> bool) {
    for (is_bad, &value) in is_bad.iter_mut().zip(values) {
        *is_bad |= is_unusual(value);
    }
}

/// The mean of the rows `ids` as far as the matrix has them; `None` if it has none.
fn mean_of(
    matrix: &Matrix,
    ids: &[u32],
    work: &Work<'_>,
) -> Result<Option<Vec<f32>>, SurgeonError> {
    let ids: Vec<u32> = ids.iter().copied().filter(|&id| (id as usize) < matrix.rows()).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    Rows::new(matrix.clone(), ids).mean(work).map(Some)
}

/// The norm of every row, and the cosine of its angle with `direction`.
fn measure(
    matrix: &Matrix,
    direction: Option<&[f32]>,
    work: &Work<'_>,
) -> Result<Vec<(f64, f64)>, SurgeonError> {
    let length = direction.map_or(0.0, |direction| dot(direction, direction).sqrt());
    let rows = matrix.all();
    let measured = rows.for_blocks(rows.len(), work, |_, block| {
        let measured = block.chunks_exact(rows.width()).map(|row| {
            let norm = dot(row, row).sqrt();
            let along = direction.map_or(0.0, |direction| dot(row, direction));
            (norm, along / (norm * length).max(f64::MIN_POSITIVE))
        });
        Ok(measured.collect::<Vec<_>>())
    })?;
    Ok(measured.concat())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The value below which the share `q` of `values` is, between two of them in proportion.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = q * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0], 0.25), 1.5);
        assert_eq!(quantile(&[7.0], 0.01), 7.0);
    }
}

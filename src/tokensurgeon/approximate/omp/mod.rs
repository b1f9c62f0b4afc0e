//! Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993,
//! <https://doi.org/10.1109/ACSSC.1993.342465>).
//!
//! A new token is the best combination of k shared tokens that can be found greedily. Rows of shared
//! tokens are A in the donor and B in the model, and x is the donor's row of the token:
//!
//! ```text
//! r₀ = x
//! iⱼ = argmax |⟨rⱼ, aᵢ⟩|          over the rows that have not been chosen; they are not normalised
//! rⱼ₊₁ = x − projection of x on the chosen rows
//! row = Σ cᵢ bᵢ                   where Σ cᵢ aᵢ is the last projection
//! ```
//!
//! Rows that are combinations of those chosen before, up to rounding, are passed over, so that there may be
//! fewer than k. Which rows are chosen is computed in one of two ways, whichever takes less work:
//! [`gram`], from the inner products of all rows of A, which lie in a scratch file, or [`scan`],
//! from A itself, once for every step. Coefficients are computed from the rows themselves in both
//! cases. Neither holds A, B or a product with all of them in memory.

mod factor;
mod gram;
mod scan;

use std::ops::Range;

use super::super::SurgeonError;
use super::super::rows::Rows;
use super::super::work::Work;
use super::sparse::{Sparse, combine};
use super::{Approximation, Task};

pub(super) use factor::{Factor, dot, refine};
pub(super) use scan::strongest;

use gram::Gram;

/// A step with products of rows that lie in memory, next to one of a product of large matrices, which
/// works from registers.
const MEMORY_BOUND: f64 = 6.0;

/// Looks for sparse combinations of the same rows.
pub(super) struct Pursuit {
    dictionary: Rows,
    k: usize,
    gram: Option<Gram>,
}

impl Pursuit {
    /// Prepares to find combinations of `k` rows of `dictionary` for `n_targets` targets.
    pub(super) fn new(
        dictionary: Rows,
        k: usize,
        n_targets: usize,
        work: &Work<'_>,
    ) -> Result<Self, SurgeonError> {
        let pays = gram_pays(n_targets, dictionary.len(), dictionary.width(), k);
        let gram = if pays { Gram::compute(&dictionary, work)? } else { None };
        Ok(Self { dictionary, k, gram })
    }

    /// The combinations nearest to the rows of `targets`.
    pub(super) fn pursue(
        &self,
        targets: &[f32],
        work: &Work<'_>,
    ) -> Result<Vec<Sparse>, SurgeonError> {
        match &self.gram {
            Some(gram) => gram::pursue(&self.dictionary, gram, targets, self.k, work),
            None => scan::pursue(&self.dictionary, targets, self.k, work),
        }
    }
}

/// Whether the inner products of all `n` rows with each other are worth computing for `n_targets` targets.
fn gram_pays(n_targets: usize, n: usize, width: usize, k: usize) -> bool {
    let [targets, n, width, k] = [n_targets, n, width, k].map(|count| count as f64);
    let scan = targets * k * n * width;
    let gram = n * n * width / 2.0 + targets * n * (width + MEMORY_BOUND * k * k / 2.0);
    gram < scan
}

/// The method `omp`.
pub(super) struct Omp {
    targets: Rows,
    model: Rows,
    pursuit: Pursuit,
}

impl Omp {
    pub(super) fn new(task: &Task<'_>, work: &Work<'_>) -> Result<Self, SurgeonError> {
        let pursuit =
            Pursuit::new(task.donor_shared(), task.options.k, task.matches.new.len(), work)?;
        Ok(Self { targets: task.donor_new(), model: task.model_shared(), pursuit })
    }
}

impl Approximation for Omp {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        let targets = self.targets.read_range(tokens)?;
        let sparse = self.pursuit.pursue(&targets, work)?;
        combine(&self.model, &sparse, out)
    }
}

#[cfg(test)]
mod tests;

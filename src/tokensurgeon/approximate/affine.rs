//! `row = (x − mean of A) · M + mean of B`: one matrix for all tokens.

use std::ops::Range;

use rayon::prelude::*;

use super::super::rows::Rows;
use super::super::work::Work;
use super::super::{SurgeonError, product};
use super::Approximation;

/// Tokens whose rows one task computes.
const STRIP: usize = 32;

/// A linear map from the donor's space to the model's, between the means of shared tokens.
pub(super) struct Affine {
    /// The donor's rows of new tokens, without the mean of A.
    pub(super) targets: Rows,
    /// `[donor's width, model's width]`.
    pub(super) map: Vec<f32>,
    /// The mean of B.
    pub(super) mean: Vec<f32>,
}

impl Approximation for Affine {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        work.check_cancelled()?;
        let (from, to) = (self.targets.width(), self.mean.len());
        let targets = self.targets.read_range(tokens.clone())?;
        let strips = out.par_chunks_mut(STRIP * to).zip(targets.par_chunks(STRIP * from));
        strips.for_each(|(out, targets)| {
            out.chunks_exact_mut(to).for_each(|out| out.copy_from_slice(&self.mean));
            product::add(out, targets, &self.map, from);
        });
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

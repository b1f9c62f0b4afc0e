//! Which elements of a tensor score highest, exactly, in two counting passes.

use std::ops::Range;
use std::sync::Mutex;

use super::{Chunk, MethodError, TensorInputs};
use crate::kernels::select::{Histogram, MagnitudeThreshold, magnitude_bits};
use crate::kernels::simd::vectorized;

/// Most elements for which scores are asked at once: their scores stay in the fastest cache.
pub(super) const SCORED_AT_ONCE: usize = 1024;

/// What elements are ranked by.
pub(super) trait Scores: Sync {
    /// What is computed once for a block of the tensor, before its scores.
    type Block;

    /// Called once for every block; a block consists of whole rows if the request says so.
    fn begin(&self, chunk: &Chunk<'_>) -> Self::Block;

    /// Writes the scores of `range` of the chunk in ranking `series`.
    fn score(
        &self,
        block: &Self::Block,
        chunk: &Chunk<'_>,
        series: usize,
        range: Range<usize>,
        scores: &mut [f32],
    );
}

/// What a selection is asked for.
pub(super) struct Request<'a> {
    /// Inputs to read, in the order in which chunks hold them; a base is read in any case.
    pub inputs: &'a [usize],
    /// Whether blocks have to consist of whole rows.
    pub whole_rows: bool,
    /// Number of rankings.
    pub series: usize,
    /// The thresholds wanted.
    pub wanted: &'a [Wanted<'a>],
    pub norms: bool,
    pub sums: usize,
}

/// One threshold of a ranking.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The ranking.
    pub series: usize,
    /// How many elements to keep, as a function of the number of scores other than 0.
    pub keep: &'a (dyn Fn(usize) -> usize + Sync),
}

/// What a selection has found.
pub(super) struct Selection {
    /// Of each threshold wanted; none where nothing is to be kept.
    pub kept: Vec<Option<Kept>>,
}

/// The elements that score highest.
pub(super) struct Kept {
    /// Tells them from the others.
    pub threshold: MagnitudeThreshold,
}

impl TensorInputs<'_> {
    pub(super) fn select<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
    ) -> Result<Selection, MethodError> {
        let all = Mutex::new(vec![0.0f32; self.elements()]);
        self.map_blocks(request.inputs, request.whole_rows, |chunk| {
            let block = scores.begin(chunk);
            let length = chunk.base.unwrap().len();
            let mut values = vec![0.0; length];
            for start in (0..length).step_by(SCORED_AT_ONCE) {
                let range = start..length.min(start + SCORED_AT_ONCE);
                vectorized(|| {
                    scores.score(&block, chunk, 0, range.clone(), &mut values[range.clone()])
                });
            }
            all.lock().unwrap()[chunk.start..][..length].copy_from_slice(&values);
        })?;
        let all = all.into_inner().unwrap();
        let nonzero = all.iter().filter(|v| **v != 0.0).count();
        let mut upper = Histogram::default();
        upper.add_upper(&all);
        let kept = request.wanted.iter().map(|wanted| {
            let k = (wanted.keep)(nonzero).min(all.len());
            let (bucket, rank) = if k == 0 { return None } else { upper.locate(k as u64).unwrap() };
            let mut lower = Histogram::default();
            lower.add_lower(bucket, &all);
            let (low, ties) = lower.locate(rank).unwrap();
            let bits = bucket << 16 | low;
            let last_tie = (0..all.len())
                .filter(|i| magnitude_bits(all[*i]) == bits)
                .nth(ties as usize - 1)
                .unwrap();
            Some(Kept { threshold: MagnitudeThreshold { bits, last_tie } })
        });
        Ok(Selection { kept: kept.collect() })
    }
}

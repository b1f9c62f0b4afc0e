//! Which elements of a task vector are its largest, without sorting it.

use std::sync::Arc;

use rayon::prelude::*;

use super::{MethodError, STATISTICS_BLOCK, TensorInputs};
use crate::kernels::select::{
    CompactHistogram, Histogram, MagnitudeThreshold, magnitude_bits, threshold_among,
};

/// Elements of a histogram's bucket that are listed to find the threshold among them: as much memory
/// as the second histogram that it saves.
const LARGEST_LISTED_BUCKET: u64 = 1 << 15;

impl TensorInputs<'_> {
    /// Which elements are the `k` largest of |input − base|, 1 ≤ k ≤ number of elements.
    ///
    /// One pass that is remembered, and another one. Only when very many elements have nearly the
    /// threshold's magnitude it takes two.
    pub(super) fn largest_deltas(
        &self,
        input: usize,
        k: usize,
    ) -> Result<MagnitudeThreshold, MethodError> {
        let upper = self.reader.remember(&format!("delta histogram {input}"), &mut || {
            let upper = self.histogram(input, |histogram, delta| histogram.add_upper(delta))?;
            Ok(Arc::new(upper.compact()))
        })?;
        let upper: &CompactHistogram = upper.downcast_ref().expect("the key belongs to this type");
        let (bucket, rank) = upper.locate(k as u64).expect("k is at most the number of elements");
        if upper.count(bucket) <= LARGEST_LISTED_BUCKET {
            let mut members = self.bucket_members(input, bucket)?;
            return Ok(threshold_among(&mut members, rank as usize));
        }
        let lower = self.histogram(input, |histogram, delta| histogram.add_lower(bucket, delta))?;
        let (low, ties) = lower.locate(rank).expect("the bucket has at least `rank` elements");
        let bits = bucket << 16 | low;
        Ok(MagnitudeThreshold { bits, last_tie: self.nth_with(input, bits, ties)? })
    }

    fn histogram(
        &self,
        input: usize,
        count: impl Fn(&mut Histogram, &[f32]) + Send + Sync,
    ) -> Result<Histogram, MethodError> {
        // Counts are whole numbers: their sum is the same in any order, and merging batch by batch
        // keeps only a few histograms alive.
        self.delta_batches(input, |histogram, _, delta| count(histogram, delta))
            .try_reduce(Histogram::default, |a, b| Ok(a.merge(&b)))
    }

    /// Bits and index of the elements of |input − base| whose upper bits are `bucket`.
    fn bucket_members(&self, input: usize, bucket: u32) -> Result<Vec<(u32, usize)>, MethodError> {
        let batches: Result<Vec<Vec<_>>, _> = self
            .delta_batches(input, |members: &mut Vec<_>, start, delta| {
                let bits = delta.iter().map(|&delta| magnitude_bits(delta));
                members.extend(bits.zip(start..).filter(|(bits, _)| bits >> 16 == bucket));
            })
            .collect();
        Ok(batches?.concat())
    }

    /// Calls `visit` with every block of input − base and the index of its first element, and returns
    /// what it has gathered batch by batch.
    fn delta_batches<T: Default + Send>(
        &self,
        input: usize,
        visit: impl Fn(&mut T, usize, &[f32]) + Send + Sync,
    ) -> impl IndexedParallelIterator<Item = Result<T, MethodError>> {
        const BATCH: usize = 64 * STATISTICS_BLOCK;
        let n = self.elements();
        (0..n.div_ceil(BATCH)).into_par_iter().map(move |batch| {
            let mut gathered = T::default();
            let (mut delta, mut base) = (Vec::new(), Vec::new());
            let end = n.min((batch + 1) * BATCH);
            for start in (batch * BATCH..end).step_by(STATISTICS_BLOCK) {
                let length = STATISTICS_BLOCK.min(end - start);
                self.read_delta(input, start, length, &mut delta, &mut base)?;
                visit(&mut gathered, start, &delta);
            }
            Ok(gathered)
        })
    }

    /// Index of the `nth` (from 1) element of |input − base| whose bits are `bits`.
    fn nth_with(&self, input: usize, bits: u32, nth: u64) -> Result<usize, MethodError> {
        let is_tie = |delta: f32| magnitude_bits(delta) == bits;
        let (mut delta, mut base) = (Vec::new(), Vec::new());
        let mut left = nth;
        let n = self.elements();
        for start in (0..n).step_by(STATISTICS_BLOCK) {
            let length = STATISTICS_BLOCK.min(n - start);
            self.read_delta(input, start, length, &mut delta, &mut base)?;
            for (offset, _) in delta.iter().enumerate().filter(|(_, delta)| is_tie(**delta)) {
                left -= 1;
                if left == 0 {
                    return Ok(start + offset);
                }
            }
        }
        unreachable!("a histogram of the same values counted {nth} of them")
    }

    fn read_delta(
        &self,
        input: usize,
        start: usize,
        length: usize,
        delta: &mut Vec<f32>,
        base: &mut Vec<f32>,
    ) -> Result<(), MethodError> {
        delta.resize(length, 0.0);
        base.resize(length, 0.0);
        self.reader.read(input, start, delta)?;
        self.reader.read_base(start, base)?;
        for (delta, base) in delta.iter_mut().zip(base) {
            *delta -= *base;
        }
        Ok(())
    }
}

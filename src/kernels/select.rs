//! Exact selection by magnitude without sorting.
//!
//! The bit pattern of |x| as an unsigned number orders magnitudes: one counting pass over its upper
//! 16 bits finds the bucket of the k-th largest, a second one over the lower 16 bits of that bucket
//! finds the value itself. Among equal magnitudes the elements with the lowest indices are kept, so
//! that exactly k remain and the result is the same on every machine. NaN counts as larger than
//! infinity. A bucket with few elements is listed instead, which finds threshold and tie at once.
//! Memory: 512 KiB of counters, whatever the length.

use std::cmp::Reverse;

/// Number of buckets in each of the two counting passes.
pub const BUCKETS: usize = 1 << 16;

/// Bits of |x|, whose order as integers is the order of magnitudes.
pub fn magnitude_bits(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// Counts magnitudes by their upper 16 bits, or by their lower 16 bits inside one bucket of those.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts `values` by the upper bits of their magnitude.
    pub fn add_upper(&mut self, values: &[f32]) {
        for &value in values {
            self.counts[(magnitude_bits(value) >> 16) as usize] += 1;
        }
    }

    /// Counts those of `values` whose upper bits are `bucket` by their lower bits.
    pub fn add_lower(&mut self, bucket: u32, values: &[f32]) {
        for &value in values {
            let bits = magnitude_bits(value);
            if bits >> 16 == bucket {
                self.counts[(bits & 0xffff) as usize] += 1;
            }
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(mut self, other: &Self) -> Self {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self
    }

    /// The bucket that holds the `rank`-th largest counted value (from 1), and that value's rank
    /// inside the bucket. `None` when fewer values were counted.
    pub fn locate(&self, rank: u64) -> Option<(u32, u64)> {
        let buckets = self.counts.iter().enumerate().rev();
        locate(buckets.map(|(bucket, &count)| (bucket as u32, count)), rank)
    }

    /// The same counts in less memory, to be kept.
    pub fn compact(&self) -> CompactHistogram {
        let buckets = self.counts.iter().enumerate().rev().filter(|(_, count)| **count > 0);
        let buckets = buckets.map(|(bucket, &count)| (bucket as u32, count)).collect();
        CompactHistogram { buckets }
    }
}

/// The buckets of a [`Histogram`] that hold something, a few thousand as a rule.
#[derive(Debug, Clone)]
pub struct CompactHistogram {
    /// Bucket and count, largest bucket first.
    buckets: Box<[(u32, u64)]>,
}

impl CompactHistogram {
    /// As [`Histogram::locate`].
    pub fn locate(&self, rank: u64) -> Option<(u32, u64)> {
        locate(self.buckets.iter().copied(), rank)
    }

    /// How many counted values are in `bucket`.
    pub fn count(&self, bucket: u32) -> u64 {
        let found = self.buckets.binary_search_by_key(&Reverse(bucket), |&(b, _)| Reverse(b));
        found.map_or(0, |index| self.buckets[index].1)
    }
}

/// `buckets` come with the largest first.
fn locate(buckets: impl Iterator<Item = (u32, u64)>, rank: u64) -> Option<(u32, u64)> {
    let mut left = rank;
    for (bucket, count) in buckets {
        if left <= count {
            return Some((bucket, left));
        }
        left -= count;
    }
    None
}

/// The threshold of the `rank`-th largest (from 1) of `members`, bits and index of some elements that
/// every other element is either larger or smaller than.
///
/// # Panics
///
/// When there are fewer members.
pub fn threshold_among(members: &mut [(u32, usize)], rank: usize) -> MagnitudeThreshold {
    let order = |&(bits, index): &(u32, usize)| (Reverse(bits), index);
    let (_, &mut (bits, last_tie), _) = members.select_nth_unstable_by_key(rank - 1, order);
    MagnitudeThreshold { bits, last_tie }
}

/// Which elements belong to the k largest magnitudes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MagnitudeThreshold {
    /// Bits of the smallest magnitude kept.
    pub bits: u32,
    /// Elements of exactly that magnitude are kept up to this index.
    pub last_tie: usize,
}

impl MagnitudeThreshold {
    /// Whether the element at `index` is kept.
    pub fn keeps(&self, index: usize, value: f32) -> bool {
        let bits = magnitude_bits(value);
        bits > self.bits || (bits == self.bits && index <= self.last_tie)
    }

    /// Sets the elements that are not kept to zero. `values` begin at element `start`.
    pub fn zero_others(&self, start: usize, values: &mut [f32]) {
        // Ties are kept up to an index, so on either side of it one comparison decides.
        let ties = (self.last_tie + 1).saturating_sub(start).min(values.len());
        let (with_ties, without) = values.split_at_mut(ties);
        for (part, smallest) in [(with_ties, self.bits), (without, self.bits + 1)] {
            for value in part {
                *value = if magnitude_bits(*value) >= smallest { *value } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn threshold(values: &[f32], k: u64) -> MagnitudeThreshold {
        let mut upper = Histogram::default();
        upper.add_upper(values);
        let (bucket, rank) = upper.locate(k).unwrap();
        let mut lower = Histogram::default();
        lower.add_lower(bucket, values);
        let (low, ties) = lower.locate(rank).unwrap();
        let bits = bucket << 16 | low;
        let tied = values.iter().enumerate().filter(|(_, value)| magnitude_bits(**value) == bits);
        let last_tie = tied.map(|(index, _)| index).nth(ties as usize - 1).unwrap();
        let threshold = MagnitudeThreshold { bits, last_tie };

        let members = values.iter().map(|&value| magnitude_bits(value)).zip(0..);
        let mut members: Vec<_> = members.filter(|(bits, _)| bits >> 16 == bucket).collect();
        assert_eq!(members.len() as u64, upper.compact().count(bucket));
        assert_eq!(threshold_among(&mut members, rank as usize), threshold);
        threshold
    }

    proptest! {
        #[test]
        fn selection_equals_a_stable_sort(
            values in prop::collection::vec(
                prop_oneof![
                    any::<f32>(),
                    Just(0.0), Just(-1.0), Just(1.0), Just(f32::NAN), Just(f32::INFINITY),
                ],
                1..200,
            ),
            share in 0.0..1.0,
        ) {
            let k = 1 + (share * (values.len() - 1) as f64) as usize;
            let threshold = threshold(&values, k as u64);
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by_key(|&index| std::cmp::Reverse(magnitude_bits(values[index])));
            let mut expected = order[..k].to_vec();
            expected.sort_unstable();
            let kept: Vec<usize> =
                (0..values.len()).filter(|&index| threshold.keeps(index, values[index])).collect();
            prop_assert_eq!(&kept, &expected);

            let start = values.len() / 3;
            let mut rest = values[start..].to_vec();
            threshold.zero_others(start, &mut rest);
            for (index, value) in rest.into_iter().enumerate() {
                let kept = kept.binary_search(&(start + index)).is_ok();
                let expected = if kept { values[start + index] } else { 0.0 };
                prop_assert_eq!(value.to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn asking_for_more_than_there_is_finds_nothing() {
        let mut histogram = Histogram::default();
        histogram.add_upper(&[1.0, 2.0]);
        assert_eq!(histogram.locate(3), None);
        assert_eq!(histogram.compact().locate(3), None);
        assert_eq!(histogram.compact().locate(2), histogram.locate(2));
    }
}

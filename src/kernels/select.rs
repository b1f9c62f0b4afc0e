//! Exact selection by magnitude without sorting.
//!
//! The bit pattern of |x| as an unsigned number orders magnitudes. The k-th largest of a long tensor is
//! found in one pass when a sample has told a narrow [`Bracket`] of patterns around it: what lies above
//! is counted, what lies inside is listed as [`Tally`]s, and the k-th is then among the latter. Where
//! the bracket was wrong, counting digit after digit ([`Digit`]) finds the value without any guess.
//! Among equal magnitudes the elements with the lowest indices are kept, so that exactly k remain and
//! the result is the same on every machine. NaN counts as larger than infinity.

mod bracket;

pub use bracket::{Bracket, Inside};

/// Buckets of a histogram over one [`Digit`].
pub const BUCKETS: usize = 1 << 11;

/// Largest bit pattern of a magnitude.
pub const LARGEST_BITS: u32 = 0x7fff_ffff;

/// Bits of |x|, whose order as integers is the order of magnitudes.
#[inline(always)]
pub fn magnitude_bits(x: f32) -> u32 {
    x.to_bits() & LARGEST_BITS
}

/// How many elements have magnitudes with these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// As of [`magnitude_bits`].
    pub bits: u32,
    /// At least 1.
    pub count: u32,
}

/// Σ |x| over those of `values` whose magnitude has at least the bits `smallest`.
///
/// To be called inside [`vectorized`](super::simd::vectorized).
#[inline(always)]
pub fn sum_from(smallest: u32, values: &[f32]) -> f64 {
    const LANES: usize = 8;
    let masked = |value: f32| {
        let bits = magnitude_bits(value);
        f64::from(f32::from_bits(bits & 0u32.wrapping_sub(u32::from(bits >= smallest))))
    };
    let mut lanes = [0.0f64; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] += masked(block[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += masked(value);
    }
    lanes.iter().sum()
}

/// Sorts `bits` and counts equal ones, smallest first.
pub fn tally(bits: &mut [u32]) -> Box<[Tally]> {
    bits.sort_unstable();
    let runs = bits.chunk_by(|a, b| a == b);
    runs.map(|run| Tally { bits: run[0], count: run.len() as u32 }).collect()
}

/// The bits of the `rank`-th largest (from 1) of all tallied elements, and its rank among those with
/// the same bits. `None` when fewer are tallied. `tallies` lie in `bracket`, in any order.
pub fn locate<'t>(
    tallies: impl Iterator<Item = &'t Tally> + Clone,
    bracket: Bracket,
    rank: u64,
) -> Option<(u32, u64)> {
    // First the right one of many equally wide ranges, then the right element of it.
    let width = (bracket.high - bracket.low) / BUCKETS as u32 + 1;
    let bucket = |tally: &Tally| ((tally.bits - bracket.low) / width) as usize;
    let mut counts = [0u64; BUCKETS];
    for tally in tallies.clone() {
        counts[bucket(tally)] += u64::from(tally.count);
    }
    let (found, mut left) = largest_first(&counts, rank)?;
    let mut members: Vec<Tally> = tallies.filter(|tally| bucket(tally) == found).copied().collect();
    members.sort_unstable_by_key(|tally| std::cmp::Reverse(tally.bits));
    for same in members.chunk_by(|a, b| a.bits == b.bits) {
        let count = same.iter().map(|tally| u64::from(tally.count)).sum();
        if left <= count {
            return Some((same[0].bits, left));
        }
        left -= count;
    }
    None
}

/// The bucket that holds the `rank`-th largest (from 1) of what was counted, and its rank in there.
fn largest_first(counts: &[u64], rank: u64) -> Option<(usize, u64)> {
    let mut left = rank;
    for (bucket, &count) in counts.iter().enumerate().rev() {
        if left <= count {
            return Some((bucket, left));
        }
        left -= count;
    }
    None
}

/// Some bits of a magnitude, below others that are known: a step of finding a rank by counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// Bits above the digit, those of the magnitude looked for.
    prefix: u32,
    /// Number of bits below the digit.
    shift: u32,
    /// Number of the digit's bits.
    size: u32,
    /// Rank, from 1, of the magnitude looked for among those that have the prefix.
    rank: u64,
}

impl Digit {
    /// The uppermost digit of the `rank`-th largest magnitude (from 1).
    pub fn first(rank: u64) -> Self {
        Self { prefix: 0, shift: 20, size: 11, rank }
    }

    /// Counts `values` with the known prefix by their digit.
    pub fn count(self, values: &[f32], counts: &mut [u32; BUCKETS]) {
        for &value in values {
            let digits = magnitude_bits(value) >> self.shift;
            if digits >> self.size == self.prefix {
                counts[(digits & ((1 << self.size) - 1)) as usize] += 1;
            }
        }
    }

    /// The next digit, after all values have been counted by this one; `Err` holds the bits of the
    /// magnitude once all digits are known.
    ///
    /// # Panics
    ///
    /// When fewer values than the rank were counted.
    pub fn next(self, counts: &[u64; BUCKETS]) -> Result<Self, u32> {
        let (digit, rank) = largest_first(counts, self.rank).expect("ranks exist");
        let prefix = self.prefix << self.size | digit as u32;
        match self.shift {
            0 => Err(prefix),
            shift => Ok(Self { prefix, shift: shift - 10, size: 10, rank }),
        }
    }
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

    /// Copies `values`, which begin at element `start`, with zeros for elements that are not kept.
    #[inline(always)]
    pub fn keep_largest(&self, start: usize, values: &[f32], kept: &mut [f32]) {
        self.for_masks(start, values, kept, |value, mask| f32::from_bits(value.to_bits() & mask));
    }

    /// Copies `values` with zeros for what [`MagnitudeThreshold::keep_largest`] keeps.
    #[inline(always)]
    pub fn keep_others(&self, start: usize, values: &[f32], kept: &mut [f32]) {
        self.for_masks(start, values, kept, |value, mask| f32::from_bits(value.to_bits() & !mask));
    }

    /// Sets all bits of the masks of elements that are kept, and none of others'. `values` begin at
    /// element `start`.
    #[inline(always)]
    pub fn mask(&self, start: usize, values: &[f32], masks: &mut [u32]) {
        self.for_masks(start, values, masks, |_, mask| mask);
    }

    /// Not in place, where compilers make stores of zeros under a mask of it, which are slow.
    #[inline(always)]
    fn for_masks<T>(
        &self,
        start: usize,
        values: &[f32],
        out: &mut [T],
        make: impl Fn(f32, u32) -> T,
    ) {
        // Ties are kept up to an index, so on either side of it one comparison decides.
        let ties = (self.last_tie + 1).saturating_sub(start).min(values.len());
        let (values, out) = (values.split_at(ties), out.split_at_mut(ties));
        let parts = [(values.0, out.0, self.bits), (values.1, out.1, self.bits + 1)];
        for (values, out, smallest) in parts {
            for (out, &value) in out.iter_mut().zip(values) {
                let mask = 0u32.wrapping_sub(u32::from(magnitude_bits(value) >= smallest));
                *out = make(value, mask);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Vec<f32>> {
        let value = prop_oneof![
            any::<f32>(),
            Just(0.0),
            Just(-1.0),
            Just(1.0),
            Just(f32::NAN),
            Just(f32::INFINITY),
        ];
        prop::collection::vec(value, 1..200)
    }

    /// Magnitudes as bits, the largest first.
    fn sorted(values: &[f32]) -> Vec<u32> {
        let mut bits: Vec<u32> = values.iter().map(|&value| magnitude_bits(value)).collect();
        bits.sort_unstable_by_key(|&bits| std::cmp::Reverse(bits));
        bits
    }

    proptest! {
        #[test]
        fn ranks_are_found_in_any_bracket_around_them(
            values in values(),
            share in 0.0..1.0,
            margins in (0usize..50, 0usize..50),
        ) {
            let order = sorted(&values);
            let rank = (share * (values.len() - 1) as f64) as usize;
            let low = order[(rank + margins.0).min(order.len() - 1)];
            let bracket = Bracket { low, high: order[rank.saturating_sub(margins.1)] };
            let mut inside = Inside::default();
            let above = bracket.scan::<false>(0, &values, &mut inside);
            let inside = inside.bits_mut();
            prop_assert_eq!(above, order.iter().filter(|bits| **bits > bracket.high).count());
            let middle = inside.len() / 2;
            let (left, right) = inside.split_at_mut(middle);
            let parts = [tally(left), tally(right)];
            let tallies = parts.iter().flatten();
            let found = locate(tallies, bracket, (rank + 1 - above) as u64);
            let first = order.iter().position(|bits| *bits == order[rank]).unwrap();
            prop_assert_eq!(found, Some((order[rank], (rank - first + 1) as u64)));
        }

        #[test]
        fn counting_digits_finds_every_rank(values in values(), share in 0.0..1.0) {
            let rank = (share * (values.len() - 1) as f64) as usize;
            let mut digit = Digit::first(rank as u64 + 1);
            let bits = loop {
                let mut counts = [0; BUCKETS];
                digit.count(&values, &mut counts);
                match digit.next(&counts.map(u64::from)) {
                    Ok(next) => digit = next,
                    Err(bits) => break bits,
                }
            };
            prop_assert_eq!(bits, sorted(&values)[rank]);
        }

        #[test]
        fn a_threshold_splits_values_in_two(values in values(), start in 0usize..200) {
            let start = start.min(values.len());
            let middle = values.len() / 2;
            let threshold =
                MagnitudeThreshold { bits: magnitude_bits(values[middle]), last_tie: middle };
            let values_from = &values[start..];
            let (mut largest, mut others) = (values_from.to_vec(), values_from.to_vec());
            threshold.keep_largest(start, values_from, &mut largest);
            threshold.keep_others(start, values_from, &mut others);
            let mut masks = vec![0; largest.len()];
            threshold.mask(start, values_from, &mut masks);
            for (offset, (largest, other)) in largest.iter().zip(others).enumerate() {
                let value = values[start + offset];
                let kept = threshold.keeps(start + offset, value);
                let expected = if kept { [value, 0.0] } else { [0.0, value] };
                prop_assert_eq!(masks[offset], if kept { u32::MAX } else { 0 });
                let found = [largest.to_bits(), other.to_bits()];
                prop_assert_eq!(found, expected.map(f32::to_bits));
            }
        }
    }

    #[test]
    fn asking_for_more_than_there_is_finds_nothing() {
        let tallies = [Tally { bits: 3, count: 2 }, Tally { bits: 1, count: 1 }];
        assert_eq!(locate(tallies.iter(), Bracket::EVERYTHING, 4), None);
        assert_eq!(locate(tallies.iter(), Bracket { low: 0, high: 3 }, 3), Some((1, 1)));
    }
}

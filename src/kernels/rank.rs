//! Draws whose probability rises with an element's rank among its row, without sorting the row.
//!
//! Only where the random number lies between the lowest and the highest probability the rank matters,
//! and mostly it is enough to know roughly: elements are counted by the upper bits of their magnitude,
//! which bounds their ranks from both sides. The few that remain undecided are ranked exactly.

mod repeats;

use std::cell::Cell;
use std::ops::Range;

use super::flags::pack;
use super::random::{Probability, TensorKey};
use super::select::magnitude_bits;
use super::simd::vectorized;
use repeats::Repeats;

/// Most buckets that magnitudes of a row are counted in. Together they span 32 powers of two or more
/// below the largest one; what is still smaller shares a bucket with 0.
const BUCKETS: usize = 1 << 15;

/// Bits of the fraction that tell buckets apart, for rows of fewer elements than the first number:
/// longer rows need more buckets, and pay for them with less per element.
const FRACTION_BITS: [(usize, u32); 3] = [(1 << 12, 5), (1 << 16, 8), (usize::MAX, 10)];

/// So many undecided elements of a row are ranked one by one.
const FEW: usize = 16;

/// Probabilities by rank: `lowest` for the smallest magnitude of a row, `lowest + spread` for the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedDraw {
    /// Key of the random numbers.
    pub key: TensorKey,
    /// Above 0.
    pub lowest: f64,
    /// At least 0; `lowest + spread` is below 1.
    pub spread: f64,
}

impl RankedDraw {
    /// The probability of keeping the element of that rank, from 0, in a row of `length` elements.
    fn probability(&self, rank: usize, length: usize) -> Probability {
        let rank = rank as f64 / (length - 1).max(1) as f64;
        Probability::new(self.lowest + self.spread * rank)
    }

    /// The lowest of `ranks` at which the random number `number` keeps an element in a row of `length`;
    /// their end if it is none.
    fn lowest_kept(&self, number: u32, ranks: Range<usize>, length: usize) -> usize {
        // The probability rises with the rank.
        let Range { start: mut low, end: mut high } = ranks;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.probability(middle, length).0 > number {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}

/// Draws for the rows of one shape.
#[derive(Debug, Clone)]
pub struct RowDraw {
    draw: RankedDraw,
    /// Elements that are ranked among each other.
    length: usize,
    /// Elements of everything behind the second axis: ranks are among those at the same place in there.
    inner: usize,
    /// Bits to shift a magnitude by for its bucket.
    shift: u32,
    /// For each value of a number's upper bits, the lowest rank that may be kept and the lowest that is
    /// kept whatever the lower bits; the length for none.
    possible: Box<[u32; 256]>,
    certain: Box<[u32; 256]>,
    /// Numbers whose upper bits are below the first are kept at every rank, and from the second on at none.
    decided: (u16, u16),
    /// For each rank the upper bits of its probability; none for rows longer than [`repeats::LONGEST`].
    limits: Box<[u8]>,
}

/// Memory to draw with: some 400 KiB, and 24 bytes for each element of a row.
#[derive(Default)]
struct Memory {
    numbers: Vec<u8>,
    column: Column,
    /// Magnitudes by bucket, counted in turns: counting the same one twice in a row takes longer. All 0
    /// between two columns.
    counts: [Vec<u32>; 2],
    /// Rank of the smallest magnitude of every bucket, and the rank behind the last.
    first_ranks: Vec<u32>,
    /// Elements whose bucket and whose number's upper bits do not say enough.
    unclear: Vec<u32>,
    repeats: Repeats,
    undecided: Vec<Undecided>,
    /// Magnitude and position of elements, in the order of their buckets.
    members: Vec<u64>,
}

thread_local! {
    /// A thread's memory between two calls.
    static MEMORY: Cell<Memory> = Cell::default();
}

/// The elements that are ranked among each other.
#[derive(Default)]
struct Column {
    magnitudes: Vec<u32>,
    numbers: Vec<u8>,
    /// Flags of what is kept: all ones or 0.
    kept: Vec<u8>,
    /// Whether the rank matters, 1 or 0; up to a multiple of 64.
    depends: Vec<u8>,
}

/// An element whose bucket does not say enough.
struct Undecided {
    position: u32,
    bucket: u32,
    /// Its random number.
    number: u32,
}

impl RowDraw {
    /// For rows of `row` elements, `row / inner` of which are ranked among each other.
    ///
    /// # Panics
    ///
    /// When rows have 2³² elements or more.
    pub fn new(draw: RankedDraw, row: usize, inner: usize) -> Self {
        assert!(u32::try_from(row).is_ok(), "rows have fewer than 2^32 elements");
        let inner = inner.max(1);
        let length = row / inner;
        let (mut possible, mut certain) = (Box::new([0; 256]), Box::new([0; 256]));
        for upper in 0..256u32 {
            possible[upper as usize] = draw.lowest_kept(upper << 24, 0..length, length) as u32;
            certain[upper as usize] =
                draw.lowest_kept(upper << 24 | 0xff_ffff, 0..length, length) as u32;
        }
        let class = FRACTION_BITS.partition_point(|&(above, _)| above <= length);
        let (_, fraction_bits) = FRACTION_BITS[class];
        let always = certain.partition_point(|rank| *rank == 0);
        let sometimes = possible.partition_point(|rank| (*rank as usize) < length);
        let ranks = 0..if length > repeats::LONGEST { 0 } else { length };
        let limits = ranks.map(|rank| (draw.probability(rank, length).0 >> 24) as u8).collect();
        Self {
            limits,
            draw,
            length,
            inner,
            shift: 23 - fraction_bits,
            possible,
            certain,
            decided: (always as u16, sometimes as u16),
        }
    }

    /// Which elements of the difference between whole rows are kept: flags of all ones for yes, 0 for no.
    /// The rows begin at element `start`. Differences of 0 may have either flag.
    pub fn flags(&self, start: usize, values: &[f32], base: &[f32], flags: &mut [u8]) {
        let row = self.length * self.inner;
        if row == 0 {
            return;
        }
        let mut memory = MEMORY.take();
        memory.fit(row, self.length);
        let rows = values.chunks_exact(row).zip(base.chunks_exact(row));
        for (index, (rows, flags)) in rows.zip(flags.chunks_exact_mut(row)).enumerate() {
            let start = start + index * row;
            self.draw.key.upper_bits(start, &mut memory.numbers);
            for offset in 0..self.inner {
                let Memory { numbers, column, .. } = &mut memory;
                vectorized(
                    #[inline(always)]
                    || column.read(rows, numbers, offset, self.inner),
                );
                self.decide(&mut memory, start + offset);
                vectorized(
                    #[inline(always)]
                    || memory.column.write(flags, offset, self.inner),
                );
            }
        }
        MEMORY.set(memory);
    }

    fn keeps(&self, rank: u32, number: u32) -> bool {
        self.draw.probability(rank as usize, self.length).0 > number
    }

    /// Decides about one column, whose first element has index `start` in the tensor.
    fn decide(&self, memory: &mut Memory, start: usize) {
        let Magnitudes { smallest, largest, is_decided } = vectorized(
            #[inline(always)]
            || memory.column.decide(self.decided),
        );
        if is_decided {
            return;
        }
        let Memory { column, repeats, .. } = memory;
        let has_repeated = !self.limits.is_empty()
            && vectorized(
                #[inline(always)]
                || self.decide_repeats(repeats, column, largest, start),
            );
        if has_repeated {
            return;
        }
        let top = largest >> self.shift;
        let bottom = (smallest >> self.shift).saturating_sub(1);
        let base = bottom.max((top + 1).saturating_sub(BUCKETS as u32));
        let n_buckets = (top - base) as usize + 1;
        let shift = self.shift;
        let bucket = |magnitude: u32| (magnitude >> shift).saturating_sub(base) as usize;
        memory.count(n_buckets, bucket);
        self.decide_by_bucket(memory, start, bucket);
        if memory.undecided.len() <= FEW {
            for undecided in &memory.undecided {
                let at = undecided.position as usize;
                let rank = vectorized(
                    #[inline(always)]
                    || rank_of(&memory.column.magnitudes, at),
                );
                memory.column.kept[at] = flag(self.keeps(rank, undecided.number));
            }
        } else {
            self.decide_by_rank(memory, n_buckets, bucket);
        }
    }

    /// Decides what the bounds of a bucket's ranks tell, and lists the others.
    fn decide_by_bucket(&self, memory: &mut Memory, start: usize, bucket: impl Fn(u32) -> usize) {
        let Memory { column, first_ranks, unclear, undecided, .. } = memory;
        let Column { magnitudes, numbers, kept, depends } = column;
        let mut n_unclear = 0;
        for (index, depends) in depends.as_chunks::<64>().0.iter().enumerate() {
            let mut depends = pack(depends);
            while depends != 0 {
                let at = 64 * index + depends.trailing_zeros() as usize;
                depends &= depends - 1;
                let bucket = bucket(magnitudes[at]);
                let (first, behind) = (first_ranks[bucket], first_ranks[bucket + 1]);
                let upper = usize::from(numbers[at]);
                let is_kept = first >= self.certain[upper];
                kept[at] = flag(is_kept);
                // Written in any case, since a jump could not be predicted.
                unclear[n_unclear] = at as u32;
                n_unclear += usize::from(!is_kept & (behind > self.possible[upper]));
            }
        }
        undecided.clear();
        for &position in &unclear[..n_unclear] {
            let at = position as usize;
            let lower = self.draw.key.lower_bits(start + at * self.inner);
            let number = u32::from(numbers[at]) << 24 | lower;
            let bucket = bucket(magnitudes[at]);
            if self.keeps(first_ranks[bucket], number) {
                kept[at] = flag(true);
            } else if self.keeps(first_ranks[bucket + 1] - 1, number) {
                undecided.push(Undecided { position, bucket: bucket as u32, number });
            }
        }
    }

    /// Decides about what is left by sorting its buckets.
    fn decide_by_rank(&self, memory: &mut Memory, n_buckets: usize, bucket: impl Fn(u32) -> usize) {
        let Memory { column, counts: [next, _], first_ranks, undecided, members, .. } = memory;
        let next = &mut next[..n_buckets];
        next.copy_from_slice(&first_ranks[..n_buckets]);
        members.resize(self.length, 0);
        let order =
            |magnitude: u32, position: u32| u64::from(magnitude) << 32 | u64::from(position);
        for (&magnitude, position) in column.magnitudes.iter().zip(0..) {
            let place = &mut next[bucket(magnitude)];
            members[*place as usize] = order(magnitude, position);
            *place += 1;
        }
        next.fill(0);
        undecided.sort_unstable_by_key(|undecided| undecided.bucket);
        for undecided in undecided.chunk_by(|a, b| a.bucket == b.bucket) {
            let bucket = undecided[0].bucket as usize;
            let first = first_ranks[bucket];
            let members = &mut members[first as usize..first_ranks[bucket + 1] as usize];
            // They come in the order of their positions, and weights of few bits are often equal.
            if !members.is_sorted() {
                members.sort_unstable();
            }
            for undecided in undecided {
                let magnitude = column.magnitudes[undecided.position as usize];
                let found = members.binary_search(&order(magnitude, undecided.position));
                let rank = first + found.expect("an element is in its bucket") as u32;
                column.kept[undecided.position as usize] = flag(self.keeps(rank, undecided.number));
            }
        }
    }
}

impl Memory {
    /// Makes room for rows of `row` elements and columns of `length`.
    fn fit(&mut self, row: usize, length: usize) {
        self.numbers.resize(row, 0);
        self.column.magnitudes.resize(length, 0);
        self.column.numbers.resize(length, 0);
        self.column.kept.resize(length, 0);
        self.column.depends.clear();
        self.column.depends.resize(length.next_multiple_of(64), 0);
        self.counts.iter_mut().for_each(|counts| counts.resize(BUCKETS, 0));
        self.first_ranks.resize(BUCKETS + 1, 0);
        // One more than there can be, for what is written in vain.
        self.unclear.resize(length + 1, 0);
        self.repeats.fit(length);
    }

    /// Fills `first_ranks` of `n_buckets` buckets.
    fn count(&mut self, n_buckets: usize, bucket: impl Fn(u32) -> usize) {
        let [even, odd] = &mut self.counts;
        let (even, odd) = (&mut even[..n_buckets], &mut odd[..n_buckets]);
        let (pairs, rest) = self.column.magnitudes.as_chunks::<2>();
        for &[a, b] in pairs {
            even[bucket(a)] += 1;
            odd[bucket(b)] += 1;
        }
        for &magnitude in rest {
            even[bucket(magnitude)] += 1;
        }
        let mut rank = 0;
        for (first_rank, (even, odd)) in self.first_ranks.iter_mut().zip(even.iter_mut().zip(odd)) {
            *first_rank = rank;
            rank += std::mem::take(even) + std::mem::take(odd);
        }
        self.first_ranks[n_buckets] = rank;
    }
}

/// What is to be known of a column's magnitudes.
struct Magnitudes {
    /// The smallest one above 0.
    smallest: u32,
    largest: u32,
    /// Whether no rank matters.
    is_decided: bool,
}

#[inline(always)]
fn flag(is_kept: bool) -> u8 {
    0u8.wrapping_sub(u8::from(is_kept))
}

impl Column {
    /// Takes every `inner`-th difference from `offset` on.
    #[inline(always)]
    fn read(
        &mut self,
        (values, base): (&[f32], &[f32]),
        numbers: &[u8],
        offset: usize,
        inner: usize,
    ) {
        if inner == 1 {
            // The loop below, as one that the compiler can turn into vector instructions.
            for (magnitude, (value, base)) in
                self.magnitudes.iter_mut().zip(values.iter().zip(base))
            {
                *magnitude = magnitude_bits(value - base);
            }
            self.numbers.copy_from_slice(numbers);
            return;
        }
        let elements = values.iter().zip(base).zip(numbers).skip(offset).step_by(inner);
        let column = self.magnitudes.iter_mut().zip(&mut self.numbers);
        for ((magnitude, number), ((value, base), &drawn)) in column.zip(elements) {
            *magnitude = magnitude_bits(value - base);
            *number = drawn;
        }
    }

    /// Puts the flags where the elements came from.
    #[inline(always)]
    fn write(&self, flags: &mut [u8], offset: usize, inner: usize) {
        if inner == 1 {
            flags.copy_from_slice(&self.kept);
            return;
        }
        for (flag, &kept) in flags.iter_mut().skip(offset).step_by(inner).zip(&self.kept) {
            *flag = kept;
        }
    }

    /// Keeps what is kept at every rank, and marks what is kept at some. Zeros need no rank.
    #[inline(always)]
    fn decide(&mut self, (always, sometimes): (u16, u16)) -> Magnitudes {
        let mut any = 0;
        let flags = self.kept.iter_mut().zip(&mut self.depends);
        for ((kept, depends), (&number, &magnitude)) in
            flags.zip(self.numbers.iter().zip(&self.magnitudes))
        {
            let number = u16::from(number);
            *kept = flag(number < always);
            *depends = u8::from((number >= always) & (number < sometimes) & (magnitude != 0));
            any |= *depends;
        }
        let (mut smallest, mut largest) = (u32::MAX, 0);
        for &magnitude in &self.magnitudes {
            // 0 becomes the largest number.
            smallest = smallest.min(magnitude.wrapping_sub(1));
            largest = largest.max(magnitude);
        }
        Magnitudes { smallest: smallest.wrapping_add(1), largest, is_decided: any == 0 }
    }
}

/// How many of `magnitudes` rank below the one at position `at`: smaller ones, and equal ones before it.
#[inline(always)]
fn rank_of(magnitudes: &[u32], at: usize) -> u32 {
    let magnitude = magnitudes[at];
    let before: u32 = magnitudes[..at].iter().map(|other| u32::from(*other <= magnitude)).sum();
    let behind: u32 = magnitudes[at..].iter().map(|other| u32::from(*other < magnitude)).sum();
    before + behind
}

#[cfg(test)]
mod tests {
    use super::super::random::mix;
    use super::*;

    /// Draws by ranks from a sort.
    fn by_sorting(
        draw: RankedDraw,
        start: usize,
        row: usize,
        inner: usize,
        values: &[f32],
    ) -> Vec<bool> {
        let mut numbers = vec![0; values.len()];
        draw.key.upper_bits(start, &mut numbers);
        let mut kept = vec![false; values.len()];
        let length = row / inner;
        for row_start in (0..values.len()).step_by(row) {
            for offset in 0..inner {
                let mut order: Vec<usize> =
                    (row_start + offset..row_start + row).step_by(inner).collect();
                order.sort_by_key(|&index| magnitude_bits(values[index]));
                for (rank, index) in order.into_iter().enumerate() {
                    let lower = draw.key.lower_bits(start + index);
                    let number = u32::from(numbers[index]) << 24 | lower;
                    kept[index] = draw.probability(rank, length).0 > number;
                }
            }
        }
        kept
    }

    fn values(kind: usize, n: usize) -> Vec<f32> {
        let uniform = |index: usize| (mix((index ^ kind << 40) as u64) >> 40) as f32 / 16_777_216.0;
        let value = |index: usize| {
            let u = uniform(index) - 0.5;
            match kind {
                0 => u,
                1 => f32::from_bits((u * u * u).to_bits() & 0xffff_0000),
                2 => {
                    if uniform(index + n) < 0.6 {
                        0.0
                    } else {
                        u
                    }
                }
                3 => (u * 8.0).round() / 64.0,
                4 => 0.0,
                5 => -1.0,
                6 => u * 1e-40,
                // As differences of bfloat16 numbers: many repeat, and a few have more bits or are tiny.
                7 | 8 => {
                    let step = 2f32.powi(-12 - (uniform(index + n) * 8.0) as i32);
                    let rough = (u * 6.0).round() * step;
                    match index % if kind == 7 { 29 } else { 3 } {
                        0 => rough * (1.0 + u),
                        1 if kind == 7 => rough * 1e-6,
                        _ => rough,
                    }
                }
                _ => [f32::NAN, f32::INFINITY, 0.0, u, -u][index % 5],
            }
        };
        (0..n).map(value).collect()
    }

    #[test]
    fn draws_equal_those_by_a_sort() {
        let shapes =
            [(1, 1), (2, 1), (7, 1), (300, 1), (1000, 4), (5000, 1), (70_000, 1), (12, 12)];
        for (row, inner) in shapes {
            for kind in 0..10 {
                for (lowest, spread) in [(0.35, 0.3), (0.1, 0.8), (0.5, 0.0), (0.001, 0.003)] {
                    let key = TensorKey::new(kind as u64, "w", row);
                    let draw = RankedDraw { key, lowest, spread };
                    let rows = if row > 10_000 { 1 } else { 3 };
                    let values = values(kind, rows * row);
                    let (start, mut flags) = (2 * row, vec![0; values.len()]);
                    RowDraw::new(draw, row, inner).flags(
                        start,
                        &values,
                        &vec![0.0; values.len()],
                        &mut flags,
                    );
                    let expected = by_sorting(draw, start, row, inner, &values);
                    for (index, (flag, expected)) in flags.into_iter().zip(expected).enumerate() {
                        let is_right = flag == super::flag(expected) || values[index] == 0.0;
                        assert!(is_right, "row {row}/{inner}, values {kind}, element {index}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_are_kept_more_often() {
        let draw = RankedDraw { key: TensorKey::new(5, "w", 1), lowest: 0.35, spread: 0.3 };
        let n = 1 << 18;
        let rising: Vec<f32> = (0..n).map(|index| (index % 1024) as f32 + 1.0).collect();
        let mut flags = vec![0; n];
        RowDraw::new(draw, 1024, 1).flags(0, &rising, &vec![0.0; n], &mut flags);
        let rate = |from: usize| {
            let kept = (0..n).filter(|index| index % 1024 / 128 == from && flags[*index] != 0);
            kept.count() as f64 / (n / 8) as f64
        };
        for eighth in 0..8 {
            let expected = 0.35 + 0.3 * (eighth as f64 + 0.5) / 8.0;
            assert!((rate(eighth) - expected).abs() < 0.015, "{} of eighth {eighth}", rate(eighth));
        }
    }
}

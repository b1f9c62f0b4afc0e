//! Draws whose probability rises with an element's rank among its row, without sorting the row.
//!
//! Only where the random number lies between the lowest and the highest probability the rank matters,
//! and mostly it is enough to know roughly: elements are counted by the upper bits of their magnitude,
//! which bounds their ranks from both sides. The few that remain undecided are ranked exactly.

use std::ops::Range;

use super::random::{Probability, TensorKey};
use super::select::magnitude_bits;
use super::simd::vectorized;

/// Most buckets that magnitudes of a row are counted in. Together they span 32 powers of two below the
/// largest one; what is still smaller shares a bucket with 0.
const BUCKETS: usize = 1 << 12;

/// Rows shorter than this have fewer buckets.
const LONG_ROW: usize = 1 << 12;

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

/// Draws for the rows of one shape, with the memory that takes: 17 bytes for each element of a row.
pub struct Ranker {
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
    numbers: Vec<u8>,
    column: Column,
    /// Magnitudes by bucket, counted in turns: counting the same one twice in a row takes longer.
    counts: Box<[[u32; BUCKETS]; 4]>,
    /// Rank of the smallest magnitude of every bucket, and the rank behind the last.
    first_ranks: Box<[u32; BUCKETS + 1]>,
    /// Elements whose rank matters.
    candidates: Vec<u32>,
    undecided: Vec<Undecided>,
    /// Elements in the order of their buckets.
    members: Vec<u32>,
}

/// The elements that are ranked among each other.
#[derive(Default)]
struct Column {
    magnitudes: Vec<u32>,
    numbers: Vec<u8>,
    kept: Vec<u8>,
}

/// An element whose bucket does not say enough.
struct Undecided {
    position: u32,
    bucket: u32,
    /// Lowest rank at which its number keeps it.
    lowest_kept: u32,
}

impl Ranker {
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
        let always = certain.partition_point(|rank| *rank == 0);
        let sometimes = possible.partition_point(|rank| (*rank as usize) < length);
        Self {
            draw,
            length,
            inner,
            shift: if length < LONG_ROW { 23 - 5 } else { 23 - 7 },
            possible,
            certain,
            decided: (always as u16, sometimes as u16),
            numbers: vec![0; row],
            column: Column {
                magnitudes: vec![0; length],
                numbers: vec![0; length],
                kept: vec![0; length],
            },
            counts: Box::new([[0; BUCKETS]; 4]),
            first_ranks: Box::new([0; BUCKETS + 1]),
            candidates: vec![0; length],
            undecided: Vec::new(),
            members: Vec::new(),
        }
    }

    /// Which elements of whole rows are kept: flags of all ones for yes, 0 for no. `values` begin at
    /// element `start`. Values that are 0 may have either flag.
    pub fn flags(&mut self, start: usize, values: &[f32], flags: &mut [u8]) {
        let row = self.length * self.inner;
        if row == 0 {
            return;
        }
        let mut column = std::mem::take(&mut self.column);
        let rows = values.chunks_exact(row).zip(flags.chunks_exact_mut(row));
        for (index, (values, flags)) in rows.enumerate() {
            let start = start + index * row;
            self.draw.key.upper_bits(start, &mut self.numbers);
            for offset in 0..self.inner {
                vectorized(|| column.read(values, &self.numbers, offset, self.inner));
                self.keep(&mut column, start + offset);
                vectorized(|| column.write(flags, offset, self.inner));
            }
        }
        self.column = column;
    }

    /// Decides about one column, whose first element has index `start` in the tensor.
    fn keep(&mut self, column: &mut Column, start: usize) {
        let (smallest, largest) = vectorized(|| column.decide(self.decided));
        let n_candidates = column.list_undecided(self.decided, &mut self.candidates);
        if n_candidates == 0 {
            return;
        }
        let top = largest >> self.shift;
        let bottom = (smallest >> self.shift).saturating_sub(1);
        let base = bottom.max((top + 1).saturating_sub(BUCKETS as u32));
        let shift = self.shift;
        let bucket = |magnitude: u32| (magnitude >> shift).saturating_sub(base) as usize % BUCKETS;
        self.count(&column.magnitudes, (top - base) as usize + 1, bucket);

        self.undecided.clear();
        for &position in &self.candidates[..n_candidates] {
            let at = position as usize;
            let upper = column.numbers[at];
            let bucket = bucket(column.magnitudes[at]);
            let (first, behind) = (self.first_ranks[bucket], self.first_ranks[bucket + 1]);
            let is_kept = first >= self.certain[usize::from(upper)];
            column.kept[at] = 0u8.wrapping_sub(u8::from(is_kept));
            if !is_kept && behind > self.possible[usize::from(upper)] {
                let number =
                    u32::from(upper) << 24 | self.draw.key.lower_bits(start + at * self.inner);
                let bounds = self.possible[usize::from(upper)]..self.certain[usize::from(upper)];
                let ranks = bounds.start as usize..bounds.end as usize;
                let lowest_kept = self.draw.lowest_kept(number, ranks, self.length) as u32;
                if first >= lowest_kept {
                    column.kept[at] = u8::MAX;
                } else if behind > lowest_kept {
                    let bucket = bucket as u32;
                    self.undecided.push(Undecided { position, bucket, lowest_kept });
                }
            }
        }
        if self.undecided.len() <= FEW {
            for undecided in &self.undecided {
                let at = undecided.position as usize;
                let rank = vectorized(|| rank_of(&column.magnitudes, at));
                column.kept[at] = 0u8.wrapping_sub(u8::from(rank >= undecided.lowest_kept));
            }
        } else {
            self.rank_undecided(column, bucket);
        }
    }

    /// Fills `first_ranks` of `n_buckets` buckets.
    fn count(&mut self, magnitudes: &[u32], n_buckets: usize, bucket: impl Fn(u32) -> usize) {
        let counts = &mut *self.counts;
        let (fours, rest) = magnitudes.as_chunks::<4>();
        for four in fours {
            for (counts, &magnitude) in counts.iter_mut().zip(four) {
                counts[bucket(magnitude)] += 1;
            }
        }
        for &magnitude in rest {
            counts[0][bucket(magnitude)] += 1;
        }
        let mut rank = 0;
        for index in 0..n_buckets {
            self.first_ranks[index] = rank;
            for counts in counts.iter_mut() {
                rank += std::mem::take(&mut counts[index]);
            }
        }
        self.first_ranks[n_buckets] = rank;
    }

    /// Ranks the undecided elements by sorting their buckets.
    fn rank_undecided(&mut self, column: &mut Column, bucket: impl Fn(u32) -> usize) {
        let next = &mut self.counts[0];
        next.copy_from_slice(&self.first_ranks[..BUCKETS]);
        self.members.resize(self.length, 0);
        for (position, &magnitude) in column.magnitudes.iter().enumerate() {
            let place = &mut next[bucket(magnitude)];
            self.members[*place as usize] = position as u32;
            *place += 1;
        }
        next.fill(0);
        self.undecided.sort_unstable_by_key(|undecided| undecided.bucket);
        for undecided in self.undecided.chunk_by(|a, b| a.bucket == b.bucket) {
            let bucket = undecided[0].bucket as usize;
            let first = self.first_ranks[bucket];
            let members = &mut self.members[first as usize..self.first_ranks[bucket + 1] as usize];
            let order = |&position: &u32| (column.magnitudes[position as usize], position);
            members.sort_unstable_by_key(order);
            for undecided in undecided {
                let found = members.binary_search_by_key(&order(&undecided.position), order);
                let rank = first + found.expect("an element is in its bucket") as u32;
                column.kept[undecided.position as usize] =
                    0u8.wrapping_sub(u8::from(rank >= undecided.lowest_kept));
            }
        }
    }
}

impl Column {
    /// Takes every `inner`-th element from `offset` on.
    #[inline(always)]
    fn read(&mut self, values: &[f32], numbers: &[u8], offset: usize, inner: usize) {
        if inner == 1 {
            // The loop below, as one that the compiler can turn into vector instructions.
            for (magnitude, &value) in self.magnitudes.iter_mut().zip(values) {
                *magnitude = magnitude_bits(value);
            }
            self.numbers.copy_from_slice(numbers);
            return;
        }
        let elements = values.iter().zip(numbers).skip(offset).step_by(inner);
        let column = self.magnitudes.iter_mut().zip(&mut self.numbers);
        for ((magnitude, number), (&value, &drawn)) in column.zip(elements) {
            *magnitude = magnitude_bits(value);
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

    /// Keeps what is kept at every rank. Returns the smallest magnitude above 0, and the largest.
    #[inline(always)]
    fn decide(&mut self, (always, _): (u16, u16)) -> (u32, u32) {
        for (kept, &number) in self.kept.iter_mut().zip(&self.numbers) {
            *kept = 0u8.wrapping_sub(u8::from(u16::from(number) < always));
        }
        let (mut smallest, mut largest) = (u32::MAX, 0);
        for &magnitude in &self.magnitudes {
            // 0 becomes the largest number.
            smallest = smallest.min(magnitude.wrapping_sub(1));
            largest = largest.max(magnitude);
        }
        (smallest.wrapping_add(1), largest)
    }

    /// Lists the positions of magnitudes above 0 whose rank matters, and returns how many there are.
    fn list_undecided(&self, (always, sometimes): (u16, u16), list: &mut [u32]) -> usize {
        let mut length = 0;
        for (position, (&magnitude, &number)) in
            self.magnitudes.iter().zip(&self.numbers).enumerate()
        {
            // Written in any case, since a jump could not be predicted.
            list[length] = position as u32;
            let number = u16::from(number);
            length += usize::from((number >= always) & (number < sometimes) & (magnitude != 0));
        }
        length
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

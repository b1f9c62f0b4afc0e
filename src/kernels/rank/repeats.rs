//! Exact ranks in rows whose magnitudes have few bits, and so repeat.
//!
//! Differences of bfloat16 numbers seldom need more than the upper half of their 32 bits. Then every
//! bucket of a count by the upper half holds equal magnitudes only, and an element's rank is the number
//! of elements in the buckets below plus that of elements before it in its own, which the count comes
//! by on its way. The few elements with more bits are put between by a sort.

use super::super::flags::pack;
use super::{Column, RowDraw, flag};

/// Longest row: ranks have 16 bits.
pub(super) const LONGEST: usize = u16::MAX as usize;

/// For one odd element there have to be so many others.
const OTHERS: usize = 16;

/// Buckets are summed up in so many strips side by side, ...
const LANES: usize = 16;

/// ... of so many buckets: a strip is the numbers between two powers of two.
const STRIP: usize = 128;

/// Magnitudes below those of the last so many buckets count as odd.
const BUCKETS: u32 = (LANES * STRIP) as u32;

/// Counters: a bucket has one for each half of the row, since the same counter cannot go up twice in
/// quick succession, and behind these are some that nobody reads, for zeros and odd elements.
const COUNTERS: usize = 2 * LANES * (STRIP + 1);

/// Where the unread counters begin.
const UNREAD: u16 = (2 * LANES * STRIP) as u16;

/// Memory to rank with.
pub(super) struct Repeats {
    /// The counter of each element.
    keys: Vec<u16>,
    /// How many elements before it have the same counter.
    before: Vec<u16>,
    /// The counters, and afterwards the ranks of the first element of each.
    counters: Box<[[u16; 2 * LANES]; STRIP + 1]>,
    /// Whether an element is odd, 1 or 0; up to a multiple of 64.
    is_odd: Vec<u8>,
    /// Magnitudes and positions of the odd elements, from the smallest.
    odd: Vec<u64>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            before: Vec::new(),
            counters: Box::new([[0; 2 * LANES]; STRIP + 1]),
            is_odd: Vec::new(),
            odd: Vec::new(),
        }
    }
}

impl Repeats {
    /// Makes room for columns of `length`.
    pub(super) fn fit(&mut self, length: usize) {
        self.keys.resize(length, 0);
        self.before.resize(length, 0);
        self.is_odd.clear();
        self.is_odd.resize(length.next_multiple_of(64), 0);
    }

    /// Chooses every element's counter; `largest` is the largest magnitude. Returns whether few enough
    /// are odd; if so, those no longer are among the ones that depend on their rank.
    #[inline(always)]
    fn read(&mut self, column: &mut Column, largest: u32) -> bool {
        let base = ((largest >> 16) + 1).saturating_sub(BUCKETS);
        let half = self.keys.len() / 2;
        let magnitudes = column.magnitudes.split_at(half);
        let keys = self.keys.split_at_mut(half);
        let is_odd = self.is_odd.split_at_mut(half);
        choose(magnitudes.0, base, 0, keys.0, is_odd.0);
        choose(magnitudes.1, base, LANES as u32, keys.1, is_odd.1);
        let mut n_odd = 0;
        for block in self.is_odd.chunks(128) {
            n_odd += usize::from(block.iter().sum::<u8>());
        }
        if n_odd > self.keys.len() / OTHERS {
            return false;
        }
        for (depends, is_odd) in column.depends.iter_mut().zip(&self.is_odd) {
            *depends &= !is_odd;
        }
        self.odd.clear();
        if n_odd > 0 {
            for (index, block) in self.is_odd.as_chunks::<64>().0.iter().enumerate() {
                let mut word = pack(block);
                while word != 0 {
                    let at = 64 * index + word.trailing_zeros() as usize;
                    word &= word - 1;
                    self.odd.push(u64::from(column.magnitudes[at]) << 32 | at as u64);
                }
            }
            self.odd.sort_unstable();
        }
        self.count();
        for &odd in &self.odd {
            let bucket = bucket_of((odd >> 32) as u32, base) as usize;
            // Behind the others of its bucket.
            self.counters[bucket % STRIP][bucket / STRIP + LANES] += 1;
        }
        self.sum_up();
        true
    }

    #[inline(always)]
    fn count(&mut self) {
        let counters = self.counters.as_flattened_mut();
        let counters: &mut [u16; COUNTERS] = counters.try_into().expect("that many");
        let mut next = |key: u16| {
            let counter = &mut counters[usize::from(key)];
            *counter += 1;
            *counter - 1
        };
        let half = self.keys.len() / 2;
        let (keys, last_keys) = self.keys.split_at(half);
        let (before, last_before) = self.before[..self.keys.len()].split_at_mut(half);
        // The second half may be longer by one.
        let (last_keys, one) = last_keys.split_at(half);
        let (last_before, before_one) = last_before.split_at_mut(half);
        let (keys, rest) = keys.as_chunks::<4>();
        let (last_keys, last_rest) = last_keys.as_chunks::<4>();
        let (before, before_rest) = before.as_chunks_mut::<4>();
        let (last_before, last_before_rest) = last_before.as_chunks_mut::<4>();
        for ((keys, last_keys), (before, last_before)) in
            keys.iter().zip(last_keys).zip(before.iter_mut().zip(last_before))
        {
            // Collected in registers, since there are stores enough.
            let (mut word, mut last_word) = (0, 0);
            for index in 0..4 {
                word |= u64::from(next(keys[index])) << (16 * index);
                last_word |= u64::from(next(last_keys[index])) << (16 * index);
            }
            *before = ranks_of(word);
            *last_before = ranks_of(last_word);
        }
        let pairs = [(rest, before_rest), (last_rest, last_before_rest), (one, before_one)];
        for (keys, before) in pairs {
            for (&key, before) in keys.iter().zip(before) {
                *before = next(key);
            }
        }
    }

    /// Turns counts into the ranks that they begin at.
    #[inline(always)]
    fn sum_up(&mut self) {
        let mut totals = [0u16; LANES];
        for counters in &self.counters[..STRIP] {
            let (first, second) = counters.split_at(LANES);
            for lane in 0..LANES {
                totals[lane] += first[lane] + second[lane];
            }
        }
        // Zeros come first.
        let mut rank = self.keys.len() as u16 - totals.iter().sum::<u16>();
        let mut ranks = totals.map(|total| {
            rank += total;
            rank - total
        });
        for counters in &mut self.counters[..STRIP] {
            let (first, second) = counters.split_at_mut(LANES);
            for lane in 0..LANES {
                let counts = (first[lane], second[lane]);
                first[lane] = ranks[lane];
                second[lane] = ranks[lane] + counts.0;
                ranks[lane] += counts.0 + counts.1;
            }
        }
    }
}

/// Four numbers from one, the lowest bits first.
#[inline(always)]
fn ranks_of(word: u64) -> [u16; 4] {
    [0, 16, 32, 48].map(|shift| (word >> shift) as u16)
}

/// The bucket of a magnitude; the first one is for those too small to have their own.
#[inline(always)]
fn bucket_of(magnitude: u32, base: u32) -> u32 {
    (magnitude >> 16).saturating_sub(base)
}

#[inline(always)]
fn choose(magnitudes: &[u32], base: u32, lane: u32, keys: &mut [u16], is_odd: &mut [u8]) {
    let elements = keys.iter_mut().zip(is_odd).zip(magnitudes);
    for (((key, is_odd), &magnitude), index) in elements.zip(0u32..) {
        let bucket = bucket_of(magnitude, base);
        let has_bucket = (bucket != 0) & (magnitude & 0xffff == 0);
        let counter = (bucket % STRIP as u32) * (2 * LANES as u32) + bucket / STRIP as u32 + lane;
        // Zeros are many, so they take turns.
        let unread = u32::from(UNREAD) + (index % LANES as u32 + lane);
        *key = if has_bucket { counter } else { unread } as u16;
        *is_odd = u8::from(!has_bucket & (magnitude != 0));
    }
}

impl RowDraw {
    /// Decides about a column, whose first element has index `start` in the tensor, if few of its
    /// elements are odd; otherwise nothing changes.
    ///
    /// To be called inside [`vectorized`](super::super::simd::vectorized).
    #[inline(always)]
    pub(super) fn decide_repeats(
        &self,
        repeats: &mut Repeats,
        column: &mut Column,
        largest: u32,
        start: usize,
    ) -> bool {
        repeats.counters.iter_mut().for_each(|counters| counters.fill(0));
        if !repeats.read(column, largest) {
            return false;
        }
        let counters = repeats.counters.as_flattened();
        let counters: &[u16; COUNTERS] = counters.try_into().expect("that many");
        let limits = &*self.limits;
        let decide = |kept: &mut u8, number: u8, at: usize, rank: u32| {
            let lower = self.draw.key.lower_bits(start + at * self.inner);
            *kept = flag(self.keeps(rank, u32::from(number) << 24 | lower));
        };
        let length = repeats.keys.len();
        for first in (0..length).step_by(64) {
            let behind = (first + 64).min(length);
            let mut depends = pack(&column.depends.as_chunks().0[first / 64]);
            let numbers = &column.numbers[first..behind];
            let kept = &mut column.kept[first..behind];
            let keys = &repeats.keys[first..behind];
            let before = &repeats.before[first..behind];
            let rank = |at: usize| counters[usize::from(keys[at])] + before[at];
            let mut unclear = 0u64;
            while depends != 0 {
                let at = depends.trailing_zeros() as usize;
                depends &= depends - 1;
                let (number, limit) = (numbers[at], limits[usize::from(rank(at))]);
                kept[at] = flag(number < limit);
                unclear |= u64::from(number == limit) << at;
            }
            while unclear != 0 {
                let at = unclear.trailing_zeros() as usize;
                unclear &= unclear - 1;
                decide(&mut kept[at], numbers[at], first + at, u32::from(rank(at)));
            }
        }
        let base = ((largest >> 16) + 1).saturating_sub(BUCKETS);
        let bucket = |odd: u64| bucket_of((odd >> 32) as u32, base);
        for equal in repeats.odd.chunk_by(|a, b| bucket(*a) == bucket(*b)) {
            let next = bucket(equal[0]) as usize + 1;
            let behind = match next < BUCKETS as usize {
                true => repeats.counters[next % STRIP][next / STRIP],
                false => length as u16,
            };
            for (odd, rank) in equal.iter().zip(u32::from(behind) - equal.len() as u32..) {
                let at = *odd as u32 as usize;
                decide(&mut column.kept[at], column.numbers[at], at, rank);
            }
        }
        true
    }
}

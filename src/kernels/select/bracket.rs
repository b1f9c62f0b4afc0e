//! Listing the magnitudes inside a narrow range of values, and counting those above.

use super::{LARGEST_BITS, magnitude_bits};

/// Values looked at together: so many are in one vector of AVX-512.
const LANES: usize = 16;

/// Magnitudes from `low` to `high`, both included, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bracket {
    /// Bits of the smallest magnitude inside.
    pub low: u32,
    /// Bits of the largest magnitude inside.
    pub high: u32,
}

/// Values that lie inside a bracket, in the order of their places.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// Longer than what is listed, so that whole vectors can be stored behind it.
    bits: Vec<u32>,
    places: Vec<u32>,
    length: usize,
}

impl Inside {
    /// Bits of the magnitudes listed.
    pub fn bits(&self) -> &[u32] {
        &self.bits[..self.length]
    }

    /// As [`Inside::bits`]. Places do not follow when their order is changed.
    pub fn bits_mut(&mut self) -> &mut [u32] {
        &mut self.bits[..self.length]
    }

    /// Where each of the values listed lies.
    pub fn places(&self) -> &[u32] {
        &self.places[..self.length]
    }

    /// Makes room for `more` values and a vector behind them.
    fn reserve(&mut self, more: usize) {
        let needed = self.length + more + LANES;
        if self.bits.len() < needed {
            self.bits.resize(needed.max(2 * self.bits.len()), 0);
            self.places.resize(self.bits.len(), 0);
        }
    }
}

impl Bracket {
    /// Every magnitude there is.
    pub const EVERYTHING: Self = Self { low: 0, high: LARGEST_BITS };

    /// Returns how many magnitudes lie above the bracket, and appends those inside to a list, with their
    /// `PLACES` if these are asked for. `values` begin at place `start`.
    ///
    /// To be called inside [`vectorized`](crate::kernels::simd::vectorized).
    #[inline(always)]
    pub fn scan<const PLACES: bool>(
        self,
        start: u32,
        values: &[f32],
        inside: &mut Inside,
    ) -> usize {
        inside.reserve(values.len());
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V4::try_new() {
            return self.scan_avx512::<PLACES>(simd, start, values, inside);
        }
        self.scan_anywhere(start, values, inside)
    }

    /// [`Bracket::scan`] on any CPU.
    #[inline(always)]
    fn scan_anywhere(self, start: u32, values: &[f32], inside: &mut Inside) -> usize {
        const BLOCK: usize = 1024;
        let mut total = 0;
        for (block, values) in values.chunks(BLOCK).enumerate() {
            let mut flags = [0u8; BLOCK];
            let mut above = 0u32;
            for (flag, &value) in flags.iter_mut().zip(values) {
                let bits = magnitude_bits(value);
                above += u32::from(bits > self.high);
                *flag = u8::from((bits >= self.low) & (bits <= self.high));
            }
            total += above as usize;
            for (index, flags) in flags.as_chunks::<8>().0.iter().enumerate() {
                // Few elements are inside as a rule: eight are passed over at a time.
                let mut flags = u64::from_le_bytes(*flags);
                while flags != 0 {
                    let offset = 8 * index + flags.trailing_zeros() as usize / 8;
                    inside.bits[inside.length] = magnitude_bits(values[offset]);
                    inside.places[inside.length] = start + (block * BLOCK + offset) as u32;
                    inside.length += 1;
                    flags &= flags - 1;
                }
            }
        }
        total
    }

    /// [`Bracket::scan`] without a jump that depends on the values, which nobody could predict.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn scan_avx512<const PLACES: bool>(
        self,
        simd: pulp::x86::V4,
        start: u32,
        values: &[f32],
        inside: &mut Inside,
    ) -> usize {
        use pulp::cast;

        const COUNTING: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let avx512f = simd.avx512f;
        let [low, high] = [self.low, self.high].map(|bits| cast([bits; LANES]));
        let mut above = 0;
        let (blocks, rest) = values.as_chunks::<LANES>();
        for (index, block) in blocks.iter().enumerate() {
            let first = start + (index * LANES) as u32;
            let (bits, places) =
                (cast(block.map(magnitude_bits)), cast(COUNTING.map(|lane| first + lane)));
            let is_above = avx512f._mm512_cmpgt_epu32_mask(bits, high);
            let is_inside = avx512f._mm512_cmpge_epu32_mask(bits, low) & !is_above;
            let length = inside.length;
            let lists = [(&mut inside.bits, bits), (&mut inside.places, places)];
            for (list, values) in lists.into_iter().take(if PLACES { 2 } else { 1 }) {
                let packed: [u32; LANES] =
                    cast(avx512f._mm512_maskz_compress_epi32(is_inside, values));
                list[length..length + LANES].copy_from_slice(&packed);
            }
            inside.length += is_inside.count_ones() as usize;
            above += is_above.count_ones() as usize;
        }
        let start = start + (blocks.len() * LANES) as u32;
        above + self.scan_anywhere(start, rest, inside)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::simd::vectorized;

    proptest! {
        #[test]
        fn scans_list_what_is_inside_on_every_cpu(
            values in prop::collection::vec(any::<f32>(), 0..2500),
            ends in any::<[u32; 2]>(),
        ) {
            let [a, b] = ends.map(|bits| bits & LARGEST_BITS);
            let bracket = Bracket { low: a.min(b), high: a.max(b) };
            let expected: (Vec<u32>, Vec<u32>) = (7u32..)
                .zip(values.iter().map(|&value| magnitude_bits(value)))
                .filter(|(_, bits)| (bracket.low..=bracket.high).contains(bits))
                .unzip();
            let above = values.iter().filter(|value| magnitude_bits(**value) > bracket.high).count();
            let (mut fastest, mut anywhere) = (Inside::default(), Inside::default());
            anywhere.reserve(values.len());
            prop_assert_eq!(vectorized(|| bracket.scan::<true>(7, &values, &mut fastest)), above);
            prop_assert_eq!(bracket.scan_anywhere(7, &values, &mut anywhere), above);
            for list in [fastest, anywhere] {
                prop_assert_eq!(list.places(), &expected.0[..]);
                prop_assert_eq!(list.bits(), &expected.1[..]);
            }
        }
    }
}

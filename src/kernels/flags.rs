//! One bit per element: which elements of a difference are kept.
//!
//! A word holds the flags of 64 elements, from the lowest bit on. All functions are to be called inside
//! [`vectorized`](super::simd::vectorized).

use super::simd::Aligned;

/// One bit for each of 64 flags that are 1 or 0, or all ones or 0.
#[inline(always)]
pub fn pack(flags: &[u8; 64]) -> u64 {
    let mut word = 0;
    for (index, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // The lowest bit of each of eight bytes moves into the uppermost byte.
        let bits = u64::from_le_bytes(*eight) & 0x0101_0101_0101_0101;
        word |= (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * index);
    }
    word
}

/// The reverse of [`pack`]: a byte for each bit, which is 0 if the bit is.
#[inline(always)]
fn unpack(word: u64) -> [u8; 64] {
    let mut flags = [0; 64];
    for (eight, byte) in flags.as_chunks_mut::<8>().0.iter_mut().zip(word.to_le_bytes()) {
        // Every byte gets all bits of one, and keeps the one that is its own.
        let bits = u64::from(byte).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        *eight = bits.to_le_bytes();
    }
    flags
}

/// Copies elements, with zeros for those whose bit is 0. Bits behind the last element mean nothing.
#[inline(always)]
pub fn keep(words: &[u64], values: &[f32], kept: &mut [f32]) {
    for ((kept, values), &word) in kept.chunks_mut(64).zip(values.chunks(64)).zip(words) {
        let flags = unpack(word);
        for ((kept, &value), flag) in kept.iter_mut().zip(values).zip(flags) {
            *kept = masked(value, flag);
        }
    }
}

/// Σ|δ| of the differences between `values` and `base`, and that of those whose bit is 1.
///
/// Four magnitudes at a time are added in single precision, everything else in double precision.
#[inline(always)]
pub fn norms(words: &[u64], values: &[f32], base: &[f32]) -> [f64; 2] {
    let mut totals = Norms::default();
    let (groups, rest) = values.as_chunks::<64>();
    let (base_groups, base_rest) = base.as_chunks::<64>();
    for ((values, base), &word) in groups.iter().zip(base_groups).zip(words) {
        totals.add(word, values, base);
    }
    if let Some(&word) = words.get(groups.len()) {
        let (mut values, mut base) = ([0.0; 64], [0.0; 64]);
        values[..rest.len()].copy_from_slice(rest);
        base[..rest.len()].copy_from_slice(base_rest);
        totals.add(word, &values, &base);
    }
    let sums = [totals.all.iter().sum::<f64>(), totals.kept.iter().sum::<f64>()];
    // Four huge magnitudes may have too large a sum for single precision.
    if sums[0].is_finite() { sums } else { norms_of_huge(words, values, base) }
}

/// As [`norms`], without sums in single precision.
fn norms_of_huge(words: &[u64], values: &[f32], base: &[f32]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (index, (value, base)) in values.iter().zip(base).enumerate() {
        let magnitude = (value - base).abs();
        sums[0] += f64::from(magnitude);
        let flag = words[index / 64] >> (index % 64) & 1;
        sums[1] += f64::from(masked(magnitude, flag as u8));
    }
    sums
}

/// Sums of magnitudes, in lanes.
#[derive(Default)]
struct Norms {
    all: [f64; 16],
    kept: [f64; 16],
}

impl Norms {
    #[inline(always)]
    fn add(&mut self, word: u64, values: &[f32; 64], base: &[f32; 64]) {
        // Loops of one step each, which compilers turn into vector instructions.
        let (mut magnitudes, mut kept) = (Aligned([0.0; 64]), Aligned([0.0; 64]));
        for (magnitude, (value, base)) in magnitudes.iter_mut().zip(values.iter().zip(base)) {
            *magnitude = (value - base).abs();
        }
        for ((kept, &magnitude), flag) in kept.iter_mut().zip(&magnitudes).zip(unpack(word)) {
            *kept = masked(magnitude, flag);
        }
        add_quarters(&mut self.all, &magnitudes);
        add_quarters(&mut self.kept, &kept);
    }
}

/// Adds 64 values to sums in lanes, four to each.
#[inline(always)]
fn add_quarters(sums: &mut [f64; 16], values: &[f32; 64]) {
    let quarters = values.as_chunks::<16>().0;
    for (lane, sum) in sums.iter_mut().enumerate() {
        let four = [0, 1, 2, 3].map(|quarter: usize| quarters[quarter][lane]);
        *sum += f64::from((four[0] + four[1]) + (four[2] + four[3]));
    }
}

/// The value, or 0 if the flag is; without a jump, which could not be predicted.
#[inline(always)]
fn masked(value: f32, flag: u8) -> f32 {
    f32::from_bits(value.to_bits() & 0u32.wrapping_sub(u32::from(flag != 0)))
}

#[cfg(test)]
mod tests {
    use super::super::random::mix;
    use super::*;

    #[test]
    fn bits_choose_elements() {
        for n in [0usize, 1, 63, 64, 65, 200, 1024] {
            let words: Vec<u64> = (0..n.div_ceil(64)).map(|index| mix(index as u64)).collect();
            let is_kept = |index: usize| words[index / 64] >> (index % 64) & 1 == 1;
            for scale in [1.0, 1e34] {
                let values: Vec<f32> = (0..n).map(|index| (index as f32 - 90.0) * scale).collect();
                let base = vec![scale; n];
                let mut kept = vec![9.0; n];
                keep(&words, &values, &mut kept);
                let (mut all_norm, mut kept_norm) = (0.0, 0.0);
                for index in 0..n {
                    assert_eq!(kept[index], if is_kept(index) { values[index] } else { 0.0 });
                    let magnitude = f64::from((values[index] - base[index]).abs());
                    all_norm += magnitude;
                    kept_norm += if is_kept(index) { magnitude } else { 0.0 };
                }
                let found = norms(&words, &values, &base);
                assert!((found[0] - all_norm).abs() <= 1e-6 * all_norm, "{found:?} {all_norm}");
                assert!((found[1] - kept_norm).abs() <= 1e-6 * all_norm, "{found:?} {kept_norm}");
            }
        }
    }

    #[test]
    fn sums_of_huge_magnitudes_are_finite() {
        let [all, kept] = norms(&[0b0101; 2], &[3e38; 70], &[0.0; 70]);
        assert!((all / f64::from(3e38f32) - 70.0).abs() < 1e-9);
        assert!((kept / f64::from(3e38f32) - 4.0).abs() < 1e-9);
        let [all, kept] = norms(&[0b0110], &[f32::INFINITY, 1.0, 2.0], &[0.0; 3]);
        assert_eq!((all, kept), (f64::INFINITY, 3.0));
    }
}

//! Random numbers as a function of where they are used.
//!
//! An element's number depends on the seed, the tensor, the model and the element's index, so chunk
//! size, order and threads do not change what it gets. Eight bits come from ChaCha8, the word of whose
//! stream that holds them being known in advance. They decide most comparisons with a probability;
//! only where they don't, 24 more bits are made by hashing the index.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::flags::pack;

/// Key of the random numbers of one input of one output tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorKey(pub [u8; 32]);

impl TensorKey {
    /// Derives the key from the merge's seed, the output tensor's name and the input's position.
    pub fn new(seed: u64, tensor: &str, input: usize) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update((input as u64).to_le_bytes());
        hash.update(tensor.as_bytes());
        Self(hash.finalize().into())
    }

    /// The upper eight bits of the random numbers of the elements from `element` on.
    ///
    /// Fastest when `element` is a multiple of 256 and there are a few hundred of them.
    pub fn upper_bits(self, element: usize, bytes: &mut [u8]) {
        let mut stream = ChaCha8Rng::from_seed(self.0);
        stream.set_word_pos((element / 4) as u128);
        let within_word = element % 4;
        let head = if within_word == 0 { 0 } else { bytes.len().min(4 - within_word) };
        let (head, rest) = bytes.split_at_mut(head);
        if !head.is_empty() {
            let word = stream.next_u32().to_le_bytes();
            head.copy_from_slice(&word[within_word..][..head.len()]);
        }
        stream.fill_bytes(rest);
    }

    /// The lower 24 bits of the random number of `element`.
    pub fn lower_bits(self, element: usize) -> u32 {
        let salt = u64::from_le_bytes(*self.0.first_chunk().expect("keys are longer"));
        (mix(salt.wrapping_add(mix(element as u64))) >> 40) as u32
    }

    /// Draws whether to keep each of the elements from `element` on, with the same probability: a bit
    /// for each of `64 · words.len()` elements.
    ///
    /// To be called inside [`vectorized`](super::simd::vectorized).
    #[inline(always)]
    pub fn draw(self, element: usize, probability: Probability, words: &mut [u64]) {
        /// Words that random numbers are made for at once.
        const RUN: usize = 64;
        let upper = (probability.0 >> 24) as u8;
        let mut bytes = [0; 64 * RUN];
        for (run, words) in words.chunks_mut(RUN).enumerate() {
            let start = element + 64 * RUN * run;
            let bytes = &mut bytes[..64 * words.len()];
            self.upper_bits(start, bytes);
            for (index, (word, bytes)) in
                words.iter_mut().zip(bytes.as_chunks::<64>().0).enumerate()
            {
                let (mut is_below, mut is_equal) = ([0; 64], [0; 64]);
                for (position, &byte) in bytes.iter().enumerate() {
                    is_below[position] = u8::from(byte < upper);
                    is_equal[position] = u8::from(byte == upper);
                }
                *word = pack(&is_below);
                let mut undecided = pack(&is_equal);
                while undecided != 0 {
                    let position = undecided.trailing_zeros() as usize;
                    undecided &= undecided - 1;
                    let lower = self.lower_bits(start + 64 * index + position);
                    *word |= u64::from(lower < probability.0 & 0xff_ffff) << position;
                }
            }
        }
    }
}

/// A probability below 1, to 32 bits: random numbers below it are successes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(pub u32);

impl Probability {
    /// Rounds down; what is outside 0 .. 1 becomes the nearest there is.
    #[inline(always)]
    pub fn new(probability: f64) -> Self {
        Self((probability * 2f64.powi(32)) as u32)
    }
}

/// A permutation of 64-bit numbers that leaves no visible structure: the output function of
/// SplitMix64, after its step (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>).
#[inline(always)]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_index_alone() {
        let key = TensorKey::new(1, "w", 0);
        let mut whole = [0; 5 * 1024];
        let mut words = [0; 80];
        key.upper_bits(0, &mut whole);
        let probability = Probability::new(0.3);
        key.draw(0, probability, &mut words);
        let bit = |words: &[u64], index: usize| words[index / 64] >> (index % 64) & 1;
        for start in [1, 2, 3, 4, 317, 1024, 2047, 2999] {
            for length in [1, 2, 3, 5, 64, 1025].map(|length: usize| length.min(3000 - start)) {
                let mut part = vec![0; length];
                key.upper_bits(start, &mut part);
                assert_eq!(part, whole[start..][..length], "{length} from {start}");
                let mut drawn = vec![0; length.div_ceil(64)];
                key.draw(start, probability, &mut drawn);
                for index in 0..length {
                    let (found, expected) = (bit(&drawn, index), bit(&words, start + index));
                    assert_eq!(found, expected, "{index} of {length} from {start}");
                }
            }
        }
        for (index, &upper) in whole.iter().enumerate() {
            let number = u32::from(upper) << 24 | key.lower_bits(index);
            assert_eq!(bit(&words, index) == 1, number < probability.0);
        }
    }

    #[test]
    fn successes_are_as_frequent_as_asked_for() {
        let n = 1 << 20;
        let mut words = vec![0u64; n / 64];
        // The last two are decided by the lower bits for every success.
        for (input, probability) in
            [0.5, 0.9, 0.1, 1.5 / 256.0, 0.3 / 256.0].into_iter().enumerate()
        {
            let key = TensorKey::new(9, "w", input);
            key.draw(0, Probability::new(probability), &mut words);
            let kept: u32 = words.iter().map(|word| word.count_ones()).sum();
            let rate = f64::from(kept) / n as f64;
            let deviation = (probability * (1.0 - probability) / n as f64).sqrt();
            assert!((rate - probability).abs() < 5.0 * deviation, "{rate} for {probability}");
        }
        assert_eq!(Probability::new(-1.0).0, 0);
        assert_eq!(Probability::new(2.0).0, u32::MAX);
    }
}

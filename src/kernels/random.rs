//! Random numbers as a function of where they are used.
//!
//! An element's number depends on the seed, the tensor, the model and the element's index, so chunk
//! size, order and threads do not change what it gets. Eight bits come from ChaCha8, the word of whose
//! stream that holds them being known in advance. They decide most comparisons with a probability;
//! only where they don't, 24 more bits are made by hashing the index.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

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

    /// Draws whether to keep each of the elements from `element` on, with the same probability:
    /// flags of all ones for yes, 0 for no.
    ///
    /// To be called inside [`vectorized`](super::simd::vectorized).
    #[inline(always)]
    pub fn draw(self, element: usize, probability: Probability, flags: &mut [u8]) {
        const BLOCK: usize = 1024;
        let mut start = element;
        let mut rest = flags;
        while !rest.is_empty() {
            let length = rest.len().min(BLOCK - start % BLOCK);
            let (flags, behind) = rest.split_at_mut(length);
            let mut bytes = [0; BLOCK];
            let bytes = &mut bytes[..length];
            self.upper_bits(start, bytes);
            let upper = (probability.0 >> 24) as u8;
            for (flag, &byte) in flags.iter_mut().zip(&*bytes) {
                *flag = 0u8.wrapping_sub(u8::from(byte < upper));
            }
            for (group, bytes) in bytes.chunks(32).enumerate() {
                if bytes.iter().fold(false, |any, &byte| any | (byte == upper)) {
                    let undecided = bytes.iter().enumerate().filter(|(_, byte)| **byte == upper);
                    for (offset, _) in undecided {
                        let index = 32 * group + offset;
                        let kept = self.lower_bits(start + index) < probability.0 & 0xff_ffff;
                        flags[index] = 0u8.wrapping_sub(u8::from(kept));
                    }
                }
            }
            start += length;
            rest = behind;
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
        let (mut whole, mut flags) = ([0; 3000], [0; 3000]);
        key.upper_bits(0, &mut whole);
        let probability = Probability::new(0.3);
        key.draw(0, probability, &mut flags);
        for start in [1, 2, 3, 4, 317, 1024, 2047, 2999] {
            for length in [1, 2, 3, 5, 64, 1025].map(|length: usize| length.min(3000 - start)) {
                let mut part = vec![0; length];
                key.upper_bits(start, &mut part);
                assert_eq!(part, whole[start..][..length], "{length} from {start}");
                key.draw(start, probability, &mut part);
                assert_eq!(part, flags[start..][..length], "{length} from {start}");
            }
        }
        for (index, flag) in flags.into_iter().enumerate() {
            let number = u32::from(whole[index]) << 24 | key.lower_bits(index);
            assert_eq!(flag != 0, number < probability.0);
        }
    }

    #[test]
    fn successes_are_as_frequent_as_asked_for() {
        let n = 1 << 20;
        let mut flags = vec![0; n];
        // The last two are decided by the lower bits for every success.
        for (input, probability) in
            [0.5, 0.9, 0.1, 1.5 / 256.0, 0.3 / 256.0].into_iter().enumerate()
        {
            let key = TensorKey::new(9, "w", input);
            key.draw(0, Probability::new(probability), &mut flags);
            let rate = flags.iter().filter(|flag| **flag != 0).count() as f64 / n as f64;
            let deviation = (probability * (1.0 - probability) / n as f64).sqrt();
            assert!((rate - probability).abs() < 5.0 * deviation, "{rate} for {probability}");
        }
        assert_eq!(Probability::new(-1.0).0, 0);
        assert_eq!(Probability::new(2.0).0, u32::MAX);
    }
}

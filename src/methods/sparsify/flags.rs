//! One bit per element.

use crate::kernels::flags::pack;
use crate::kernels::random::{Probability, TensorKey};
use crate::kernels::simd::vectorized;

/// Which elements of a block are kept: one bit each, from the lowest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockFlags(Box<[u64]>);

impl BlockFlags {
    /// From flags of all ones or 0.
    pub(super) fn new(flags: &[u8]) -> Self {
        let (words, rest) = flags.as_chunks::<64>();
        let mut last = [0; 64];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last);
        Self(words.iter().chain(last).map(pack).collect())
    }

    /// Draws them for `length` elements from `start` on, with the same probability.
    pub(super) fn draw(
        key: TensorKey,
        probability: Probability,
        start: usize,
        length: usize,
    ) -> Self {
        let mut words = vec![0; length.div_ceil(64)].into_boxed_slice();
        vectorized(
            #[inline(always)]
            || key.draw(start, probability, &mut words),
        );
        Self(words)
    }

    /// The bits of every 64 elements. What is behind the last element means nothing.
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    /// The bits of 64 elements from `start` on.
    #[inline(always)]
    fn read(&self, start: usize) -> u64 {
        let word = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let (index, offset) = (start / 64, start % 64);
        // In two steps, since by 64 at once is not possible.
        word(index) >> offset | word(index + 1) << 1 << (63 - offset)
    }
}

/// Which elements of a tensor are kept.
#[derive(Debug, Clone)]
pub(in super::super) struct Flags {
    /// One after the other; the last one may be shorter.
    blocks: Vec<BlockFlags>,
    /// Elements of a block.
    block: usize,
}

impl Flags {
    /// Of consecutive blocks of `block` elements each.
    pub(super) fn new(blocks: Vec<BlockFlags>, block: usize) -> Self {
        Self { blocks, block: block.max(1) }
    }

    /// Writes the bits of the elements from `start` on.
    #[inline(always)]
    pub(super) fn read(&self, start: usize, words: &mut [u64]) {
        let (mut start, mut rest) = (start, words);
        while !rest.is_empty() {
            let (index, offset) = (start / self.block, start % self.block);
            let inside = rest.len().min((self.block - offset) / 64);
            let (words, behind) = rest.split_at_mut(inside);
            for (word, position) in words.iter_mut().zip(0..) {
                *word = self.blocks[index].read(offset + 64 * position);
            }
            start += 64 * inside;
            rest = behind;
            if inside == 0 {
                rest[0] = self.read_across(start);
                start += 64;
                rest = &mut rest[1..];
            }
        }
    }

    /// The bits of 64 elements that may lie in several blocks, or partly behind the last one.
    fn read_across(&self, start: usize) -> u64 {
        let (mut word, mut found) = (0, 0);
        while found < 64 {
            let (index, offset) = ((start + found) / self.block, (start + found) % self.block);
            let Some(block) = self.blocks.get(index) else { break };
            word |= block.read(offset) << found;
            found += self.block - offset;
            // What a block holds behind its last element gives way to the next one's.
            word &= u64::MAX >> 64usize.saturating_sub(found);
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_the_flags_of_the_whole() {
        let (key, probability) = (TensorKey::new(3, "w", 0), Probability::new(0.5));
        let all = BlockFlags::draw(key, probability, 0, 1000);
        let is_kept = |index: usize| all.words()[index / 64] >> (index % 64) & 1 == 1;
        let flags: Vec<u8> = (0..1000).map(|index| u8::from(is_kept(index))).collect();
        for block in [1, 63, 64, 65, 100, 512, 1000, 2000] {
            let packed = flags.chunks(block).map(BlockFlags::new).collect();
            let drawn = (0..1000)
                .step_by(block)
                .map(|start| BlockFlags::draw(key, probability, start, block.min(1000 - start)));
            for whole in [Flags::new(packed, block), Flags::new(drawn.collect(), block)] {
                for start in [0, 1, 63, 64, 65, 500, 999] {
                    let mut read = [0; 3];
                    whole.read(start, &mut read[..(1000 - start).div_ceil(64).min(3)]);
                    for index in start..1000.min(start + 130) {
                        let bit = read[(index - start) / 64] >> ((index - start) % 64) & 1;
                        assert_eq!(bit == 1, is_kept(index), "{index} from {start} in {block}");
                    }
                }
            }
        }
    }
}

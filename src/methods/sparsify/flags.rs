//! One bit per element.

use crate::kernels::rank::pack;

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

    /// Writes the flags of the elements from `start` on: all ones or 0.
    #[inline(always)]
    fn read(&self, start: usize, flags: &mut [u8]) {
        let word = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let (first, offset) = (start / 64, start % 64);
        for (index, flags) in flags.chunks_mut(64).enumerate() {
            let low = word(first + index) >> offset;
            // In two steps, since by 64 at once is not possible.
            let high = word(first + index + 1) << 1 << (63 - offset);
            let bits = (low | high).to_le_bytes();
            for (flag, position) in flags.iter_mut().zip(0..) {
                *flag = 0u8.wrapping_sub(bits[position / 8] >> (position % 8) & 1);
            }
        }
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

    /// Writes the flags of the elements from `start` on: all ones or 0.
    #[inline(always)]
    pub(super) fn read(&self, start: usize, flags: &mut [u8]) {
        let (mut start, mut rest) = (start, flags);
        while !rest.is_empty() {
            let (index, offset) = (start / self.block, start % self.block);
            let length = rest.len().min(self.block - offset);
            let (flags, behind) = rest.split_at_mut(length);
            self.blocks[index].read(offset, flags);
            start += length;
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Probability, TensorKey};

    #[test]
    fn blocks_hold_the_flags_of_the_whole() {
        let mut flags = vec![0; 1000];
        TensorKey::new(3, "w", 0).draw(0, Probability::new(0.5), &mut flags);
        for block in [1, 63, 64, 65, 100, 512, 1000, 2000] {
            let blocks = flags.chunks(block).map(BlockFlags::new).collect();
            let whole = Flags::new(blocks, block);
            for start in [0, 1, 63, 64, 65, 500, 999] {
                let mut read = vec![0; (1000 - start).min(130)];
                whole.read(start, &mut read);
                assert_eq!(read, flags[start..][..read.len()], "from {start}, blocks of {block}");
            }
        }
    }
}

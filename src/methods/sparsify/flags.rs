//! One bit per element.

use crate::kernels::rank::pack;

/// Which elements of a tensor are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Flags {
    words: Vec<u64>,
    length: usize,
}

impl Flags {
    /// From flags of all ones or 0.
    pub(super) fn new(flags: &[u8]) -> Self {
        let (blocks, rest) = flags.as_chunks::<64>();
        let mut words: Vec<u64> = blocks.iter().map(pack).collect();
        if !rest.is_empty() {
            let mut last = [0; 64];
            last[..rest.len()].copy_from_slice(rest);
            words.push(pack(&last));
        }
        Self { words, length: flags.len() }
    }

    /// Puts the flags of the elements that follow behind these.
    pub(super) fn append(&mut self, more: &Self) {
        let offset = self.length % 64;
        if offset == 0 {
            self.words.extend(&more.words);
        } else {
            for word in &more.words {
                let last = self.words.last_mut().expect("it holds `offset` flags");
                *last |= word << offset;
                self.words.push(word >> (64 - offset));
            }
        }
        self.length += more.length;
        self.words.truncate(self.length.div_ceil(64));
    }

    /// Writes the flags of the elements from `start` on: all ones or 0.
    #[inline(always)]
    pub(super) fn read(&self, start: usize, flags: &mut [u8]) {
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Probability, TensorKey};

    #[test]
    fn pieces_put_together_are_the_whole() {
        let mut flags = vec![0; 1000];
        TensorKey::new(3, "w", 0).draw(0, Probability::new(0.5), &mut flags);
        let mut whole = Flags::default();
        for piece in [0..100, 100..100, 100..164, 164..165, 165..677, 677..1000] {
            whole.append(&Flags::new(&flags[piece]));
        }
        assert_eq!(whole, Flags::new(&flags));
        for start in [0, 1, 63, 64, 65, 500, 999] {
            let mut read = vec![0; (1000 - start).min(130)];
            whole.read(start, &mut read);
            assert_eq!(read, flags[start..][..read.len()], "from {start}");
        }
    }
}

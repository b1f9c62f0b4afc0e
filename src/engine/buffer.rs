//! Memory that is used again and again.

use crate::kernels::simd::CACHE_LINE;

/// Elements that begin where a cache line does. They only ever become more, so that they need not be
/// filled anew for each use.
#[derive(Default)]
pub(super) struct Buffer<T> {
    /// Longer than what is used, by what comes before the cache line.
    memory: Vec<T>,
}

impl<T: Clone + Default> Buffer<T> {
    /// The first `length` elements, whatever they hold.
    pub(super) fn room(&mut self, length: usize) -> &mut [T] {
        let needed = length + CACHE_LINE / size_of::<T>();
        if self.memory.len() < needed {
            self.memory.resize(needed, T::default());
        }
        let start = self.start();
        &mut self.memory[start..start + length]
    }

    /// The first `length` elements, for which there has been [`room`](Self::room).
    pub(super) fn filled(&self, length: usize) -> &[T] {
        let start = self.start();
        &self.memory[start..start + length]
    }

    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(CACHE_LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_with_a_cache_line() {
        let mut buffer = Buffer::<f32>::default();
        for length in [0, 1, 16, 1000, 3, 70_000] {
            assert!(buffer.room(length).as_ptr().addr().is_multiple_of(CACHE_LINE));
            buffer.room(length).fill(length as f32);
            assert_eq!(buffer.filled(length), vec![length as f32; length]);
        }
    }
}

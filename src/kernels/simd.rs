//! Vector instructions of the machine that the program runs on, not of the one it was built for.

use std::ops::{Deref, DerefMut};
use std::slice::{Iter, IterMut};

use pulp::Arch;

/// Runs `work` compiled for the widest vectors that this CPU has (AVX-512, AVX2, NEON, or the target's
/// baseline), chosen at run time.
///
/// Loops inside `work` are vectorized by the compiler; `work` itself and whatever it calls have to be
/// `#[inline(always)]` to take part: `vectorized(#[inline(always)] || …)`. Multiplications and additions
/// are never fused, and sums keep the order they are written in, so that results are the same on every
/// CPU.
#[inline(always)]
pub fn vectorized<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// Bytes of a cache line, and of the widest vector.
pub const CACHE_LINE: usize = 64;

/// A buffer that begins where a cache line does: a vector that lies in two lines takes two accesses.
#[repr(align(64))]
pub struct Aligned<T, const N: usize>(pub [T; N]);

impl<T, const N: usize> Deref for Aligned<T, N> {
    type Target = [T; N];

    #[inline(always)]
    fn deref(&self) -> &[T; N] {
        &self.0
    }
}

impl<T, const N: usize> DerefMut for Aligned<T, N> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T; N] {
        &mut self.0
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a Aligned<T, N> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    #[inline(always)]
    fn into_iter(self) -> Iter<'a, T> {
        self.0.iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a mut Aligned<T, N> {
    type Item = &'a mut T;
    type IntoIter = IterMut<'a, T>;

    #[inline(always)]
    fn into_iter(self) -> IterMut<'a, T> {
        self.0.iter_mut()
    }
}

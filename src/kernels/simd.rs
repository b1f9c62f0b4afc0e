//! Vector instructions of the machine that the program runs on, not of the one it was built for.

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

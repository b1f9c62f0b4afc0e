//! Sparsifiers of task vectors: which elements of a delta survive.
//!
//! A density of 1 or more keeps everything, and a density of 0 or less nothing. In between:
//!
//! | rule | keeps | source |
//! | --- | --- | --- |
//! | [`Rule::Magnitude`] | the ⌊density·n⌋ (at least one) largest of \|δ\| | TIES, <https://arxiv.org/abs/2306.01708> |
//! | [`Rule::Bernoulli`] | each element with probability `density` | DARE, <https://arxiv.org/abs/2311.03099> |
//! | [`Rule::Ranked`] | with a probability that rises by rank inside the row, `density ± epsilon` | DELLA, <https://arxiv.org/abs/2406.11617> |
//! | [`Rule::Outliers`] | ⌊density·n⌋ elements after the ⌊gamma·n⌋ largest were set aside | Breadcrumbs, <https://arxiv.org/abs/2312.06795> |
//!
//! What happens to an element depends on its value, its index and thresholds of the whole tensor,
//! never on the chunk it is seen in.

mod flags;
mod prepare;

use super::{Chunk, MethodError};
use crate::kernels::flags::keep;
use crate::kernels::random::{Probability, TensorKey};
use crate::kernels::rank::RowDraw;
use crate::kernels::select::MagnitudeThreshold;
use crate::kernels::simd::Aligned;

use flags::Flags;

pub(super) use prepare::{memory, prepare};

/// Most elements that a mask is applied to at once: what belongs to them stays in the fastest cache.
pub(super) const BLOCK: usize = 512;

/// How a method chooses the elements to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// Everything stays (task arithmetic).
    Everything,
    /// The largest magnitudes of the tensor.
    Magnitude,
    /// Independent draws.
    Bernoulli,
    /// Draws whose probability depends on the rank within the row.
    Ranked {
        /// Half the spread of probabilities.
        epsilon: f64,
    },
    /// Neither the largest nor the smallest.
    Outliers {
        /// Share of elements set aside as too large.
        gamma: f64,
    },
}

/// A rule with everything it needs to know about one task vector.
#[derive(Clone)]
pub(super) enum Mask {
    Everything,
    Nothing,
    Largest(MagnitudeThreshold),
    /// In `inner`, but not in `outer`.
    Between {
        inner: MagnitudeThreshold,
        outer: Option<MagnitudeThreshold>,
    },
    Draw {
        key: TensorKey,
        probability: Probability,
    },
    /// Draws by rank within a row.
    Ranked(RowDraw),
    /// What [`Mask::Draw`] or [`Mask::Ranked`] has drawn, remembered.
    Drawn(Flags),
}

/// How one task vector is made sparse.
#[derive(Clone)]
pub(super) struct Sparsifier {
    pub mask: Mask,
    /// Σ|δ| / Σ|masked δ| where that is to be restored, 1 otherwise.
    pub rescale: f32,
}

impl Rule {
    /// Whether the rule is defined for `density`, which belongs to input `index`.
    pub(super) fn check(self, density: f64, index: usize) -> Result<(), MethodError> {
        let Self::Ranked { epsilon } = self else { return Ok(()) };
        let is_drawn = density > 0.0 && density < 1.0;
        if is_drawn && (density - epsilon <= 0.0 || density + epsilon >= 1.0) {
            return Err(MethodError::Parameter {
                name: "epsilon",
                input: Some(index),
                value: epsilon,
                problem: format!("which makes probabilities leave (0, 1) at density {density}"),
            });
        }
        Ok(())
    }
}

impl Mask {
    /// Whether chunks have to consist of whole rows.
    pub(super) fn needs_rows(&self) -> bool {
        matches!(self, Self::Ranked { .. })
    }

    /// Flags of a chunk for [`Mask::apply`]; empty unless the mask needs whole rows, which the chunk then
    /// consists of.
    pub(super) fn row_flags(&self, chunk: &Chunk<'_>, input: usize) -> Vec<u8> {
        let Self::Ranked(draw) = self else { return Vec::new() };
        let (input, base) = (chunk.inputs[input], chunk.base.expect("the method has a base"));
        let mut flags = vec![0; input.len()];
        draw.flags(chunk.start, input, base, &mut flags);
        flags
    }

    /// Copies at most [`BLOCK`] elements of a task vector, with zeros for those that are dropped.
    ///
    /// `delta` begins at element `start`; `row_flags` are those of the same elements. To be called
    /// inside `vectorized`.
    #[inline(always)]
    pub(super) fn apply(&self, start: usize, row_flags: &[u8], delta: &[f32], kept: &mut [f32]) {
        match self {
            Self::Everything => kept.copy_from_slice(delta),
            Self::Nothing => kept.fill(0.0),
            Self::Largest(threshold) => threshold.keep_largest(start, delta, kept),
            Self::Between { inner, outer: None } => inner.keep_largest(start, delta, kept),
            Self::Between { inner, outer: Some(outer) } => {
                let mut smaller = Aligned([0.0; BLOCK]);
                let smaller = &mut smaller[..delta.len()];
                outer.keep_others(start, delta, smaller);
                inner.keep_largest(start, smaller, kept);
            }
            Self::Draw { key, probability } => {
                let mut words = [0; BLOCK / 64];
                let words = &mut words[..delta.len().div_ceil(64)];
                key.draw(start, *probability, words);
                keep(words, delta, kept);
            }
            Self::Ranked { .. } => keep_flagged(row_flags, delta, kept),
            Self::Drawn(drawn) => {
                let mut words = [0; BLOCK / 64];
                let words = &mut words[..delta.len().div_ceil(64)];
                drawn.read(start, words);
                keep(words, delta, kept);
            }
        }
    }
}

/// Copies elements, with zeros for those whose flag is 0; the other flags are all ones.
#[inline(always)]
fn keep_flagged(flags: &[u8], delta: &[f32], kept: &mut [f32]) {
    for ((kept, value), &flag) in kept.iter_mut().zip(delta).zip(flags) {
        // A mask of bits instead of a jump, since whether an element stays cannot be predicted.
        let mask = i32::from(flag.cast_signed()).cast_unsigned();
        *kept = f32::from_bits(value.to_bits() & mask);
    }
}

/// The task vector of an input.
#[inline(always)]
pub(super) fn subtract(input: &[f32], base: &[f32], delta: &mut [f32]) {
    for (delta, (input, base)) in delta.iter_mut().zip(input.iter().zip(base)) {
        *delta = input - base;
    }
}

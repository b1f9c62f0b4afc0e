//! Attention with linear biases (Press et al. 2021, <https://arxiv.org/abs/2108.12409>).
//!
//! Models that use them were trained and are run with them rounded to bf16, so that this is part of
//! them.

/// The rate at which each head's scores fall with distance: powers of one base for the largest power
/// of two of heads, and for those beyond it every other power of its square root.
pub(super) fn slopes(heads: usize) -> Vec<f32> {
    let power = 1 << heads.ilog2();
    let base = |count: usize| 2.0_f64.powf(-8.0 / count as f64);
    let first = (1..=power).map(|index| base(power).powi(index as i32));
    let rest = (0..heads - power).map(|index| base(2 * power).powi(2 * index as i32 + 1));
    first.chain(rest).map(|slope| to_bf16(slope as f32)).collect()
}

/// What a head adds to its score of the key at `position`, before scores are scaled.
pub(super) fn score(slope: f32, position: usize) -> f32 {
    to_bf16(slope * to_bf16(position as f32))
}

fn to_bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

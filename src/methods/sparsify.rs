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

use rand::Rng;

use super::{MethodError, TensorInputs};
use crate::kernels::random::TensorKey;
use crate::kernels::select::{MagnitudeThreshold, magnitude_bits};

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
        density: f64,
    },
    RankedDraw {
        key: TensorKey,
        lowest: f64,
        spread: f64,
        /// Elements of a row, and of everything behind its second axis.
        row: usize,
        inner: usize,
    },
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
                allowed: format!("which makes probabilities leave (0, 1) at density {density}"),
            });
        }
        Ok(())
    }
}

impl Mask {
    /// Prepares `rule` for the task vector of input `index`.
    pub(super) fn new(
        rule: Rule,
        density: f64,
        index: usize,
        inputs: &TensorInputs<'_>,
    ) -> Result<Self, MethodError> {
        let n = inputs.elements();
        if rule == Rule::Everything || density >= 1.0 || n == 0 {
            return Ok(Self::Everything);
        }
        if density <= 0.0 {
            return Ok(Self::Nothing);
        }
        let share = |of: f64| ((of * n as f64).floor() as usize).min(n);
        let key = inputs.keys[index];
        Ok(match rule {
            Rule::Everything => Self::Everything,
            Rule::Magnitude => Self::Largest(inputs.largest_deltas(index, share(density).max(1))?),
            Rule::Bernoulli => Self::Draw { key, density },
            Rule::Ranked { epsilon } => {
                let row = inputs.row_elements();
                let inner = inputs.shape.get(2..).map_or(1, |shape| shape.iter().product());
                Self::RankedDraw {
                    key,
                    lowest: density - epsilon,
                    spread: 2.0 * epsilon,
                    row,
                    inner,
                }
            }
            Rule::Outliers { gamma } => {
                let keep = share(density);
                let smallest = n.saturating_sub(keep + share(gamma));
                let outside = n - smallest - keep;
                if keep == 0 {
                    return Ok(Self::Nothing);
                }
                let outer = match outside {
                    0 => None,
                    outside => Some(inputs.largest_deltas(index, outside)?),
                };
                Self::Between { inner: inputs.largest_deltas(index, outside + keep)?, outer }
            }
        })
    }

    /// Whether chunks have to consist of whole rows.
    pub(super) fn needs_rows(&self) -> bool {
        matches!(self, Self::RankedDraw { .. })
    }

    /// Whether some elements may be dropped.
    pub(super) fn drops(&self) -> bool {
        !matches!(self, Self::Everything)
    }

    /// Sets the dropped elements of a task vector to zero. `delta` begins at element `start`.
    pub(super) fn apply(&self, start: usize, delta: &mut [f32]) {
        match self {
            Self::Everything => {}
            Self::Nothing => delta.fill(0.0),
            Self::Largest(threshold) => threshold.zero_others(start, delta),
            Self::Between { inner, outer } => {
                inner.zero_others(start, delta);
                if let Some(outer) = outer {
                    keep_if(delta, |index, value| !outer.keeps(start + index, value));
                }
            }
            Self::Draw { key, density } => {
                const BLOCK: usize = 1024;
                let mut words = key.words(start);
                let threshold = threshold(*density);
                // Words are made in bulk, which is faster than one by one and gives the same words.
                let mut bytes = [0; 4 * BLOCK];
                for block in delta.chunks_mut(BLOCK) {
                    let bytes = &mut bytes[..4 * block.len()];
                    words.fill_bytes(bytes);
                    let (words, _) = bytes.as_chunks::<4>();
                    keep_if(block, |index, _| {
                        u64::from(u32::from_le_bytes(words[index])) < threshold
                    });
                }
            }
            Self::RankedDraw { key, lowest, spread, row, inner } => {
                let mut words = key.words(start);
                for row in delta.chunks_mut(*row) {
                    let ranks = ranks(row, *inner);
                    keep_if(row, |index, _| {
                        let probability = lowest + spread * ranks[index];
                        u64::from(words.next_u32()) < threshold(probability)
                    });
                }
            }
        }
    }
}

/// Random words below this are kept.
fn threshold(probability: f64) -> u64 {
    (probability * 2f64.powi(32)) as u64
}

fn keep_if(delta: &mut [f32], mut keep: impl FnMut(usize, f32) -> bool) {
    for (index, value) in delta.iter_mut().enumerate() {
        // A mask of bits instead of a jump, since whether an element stays cannot be predicted.
        let mask = 0u32.wrapping_sub(u32::from(keep(index, *value)));
        *value = f32::from_bits(value.to_bits() & mask);
    }
}

/// Rank of each magnitude among those with the same position behind the second axis, from 0 for the
/// smallest to 1 for the largest. Equal magnitudes rank by index; a single element ranks 0.
fn ranks(row: &[f32], inner: usize) -> Vec<f64> {
    let length = row.len() / inner;
    let mut ranks = vec![0.0; row.len()];
    let mut order: Vec<usize> = Vec::with_capacity(length);
    for offset in 0..inner {
        order.clear();
        order.extend((0..length).map(|position| position * inner + offset));
        order.sort_by_key(|&index| magnitude_bits(row[index]));
        for (rank, &index) in order.iter().enumerate() {
            ranks[index] = rank as f64 / (length - 1).max(1) as f64;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_run_from_the_smallest_to_the_largest_of_each_column() {
        assert_eq!(ranks(&[-3.0, 1.0, 2.0], 1), [1.0, 0.0, 0.5]);
        assert_eq!(ranks(&[1.0, 9.0, -2.0, 8.0], 2), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(ranks(&[5.0], 1), [0.0]);
    }

    #[test]
    fn draws_depend_on_the_index_alone() {
        let mask = Mask::Draw { key: TensorKey::new(1, "w", 0), density: 0.5 };
        let mut whole = vec![1.0; 1000];
        mask.apply(0, &mut whole);
        let mut parts = vec![1.0; 1000];
        let (left, right) = parts.split_at_mut(317);
        mask.apply(0, left);
        mask.apply(317, right);
        assert_eq!(whole, parts);
        let kept = whole.iter().filter(|value| **value == 1.0).count();
        assert!((400..600).contains(&kept), "{kept} of 1000 kept at density 0.5");
    }
}

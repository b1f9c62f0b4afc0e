//! Sums of squares over the elements that a threshold keeps, gathered before the threshold is known.

use std::ops::Range;

use super::{MOST_MEMORY, SCORED_AT_ONCE, Scores};
use crate::kernels::select::{Bracket, Inside, MagnitudeThreshold, magnitude_bits};
use crate::kernels::simd::Aligned;
use crate::methods::Chunk;

/// What one block contributes: sums over what lies above the bracket, and what lies inside one by one.
pub(super) struct Squares {
    above: Vec<f64>,
    /// Bits of the score and offset in the block of each element inside.
    inside: Vec<(u32, u32)>,
    /// Values of the elements inside, for each value asked for.
    values: Vec<Vec<f32>>,
}

/// Most elements that are listed where there are so many values of each.
pub(super) fn most_listed(values: usize) -> usize {
    MOST_MEMORY as usize / 2 / (size_of::<(u32, u32)>() + values * size_of::<f32>())
}

impl Squares {
    pub(super) fn new(values: usize) -> Self {
        Self { above: vec![0.0; values], inside: Vec::new(), values: vec![Vec::new(); values] }
    }

    pub(super) fn listed(&self) -> usize {
        self.inside.len()
    }

    /// Adds what `range` of the chunk contributes, whose scores are given, and does with these what
    /// [`Bracket::scan`] does.
    #[inline(always)]
    pub(super) fn scan<S: Scores>(
        &mut self,
        (scores, block): (&S, &S::Block),
        chunk: &Chunk<'_>,
        range: Range<usize>,
        bracket: Bracket,
        scored: &[f32],
        inside: &mut Inside,
    ) -> usize {
        const LANES: usize = 8;
        let mut masks = Aligned([0u32; SCORED_AT_ONCE]);
        for (mask, &score) in masks.iter_mut().zip(scored) {
            *mask = 0u32.wrapping_sub(u32::from(magnitude_bits(score) > bracket.high));
        }
        let listed = self.inside.len();
        let n_above = bracket.scan::<true>(range.start as u32, scored, inside);
        let pairs = inside.bits()[listed..].iter().zip(&inside.places()[listed..]);
        self.inside.extend(pairs.map(|(&bits, &place)| (bits, place)));
        for (index, (above, values)) in self.above.iter_mut().zip(&mut self.values).enumerate() {
            let mut all = Aligned([0.0f32; SCORED_AT_ONCE]);
            scores.value(block, chunk, index, range.clone(), &mut all[..scored.len()]);
            let places = self.inside[listed..].iter();
            values.extend(places.map(|(_, offset)| all[*offset as usize - range.start]));
            for (value, mask) in all.iter_mut().zip(&masks) {
                *value = f32::from_bits(value.to_bits() & mask);
            }
            let mut lanes = [0.0f64; LANES];
            for values in all.as_chunks::<LANES>().0 {
                for (lane, &value) in lanes.iter_mut().zip(values) {
                    *lane += f64::from(value) * f64::from(value);
                }
            }
            *above += lanes.iter().sum::<f64>();
        }
        n_above
    }

    /// Adds to `totals` what `threshold` keeps of a block that begins at element `start`.
    pub(super) fn add_kept(
        &self,
        start: usize,
        threshold: &MagnitudeThreshold,
        totals: &mut [f64],
    ) {
        for ((total, above), values) in totals.iter_mut().zip(&self.above).zip(&self.values) {
            let inside = self.inside.iter().zip(values);
            let kept = inside
                .filter(|((bits, offset), _)| {
                    threshold.keeps(start + *offset as usize, f32::from_bits(*bits))
                })
                .map(|(_, &value)| f64::from(value) * f64::from(value));
            *total += above + kept.sum::<f64>();
        }
    }
}

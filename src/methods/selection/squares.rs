//! Sums of squares over the elements that a threshold keeps, gathered before the threshold is known.

use std::ops::Range;

use super::{MOST_MEMORY, SCORED_AT_ONCE, Scores};
use crate::kernels::select::{Bracket, MagnitudeThreshold, magnitude_bits};
use crate::methods::Chunk;

/// What one block contributes: sums over what lies above the bracket, and what lies inside one by one.
pub(super) struct Squares {
    above: Vec<f64>,
    /// Score and offset in the block of each element inside.
    inside: Vec<(f32, u32)>,
    /// Values of the elements inside, for each value asked for.
    values: Vec<Vec<f32>>,
}

/// Most elements that are listed where there are so many values of each.
pub(super) fn most_listed(values: usize) -> usize {
    MOST_MEMORY as usize / 2 / (size_of::<(f32, u32)>() + values * size_of::<f32>())
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
        bits_inside: &mut Vec<u32>,
    ) -> usize {
        const LANES: usize = 8;
        let mut masks = [0u32; SCORED_AT_ONCE];
        let mut flags = [0u8; SCORED_AT_ONCE];
        let mut n_above = 0;
        for ((mask, flag), &score) in masks.iter_mut().zip(&mut flags).zip(scored) {
            let bits = magnitude_bits(score);
            let is_above = u32::from(bits > bracket.high);
            n_above += is_above;
            *mask = 0u32.wrapping_sub(is_above);
            *flag = u8::from((bits >= bracket.low) & (bits <= bracket.high));
        }
        let listed = self.inside.len();
        for (index, flags) in flags.as_chunks::<8>().0.iter().enumerate() {
            let mut flags = u64::from_le_bytes(*flags);
            while flags != 0 {
                let place = 8 * index + flags.trailing_zeros() as usize / 8;
                self.inside.push((scored[place], (range.start + place) as u32));
                bits_inside.push(magnitude_bits(scored[place]));
                flags &= flags - 1;
            }
        }
        for (index, (above, values)) in self.above.iter_mut().zip(&mut self.values).enumerate() {
            let mut all = [0.0f32; SCORED_AT_ONCE];
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
        n_above as usize
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
                .filter(|((score, offset), _)| threshold.keeps(start + *offset as usize, *score))
                .map(|(_, &value)| f64::from(value) * f64::from(value));
            *total += above + kept.sum::<f64>();
        }
    }
}

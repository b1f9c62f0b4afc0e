//! Guessing from a sample where the wanted ranks lie.

use rayon::prelude::*;

use super::{Effort, Keep, RUN, Request, SAMPLE, SAMPLED, Scores, Wanted, score_all};
use crate::kernels::random::mix;
use crate::kernels::select::{Bracket, LARGEST_BITS, magnitude_bits};
use crate::methods::{MethodError, TensorInputs};

impl TensorInputs<'_> {
    /// A bracket for every wanted threshold.
    pub(super) fn brackets<S: Scores>(
        &self,
        effort: Effort,
        request: &Request<'_>,
        scores: &S,
    ) -> Result<Vec<Bracket>, MethodError> {
        let n = self.elements();
        if n < effort.shortest {
            return Ok(vec![Bracket::EVERYTHING; request.wanted.len()]);
        }
        let run = if request.whole_rows { self.row_elements().max(1) } else { RUN };
        let largest = SAMPLE.1 / request.series.max(1);
        let wanted = (n / SAMPLED).min(largest).max(SAMPLE.0);
        let runs = (wanted / run).max(SAMPLE.0 / RUN);
        if 4 * runs * run > n {
            // Long rows. Nothing lies in this bracket, as a rule.
            let nothing = Bracket { low: LARGEST_BITS, high: LARGEST_BITS };
            return Ok(vec![nothing; request.wanted.len()]);
        }
        // Of each of the fewest rows that say how rows differ, only a part has to be ranked.
        let step = (runs * run / (2 * wanted)).clamp(1, run);
        let samples = self.samples(request, scores, (runs, run, step))?;
        let run = run / step;
        let bracket =
            |wanted: &Wanted| estimate(effort, &samples[wanted.series], run, n, wanted.keep);
        Ok(request.wanted.iter().map(bracket).collect())
    }

    /// Bits of one score in `step` of `runs` short runs spread over the tensor, run after run, for each
    /// series.
    fn samples<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
        (runs, run, step): (usize, usize, usize),
    ) -> Result<Vec<Vec<u32>>, MethodError> {
        let units = self.elements() / if request.whole_rows { run } else { 1 };
        let start = |index: usize| {
            // At a place of its own in each of equally long stretches, so that no pattern in the tensor
            // can agree with that of the sample.
            let (stretch, length) = (units / runs * index, units / runs);
            let room = if request.whole_rows { length } else { length - run + 1 };
            let place = stretch + (mix(index as u64) % room as u64) as usize;
            place * if request.whole_rows { run } else { 1 }
        };
        let kept = run / step;
        let sampled: Result<Vec<Vec<u32>>, _> = (0..runs)
            .into_par_iter()
            .with_min_len(16)
            .map(|index| {
                let start = start(index);
                self.with_chunk(request.inputs, start..start + run, |chunk| {
                    let mut values = vec![0.0; run];
                    let mut bits = Vec::with_capacity(request.series * kept);
                    // Other columns in each row.
                    let first = mix(index as u64) as usize % step;
                    for series in 0..request.series {
                        score_all(scores, chunk, series, &mut values);
                        let values = values[first..].iter().step_by(step).take(kept);
                        bits.extend(values.map(|&value| magnitude_bits(value)));
                    }
                    bits
                })
            })
            .collect();
        let sampled = sampled?;
        let of_series = |series: usize| {
            sampled.iter().flat_map(|bits| &bits[series * kept..][..kept]).copied().collect()
        };
        Ok((0..request.series).map(of_series).collect())
    }
}

/// A bracket that should hold the score of the rank asked for in a tensor of `n` elements.
fn estimate(effort: Effort, sample: &[u32], run: usize, n: usize, keep: Keep) -> Bracket {
    let scale = n as f64 / sample.len() as f64;
    let nonzero = sample.iter().filter(|bits| **bits != 0).count() as f64 * scale;
    let rank = keep.rank(nonzero as usize, n) as f64;
    // Elements kept per score other than 0, when their number matters at all.
    let ratio = if let Keep::OfNonzero(share) = keep { share } else { 0.0 };
    let expected = rank / scale;

    let mut order = sample.to_vec();
    // Elements of the sample that are at least as large, down to the one at `position` from 1.
    let mut at = |position: f64| {
        let index = (position.max(1.0) as usize).min(order.len()) - 1;
        *order.select_nth_unstable_by(index, |a, b| b.cmp(a)).1
    };
    let center = at(expected);
    let deviation = |counts: &dyn Fn(u32) -> bool| {
        let excess = |run: &[u32]| {
            let count = run.iter().filter(|bits| counts(**bits)).count() as f64;
            count - ratio * run.iter().filter(|bits| **bits != 0).count() as f64
        };
        // Neighbours are alike, so runs are compared and not elements.
        let runs = sample.len() as f64 / run as f64;
        let (sum, squares) = sample
            .chunks(run)
            .map(excess)
            .fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        f64::max(squares - sum * sum / runs, 0.0).sqrt()
    };
    let deviation = f64::max(deviation(&|bits| bits > center), deviation(&|bits| bits >= center));
    let margin = effort.deviations * deviation + effort.slack;
    let (first, last) = (expected - margin, expected + margin);
    let high = if first < 1.0 { LARGEST_BITS } else { at(first) };
    let low = if last > sample.len() as f64 { 0 } else { at(last) };
    Bracket { low, high: high.max(low) }
}

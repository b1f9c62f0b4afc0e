//! Guessing from a sample where the wanted ranks lie.

use rayon::prelude::*;

use super::{Effort, Keep, ROWS, RUN, RUNS, Request, SAMPLE, SAMPLED, Scores, Wanted, for_scores};
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
        let largest = SAMPLE.1 / request.series.max(1);
        let wanted = (n / SAMPLED).min(largest).max(SAMPLE.0);
        let (run, fewest) = match request.whole_rows {
            true => (self.row_elements().max(1), ROWS),
            false => ((wanted / RUNS).clamp(RUN.0, RUN.1), RUNS),
        };
        // All rows where there are few.
        let runs = (wanted / run).max(fewest).min(n / run);
        // Of each of the fewest rows that say how rows differ, only a part has to be ranked.
        let step = (runs * run / (2 * wanted)).clamp(1, run);
        let samples = self.samples(request, scores, (runs, run, step))?;
        let (share, run) = ((runs * run) as f64 / n as f64, run / step);
        let bracket = |wanted: &Wanted| match wanted.keep.is_nothing() {
            true => Bracket::EVERYTHING,
            false => estimate(effort, &samples[wanted.series], (run, share), n, wanted.keep),
        };
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
                    let mut bits = Vec::with_capacity(request.series * kept);
                    for series in 0..request.series {
                        // Other columns in each row.
                        let mut next = mix(index as u64) as usize % step;
                        for_scores(scores, chunk, series, |range, values| {
                            while next < range.end && bits.len() < (series + 1) * kept {
                                bits.push(magnitude_bits(values[next - range.start]));
                                next += step;
                            }
                        });
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

/// A bracket that should hold the score of the rank asked for in a tensor of `n` elements, of which
/// this `share` lies in the runs of the sample.
fn estimate(
    effort: Effort,
    sample: &[u32],
    (run, share): (usize, f64),
    n: usize,
    keep: Keep,
) -> Bracket {
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
        let between = f64::max(squares - sum * sum / runs, 0.0);
        // The more of all runs are in the sample, the less it matters how they differ: what is left
        // is which of their elements were taken, whose number varies by no more than this.
        let within = sample.len() as f64 / 4.0;
        ((1.0 - share) * between + share * within).sqrt()
    };
    let deviation = f64::max(deviation(&|bits| bits > center), deviation(&|bits| bits >= center));
    let margin = effort.deviations * deviation + effort.slack;
    let (first, last) = (expected - margin, expected + margin);
    let high = if first < 1.0 { LARGEST_BITS } else { at(first) };
    let low = if last > sample.len() as f64 { 0 } else { at(last) };
    Bracket { low, high: high.max(low) }
}

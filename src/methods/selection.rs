//! Which elements of a tensor score highest, exactly and in one pass.
//!
//! A small sample of the tensor tells within which narrow bracket of values the wanted rank lies. One
//! pass over all inputs then counts the scores above each bracket and lists those inside, from which
//! the exact threshold follows, and the block of the last tie. Where the sample misled, or so many
//! different scores lie inside a bracket that they take too much memory, the threshold is found by
//! counting digits instead, in four passes more: the result is the same.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Chunk, MethodError, TensorInputs};
use crate::kernels::select::{
    BUCKETS, Bracket, Digit, Inside, MagnitudeThreshold, Tally, locate, magnitude_bits, sum_from,
    tally,
};
use crate::kernels::simd::{Aligned, vectorized};

mod sample;
mod squares;

use squares::{Squares, most_listed};

/// Most elements for which scores are asked at once: their scores stay in the fastest cache.
pub(super) const SCORED_AT_ONCE: usize = 1024;

/// What elements are ranked by.
///
/// The functions are called inside `vectorized`: mark them `#[inline(always)]`.
pub(super) trait Scores: Sync {
    /// What is computed once for a block of the tensor, before its scores.
    type Block;

    /// Called once for every block; a block consists of whole rows if the request says so.
    fn begin(&self, chunk: &Chunk<'_>) -> Self::Block;

    /// Writes the scores of `range` of the chunk in ranking `series`. They are at least 0, or NaN, which
    /// ranks first.
    fn score(
        &self,
        block: &Self::Block,
        chunk: &Chunk<'_>,
        series: usize,
        range: Range<usize>,
        scores: &mut [f32],
    );

    /// Adds what `range` of the chunk contributes to the sums asked for, if any. Called once per range.
    #[inline(always)]
    fn add_sums(
        &self,
        _block: &Self::Block,
        _chunk: &Chunk<'_>,
        _range: Range<usize>,
        _sums: &mut [f64],
    ) {
    }

    /// Writes value `index` of each element of `range`, of those whose squares are asked for.
    #[inline(always)]
    fn value(
        &self,
        _block: &Self::Block,
        _chunk: &Chunk<'_>,
        _index: usize,
        _range: Range<usize>,
        _values: &mut [f32],
    ) {
    }
}

/// What a selection is asked for.
pub(super) struct Request<'a> {
    /// Inputs to read, in the order in which chunks hold them; a base is read in any case.
    pub inputs: &'a [usize],
    /// Whether blocks have to consist of whole rows.
    pub whole_rows: bool,
    /// Number of rankings.
    pub series: usize,
    /// The thresholds wanted.
    pub wanted: &'a [Wanted],
    /// Whether norms are wanted too: of each series, and of what each threshold keeps.
    pub norms: bool,
    /// Number of sums that [`Scores::add_sums`] adds to.
    pub sums: usize,
    /// Number of values of each element whose squares are added up over what the first threshold
    /// keeps. There may be one ranking only then.
    pub squares: usize,
}

/// One threshold of a ranking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The ranking.
    pub series: usize,
    /// How many elements are above it.
    pub keep: Keep,
}

/// How many elements to keep.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// So many, at most all.
    Exactly(usize),
    /// This share of those whose score is not 0, rounded down.
    OfNonzero(f64),
}

impl Keep {
    /// Whether no threshold has to be looked for.
    fn is_nothing(self) -> bool {
        matches!(self, Self::Exactly(0))
    }

    fn rank(self, nonzero: usize, n: usize) -> usize {
        match self {
            Self::Exactly(rank) => rank.min(n),
            Self::OfNonzero(share) => ((share * nonzero as f64).floor() as usize).min(n),
        }
    }
}

/// What a selection has found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selection {
    /// Of each threshold wanted; none where nothing is to be kept.
    pub kept: Vec<Option<Kept>>,
    /// Number of scores other than 0, of each series.
    pub nonzero: Vec<usize>,
    /// Sum of all scores of each series; 0 unless norms were asked for.
    pub norms: Vec<f64>,
    /// The sums that were asked for.
    pub sums: Vec<f64>,
    /// The sums of squares that were asked for; none where they take a pass of their own.
    pub squares: Option<Vec<f64>>,
}

/// The elements that score highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kept {
    /// Tells them from the others.
    pub threshold: MagnitudeThreshold,
    /// Sum of their scores; 0 unless norms were asked for.
    pub norm: f64,
}

/// How hard to try for a single pass.
#[derive(Clone, Copy)]
struct Effort {
    /// Shortest tensor for which a sample is taken.
    shortest: usize,
    /// Half the width of a bracket in standard deviations of a rank in the sample, and on top of that
    /// in elements of the sample.
    deviations: f64,
    slack: f64,
    /// Most tallies that are kept.
    tallies: usize,
}

const EFFORT: Effort = Effort { shortest: 1 << 14, deviations: 4.0, slack: 8.0, tallies: 1 << 21 };

/// Most bytes that a selection holds, beside the blocks that it reads into.
const MOST_MEMORY: u64 = 32 << 20;

/// Most bytes that a selection of `thresholds` holds for a tensor of `elements`.
pub(super) fn memory(elements: usize, thresholds: usize) -> u64 {
    // Of short tensors every element is listed, with its norm and while lists are joined.
    MOST_MEMORY.min((64 * elements * thresholds) as u64)
}

/// Fewest and most elements of a sample that lie beside each other, where rows do not matter.
const RUN: (usize, usize) = (32, 128);

/// Fewest runs of a sample, which say how alike neighbours are, and fewest rows.
const RUNS: usize = 128;
const ROWS: usize = 64;

/// A tensor is sampled at one of so many elements: with fewer of them more elements lie inside the
/// brackets, with more of them the sample itself takes longer.
const SAMPLED: usize = 256;

/// Bounds of the number of sampled elements, of all series together for the upper one.
const SAMPLE: (usize, usize) = (1 << 12, 1 << 20);

/// What one block of the tensor contributes.
struct Part {
    start: usize,
    length: usize,
    found: Vec<Found>,
    nonzero: Vec<usize>,
    norms: Vec<f64>,
    sums: Vec<f64>,
    /// None where too much would have to be listed.
    squares: Option<Squares>,
}

/// What one block contributes to one threshold.
struct Found {
    above: usize,
    norm_above: f64,
    /// Empty once there are too many of all blocks.
    inside: Box<[Tally]>,
}

impl TensorInputs<'_> {
    /// Finds which elements score highest, and gathers sums in the same pass.
    ///
    /// Reads every input once, and a few blocks twice, as a rule. Memory: see [`memory`].
    pub(super) fn select<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
    ) -> Result<Selection, MethodError> {
        self.select_with(EFFORT, request, scores)
    }

    fn select_with<S: Scores>(
        &self,
        effort: Effort,
        request: &Request<'_>,
        scores: &S,
    ) -> Result<Selection, MethodError> {
        let n = self.elements();
        let brackets = self.brackets(effort, request, scores)?;
        let parts = self.scan(effort, request, scores, &brackets)?;
        let mut selection = Selection {
            kept: Vec::with_capacity(brackets.len()),
            nonzero: vec![0; request.series],
            norms: vec![0.0; request.series],
            sums: vec![0.0; request.sums],
            squares: None,
        };
        for part in &parts {
            add(&mut selection.nonzero, &part.nonzero);
            add(&mut selection.norms, &part.norms);
            add(&mut selection.sums, &part.sums);
        }
        let mut missed = Vec::new();
        for (index, wanted) in request.wanted.iter().enumerate() {
            let rank = wanted.keep.rank(selection.nonzero[wanted.series], n);
            let kept = match rank {
                0 => None,
                _ => self.kept(request, scores, &parts, &brackets, index, rank)?,
            };
            if rank > 0 && kept.is_none() {
                missed.push((index, rank));
            }
            selection.kept.push(kept);
        }
        if let [Some(kept), ..] = &selection.kept[..] {
            selection.squares = squares_kept(&parts, request.squares, &kept.threshold);
        }
        drop(parts);
        if !missed.is_empty() {
            self.select_by_digits(effort, request, scores, &missed, &mut selection)?;
        }
        Ok(selection)
    }

    /// Thresholds of the wanted ranks `missed`, given as index and rank, without any guess.
    fn select_by_digits<S: Scores>(
        &self,
        effort: Effort,
        request: &Request<'_>,
        scores: &S,
        missed: &[(usize, usize)],
        selection: &mut Selection,
    ) -> Result<(), MethodError> {
        let wanted: Vec<_> = missed.iter().map(|&(index, _)| request.wanted[index]).collect();
        let bits = self.bits_by_digits(request, scores, &wanted, missed)?;
        let brackets: Vec<_> = bits.iter().map(|&bits| Bracket { low: bits, high: bits }).collect();
        let request = Request { wanted: &wanted, sums: 0, squares: 0, ..*request };
        // One tally per block is not much, and has to be enough.
        let effort = Effort { tallies: usize::MAX, ..effort };
        let parts = self.scan(effort, &request, scores, &brackets)?;
        for (among, &(index, rank)) in missed.iter().enumerate() {
            let kept = self.kept(&request, scores, &parts, &brackets, among, rank)?;
            selection.kept[index] = Some(kept.expect("the digits belong to that rank"));
        }
        Ok(())
    }

    /// The threshold of the `rank`-th largest score, when the bracket holds it and was listed.
    fn kept<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
        parts: &[Part],
        brackets: &[Bracket],
        index: usize,
        rank: usize,
    ) -> Result<Option<Kept>, MethodError> {
        let found = || parts.iter().map(|part| &part.found[index]);
        let above: usize = found().map(|found| found.above).sum();
        let Some(rank) = rank.checked_sub(above).filter(|rank| *rank > 0) else { return Ok(None) };
        let tallies = found().flat_map(|found| &found.inside);
        let Some((bits, ties)) = locate(tallies.clone(), brackets[index], rank as u64) else {
            return Ok(None);
        };
        let mut norm = 0.0;
        if request.norms {
            norm = found().map(|found| found.norm_above).sum::<f64>();
            norm += tallies
                .filter(|tally| tally.bits > bits)
                .map(|tally| f64::from(f32::from_bits(tally.bits)) * f64::from(tally.count))
                .sum::<f64>();
            norm += f64::from(f32::from_bits(bits)) * ties as f64;
        }
        let series = request.wanted[index].series;
        let last_tie = self.nth_tie(request, scores, parts, (index, series), bits, ties)?;
        Ok(Some(Kept { threshold: MagnitudeThreshold { bits, last_tie }, norm }))
    }

    /// Index of the `nth` (from 1) element with a score of these bits. Reads its block again.
    fn nth_tie<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
        parts: &[Part],
        (index, series): (usize, usize),
        bits: u32,
        nth: u64,
    ) -> Result<usize, MethodError> {
        let mut left = nth;
        for part in parts {
            let same = part.found[index].inside.iter().find(|tally| tally.bits == bits);
            let count = same.map_or(0, |tally| u64::from(tally.count));
            if left > count {
                left -= count;
                continue;
            }
            let elements = part.start..part.start + part.length;
            let tie = self.with_chunk(request.inputs, elements, |chunk| {
                let (mut left, mut tie) = (left, None);
                for_scores(scores, chunk, series, |range, values| {
                    for (offset, value) in range.zip(values) {
                        if magnitude_bits(*value) == bits {
                            left = left.wrapping_sub(1);
                            tie = if left == 0 { Some(offset) } else { tie };
                        }
                    }
                });
                tie
            })?;
            // Only a file that changes while it is read has fewer ties now.
            return Ok(part.start + tie.unwrap_or(part.length - 1));
        }
        unreachable!("the blocks have at least {nth} ties")
    }

    /// Counts what is above the brackets and lists what is inside, block by block.
    fn scan<S: Scores>(
        &self,
        effort: Effort,
        request: &Request<'_>,
        scores: &S,
        brackets: &[Bracket],
    ) -> Result<Vec<Part>, MethodError> {
        let (listed, squares_listed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        self.map_blocks(request.inputs, request.whole_rows, |chunk| {
            let mut part = Part::new(chunk, request);
            let mut inside = vec![Inside::default(); brackets.len()];
            vectorized(
                #[inline(always)]
                || scan_block(request, scores, brackets, chunk, &mut part, &mut inside),
            );
            for (found, mut inside) in part.found.iter_mut().zip(inside) {
                if listed.load(Ordering::Relaxed) <= effort.tallies {
                    found.inside = tally(inside.bits_mut());
                    listed.fetch_add(found.inside.len(), Ordering::Relaxed);
                }
            }
            let length = part.squares.as_ref().map_or(0, Squares::listed);
            let before = squares_listed.fetch_add(length, Ordering::Relaxed);
            if before + length > most_listed(request.squares) {
                part.squares = None;
            }
            part
        })
        .map(|mut parts| {
            if listed.into_inner() > effort.tallies {
                // Some blocks may have listed theirs: none is complete without the others.
                parts.iter_mut().flat_map(|part| &mut part.found).for_each(|found| {
                    found.inside = Box::default();
                });
            }
            parts
        })
    }

    /// The bits of every wanted threshold, one digit per pass.
    fn bits_by_digits<S: Scores>(
        &self,
        request: &Request<'_>,
        scores: &S,
        wanted: &[Wanted],
        ranks: &[(usize, usize)],
    ) -> Result<Vec<u32>, MethodError> {
        let mut digits: Vec<Digit> =
            ranks.iter().map(|&(_, rank)| Digit::first(rank as u64)).collect();
        loop {
            let totals = Mutex::new(vec![[0u64; BUCKETS]; digits.len()]);
            self.map_blocks(request.inputs, request.whole_rows, |chunk| {
                let mut counts = vec![[0u32; BUCKETS]; digits.len()];
                let block = scores.begin(chunk);
                for range in ranges(chunk) {
                    let mut buffer = Aligned([0.0; SCORED_AT_ONCE]);
                    let values = &mut buffer[..range.len()];
                    for ((digit, wanted), counts) in digits.iter().zip(wanted).zip(&mut counts) {
                        scores.score(&block, chunk, wanted.series, range.clone(), values);
                        digit.count(values, counts);
                    }
                }
                // Whole numbers: in which order they are added does not matter.
                let mut totals = totals.lock().expect("adding does not panic");
                for (total, count) in
                    totals.as_flattened_mut().iter_mut().zip(counts.as_flattened())
                {
                    *total += u64::from(*count);
                }
            })?;
            let totals = totals.into_inner().expect("adding does not panic");
            let next: Vec<_> =
                digits.iter().zip(&totals).map(|(digit, counts)| digit.next(counts)).collect();
            // All have the same number of digits.
            let bits: Vec<u32> = next.iter().filter_map(|next| next.err()).collect();
            if bits.len() == wanted.len() {
                return Ok(bits);
            }
            digits = next.into_iter().filter_map(Result::ok).collect();
        }
    }
}

impl Part {
    fn new(chunk: &Chunk<'_>, request: &Request<'_>) -> Self {
        let none = || Found { above: 0, norm_above: 0.0, inside: Box::default() };
        Self {
            start: chunk.start,
            length: length(chunk),
            found: request.wanted.iter().map(|_| none()).collect(),
            nonzero: vec![0; request.series],
            norms: vec![0.0; request.series],
            sums: vec![0.0; request.sums],
            squares: Some(Squares::new(request.squares)),
        }
    }
}

#[inline(always)]
fn scan_block<S: Scores>(
    request: &Request<'_>,
    scores: &S,
    brackets: &[Bracket],
    chunk: &Chunk<'_>,
    part: &mut Part,
    inside: &mut [Inside],
) {
    let block = scores.begin(chunk);
    let mut buffer = Aligned([0.0; SCORED_AT_ONCE]);
    for range in ranges(chunk) {
        let values = &mut buffer[..range.len()];
        for series in 0..request.series {
            scores.score(&block, chunk, series, range.clone(), values);
            let nonzero: u32 = values.iter().map(|value| u32::from(*value != 0.0)).sum();
            part.nonzero[series] += nonzero as usize;
            if request.norms {
                part.norms[series] += sum_from(0, values);
            }
            for (index, wanted) in request.wanted.iter().enumerate() {
                if wanted.series == series && !wanted.keep.is_nothing() {
                    let found = &mut part.found[index];
                    let (bracket, inside) = (brackets[index], &mut inside[index]);
                    found.above += match &mut part.squares {
                        Some(squares) if index == 0 && request.squares > 0 => squares.scan(
                            (scores, &block),
                            chunk,
                            range.clone(),
                            bracket,
                            values,
                            inside,
                        ),
                        _ => bracket.scan::<false>(range.start as u32, values, inside),
                    };
                    if request.norms {
                        found.norm_above += sum_from(brackets[index].high + 1, values);
                    }
                }
            }
        }
        if request.sums > 0 {
            scores.add_sums(&block, chunk, range, &mut part.sums);
        }
    }
}

/// The sums of `n` squares over what `threshold` keeps; none where a block has not listed its own.
fn squares_kept(parts: &[Part], n: usize, threshold: &MagnitudeThreshold) -> Option<Vec<f64>> {
    let mut totals = vec![0.0; n];
    for part in parts {
        part.squares.as_ref()?.add_kept(part.start, threshold, &mut totals);
    }
    Some(totals)
}

/// Calls `visit` with the scores of consecutive ranges of the chunk.
fn for_scores<S: Scores>(
    scores: &S,
    chunk: &Chunk<'_>,
    series: usize,
    mut visit: impl FnMut(Range<usize>, &[f32]),
) {
    vectorized(
        #[inline(always)]
        || {
            let block = scores.begin(chunk);
            let mut buffer = Aligned([0.0; SCORED_AT_ONCE]);
            for range in ranges(chunk) {
                let values = &mut buffer[..range.len()];
                scores.score(&block, chunk, series, range.clone(), values);
                visit(range, values);
            }
        },
    );
}

fn length(chunk: &Chunk<'_>) -> usize {
    chunk.inputs.first().copied().or(chunk.base).map_or(0, <[f32]>::len)
}

/// Consecutive parts of a chunk, each of which is scored at once.
#[inline(always)]
fn ranges(chunk: &Chunk<'_>) -> impl Iterator<Item = Range<usize>> {
    let length = length(chunk);
    (0..length).step_by(SCORED_AT_ONCE).map(move |start| start..length.min(start + SCORED_AT_ONCE))
}

fn add<T: std::ops::AddAssign + Copy>(totals: &mut [T], parts: &[T]) {
    for (total, &part) in totals.iter_mut().zip(parts) {
        *total += part;
    }
}

#[cfg(test)]
mod tests;

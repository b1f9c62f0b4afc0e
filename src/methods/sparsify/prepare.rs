//! The statistics that sparsifiers need: thresholds of whole tensors, and norms.

use std::ops::Range;

use super::super::selection::{self, Keep, Request, Scores, Wanted};
use super::super::{Chunk, MethodError, TensorInputs};
use super::flags::{BlockFlags, Flags};
use super::{Mask, Rule, Sparsifier};
use crate::kernels::flags::norms;
use crate::kernels::random::Probability;
use crate::kernels::rank::{RankedDraw, RowDraw};
use crate::kernels::simd::vectorized;

/// Sums of magnitudes below this are not rescaled by; mergekit's constant.
const SMALLEST_NORM: f64 = 1e-7;

/// Most bytes of flags that are remembered of one tensor; with more they are drawn a second time.
const MOST_FLAGS: usize = 16 << 20;

/// Most bytes that [`prepare`] holds for a tensor of `elements`, and masks keep.
pub(in super::super) fn memory(rules: &[(Rule, f64)], elements: usize) -> u64 {
    let count = |is: fn(&Rule) -> bool| rules.iter().filter(|(rule, _)| is(rule)).count();
    let selects = count(|rule| matches!(rule, Rule::Magnitude | Rule::Outliers { .. }));
    let draws = count(|rule| matches!(rule, Rule::Bernoulli | Rule::Ranked { .. }));
    let flags = MOST_FLAGS.min(draws * elements / 8);
    selection::memory(elements, 2 * selects) + flags as u64
}

/// Prepares a rule and a density for the task vector of each input, with rescaling or without.
///
/// Reads the inputs at most once, and all that need it together.
pub(in super::super) fn prepare(
    rules: &[(Rule, f64)],
    rescale: bool,
    inputs: &TensorInputs<'_>,
) -> Result<Vec<Sparsifier>, MethodError> {
    let n = inputs.elements();
    let mut sparsifiers = Vec::with_capacity(rules.len());
    let mut selected = Vec::new();
    for (index, &(rule, density)) in rules.iter().enumerate() {
        let mask = match rule {
            _ if rule == Rule::Everything || density >= 1.0 || n == 0 => Mask::Everything,
            _ if density <= 0.0 => Mask::Nothing,
            Rule::Bernoulli => {
                Mask::Draw { key: inputs.keys[index], probability: Probability::new(density) }
            }
            Rule::Ranked { epsilon } => {
                let key = inputs.keys[index];
                let draw = RankedDraw { key, lowest: density - epsilon, spread: 2.0 * epsilon };
                let row = inputs.row_elements();
                if u32::try_from(row).is_err() {
                    return Err(MethodError::LongRow { elements: row });
                }
                let inner = inputs.shape.get(2..).map_or(1, |shape| shape.iter().product());
                Mask::Ranked(RowDraw::new(draw, row, inner))
            }
            Rule::Everything | Rule::Magnitude | Rule::Outliers { .. } => {
                let (keep, larger) = counts(rule, density, n);
                if keep > 0 {
                    selected.push(Selected { index, keep, larger });
                }
                // Until its thresholds are known.
                Mask::Nothing
            }
        };
        sparsifiers.push(Sparsifier { mask, rescale: 1.0 });
    }
    if !selected.is_empty() {
        select(&selected, rescale, inputs, &mut sparsifiers)?;
    }
    if rescale {
        rescale_draws(inputs, &mut sparsifiers)?;
    }
    Ok(sparsifiers)
}

/// A task vector that keeps its `keep` largest elements but for the `larger` still larger ones.
struct Selected {
    index: usize,
    keep: usize,
    larger: usize,
}

/// How many of `n` elements are kept, and how many larger ones are not.
fn counts(rule: Rule, density: f64, n: usize) -> (usize, usize) {
    let share = |of: f64| ((of * n as f64).floor() as usize).min(n);
    match rule {
        Rule::Outliers { gamma } => {
            let keep = share(density);
            let smaller = n.saturating_sub(keep + share(gamma));
            (keep, n - smaller - keep)
        }
        _ => (share(density).max(1), 0),
    }
}

/// Magnitudes of task vectors: series `i` is that of the chunk's input `i`.
struct Magnitudes;

impl Scores for Magnitudes {
    type Block = ();

    #[inline(always)]
    fn begin(&self, _: &Chunk<'_>) {}

    #[inline(always)]
    fn score(
        &self,
        (): &(),
        chunk: &Chunk<'_>,
        series: usize,
        range: Range<usize>,
        scores: &mut [f32],
    ) {
        let base = chunk.base.expect("the method has a base");
        let elements = chunk.inputs[series][range.clone()].iter().zip(&base[range]);
        for (score, (input, base)) in scores.iter_mut().zip(elements) {
            *score = (input - base).abs();
        }
    }
}

/// Finds the thresholds of task vectors that select by magnitude in the whole tensor.
fn select(
    selected: &[Selected],
    rescale: bool,
    inputs: &TensorInputs<'_>,
    sparsifiers: &mut [Sparsifier],
) -> Result<(), MethodError> {
    let which: Vec<usize> = selected.iter().map(|selected| selected.index).collect();
    let wanted: Vec<Wanted> = selected
        .iter()
        .enumerate()
        .flat_map(|(series, selected)| {
            let ranks = [selected.larger + selected.keep, selected.larger];
            ranks.map(|rank| Wanted { series, keep: Keep::Exactly(rank) })
        })
        .collect();
    let request = Request {
        inputs: &which,
        whole_rows: false,
        series: which.len(),
        wanted: &wanted,
        norms: rescale,
        sums: 0,
        squares: 0,
    };
    let selection = inputs.select(&request, &Magnitudes)?;
    let found = selection.kept.as_chunks::<2>().0.iter().zip(&selection.norms);
    for (selected, ([inner, outer], &before)) in selected.iter().zip(found) {
        let inner = inner.expect("at least one element is kept");
        let outer_norm = outer.map_or(0.0, |outer| outer.norm);
        let (inner_threshold, outer) = (inner.threshold, outer.map(|outer| outer.threshold));
        sparsifiers[selected.index] = Sparsifier {
            mask: match outer {
                None => Mask::Largest(inner_threshold),
                Some(_) => Mask::Between { inner: inner_threshold, outer },
            },
            rescale: if rescale { rescale_factor(before, inner.norm - outer_norm) } else { 1.0 },
        };
    }
    Ok(())
}

/// What restores the norm `before`, or 1 when either is practically 0.
fn rescale_factor(before: f64, after: f64) -> f32 {
    let is_small = before < SMALLEST_NORM || after < SMALLEST_NORM;
    if is_small { 1.0 } else { (before / after) as f32 }
}

/// Norms of one block of a task vector, and its flags where they are kept.
struct Drawn {
    before: f64,
    after: f64,
    flags: Option<BlockFlags>,
}

/// Finds the factors of task vectors whose elements are drawn.
fn rescale_draws(
    inputs: &TensorInputs<'_>,
    sparsifiers: &mut [Sparsifier],
) -> Result<(), MethodError> {
    let is_drawn = |mask: &Mask| matches!(mask, Mask::Draw { .. } | Mask::Ranked { .. });
    let which: Vec<usize> =
        (0..sparsifiers.len()).filter(|&index| is_drawn(&sparsifiers[index].mask)).collect();
    if which.is_empty() {
        return Ok(());
    }
    let needs_rows = which.iter().any(|&index| sparsifiers[index].mask.needs_rows());
    let remember = which.len() * inputs.elements() / 8 <= MOST_FLAGS;
    let mut blocks = inputs.map_blocks(&which, needs_rows, |chunk| {
        let mut drawn = Vec::with_capacity(which.len());
        let base = chunk.base.expect("the method has a base");
        for (position, &index) in which.iter().enumerate() {
            let flags = draw(&sparsifiers[index].mask, chunk, position);
            let [before, after] = vectorized(
                #[inline(always)]
                || norms(flags.words(), chunk.inputs[position], base),
            );
            drawn.push(Drawn { before, after, flags: remember.then_some(flags) });
        }
        (base.len(), drawn)
    })?;
    for (position, &index) in which.iter().enumerate() {
        let drawn = || blocks.iter().map(|(_, block)| &block[position]);
        let before = drawn().map(|drawn| drawn.before).sum();
        let after = drawn().map(|drawn| drawn.after).sum();
        sparsifiers[index].rescale = rescale_factor(before, after);
        let flags = blocks.iter_mut().map(|(_, block)| block[position].flags.take());
        if let Some(flags) = flags.collect() {
            // All but the last are equally long.
            let block = blocks.first().map_or(0, |(length, _)| *length);
            sparsifiers[index].mask = Mask::Drawn(Flags::new(flags, block));
        }
    }
    Ok(())
}

/// Draws which elements of a chunk's input are kept.
fn draw(mask: &Mask, chunk: &Chunk<'_>, input: usize) -> BlockFlags {
    match mask {
        Mask::Draw { key, probability } => {
            BlockFlags::draw(*key, *probability, chunk.start, chunk.inputs[input].len())
        }
        _ => BlockFlags::new(&mask.row_flags(chunk, input)),
    }
}

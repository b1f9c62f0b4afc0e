//! Causal attention of ragged sequences over keys and values that lie in blocks.
//!
//! Some queries of a segment, with all heads that share keys, make the rows of two products: with the
//! keys that any of them sees, and, after the softmax of what each of them sees, with the values.
//! Every row is computed as if it were alone.

use std::cell::Cell;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::kv::KvStore;
use super::tiles::{READ_AHEAD, Strided, add_values, score};
use super::vector::{Loop, exponentiate, tanh};
use crate::lm::alibi;
use crate::lm::backend::Attention;
use crate::lm::config::{AttentionConfig, Positions};
use crate::lm::layout::{Query, Visible};

/// Queries times heads that share keys in a task: enough for keys and values to be worth reading,
/// and few enough for their scores to stay in the second-level cache.
const ROWS: usize = 32;

/// Attention with fewer multiply-adds stays on one thread.
const SMALLEST_SHARED: usize = 1 << 20;

/// `softmax(scale · q · k) · v` for each of `queries` `[queries, heads · key_dim]`, into `out`
/// `[queries, heads · value_dim]`, on at most `threads` threads.
pub(super) fn attend(
    attention: &Attention<'_, KvStore>,
    queries: &[f32],
    out: &mut [f32],
    threads: usize,
) {
    let config = attention.config;
    let slopes = match config.positions {
        Positions::Alibi => alibi::slopes(config.heads),
        _ => Vec::new(),
    };
    let most = (ROWS / (config.heads / config.kv_heads)).max(1);
    let mut tasks = Vec::new();
    let (mut queries, mut out) = (queries, out);
    for same in attention.queries.chunk_by(|a, b| a.segment == b.segment) {
        for some in same.chunks(most) {
            let (rows, other_rows) = queries.split_at(some.len() * config.query_width());
            let (results, other_results) = out.split_at_mut(some.len() * config.result_width());
            tasks.push(Task { attention, slopes: &slopes, queries: some, rows, results });
            (queries, out) = (other_rows, other_results);
        }
    }
    let run = |task: Task<'_>| {
        let mut buffers = BUFFERS.take();
        Arch::new().dispatch(Attend { task, buffers: &mut buffers });
        BUFFERS.set(buffers);
    };
    if threads > 1 && tasks.iter().map(Task::multiply_adds).sum::<usize>() >= SMALLEST_SHARED {
        tasks.into_par_iter().for_each(run);
    } else {
        tasks.into_iter().for_each(run);
    }
}

thread_local! {
    static BUFFERS: Cell<Buffers> =
        const { Cell::new(Buffers { scores: Vec::new(), sums: Vec::new() }) };
}

/// Memory that a thread's tasks reuse.
#[derive(Default)]
struct Buffers {
    /// `[rows, keys]`, each row with room to read ahead.
    scores: Vec<f32>,
    /// `[rows, value_dim]`, in whole registers.
    sums: Vec<f32>,
}

/// Some queries of a segment.
struct Task<'a> {
    attention: &'a Attention<'a, KvStore>,
    slopes: &'a [f32],
    queries: &'a [Query],
    /// `[queries, heads · key_dim]`.
    rows: &'a [f32],
    /// `[queries, heads · value_dim]`.
    results: &'a mut [f32],
}

impl Task<'_> {
    fn position(&self, query: usize) -> usize {
        self.queries[query].position(self.attention.pass.segments)
    }

    fn multiply_adds(&self) -> usize {
        let AttentionConfig { heads, key_dim, value_dim, window, .. } = *self.attention.config;
        let keys = self.position(0) + 1;
        self.queries.len() * heads * (key_dim + value_dim) * keys.min(window.unwrap_or(keys))
    }
}

struct Attend<'a> {
    task: Task<'a>,
    buffers: &'a mut Buffers,
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, buffers } = self;
        let attention = task.attention;
        let config = attention.config;
        let group = config.heads / config.kv_heads;
        let last = task.queries.len() - 1;
        let (begin, end) = (task.position(0), task.position(last) + 1);
        // What any of the queries sees: the last one, with the first one's window.
        let window = config.window.map(|window| window + (end - 1 - begin));
        let mut visible = Vec::new();
        attention.pass.visible(attention.store, task.queries[last], window, &mut visible);
        let keys = visible.iter().map(|part| part.keys.len()).sum::<usize>();
        let first = visible.first().map_or(0, |part| part.position);

        let rows = task.queries.len() * group;
        let stride = keys + READ_AHEAD;
        let sum_stride = config.value_dim.next_multiple_of(S::F32_LANES);
        buffers.scores.resize(rows * stride, 0.0);
        buffers.sums.resize(rows * sum_stride, 0.0);
        let (scores, sums) = (&mut buffers.scores[..], &mut buffers.sums[..]);
        let mut query_rows = Vec::with_capacity(rows);
        let mut totals = Vec::with_capacity(rows);
        for kv_head in 0..config.kv_heads {
            query_rows.clear();
            for row in task.rows.chunks_exact(config.query_width()) {
                let heads = row.chunks_exact(config.key_dim);
                query_rows.extend(heads.skip(kv_head * group).take(group));
            }
            score_visible(simd, attention, &visible, kv_head, &query_rows, scores, stride);

            totals.clear();
            for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
                let position = task.position(row / group);
                let begin = config.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let seen = begin.saturating_sub(first)..position + 1 - first;
                let slope = task.slopes.get(kv_head * group + row % group).copied();
                totals.push(softmax(config, &mut scores[..keys], seen, first, slope));
            }

            sums.fill(0.0);
            let mut used = 0;
            for part in &visible {
                let kv = part.store.layer(attention.layer);
                let start = part.block.offset * kv.widths.values
                    + (kv_head * part.block.capacity + part.keys.start) * config.value_dim;
                let values = Strided { values: &kv.values[start..], stride: config.value_dim };
                let weights = Strided { values: &scores[used..], stride };
                add_values(simd, weights, part.keys.len(), values, sums, sum_stride);
                used += part.keys.len();
            }
            for (row, (sums, total)) in sums.chunks_exact(sum_stride).zip(&totals).enumerate() {
                let head = kv_head * group + row % group;
                let start = row / group * config.result_width() + head * config.value_dim;
                let results = &mut task.results[start..start + config.value_dim];
                results.iter_mut().zip(sums).for_each(|(result, sum)| *result = sum / total);
            }
        }
    }
}

/// The scores `[rows, keys]` of all keys that are visible to any row.
#[inline(always)]
fn score_visible<S: Simd>(
    simd: S,
    attention: &Attention<'_, KvStore>,
    visible: &[Visible<'_, KvStore>],
    kv_head: usize,
    rows: &[&[f32]],
    scores: &mut [f32],
    stride: usize,
) {
    let config = attention.config;
    let mut filled = 0;
    for part in visible {
        let kv = part.store.layer(attention.layer);
        let capacity = part.block.capacity;
        let start = part.block.offset * kv.widths.keys + kv_head * config.key_dim * capacity;
        let keys = Strided { values: &kv.keys[start + part.keys.start..], stride: capacity };
        score(simd, rows, keys, part.keys.len(), config.scale, &mut scores[filled..], stride);
        filled += part.keys.len();
    }
}

/// Turns the scores that a row sees into numbers proportional to their softmax, of which it returns
/// the sum, and all others into zeros. `first` is the position of the first score.
#[inline(always)]
fn softmax(
    config: &AttentionConfig,
    scores: &mut [f32],
    seen: Range<usize>,
    first: usize,
    slope: Option<f32>,
) -> f32 {
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let first = first + seen.start;
    let scores = &mut scores[seen];
    if let Some(slope) = slope {
        for (index, score) in scores.iter_mut().enumerate() {
            *score += alibi::score(slope, first + index) * config.scale;
        }
    }
    if let Some(cap) = config.soft_cap {
        scores.iter_mut().for_each(|score| *score = cap * tanh(*score / cap));
    }
    exponentiate(scores)
}
/// Puts the keys and values of rows into the blocks of their segments.
pub(super) struct Keep<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    /// One for each row.
    pub(super) queries: &'a [Query],
    pub(super) segments: &'a [crate::lm::layout::Segment],
    pub(super) layer: usize,
    pub(super) store: &'a mut KvStore,
}

impl Loop for Keep<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let widths = self.store.layer(self.layer).widths;
        let keys = self.keys.chunks_exact(widths.keys);
        let rows = keys.zip(self.values.chunks_exact(widths.values));
        for (query, (key, value)) in self.queries.iter().zip(rows) {
            let segment = &self.segments[query.segment];
            self.store.write(self.layer, segment.block, segment.held + query.index, key, value);
        }
    }
}

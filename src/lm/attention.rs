//! Causal attention of ragged sequences over keys and values that lie in blocks.
//!
//! A [`Segment`] is a run of consecutive tokens. It owns a block of a [`KvStore`], and its tokens see
//! its own block up to themselves and, before it, the whole blocks of its ancestors. So sequences
//! that share a beginning share its block, and nothing is padded.

use std::ops::Range;

use super::kv::{Block, KvStore, LayerKv, READ_AHEAD};
use super::rotary::RotaryTable;
use super::vector::{Loop, exponentiate, rms_norm};

/// Keys that a segment sees before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ancestor {
    pub(super) block: Block,
    /// How many of the block's keys there are.
    pub(super) len: usize,
    /// Position of its first token in the sequence.
    pub(super) position: usize,
}

/// Consecutive tokens of a sequence, and what they see.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) tokens: Range<usize>,
    /// Where their keys and values go, and where earlier ones of the same sequence may be.
    pub(super) block: Block,
    /// Keys in `block` before this segment's.
    pub(super) held: usize,
    /// Position in the sequence of the block's first token.
    pub(super) position: usize,
    /// In the order of the sequence.
    pub(super) ancestors: Vec<Ancestor>,
}

/// A beginning that all sequences of a batch share, computed earlier.
#[derive(Debug, Clone)]
pub(super) struct Prefix {
    pub(super) store: KvStore,
    pub(super) block: Block,
    pub(super) len: usize,
}

/// A token whose attention is wanted: its segment, and which of the segment's tokens it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    pub(super) segment: usize,
    pub(super) index: usize,
}

impl Query {
    /// Position in the sequence.
    pub(super) fn position(self, segments: &[Segment]) -> usize {
        let segment = &segments[self.segment];
        segment.position + segment.held + self.index
    }
}

/// Query or key rows `[rows, width]` that are still to be given their positions.
pub(super) struct PlacedRows<'a> {
    pub(super) rows: &'a mut [f32],
    /// RMSNorm weights over each head, if the model has them.
    pub(super) norm: Option<&'a [f32]>,
    pub(super) epsilon: f32,
    pub(super) width: usize,
    pub(super) rotary: &'a RotaryTable,
}

impl PlacedRows<'_> {
    /// Normalises each head where the model does, and turns it by its position.
    #[inline(always)]
    fn place(&mut self, queries: &[Query], segments: &[Segment]) {
        for (query, row) in queries.iter().zip(self.rows.chunks_exact_mut(self.width)) {
            if let Some(norm) = self.norm {
                for head in row.chunks_exact_mut(norm.len()) {
                    rms_norm(head, norm, self.epsilon);
                }
            }
            self.rotary.turn(row, query.position(segments));
        }
    }
}

/// Places keys and puts them, with their values, into the blocks of their segments.
pub(super) struct StoreKeys<'a> {
    pub(super) keys: PlacedRows<'a>,
    pub(super) values: &'a [f32],
    /// One for each row.
    pub(super) queries: &'a [Query],
    pub(super) segments: &'a [Segment],
    pub(super) layer: usize,
    pub(super) store: &'a mut KvStore,
}

impl Loop for StoreKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.keys.place(self.queries, self.segments);
        let width = self.keys.width;
        let rows = self.keys.rows.chunks_exact(width).zip(self.values.chunks_exact(width));
        for (query, (key, value)) in self.queries.iter().zip(rows) {
            let segment = &self.segments[query.segment];
            self.store.write(self.layer, segment.block, segment.held + query.index, key, value);
        }
    }
}

/// Places queries and replaces them by the results of their attention.
pub(super) struct Attend<'a> {
    pub(super) rows: PlacedRows<'a>,
    /// One for each row.
    pub(super) queries: &'a [Query],
    pub(super) attention: Attention<'a>,
    pub(super) scores: &'a mut Vec<f32>,
}

impl Loop for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.rows.place(self.queries, self.attention.segments);
        self.attention.attend(self.queries, self.rows.rows, self.scores);
    }
}

/// Attention of one layer.
pub(super) struct Attention<'a> {
    pub(super) layer: usize,
    pub(super) heads: usize,
    /// Keys that a query sees, itself included; `None`: all before it.
    pub(super) window: Option<usize>,
    pub(super) segments: &'a [Segment],
    pub(super) store: &'a KvStore,
    pub(super) prefix: Option<&'a Prefix>,
}

/// Keys and values of one block that a query sees.
struct Visible<'a> {
    kv: &'a LayerKv,
    block: Block,
    keys: Range<usize>,
}

impl Attention<'_> {
    /// `softmax(q · k / √head_dim) · v` for each query, all heads: `rows` is
    /// `[queries, heads · head_dim]`, queries before and results after.
    #[inline(always)]
    fn attend(&self, queries: &[Query], rows: &mut [f32], scores: &mut Vec<f32>) {
        let head_dim = self.store.head_dim;
        let kv_heads = self.store.width / head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut visible = Vec::new();
        for (query, row) in queries.iter().zip(rows.chunks_exact_mut(self.heads * head_dim)) {
            self.visible(*query, &mut visible);
            let count = visible.iter().map(|part: &Visible<'_>| part.keys.len()).sum::<usize>();
            scores.resize(count + READ_AHEAD, 0.0);
            for (head, values) in row.chunks_exact_mut(head_dim).enumerate() {
                let kv_head = head / (self.heads / kv_heads);
                let mut filled = 0;
                for part in &visible {
                    let start = part.block.offset * self.store.width
                        + kv_head * head_dim * part.block.capacity;
                    let keys = &part.kv.keys[start + part.keys.start..];
                    let room = &mut scores[filled..];
                    products(values, keys, part.block.capacity, scale, part.keys.len(), room);
                    filled += part.keys.len();
                }
                let sum = exponentiate(&mut scores[..count]);
                values.fill(0.0);
                let mut used = 0;
                for part in &visible {
                    let start = (part.block.offset + part.keys.start) * self.store.width
                        + kv_head * head_dim;
                    let weights = &scores[used..used + part.keys.len()];
                    add_weighted(values, weights, &part.kv.values[start..], self.store.width);
                    used += part.keys.len();
                }
                values.iter_mut().for_each(|value| *value /= sum);
            }
        }
    }

    /// Lists what a query sees, in the order of the sequence.
    fn visible<'a>(&'a self, query: Query, visible: &mut Vec<Visible<'a>>) {
        let segment = &self.segments[query.segment];
        let position = query.position(self.segments);
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        visible.clear();
        let mut see = |store: &'a KvStore, block, len: usize, start: usize| {
            let hidden = first.saturating_sub(start).min(len);
            if hidden < len {
                visible.push(Visible { kv: store.layer(self.layer), block, keys: hidden..len });
            }
        };
        if let Some(prefix) = self.prefix {
            see(&prefix.store, prefix.block, prefix.len, 0);
        }
        for ancestor in &segment.ancestors {
            see(self.store, ancestor.block, ancestor.len, ancestor.position);
        }
        let own = segment.held + query.index + 1;
        see(self.store, segment.block, own, segment.position);
    }
}

/// `scores[j] = scale · Σ_d query[d] · keys[d · stride + j]` for `j < count`; what stands up to
/// [`READ_AHEAD`] places further is overwritten.
#[inline(always)]
fn products(
    query: &[f32],
    keys: &[f32],
    stride: usize,
    scale: f32,
    count: usize,
    scores: &mut [f32],
) {
    let mut done = 0;
    while done < count {
        done += match count - done {
            17.. => products_of::<32>(query, &keys[done..], stride, scale, &mut scores[done..]),
            9..=16 => products_of::<16>(query, &keys[done..], stride, scale, &mut scores[done..]),
            _ => products_of::<8>(query, &keys[done..], stride, scale, &mut scores[done..]),
        };
    }
}

#[inline(always)]
fn products_of<const LANES: usize>(
    query: &[f32],
    keys: &[f32],
    stride: usize,
    scale: f32,
    scores: &mut [f32],
) -> usize {
    let mut lanes = [0.0_f32; LANES];
    for (dimension, element) in query.iter().enumerate() {
        let column = &keys[dimension * stride..dimension * stride + LANES];
        for (lane, key) in lanes.iter_mut().zip(column) {
            *lane += element * key;
        }
    }
    for (score, lane) in scores.iter_mut().zip(lanes) {
        *score = lane * scale;
    }
    LANES
}

/// `sum[d] += Σ_j weights[j] · values[j · stride + d]`.
#[inline(always)]
fn add_weighted(sum: &mut [f32], weights: &[f32], values: &[f32], stride: usize) {
    let mut done = 0;
    while done < sum.len() {
        let rest = &mut sum[done..];
        let values = &values[done..];
        done += match rest.len() {
            32.. => add_weighted_of::<32>(rest, weights, values, stride),
            16..=31 => add_weighted_of::<16>(rest, weights, values, stride),
            8..=15 => add_weighted_of::<8>(rest, weights, values, stride),
            _ => add_weighted_of::<2>(rest, weights, values, stride),
        };
    }
}

#[inline(always)]
fn add_weighted_of<const LANES: usize>(
    sum: &mut [f32],
    weights: &[f32],
    values: &[f32],
    stride: usize,
) -> usize {
    let mut lanes = [0.0_f32; LANES];
    lanes.copy_from_slice(&sum[..LANES]);
    for (position, weight) in weights.iter().enumerate() {
        let row = &values[position * stride..position * stride + LANES];
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += weight * value;
        }
    }
    sum[..LANES].copy_from_slice(&lanes);
    LANES
}

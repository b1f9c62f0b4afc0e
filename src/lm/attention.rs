//! Causal attention of ragged sequences over keys and values that lie in blocks.
//!
//! A [`Segment`] is a run of consecutive tokens. It owns a block of a [`KvStore`], and its tokens see
//! its own block up to themselves and, before it, the whole blocks of its ancestors. So sequences
//! that share a beginning share its block, and nothing is padded.
//!
//! Inside a block keys lie transposed, `[head, head_dim, capacity]`, so that one query's products
//! with successive keys fill successive lanes; values lie `[position, head, head_dim]`.

use std::ops::Range;

use super::vector::exponentiate;

/// Lanes of the widest inner loop. Loops may read this far past a block's last key, and discard
/// what they find there.
const READ_AHEAD: usize = 32;

/// A place for consecutive keys and values in a [`KvStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Positions allotted before this block.
    offset: usize,
    /// Positions it has room for.
    capacity: usize,
}

impl Block {
    /// Positions it has room for.
    pub(super) fn capacity(self) -> usize {
        self.capacity
    }
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
struct LayerKv {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Keys and values, of all layers or of the one that is being computed.
#[derive(Debug, Clone)]
pub(super) struct KvStore {
    layers: Vec<LayerKv>,
    /// `kv_heads · head_dim`.
    width: usize,
    head_dim: usize,
}

impl KvStore {
    /// Room for `positions` in `layers` layers; with one layer, each layer overwrites the last.
    pub(super) fn new(layers: usize, positions: usize, width: usize, head_dim: usize) -> Self {
        let empty = LayerKv { keys: Vec::new(), values: Vec::new() };
        let mut store = Self { layers: vec![empty; layers], width, head_dim };
        store.grow(positions);
        store
    }

    /// Makes room for `positions` in all; what is held stays.
    pub(super) fn grow(&mut self, positions: usize) {
        for LayerKv { keys, values } in &mut self.layers {
            keys.resize(positions * self.width + READ_AHEAD, 0.0);
            values.resize(positions * self.width, 0.0);
        }
    }

    fn layer(&self, layer: usize) -> &LayerKv {
        &self.layers[layer % self.layers.len()]
    }

    /// Stores a key and a value row `[kv_heads · head_dim]` at `index` of a block.
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        layer: usize,
        block: Block,
        index: usize,
        key: &[f32],
        value: &[f32],
    ) {
        debug_assert!(index < block.capacity);
        let kept = layer % self.layers.len();
        let start = block.offset * self.width;
        let LayerKv { keys, values } = &mut self.layers[kept];
        let row = start + index * self.width;
        values[row..row + self.width].copy_from_slice(value);
        let columns =
            keys[start..start + block.capacity * self.width].chunks_exact_mut(block.capacity);
        for (column, element) in columns.zip(key) {
            column[index] = *element;
        }
    }
}

/// Hands out consecutive blocks.
#[derive(Debug, Default)]
pub(super) struct BlockAllocator {
    /// Positions handed out so far.
    pub(super) positions: usize,
}

impl BlockAllocator {
    /// The next block.
    pub(super) fn allot(&mut self, capacity: usize) -> Block {
        let block = Block { offset: self.positions, capacity };
        self.positions += capacity;
        block
    }
}

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
    pub(super) fn attend(&self, queries: &[Query], rows: &mut [f32], scores: &mut Vec<f32>) {
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

//! Causal attention of ragged sequences over keys and values that lie in blocks.

use super::kv::{KvStore, READ_AHEAD};
use super::vector::{Loop, exponentiate, tanh};
use crate::lm::alibi;
use crate::lm::backend::Attention;
use crate::lm::config::Positions;
use crate::lm::layout::{Query, Visible};

/// Computes the results of attention `[queries, heads · value_dim]`, for all heads.
pub(super) struct Attend<'a> {
    pub(super) attention: &'a Attention<'a, KvStore>,
    /// `[queries, heads · key_dim]`.
    pub(super) rows: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl Loop for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { attention, rows, out } = self;
        let config = attention.config;
        let slopes = match config.positions {
            Positions::Alibi => alibi::slopes(config.heads),
            _ => Vec::new(),
        };
        let mut scores = Vec::new();
        let mut visible = Vec::new();
        let rows = rows.chunks_exact(config.query_width());
        let results = out.chunks_exact_mut(config.result_width());
        for ((query, row), result) in attention.queries.iter().zip(rows).zip(results) {
            attention.pass.visible(attention.store, *query, config.window, &mut visible);
            attend(attention, row, result, &visible, &slopes, &mut scores);
        }
    }
}

/// `softmax(scale · q · k) · v` of one query, all heads.
#[inline(always)]
fn attend(
    attention: &Attention<'_, KvStore>,
    row: &[f32],
    result: &mut [f32],
    visible: &[Visible<'_, KvStore>],
    slopes: &[f32],
    scores: &mut Vec<f32>,
) {
    let (config, layer) = (attention.config, attention.layer);
    let (key_dim, value_dim) = (config.key_dim, config.value_dim);
    let count = visible.iter().map(|part| part.keys.len()).sum::<usize>();
    scores.resize(count + READ_AHEAD, 0.0);
    let heads = row.chunks_exact(key_dim).zip(result.chunks_exact_mut(value_dim));
    for (head, (query, result)) in heads.enumerate() {
        let kv_head = head / (config.heads / config.kv_heads);
        let mut filled = 0;
        for part in visible {
            let kv = part.store.layer(layer);
            let start =
                part.block.offset * kv.widths.keys + kv_head * key_dim * part.block.capacity;
            let keys = &kv.keys[start + part.keys.start..];
            let room = &mut scores[filled..];
            products(query, keys, part.block.capacity, config.scale, part.keys.len(), room);
            if let Some(slope) = slopes.get(head) {
                for (index, score) in room[..part.keys.len()].iter_mut().enumerate() {
                    *score += alibi::score(*slope, part.position + index) * config.scale;
                }
            }
            filled += part.keys.len();
        }
        if let Some(cap) = config.soft_cap {
            for score in &mut scores[..count] {
                *score = cap * tanh(*score / cap);
            }
        }
        let sum = exponentiate(&mut scores[..count]);
        result.fill(0.0);
        let mut used = 0;
        for part in visible {
            let kv = part.store.layer(layer);
            let stride = kv.widths.values;
            let start = (part.block.offset + part.keys.start) * stride + kv_head * value_dim;
            let weights = &scores[used..used + part.keys.len()];
            add_weighted(result, weights, &kv.values[start..], stride);
            used += part.keys.len();
        }
        result.iter_mut().for_each(|value| *value /= sum);
    }
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
            2..=7 => add_weighted_of::<2>(rest, weights, values, stride),
            _ => add_weighted_of::<1>(rest, weights, values, stride),
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

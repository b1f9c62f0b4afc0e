//! Where keys and values lie.
//!
//! Inside a block keys lie transposed, `[head, key_dim, capacity]`, so that a query's products with
//! successive keys fill successive lanes; values lie `[head, capacity, value_dim]`.

use super::tiles::READ_AHEAD;
use crate::lm::backend::KvWidths;
use crate::lm::layout::Block;

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerKv {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) widths: KvWidths,
}

/// Keys and values, of all layers or of the one that is being computed.
#[derive(Debug, Clone)]
pub(in crate::lm) struct KvStore {
    layers: Vec<LayerKv>,
}

impl KvStore {
    /// Without room for any position; with one layer, each layer overwrites the last.
    pub(super) fn new(widths: Vec<KvWidths>) -> Self {
        let layer = |widths| LayerKv { keys: Vec::new(), values: Vec::new(), widths };
        Self { layers: widths.into_iter().map(layer).collect() }
    }

    /// Makes room for `positions` in all; what is held stays.
    pub(super) fn grow(&mut self, positions: usize) {
        for LayerKv { keys, values, widths } in &mut self.layers {
            let wanted = positions * widths.keys + READ_AHEAD;
            if keys.len() < wanted {
                keys.resize(wanted, 0.0);
                values.resize(positions * widths.values + READ_AHEAD, 0.0);
            }
        }
    }

    /// What is held of a layer.
    pub(super) fn layer(&self, layer: usize) -> &LayerKv {
        &self.layers[layer % self.layers.len()]
    }

    /// Stores a key row `[kv_heads · key_dim]` and a value row `[kv_heads · value_dim]` at `index` of
    /// a block.
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
        let LayerKv { keys, values, widths } = &mut self.layers[kept];
        let value_dim = widths.value_dim();
        let start = block.offset * widths.values;
        let heads = values[start..start + block.capacity * widths.values]
            .chunks_exact_mut(block.capacity * value_dim);
        for (head, value) in heads.zip(value.chunks_exact(value_dim)) {
            head[index * value_dim..][..value_dim].copy_from_slice(value);
        }
        let start = block.offset * widths.keys;
        let columns =
            keys[start..start + block.capacity * widths.keys].chunks_exact_mut(block.capacity);
        for (column, element) in columns.zip(key) {
            column[index] = *element;
        }
    }
}

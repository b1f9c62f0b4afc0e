//! Where keys and values lie.
//!
//! Inside a block keys lie transposed, `[head, head_dim, capacity]`, so that one query's products
//! with successive keys fill successive lanes; values lie `[position, head, head_dim]`.

/// Lanes of the widest inner loop. Loops may read this far past a block's last key, and discard
/// what they find there.
pub(super) const READ_AHEAD: usize = 32;

/// A place for consecutive keys and values in a [`KvStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Positions allotted before this block.
    pub(super) offset: usize,
    /// Positions it has room for.
    pub(super) capacity: usize,
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerKv {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

/// Keys and values, of all layers or of the one that is being computed.
#[derive(Debug, Clone)]
pub(super) struct KvStore {
    layers: Vec<LayerKv>,
    /// `kv_heads · head_dim`.
    pub(super) width: usize,
    pub(super) head_dim: usize,
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

    /// What is held of a layer.
    pub(super) fn layer(&self, layer: usize) -> &LayerKv {
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

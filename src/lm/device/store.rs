//! Keys and values on a device.

use candle_core::{DType, Device, Tensor};

use crate::lm::backend::KvWidths;
use crate::lm::error::LmError;

/// Keys and values, of all layers or of the one that is being computed.
#[derive(Debug)]
pub(in crate::lm) struct Store {
    layers: Vec<LayerStore>,
    /// Positions that there is room for.
    capacity: usize,
}

/// Keys and values of one layer. They are written in place, so that no handle to them may leave the
/// pass in which it was taken.
#[derive(Debug)]
pub(super) struct LayerStore {
    /// `[kv_heads, capacity, key_dim]`.
    pub(super) keys: Option<Tensor>,
    /// `[kv_heads, capacity, value_dim]`.
    pub(super) values: Option<Tensor>,
    heads: usize,
    dims: [usize; 2],
}

impl Store {
    /// Without room for any position; with one layer, each layer overwrites the last.
    pub(super) fn new(widths: Vec<KvWidths>) -> Self {
        let layer = |widths: KvWidths| {
            let heads = widths.keys / widths.key_dim;
            let dims = [widths.key_dim, widths.values / heads];
            LayerStore { keys: None, values: None, heads, dims }
        };
        Self { layers: widths.into_iter().map(layer).collect(), capacity: 0 }
    }

    /// Makes room for `positions` in all; what is held stays.
    pub(super) fn grow(&mut self, positions: usize, device: &Device) -> Result<(), LmError> {
        if positions <= self.capacity {
            return Ok(());
        }
        for LayerStore { keys, values, heads, dims } in &mut self.layers {
            for (held, dim) in [keys, values].into_iter().zip(dims) {
                let wider = Tensor::zeros((*heads, positions, *dim), DType::F32, device)?;
                if let Some(held) = held.take() {
                    wider.slice_set(&held, 1, 0)?;
                }
                *held = Some(wider);
            }
        }
        self.capacity = positions;
        Ok(())
    }

    /// What is held of a layer.
    pub(super) fn layer(&self, layer: usize) -> &LayerStore {
        &self.layers[layer % self.layers.len()]
    }
}

impl LayerStore {
    /// Stores rows of keys and values `[rows, heads · dim]` at some places.
    pub(super) fn write(
        &self,
        keys: &Tensor,
        values: &Tensor,
        places: &Places,
    ) -> Result<(), LmError> {
        let held = [&self.keys, &self.values];
        for ((held, rows), dim) in held.into_iter().zip([keys, values]).zip(self.dims) {
            let Some(held) = held else { continue };
            let count = rows.dim(0)?;
            let rows = rows.reshape((count, self.heads, dim))?.transpose(0, 1)?.contiguous()?;
            match places {
                Places::From(first) => held.slice_set(&rows, 1, *first)?,
                Places::At(indices) => {
                    let indices = indices.reshape((1, count, 1))?.broadcast_as(rows.shape())?;
                    held.scatter_set(&indices.contiguous()?, &rows, 1)?;
                }
            }
        }
        Ok(())
    }
}

/// Where successive rows go.
#[derive(Debug, Clone)]
pub(super) enum Places {
    /// To successive positions from this one on.
    From(usize),
    /// To positions of their own, `[rows]`.
    At(Tensor),
}

//! Rows of activations on a device, and what is done with them.

use candle_core::{DType, Device, Tensor};

use crate::lm::backend::RowSummary;
use crate::lm::error::LmError;
use crate::lm::rotary::{Pairing, RotaryTable};

/// `[rows, width]`, f32 and contiguous; nothing if there are no rows, since devices do not compute with
/// empty tensors.
#[derive(Debug, Clone, Default)]
pub(in crate::lm) struct Rows(Option<Tensor>);

impl Rows {
    pub(super) fn new(tensor: Tensor) -> Self {
        Self(Some(tensor))
    }

    pub(super) fn tensor(&self) -> Option<&Tensor> {
        self.0.as_ref()
    }

    /// `out = function(self)`.
    pub(super) fn give(
        &self,
        out: &mut Self,
        function: impl FnOnce(&Tensor) -> Result<Tensor, LmError>,
    ) -> Result<(), LmError> {
        out.0 = self.0.as_ref().map(function).transpose()?;
        Ok(())
    }

    /// `self = function(self)`.
    pub(super) fn change(
        &mut self,
        function: impl FnOnce(&Tensor) -> Result<Tensor, LmError>,
    ) -> Result<(), LmError> {
        self.0 = self.0.as_ref().map(function).transpose()?;
        Ok(())
    }

    /// `self = function(self, other)`; without other rows nothing changes.
    pub(super) fn combine(
        &mut self,
        other: &Self,
        function: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, LmError>,
    ) -> Result<(), LmError> {
        if let (Some(own), Some(other)) = (&self.0, &other.0) {
            self.0 = Some(function(own, other)?);
        }
        Ok(())
    }
}

/// Cosines and sines of the positions of rows, `[rows, 1, half]`.
#[derive(Debug, Clone)]
pub(super) struct Cosines {
    cosines: Tensor,
    sines: Tensor,
    half: usize,
}

impl Cosines {
    pub(super) fn new(
        table: &RotaryTable,
        positions: &[usize],
        device: &Device,
    ) -> Result<Self, LmError> {
        let half = table.half;
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for position in positions {
            let here = table.at(*position);
            cosines.extend_from_slice(here.0);
            sines.extend_from_slice(here.1);
        }
        let shape = (positions.len(), 1, half);
        let cosines = Tensor::from_vec(cosines, shape, device)?;
        Ok(Self { cosines, sines: Tensor::from_vec(sines, shape, device)?, half })
    }

    /// Turns each head of `head_dim` elements from its element `offset` on.
    pub(super) fn turn(
        &self,
        rows: &Tensor,
        head_dim: usize,
        offset: usize,
        pairing: Pairing,
    ) -> Result<Tensor, LmError> {
        let Self { cosines, sines, half } = self;
        let half = *half;
        let (count, width) = rows.dims2()?;
        let heads = width / head_dim;
        let x = rows.reshape((count, heads, head_dim))?;
        let [a, b] = match pairing {
            Pairing::Halves => [x.narrow(2, offset, half)?, x.narrow(2, offset + half, half)?],
            Pairing::Neighbours => {
                let pairs = x.narrow(2, offset, 2 * half)?.contiguous()?;
                let pairs = pairs.reshape((count, heads, half, 2))?;
                [pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?]
            }
        };
        let first = (a.broadcast_mul(cosines)? - b.broadcast_mul(sines)?)?;
        let second = (b.broadcast_mul(cosines)? + a.broadcast_mul(sines)?)?;
        let turned = match pairing {
            Pairing::Halves => Tensor::cat(&[first, second], 2)?,
            Pairing::Neighbours => {
                Tensor::stack(&[first, second], 3)?.reshape((count, heads, 2 * half))?
            }
        };
        let mut parts = vec![turned];
        if offset > 0 {
            parts.insert(0, x.narrow(2, 0, offset)?.contiguous()?);
        }
        let rest = offset + 2 * half;
        if rest < head_dim {
            parts.push(x.narrow(2, rest, head_dim - rest)?.contiguous()?);
        }
        Ok(Tensor::cat(&parts, 2)?.reshape((count, width))?)
    }
}

/// What each row of logits says of itself; `indices` are those of the columns, `[1, width]`, f32.
pub(super) fn summarize(logits: &Tensor, indices: &Tensor) -> Result<Vec<RowSummary>, LmError> {
    let (_, width) = logits.dims2()?;
    let largest = logits.max_keepdim(1)?;
    let sums = logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(1)?;
    // The lowest index of those with the largest logit: which one a device's own argmax finds is
    // not said. Numbers up to 2²⁴ are exact in f32, and vocabularies are smaller.
    let beyond = Tensor::full(width as f32, (1, width), logits.device())?;
    let shape = logits.shape();
    let indices = logits
        .broadcast_eq(&largest)?
        .where_cond(&indices.broadcast_as(shape)?, &beyond.broadcast_as(shape)?)?
        .min_keepdim(1)?;
    let all = Tensor::cat(&[largest, sums, indices], 1)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let summary = |row: Vec<f32>| RowSummary {
        largest: row[0],
        log_sum: f64::from(row[1]).ln(),
        argmax: (row[2] as usize).min(width - 1) as u32,
    };
    Ok(all.into_iter().map(summary).collect())
}

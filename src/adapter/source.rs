//! A model with an adapter on top, computed while it is read.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use indexmap::IndexMap;
use rayon::prelude::*;

use super::AdapterError;
use super::changes::{Change, Origin};
use super::parts::Adapter;
use super::product::{Factors, Layout, PIECE, Product, each_row};
use crate::architecture::Architecture;
use crate::checkpoint::{CheckpointError, Holding, TensorInfo, TensorSource};
use crate::kernels::dtype::{DType, narrow, round_to};
use crate::kernels::reduce::exact_inner_products;

/// A base model seen through an adapter.
///
/// A changed tensor has the base's element type. Its values are computed in `f32` and rounded once, as
/// by `merge_and_unload` of peft. Only the elements asked for are computed; what that needs of the
/// adapter is loaded by [`TensorSource::hold`], or, without it, anew for every read.
pub struct AdaptedCheckpoint {
    base: Arc<dyn TensorSource>,
    adapter: Adapter,
    tensors: IndexMap<String, TensorInfo>,
    changes: IndexMap<String, Change>,
}

/// What reading parts of a changed weight needs beside them.
#[derive(Debug)]
pub(super) struct Held {
    factors: Factors,
    /// What DoRA multiplies the rows of a plain layout with, or else the columns.
    gains: Option<Vec<f32>>,
}

impl AdaptedCheckpoint {
    /// Puts `adapter` on `base`, a model of `architecture` that messages call `label`. With `dtype`,
    /// the base is first converted to it, and the result has it too.
    ///
    /// Reads no weights; fails when the adapter does not fit.
    pub fn new(
        base: Arc<dyn TensorSource>,
        label: &str,
        architecture: &Architecture,
        adapter: Adapter,
        dtype: Option<DType>,
    ) -> Result<Self, AdapterError> {
        let changes = adapter.changes(&*base, label, architecture, dtype)?;
        let mut tensors = base.tensors().clone();
        for info in tensors.values_mut().filter(|info| info.dtype.is_float()) {
            info.dtype = dtype.unwrap_or(info.dtype);
        }
        for (name, change) in &changes {
            tensors.insert(name.clone(), change.info.clone());
        }
        Ok(Self { base, adapter, tensors, changes })
    }

    /// Whether a tensor that the base is tied to another one for has become a tensor of its own.
    pub fn is_untied(&self) -> bool {
        self.changes.values().any(|change| change.is_untied)
    }

    /// The number of tokens, when it is not the base's.
    pub fn vocabulary_size(&self) -> Option<usize> {
        self.changes.values().find_map(|change| change.vocabulary)
    }

    /// Computes elements `start .. start + out.len()`, at most a [`PIECE`], before they are rounded.
    fn values(
        &self,
        name: &str,
        held: Option<&Held>,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let Some(change) = self.changes.get(name) else {
            return self.base.read_into(name, start, out);
        };
        self.unscaled(change, held.map(|held| &held.factors), start, out)?;
        let gains = held.and_then(|held| held.gains.as_deref());
        if let (Some(gains), Some(product)) = (gains, &change.product) {
            each_row(product.cols, start, out, |row, col, part| match product.layout {
                Layout::Plain => part.iter_mut().for_each(|value| *value *= gains[row]),
                Layout::Transposed => {
                    part.iter_mut().zip(&gains[col..]).for_each(|(value, gain)| *value *= gain);
                }
            });
        }
        Ok(())
    }

    /// As [`values`](Self::values), without the gains of DoRA.
    fn unscaled(
        &self,
        change: &Change,
        factors: Option<&Factors>,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        match &change.from {
            Origin::Base(name) => self.base.read_into(name, start, out)?,
            Origin::Adapter(name) => self.adapter.weights.read_into(name, start, out)?,
        }
        round_to(change.info.dtype, out);
        if let Some(factors) = factors {
            factors.add(start, out);
        }
        if let Some((bias, scale)) = &change.bias {
            let mut added = [0.0; PIECE];
            let added = &mut added[..out.len()];
            self.adapter.weights.read_into(bias, start, added)?;
            for (value, added) in out.iter_mut().zip(added) {
                *value += *added * scale;
            }
        }
        Ok(())
    }

    /// What reading parts of `change` needs, from before or loaded now.
    fn held(&self, change: &Change) -> Result<Option<Arc<Held>>, CheckpointError> {
        let Some(product) = &change.product else { return Ok(None) };
        let slot = || change.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = slot().upgrade();
        if let Some(held) = before {
            return Ok(Some(held));
        }
        // The lock is not held while loading: a thread that waits for its part of the work here may
        // begin something else that needs this.
        let factors = product.load(&*self.adapter.weights)?;
        let gains = match &product.magnitude {
            Some(magnitude) => Some(self.gains(change, product, &factors, magnitude)?),
            None => None,
        };
        let held = Arc::new(Held { factors, gains });
        *slot() = Arc::downgrade(&held);
        Ok(Some(held))
    }

    /// What DoRA multiplies outputs with: the norm that each should have, by the one that it has.
    fn gains(
        &self,
        change: &Change,
        product: &Product,
        factors: &Factors,
        magnitude: &str,
    ) -> Result<Vec<f32>, CheckpointError> {
        let squares = match product.layout {
            Layout::Plain => (0..product.rows)
                .into_par_iter()
                .map(|row| self.row_square(change, product, factors, row))
                .collect::<Result<Vec<f64>, _>>()?,
            Layout::Transposed => {
                let mut squares = vec![0.0; product.cols];
                let elements = product.rows * product.cols;
                self.each_piece(change, factors, 0, elements, |start, piece| {
                    each_row(product.cols, start, piece, |_, col, part| {
                        for (square, &mut value) in squares[col..].iter_mut().zip(part) {
                            *square += f64::from(value).powi(2);
                        }
                    });
                })?;
                squares
            }
        };
        let mut gains = vec![0.0; squares.len()];
        self.adapter.weights.read_into(magnitude, 0, &mut gains)?;
        for (gain, square) in gains.iter_mut().zip(squares) {
            *gain /= square.sqrt() as f32;
        }
        Ok(gains)
    }

    /// The square of the norm of one row, before DoRA gives it another.
    fn row_square(
        &self,
        change: &Change,
        product: &Product,
        factors: &Factors,
        row: usize,
    ) -> Result<f64, CheckpointError> {
        let mut square = 0.0;
        self.each_piece(change, factors, row * product.cols, product.cols, |_, piece| {
            let mut product = [0.0];
            exact_inner_products(None, &[piece], 0..piece.len(), &mut product);
            square += product[0];
        })?;
        Ok(square)
    }

    /// Calls `work` with `length` elements from `start` on, piece by piece in order, before DoRA.
    fn each_piece(
        &self,
        change: &Change,
        factors: &Factors,
        start: usize,
        length: usize,
        mut work: impl FnMut(usize, &mut [f32]),
    ) -> Result<(), CheckpointError> {
        let mut piece = [0.0; PIECE];
        for offset in (0..length).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(length - offset)];
            self.unscaled(change, Some(factors), start + offset, piece)?;
            work(start + offset, piece);
        }
        Ok(())
    }

    /// Whether the base's bytes are those of the adapted model.
    fn is_unchanged(&self, name: &str) -> bool {
        let dtype =
            |tensors: &IndexMap<String, TensorInfo>| tensors.get(name).map(|info| info.dtype);
        !self.changes.contains_key(name) && dtype(&self.tensors) == dtype(self.base.tensors())
    }
}

impl TensorSource for AdaptedCheckpoint {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        if self.is_unchanged(name) {
            return self.base.read_into(name, start, out);
        }
        let info = &self.tensors[name];
        info.check_range(name, start, out.len())?;
        let held = self.changes.get(name).map(|change| self.held(change)).transpose()?.flatten();
        for (index, out) in out.chunks_mut(PIECE).enumerate() {
            self.values(name, held.as_deref(), start + index * PIECE, out)?;
            round_to(info.dtype, out);
        }
        Ok(())
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        if self.is_unchanged(name) {
            return self.base.copy_bytes(name, start, out);
        }
        let info = &self.tensors[name];
        info.check_range(name, start, info.whole_elements(name, out.len())?)?;
        let held = self.changes.get(name).map(|change| self.held(change)).transpose()?.flatten();
        let size = info.dtype.size();
        let mut values = [0.0; PIECE];
        for (index, out) in out.chunks_mut(PIECE * size).enumerate() {
            let values = &mut values[..out.len() / size];
            self.values(name, held.as_deref(), start + index * PIECE, values)?;
            narrow(info.dtype, values, out);
        }
        Ok(())
    }

    fn files(&self) -> Vec<&Path> {
        let mut files = self.base.files();
        files.extend(self.adapter.weights.files());
        files
    }

    fn hold(&self, name: &str) -> Result<Option<Arc<dyn Any + Send + Sync>>, CheckpointError> {
        let Some(change) = self.changes.get(name) else { return self.base.hold(name) };
        Ok(self.held(change)?.map(|held| held as Arc<dyn Any + Send + Sync>))
    }

    fn holding(&self, name: &str) -> Holding {
        let Some(change) = self.changes.get(name) else { return self.base.holding(name) };
        let Some(product) = &change.product else { return Holding::default() };
        let stored = |tensor: &str| self.adapter.weights.tensors()[tensor].bytes() as u64;
        let mut holding = Holding {
            bytes_read: stored(&product.a) + stored(&product.b),
            memory: product.memory(),
        };
        if let Some(magnitude) = &product.magnitude {
            let outputs = self.adapter.weights.tensors()[magnitude].elements() as u64;
            holding.bytes_read += stored(magnitude) + change.info.bytes() as u64;
            // Squares in `f64`, and what becomes of them.
            holding.memory += 12 * outputs;
        }
        holding
    }
}

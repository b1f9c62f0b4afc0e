//! Weights on a device.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use crate::lm::error::LmError;
use crate::lm::storage::{Form, StoredTensor};

/// A weight `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(in crate::lm) enum Matrix {
    /// Contiguous: f32, f16 or bf16.
    Floats(Tensor),
    /// Blocks of whole numbers.
    Blocks(Blocks),
}

impl Matrix {
    /// Takes a weight in, which is stored `[inputs, outputs]` if `transposed`. Blocks then lie across
    /// what a product adds up, and become f32.
    pub(super) fn new(
        tensor: StoredTensor,
        transposed: bool,
        device: &Device,
    ) -> Result<Self, LmError> {
        let tensor = match tensor.0 {
            Form::Blocks(blocks) if !transposed => return Ok(Self::Blocks(Blocks::new(blocks)?)),
            Form::Blocks(blocks) => blocks.dequantize(device)?,
            Form::Floats(tensor) => tensor.to_device(device)?,
        };
        let tensor = if transposed { tensor.t()? } else { tensor };
        let tensor = match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 => tensor,
            _ => tensor.to_dtype(DType::F32)?,
        };
        Ok(Self::Floats(tensor.contiguous()?))
    }

    /// Some outputs, without a copy.
    pub(super) fn part(&self, outputs: Range<usize>) -> Result<Self, LmError> {
        Ok(match self {
            Self::Floats(tensor) => Self::Floats(tensor.narrow(0, outputs.start, outputs.len())?),
            Self::Blocks(blocks) => Self::Blocks(blocks.part(outputs)),
        })
    }
}

/// A norm's weights or a bias, in f32.
pub(super) fn vector(tensor: StoredTensor, device: &Device) -> Result<Tensor, LmError> {
    let tensor = match tensor.0 {
        Form::Floats(tensor) => tensor.to_device(device)?,
        Form::Blocks(blocks) => blocks.dequantize(device)?,
    };
    Ok(tensor.to_dtype(DType::F32)?.contiguous()?)
}

/// Rows of blocks. They go to their device when they are used for the first time: until then, matrices
/// that are stored as one can be parted.
#[derive(Debug, Clone)]
pub(in crate::lm) struct Blocks {
    place: Arc<Mutex<Place>>,
    inputs: usize,
}

/// Where blocks are.
#[derive(Debug, Clone)]
enum Place {
    /// Rows of a tensor that others have rows of, too.
    Source(Arc<QTensor>, Range<usize>),
    /// All rows of a tensor on the device.
    Device(Arc<QTensor>),
}

impl Blocks {
    fn new(blocks: Arc<QTensor>) -> Result<Self, LmError> {
        let dims = blocks.shape().dims();
        let inputs = dims.last().copied().unwrap_or(1);
        let rows = 0..blocks.shape().elem_count() / inputs.max(1);
        Ok(Self { place: Arc::new(Mutex::new(Place::Source(blocks, rows))), inputs })
    }

    fn part(&self, outputs: Range<usize>) -> Self {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, first) = match &*place {
            Place::Source(source, rows) => (source, rows.start),
            Place::Device(source) => (source, 0),
        };
        let rows = first + outputs.start..first + outputs.end;
        let part = Place::Source(Arc::clone(source), rows);
        Self { place: Arc::new(Mutex::new(part)), inputs: self.inputs }
    }

    /// All rows, on the device.
    pub(super) fn placed(&self, device: &Device) -> Result<Arc<QTensor>, LmError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = match &*place {
            Place::Device(placed) => return Ok(Arc::clone(placed)),
            Place::Source(source, rows) => Arc::new(self.copied(source, rows.clone(), device)?),
        };
        *place = Place::Device(Arc::clone(&placed));
        Ok(placed)
    }

    fn copied(
        &self,
        source: &QTensor,
        rows: Range<usize>,
        device: &Device,
    ) -> Result<QTensor, LmError> {
        let dtype = source.dtype();
        let row = self.inputs / dtype.block_size() * dtype.type_size();
        let all = source.data()?;
        let bytes = Cow::Borrowed(&all[rows.start * row..rows.end * row]);
        let storage = QStorage::from_data(bytes, device, dtype)?;
        Ok(QTensor::new(storage, (rows.len(), self.inputs))?)
    }
}

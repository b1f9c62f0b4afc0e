//! One output tensor at work: prepared once, then computed chunk by chunk in any order.
//!
//! A chunk is what is read and written at once: enough bytes for the system calls to be worth it. It
//! is computed in blocks whose values stay in a core's first caches, so that main memory and disk see
//! stored bytes only, never the wider `f32`.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernels::dtype::{DType, first_beyond, first_nan, first_overflow, narrow, round_to};
use crate::kernels::random::TensorKey;
use crate::methods::{Apply, Granularity, TensorInputs};
use crate::plan::{Action, Operand, PlannedTensor};

use super::anomaly::{Anomalies, Anomaly, RESULT};
use super::buffer::Buffer;
use super::error::EngineError;
use super::inputs::{Inputs, OperandBuffers, Reader, StatisticsCache};
use super::memory::{Budget, COPY_OPERANDS};

/// An output tensor whose statistics are known.
pub(super) struct PreparedTensor<'p> {
    planned: &'p PlannedTensor,
    inputs: Inputs<'p>,
    work: Work<'p>,
    /// What keeps inputs at hand that are computed while they are read.
    _held: Vec<Arc<dyn Any + Send + Sync>>,
    /// Elements per chunk.
    pub(super) chunk: usize,
    /// Elements per block of a chunk.
    block: usize,
}

enum Work<'p> {
    /// The first of the inputs, which all others have to equal.
    Copy {
        equals: &'p [Operand],
    },
    Merge {
        apply: Box<dyn Apply>,
    },
}

/// Memory for the chunks that are being computed, as many as there are threads.
#[derive(Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<ChunkBuffers>>,
}

#[derive(Default)]
struct ChunkBuffers {
    operands: OperandBuffers,
    /// Values of the block of the result.
    merged: Buffer<f32>,
    /// Stored bytes of the chunk of the result.
    result: Buffer<u8>,
}

impl Buffers {
    fn lend<T>(&self, work: impl FnOnce(&mut ChunkBuffers) -> T) -> T {
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = free().pop().unwrap_or_default();
        let result = work(&mut buffers);
        free().push(buffers);
        result
    }
}

impl<'p> PreparedTensor<'p> {
    /// Runs the statistics pass of `planned`, which is the output tensor at `index`.
    pub(super) fn new(
        planned: &'p PlannedTensor,
        index: usize,
        seed: u64,
        cache: &StatisticsCache,
        anomalies: &'p Anomalies,
        budget: &Budget,
    ) -> Result<Self, EngineError> {
        let mut held = Vec::new();
        for operand in planned.operands() {
            held.extend(operand.source.hold(&operand.tensor)?);
        }
        let (method, base, inputs) = match &planned.action {
            Action::Copy { from, equals } => {
                let from = std::slice::from_ref(from);
                let inputs = Inputs { base: None, inputs: from, index, anomalies };
                let (chunk, block) = budget.chunk(COPY_OPERANDS, 1)?;
                let work = Work::Copy { equals };
                return Ok(Self { planned, inputs, work, _held: held, chunk, block });
            }
            Action::Merge { method, base, inputs } => (method, base.as_ref(), inputs.as_slice()),
        };
        let keys: Vec<TensorKey> =
            (0..inputs.len()).map(|input| TensorKey::new(seed, &planned.name, input)).collect();
        let inputs = Inputs { base, inputs, index, anomalies };
        let reader = Reader::new(inputs, planned.info.elements(), cache);
        let whole = TensorInputs {
            shape: &planned.info.shape,
            n_inputs: inputs.inputs.len(),
            has_base: base.is_some(),
            keys: &keys,
            reader: &reader,
        };
        let apply = method
            .prepare(&whole)
            .map_err(|error| EngineError::from_method(&planned.name, error))?;
        let granule = match apply.granularity() {
            Granularity::Element => 1,
            Granularity::Row => whole.row_elements().max(1),
        };
        let (chunk, block) = budget.chunk(inputs.n_operands(), granule)?;
        Ok(Self { planned, inputs, work: Work::Merge { apply }, _held: held, chunk, block })
    }

    /// Number of chunks.
    pub(super) fn n_chunks(&self) -> usize {
        self.planned.info.elements().div_ceil(self.chunk)
    }

    /// Computes elements `start .. start + out.len()`, rounded to the output's type.
    pub(super) fn values(
        &self,
        start: usize,
        out: &mut [f32],
        buffers: &Buffers,
    ) -> Result<(), EngineError> {
        buffers.lend(|buffers| {
            let operands = &mut buffers.operands;
            self.read(start, out.len(), operands)?;
            for (index, out) in out.chunks_mut(self.block).enumerate() {
                let offset = index * self.block;
                self.compute(start, offset..offset + out.len(), operands, out)?;
                round_to(self.dtype(), out);
            }
            Ok(())
        })
    }

    /// Computes chunk `index` and gives its bytes in the output's type to `write`, with the first
    /// one's place in the tensor.
    pub(super) fn bytes<T>(
        &self,
        index: usize,
        buffers: &Buffers,
        write: impl FnOnce(usize, &[u8]) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let start = index * self.chunk;
        let length = self.chunk.min(self.planned.info.elements() - start);
        let size = self.dtype().size();
        buffers.lend(|buffers| {
            let ChunkBuffers { operands, merged, result } = buffers;
            self.read(start, length, operands)?;
            if self.is_unchanged() {
                return write(start * size, operands.stored(0, length * size));
            }
            let result = result.room(length * size);
            for (index, result) in result.chunks_mut(self.block * size).enumerate() {
                let offset = index * self.block;
                let merged = merged.room(result.len() / size);
                self.compute(start, offset..offset + merged.len(), operands, merged)?;
                narrow(self.dtype(), merged, result);
            }
            write(start * size, result)
        })
    }

    fn dtype(&self) -> DType {
        self.planned.info.dtype
    }

    /// Whether the output's bytes are those of the first input.
    fn is_unchanged(&self) -> bool {
        // A merge may have no inputs but the base.
        let Work::Copy { .. } = self.work else { return false };
        let (from, dtype) = (&self.inputs.inputs[0], self.dtype());
        from.dtype == dtype && from.loaded_as == dtype
    }

    /// Reads and checks a chunk of every operand.
    fn read(
        &self,
        start: usize,
        length: usize,
        operands: &mut OperandBuffers,
    ) -> Result<(), EngineError> {
        match self.work {
            Work::Copy { equals } => {
                let from = &self.inputs.inputs[0];
                let stored = operands.stored(0, length * from.dtype.size());
                self.read_copy(from, equals, start, stored)
            }
            Work::Merge { .. } => {
                self.inputs.read(0..self.inputs.n_operands(), start, length, operands)
            }
        }
    }

    /// Reads stored bytes of `from`, which may hold an infinity, as masks do, but should hold no NaN.
    /// Whole numbers have to be the same in all models.
    fn read_copy(
        &self,
        from: &Operand,
        equals: &[Operand],
        start: usize,
        stored: &mut [u8],
    ) -> Result<(), EngineError> {
        from.source.copy_bytes(&from.tensor, start, stored)?;
        if let Some(index) = first_nan(from.dtype, stored) {
            self.inputs.meet_not_finite(0, from, start, stored, index)?;
        }
        let mut other_stored = vec![0; if equals.is_empty() { 0 } else { stored.len() }];
        for other in equals {
            other.source.copy_bytes(&other.tensor, start, &mut other_stored)?;
            if other_stored != *stored {
                return Err(EngineError::Unequal {
                    tensor: self.planned.name.clone(),
                    first: from.model.label(),
                    model: other.model.label(),
                });
            }
        }
        Ok(())
    }

    /// Computes the elements `part` of the chunk that begins at `start` and was read into `operands`.
    fn compute(
        &self,
        start: usize,
        part: Range<usize>,
        operands: &mut OperandBuffers,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let first = start + part.start;
        let positions = 0..self.inputs.n_operands();
        let found = match &self.work {
            Work::Copy { .. } => {
                self.inputs.with_block(positions, start, part, operands, |chunk| {
                    out.copy_from_slice(chunk.inputs[0]);
                })?;
                first_overflow(self.dtype(), out)
            }
            Work::Merge { apply } => {
                self.inputs.with_block(positions, start, part, operands, |chunk| {
                    apply.apply(chunk, out)
                })?;
                first_beyond(self.dtype(), out)
            }
        };
        self.check(first, out, found)
    }

    /// Notes that the result from element `start` on is bad at `found`.
    fn check(&self, start: usize, merged: &[f32], found: Option<usize>) -> Result<(), EngineError> {
        let Some(index) = found else { return Ok(()) };
        let anomaly = Anomaly::Overflow {
            tensor: self.planned.name.clone(),
            element: start + index,
            value: merged[index],
            dtype: self.dtype(),
        };
        Ok(self.inputs.anomalies.meet(self.inputs.index, RESULT, anomaly)?)
    }
}

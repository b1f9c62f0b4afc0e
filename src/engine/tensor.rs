//! One output tensor at work: prepared once, then computed chunk by chunk in any order.

use std::sync::{Mutex, PoisonError};

use crate::kernels::dtype::{
    DType, first_nan, first_not_finite, first_overflow, narrow, round_to, widen,
};
use crate::kernels::random::TensorKey;
use crate::methods::{Apply, Chunk, Granularity, TensorInputs};
use crate::plan::{Action, Operand, PlannedTensor};

use super::error::EngineError;
use super::inputs::{self, Inputs, StatisticsCache};
use super::memory::Budget;

/// An output tensor whose statistics are known.
pub(super) struct PreparedTensor<'p> {
    planned: &'p PlannedTensor,
    work: Work<'p>,
    /// Elements per chunk.
    pub(super) chunk: usize,
}

enum Work<'p> {
    Copy { from: &'p Operand, equals: &'p [Operand] },
    Merge { apply: Box<dyn Apply>, base: Option<&'p Operand>, inputs: &'p [Operand] },
}

/// Memory for the chunks that are being computed, as many as there are threads.
#[derive(Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<ChunkBuffers>>,
}

#[derive(Default)]
struct ChunkBuffers {
    /// The base, when there is one, and the inputs.
    operands: Vec<Vec<f32>>,
    merged: Vec<f32>,
    stored: Vec<u8>,
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
    /// Runs the statistics pass of `planned`.
    pub(super) fn new(
        planned: &'p PlannedTensor,
        seed: u64,
        cache: &StatisticsCache,
        budget: &Budget,
    ) -> Result<Self, EngineError> {
        let (method, base, inputs) = match &planned.action {
            Action::Copy { from, equals } => {
                let work = Work::Copy { from, equals };
                return Ok(Self { planned, work, chunk: budget.chunk(2, 1)? });
            }
            Action::Merge { method, base, inputs } => (method, base.as_ref(), inputs.as_slice()),
        };
        let keys: Vec<TensorKey> =
            (0..inputs.len()).map(|input| TensorKey::new(seed, &planned.name, input)).collect();
        let reader = Inputs::new(base, inputs, planned.info.elements(), cache);
        let whole = TensorInputs {
            shape: &planned.info.shape,
            n_inputs: inputs.len(),
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
        let n_operands = inputs.len() + usize::from(base.is_some());
        let chunk = budget.chunk(n_operands, granule)?;
        Ok(Self { planned, work: Work::Merge { apply, base, inputs }, chunk })
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
        buffers.lend(|buffers| match self.work {
            Work::Copy { from, .. } => {
                self.copy_bytes(from, start, out.len(), &mut buffers.stored)?;
                widen(from.dtype, &buffers.stored, out);
                inputs::load(from, start, out)?;
                self.check_range(start, out)?;
                round_to(self.dtype(), out);
                Ok(())
            }
            Work::Merge { .. } => {
                self.merge(start, out, &mut buffers.operands)?;
                round_to(self.dtype(), out);
                Ok(())
            }
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
        let dtype = self.dtype();
        buffers.lend(|buffers| {
            let ChunkBuffers { operands, merged, stored } = buffers;
            match self.work {
                Work::Copy { from, .. } => {
                    self.copy_bytes(from, start, length, stored)?;
                    if from.dtype != dtype || from.loaded_as != dtype {
                        merged.resize(length, 0.0);
                        widen(from.dtype, stored, merged);
                        inputs::load(from, start, merged)?;
                        self.check_range(start, merged)?;
                        stored.resize(length * dtype.size(), 0);
                        narrow(dtype, merged, stored);
                    }
                }
                Work::Merge { .. } => {
                    merged.resize(length, 0.0);
                    self.merge(start, merged, operands)?;
                    stored.resize(length * dtype.size(), 0);
                    narrow(dtype, merged, stored);
                }
            }
            write(start * dtype.size(), stored)
        })
    }

    fn dtype(&self) -> DType {
        self.planned.info.dtype
    }

    /// Reads stored bytes of `from`. They may hold an infinity, as masks do, but no NaN, and whole
    /// numbers have to be the same in all models.
    fn copy_bytes(
        &self,
        from: &Operand,
        start: usize,
        length: usize,
        stored: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        stored.resize(length * from.dtype.size(), 0);
        from.model.checkpoint.copy_bytes(&from.tensor, start, stored)?;
        if let Some(index) = first_nan(from.dtype, stored) {
            return Err(EngineError::NotFinite {
                model: from.model.label(),
                tensor: from.tensor.clone(),
                element: start + index,
                value: f32::NAN,
            });
        }
        let Work::Copy { equals, .. } = self.work else { return Ok(()) };
        let mut other_stored = vec![0; if equals.is_empty() { 0 } else { stored.len() }];
        for other in equals {
            other.model.checkpoint.copy_bytes(&other.tensor, start, &mut other_stored)?;
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

    fn merge(
        &self,
        start: usize,
        out: &mut [f32],
        operands: &mut Vec<Vec<f32>>,
    ) -> Result<(), EngineError> {
        let Work::Merge { apply, base, inputs } = &self.work else {
            unreachable!("copies are not computed")
        };
        let all = base.iter().copied().chain(*inputs);
        operands.resize(all.clone().count(), Vec::new());
        for (operand, buffer) in all.zip(operands.iter_mut()) {
            buffer.resize(out.len(), 0.0);
            inputs::read(operand, start, buffer)?;
        }
        let slices: Vec<&[f32]> = operands.iter().map(Vec::as_slice).collect();
        let (base, inputs) = match base {
            Some(_) => (Some(slices[0]), &slices[1..]),
            None => (None, &slices[..]),
        };
        apply.apply(&Chunk { start, base, inputs }, out);
        self.check(start, out)
    }

    /// Whether the result consists of finite numbers that stay finite in the output's type.
    fn check(&self, start: usize, merged: &[f32]) -> Result<(), EngineError> {
        match first_not_finite(merged) {
            Some(index) => Err(self.overflow(start, merged, index)),
            None => self.check_range(start, merged),
        }
    }

    /// Whether finite values stay finite in the output's type.
    fn check_range(&self, start: usize, values: &[f32]) -> Result<(), EngineError> {
        match first_overflow(self.dtype(), values) {
            Some(index) => Err(self.overflow(start, values, index)),
            None => Ok(()),
        }
    }

    fn overflow(&self, start: usize, values: &[f32], index: usize) -> EngineError {
        EngineError::Overflow {
            tensor: self.planned.name.clone(),
            element: start + index,
            value: values[index],
            dtype: self.dtype(),
        }
    }
}

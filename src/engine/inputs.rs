//! The inputs of one output tensor as methods read them, and the statistics remembered about them.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::kernels::dtype::{first_not_finite, first_overflow, round_to, widen};
use crate::methods::{Chunk, MethodError, ReadInput, Statistic};
use crate::plan::Operand;

use super::anomaly::{Anomalies, Anomaly};
use super::buffer::Buffer;
use super::error::EngineError;

/// Statistics by what they were computed from.
#[derive(Default)]
pub(super) struct StatisticsCache {
    entries: Mutex<HashMap<String, Statistic>>,
}

impl StatisticsCache {
    fn get_or_compute(
        &self,
        key: String,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        // The lock is not held while computing: another thread may need it to finish this very
        // computation. Two threads that miss at once compute the same value.
        let entries = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries().get(&key).cloned();
        match found {
            Some(statistic) => Ok(statistic),
            None => {
                let statistic = compute()?;
                Ok(entries().entry(key).or_insert(statistic).clone())
            }
        }
    }
}

/// The operands of one output tensor, and where their anomalies go.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'p> {
    pub(super) base: Option<&'p Operand>,
    pub(super) inputs: &'p [Operand],
    /// Index of the output tensor in the plan.
    pub(super) index: usize,
    pub(super) anomalies: &'p Anomalies,
}

impl<'p> Inputs<'p> {
    /// The base, when there is one, and the inputs.
    pub(super) fn operands(&self) -> impl Iterator<Item = &'p Operand> + use<'p> {
        self.base.into_iter().chain(self.inputs)
    }

    pub(super) fn n_operands(&self) -> usize {
        self.inputs.len() + usize::from(self.base.is_some())
    }

    /// The operand at `position`, the base being the first.
    fn operand(&self, position: usize) -> &'p Operand {
        match (self.base, position) {
            (Some(base), 0) => base,
            (Some(_), _) => &self.inputs[position - 1],
            (None, _) => &self.inputs[position],
        }
    }

    /// Reads `length` elements, from element `start` on, of the operands at `positions`. All of them
    /// should be finite numbers.
    pub(super) fn read(
        &self,
        positions: impl Iterator<Item = usize>,
        start: usize,
        length: usize,
        buffers: &mut OperandBuffers,
    ) -> Result<(), EngineError> {
        for (index, position) in positions.enumerate() {
            let operand = self.operand(position);
            let stored = buffers.stored(index, length * operand.dtype.size());
            operand.source.copy_bytes(&operand.tensor, start, stored)?;
            if let Some(index) = first_not_finite(operand.dtype, stored) {
                self.meet_not_finite(position, operand, start, stored, index)?;
            }
        }
        Ok(())
    }

    /// Calls `work` with the values of elements `part` of what was [`read`](Self::read), with the same
    /// positions, from element `start` on.
    pub(super) fn with_block<T>(
        &self,
        positions: impl Iterator<Item = usize>,
        start: usize,
        part: Range<usize>,
        buffers: &mut OperandBuffers,
        work: impl FnOnce(&Chunk<'_>) -> T,
    ) -> Result<T, EngineError> {
        let first = start + part.start;
        let mut n_operands = 0;
        for (index, position) in positions.enumerate() {
            let operand = self.operand(position);
            let (stored, values) = buffers.block(index, &part, operand.dtype.size());
            self.load(position, operand, first, stored, values)?;
            n_operands = index + 1;
        }
        Ok(with_slices(&buffers.values[..n_operands], part.len(), |slices| {
            let (base, inputs) = match self.base {
                Some(_) => (Some(slices[0]), &slices[1..]),
                None => (None, slices),
            };
            work(&Chunk { start: first, base, inputs })
        }))
    }

    /// Notes that element `index` of `stored` is no finite number.
    pub(super) fn meet_not_finite(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        stored: &[u8],
        index: usize,
    ) -> Result<(), EngineError> {
        let size = operand.dtype.size();
        let mut value = [0.0];
        widen(operand.dtype, &stored[index * size..][..size], &mut value);
        let anomaly = Anomaly::NotFinite {
            model: operand.model.label(),
            tensor: operand.tensor.clone(),
            element: start + index,
            value: value[0],
        };
        Ok(self.anomalies.meet(self.index, position, anomaly)?)
    }

    /// Widens stored bytes of the operand at `position`, from element `start` on, and rounds them to
    /// the type that it is computed in.
    pub(super) fn load(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        stored: &[u8],
        values: &mut [f32],
    ) -> Result<(), EngineError> {
        widen(operand.dtype, stored, values);
        if operand.loaded_as == operand.dtype {
            return Ok(());
        }
        if let Some(index) = first_overflow(operand.loaded_as, values) {
            let anomaly = Anomaly::LoadOverflow {
                model: operand.model.label(),
                tensor: operand.tensor.clone(),
                element: start + index,
                value: values[index],
                dtype: operand.loaded_as,
            };
            self.anomalies.meet(self.index, position, anomaly)?;
        }
        round_to(operand.loaded_as, values);
        Ok(())
    }
}

/// The inputs as the statistics pass reads them.
pub(super) struct Reader<'p> {
    inputs: Inputs<'p>,
    cache: &'p StatisticsCache,
    /// Names the inputs, so that statistics of others are not mistaken for theirs.
    identity: String,
}

impl<'p> Reader<'p> {
    /// `elements` of every input take part.
    pub(super) fn new(inputs: Inputs<'p>, elements: usize, cache: &'p StatisticsCache) -> Self {
        let mut identity = elements.to_string();
        for (position, operand) in inputs.operands().enumerate() {
            let role = if position == 0 && inputs.base.is_some() { 'b' } else { 'i' };
            let (id, loaded_as) = (operand.model.id(), operand.loaded_as);
            let alignment = operand.alignment.unwrap_or_default();
            write!(identity, "\0{role}{id}:{loaded_as}:{alignment:x}:{}", operand.tensor)
                .expect("writing to a string does not fail");
        }
        Self { inputs, cache, identity }
    }
}

impl ReadInput for Reader<'_> {
    fn visit(
        &self,
        which: &[usize],
        elements: Range<usize>,
        block: usize,
        visit: &mut dyn FnMut(&Chunk<'_>),
    ) -> Result<(), MethodError> {
        thread_local! {
            static BUFFERS: Cell<OperandBuffers> = Cell::default();
        }
        let offset = usize::from(self.inputs.base.is_some());
        let positions = (0..offset).chain(which.iter().map(|index| index + offset));
        let (start, length) = (elements.start, elements.len());
        let mut buffers = BUFFERS.take();
        self.inputs.read(positions.clone(), start, length, &mut buffers).map_err(wrap)?;
        for first in (0..length).step_by(block.max(1)) {
            let part = first..length.min(first + block);
            self.inputs
                .with_block(positions.clone(), start, part, &mut buffers, &mut *visit)
                .map_err(wrap)?;
        }
        BUFFERS.set(buffers);
        Ok(())
    }

    fn remember(
        &self,
        key: &str,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        self.cache.get_or_compute(format!("{}\0{key}", self.identity), compute)
    }
}

/// Memory for a stretch of some operands.
#[derive(Default)]
pub(super) struct OperandBuffers {
    /// Bytes as stored.
    stored: Vec<Buffer<u8>>,
    /// Values of a block of them.
    values: Vec<Buffer<f32>>,
}

impl OperandBuffers {
    /// Room for `length` stored bytes of the operand at `index`.
    pub(super) fn stored(&mut self, index: usize, length: usize) -> &mut [u8] {
        if self.stored.len() <= index {
            self.stored.resize_with(index + 1, Buffer::default);
            self.values.resize_with(index + 1, Buffer::default);
        }
        self.stored[index].room(length)
    }

    /// The stored bytes of elements `part`, of `size` bytes each, and room for their values.
    fn block(&mut self, index: usize, part: &Range<usize>, size: usize) -> (&[u8], &mut [f32]) {
        let stored = &self.stored[index].filled(part.end * size)[part.start * size..];
        (stored, self.values[index].room(part.len()))
    }
}

/// Calls `work` with the first `length` elements of the buffers, without allocating for the usual
/// number of models.
fn with_slices<T>(buffers: &[Buffer<f32>], length: usize, work: impl FnOnce(&[&[f32]]) -> T) -> T {
    const USUAL: usize = 16;
    if buffers.len() > USUAL {
        let slices: Vec<&[f32]> = buffers.iter().map(|buffer| buffer.filled(length)).collect();
        return work(&slices);
    }
    let mut slices = [[].as_slice(); USUAL];
    for (slice, buffer) in slices.iter_mut().zip(buffers) {
        *slice = buffer.filled(length);
    }
    work(&slices[..buffers.len()])
}

fn wrap(error: EngineError) -> MethodError {
    MethodError::Read(Box::new(error))
}

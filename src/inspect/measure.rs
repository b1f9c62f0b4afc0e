//! Reading tensors block by block, on all threads.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Accumulate, InspectError, Model, ModelTensor};
use crate::kernels::dtype::DType;

/// Elements per block: large enough for fast reads, small enough for the second-level cache. Part of
/// the result: sums are accumulated block by block.
const BLOCK: usize = 1 << 16;

/// How models are measured.
#[derive(Debug, Clone, Default)]
pub struct MeasureOptions {
    /// Threads; as many as the machine has cores when not given. Changes speed, never the result.
    pub threads: Option<usize>,
    /// Once it is true, measuring stops with [`InspectError::Interrupted`].
    pub cancelled: Arc<AtomicBool>,
}

impl MeasureOptions {
    pub(super) fn pool(&self) -> Result<ThreadPool, InspectError> {
        let name = |index| format!("inspect-{index}");
        let threads = self.threads.unwrap_or(0);
        Ok(ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()?)
    }
}

/// A tensor to be read.
#[derive(Clone, Copy)]
pub(super) struct Operand<'m> {
    model: &'m Model,
    name: &'m str,
    pub(super) dtype: DType,
}

impl<'m> Operand<'m> {
    pub(super) fn new(model: &'m Model, tensor: &'m ModelTensor) -> Self {
        Self { model, name: &tensor.stored, dtype: model.info(tensor).dtype }
    }

    fn read(&self, start: usize, length: usize, out: &mut Vec<f32>) -> Result<(), InspectError> {
        out.resize(length, 0.0);
        Ok(self.model.source().read_into(self.name, start, out)?)
    }

    /// Reads into doubles, which hold every `f64` and all whole numbers up to 2⁵³.
    fn read_wide(
        &self,
        start: usize,
        length: usize,
        buffers: &mut (Vec<u8>, Vec<f32>),
        out: &mut Vec<f64>,
    ) -> Result<(), InspectError> {
        let (bytes, narrow) = buffers;
        out.clear();
        if !is_wide(self.dtype) {
            self.read(start, length, narrow)?;
            out.extend(narrow.iter().map(|&value| f64::from(value)));
            return Ok(());
        }
        bytes.resize(length * self.dtype.size(), 0);
        self.model.source().copy_bytes(self.name, start, bytes)?;
        match self.dtype {
            DType::F64 => out.extend(bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b))),
            DType::I64 => {
                out.extend(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64));
            }
            _ => {
                out.extend(bytes.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))));
            }
        }
        Ok(())
    }
}

/// Whether `f32` cannot hold the type's values.
fn is_wide(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::I64 | DType::I32)
}

/// Buffers of one thread.
#[derive(Default)]
struct Buffers {
    narrow: Vec<Vec<f32>>,
    wide: Vec<Vec<f64>>,
    raw: (Vec<u8>, Vec<f32>),
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Values of the same elements of several tensors.
pub(super) enum Block<'b> {
    /// As nearly all tensors are read.
    Narrow(&'b [Vec<f32>]),
    /// When one of the tensors needs it.
    Wide(&'b [Vec<f64>]),
}

/// Adds what `visit` says about every block of `operands`, which have `elements` elements each, in
/// block order. `progress` is told how many more bytes have been read.
pub(super) fn measure<T: Accumulate + Send>(
    operands: &[Operand<'_>],
    elements: usize,
    options: &MeasureOptions,
    progress: &(dyn Fn(u64) + Sync),
    visit: impl Fn(Block<'_>) -> T + Sync,
) -> Result<T, InspectError> {
    let wide = operands.iter().any(|operand| is_wide(operand.dtype));
    let element_bytes: usize = operands.iter().map(|operand| operand.dtype.size()).sum();
    // What an adapter adds is loaded once for all blocks.
    let held = operands.iter().map(|operand| operand.model.source().hold(operand.name));
    let _held = held.collect::<Result<Vec<_>, _>>()?;
    let blocks = (0..elements.div_ceil(BLOCK)).into_par_iter().with_max_len(1).map(|index| {
        if options.cancelled.load(Ordering::Relaxed) {
            return Err(InspectError::Interrupted);
        }
        let start = index * BLOCK;
        let length = BLOCK.min(elements - start);
        let part = BUFFERS.with_borrow_mut(|buffers| {
            let Buffers { narrow, wide: doubles, raw } = buffers;
            if wide {
                doubles.resize(operands.len(), Vec::new());
                for (operand, out) in operands.iter().zip(doubles.iter_mut()) {
                    operand.read_wide(start, length, raw, out)?;
                }
                return Ok(visit(Block::Wide(doubles)));
            }
            narrow.resize(operands.len(), Vec::new());
            for (operand, out) in operands.iter().zip(narrow.iter_mut()) {
                operand.read(start, length, out)?;
            }
            Ok(visit(Block::Narrow(narrow)))
        });
        progress((length * element_bytes) as u64);
        part
    });
    let blocks: Vec<T> = blocks.collect::<Result<_, InspectError>>()?;
    let mut total = T::default();
    for block in &blocks {
        total.add(block);
    }
    Ok(total)
}

//! Reading whole inputs block by block for the statistics pass.
//!
//! Blocks have a fixed size and partial results are combined in block order, so that statistics do
//! not depend on the number of threads or on the chunks of the apply pass. Memory: one block of each
//! input asked for, per thread.

use std::cell::Cell;

use rayon::prelude::*;

use super::{Chunk, MethodError, TensorInputs};

/// Elements per block of the statistics pass: the values of a few models stay in a core's second
/// cache.
pub const STATISTICS_BLOCK: usize = 1 << 14;

/// Buffers that one block is read into.
#[derive(Default)]
struct Block {
    base: Vec<f32>,
    inputs: Vec<Vec<f32>>,
}

thread_local! {
    /// A thread's buffers between two blocks.
    static BLOCK: Cell<Block> = Cell::default();
}

impl TensorInputs<'_> {
    /// Number of elements of every input.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of a row: of everything behind the first axis. A vector is one row.
    pub fn row_elements(&self) -> usize {
        match self.shape {
            [] => 1,
            [n] => *n,
            [_, rest @ ..] => rest.iter().product(),
        }
    }

    /// Calls `visit` with the base and the inputs `which` of every block, in parallel, and returns
    /// what it returned in block order. With `whole_rows` blocks end where rows end.
    pub fn map_blocks<T: Send>(
        &self,
        which: &[usize],
        whole_rows: bool,
        visit: impl Fn(&Chunk<'_>) -> T + Sync,
    ) -> Result<Vec<T>, MethodError> {
        let n = self.elements();
        let row = if whole_rows { self.row_elements().max(1) } else { 1 };
        let block = (STATISTICS_BLOCK / row).max(1) * row;
        (0..n.div_ceil(block))
            .into_par_iter()
            .map(|index| {
                let mut buffers = BLOCK.take();
                let start = index * block;
                let length = block.min(n - start);
                if self.has_base {
                    buffers.base.resize(length, 0.0);
                    self.reader.read_base(start, &mut buffers.base)?;
                }
                buffers.inputs.resize(which.len(), Vec::new());
                for (buffer, &input) in buffers.inputs.iter_mut().zip(which) {
                    buffer.resize(length, 0.0);
                    self.reader.read(input, start, buffer)?;
                }
                let inputs: Vec<&[f32]> = buffers.inputs.iter().map(Vec::as_slice).collect();
                let base = self.has_base.then_some(buffers.base.as_slice());
                let result = visit(&Chunk { start, base, inputs: &inputs });
                BLOCK.set(buffers);
                Ok(result)
            })
            .collect()
    }

    /// Adds what `visit` returns for every block of the inputs `which`.
    pub fn sum<const N: usize>(
        &self,
        which: &[usize],
        whole_rows: bool,
        visit: impl Fn(&Chunk<'_>) -> [f64; N] + Sync,
    ) -> Result<[f64; N], MethodError> {
        let mut total = [0.0; N];
        for block in self.map_blocks(which, whole_rows, visit)? {
            for (total, part) in total.iter_mut().zip(block) {
                *total += part;
            }
        }
        Ok(total)
    }
}

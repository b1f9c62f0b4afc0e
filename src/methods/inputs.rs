//! Reading whole inputs block by block for the statistics pass.
//!
//! Blocks have a fixed size and partial results are combined in block order, so that statistics do
//! not depend on the number of threads or on the chunks of the apply pass. Memory: a few blocks of each
//! input asked for as stored, and the values of one, per thread.

use std::ops::Range;

use rayon::prelude::*;

use super::{Chunk, MethodError, TensorInputs};

/// Elements per block of the statistics pass: the values of a few models stay in a core's second
/// cache.
pub const STATISTICS_BLOCK: usize = 1 << 14;

/// Blocks that are read at once, so that system calls are worth it.
pub(crate) const BLOCKS_READ: usize = 4;

/// Elements of a row of a tensor of this shape: of everything behind the first axis. A vector is one row.
pub(crate) fn row_elements(shape: &[usize]) -> usize {
    match shape {
        [] => 1,
        [n] => *n,
        [_, rest @ ..] => rest.iter().product(),
    }
}

impl TensorInputs<'_> {
    /// Number of elements of every input.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of a row: of everything behind the first axis. A vector is one row.
    pub fn row_elements(&self) -> usize {
        row_elements(self.shape)
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
        let read = BLOCKS_READ * block;
        let mapped: Result<Vec<Vec<T>>, _> = (0..n.div_ceil(read))
            .into_par_iter()
            .map(|index| {
                let elements = index * read..n.min((index + 1) * read);
                let mut mapped = Vec::with_capacity(BLOCKS_READ);
                self.reader
                    .visit(which, elements, block, &mut |chunk| mapped.push(visit(chunk)))?;
                Ok(mapped)
            })
            .collect();
        Ok(mapped?.into_iter().flatten().collect())
    }

    /// Calls `visit` with `elements` of the base and the inputs `which`.
    pub(super) fn with_chunk<T>(
        &self,
        which: &[usize],
        elements: Range<usize>,
        visit: impl FnOnce(&Chunk<'_>) -> T,
    ) -> Result<T, MethodError> {
        let (mut visit, mut result) = (Some(visit), None);
        let block = elements.len();
        self.reader.visit(which, elements, block, &mut |chunk| {
            result = visit.take().map(|visit| visit(chunk));
        })?;
        Ok(result.expect("the elements are one block"))
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

//! Rows of matrices that stay in their files.
//!
//! Rows are read when they are needed, in blocks, each thread into a buffer of its own: what is held of a
//! matrix does not depend on its size.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::checkpoint::TensorSource;
use crate::kernels::dtype::{DType, first_beyond};
use crate::plan::InputModel;

use super::work::Work;
use super::{SurgeonError, product};

/// Rows of a block. Many enough that products of blocks are as fast as they get, few enough that a
/// block of every thread fits into a few megabytes.
pub(super) const BLOCK: usize = 256;

/// A matrix `[rows, width]` of a model.
#[derive(Clone)]
pub(super) struct Matrix {
    model: String,
    source: Arc<dyn TensorSource>,
    /// The name in the checkpoint.
    name: String,
    rows: usize,
    width: usize,
    dtype: DType,
    /// What reading needs when the tensor is computed while it is read.
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Matrix {
    /// The tensor called `name` in the checkpoint of `model`, which is not empty.
    pub(super) fn open(model: &InputModel, name: &str) -> Result<Self, SurgeonError> {
        let info = &model.checkpoint.tensors()[name];
        let [rows, width] = info.shape[..] else { return Err(not_a_matrix(model, name)) };
        if !info.dtype.is_float() {
            return Err(not_a_matrix(model, name));
        }
        Ok(Self {
            model: model.label(),
            source: Arc::clone(&model.checkpoint),
            name: name.to_owned(),
            rows,
            width,
            dtype: info.dtype,
            _held: model.checkpoint.hold(name)?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// All rows in their order.
    pub(super) fn all(&self) -> Rows {
        Rows::new(self.clone(), (0..self.rows as u32).collect())
    }
}

/// What is wrong with a tensor that should be a matrix with a row for each token.
pub(super) fn not_a_matrix(model: &InputModel, name: &str) -> SurgeonError {
    let info = &model.checkpoint.tensors()[name];
    SurgeonError::NotAMatrix {
        model: model.label(),
        tensor: name.to_owned(),
        dtype: info.dtype,
        shape: info.shape.clone(),
    }
}

/// Some rows of a matrix, in an order of their own, as `f32`.
#[derive(Clone)]
pub(super) struct Rows {
    matrix: Matrix,
    ids: Vec<u32>,
    /// What is subtracted from each.
    center: Option<Vec<f32>>,
}

thread_local! {
    /// Where a thread keeps the block that it works on.
    static BUFFER: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Rows {
    pub(super) fn new(matrix: Matrix, ids: Vec<u32>) -> Self {
        Self { matrix, ids, center: None }
    }

    /// The same rows with `center` subtracted from each.
    pub(super) fn centered(self, center: Vec<f32>) -> Self {
        Self { center: Some(center), ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Columns.
    pub(super) fn width(&self) -> usize {
        self.matrix.width
    }

    pub(super) fn tensor(&self) -> &str {
        &self.matrix.name
    }

    /// Reads rows `start ..`, as many as `out` holds. A value that is not finite is an error, since
    /// everything that is computed from it would be none either.
    pub(super) fn read(&self, start: usize, out: &mut [f32]) -> Result<(), SurgeonError> {
        let Matrix { source, name, width, .. } = &self.matrix;
        let ids = &self.ids[start..][..out.len() / width];
        let mut rest = &mut *out;
        for run in ids.chunk_by(|a, b| a + 1 == *b) {
            let (part, behind) = rest.split_at_mut(run.len() * width);
            source.read_into(name, run[0] as usize * width, part)?;
            rest = behind;
        }
        if let Some(place) = first_beyond(DType::F32, out) {
            return Err(SurgeonError::NotFinite {
                model: self.matrix.model.clone(),
                tensor: name.clone(),
                row: ids[place / width] as usize,
            });
        }
        if let Some(center) = &self.center {
            for row in out.chunks_exact_mut(*width) {
                row.iter_mut().zip(center).for_each(|(value, mean)| *value -= mean);
            }
        }
        Ok(())
    }

    /// Reads the rows at `places`, one after the other, into `out`.
    pub(super) fn gather(&self, places: &[u32], out: &mut Vec<f32>) -> Result<(), SurgeonError> {
        out.resize(places.len() * self.width(), 0.0);
        let rows = out.chunks_exact_mut(self.width());
        places.iter().zip(rows).try_for_each(|(&place, row)| self.read(place as usize, row))
    }

    /// Reads the rows of `range` on all threads.
    pub(super) fn read_range(&self, range: Range<usize>) -> Result<Vec<f32>, SurgeonError> {
        let width = self.width();
        let mut values = vec![0.0; range.len() * width];
        let parts = values.par_chunks_mut(BLOCK / 8 * width).enumerate();
        parts.try_for_each(|(part, out)| self.read(range.start + part * (BLOCK / 8), out))?;
        Ok(values)
    }

    /// Calls `visit` with the first row's place and the values of each block of the first `n` rows, on
    /// all threads, and returns the results in order.
    pub(super) fn for_blocks<T: Send>(
        &self,
        n: usize,
        work: &Work<'_>,
        visit: impl Fn(usize, &[f32]) -> Result<T, SurgeonError> + Sync,
    ) -> Result<Vec<T>, SurgeonError> {
        let blocks = (0..n.div_ceil(BLOCK)).into_par_iter().with_max_len(1);
        let visited = blocks.map(|block| {
            work.check_cancelled()?;
            let start = block * BLOCK;
            let mut buffer = BUFFER.take();
            buffer.resize(BLOCK * self.width(), 0.0);
            let values = &mut buffer[..BLOCK.min(n - start) * self.width()];
            let result = self.read(start, values).and_then(|()| visit(start, values));
            BUFFER.set(buffer);
            result
        });
        visited.collect()
    }

    /// Calls `visit` with the first row's place and the products `[targets, rows of the block]` of
    /// `targets` with the rows of each block of the first `n`, on all threads, and returns the results in
    /// order.
    pub(super) fn for_products<T: Send>(
        &self,
        targets: &[f32],
        n: usize,
        work: &Work<'_>,
        visit: impl Fn(usize, &[f32], Vec<f32>) -> Result<T, SurgeonError> + Sync,
    ) -> Result<Vec<T>, SurgeonError> {
        let width = self.width();
        self.for_blocks(n, work, |start, block| {
            let mut products = vec![0.0; targets.len() / width * (block.len() / width)];
            product::with_transposed(&mut products, targets, block, width);
            visit(start, block, products)
        })
    }

    /// The mean of all rows, summed in `f64` and in order.
    pub(super) fn mean(&self, work: &Work<'_>) -> Result<Vec<f32>, SurgeonError> {
        let width = self.width();
        let sums = self.for_blocks(self.len(), work, |_, block| {
            let mut sum = vec![0.0f64; width];
            for row in block.chunks_exact(width) {
                sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            Ok(sum)
        })?;
        let mut total = vec![0.0f64; width];
        for sum in &sums {
            total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
        }
        Ok(total.iter().map(|sum| (sum / self.len().max(1) as f64) as f32).collect())
    }
}

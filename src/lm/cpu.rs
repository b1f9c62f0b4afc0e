//! Decoders in main memory: loops over slices, and matrix products.
//!
//! Each row's arithmetic is the same, bit for bit, whatever other rows there are and however many
//! threads. For small models one tensor operation of a library costs more than the arithmetic in it,
//! which is why activations are slices here.

mod attention;
mod kv;
mod matrix;
mod product;
mod small;
mod tiles;
mod values;
mod vector;

use std::borrow::Cow;
use std::ops::{Deref, Range};

use super::backend::{
    Attention, Backend, Columns, Habits, KvWidths, NormWeights, Projection, RowSummary,
};
use super::config::Activation;
use super::error::LmError;
use super::layout::{Pass, Query};
use super::rotary::RotaryTable;
use super::storage::StoredTensor;
use attention::Keep;
use kv::KvStore;
use matrix::{Matrix, Vector};
use product::Output;
use vector::{Activate, Limit, Loop, Normalize, Summarize, add_to_rows, run_widened};

/// The processor's share of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    /// Threads of the current rayon pool that one product may use.
    threads: usize,
}

/// `[rows, width]`.
#[derive(Debug, Default)]
pub(super) struct Rows {
    values: Vec<f32>,
    width: usize,
}

impl Rows {
    fn clear(&mut self, width: usize) {
        self.values.clear();
        self.width = width;
    }

    fn count(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }
}

impl Backend for Cpu {
    type Matrix = Matrix;
    type Vector = Vector;
    type Rows = Rows;
    type Store = KvStore;

    // Measured with models 128 to 1024 wide: fewer rows slow products down, more gain little and
    // leave the cache in small models. A few hundred prompts should occupy several threads.
    const HABITS: Habits =
        Habits { batch_rows: 256, logits: 1 << 20, sequences: 64, passes: usize::MAX };

    fn share(&self, passes: usize) -> Self {
        Self { threads: rayon::current_num_threads().div_ceil(passes.max(1)) }
    }

    fn matrix(&self, tensor: StoredTensor, transposed: bool) -> Result<Matrix, LmError> {
        Matrix::new(tensor, transposed)
    }

    fn outputs(matrix: &Matrix, outputs: Range<usize>) -> Result<Matrix, LmError> {
        matrix.part(outputs)
    }

    fn vector(&self, tensor: StoredTensor) -> Result<Vector, LmError> {
        Vector::new(tensor)
    }

    fn elements(vector: &Vector, elements: Range<usize>) -> Result<Vector, LmError> {
        vector.part(elements)
    }

    fn embed(
        &self,
        out: &mut Rows,
        table: &Matrix,
        indices: &[usize],
        scale: f32,
    ) -> Result<(), LmError> {
        out.clear(table.inputs());
        out.values.resize(indices.len() * out.width, 0.0);
        for (index, row) in indices.iter().zip(out.values.chunks_exact_mut(out.width)) {
            table.row(*index, row);
        }
        if scale != 1.0 {
            run_widened(Limit { values: &mut out.values, scale, soft_cap: None });
        }
        Ok(())
    }

    fn copy(&self, out: &mut Rows, rows: &Rows) -> Result<(), LmError> {
        out.clear(rows.width);
        out.values.extend_from_slice(&rows.values);
        Ok(())
    }

    fn zeros(&self, out: &mut Rows, rows: &Rows) -> Result<(), LmError> {
        out.clear(rows.width);
        out.values.resize(rows.values.len(), 0.0);
        Ok(())
    }

    fn gather(&self, out: &mut Rows, rows: &Rows, indices: &[usize]) -> Result<(), LmError> {
        out.clear(rows.width);
        for index in indices {
            out.values.extend_from_slice(rows.row(*index));
        }
        Ok(())
    }

    fn columns(&self, out: &mut Rows, sources: &[&Rows], runs: &[Columns]) -> Result<(), LmError> {
        out.clear(runs.iter().map(|run| run.count).sum());
        let rows = sources.first().map_or(0, |source| source.count());
        out.values.reserve(rows * out.width);
        for row in 0..rows {
            for Columns { source, start, count } in runs {
                let source = sources[*source].row(row);
                out.values.extend_from_slice(&source[*start..start + count]);
            }
        }
        Ok(())
    }

    fn normalize(
        &self,
        rows: &mut Rows,
        norm: &NormWeights<Vector>,
        width: usize,
    ) -> Result<(), LmError> {
        let weight = norm.weight.as_ref().map(Vector::elements);
        let bias = norm.bias.as_ref().map(Vector::elements);
        run_widened(Normalize {
            rows: &mut rows.values,
            norm: norm.norm,
            weight: weight.as_deref().unwrap_or(&[]),
            bias: bias.as_deref().unwrap_or(&[]),
            width,
        });
        Ok(())
    }

    fn normalize_rows(&self, rows: &mut Rows, norm: &NormWeights<Vector>) -> Result<(), LmError> {
        let width = rows.width;
        if width == 0 { Ok(()) } else { self.normalize(rows, norm, width) }
    }

    fn project(
        &self,
        out: &mut Rows,
        rows: &Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError> {
        out.width = projection.weight.outputs();
        out.values.resize(rows.count() * out.width, 0.0);
        self.product(out, rows, projection, Output::Replace);
        Ok(())
    }

    fn add_projected(
        &self,
        sum: &mut Rows,
        rows: &Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError> {
        self.product(sum, rows, projection, Output::Add);
        Ok(())
    }

    fn add(&self, sum: &mut Rows, rows: &Rows, scale: f32) -> Result<(), LmError> {
        for (sum, value) in sum.values.iter_mut().zip(&rows.values) {
            *sum += scale * value;
        }
        Ok(())
    }

    fn add_at(
        &self,
        sum: &mut Rows,
        rows: &Rows,
        indices: &[usize],
        factors: &[f32],
    ) -> Result<(), LmError> {
        let width = sum.width;
        for (row, (index, factor)) in indices.iter().zip(factors).enumerate() {
            let sum = &mut sum.values[index * width..(index + 1) * width];
            for (sum, value) in sum.iter_mut().zip(rows.row(row)) {
                *sum += factor * value;
            }
        }
        Ok(())
    }

    fn activate(
        &self,
        rows: &mut Rows,
        up: Option<&Rows>,
        activation: Activation,
    ) -> Result<(), LmError> {
        let up = up.map_or(&[][..], |up| &up.values);
        run_widened(Activate { values: &mut rows.values, up, activation });
        Ok(())
    }

    fn clamp(&self, rows: &mut Rows, limit: f32) -> Result<(), LmError> {
        // Not a number stays so.
        rows.values.iter_mut().for_each(|value| *value = value.clamp(-limit, limit));
        Ok(())
    }

    fn turn(
        &self,
        rows: &mut Rows,
        head_dim: usize,
        offset: usize,
        table: &RotaryTable,
        positions: &[usize],
    ) -> Result<(), LmError> {
        run_widened(Turn { rows, head_dim, offset, table, positions });
        Ok(())
    }

    fn store(&self, widths: Vec<KvWidths>) -> KvStore {
        KvStore::new(widths)
    }

    fn grow(&self, store: &mut KvStore, positions: usize) -> Result<(), LmError> {
        store.grow(positions);
        Ok(())
    }

    fn keep(
        &self,
        store: &mut KvStore,
        layer: usize,
        keys: &Rows,
        values: &Rows,
        queries: &[Query],
        pass: &Pass<'_, KvStore>,
    ) -> Result<(), LmError> {
        let (keys, values) = (&keys.values, &values.values);
        run_widened(Keep { keys, values, queries, segments: pass.segments, layer, store });
        Ok(())
    }

    fn attend(
        &self,
        out: &mut Rows,
        queries: &Rows,
        attention: &Attention<'_, KvStore>,
    ) -> Result<(), LmError> {
        out.width = attention.config.result_width();
        out.values.resize(attention.queries.len() * out.width, 0.0);
        attention::attend(attention, &queries.values, &mut out.values, self.threads);
        Ok(())
    }

    fn limit(&self, rows: &mut Rows, scale: f32, soft_cap: Option<f32>) -> Result<(), LmError> {
        run_widened(Limit { values: &mut rows.values, scale, soft_cap });
        Ok(())
    }

    fn summarize(&self, logits: &Rows) -> Result<Vec<RowSummary>, LmError> {
        let rows = logits.values.chunks_exact(logits.width.max(1));
        Ok(rows.map(|row| run_widened(Summarize(row))).collect())
    }

    fn pick(&self, logits: &Rows, wanted: &[(usize, u32)]) -> Result<Vec<f32>, LmError> {
        Ok(wanted.iter().map(|(row, token)| logits.row(*row)[*token as usize]).collect())
    }

    fn to_host<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, LmError> {
        Ok(Cow::Borrowed(&rows.values))
    }

    fn vector_to_host(&self, vector: &Vector) -> Result<Vec<f32>, LmError> {
        Ok(vector.elements().deref().to_vec())
    }
}

impl Cpu {
    /// A processor with nothing else to do.
    pub(super) fn new() -> Self {
        Self { threads: 1 }
    }

    fn product(&self, out: &mut Rows, rows: &Rows, projection: &Projection<Self>, mode: Output) {
        projection.weight.multiply(&mut out.values, &rows.values, mode, self.threads);
        if let Some(bias) = &projection.bias {
            add_to_rows(&mut out.values, &bias.elements());
        }
    }
}

/// Turns heads by their positions.
struct Turn<'a> {
    rows: &'a mut Rows,
    head_dim: usize,
    offset: usize,
    table: &'a RotaryTable,
    positions: &'a [usize],
}

impl Loop for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, head_dim, offset, table, positions } = self;
        let width = rows.width.max(1);
        for (row, position) in rows.values.chunks_exact_mut(width).zip(positions) {
            table.turn(row, head_dim, offset, *position);
        }
    }
}

//! What a LoRA layer adds to a weight: the product of two thin matrices.
//!
//! For a weight of `rows × cols`, as stored, the product is `scale · left · right` with `left` of
//! `rows × rank` and `right` of `rank × cols`. Every element is summed over the rank in the same order,
//! whatever part of the weight is asked for.

use crate::checkpoint::{CheckpointError, TensorSource};
use crate::kernels::simd::vectorized;

/// Elements that are computed at a time; three rows of `right` this long and their sum fit a core's
/// first cache.
pub(super) const PIECE: usize = 1 << 11;

/// Which of the stored matrices is which factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The weight is `[out, in]`: `left` is B and `right` is A.
    Plain,
    /// The weight is `[in, out]`: `left` is A transposed and `right` is B transposed.
    Transposed,
}

/// A product as an adapter stores it.
#[derive(Debug)]
pub(super) struct Product {
    /// Name of the matrix `[rank, in]`.
    pub(super) a: String,
    /// Name of the matrix `[out, rank]`.
    pub(super) b: String,
    pub(super) layout: Layout,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// Name of the norms that DoRA gives the outputs: the rows of a plain layout, else the columns.
    pub(super) magnitude: Option<String>,
}

/// A product, loaded.
#[derive(Debug)]
pub(super) struct Factors {
    /// `rows × rank`.
    left: Vec<f32>,
    /// `rank × cols`.
    right: Vec<f32>,
    cols: usize,
    rank: usize,
    scale: f32,
}

impl Product {
    /// Bytes that [`Factors`] take. Twice their size: transposing makes copies, and the allocator keeps
    /// what the tensor before had until room of another size fits in.
    pub(super) fn memory(&self) -> u64 {
        let elements = self.rank.saturating_mul(self.rows.saturating_add(self.cols));
        8u64.saturating_mul(elements as u64)
    }

    /// Reads both matrices from `adapter`.
    pub(super) fn load(&self, adapter: &dyn TensorSource) -> Result<Factors, CheckpointError> {
        let read = |name: &str, elements: usize| {
            let mut values = vec![0.0; elements];
            adapter.read_into(name, 0, &mut values)?;
            Ok(values)
        };
        let Self { rows, cols, rank, scale, .. } = *self;
        let (left, right) = match self.layout {
            Layout::Plain => (read(&self.b, rows * rank)?, read(&self.a, rank * cols)?),
            Layout::Transposed => (
                transpose(&read(&self.a, rank * rows)?, rank),
                transpose(&read(&self.b, cols * rank)?, cols),
            ),
        };
        Ok(Factors { left, right, cols, rank, scale })
    }
}

impl Factors {
    /// Adds elements `start .. start + values.len()` of the product, flattened row-major, to `values`.
    pub(super) fn add(&self, start: usize, values: &mut [f32]) {
        let mut sum = [0.0f32; PIECE];
        each_row(self.cols, start, values, |row, col, part| {
            let left = &self.left[row * self.rank..][..self.rank];
            let right = &self.right[col.min(self.right.len())..];
            let sum = &mut sum[..part.len()];
            sum.fill(0.0);
            vectorized(
                #[inline(always)]
                || {
                    combine(left, right, self.cols, sum);
                    for (value, sum) in part.iter_mut().zip(&*sum) {
                        *value += sum * self.scale;
                    }
                },
            );
        });
    }
}

/// Calls `work` with every part of `values` that lies in one row, at most a [`PIECE`], with its row and
/// its first column. `values` begin at element `start` of a matrix with `cols` columns.
pub(super) fn each_row(
    cols: usize,
    start: usize,
    values: &mut [f32],
    mut work: impl FnMut(usize, usize, &mut [f32]),
) {
    let mut place = start;
    let mut rest = values;
    while !rest.is_empty() {
        let (row, col) = (place / cols, place % cols);
        let length = rest.len().min(cols - col).min(PIECE);
        let (part, behind) = rest.split_at_mut(length);
        work(row, col, part);
        place += length;
        rest = behind;
    }
}

/// Adds the combination of rows with coefficients `left` to `sum`; rows begin `stride` apart. Four at
/// a time, since loading and storing sums takes longer than adding to them.
#[inline(always)]
fn combine(left: &[f32], rows: &[f32], stride: usize, sum: &mut [f32]) {
    let n = sum.len();
    let row = |k: usize| &rows[k * stride..][..n];
    let (fours, _) = left.as_chunks::<4>();
    for (index, [a, b, c, d]) in fours.iter().enumerate() {
        let k = 4 * index;
        let (row_a, row_b, row_c, row_d) = (row(k), row(k + 1), row(k + 2), row(k + 3));
        for i in 0..n {
            sum[i] = sum[i] + a * row_a[i] + b * row_b[i] + c * row_c[i] + d * row_d[i];
        }
    }
    for (k, a) in left.iter().enumerate().skip(4 * fours.len()) {
        for (sum, value) in sum.iter_mut().zip(row(k)) {
            *sum += a * value;
        }
    }
}

/// The transpose of a matrix of `rows` rows.
fn transpose(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows.max(1);
    let mut transposed = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(cols.max(1)).enumerate() {
        for (col, &value) in values.iter().enumerate() {
            transposed[col * rows + row] = value;
        }
    }
    transposed
}

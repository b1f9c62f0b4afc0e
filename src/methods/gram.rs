//! Inner products of the inputs of a tensor with each other: all that the spherical methods have to
//! know of them.
//!
//! slerp, nuslerp, multislerp, karcher and model_stock return linear combinations of their inputs, with
//! coefficients that depend on the inputs' lengths and angles only. The Gram matrix
//! `Gᵢⱼ = ⟨xᵢ, xⱼ⟩` holds these, takes one pass over the inputs, and is remembered. Lengths and inner
//! products of any combination follow from it: `⟨Σ aᵢxᵢ, Σ bⱼxⱼ⟩ = aᵀGb`.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::{MethodError, STATISTICS_BLOCK, TensorInputs, row_elements};
use crate::kernels::reduce::{
    add_column_products, exact_inner_products, inner_products, n_products, product_index,
};

/// What the vectors of a Gram matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    /// The base, if there is one, and the inputs.
    Models,
    /// The inputs' differences from the base, or the inputs where there is no base. The matrix
    /// is computed from differences, since those of fine-tuned models would be lost in rounding if
    /// they were derived from products of the models.
    TaskVectors,
}

/// Cosines that are nearer to ±1 cannot be told from it by products of limited precision.
pub(super) const NEARLY_COLLINEAR: f64 = 1e-7;

/// Means of directions that are shorter than this share of what they could be consist of differences:
/// they need [`Precision::Double`].
pub(super) const NEARLY_CANCELLED: f64 = 0.1;

/// How exact inner products are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// About that of `f32`, relative to the vectors' lengths, and as fast as vectors can be read.
    Single,
    /// That of `f64`, for vectors that cancel each other almost.
    Double,
}

/// Symmetric matrix of inner products.
#[derive(Debug, Clone)]
pub(super) struct Gram {
    n: usize,
    products: Vec<f64>,
}

impl Gram {
    /// Of `n` zero vectors.
    pub(super) fn zeros(n: usize) -> Self {
        Self { n, products: vec![0.0; n_products(n)] }
    }

    /// A matrix given as a function, for what depends on lengths and angles only.
    pub(super) fn from_fn(n: usize, mut product: impl FnMut(usize, usize) -> f64) -> Self {
        let mut gram = Self::zeros(n);
        for i in 0..n {
            for j in i..n {
                gram.products[product_index(n, i, j)] = product(i, j);
            }
        }
        gram
    }

    /// Of the elements `range` of vectors, relative to an origin if there is one.
    pub(super) fn measure(
        &mut self,
        origin: Option<&[f32]>,
        vectors: &[&[f32]],
        range: Range<usize>,
    ) {
        inner_products(origin, vectors, range, &mut self.products);
    }

    /// Number of vectors.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// ⟨xᵢ, xⱼ⟩.
    pub(super) fn product(&self, i: usize, j: usize) -> f64 {
        self.products[product_index(self.n, i, j)]
    }

    /// ‖xᵢ‖.
    pub(super) fn length(&self, i: usize) -> f64 {
        self.product(i, i).sqrt()
    }

    /// Whether all vectors are zero, or empty.
    pub(super) fn is_zero(&self) -> bool {
        (0..self.n()).all(|i| self.length(i) == 0.0)
    }

    /// ⟨xᵢ, Σ aⱼxⱼ⟩.
    pub(super) fn product_with(&self, i: usize, a: &[f64]) -> f64 {
        a.iter().enumerate().map(|(j, a)| a * self.product(i, j)).sum()
    }

    /// ‖Σ aᵢxᵢ‖² as far as it can be told: rounding may make a small one negative, which is 0 then.
    pub(super) fn squared_length_of(&self, a: &[f64]) -> f64 {
        let sum: f64 = a.iter().enumerate().map(|(i, ai)| ai * self.product_with(i, a)).sum();
        // Unlike `max`, this leaves NaN alone.
        if sum < 0.0 { 0.0 } else { sum }
    }
}

/// ⟨x, x⟩, ⟨x, y⟩ and ⟨y, y⟩ of every column of two matrices.
pub(super) struct ColumnProducts {
    columns: usize,
    /// One after the other.
    sums: Vec<f64>,
}

impl ColumnProducts {
    fn zeros(columns: usize) -> Self {
        Self { columns, sums: vec![0.0; 3 * columns] }
    }

    /// Most bytes that finding them takes for a tensor of this shape.
    pub(super) fn memory(shape: &[usize]) -> u64 {
        let n: usize = shape.iter().product();
        // Sums of every segment, and the total.
        let sums = 3 * row_elements(shape) * (n.div_ceil(segment(n)) + 1);
        (sums * size_of::<f64>()) as u64
    }

    fn parts(&mut self) -> [&mut [f64]; 3] {
        let (xx, rest) = self.sums.split_at_mut(self.columns);
        let (xy, yy) = rest.split_at_mut(self.columns);
        [xx, xy, yy]
    }

    /// The products of each column.
    pub(super) fn iter(&self) -> impl Iterator<Item = [f64; 3]> + '_ {
        let at = |column: usize, part: usize| self.sums[part * self.columns + column];
        (0..self.columns).map(move |column| [at(column, 0), at(column, 1), at(column, 2)])
    }
}

/// Runs of rows whose column sums are computed side by side. A fixed number, since
/// it decides about the order of additions; each needs memory for its sums.
const SEGMENTS: usize = 16;

/// Elements of a segment of a tensor of `n`.
fn segment(n: usize) -> usize {
    n.div_ceil(SEGMENTS).max(STATISTICS_BLOCK)
}

impl TensorInputs<'_> {
    /// The Gram matrix of all inputs: one pass, or none when it is remembered.
    pub(super) fn gram(&self, of: Vectors, precision: Precision) -> Result<Arc<Gram>, MethodError> {
        let key = format!("inner products {of:?} {precision:?}");
        let products = match precision {
            Precision::Single => inner_products,
            Precision::Double => exact_inner_products,
        };
        let with_base = of == Vectors::Models && self.has_base;
        let n = self.n_inputs + usize::from(with_base);
        let all: Vec<usize> = (0..self.n_inputs).collect();
        let statistic = self.reader.remember(&key, &mut || {
            let blocks = self.map_blocks(&all, false, |chunk| {
                let mut block = Gram::zeros(n);
                let range = 0..chunk.inputs.first().or(chunk.base.as_ref()).map_or(0, |x| x.len());
                if with_base {
                    let vectors: Vec<&[f32]> =
                        chunk.base.into_iter().chain(chunk.inputs.iter().copied()).collect();
                    products(None, &vectors, range, &mut block.products);
                } else {
                    products(chunk.base, chunk.inputs, range, &mut block.products);
                }
                block
            })?;
            let mut total = Gram::zeros(n);
            for block in blocks {
                for (total, part) in total.products.iter_mut().zip(block.products) {
                    *total += part;
                }
            }
            Ok(Arc::new(total))
        })?;
        Ok(statistic.downcast().expect("the key belongs to this type"))
    }

    /// Inner products of every column of the first two inputs, or of their task vectors: one pass, or
    /// none when they are remembered. Columns run along the first axis.
    pub(super) fn column_products(&self) -> Result<Arc<ColumnProducts>, MethodError> {
        let n = self.elements();
        let columns = self.row_elements();
        let statistic = self.reader.remember("inner products of columns", &mut || {
            let segment = segment(n);
            let segments: Vec<ColumnProducts> = (0..n.div_ceil(segment))
                .into_par_iter()
                .map(|index| {
                    let range = index * segment..n.min((index + 1) * segment);
                    self.column_products_of(range, columns)
                })
                .collect::<Result<_, MethodError>>()?;
            let mut total = ColumnProducts::zeros(columns);
            for segment in segments {
                for (total, part) in total.sums.iter_mut().zip(segment.sums) {
                    *total += part;
                }
            }
            Ok(Arc::new(total))
        })?;
        Ok(statistic.downcast().expect("the key belongs to this type"))
    }

    fn column_products_of(
        &self,
        range: Range<usize>,
        columns: usize,
    ) -> Result<ColumnProducts, MethodError> {
        let mut sums = ColumnProducts::zeros(columns);
        self.reader.visit(&[0, 1], range, STATISTICS_BLOCK, &mut |chunk| {
            let pair = [chunk.inputs[0], chunk.inputs[1]];
            add_column_products(chunk.base, pair, chunk.start, sums.parts());
        })?;
        Ok(sums)
    }
}

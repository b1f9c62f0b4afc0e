//! Decoders on candle's devices: every operation is one of tensors.
//!
//! Rows, weights, keys and values are tensors on one device, and stay there: what comes back to main
//! memory are the summaries of logits, the logits that are asked for, and what chooses experts. What
//! goes there are indices, once for each pass.
//!
//! Arithmetic is f32. Weights in 16 bits stay so on the device; a graphics card multiplies rows by them
//! in their type, adding in f32, whereas candle's processor widens them. Blocks of whole numbers are
//! widened to f32 for each product: rows rounded to 8 bits, which candle's own products with blocks
//! want, would change scores in their second decimal place.

mod attention;
mod choice;
mod memo;
mod plan;
mod rows;
mod store;
mod weight;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::backend::{
    Attention, Backend, Columns, Habits, KvWidths, NormWeights, Projection, RowSummary,
};
use super::config::{Activation, Norm};
use super::error::LmError;
use super::layout::{Pass, Query};
use super::rotary::RotaryTable;
use super::storage::StoredTensor;
use attention::Plan;
pub use choice::DeviceChoice;
use memo::Memo;
use plan::Question;
use rows::{Cosines, Rows};
use store::{Places, Store};
use weight::Matrix;

/// Scores that a graphics card has room for besides a model: 128 MiB, and a few times that while they
/// are computed.
const MOST_SCORES: usize = 1 << 25;

/// One of candle's devices.
#[derive(Debug, Clone)]
pub(super) struct OnDevice {
    device: Device,
    /// Whether rows are multiplied by weights of 16 bits in the weights' type.
    half_products: bool,
    /// Scores of attention that exist at once, in numbers, and elements of keys and values.
    most_scores: usize,
    memos: Arc<Memos>,
}

/// What layers of a pass have in common.
#[derive(Debug)]
struct Memos {
    /// Attention, by what it depends on.
    plans: Memo<Question, Arc<Plan>>,
    /// Places of keys and values, by their numbers.
    places: Memo<Vec<usize>, Places>,
    /// Cosines and sines, by their table and the positions of rows.
    turns: Memo<(u64, Vec<usize>), Cosines>,
    /// Columns that are laid side by side, by the widths of their sources.
    columns: Memo<(Vec<usize>, Vec<Columns>), Tensor>,
    /// Indices of so many columns, `[1, columns]`, f32.
    numbers: Memo<usize, Tensor>,
}

impl OnDevice {
    pub(super) fn new(device: Device) -> Self {
        let memos = Memos {
            plans: Memo::new(4),
            places: Memo::new(2),
            turns: Memo::new(8),
            columns: Memo::new(16),
            numbers: Memo::new(1),
        };
        Self {
            half_products: !device.is_cpu(),
            most_scores: MOST_SCORES,
            device,
            memos: Arc::new(memos),
        }
    }

    /// `rows · matrixᵀ`.
    fn product(&self, rows: &Tensor, matrix: &Matrix) -> Result<Tensor, LmError> {
        let weight = match matrix {
            Matrix::Floats(weight) => weight.clone(),
            Matrix::Blocks(blocks) => blocks.placed(&self.device)?.dequantize(&self.device)?,
        };
        Ok(match weight.dtype() {
            DType::F32 => rows.matmul(&weight.t()?)?,
            half if self.half_products => {
                rows.to_dtype(half)?.matmul(&weight.t()?)?.to_dtype(DType::F32)?
            }
            _ => rows.matmul(&weight.to_dtype(DType::F32)?.t()?)?,
        })
    }

    fn projected(&self, rows: &Tensor, projection: &Projection<Self>) -> Result<Tensor, LmError> {
        let product = self.product(rows, &projection.weight)?;
        Ok(match &projection.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        })
    }

    fn normalized(
        &self,
        rows: &Tensor,
        norm: &NormWeights<Tensor>,
        width: usize,
    ) -> Result<Tensor, LmError> {
        let weight = norm.weight.as_ref();
        let parts = weight.map_or(1, |weight| weight.elem_count() / width);
        let x = rows.reshape(((), parts, width))?;
        let scaled = |x: &Tensor, epsilon: f32| {
            let mean = (x.sqr()?.sum_keepdim(2)? / width as f64)?;
            x.broadcast_div(&(mean + f64::from(epsilon))?.sqrt()?)
        };
        let centred = |x: &Tensor| x.broadcast_sub(&(x.sum_keepdim(2)? / width as f64)?);
        let (mut x, offset) = match norm.norm {
            Norm::Rms { epsilon, offset } => (scaled(&x, epsilon)?, offset),
            Norm::Plain { epsilon } | Norm::Layer { epsilon, .. } => {
                (scaled(&centred(&x)?, epsilon)?, false)
            }
        };
        if let Some(weight) = weight {
            let weight = weight.reshape((parts, width))?;
            x = x.broadcast_mul(&if offset { (weight + 1.0)? } else { weight })?;
        }
        if let Some(bias) = &norm.bias {
            x = x.broadcast_add(&bias.reshape((parts, width))?)?;
        }
        Ok(x.reshape(rows.shape())?)
    }
}

/// Indices as a tensor.
fn index(indices: &[usize], device: &Device) -> Result<Tensor, LmError> {
    let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
    let count = indices.len();
    Ok(Tensor::from_vec(indices, count, device)?)
}

/// The first of consecutive numbers.
fn first_of_consecutive(indices: &[usize]) -> Option<usize> {
    let first = *indices.first()?;
    indices.iter().enumerate().all(|(step, index)| *index == first + step).then_some(first)
}

impl Backend for OnDevice {
    type Matrix = Matrix;
    type Vector = Tensor;
    type Rows = Rows;
    type Store = Store;

    // One pass occupies a graphics card, if it is large enough.
    const HABITS: Habits = Habits { batch_rows: 2048, logits: 1 << 26, sequences: 256, passes: 1 };

    fn share(&self, _passes: usize) -> Self {
        self.clone()
    }

    fn matrix(&self, tensor: StoredTensor, transposed: bool) -> Result<Matrix, LmError> {
        Matrix::new(tensor, transposed, &self.device)
    }

    fn outputs(matrix: &Matrix, outputs: Range<usize>) -> Result<Matrix, LmError> {
        matrix.part(outputs)
    }

    fn vector(&self, tensor: StoredTensor) -> Result<Tensor, LmError> {
        weight::vector(tensor, &self.device)
    }

    fn elements(vector: &Tensor, elements: Range<usize>) -> Result<Tensor, LmError> {
        Ok(vector.narrow(0, elements.start, elements.len())?)
    }

    fn embed(
        &self,
        out: &mut Rows,
        table: &Matrix,
        indices: &[usize],
        scale: f32,
    ) -> Result<(), LmError> {
        *out = Rows::default();
        if indices.is_empty() {
            return Ok(());
        }
        let indices = index(indices, &self.device)?;
        let rows = match table {
            Matrix::Floats(table) => table.index_select(&indices, 0)?.to_dtype(DType::F32)?,
            Matrix::Blocks(blocks) => blocks.placed(&self.device)?.embedding(&indices)?,
        };
        *out = Rows::new(if scale == 1.0 { rows } else { rows.affine(f64::from(scale), 0.0)? });
        Ok(())
    }

    fn copy(&self, out: &mut Rows, rows: &Rows) -> Result<(), LmError> {
        // A handle: no operation changes a tensor of rows in place.
        *out = rows.clone();
        Ok(())
    }

    fn zeros(&self, out: &mut Rows, rows: &Rows) -> Result<(), LmError> {
        rows.give(out, |rows| Ok(rows.zeros_like()?))
    }

    fn gather(&self, out: &mut Rows, rows: &Rows, indices: &[usize]) -> Result<(), LmError> {
        if indices.is_empty() {
            *out = Rows::default();
            return Ok(());
        }
        rows.give(out, |rows| match first_of_consecutive(indices) {
            Some(first) => Ok(rows.narrow(0, first, indices.len())?),
            None => Ok(rows.index_select(&index(indices, &self.device)?, 0)?),
        })
    }

    fn columns(&self, out: &mut Rows, sources: &[&Rows], runs: &[Columns]) -> Result<(), LmError> {
        *out = Rows::default();
        let sources: Vec<&Tensor> = sources.iter().filter_map(|source| source.tensor()).collect();
        let Some(first) = sources.first() else { return Ok(()) };
        if let [Columns { source, start, count }] = runs {
            *out = Rows::new(sources[*source].narrow(1, *start, *count)?.contiguous()?);
            return Ok(());
        }
        let widths = sources.iter().map(|source| source.dim(1)).collect::<Result<Vec<_>, _>>()?;
        let key = (widths, runs.to_vec());
        let chosen = self.memos.columns.get(key, |(widths, runs)| {
            let columns = runs.iter().flat_map(|run| {
                let before: usize = widths[..run.source].iter().sum();
                before + run.start..before + run.start + run.count
            });
            index(&columns.collect::<Vec<_>>(), &self.device)
        })?;
        let together = match sources.len() {
            1 => (*first).clone(),
            _ => Tensor::cat(&sources, 1)?,
        };
        *out = Rows::new(together.index_select(&chosen, 1)?);
        Ok(())
    }

    fn normalize(
        &self,
        rows: &mut Rows,
        norm: &NormWeights<Tensor>,
        width: usize,
    ) -> Result<(), LmError> {
        rows.change(|rows| self.normalized(rows, norm, width))
    }

    fn normalize_rows(&self, rows: &mut Rows, norm: &NormWeights<Tensor>) -> Result<(), LmError> {
        rows.change(|rows| self.normalized(rows, norm, rows.dim(1)?))
    }

    fn project(
        &self,
        out: &mut Rows,
        rows: &Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError> {
        rows.give(out, |rows| self.projected(rows, projection))
    }

    fn add_projected(
        &self,
        sum: &mut Rows,
        rows: &Rows,
        projection: &Projection<Self>,
    ) -> Result<(), LmError> {
        sum.combine(rows, |sum, rows| Ok((sum + self.projected(rows, projection)?)?))
    }

    fn add(&self, sum: &mut Rows, rows: &Rows, scale: f32) -> Result<(), LmError> {
        sum.combine(rows, |sum, rows| match scale {
            1.0 => Ok((sum + rows)?),
            _ => Ok((sum + rows.affine(f64::from(scale), 0.0)?)?),
        })
    }

    fn add_at(
        &self,
        sum: &mut Rows,
        rows: &Rows,
        indices: &[usize],
        factors: &[f32],
    ) -> Result<(), LmError> {
        sum.combine(rows, |sum, rows| {
            let factors = Tensor::from_slice(factors, (factors.len(), 1), &self.device)?;
            let indices = index(indices, &self.device)?;
            Ok(sum.index_add(&indices, &rows.broadcast_mul(&factors)?, 0)?)
        })
    }

    fn activate(
        &self,
        rows: &mut Rows,
        up: Option<&Rows>,
        activation: Activation,
    ) -> Result<(), LmError> {
        rows.change(|rows| {
            let active = match activation {
                Activation::Silu => rows.silu()?,
                Activation::Gelu => rows.gelu_erf()?,
                Activation::GeluTanh => rows.gelu()?,
                Activation::Relu => rows.relu()?,
                Activation::ReluSquared => rows.relu()?.sqr()?,
            };
            Ok(match up.and_then(Rows::tensor) {
                Some(up) => (active * up)?,
                None => active,
            })
        })
    }

    fn clamp(&self, rows: &mut Rows, limit: f32) -> Result<(), LmError> {
        rows.change(|rows| {
            // Not a number stays so.
            let clamped = rows.clamp(-limit, limit)?;
            Ok(rows.eq(rows)?.where_cond(&clamped, rows)?)
        })
    }

    fn turn(
        &self,
        rows: &mut Rows,
        head_dim: usize,
        offset: usize,
        table: &RotaryTable,
        positions: &[usize],
    ) -> Result<(), LmError> {
        rows.change(|rows| {
            let key = (table.id, positions.to_vec());
            let turns = self
                .memos
                .turns
                .get(key, |(_, positions)| Cosines::new(table, positions, &self.device))?;
            turns.turn(rows, head_dim, offset, table.pairing)
        })
    }

    fn store(&self, widths: Vec<KvWidths>) -> Store {
        Store::new(widths)
    }

    fn grow(&self, store: &mut Store, positions: usize) -> Result<(), LmError> {
        store.grow(positions, &self.device)
    }

    fn keep(
        &self,
        store: &mut Store,
        layer: usize,
        keys: &Rows,
        values: &Rows,
        queries: &[Query],
        pass: &Pass<'_, Store>,
    ) -> Result<(), LmError> {
        let (Some(keys), Some(values)) = (keys.tensor(), values.tensor()) else { return Ok(()) };
        let places = queries.iter().map(|query| {
            let segment = &pass.segments[query.segment];
            segment.block.offset + segment.held + query.index
        });
        let places = self.memos.places.get(places.collect(), |places| {
            Ok::<_, LmError>(match first_of_consecutive(places) {
                Some(first) => Places::From(first),
                None => Places::At(index(places, &self.device)?),
            })
        })?;
        store.layer(layer).write(keys, values, &places)
    }

    fn attend(
        &self,
        out: &mut Rows,
        queries: &Rows,
        attention: &Attention<'_, Store>,
    ) -> Result<(), LmError> {
        queries.give(out, |queries| {
            let question = Plan::question(attention, self.most_scores);
            let plan = self
                .memos
                .plans
                .get(question, |question| Plan::new(question, &self.device).map(Arc::new))?;
            let slopes = attention::slopes(attention.config, &self.device)?;
            plan.attend(queries, attention, slopes.as_ref())
        })
    }

    fn limit(&self, rows: &mut Rows, scale: f32, soft_cap: Option<f32>) -> Result<(), LmError> {
        rows.change(|rows| {
            let (scale, cap) = (f64::from(scale), soft_cap.map(f64::from));
            Ok(match cap {
                None => rows.affine(scale, 0.0)?,
                Some(cap) => (rows.affine(scale / cap, 0.0)?.tanh()? * cap)?,
            })
        })
    }

    fn summarize(&self, logits: &Rows) -> Result<Vec<RowSummary>, LmError> {
        let Some(logits) = logits.tensor() else { return Ok(Vec::new()) };
        let indices = self.memos.numbers.get(logits.dim(1)?, |width| {
            Tensor::arange(0.0, *width as f32, &self.device)?.reshape((1, *width))
        })?;
        rows::summarize(logits, &indices)
    }

    fn pick(&self, logits: &Rows, wanted: &[(usize, u32)]) -> Result<Vec<f32>, LmError> {
        let (Some(logits), false) = (logits.tensor(), wanted.is_empty()) else {
            return Ok(Vec::new());
        };
        let width = logits.dim(1)?;
        let places: Vec<usize> =
            wanted.iter().map(|(row, token)| row * width + *token as usize).collect();
        let picked = logits.flatten_all()?.index_select(&index(&places, &self.device)?, 0)?;
        Ok(picked.to_vec1()?)
    }

    fn to_host<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, LmError> {
        match rows.tensor() {
            Some(rows) => Ok(Cow::Owned(rows.flatten_all()?.to_vec1()?)),
            None => Ok(Cow::Borrowed(&[])),
        }
    }

    fn vector_to_host(&self, vector: &Tensor) -> Result<Vec<f32>, LmError> {
        Ok(vector.to_vec1()?)
    }
}

#[cfg(test)]
mod tests;

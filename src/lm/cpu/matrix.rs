//! Weights in main memory.

use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Storage, Tensor};
use half::{bf16, f16};

use super::product::{Output, multiply};
use super::small;
use super::values::{Values, Weight};
use super::vector::{Loop, run_widened};
use crate::lm::error::LmError;
use crate::lm::storage::{Form, StoredTensor};

/// A contiguous f32 tensor in main memory.
#[derive(Debug, Clone)]
pub(in crate::lm) struct Vector(Tensor);

/// Access to a [`Vector`]'s elements, through the guard `G` of its storage.
struct Elements<G> {
    storage: G,
    range: Range<usize>,
}

impl Vector {
    /// Takes a tensor in; one that is f32, contiguous and in main memory is not copied.
    pub(super) fn new(tensor: StoredTensor) -> Result<Self, LmError> {
        let tensor = match tensor.0 {
            Form::Floats(tensor) => tensor,
            Form::Blocks(blocks) => blocks.dequantize(&Device::Cpu)?,
        };
        Ok(Self(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?))
    }

    /// Some elements, without a copy.
    pub(super) fn part(&self, elements: Range<usize>) -> Result<Self, LmError> {
        Ok(Self(self.0.narrow(0, elements.start, elements.len())?))
    }

    pub(super) fn elements(&self) -> impl Deref<Target = [f32]> + '_ {
        let (storage, layout) = self.0.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().expect("contiguous since `Vector::new`");
        Elements { storage, range: start..end }
    }
}

impl<G: Deref<Target = Storage>> Deref for Elements<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &elements::<f32>(&self.storage)[self.range.clone()]
    }
}

/// All elements of a storage in main memory.
fn elements<T: candle_core::WithDType>(storage: &Storage) -> &[T] {
    let Storage::Cpu(storage) = storage else { unreachable!("weights are taken into main memory") };
    storage.as_slice().expect("the element type was looked up")
}

/// A weight `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(in crate::lm) struct Matrix {
    kept: Kept,
    /// Which of the outputs that are kept.
    part: Range<usize>,
    inputs: usize,
}

#[derive(Debug, Clone)]
enum Kept {
    /// Contiguous `[outputs, inputs]`, of f32, f16 or bf16.
    Rows(Tensor),
    /// Contiguous `[inputs, outputs]`, of f32.
    Columns(Tensor),
    /// Blocks of one of the types that [`Values`] has.
    Blocks(Arc<QTensor>),
}

impl Matrix {
    /// Takes a weight in, which is stored `[inputs, outputs]` if `transposed`.
    ///
    /// One in main memory is not copied if it is contiguous, or contiguous when transposed and f32,
    /// and has a type that products can read.
    pub(super) fn new(tensor: StoredTensor, transposed: bool) -> Result<Self, LmError> {
        let tensor = match tensor.0 {
            Form::Floats(tensor) => tensor,
            Form::Blocks(blocks) if !transposed && is_readable(&blocks) => {
                let inputs = blocks.shape().dims().last().copied().unwrap_or(1).max(1);
                let outputs = blocks.shape().elem_count() / inputs;
                return Ok(Self { kept: Kept::Blocks(blocks), part: 0..outputs, inputs });
            }
            Form::Blocks(blocks) => {
                let tensor = blocks.dequantize(&Device::Cpu)?;
                let last = tensor.dim(tensor.rank() - 1)?;
                tensor.reshape(((), last))?
            }
        };
        let tensor = tensor.to_device(&Device::Cpu)?;
        let tensor = match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 => tensor,
            _ => tensor.to_dtype(DType::F32)?,
        };
        let tensor = if transposed { tensor.t()? } else { tensor };
        let (outputs, inputs) = tensor.dims2()?;
        let turned = tensor.t()?;
        let kept =
            if !tensor.is_contiguous() && turned.is_contiguous() && tensor.dtype() == DType::F32 {
                Kept::Columns(turned)
            } else {
                Kept::Rows(tensor.contiguous()?)
            };
        Ok(Self { kept, part: 0..outputs, inputs })
    }

    /// Some outputs, without a copy.
    pub(super) fn part(&self, outputs: Range<usize>) -> Result<Self, LmError> {
        let start = self.part.start;
        let part = start + outputs.start..start + outputs.end;
        Ok(Self { kept: self.kept.clone(), part, inputs: self.inputs })
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.part.len()
    }

    /// Number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Copies the weights of one output.
    pub(super) fn row(&self, index: usize, out: &mut [f32]) {
        self.with(|weight| run_widened(CopyRow { weight, index, out }));
    }

    /// `output[rows, outputs] (+)= input[rows, inputs] · weightᵀ`, on at most `threads` threads.
    pub(super) fn multiply(&self, output: &mut [f32], input: &[f32], mode: Output, threads: usize) {
        self.with(|weight| match weight.values {
            Values::Rows(values) if small::is_small(values.len()) => {
                small::multiply(output, input, values, weight.inputs, mode, threads);
            }
            _ => multiply(output, input, weight, mode, threads),
        });
    }

    /// Works on the weights where they lie.
    fn with<T>(&self, work: impl FnOnce(Weight<'_>) -> T) -> T {
        let weight = |values, outputs| {
            Weight { values, outputs, inputs: self.inputs }.part(self.part.clone())
        };
        match &self.kept {
            Kept::Rows(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let range = offsets(layout);
                let outputs = range.len() / self.inputs.max(1);
                let values = match tensor.dtype() {
                    DType::F16 => Values::F16(&elements::<f16>(&storage)[range]),
                    DType::BF16 => Values::Bf16(&elements::<bf16>(&storage)[range]),
                    _ => Values::Rows(&elements::<f32>(&storage)[range]),
                };
                work(weight(values, outputs))
            }
            Kept::Columns(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let values = &elements::<f32>(&storage)[offsets(layout)];
                let stride = values.len() / self.inputs.max(1);
                work(weight(Values::Columns { values, stride }, stride))
            }
            Kept::Blocks(blocks) => {
                let outputs = blocks.shape().elem_count() / self.inputs.max(1);
                let bytes = blocks.data().expect("blocks are in main memory");
                let values = match blocks.dtype() {
                    GgmlDType::Q8_0 => Values::Q8_0(&bytes),
                    GgmlDType::Q4_0 => Values::Q4_0(&bytes),
                    _ => Values::Q4K(&bytes),
                };
                work(weight(values, outputs))
            }
        }
    }
}

fn offsets(layout: &candle_core::Layout) -> Range<usize> {
    let (start, end) = layout.contiguous_offsets().expect("contiguous since `Matrix::new`");
    start..end
}

/// Whether products can read a tensor's blocks.
fn is_readable(blocks: &QTensor) -> bool {
    matches!(blocks.dtype(), GgmlDType::Q8_0 | GgmlDType::Q4_0 | GgmlDType::Q4K)
        && matches!(blocks.device(), Device::Cpu)
}

struct CopyRow<'a> {
    weight: Weight<'a>,
    index: usize,
    out: &'a mut [f32],
}

impl Loop for CopyRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.weight.widen(self.index, 0..self.weight.inputs, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lm::storage::Storage as StorageForm;

    fn address(matrix: &Matrix) -> *const f32 {
        matrix.with(|weight| weight.rows_in_place().expect("f32 rows").as_ptr())
    }

    #[test]
    fn f32_tensors_are_used_where_they_are() {
        let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let at = values.as_ptr();
        let tensor = Tensor::from_vec(values, (4, 3), &Device::Cpu).expect("twelve values");
        let whole = Matrix::new(StoredTensor::new(tensor.clone()), false).expect("a matrix");
        assert_eq!(address(&whole), at);
        let part = whole.part(1..3).expect("rows 1 and 2 exist");
        assert_eq!(address(&part), at.wrapping_add(3));
        let mut row = [0.0; 3];
        part.row(1, &mut row);
        assert_eq!(row, [6.0, 7.0, 8.0]);

        // Stored the other way round, and a part of that.
        let turned = Matrix::new(StoredTensor::new(tensor), true).expect("a matrix");
        let last = turned.part(1..3).and_then(|part| part.part(1..2)).expect("outputs exist");
        let place = |weight: Weight<'_>| match weight.values {
            Values::Columns { values, stride } => (values.as_ptr(), stride),
            _ => panic!("it was copied"),
        };
        assert_eq!(last.with(place), (at.wrapping_add(2), 3));
        let mut row = [0.0; 4];
        last.row(0, &mut row);
        assert_eq!(row, [2.0, 5.0, 8.0, 11.0]);
    }

    #[test]
    fn products_use_exactly_what_is_stored() {
        let (outputs, inputs, rows) = (21, 768, 50);
        let values: Vec<f32> = (0..outputs * inputs).map(|i| (i as f32 * 0.71).cos()).collect();
        let tensor = Tensor::from_vec(values, (outputs, inputs), &Device::Cpu).expect("a matrix");
        let input: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.37).sin()).collect();
        let product = |matrix: &Matrix| {
            let mut output = vec![0.0; rows * matrix.outputs()];
            matrix.multiply(&mut output, &input, Output::Replace, 1);
            output
        };
        for (name, form) in StorageForm::NAMES {
            let stored = StoredTensor::convert("weight", &tensor, form).expect("it can be stored");
            // What candle makes of it.
            let exact = match &stored.0 {
                Form::Floats(tensor) => tensor.to_dtype(DType::F32).expect("floats"),
                Form::Blocks(blocks) => blocks.dequantize(&Device::Cpu).expect("blocks"),
            };
            let exact = Matrix::new(StoredTensor::new(exact), false).expect("a matrix");
            let matrix = Matrix::new(stored, false).expect("a matrix");
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            for index in 0..outputs {
                let (mut ours, mut theirs) = (vec![0.0; inputs], vec![0.0; inputs]);
                matrix.row(index, &mut ours);
                exact.row(index, &mut theirs);
                assert_eq!(bits(ours), bits(theirs), "{name}, output {index}");
            }
            assert_eq!(bits(product(&matrix)), bits(product(&exact)), "{name}");
            let [part, exact] = [&matrix, &exact].map(|m| m.part(3..17).expect("they exist"));
            assert_eq!(bits(product(&part)), bits(product(&exact)), "{name}, a part");
        }
    }
}

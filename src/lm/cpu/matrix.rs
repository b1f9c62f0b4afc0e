//! Weights in main memory.

use std::ops::{Deref, Range};

use candle_core::{DType, Device, Storage, Tensor};

use super::vector::{Output, multiply};
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
        let Storage::Cpu(storage) = &*self.storage else {
            unreachable!("`Vector::new` keeps tensors in main memory only")
        };
        let elements = storage.as_slice::<f32>().expect("`Vector::new` keeps f32 only");
        &elements[self.range.clone()]
    }
}

/// A weight `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(in crate::lm) struct Matrix {
    values: Vector,
    outputs: usize,
    inputs: usize,
}

impl Matrix {
    /// Takes a weight in, which is stored `[inputs, outputs]` if `transposed`.
    pub(super) fn new(tensor: StoredTensor, transposed: bool) -> Result<Self, LmError> {
        let tensor = match tensor.0 {
            Form::Floats(tensor) => tensor,
            Form::Blocks(blocks) => blocks.dequantize(&Device::Cpu)?.flatten_to(1)?,
        };
        let tensor = if transposed { tensor.t()? } else { tensor };
        let (outputs, inputs) = tensor.dims2()?;
        Ok(Self { values: Vector::new(StoredTensor::new(tensor))?, outputs, inputs })
    }

    /// Some outputs, without a copy.
    pub(super) fn part(&self, outputs: Range<usize>) -> Result<Self, LmError> {
        let values = self.values.0.narrow(0, outputs.start, outputs.len())?;
        Ok(Self { values: Vector(values), outputs: outputs.len(), inputs: self.inputs })
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Copies the weights of one output.
    pub(super) fn row(&self, index: usize, out: &mut [f32]) {
        let values = self.values.elements();
        out.copy_from_slice(&values[index * self.inputs..(index + 1) * self.inputs]);
    }

    /// `output[rows, outputs] (+)= input[rows, inputs] · weightᵀ`.
    pub(super) fn multiply(&self, output: &mut [f32], input: &[f32], mode: Output, threads: usize) {
        multiply(output, input, &self.values.elements(), self.inputs, mode, threads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_tensors_are_used_where_they_are() {
        let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let address = values.as_ptr();
        let tensor = Tensor::from_vec(values, (4, 3), &Device::Cpu).expect("twelve values");
        let whole = Matrix::new(StoredTensor::new(tensor), false).expect("a matrix");
        assert_eq!(whole.values.elements().as_ptr(), address);
        let part = whole.part(1..3).expect("rows 1 and 2 exist");
        assert_eq!(part.values.elements().as_ptr(), address.wrapping_add(3));
        assert_eq!(part.values.elements()[..], [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let mut row = [0.0; 3];
        part.row(1, &mut row);
        assert_eq!(row, [6.0, 7.0, 8.0]);
    }
}

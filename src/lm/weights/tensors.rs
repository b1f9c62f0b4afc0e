//! The tensors of a checkpoint, taken one by one.

use candle_core::Tensor;
use indexmap::IndexMap;

use super::has_weights;
use crate::lm::backend::{Backend, NormWeights, Projection};
use crate::lm::config::Norm;
use crate::lm::error::LmError;
use crate::lm::storage::{Form, StoredTensor};

/// Tensors by name.
pub(super) struct Tensors<'a, B> {
    backend: &'a B,
    tensors: IndexMap<String, StoredTensor>,
    /// Whether projections are stored `[inputs, outputs]`.
    transposed: bool,
}

impl<'a, B: Backend> Tensors<'a, B> {
    pub(super) fn new(
        backend: &'a B,
        tensors: IndexMap<String, StoredTensor>,
        transposed: bool,
    ) -> Self {
        Self { backend, tensors, transposed }
    }

    /// The name under which a tensor is there: its own, or the one that it has where a model was saved
    /// without its head.
    fn found(&self, name: &str) -> Option<String> {
        let without_head = || name.split_once('.').map_or(name, |(_, rest)| rest);
        [name, without_head()]
            .into_iter()
            .find(|name| self.tensors.contains_key(*name))
            .map(str::to_owned)
    }

    /// Whether there is such a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<StoredTensor, LmError> {
        let found = self.found(name);
        let tensor = found
            .and_then(|found| self.tensors.swap_remove(&found))
            .ok_or_else(|| LmError::MissingTensor { tensor: name.to_owned() })?;
        match tensor.shape() == shape {
            true => Ok(tensor),
            false => Err(LmError::TensorShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                actual: tensor.shape().to_vec(),
            }),
        }
    }

    /// A table `[rows, width]`, which is never transposed.
    pub(super) fn table(
        &mut self,
        name: &str,
        rows: usize,
        width: usize,
    ) -> Result<B::Matrix, LmError> {
        let tensor = self.take(&format!("{name}.weight"), &[rows, width])?;
        self.backend.matrix(tensor, false)
    }

    /// A projection with or without bias.
    pub(super) fn projection(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
    ) -> Result<Projection<B>, LmError> {
        let shape = match self.transposed {
            true => [inputs, outputs],
            false => [outputs, inputs],
        };
        let weight = self.take(&format!("{name}.weight"), &shape)?;
        let weight = self.backend.matrix(weight, self.transposed)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), outputs)).transpose()?;
        Ok(Projection { weight, bias })
    }

    /// Matrices of several experts below each other; `name` is the whole name.
    pub(super) fn packed(
        &mut self,
        name: &str,
        count: usize,
        outputs: usize,
        inputs: usize,
    ) -> Result<B::Matrix, LmError> {
        let tensor = self.take(name, &[count, outputs, inputs])?;
        let flat = match tensor.0 {
            Form::Floats(tensor) => Form::Floats(tensor.reshape((count * outputs, inputs))?),
            blocks => blocks,
        };
        self.backend.matrix(StoredTensor(flat), false)
    }

    /// A vector; `name` is the whole name.
    pub(super) fn vector(&mut self, name: &str, elements: usize) -> Result<B::Vector, LmError> {
        let tensor = self.take(name, &[elements])?;
        self.backend.vector(tensor)
    }

    /// A norm over `width` elements.
    pub(super) fn norm(
        &mut self,
        name: &str,
        norm: Norm,
        width: usize,
    ) -> Result<NormWeights<B::Vector>, LmError> {
        let (weight, bias) = has_weights(norm);
        let mut take = |wanted: bool, ending| {
            wanted.then(|| self.vector(&format!("{name}.{ending}"), width)).transpose()
        };
        Ok(NormWeights { norm, weight: take(weight, "weight")?, bias: take(bias, "bias")? })
    }

    /// Norms over `width` elements of each head, whose weights are one tensor `[heads, width]`.
    pub(super) fn norm_of_heads(
        &mut self,
        name: &str,
        norm: Norm,
        heads: usize,
        width: usize,
    ) -> Result<NormWeights<B::Vector>, LmError> {
        let tensor = self.take(&format!("{name}.weight"), &[heads, width])?;
        let weight = floats(tensor)?.flatten_all()?;
        let weight = Some(self.backend.vector(StoredTensor::new(weight))?);
        Ok(NormWeights { norm, weight, bias: None })
    }

    /// Norms over `width` elements of each head, whose weights are tensors `name.norms.N`.
    pub(super) fn listed_norms(
        &mut self,
        name: &str,
        norm: Norm,
        heads: usize,
        width: usize,
    ) -> Result<NormWeights<B::Vector>, LmError> {
        let weights = (0..heads)
            .map(|head| floats(self.take(&format!("{name}.norms.{head}.weight"), &[width])?))
            .collect::<Result<Vec<_>, _>>()?;
        let weight = Some(self.backend.vector(StoredTensor::new(Tensor::cat(&weights, 0)?))?);
        Ok(NormWeights { norm, weight, bias: None })
    }
}

/// A tensor of floats; what was converted to blocks is read back.
fn floats(tensor: StoredTensor) -> Result<Tensor, LmError> {
    match tensor.0 {
        Form::Floats(tensor) => Ok(tensor),
        Form::Blocks(blocks) => Ok(blocks.dequantize(&blocks.device())?),
    }
}

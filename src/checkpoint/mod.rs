//! Where tensors come from and go to.
//!
//! Reading: a [`Checkpoint`] is a model directory with one file or several shards, in safetensors or
//! pickled by PyTorch, read piece by piece where it lies; a [`MemoryCheckpoint`] holds its tensors. The
//! engine sees both as a [`TensorSource`].
//!
//! Writing: a [`Layout`] fixes where every byte goes before the first one is known, so that a
//! [`CheckpointWriter`] accepts them in any order and from many threads. An [`OutputDirectory`]
//! makes the result appear whole or not at all.

mod error;
mod format;
mod frame;
mod header;
mod layout;
mod memory;
mod output;
mod pickle;
mod positioned;
mod reader;
mod shard_size;
mod strided;
mod writer;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::kernels::dtype::{DType, widen};

pub use error::CheckpointError;
pub use format::WeightFormat;
#[cfg(feature = "hub")]
pub(crate) use header::header_length;
pub use layout::{Layout, Place};
pub use memory::MemoryCheckpoint;
pub use output::{OutputDirectory, is_unfinished_output};
pub use reader::{Beginning, Beginnings, Checkpoint};
pub(crate) use reader::{WeightsFile, listed_shards, weights_file};
pub use shard_size::{ParseShardSizeError, ShardSize};
pub use writer::CheckpointWriter;

/// Read access to the tensors of one checkpoint.
///
/// Opening a source reads headers only. `read_into` touches the bytes it is asked for, and may be
/// called from many threads at once.
pub trait TensorSource: Send + Sync {
    /// Every tensor, in file order (shard by shard, then by offset).
    fn tensors(&self) -> &IndexMap<String, TensorInfo>;

    /// Widens elements `start .. start + out.len()` of `name`, flattened row-major, to `f32`.
    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError>;

    /// Copies the stored little-endian bytes of elements `start .. start + n` unchanged, where
    /// `n · dtype.size() = out.len()`.
    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError>;

    /// The files that tensors are read from, with the list of shards where there is one; none for what
    /// lives in memory.
    fn files(&self) -> Vec<&Path>;

    /// Loads what reading parts of `name` needs beside these parts, and keeps it for as long as what
    /// is returned lives: to be called before a tensor is read in many parts. Nothing for a tensor
    /// that lies in a file as it is.
    fn hold(&self, name: &str) -> Result<Option<Arc<dyn Any + Send + Sync>>, CheckpointError> {
        let _ = name;
        Ok(None)
    }

    /// What [`hold`](Self::hold) takes for the tensor `name`.
    fn holding(&self, name: &str) -> Holding {
        let _ = name;
        Holding::default()
    }
}

/// What it takes to have a tensor at hand that is computed while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Bytes read once, before any part of the tensor.
    pub bytes_read: u64,
    /// Most bytes of memory.
    pub memory: u64,
}

/// What a checkpoint says about a tensor, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type as stored.
    pub dtype: DType,
    /// Row-major, outermost first: `[out_features, in_features]` for a linear layer.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements, not bytes.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of bytes as stored.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Number of bytes as stored, or `None` when no address space could hold them.
    pub(crate) fn checked_bytes(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        elements.checked_mul(self.dtype.size())
    }

    /// [`TensorSource::read_into`] for the tensor `name` whose bytes are `data`.
    fn widen_part(
        &self,
        name: &str,
        data: &[u8],
        start: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        widen(self.dtype, &data[self.byte_range(name, start, out.len())?], out);
        Ok(())
    }

    /// [`TensorSource::copy_bytes`] for the tensor `name` whose bytes are `data`.
    fn copy_part(
        &self,
        name: &str,
        data: &[u8],
        start: usize,
        out: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let n_elements = self.whole_elements(name, out.len())?;
        out.copy_from_slice(&data[self.byte_range(name, start, n_elements)?]);
        Ok(())
    }

    /// The number of elements in `bytes` bytes, which must be whole.
    pub(crate) fn whole_elements(
        &self,
        name: &str,
        bytes: usize,
    ) -> Result<usize, CheckpointError> {
        let element_bytes = self.dtype.size();
        if !bytes.is_multiple_of(element_bytes) {
            return Err(CheckpointError::PartialElement {
                tensor: name.to_owned(),
                element_bytes,
                bytes,
            });
        }
        Ok(bytes / element_bytes)
    }

    /// Refuses elements `start .. start + n_elements` that this tensor, called `name`, does not have.
    pub(crate) fn check_range(
        &self,
        name: &str,
        start: usize,
        n_elements: usize,
    ) -> Result<(), CheckpointError> {
        self.byte_range(name, start, n_elements).map(drop)
    }

    /// The bytes of elements `start .. start + n_elements` within this tensor's data.
    fn byte_range(
        &self,
        name: &str,
        start: usize,
        n_elements: usize,
    ) -> Result<std::ops::Range<usize>, CheckpointError> {
        match start.checked_add(n_elements) {
            Some(end) if end <= self.elements() => {
                Ok(start * self.dtype.size()..end * self.dtype.size())
            }
            _ => Err(CheckpointError::ReadOutOfRange {
                tensor: name.to_owned(),
                start,
                n_elements,
                elements: self.elements(),
            }),
        }
    }
}

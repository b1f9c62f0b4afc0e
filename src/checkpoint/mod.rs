//! Where tensors come from and go to.

use indexmap::IndexMap;

use crate::kernels::dtype::DType;

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
}

/// Everything that can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {}

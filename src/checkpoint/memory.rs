//! A checkpoint whose tensors live in memory: made by a program, or produced by a merge that is not
//! written to disk.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::{CheckpointError, TensorInfo, TensorSource};
use crate::kernels::dtype::{DType, widen};

/// Tensors in memory, in the order in which they were inserted.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoint {
    tensors: IndexMap<String, TensorInfo>,
    /// Little-endian, parallel to `tensors`.
    data: Vec<Vec<u8>>,
}

impl MemoryCheckpoint {
    /// A checkpoint without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads every tensor of `source`, which afterwards is no longer needed.
    pub fn load(source: &dyn TensorSource) -> Result<Self, CheckpointError> {
        let mut loaded = Self::new();
        for (name, info) in source.tensors() {
            let mut bytes = vec![0; info.bytes()];
            source.copy_bytes(name, 0, &mut bytes)?;
            loaded.insert_bytes(name, info.clone(), bytes)?;
        }
        Ok(loaded)
    }

    /// Adds a float32 tensor, or replaces the tensor of that name.
    ///
    /// Fails when `values` are not as many as `shape` says.
    pub fn insert(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), CheckpointError> {
        let info = TensorInfo { dtype: DType::F32, shape: shape.to_vec() };
        self.insert_bytes(name, info, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds a tensor given as little-endian bytes, or replaces the tensor of that name.
    ///
    /// Fails when `bytes` are not as many as `info` says.
    pub fn insert_bytes(
        &mut self,
        name: &str,
        info: TensorInfo,
        bytes: Vec<u8>,
    ) -> Result<(), CheckpointError> {
        if info.checked_bytes() != Some(bytes.len()) {
            return Err(CheckpointError::ShapeAndBytes {
                path: place(),
                tensor: name.to_owned(),
                dtype: info.dtype,
                shape: info.shape,
                bytes: bytes.len(),
            });
        }
        let (index, replaced) = self.tensors.insert_full(name.to_owned(), info);
        match replaced {
            Some(_) => self.data[index] = bytes,
            None => self.data.push(bytes),
        }
        Ok(())
    }

    /// The little-endian bytes of a tensor.
    pub fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError> {
        self.find(name).map(|(_, bytes)| bytes)
    }

    fn find(&self, name: &str) -> Result<(&TensorInfo, &[u8]), CheckpointError> {
        match self.tensors.get_full(name) {
            Some((index, _, info)) => Ok((info, &self.data[index])),
            None => Err(CheckpointError::NoTensor { path: place(), tensor: name.to_owned() }),
        }
    }
}

impl TensorSource for MemoryCheckpoint {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        let (info, data) = self.find(name)?;
        widen(info.dtype, &data[info.byte_range(name, start, out.len())?], out);
        Ok(())
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let (info, data) = self.find(name)?;
        out.copy_from_slice(
            &data[info.byte_range(name, start, info.whole_elements(name, out.len())?)?],
        );
        Ok(())
    }
}

/// What errors give as the path.
fn place() -> PathBuf {
    PathBuf::from("memory")
}

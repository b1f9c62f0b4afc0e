//! A checkpoint whose tensors live in memory: made by a program, or produced by a merge that is not
//! written to disk.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::{CheckpointError, TensorInfo, TensorSource};
use crate::kernels::dtype::DType;

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
                bytes: bytes.len() as u64,
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
        info.widen_part(name, data, start, out)
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let (info, data) = self.find(name)?;
        info.copy_part(name, data, start, out)
    }

    fn files(&self) -> Vec<&Path> {
        Vec::new()
    }
}

/// What errors give as the path.
fn place() -> PathBuf {
    PathBuf::from("memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_bytes_are_those_inserted() {
        let mut checkpoint = MemoryCheckpoint::new();
        checkpoint.insert("w", &[2, 2], &[1.0, -2.0, 0.5, 4.0]).unwrap();
        let info = TensorInfo { dtype: DType::BF16, shape: vec![2] };
        checkpoint.insert_bytes("v", info, vec![0x80, 0x3f, 0x00, 0xc0]).unwrap();

        let mut part = [0.0; 2];
        checkpoint.read_into("w", 1, &mut part).unwrap();
        assert_eq!(part, [-2.0, 0.5]);
        checkpoint.read_into("v", 0, &mut part).unwrap();
        assert_eq!(part, [1.0, -2.0]);
        let mut bytes = [0; 2];
        checkpoint.copy_bytes("v", 1, &mut bytes).unwrap();
        assert_eq!(bytes, [0x00, 0xc0]);
    }

    #[test]
    fn inserting_a_name_again_replaces_its_tensor() {
        let mut checkpoint = MemoryCheckpoint::new();
        checkpoint.insert("a", &[1], &[1.0]).unwrap();
        checkpoint.insert("b", &[1], &[2.0]).unwrap();
        checkpoint.insert("a", &[2], &[3.0, 4.0]).unwrap();
        assert_eq!(checkpoint.tensors().keys().collect::<Vec<_>>(), ["a", "b"]);
        let mut values = [0.0; 2];
        checkpoint.read_into("a", 0, &mut values).unwrap();
        assert_eq!(values, [3.0, 4.0]);
    }

    #[test]
    fn wrong_names_ranges_and_sizes_are_errors() {
        let mut checkpoint = MemoryCheckpoint::new();
        let error = checkpoint.insert("w", &[2], &[1.0]).unwrap_err();
        assert!(matches!(error, CheckpointError::ShapeAndBytes { bytes: 4, .. }));
        checkpoint.insert("w", &[2], &[1.0, 2.0]).unwrap();

        let error = checkpoint.read_into("w", 1, &mut [0.0; 2]).unwrap_err();
        assert_eq!(error.to_string(), "tensor `w` has 2 elements; cannot read 2 from 1 on");
        let error = checkpoint.read_into("w", usize::MAX, &mut [0.0; 2]).unwrap_err();
        assert!(matches!(error, CheckpointError::ReadOutOfRange { .. }));
        let error = checkpoint.copy_bytes("w", 0, &mut [0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "tensor `w` has elements of 4 bytes; cannot read 3 bytes");
        let error = checkpoint.bytes("x").unwrap_err();
        assert_eq!(error.to_string(), "`memory` has no tensor `x`");
    }

    #[test]
    fn loading_copies_every_tensor() {
        let mut source = MemoryCheckpoint::new();
        source.insert("a", &[], &[1.0]).unwrap();
        source.insert("b", &[0], &[]).unwrap();
        let loaded = MemoryCheckpoint::load(&source).unwrap();
        assert_eq!(loaded.tensors(), source.tensors());
        assert_eq!(loaded.bytes("a").unwrap(), source.bytes("a").unwrap());
    }
}

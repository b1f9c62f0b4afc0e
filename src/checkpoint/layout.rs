//! Where every byte of an output goes, decided before the first one is known.
//!
//! Tensors fill shards in the order given: a shard is closed when it is not empty and the next tensor
//! would exceed the limit, so a larger tensor gets a shard of its own. Where they lie within a shard is
//! a matter of the format, which the shard's [`Frame`] knows.

use std::ops::Range;

use indexmap::IndexMap;

use super::frame::Frame;
use super::{CheckpointError, ShardSize, TensorInfo, WeightFormat, header};

/// Tensors of an output in output order, and the place of each in its shards.
#[derive(Debug, Clone)]
pub struct Layout {
    format: WeightFormat,
    tensors: IndexMap<String, TensorInfo>,
    /// Parallel to `tensors`.
    places: Vec<Place>,
    shards: Vec<Shard>,
}

/// Where the data of a tensor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of the shard, from 0.
    pub shard: usize,
    /// First byte, counted from the start of the shard's file.
    pub offset: u64,
}

#[derive(Debug, Clone)]
struct Shard {
    /// Positions of its tensors.
    tensors: Range<usize>,
    frame: Frame,
}

impl Layout {
    /// Distributes `tensors`, given in output order, over shards in safetensors.
    ///
    /// Fails when there is none, when one is called `__metadata__`, or when sizes exceed what the
    /// format can hold.
    pub fn new(
        tensors: IndexMap<String, TensorInfo>,
        shard_size: ShardSize,
    ) -> Result<Self, CheckpointError> {
        Self::in_format(WeightFormat::Safetensors, tensors, shard_size)
    }

    /// As [`new`](Self::new), over shards in `format`.
    pub fn in_format(
        format: WeightFormat,
        tensors: IndexMap<String, TensorInfo>,
        shard_size: ShardSize,
    ) -> Result<Self, CheckpointError> {
        check(&tensors)?;
        let mut places = Vec::with_capacity(tensors.len());
        let mut shards = Vec::new();
        for range in split(&tensors, shard_size) {
            let members = &tensors.as_slice()[range.clone()];
            let members: Vec<_> = members.iter().map(|(name, info)| (&**name, info)).collect();
            let frame = Frame::new(format, &members);
            if frame.head_bytes > format.max_head_bytes() {
                return Err(CheckpointError::OutputHeaderTooLarge {
                    shard: shards.len() + 1,
                    bytes: frame.head_bytes,
                    limit: format.max_head_bytes(),
                });
            }
            let shard = shards.len();
            places.extend(frame.starts.iter().map(|&offset| Place { shard, offset }));
            shards.push(Shard { tensors: range, frame });
        }
        Ok(Self { format, tensors, places, shards })
    }

    /// The form of the weight files.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Every tensor, in output order. Its position here is how a writer is told about it.
    pub fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.tensors
    }

    /// Where the data of the tensor at `index` begins. Sorting by it gives the order on disk.
    ///
    /// # Panics
    ///
    /// When there is no such tensor.
    pub fn place(&self, index: usize) -> Place {
        self.places[index]
    }

    /// Number of weight files.
    pub fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// `model.safetensors`, or `model-00002-of-00003.safetensors` for `shard` 1 of three;
    /// `pytorch_model.bin` and so on for pickles.
    pub fn file_name(&self, shard: usize) -> String {
        self.format.file_name(shard, self.shards.len())
    }

    /// Bytes of tensor data, without headers.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|info| info.bytes() as u64).sum()
    }

    /// Bytes of all weight files together.
    pub fn file_bytes(&self) -> u64 {
        (0..self.shards.len()).map(|shard| self.shard_bytes(shard)).sum()
    }

    /// What a shard has around the data of its tensors.
    pub(super) fn frame(&self, shard: usize) -> &Frame {
        &self.shards[shard].frame
    }

    /// Positions of the tensors in a shard.
    pub(super) fn tensors_of(&self, shard: usize) -> Range<usize> {
        self.shards[shard].tensors.clone()
    }

    /// Length of a shard's file.
    ///
    /// # Panics
    ///
    /// When there is no such shard.
    pub fn shard_bytes(&self, shard: usize) -> u64 {
        self.shards[shard].frame.bytes
    }

    /// The index that goes with several shards, as JSON.
    pub(super) fn index(&self) -> serde_json::Value {
        let names = (0..self.n_shards()).map(|shard| self.file_name(shard)).collect::<Vec<_>>();
        let weight_map: serde_json::Map<_, _> = self
            .tensors
            .keys()
            .zip(&self.places)
            .map(|(name, place)| (name.clone(), names[place.shard].clone().into()))
            .collect();
        serde_json::json!({
            "metadata": { "total_size": self.tensor_bytes() },
            "weight_map": weight_map,
        })
    }
}

fn check(tensors: &IndexMap<String, TensorInfo>) -> Result<(), CheckpointError> {
    if tensors.is_empty() {
        return Err(CheckpointError::NoTensors);
    }
    // File sizes and offsets are signed in most systems' interfaces.
    let limit = i64::MAX as u64 - header::MAX_HEADER_BYTES;
    let mut total = 0u64;
    for (name, info) in tensors {
        if name == header::METADATA_KEY {
            return Err(CheckpointError::ReservedName { tensor: name.clone() });
        }
        total = info
            .checked_bytes()
            .and_then(|bytes| total.checked_add(bytes as u64))
            .filter(|&total| total <= limit)
            .ok_or_else(|| CheckpointError::TooLarge {
                tensor: name.clone(),
                shape: info.shape.clone(),
            })?;
    }
    Ok(())
}

/// The positions of the tensors that share a shard, shard by shard.
fn split(tensors: &IndexMap<String, TensorInfo>, limit: ShardSize) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let mut start = 0;
    let mut shard_bytes = 0;
    for (index, info) in tensors.values().enumerate() {
        let bytes = info.bytes() as u64;
        if index > start && limit.is_exceeded_by(shard_bytes + bytes) {
            shards.push(start..index);
            start = index;
            shard_bytes = 0;
        }
        shard_bytes += bytes;
    }
    shards.push(start..tensors.len());
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dtype::DType;

    fn tensors(sizes: &[usize]) -> IndexMap<String, TensorInfo> {
        let info = |&size: &usize| TensorInfo { dtype: DType::U8, shape: vec![size] };
        sizes.iter().enumerate().map(|(i, size)| (format!("t{i}"), info(size))).collect()
    }

    fn shards(sizes: &[usize], limit: u64) -> Vec<usize> {
        let layout = Layout::new(tensors(sizes), ShardSize::from_bytes(limit)).unwrap();
        (0..sizes.len()).map(|index| layout.place(index).shard).collect()
    }

    #[test]
    fn a_shard_ends_before_the_tensor_that_would_exceed_the_limit() {
        assert_eq!(shards(&[4, 4, 4, 1], 8), [0, 0, 1, 1]);
        assert_eq!(shards(&[4, 4, 4, 1], 0), [0, 0, 0, 0]);
    }

    #[test]
    fn a_tensor_larger_than_the_limit_has_a_shard_of_its_own() {
        assert_eq!(shards(&[1, 20, 1, 20], 8), [0, 1, 2, 3]);
        assert_eq!(shards(&[20, 20], 8), [0, 1]);
    }

    #[test]
    fn files_are_numbered_only_when_there_are_several() {
        let one = Layout::new(tensors(&[4, 4]), ShardSize::default()).unwrap();
        assert_eq!(one.file_name(0), "model.safetensors");
        let two = Layout::new(tensors(&[4, 4]), ShardSize::from_bytes(4)).unwrap();
        assert_eq!(two.file_name(1), "model-00002-of-00002.safetensors");
        assert_eq!(
            two.index().to_string(),
            r#"{"metadata":{"total_size":8},"weight_map":{"t0":"model-00001-of-00002.safetensors","t1":"model-00002-of-00002.safetensors"}}"#
        );
    }

    #[test]
    fn data_is_aligned_whatever_the_order_of_types() {
        let types = [DType::U8, DType::F32, DType::BF16, DType::F64, DType::Bool, DType::I64];
        let tensors = types
            .iter()
            .enumerate()
            .map(|(i, &dtype)| (format!("t{i}"), TensorInfo { dtype, shape: vec![3] }));
        let layout = Layout::new(tensors.collect(), ShardSize::default()).unwrap();
        for (index, dtype) in types.iter().enumerate() {
            assert_eq!(layout.place(index).offset % dtype.size() as u64, 0, "{dtype}");
        }
    }

    #[test]
    fn pickles_have_names_of_their_own_and_keep_the_order() {
        let layout = |limit| {
            let size = ShardSize::from_bytes(limit);
            Layout::in_format(WeightFormat::Pickle, tensors(&[4, 1, 4]), size).unwrap()
        };
        let one = layout(0);
        assert_eq!(one.file_name(0), "pytorch_model.bin");
        let offsets: Vec<_> = (0..3).map(|index| one.place(index).offset).collect();
        assert!(offsets.is_sorted() && offsets.iter().all(|at| at % 64 == 0), "{offsets:?}");
        let two = layout(5);
        assert_eq!(two.file_name(0), "pytorch_model-00001-of-00002.bin");
        assert_eq!(two.index()["weight_map"]["t2"], "pytorch_model-00002-of-00002.bin");
        assert_eq!((two.place(2).shard, two.tensor_bytes()), (1, 9));
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let layout = |name: &str, shape: &[usize]| {
            let info = TensorInfo { dtype: DType::F32, shape: shape.to_vec() };
            Layout::new(IndexMap::from([(name.to_owned(), info)]), ShardSize::default())
        };
        let error = layout("__metadata__", &[1]).unwrap_err();
        assert!(matches!(error, CheckpointError::ReservedName { .. }));
        let error = layout("w", &[usize::MAX, 2]).unwrap_err();
        assert!(matches!(error, CheckpointError::TooLarge { .. }));
        let error = Layout::new(IndexMap::new(), ShardSize::default()).unwrap_err();
        assert!(matches!(error, CheckpointError::NoTensors));
    }
}

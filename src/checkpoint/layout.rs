//! Where every byte of an output goes, decided before the first one is known.
//!
//! Tensors fill shards in the order given: a shard is closed when it is not empty and the next tensor
//! would exceed the limit, so a larger tensor gets a shard of its own. Within a shard they are
//! sorted by type and name like the safetensors library does, which keeps them aligned.

use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use indexmap::IndexMap;

use super::{CheckpointError, TensorInfo, header};

/// The most bytes of tensor data that share a shard.
///
/// Written as digits with an optional suffix: `k` for 10³, `m` for 10⁶, `b` for 10⁹. The default is
/// `5b`; 0 puts everything into one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSize {
    /// 0 for no limit.
    bytes: u64,
}

impl ShardSize {
    /// Everything goes into one file.
    pub const UNLIMITED: Self = Self { bytes: 0 };

    /// At most `bytes` of data per shard, or no limit if 0.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Most bytes of data per shard; 0 for no limit.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    fn is_exceeded_by(self, bytes: u64) -> bool {
        self.bytes > 0 && bytes > self.bytes
    }
}

impl Default for ShardSize {
    fn default() -> Self {
        Self { bytes: 5_000_000_000 }
    }
}

impl FromStr for ShardSize {
    type Err = ParseShardSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'b' | b'B') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        let error = || ParseShardSizeError { text: text.to_owned() };
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        number.checked_mul(factor).map(Self::from_bytes).ok_or_else(error)
    }
}

/// In the form that [`FromStr`] reads, with the largest suffix that loses nothing.
impl fmt::Display for ShardSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffixes = [(1_000_000_000, "b"), (1_000_000, "m"), (1_000, "k")];
        match suffixes
            .iter()
            .find(|(factor, _)| self.bytes > 0 && self.bytes.is_multiple_of(*factor))
        {
            Some((factor, suffix)) => write!(f, "{}{suffix}", self.bytes / factor),
            None => write!(f, "{}", self.bytes),
        }
    }
}

/// A shard size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a shard size: write whole bytes, optionally with k, m or b, such as `5b`")]
pub struct ParseShardSizeError {
    text: String,
}

/// Tensors of an output in output order, and the place of each in its shards.
#[derive(Debug, Clone)]
pub struct Layout {
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
    header: Vec<u8>,
    data_bytes: u64,
}

impl Layout {
    /// Distributes `tensors`, given in output order, over shards.
    ///
    /// Fails when there is none, when one is called `__metadata__`, or when sizes exceed what the
    /// format can hold.
    pub fn new(
        tensors: IndexMap<String, TensorInfo>,
        shard_size: ShardSize,
    ) -> Result<Self, CheckpointError> {
        check(&tensors)?;
        let mut places = vec![Place { shard: 0, offset: 0 }; tensors.len()];
        let mut shards = Vec::new();
        for range in split(&tensors, shard_size) {
            let mut members: Vec<usize> = range.collect();
            members.sort_by_key(|&index| {
                let (name, info) = &tensors.get_index(index).expect("split stays within tensors");
                (Reverse(header::file_order(info.dtype)), *name)
            });
            let member =
                |&index: &usize| tensors.get_index(index).expect("split stays within tensors");
            let header =
                header::encode(members.iter().map(member).map(|(name, info)| (&**name, info)));
            if header.len() as u64 > header::MAX_HEADER_BYTES {
                return Err(CheckpointError::OutputHeaderTooLarge {
                    shard: shards.len() + 1,
                    bytes: header.len() as u64,
                    limit: header::MAX_HEADER_BYTES,
                });
            }
            let mut data_bytes = 0;
            for index in members {
                places[index] =
                    Place { shard: shards.len(), offset: header.len() as u64 + data_bytes };
                data_bytes += tensors[index].bytes() as u64;
            }
            shards.push(Shard { header, data_bytes });
        }
        Ok(Self { tensors, places, shards })
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

    /// `model.safetensors`, or `model-00002-of-00003.safetensors` for `shard` 1 of three.
    pub fn file_name(&self, shard: usize) -> String {
        match self.shards.len() {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", shard + 1),
        }
    }

    /// Bytes of tensor data, without headers.
    pub fn tensor_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.data_bytes).sum()
    }

    /// Bytes of all weight files together.
    pub fn file_bytes(&self) -> u64 {
        (0..self.shards.len()).map(|shard| self.shard_bytes(shard)).sum()
    }

    /// What stands before the tensor data of a shard.
    pub(super) fn header(&self, shard: usize) -> &[u8] {
        &self.shards[shard].header
    }

    /// Length of a shard's file.
    ///
    /// # Panics
    ///
    /// When there is no such shard.
    pub fn shard_bytes(&self, shard: usize) -> u64 {
        self.shards[shard].header.len() as u64 + self.shards[shard].data_bytes
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
    fn shard_sizes_are_bytes_with_a_decimal_suffix() {
        for (text, bytes) in
            [("5B", 5_000_000_000), ("200m", 200_000_000), ("10k", 10_000), ("17", 17), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(ShardSize::from_bytes(bytes)), "{text}");
        }
        for text in ["", "k", "5GB", "-1", "+1", "1.5b", " 1", "99999999999b", "５", "5ｂ"] {
            let error = text.parse::<ShardSize>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a shard size")), "{error}");
        }
    }

    #[test]
    fn shard_sizes_print_as_they_parse() {
        for text in ["5b", "200m", "10k", "1234", "0"] {
            assert_eq!(text.parse::<ShardSize>().unwrap().to_string(), text);
        }
        assert_eq!(ShardSize::default().to_string(), "5b");
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

//! The header of a safetensors file.
//!
//! ```text
//! u64 little-endian   length n of the header, at most 100 000 000
//! n bytes             JSON, padded with spaces to a multiple of 8:
//!                     {"__metadata__": {…}, "name": {"dtype": "BF16", "shape": […], "data_offsets": [start, end]}, …}
//! the rest            data; offsets count from here, without gaps or overlaps, up to the end of the file
//! ```
//!
//! <https://github.com/huggingface/safetensors#format>. Parsing is strict: whatever passes can be
//! read without another check.

use std::collections::HashSet;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::strided::Strides;
use super::{CheckpointError, TensorInfo};
use crate::kernels::dtype::DType;

/// What the reference implementation accepts. Bounds the memory that a hostile file can claim.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the length that precedes the header, and the header's alignment.
const LENGTH_BYTES: usize = 8;

/// The key that holds free-form strings instead of a tensor.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// A tensor of a file, and where its bytes are.
#[derive(Debug)]
pub(super) struct StoredTensor {
    pub(super) name: String,
    pub(super) info: TensorInfo,
    /// From the first element to the last, counted from the start of the file.
    pub(super) bytes: Range<u64>,
    /// Where the elements lie among these bytes, if not in row-major order without gaps.
    pub(super) strides: Option<Strides>,
}

/// Bytes of a file's header, its length included, as the `head` of the file says; `None` where that is
/// too short to say, or the header too long to be one.
#[cfg(feature = "hub")]
pub(crate) fn header_length(head: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*head.first_chunk()?);
    (length <= MAX_HEADER_BYTES).then_some(LENGTH_BYTES as u64 + length)
}

/// The tensors of the file that `reader` reads from its start, by offset. The file has `actual`
/// bytes; `path` is only for errors.
pub(super) fn parse(
    path: &Path,
    mut reader: impl Read,
    actual: u64,
) -> Result<Vec<StoredTensor>, CheckpointError> {
    let truncated =
        |needed| CheckpointError::HeaderTruncated { path: path.to_owned(), needed, actual };
    let failed = |source| CheckpointError::Read { path: path.to_owned(), source };
    if actual < LENGTH_BYTES as u64 {
        return Err(truncated(LENGTH_BYTES as u64));
    }
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length).map_err(failed)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(CheckpointError::HeaderTooLarge {
            path: path.to_owned(),
            bytes: length,
            limit: MAX_HEADER_BYTES,
        });
    }
    let data_start = LENGTH_BYTES as u64 + length;
    let Some(data_bytes) = actual.checked_sub(data_start) else {
        return Err(truncated(data_start));
    };
    let mut json = vec![0; length as usize];
    reader.read_exact(&mut json).map_err(failed)?;
    let Entries(mut entries) = serde_json::from_slice(&json)
        .map_err(|source| CheckpointError::HeaderSyntax { path: path.to_owned(), source })?;

    let mut seen = HashSet::with_capacity(entries.len());
    if let Some((name, _)) = entries.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(CheckpointError::DuplicateTensor {
            path: path.to_owned(),
            tensor: name.clone(),
        });
    }

    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut expected = 0;
    for (name, entry) in entries {
        let tensor = check_entry(path, name, entry, expected)?;
        expected = tensor.bytes.end;
        tensors.push(StoredTensor {
            // The sum stays below the file's length, or the check after the loop refuses the file.
            bytes: tensor.bytes.start.saturating_add(data_start)
                ..tensor.bytes.end.saturating_add(data_start),
            ..tensor
        });
    }
    if expected != data_bytes {
        return Err(CheckpointError::FileLength {
            path: path.to_owned(),
            expected: data_start.saturating_add(expected),
            actual,
        });
    }
    Ok(tensors)
}

/// The header for tensors that lie one after another in the order given, with its length in front.
pub(super) fn encode<'a>(tensors: impl Iterator<Item = (&'a str, &'a TensorInfo)>) -> Vec<u8> {
    let mut end = 0;
    let entries = tensors.map(|(name, info)| {
        let start = end;
        end += info.bytes() as u64;
        let dtype = tag(info.dtype).to_owned();
        (name.to_owned(), Entry { dtype, shape: info.shape.clone(), data_offsets: (start, end) })
    });
    let entries = Entries(entries.collect());

    let mut header = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut header, &entries).expect("writing strings and integers to memory");
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
    let length = (header.len() - LENGTH_BYTES) as u64;
    header[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    header
}

/// Position of a type in a file, highest first: the order of the reference implementation, which
/// keeps every tensor aligned because sizes only fall.
pub(super) fn file_order(dtype: DType) -> u8 {
    match dtype {
        DType::Bool => 0,
        DType::U8 => 1,
        DType::I8 => 2,
        DType::F8E5M2 => 3,
        DType::F8E4M3 => 4,
        DType::I16 => 5,
        DType::F16 => 6,
        DType::BF16 => 7,
        DType::I32 => 8,
        DType::F32 => 9,
        DType::F64 => 10,
        DType::I64 => 11,
    }
}

/// Checks one entry, whose data should begin at `expected`. The result's bytes count from the start
/// of the data.
fn check_entry(
    path: &Path,
    name: String,
    entry: Entry,
    expected: u64,
) -> Result<StoredTensor, CheckpointError> {
    let path = path.to_owned();
    let (start, end) = entry.data_offsets;
    if start != expected || end < start {
        return Err(CheckpointError::Offsets { path, tensor: name, start, end, expected });
    }
    let Some(dtype) = from_tag(&entry.dtype) else {
        return Err(CheckpointError::UnsupportedDtype { path, tensor: name, dtype: entry.dtype });
    };
    let info = TensorInfo { dtype, shape: entry.shape };
    if info.checked_bytes().map(|bytes| bytes as u64) != Some(end - start) {
        return Err(CheckpointError::ShapeAndBytes {
            path,
            tensor: name,
            dtype,
            shape: info.shape,
            bytes: end - start,
        });
    }
    Ok(StoredTensor { name, info, bytes: start..end, strides: None })
}

/// The format's name of a type.
fn tag(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::F8E4M3 => "F8_E4M3",
        DType::F8E5M2 => "F8_E5M2",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

fn from_tag(tag: &str) -> Option<DType> {
    Some(match tag {
        "BF16" => DType::BF16,
        "F16" => DType::F16,
        "F32" => DType::F32,
        "F64" => DType::F64,
        "F8_E4M3" => DType::F8E4M3,
        "F8_E5M2" => DType::F8E5M2,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        _ => return None,
    })
}

#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// All tensors of a header as written, so that repeated names can be seen.
struct Entries(Vec<(String, Entry)>);

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // Loaders of PyTorch models insist on this entry.
        map.serialize_entry(METADATA_KEY, &serde_json::json!({ "format": "pt" }))?;
        for (name, entry) in &self.0 {
            map.serialize_entry(name, entry)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to their dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA_KEY {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests;

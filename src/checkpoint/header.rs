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
use std::ops::Range;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

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
    /// Counted from the start of the file.
    pub(super) bytes: Range<usize>,
}

/// The tensors of `file`, by offset. `path` is only for errors.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<Vec<StoredTensor>, CheckpointError> {
    let actual = file.len() as u64;
    let truncated =
        |needed| CheckpointError::HeaderTruncated { path: path.to_owned(), needed, actual };
    let Some((&length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(truncated(LENGTH_BYTES as u64));
    };
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(CheckpointError::HeaderTooLarge {
            path: path.to_owned(),
            bytes: length,
            limit: MAX_HEADER_BYTES,
        });
    }
    let Some((json, data)) = rest.split_at_checked(length as usize) else {
        return Err(truncated(LENGTH_BYTES as u64 + length));
    };
    let Entries(mut entries) = serde_json::from_slice(json)
        .map_err(|source| CheckpointError::HeaderSyntax { path: path.to_owned(), source })?;

    let mut seen = HashSet::with_capacity(entries.len());
    if let Some((name, _)) = entries.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(CheckpointError::DuplicateTensor {
            path: path.to_owned(),
            tensor: name.clone(),
        });
    }

    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let data_start = file.len() - data.len();
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
    if expected != data.len() {
        return Err(CheckpointError::FileLength {
            path: path.to_owned(),
            expected: (data_start as u64).saturating_add(expected as u64),
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
        end += info.bytes();
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
        DType::I16 => 3,
        DType::F16 => 4,
        DType::BF16 => 5,
        DType::I32 => 6,
        DType::F32 => 7,
        DType::F64 => 8,
        DType::I64 => 9,
    }
}

/// Checks one entry, whose data should begin at `expected`. The result's bytes count from the start
/// of the data.
fn check_entry(
    path: &Path,
    name: String,
    entry: Entry,
    expected: usize,
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
    if info.checked_bytes() != Some(end - start) {
        return Err(CheckpointError::ShapeAndBytes {
            path,
            tensor: name,
            dtype,
            shape: info.shape,
            bytes: end - start,
        });
    }
    Ok(StoredTensor { name, info, bytes: start..end })
}

/// The format's name of a type.
fn tag(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        DType::F32 => "F32",
        DType::F64 => "F64",
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
    data_offsets: (usize, usize),
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(json: &str, data_bytes: usize) -> Vec<u8> {
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(json.as_bytes());
        file.resize(file.len() + data_bytes, 0);
        file
    }

    fn message(file: &[u8]) -> String {
        parse(Path::new("m.safetensors"), file).unwrap_err().to_string()
    }

    #[test]
    fn header_has_exactly_these_bytes() {
        let tensors = [
            ("a", TensorInfo { dtype: DType::F32, shape: vec![2, 3] }),
            ("b \"ü", TensorInfo { dtype: DType::BF16, shape: vec![] }),
        ];
        let header = encode(tensors.iter().map(|(name, info)| (*name, info)));
        let json = concat!(
            r#"{"__metadata__":{"format":"pt"},"#,
            r#""a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#,
            r#""b \"ü":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}}    "#,
        );
        assert_eq!(header[8..], *json.as_bytes());
        assert_eq!(header[..8], 152u64.to_le_bytes());
    }

    #[test]
    fn tensors_come_in_the_order_of_their_data() {
        let json = r#"{"late":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},
            "empty":{"dtype":"U8","shape":[0,7],"data_offsets":[2,2]},
            "early":{"dtype":"I16","shape":[],"data_offsets":[0,2]}}"#;
        let tensors = parse(Path::new("m.safetensors"), &file(json, 3)).unwrap();
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["early", "empty", "late"]);
        assert_eq!(tensors[2].bytes, json.len() + 10..json.len() + 11);
    }

    #[test]
    fn broken_headers_are_described() {
        let one = |entry: &str| file(&format!(r#"{{"w":{entry}}}"#), 4);
        let cases = [
            (vec![1, 2, 3], "`m.safetensors` has 3 bytes, but its header needs 8"),
            (
                u64::MAX.to_le_bytes().to_vec(),
                "`m.safetensors` declares a header of 18446744073709551615 bytes; \
                the format allows 100000000",
            ),
            (
                100u64.to_le_bytes().to_vec(),
                "`m.safetensors` has 8 bytes, but its header needs 108",
            ),
            (file("[]", 0), "`m.safetensors` has no valid safetensors header"),
            (file(&"[".repeat(10_000), 0), "`m.safetensors` has no valid safetensors header"),
            (
                one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#),
                "`m.safetensors` has no valid safetensors header",
            ),
            (
                one(r#"{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}"#),
                "`m.safetensors`: tensor `w` has element type `F8_E4M3`, which is not supported",
            ),
            (
                one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#),
                "`m.safetensors`: tensor `w` of type float32 and shape [2] cannot have 4 bytes",
            ),
            (
                one(r#"{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}"#),
                "`m.safetensors`: tensor `w` of type float32 and shape [4611686018427387905] \
                cannot have 4 bytes",
            ),
            (
                one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#),
                "`m.safetensors`: the data of tensor `w` is at 4..0, but should start at 0",
            ),
            (
                one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#),
                "`m.safetensors` has 66 bytes, but its header describes 70",
            ),
            (
                one(r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#),
                "`m.safetensors` has 65 bytes, but its header describes 62",
            ),
            (
                file(
                    r#"{"v":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},
                        "w":{"dtype":"F16","shape":[1],"data_offsets":[1,3]}}"#,
                    3,
                ),
                "`m.safetensors`: the data of tensor `w` is at 1..3, but should start at 2",
            ),
            (
                file(
                    r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                        "w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                    2,
                ),
                "`m.safetensors` lists tensor `w` twice",
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(message(&file), expected);
        }
    }

    /// JSON that is likely to be a header, with numbers likely to be wrong.
    fn almost_header() -> impl Strategy<Value = String> {
        let number = || {
            prop_oneof![
                (0u64..12).prop_map(|n| n.to_string()),
                any::<u64>().prop_map(|n| n.to_string()),
                Just("-1".to_owned()),
                Just("1e30".to_owned()),
                Just("null".to_owned()),
            ]
        };
        let dtype = prop::sample::select(vec!["F32", "BF16", "U8", "BOOL", "F4", "I64", ""]);
        let name = prop::sample::select(vec!["a", "b", METADATA_KEY]);
        let entry = (name, dtype, prop::collection::vec(number(), 0..4), number(), number());
        let entry = entry.prop_map(|(name, dtype, shape, start, end)| {
            let shape = shape.join(",");
            format!(
                r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
            )
        });
        prop::collection::vec(entry, 0..4).prop_map(|entries| format!("{{{}}}", entries.join(",")))
    }

    /// Whatever parses lies within the file, without overlaps.
    fn check(file: &[u8]) {
        let Ok(tensors) = parse(Path::new("m"), file) else { return };
        for pair in tensors.windows(2) {
            assert_eq!(pair[0].bytes.end, pair[1].bytes.start);
        }
        for tensor in &tensors {
            assert_eq!(file[tensor.bytes.clone()].len(), tensor.info.bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_tensors_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }

        #[test]
        fn any_header_gives_tensors_or_an_error(json in almost_header(), data_bytes in 0usize..20) {
            check(&file(&json, data_bytes));
        }

        #[test]
        fn a_flipped_byte_gives_tensors_or_an_error(at in any::<prop::sample::Index>(), with: u8) {
            let info = TensorInfo { dtype: DType::F32, shape: vec![2, 3] };
            let mut file = encode([("a", &info), ("b", &info)].into_iter());
            file.resize(file.len() + 48, 0);
            let at = at.index(file.len());
            file[at] = with;
            check(&file);
        }
    }
}

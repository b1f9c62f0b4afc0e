//! The tensors of a PyTorch file, found without running anything that it says.
//!
//! `torch.save` writes a *pickle*, a program that rebuilds what was saved, beside the raw data of the
//! tensors' storages. Since PyTorch 1.6 both are entries of a ZIP archive ([`archive`]); before, one
//! followed the other ([`legacy`]). The program is run by a [`machine`] that knows the few calls that
//! tensors need and refuses any other by its name. What comes out is where each tensor's elements
//! lie in the file, from where they are read as those of safetensors are.
//!
//! Files are written in the form of today, with the data in place before its checksums are known:
//! [`program`] is the pickle, [`archive_writer`] what is around it.

mod archive;
mod archive_writer;
mod legacy;
mod machine;
mod program;
mod rebuild;
mod stream;
mod values;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use self::archive::Archive;
use self::machine::Machine;
use self::stream::Stream;
use self::values::{Element, Text, Value, View};
use super::header::StoredTensor;
use super::positioned::PositionedFile;
use super::strided::Strides;
use super::{CheckpointError, TensorInfo};
use crate::kernels::dtype::DType;

pub(super) use self::archive::MAX_DIRECTORY_BYTES;
pub(super) use self::archive_writer::ArchiveLayout;

/// Bytes of a file's beginning that [`is_pickle`] wants to see, if there are as many.
pub(super) const HEAD_BYTES: usize = legacy::HEAD_BYTES;

/// Key of the state dict in files that hold more.
const STATE_DICT: &[u8] = b"state_dict";

/// Keys that a message lists.
const MAX_LISTED: usize = 5;

/// The bytes of every storage by its key, counted from the start of the file.
type Data = HashMap<Vec<u8>, Range<u64>>;

/// Whether a file that begins with `head` was written by `torch.save`.
pub(super) fn is_pickle(head: &[u8]) -> bool {
    head.starts_with(archive::MAGIC) || legacy::is_legacy(head)
}

/// The tensors of a file that has `bytes` bytes, by their place in it; `path` is only for errors.
///
/// They are those of the dictionary that was saved or, if it has one, of that under `state_dict`.
/// What else is in there is ignored. A passed check means that all elements are in the file.
pub(super) fn parse(
    path: &Path,
    file: &PositionedFile,
    bytes: u64,
) -> Result<Vec<StoredTensor>, CheckpointError> {
    let mut head = vec![0; bytes.min(HEAD_BYTES as u64) as usize];
    file.read_exact_at(0, &mut head)
        .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    if legacy::is_legacy(&head) {
        let mut machine = Machine::new(Stream::new(path, file, 0..bytes));
        let (saved, data) = legacy::run(&mut machine, file, bytes)?;
        return Places { path, bytes, machine: &machine }
            .tensors(saved, |key| Ok(data.get(key).cloned()));
    }
    if !head.starts_with(archive::MAGIC) {
        return Err(CheckpointError::NotPickle { path: path.to_owned() });
    }
    let archive = Archive::open(path, file, bytes)?;
    let what = |what| CheckpointError::ArchiveSyntax { path: path.to_owned(), what };
    let program = archive.find(b"data.pkl")?.ok_or_else(|| what("it has no entry `data.pkl`"))?;
    if let Some(order) = archive.find(b"byteorder")? {
        let mut text = vec![0; (order.end - order.start).min(8) as usize];
        file.read_exact_at(order.start, &mut text)
            .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
        if text != b"little" {
            return Err(what("its data is not little-endian"));
        }
    }
    let mut machine = Machine::new(Stream::new(path, file, program));
    let saved = machine.run()?;
    // Storages are shared, and each look-up reads from the file.
    let mut found: HashMap<Vec<u8>, Option<Range<u64>>> = HashMap::new();
    Places { path, bytes, machine: &machine }.tensors(saved, |key| {
        if let Some(place) = found.get(key) {
            return Ok(place.clone());
        }
        let place = archive.find(&[b"data/", key].concat())?;
        found.insert(key.to_vec(), place.clone());
        Ok(place)
    })
}

/// What an archive has beside the data of `tensors`: the pickle, which comes first, the order of bytes
/// in numbers, and the version of PyTorch's files.
pub(super) fn small_entries(tensors: &[(&str, &TensorInfo)]) -> [(&'static str, Vec<u8>); 3] {
    [
        ("data.pkl", program::encode(tensors)),
        ("byteorder", b"little".to_vec()),
        ("version", b"3\n".to_vec()),
    ]
}

/// The name of the entry with the data of tensor `index`.
pub(super) fn data_name(index: usize) -> String {
    format!("data/{index}")
}

/// The share in the CRC-32 of an entry of `bytes`, a part of it that `following` bytes follow. The shares
/// of all parts, in any order, combine by XOR.
///
/// Appending n bytes to what has checksum c makes it M(n, c) ^ d, where d is the checksum of these bytes
/// and M is linear in c. So every part counts with its own checksum, moved past all that follows it.
pub(super) fn checksum_share(bytes: &[u8], following: u64) -> u32 {
    let mut share = crc32fast::Hasher::new();
    share.update(bytes);
    share.combine(&crc32fast::Hasher::new_with_initial_len(0, following));
    share.finalize()
}

/// Bytes of one element.
fn element_bytes(element: Element) -> u64 {
    match element {
        Element::Known(dtype) => dtype.size() as u64,
        Element::Untyped => 1,
        Element::Unsupported(name) => match name {
            "complex128" => 16,
            "complex64" => 8,
            "qint32" => 4,
            _ => 1,
        },
    }
}

/// The tensors that a machine has made.
struct Places<'a> {
    path: &'a Path,
    /// Bytes of the file.
    bytes: u64,
    machine: &'a Machine<'a>,
}

impl Places<'_> {
    /// The tensors of what was saved. `find` gives the data of the storage with some key.
    fn tensors(
        &self,
        saved: Value,
        mut find: impl FnMut(&[u8]) -> Result<Option<Range<u64>>, CheckpointError>,
    ) -> Result<Vec<StoredTensor>, CheckpointError> {
        let Value::Dict(outer) = saved else {
            return Err(CheckpointError::NoStateDict {
                path: self.path.to_owned(),
                found: Vec::new(),
            });
        };
        let outer = &self.machine.values.dicts[outer as usize];
        let wrapped = outer.iter().find_map(|&entry| match entry {
            (Value::Text(key), Value::Dict(inner)) if self.machine.text(key) == STATE_DICT => {
                Some(inner)
            }
            _ => None,
        });
        let dict = wrapped.map_or(outer, |inner| &self.machine.values.dicts[inner as usize]);

        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for &(key, value) in dict {
            let (Value::Text(key), Value::Tensor(view)) = (key, value) else { continue };
            let name = self.display(key);
            if !names.insert(self.machine.text(key)) {
                return Err(CheckpointError::DuplicateTensor {
                    path: self.path.to_owned(),
                    tensor: name,
                });
            }
            tensors.push(self.place(name, view, &mut find)?);
        }
        if tensors.is_empty() && !dict.is_empty() {
            let keys = dict.iter().filter_map(|&(key, _)| match key {
                Value::Text(key) => Some(self.display(key)),
                _ => None,
            });
            let found = keys.take(MAX_LISTED).collect();
            return Err(CheckpointError::NoStateDict { path: self.path.to_owned(), found });
        }
        tensors.sort_by_key(|tensor| tensor.bytes.start);
        Ok(tensors)
    }

    /// Finds the elements of one tensor.
    fn place(
        &self,
        name: String,
        view: u32,
        find: &mut impl FnMut(&[u8]) -> Result<Option<Range<u64>>, CheckpointError>,
    ) -> Result<StoredTensor, CheckpointError> {
        let path = || self.path.to_owned();
        let View { storage, element, offset, ref shape, ref strides } =
            self.machine.values.tensors[view as usize];
        let storage = self.machine.values.storages[storage as usize];
        let dtype = match element {
            Element::Known(dtype) => dtype,
            Element::Untyped => DType::U8,
            Element::Unsupported(dtype) => {
                let dtype = dtype.to_owned();
                return Err(CheckpointError::UnsupportedDtype {
                    path: path(),
                    tensor: name,
                    dtype,
                });
            }
        };
        let Some(data) = find(self.machine.text(storage.key))? else {
            let storage = self.display(storage.key);
            return Err(CheckpointError::NoStorage { path: path(), tensor: name, storage });
        };

        // Elements of the storage that the view covers, in bytes.
        let size = dtype.size() as u64;
        let start = (storage.first.checked_mul(element_bytes(storage.element)))
            .zip(offset.checked_mul(size))
            .and_then(|(first, offset)| first.checked_add(offset));
        let covered = covered(shape, strides).and_then(|elements| elements.checked_mul(size));
        let end = start.zip(covered).and_then(|(start, covered)| start.checked_add(covered));
        let there = storage
            .elements
            .saturating_mul(element_bytes(storage.element))
            .min(data.end - data.start);
        let (Some(start), Some(end)) = (start, end.filter(|&end| end <= there)) else {
            return Err(CheckpointError::OutsideStorage {
                path: path(),
                tensor: name,
                storage: self.display(storage.key),
                bytes: there,
            });
        };
        let info = TensorInfo { dtype, shape: shape.clone() };
        // Repeated elements cost nothing in the file, but the output would have them all.
        if info.checked_bytes().is_none_or(|bytes| bytes as u64 > self.bytes) {
            return Err(CheckpointError::RepeatedBeyondFile {
                path: path(),
                tensor: name,
                shape: info.shape,
            });
        }
        Ok(StoredTensor {
            name,
            info,
            bytes: data.start + start..data.start + end,
            strides: Strides::new(shape, strides),
        })
    }

    fn display(&self, text: Text) -> String {
        String::from_utf8_lossy(self.machine.text(text)).into_owned()
    }
}

/// Elements from the first to the last of a view, with gaps. `None` when they are too many to count.
fn covered(shape: &[usize], strides: &[usize]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().zip(strides).try_fold(1u64, |covered, (&count, &stride)| {
        (count as u64 - 1).checked_mul(stride as u64)?.checked_add(covered)
    })
}

#[cfg(test)]
mod tests;

//! Writes a checkpoint in place, in any order, from many threads.
//!
//! What is known beforehand is written and files get their final length first. From then on each byte has
//! its place, so nothing is buffered: memory stays at the chunks that the callers hold. Archives need a
//! checksum of every tensor. The chunks' shares of it are added up on the way, as nothing is read again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::frame::Stretch;
use super::positioned::PositionedFile;
use super::{CheckpointError, Layout, pickle};

/// Shards beyond these are opened for each write, so that a small shard size cannot exhaust the
/// process's file handles (commonly 1024).
const MAX_OPEN_SHARDS: usize = 256;

/// The weight files of a checkpoint while they are being filled.
#[derive(Debug)]
pub struct CheckpointWriter {
    directory: PathBuf,
    layout: Layout,
    shards: Vec<Shard>,
    /// Parallel to the tensors of the layout.
    written: Vec<Written>,
}

/// What has been written of a tensor.
#[derive(Debug, Default)]
struct Written {
    /// To notice what was forgotten.
    bytes: AtomicU64,
    /// Shares of the CRC-32, where the format has one.
    checksum: AtomicU32,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Option<PositionedFile>,
}

impl CheckpointWriter {
    /// Creates the weight files in `directory`, which exists and holds none of them yet: usually the
    /// [`path`](super::OutputDirectory::path) of an output directory.
    ///
    /// Fails early when the disk has less space than the layout needs, as far as the system tells.
    pub fn create(directory: &Path, layout: Layout) -> Result<Self, CheckpointError> {
        if let Some(available) = available_bytes(directory)
            && available < layout.file_bytes()
        {
            return Err(CheckpointError::DiskFull {
                path: directory.to_owned(),
                needed: layout.file_bytes(),
                available,
            });
        }
        let mut shards = Vec::with_capacity(layout.n_shards());
        for index in 0..layout.n_shards() {
            let path = directory.join(layout.file_name(index));
            let file = create_shard(&path, layout.shard_bytes(index))
                .map_err(|source| CheckpointError::Write { path: path.clone(), source })?;
            let file = (index < MAX_OPEN_SHARDS).then(|| PositionedFile::new(file));
            let shard = Shard { path, file };
            shard.write(&layout.frame(index).opening)?;
            shards.push(shard);
        }
        let written = layout.tensors().iter().map(|_| Written::default()).collect();
        Ok(Self { directory: directory.to_owned(), layout, shards, written })
    }

    /// The layout that is being filled.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes `bytes`, little-endian elements in the layout's dtype, at byte `offset` of the tensor
    /// at position `tensor` of the layout.
    ///
    /// Each byte is to be written once. Calls may come in any order and from many threads.
    ///
    /// # Panics
    ///
    /// When the layout has no such tensor.
    pub fn write_at(
        &self,
        tensor: usize,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), CheckpointError> {
        let (name, info) = self.layout.tensors().get_index(tensor).expect("tensor of the layout");
        if offset.checked_add(bytes.len()).is_none_or(|end| end > info.bytes()) {
            return Err(CheckpointError::WriteOutOfRange {
                tensor: name.clone(),
                offset,
                n_bytes: bytes.len(),
                bytes: info.bytes(),
            });
        }
        let place = self.layout.place(tensor);
        self.shards[place.shard].write_at(place.offset + offset as u64, bytes)?;
        let written = &self.written[tensor];
        written.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.layout.frame(place.shard).wants_checksums() {
            let following = (info.bytes() - offset - bytes.len()) as u64;
            let share = pickle::checksum_share(bytes, following);
            written.checksum.fetch_xor(share, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks that every tensor is complete, completes the files and adds the index that several shards
    /// need.
    ///
    /// Does not wait for the disk: [`OutputDirectory::commit`](super::OutputDirectory::commit) does.
    pub fn finish(self) -> Result<(), CheckpointError> {
        for ((name, info), written) in self.layout.tensors().iter().zip(&self.written) {
            let written = written.bytes.load(Ordering::Relaxed);
            if written != info.bytes() as u64 {
                return Err(CheckpointError::Incomplete {
                    tensor: name.clone(),
                    written,
                    bytes: info.bytes() as u64,
                });
            }
        }
        for (index, shard) in self.shards.iter().enumerate() {
            let written = &self.written[self.layout.tensors_of(index)];
            let checksums: Vec<u32> =
                written.iter().map(|written| written.checksum.load(Ordering::Relaxed)).collect();
            shard.write(&self.layout.frame(index).closing(&checksums))?;
        }
        if self.layout.n_shards() > 1 {
            let path = self.directory.join(self.layout.format().index_name());
            let index = format!("{:#}\n", self.layout.index());
            std::fs::write(&path, index)
                .map_err(|source| CheckpointError::Write { path, source })?;
        }
        Ok(())
    }
}

impl Shard {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let result = match &self.file {
            Some(file) => file.write_all_at(offset, bytes),
            None => OpenOptions::new()
                .write(true)
                .open(&self.path)
                .and_then(|file| PositionedFile::new(file).write_all_at(offset, bytes)),
        };
        result.map_err(|source| CheckpointError::Write { path: self.path.clone(), source })
    }

    fn write(&self, stretches: &[Stretch]) -> Result<(), CheckpointError> {
        stretches.iter().try_for_each(|(offset, bytes)| self.write_at(*offset, bytes))
    }
}

fn create_shard(path: &Path, bytes: u64) -> io::Result<File> {
    let file = File::create_new(path)?;
    file.set_len(bytes)?;
    Ok(file)
}

/// What the system reports as free for this user, or `None` where it does not know.
#[cfg(unix)]
fn available_bytes(directory: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(directory).ok()?;
    // Some network and virtual file systems report no sizes at all.
    (status.f_blocks > 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(not(unix))]
fn available_bytes(_directory: &Path) -> Option<u64> {
    None
}

//! The bytes of pickles, read from a file as they are needed.

use std::ops::Range;
use std::path::Path;

use super::super::CheckpointError;
use super::super::positioned::PositionedFile;

/// The most that the pickles of one file may have: bounds the memory that a hostile file can claim.
/// A tensor takes some 150 bytes.
pub(super) const MAX_PICKLE_BYTES: u64 = 100_000_000;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 16;

/// A part of a file that is read from its start to wherever its last pickle ends.
pub(super) struct Stream<'a> {
    path: &'a Path,
    file: &'a PositionedFile,
    /// The part.
    bytes: Range<u64>,
    /// What has been read of it.
    buffer: Vec<u8>,
    /// The next byte, as an index of `buffer`.
    next: usize,
}

impl<'a> Stream<'a> {
    pub(super) fn new(path: &'a Path, file: &'a PositionedFile, bytes: Range<u64>) -> Self {
        Self { path, file, bytes, buffer: Vec::new(), next: 0 }
    }

    /// Everything that was read, which spans of [`Self::take`] refer to.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// The next byte, counted from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.bytes.start + self.next as u64
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64) -> Result<Range<usize>, CheckpointError> {
        let start = self.next;
        let end = (start as u64).saturating_add(n);
        self.fill(end)?;
        self.next = end as usize;
        Ok(start..self.next)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let span = self.take(N as u64)?;
        Ok(self.buffer[span].try_into().expect("the span has that length"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, CheckpointError> {
        self.array().map(|[byte]| byte)
    }

    /// Up to the next end of line, which is passed but not returned.
    pub(super) fn line(&mut self) -> Result<Range<usize>, CheckpointError> {
        let start = self.next;
        while self.byte()? != b'\n' {}
        Ok(start..self.next - 1)
    }

    /// An error about the byte at `position`.
    pub(super) fn broken(&self, position: u64, what: &'static str) -> CheckpointError {
        CheckpointError::PickleSyntax { path: self.path.to_owned(), position, what }
    }

    /// Makes the buffer at least `end` bytes long.
    fn fill(&mut self, end: u64) -> Result<(), CheckpointError> {
        let had = self.buffer.len();
        if end <= had as u64 {
            return Ok(());
        }
        let available = self.bytes.end - self.bytes.start;
        if end > available {
            return Err(self.broken(self.position(), "ends too early"));
        }
        if end > MAX_PICKLE_BYTES {
            return Err(CheckpointError::PickleTooLarge { path: self.path.to_owned() });
        }
        self.buffer.resize(end.saturating_add(PIECE).min(available) as usize, 0);
        self.file
            .read_exact_at(self.bytes.start + had as u64, &mut self.buffer[had..])
            .map_err(|source| CheckpointError::Read { path: self.path.to_owned(), source })
    }
}

//! Files that are read and written at positions, from many threads and without a shared cursor.

use std::fs::File;
use std::io;

/// An open file whose reads and writes say where.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct PositionedFile(File);

#[cfg(unix)]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    /// Fills `out` from `offset` on. [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    pub(super) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    pub(super) fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }
}

/// An open file that threads take turns to use.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct PositionedFile(std::sync::Mutex<File>);

#[cfg(not(unix))]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    /// Fills `out` from `offset` on. [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    pub(super) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        io::Read::read_exact(&mut *self.at(offset)?, out)
    }

    pub(super) fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut *self.at(offset)?, bytes)
    }

    /// The file with its cursor at `offset`. Every use seeks first, so a user that panicked leaves
    /// nothing to repair.
    fn at(&self, offset: u64) -> io::Result<std::sync::MutexGuard<'_, File>> {
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        io::Seek::seek(&mut *file, io::SeekFrom::Start(offset))?;
        Ok(file)
    }
}

impl PositionedFile {
    /// The file from its start, for readers that take one piece after another.
    pub(super) fn reader(&self) -> impl io::Read {
        FromStart { file: self, next: 0 }
    }
}

struct FromStart<'a> {
    file: &'a PositionedFile,
    next: u64,
}

impl io::Read for FromStart<'_> {
    /// Fills `out`, or fails at the end of the file.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read_exact_at(self.next, out)?;
        self.next += out.len() as u64;
        Ok(out.len())
    }
}

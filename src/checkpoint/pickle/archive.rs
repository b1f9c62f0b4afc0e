//! The ZIP archive that `torch.save` writes: entries are stored as they are, so that each is a part of
//! the file. What is compressed or encrypted is refused. Sizes beyond 32 bits are in ZIP64 fields.
//!
//! <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::super::CheckpointError;
use super::super::positioned::PositionedFile;

pub(super) const END: &[u8; 4] = b"PK\x05\x06";
pub(super) const END_BYTES: usize = 22;
pub(super) const ZIP64_LOCATOR: &[u8; 4] = b"PK\x06\x07";
pub(super) const ZIP64_LOCATOR_BYTES: usize = 20;
pub(super) const ZIP64_END: &[u8; 4] = b"PK\x06\x06";
pub(super) const ZIP64_END_BYTES: usize = 56;
pub(super) const ENTRY: &[u8; 4] = b"PK\x01\x02";
pub(super) const ENTRY_BYTES: usize = 46;
pub(super) const LOCAL: &[u8; 4] = b"PK\x03\x04";
pub(super) const LOCAL_BYTES: usize = 30;

/// What a file that can be an archive begins with.
pub(super) const MAGIC: &[u8] = LOCAL;

/// The longest comment that can follow the end record.
const MAX_COMMENT: usize = u16::MAX as usize;

/// Bounds the memory that a hostile file can claim. An entry takes some 100 bytes.
pub(in crate::checkpoint) const MAX_DIRECTORY_BYTES: u64 = 100_000_000;

/// Kind of the extra field that holds sizes beyond 32 bits.
pub(super) const ZIP64_EXTRA: u16 = 1;

/// The entries of an archive.
pub(super) struct Archive<'a> {
    path: &'a Path,
    file: &'a PositionedFile,
    bytes: u64,
    entries: HashMap<Vec<u8>, Entry>,
    /// The folder that every entry lies in, with its `/`.
    folder: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where its local header begins.
    header: u64,
    bytes: u64,
    is_plain: bool,
}

impl<'a> Archive<'a> {
    /// Reads the list of entries of a file that has `bytes` bytes.
    pub(super) fn open(
        path: &'a Path,
        file: &'a PositionedFile,
        bytes: u64,
    ) -> Result<Self, CheckpointError> {
        let mut archive = Self { path, file, bytes, entries: HashMap::new(), folder: Vec::new() };
        let directory = archive.directory()?;
        archive.read_entries(&directory)?;
        Ok(archive)
    }

    /// The bytes of the entry `name`, counted from the start of the file; `None` when there is none.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Range<u64>>, CheckpointError> {
        let Some(entry) = self.entries.get(&[&self.folder, name].concat()) else {
            return Ok(None);
        };
        if !entry.is_plain {
            return Err(self.broken("its entries are compressed or encrypted"));
        }
        // Names and extra fields may differ in length from those in the list.
        let header = self.read::<LOCAL_BYTES>(entry.header)?;
        if !header.starts_with(LOCAL) {
            return Err(self.broken("its list of entries is wrong"));
        }
        let names = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let start = entry.header + LOCAL_BYTES as u64 + names;
        match start.checked_add(entry.bytes) {
            Some(end) if end <= self.bytes => Ok(Some(start..end)),
            _ => Err(self.broken("its list of entries is wrong")),
        }
    }

    fn broken(&self, what: &'static str) -> CheckpointError {
        CheckpointError::ArchiveSyntax { path: self.path.to_owned(), what }
    }

    fn read_at(&self, start: u64, out: &mut [u8]) -> Result<(), CheckpointError> {
        match start.checked_add(out.len() as u64) {
            Some(end) if end <= self.bytes => {}
            _ => return Err(self.broken("its list of entries is wrong")),
        }
        self.file
            .read_exact_at(start, out)
            .map_err(|source| CheckpointError::Read { path: self.path.to_owned(), source })
    }

    fn read<const N: usize>(&self, start: u64) -> Result<[u8; N], CheckpointError> {
        let mut out = [0; N];
        self.read_at(start, &mut out)?;
        Ok(out)
    }

    /// The list of entries, as bytes.
    fn directory(&self) -> Result<Vec<u8>, CheckpointError> {
        let tail_bytes = self.bytes.min((END_BYTES + MAX_COMMENT) as u64);
        let tail_start = self.bytes - tail_bytes;
        let mut tail = vec![0; tail_bytes as usize];
        self.read_at(tail_start, &mut tail)?;
        let is_end = |at: &usize| {
            let end = &tail[*at..];
            end.starts_with(END) && END_BYTES + usize::from(u16_at(end, 20)) == end.len()
        };
        let Some(at) = (0..(tail.len() + 1).saturating_sub(END_BYTES)).rev().find(is_end) else {
            return Err(self.broken("it has no list of entries at its end"));
        };
        let end = &tail[at..];
        let (mut length, mut start) = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));

        let locator = (tail_start + at as u64).checked_sub(ZIP64_LOCATOR_BYTES as u64);
        if let Some(locator) = locator {
            let locator = self.read::<ZIP64_LOCATOR_BYTES>(locator)?;
            if locator.starts_with(ZIP64_LOCATOR) {
                let end = self.read::<ZIP64_END_BYTES>(u64_at(&locator, 8))?;
                if !end.starts_with(ZIP64_END) {
                    return Err(self.broken("its list of entries is wrong"));
                }
                (length, start) = (u64_at(&end, 40), u64_at(&end, 48));
            }
        }
        if length > MAX_DIRECTORY_BYTES.min(self.bytes) {
            return Err(self.broken("its list of entries is too long"));
        }
        let mut directory = vec![0; length as usize];
        self.read_at(start, &mut directory)?;
        Ok(directory)
    }

    fn read_entries(&mut self, mut rest: &[u8]) -> Result<(), CheckpointError> {
        while !rest.is_empty() {
            let wrong = || self.broken("its list of entries is wrong");
            if rest.len() < ENTRY_BYTES || !rest.starts_with(ENTRY) {
                return Err(wrong());
            }
            let (head, tail) = rest.split_at(ENTRY_BYTES);
            let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
            let Some((names, tail)) = tail.split_at_checked(name + extra + comment) else {
                return Err(wrong());
            };
            rest = tail;
            let (name, extra) = (&names[..name], &names[name..name + extra]);

            let mut sizes = [u32_at(head, 24), u32_at(head, 20), u32_at(head, 42)].map(u64::from);
            widen(&mut sizes, extra).ok_or_else(wrong)?;
            let [bytes, compressed, header] = sizes;
            if header > self.bytes {
                return Err(wrong());
            }
            let (flags, method) = (u16_at(head, 8), u16_at(head, 10));
            let is_plain = flags & 1 == 0 && method == 0 && bytes == compressed;

            if self.entries.is_empty() {
                let folder = name.iter().position(|&byte| byte == b'/').map_or(0, |at| at + 1);
                self.folder = name[..folder].to_vec();
            }
            if self.entries.insert(name.to_vec(), Entry { header, bytes, is_plain }).is_some() {
                return Err(self.broken("it lists an entry twice"));
            }
        }
        Ok(())
    }
}

/// Replaces the sizes that 32 bits do not hold by those in the extra field, which has just these, in
/// this order. `None` when it does not.
fn widen(sizes: &mut [u64; 3], mut extra: &[u8]) -> Option<()> {
    let mut wide: &[u8] = &[];
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let field = extra.get(4..4 + length)?;
        if kind == ZIP64_EXTRA {
            wide = field;
        }
        extra = &extra[4 + length..];
    }
    for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
        let (value, rest) = wide.split_at_checked(8)?;
        *size = u64_at(value, 0);
        wide = rest;
    }
    Some(())
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has that length")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

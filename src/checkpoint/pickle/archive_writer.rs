//! The ZIP archive that an output's pickle and the data of its tensors are entries of, as `torch.save`
//! lays it out: nothing is compressed, and data begins at multiples of 64 bytes, so that it can be
//! mapped. Sizes beyond 32 bits go into ZIP64 fields.
//!
//! Names and sizes decide where everything goes, so the data can be written first and in any order.
//! Headers follow when the checksums are known.

use super::archive::{
    END, END_BYTES, ENTRY, ENTRY_BYTES, LOCAL, LOCAL_BYTES, ZIP64_END, ZIP64_END_BYTES,
    ZIP64_EXTRA, ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES,
};
use crate::checkpoint::frame::Stretch;

/// The folder that every entry lies in.
const FOLDER: &str = "archive/";

/// Data begins at multiples of this.
const ALIGNMENT: u64 = 64;

/// Kind of the extra field that moves data to such a multiple; PyTorch's choice.
const PADDING_EXTRA: u16 = u16::from_le_bytes(*b"FB");

/// Kind and length of an extra field.
const EXTRA_HEAD_BYTES: u64 = 4;

/// What a field of 32 bits has when the value is in a ZIP64 field.
const IN_ZIP64: u64 = u32::MAX as u64;

/// Version 4.5 of the format, the first with ZIP64.
const VERSION: u16 = 45;

/// 1 January 1980, the earliest date. The same merge gives the same bytes at any time.
const DATE: u16 = 1 << 5 | 1;

/// An archive before its data is known.
#[derive(Debug, Clone, Default)]
pub(in crate::checkpoint) struct ArchiveLayout {
    entries: Vec<Entry>,
    /// End of the last entry, where the list of entries begins.
    end: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    /// Where its local header begins.
    header: u64,
    bytes: u64,
    /// Bytes that move the data to a multiple of [`ALIGNMENT`].
    padding: u16,
    /// Known beforehand for what is no tensor.
    checksum: Option<u32>,
}

impl ArchiveLayout {
    /// Adds an entry of `bytes` bytes and returns where they begin.
    pub(in crate::checkpoint) fn add(&mut self, name: &str, bytes: u64) -> u64 {
        self.add_entry(name, bytes, None)
    }

    /// Adds an entry that holds `content`, and returns where that begins.
    pub(in crate::checkpoint) fn add_known(&mut self, name: &str, content: &[u8]) -> u64 {
        self.add_entry(name, content.len() as u64, Some(crc32fast::hash(content)))
    }

    fn add_entry(&mut self, name: &str, bytes: u64, checksum: Option<u32>) -> u64 {
        let header = self.end;
        let mut entry =
            Entry { name: format!("{FOLDER}{name}"), header, bytes, padding: 0, checksum };
        let unpadded = header + entry.local_bytes();
        let start = unpadded.next_multiple_of(ALIGNMENT);
        entry.padding = (start - unpadded) as u16;
        self.entries.push(entry);
        self.end = start + bytes;
        start
    }

    /// Length of the list of entries.
    pub(in crate::checkpoint) fn directory_bytes(&self) -> u64 {
        self.entries.iter().map(Entry::listed_bytes).sum()
    }

    /// Length of the file.
    pub(in crate::checkpoint) fn bytes(&self) -> u64 {
        let end = ZIP64_END_BYTES + ZIP64_LOCATOR_BYTES + END_BYTES;
        self.end + self.directory_bytes() + end as u64
    }

    /// Everything but the content of entries. `checksums` are the CRC-32 of those that were added
    /// without, in order.
    pub(in crate::checkpoint) fn encode(&self, checksums: &[u32]) -> Vec<Stretch> {
        let mut checksums = checksums.iter().copied();
        let mut stretches = Vec::with_capacity(self.entries.len() + 1);
        let mut directory = Vec::new();
        for entry in &self.entries {
            let checksum = entry.checksum.or_else(|| checksums.next());
            let checksum = checksum.expect("there is a checksum for every entry");
            stretches.push((entry.header, entry.local_header(checksum)));
            entry.list(checksum, &mut directory);
        }
        self.encode_end(&mut directory);
        stretches.push((self.end, directory));
        stretches
    }

    /// Appends what says where the list of entries is. Its ZIP64 form is always there, as PyTorch does.
    fn encode_end(&self, out: &mut Vec<u8>) {
        let (bytes, start) = (self.directory_bytes(), self.end);
        let n_entries = self.entries.len() as u64;
        out.extend(ZIP64_END);
        // Bytes of this record from here on.
        put64(out, (ZIP64_END_BYTES - 12) as u64);
        put16(out, VERSION);
        put16(out, VERSION);
        // This disk, and the one that the list begins on.
        put32(out, 0);
        put32(out, 0);
        for value in [n_entries, n_entries, bytes, start] {
            put64(out, value);
        }
        out.extend(ZIP64_LOCATOR);
        put32(out, 0);
        put64(out, start + bytes);
        // Disks in all.
        put32(out, 1);
        out.extend(END);
        put32(out, 0);
        let count = n_entries.min(u64::from(u16::MAX)) as u16;
        put16(out, count);
        put16(out, count);
        put32(out, saturated(bytes));
        put32(out, saturated(start));
        // Length of the comment.
        put16(out, 0);
    }
}

impl Entry {
    /// Sizes that its local header does not hold: plain and compressed.
    fn local_zip64(&self) -> Vec<u64> {
        if self.bytes >= IN_ZIP64 { vec![self.bytes; 2] } else { Vec::new() }
    }

    /// The same of the list of entries, which also says where the local header begins.
    fn listed_zip64(&self) -> Vec<u64> {
        let mut wide = self.local_zip64();
        wide.extend((self.header >= IN_ZIP64).then_some(self.header));
        wide
    }

    /// Length of the local header.
    fn local_bytes(&self) -> u64 {
        let fixed = LOCAL_BYTES + self.name.len() + zip64_bytes(&self.local_zip64());
        fixed as u64 + EXTRA_HEAD_BYTES + u64::from(self.padding)
    }

    /// Length of its part of the list of entries.
    fn listed_bytes(&self) -> u64 {
        (ENTRY_BYTES + self.name.len() + zip64_bytes(&self.listed_zip64())) as u64
    }

    fn local_header(&self, checksum: u32) -> Vec<u8> {
        let extra = self.local_bytes() - (LOCAL_BYTES + self.name.len()) as u64;
        let mut out = LOCAL.to_vec();
        self.put_common(checksum, extra as u16, &mut out);
        out.extend(self.name.as_bytes());
        put_zip64(&self.local_zip64(), &mut out);
        put16(&mut out, PADDING_EXTRA);
        put16(&mut out, self.padding);
        out.resize(out.len() + usize::from(self.padding), b'Z');
        out
    }

    /// Appends its part of the list of entries.
    fn list(&self, checksum: u32, out: &mut Vec<u8>) {
        let wide = self.listed_zip64();
        out.extend(ENTRY);
        put16(out, VERSION);
        self.put_common(checksum, zip64_bytes(&wide) as u16, out);
        // No comment, the first disk, no attributes.
        out.extend([0; 2 + 2 + 2 + 4]);
        put32(out, saturated(self.header));
        out.extend(self.name.as_bytes());
        put_zip64(&wide, out);
    }

    /// The fields that local headers and the list of entries have in common.
    fn put_common(&self, checksum: u32, extra_bytes: u16, out: &mut Vec<u8>) {
        put16(out, VERSION);
        // No flags, not compressed, midnight.
        out.extend([0; 2 + 2 + 2]);
        put16(out, DATE);
        put32(out, checksum);
        put32(out, saturated(self.bytes));
        put32(out, saturated(self.bytes));
        put16(out, self.name.len() as u16);
        put16(out, extra_bytes);
    }
}

/// Length of the extra field that holds `values`; it is left out when there are none.
fn zip64_bytes(values: &[u64]) -> usize {
    if values.is_empty() { 0 } else { EXTRA_HEAD_BYTES as usize + size_of_val(values) }
}

fn put_zip64(values: &[u64], out: &mut Vec<u8>) {
    if !values.is_empty() {
        put16(out, ZIP64_EXTRA);
        put16(out, size_of_val(values) as u16);
        values.iter().for_each(|&value| put64(out, value));
    }
}

/// A value in a field of 32 bits, or the sign that it is in a ZIP64 field.
fn saturated(value: u64) -> u32 {
    value.min(IN_ZIP64) as u32
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::super::archive::Archive;
    use super::*;
    use crate::checkpoint::pickle::checksum_share;
    use crate::checkpoint::positioned::PositionedFile;

    /// Writes everything but the content of entries, and opens the result.
    fn with_archive(layout: &ArchiveLayout, checksums: &[u32], work: impl FnOnce(&Archive<'_>)) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (offset, bytes) in layout.encode(checksums) {
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&bytes).unwrap();
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), layout.bytes());
        let opened = PositionedFile::new(File::open(file.path()).unwrap());
        work(&Archive::open(file.path(), &opened, layout.bytes()).unwrap());
    }

    #[test]
    fn entries_are_where_they_were_said_to_be() {
        let mut layout = ArchiveLayout::default();
        let first = layout.add_known("data.pkl", b"program");
        let second = layout.add("data/0", 100);
        let third = layout.add("data/1", 0);
        assert!([first, second, third].iter().all(|start| start % ALIGNMENT == 0));
        with_archive(&layout, &[1, 2], |archive| {
            let find = |name: &str| archive.find(name.as_bytes()).unwrap();
            assert_eq!(find("data.pkl"), Some(first..first + 7));
            assert_eq!(find("data/0"), Some(second..second + 100));
            assert_eq!(find("data/1"), Some(third..third));
            assert_eq!(find("data/2"), None);
        });
    }

    #[test]
    fn sizes_and_places_beyond_4_gib_are_kept() {
        const GIB: u64 = 1 << 30;
        let mut layout = ArchiveLayout::default();
        // The file takes a few blocks of the disk. The limit itself has to go into a ZIP64 field.
        let sizes = [5 * GIB, u64::from(u32::MAX), u64::from(u32::MAX) - 1, 3];
        let starts: Vec<u64> = sizes
            .iter()
            .enumerate()
            .map(|(i, &bytes)| layout.add(&format!("data/{i}"), bytes))
            .collect();
        with_archive(&layout, &[0; 4], |archive| {
            for (index, (&start, bytes)) in starts.iter().zip(sizes).enumerate() {
                let found = archive.find(format!("data/{index}").as_bytes()).unwrap();
                assert_eq!(found, Some(start..start + bytes), "data/{index}");
            }
        });
    }

    #[test]
    fn checksums_are_in_both_headers() {
        let mut layout = ArchiveLayout::default();
        layout.add("data/0", 8);
        layout.add_known("version", b"3\n");
        let stretches = layout.encode(&[0x1234_5678]);
        let known = crc32fast::hash(b"3\n");
        let (directory, locals) = stretches.split_last().unwrap();
        for ((_, local), checksum) in locals.iter().zip([0x1234_5678, known]) {
            assert_eq!(local[14..18], checksum.to_le_bytes());
        }
        assert_eq!(directory.1[16..20], 0x1234_5678u32.to_le_bytes());
        let second = ENTRY_BYTES + "archive/data/0".len();
        assert_eq!(directory.1[second + 16..second + 20], known.to_le_bytes());
    }

    #[test]
    fn shares_of_a_checksum_combine_in_any_order() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
        let orders: [&[(usize, usize)]; 3] =
            [&[(0, 1000)], &[(400, 1000), (0, 1), (1, 400)], &[(999, 1000), (0, 999), (500, 500)]];
        for parts in orders {
            let share = |&(start, end): &(usize, usize)| {
                checksum_share(&bytes[start..end], (bytes.len() - end) as u64)
            };
            let checksum = parts.iter().map(share).fold(0, |sum, share| sum ^ share);
            assert_eq!(checksum, crc32fast::hash(&bytes), "{parts:?}");
        }
    }
}

//! The journal: the append-only file from which everything else about a search is derived.
//!
//! JSON lines. The last field of each line, `check`, is the first half of a digest of the text
//! before it. [`Journal::append`] returns when the disk has the record. A write that was cut short
//! leaves a last line that is not whole; opening the journal cuts it off. Any other damage is an
//! error that names the line. The file is locked while it is open, so that two searches cannot write
//! one journal; the lock goes with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SearchError;
use super::record::{FORMAT, Record};
use crate::files::flush_directory;

/// Name of the journal in the output directory.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// How a journal starts.
const START: &[u8] = br#"{"kind":"header","#;

/// What comes between a record's text and its checksum.
const CHECK: &str = r#","check":""#;

/// Hexadecimal digits of a checksum.
const CHECK_DIGITS: usize = 32;

/// An open journal, locked against other processes.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes of whole records.
    bytes: u64,
}

impl Journal {
    /// Opens the journal in `directory`, which must exist, or creates an empty one; and returns the
    /// records that it holds. A last line that is not whole is removed from the file.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Record>), SearchError> {
        let path = directory.join(JOURNAL_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| SearchError::Write { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SearchError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(SearchError::Write { path, source }),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .map_err(|source| SearchError::Read { path: path.clone(), source })?;
        let (records, bytes) = parse(&text, &path)?;
        let mut journal = Self { file, path, bytes: bytes as u64 };
        journal
            .truncate()
            .and_then(|()| flush_directory(directory))
            .map_err(|source| SearchError::Write { path: journal.path.clone(), source })?;
        Ok((journal, records))
    }

    /// Reads the records of the journal in `directory` without changing it, also while a search
    /// writes it.
    pub fn read(directory: &Path) -> Result<Vec<Record>, SearchError> {
        let path = directory.join(JOURNAL_FILE);
        let text = std::fs::read(&path)
            .map_err(|source| SearchError::Read { path: path.clone(), source })?;
        Ok(parse(&text, &path)?.0)
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a record and waits until the disk has it. After an error the file holds the records that
    /// it held before.
    pub fn append(&mut self, record: &Record) -> Result<(), SearchError> {
        let line = to_line(record);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // A failure here leaves a torn line, which the next opening removes.
            let _ = self.truncate();
            return Err(SearchError::Write { path: self.path.clone(), source });
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Removes all records.
    pub(super) fn clear(&mut self) -> Result<(), SearchError> {
        self.bytes = 0;
        self.truncate().map_err(|source| SearchError::Write { path: self.path.clone(), source })
    }

    /// Removes what follows the whole records.
    fn truncate(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.bytes {
            self.file.set_len(self.bytes)?;
            self.file.sync_data()?;
        }
        self.file.seek(SeekFrom::Start(self.bytes))?;
        Ok(())
    }
}

/// First half of the SHA-256 digest of `text`, in hexadecimal: enough to tell any two texts apart.
pub(super) fn digest(text: &[u8]) -> String {
    let hash = Sha256::digest(text);
    hash[..CHECK_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_line(record: &Record) -> String {
    let mut line = serde_json::to_string(record).expect("records hold nothing JSON cannot express");
    line.pop();
    let check = digest(line.as_bytes());
    line.push_str(CHECK);
    line.push_str(&check);
    line.push_str("\"}\n");
    line
}

/// Whether `line`, without its newline, matches its checksum.
fn is_whole(line: &[u8]) -> bool {
    let tail = CHECK.len() + CHECK_DIGITS + 2;
    let Some(end) = line.len().checked_sub(tail) else { return false };
    let (text, rest) = line.split_at(end);
    rest == format!("{CHECK}{}\"}}", digest(text)).as_bytes()
}

/// The records in `text`, and the number of bytes up to the end of the last whole one.
fn parse(text: &[u8], path: &Path) -> Result<(Vec<Record>, usize), SearchError> {
    let shared = text.len().min(START.len());
    if text[..shared] != START[..shared] {
        return Err(SearchError::NotAJournal { path: path.to_owned() });
    }
    let mut records: Vec<Record> = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let line_number = records.len() + 1;
        let newline = text[start..].iter().position(|&byte| byte == b'\n');
        let line = &text[start..newline.map_or(text.len(), |length| start + length)];
        let end = start + line.len() + 1;
        if newline.is_none() || !is_whole(line) {
            if end >= text.len() {
                break;
            }
            return Err(SearchError::Checksum { path: path.to_owned(), line: line_number });
        }
        records.push(understand(line, line_number, path)?);
        start = end;
    }
    check_order(&records, path)?;
    Ok((records, start))
}

/// Reads one whole line.
fn understand(line: &[u8], line_number: usize, path: &Path) -> Result<Record, SearchError> {
    /// The part of a header that every format has.
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }

    if line_number == 1
        && let Ok(Format { format }) = serde_json::from_slice(line)
        && format > FORMAT
    {
        return Err(SearchError::NewerFormat { path: path.to_owned(), format, supported: FORMAT });
    }
    serde_json::from_slice(line).map_err(|source| SearchError::Record {
        path: path.to_owned(),
        line: line_number,
        source,
    })
}

/// A header first and only first, nothing after the finish, every evaluation once.
fn check_order(records: &[Record], path: &Path) -> Result<(), SearchError> {
    let mut seen = std::collections::HashSet::new();
    for (position, record) in records.iter().enumerate() {
        let what = match record {
            _ if position > 0 && matches!(records[position - 1], Record::Finish(_)) => {
                "a record follows the end of the search".to_owned()
            }
            Record::Header(_) if position > 0 => "there is a second header".to_owned(),
            Record::Evaluation(evaluation) if !seen.insert(evaluation.index) => {
                format!("evaluation {} is recorded twice", evaluation.index)
            }
            _ => continue,
        };
        return Err(SearchError::OutOfPlace { path: path.to_owned(), line: position + 1, what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::super::testing;
    use super::*;

    fn records() -> Vec<Record> {
        let mut records = vec![Record::Header(Box::new(testing::header()))];
        records
            .extend((0..3).map(|index| Record::Evaluation(Box::new(testing::evaluation(index)))));
        records
    }

    fn written(directory: &Path) -> Vec<u8> {
        let (mut journal, found) = Journal::open(directory).unwrap();
        assert_eq!(found, []);
        records().iter().for_each(|record| journal.append(record).unwrap());
        std::fs::read(journal.path()).unwrap()
    }

    #[test]
    fn records_read_back_equal_and_lines_are_plain_json() {
        let directory = tempfile::tempdir().unwrap();
        let text = written(directory.path());
        assert_eq!(Journal::read(directory.path()).unwrap(), records());
        assert_eq!(Journal::open(directory.path()).unwrap().1, records());
        for line in std::str::from_utf8(&text).unwrap().lines() {
            let value: IndexMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            assert_eq!(value.first().unwrap().0, "kind");
            assert_eq!(value.last().unwrap().0, "check");
        }
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_its_whole_records() {
        let directory = tempfile::tempdir().unwrap();
        let text = written(directory.path());
        for length in 0..=text.len() {
            let cut = &text[..length];
            let whole = cut.iter().filter(|&&byte| byte == b'\n').count();
            let end = cut.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let (found, bytes) = parse(cut, Path::new("journal")).unwrap();
            assert_eq!((found, bytes), (records()[..whole].to_vec(), end), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_torn_journal_goes_on_where_it_was_torn() {
        let directory = tempfile::tempdir().unwrap();
        let text = written(directory.path());
        let path = directory.path().join(JOURNAL_FILE);
        for length in [0, 1, 17, text.len() / 2, text.len() - 40, text.len() - 1, text.len()] {
            std::fs::write(&path, &text[..length]).unwrap();
            let (mut journal, found) = Journal::open(directory.path()).unwrap();
            for record in &records()[found.len()..] {
                journal.append(record).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), text, "cut to {length} bytes");
        }
    }

    #[test]
    fn a_changed_byte_is_found_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let text = written(directory.path());
        let path = directory.path().join(JOURNAL_FILE);
        let second = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let mut damaged = text.clone();
        damaged[second + 40] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let error = Journal::open(directory.path()).unwrap_err();
        assert!(matches!(error, SearchError::Checksum { line: 2, .. }), "{error}");
        assert!(error.to_string().contains("journal.jsonl:2:"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "a damaged journal is left as it is");
    }

    #[test]
    fn a_file_that_is_no_journal_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(JOURNAL_FILE);
        for text in ["precious", "{\"kind\":\"evaluation\"}\n", "\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Journal::open(directory.path()).unwrap_err();
            assert!(matches!(error, SearchError::NotAJournal { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        let header = super::super::record::Header { format: FORMAT + 1, ..testing::header() };
        journal.append(&Record::Header(Box::new(header))).unwrap();
        let error = Journal::read(directory.path()).unwrap_err();
        assert!(matches!(error, SearchError::NewerFormat { format: 2, .. }), "{error}");
    }

    #[test]
    fn an_evaluation_recorded_twice_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = records();
        records.push(records[2].clone());
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        records.iter().for_each(|record| journal.append(record).unwrap());
        let error = Journal::read(directory.path()).unwrap_err();
        assert!(error.to_string().ends_with(":5: evaluation 1 is recorded twice"), "{error}");
    }

    #[test]
    fn two_searches_cannot_have_one_journal() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = Journal::open(directory.path()).unwrap();
        let error = Journal::open(directory.path()).unwrap_err();
        assert!(matches!(error, SearchError::Locked { .. }), "{error}");
        drop(first);
        Journal::open(directory.path()).unwrap();
    }
}

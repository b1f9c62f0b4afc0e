//! The form that `torch.save` wrote before PyTorch 1.6:
//!
//! ```text
//! pickle   the magic number
//! pickle   the version of the protocol, 1001
//! pickle   facts about the machine; the data is little-endian on every machine
//! pickle   what was saved
//! pickle   the keys of its storages, in the order of their data
//! for each of them:
//!     u64 little-endian   number of elements
//!     data
//! ```

use std::collections::HashMap;

use super::super::CheckpointError;
use super::super::positioned::PositionedFile;
use super::machine::Machine;
use super::values::{Element, Value};
use super::{Data, element_bytes};

/// The magic number as pickles hold it: an integer of ten bytes.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The number must begin within this many bytes: behind the version of the pickle and a frame.
const MAGIC_WITHIN: usize = 12;

/// The same in pickles of the protocols 0 and 1.
const MAGIC_DIGITS: &[u8] = b"L119547037146038801333356L\n";

const PROTOCOL: i64 = 1001;

/// Bytes of the length before each storage.
const LENGTH_BYTES: u64 = 8;

/// Whether a file that begins with `head` has this form.
pub(super) fn is_legacy(head: &[u8]) -> bool {
    head.starts_with(MAGIC_DIGITS)
        || (0..MAGIC_WITHIN).any(|at| head.get(at..).is_some_and(|head| head.starts_with(MAGIC)))
}

/// Bytes of a file's beginning that [`is_legacy`] wants to see.
pub(super) const HEAD_BYTES: usize = 32;
const _: () = assert!(HEAD_BYTES >= MAGIC_WITHIN + MAGIC.len() && HEAD_BYTES >= MAGIC_DIGITS.len());

/// Runs all pickles. The value of what was saved, and the data of every storage by key.
pub(super) fn run(
    machine: &mut Machine<'_>,
    file: &PositionedFile,
    bytes: u64,
) -> Result<(Value, Data), CheckpointError> {
    machine.run()?;
    let position = machine.stream.position();
    if machine.run()? != Value::Int(PROTOCOL) {
        return Err(machine.stream.broken(position, "has an unknown version of the protocol"));
    }
    machine.run()?;
    let saved = machine.run()?;
    let position = machine.stream.position();
    let Value::List(keys) = machine.run()? else {
        return Err(machine.stream.broken(position, "has no list of its data"));
    };

    let mut elements: HashMap<&[u8], Element> = HashMap::new();
    for storage in &machine.values.storages {
        let key = machine.text(storage.key);
        if *elements.entry(key).or_insert(storage.element) != storage.element {
            return Err(machine.stream.broken(position, "has data of two types in one place"));
        }
    }
    let mut data = Data::new();
    let mut at = machine.stream.position();
    for key in &machine.values.sequences[keys as usize] {
        let known = match *key {
            Value::Text(key) => Some(machine.text(key)),
            _ => None,
        };
        let known = known.and_then(|key| elements.get(key).map(|&element| (key, element)));
        let Some((key, element)) = known else {
            return Err(machine.stream.broken(position, "lists data that nothing refers to"));
        };
        let too_short = |expected| CheckpointError::FileLength {
            path: machine.stream.path().to_owned(),
            expected,
            actual: bytes,
        };
        let start = at.saturating_add(LENGTH_BYTES);
        if start > bytes {
            return Err(too_short(start));
        }
        let mut count = [0; LENGTH_BYTES as usize];
        file.read_exact_at(at, &mut count).map_err(|source| CheckpointError::Read {
            path: machine.stream.path().to_owned(),
            source,
        })?;
        let length = u64::from_le_bytes(count).saturating_mul(element_bytes(element));
        at = start.saturating_add(length);
        if at > bytes {
            return Err(too_short(at));
        }
        data.insert(key.to_vec(), start..at);
    }
    Ok((saved, data))
}

//! Any bytes as a journal are read up to their torn end, or refused with a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mergekit::search::{JOURNAL_FILE, Journal, Results};

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join(JOURNAL_FILE), bytes).expect("a file can be written");
    if let Ok((_journal, records)) = Journal::open(directory.path()) {
        let _ = Results::from_records(records);
    }
});

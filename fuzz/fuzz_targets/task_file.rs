//! A directory with any task file in it can be searched, and the task is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mergekit::evaluate::TaskLibrary;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("task.yaml");
    std::fs::write(&file, bytes).expect("a temporary file can be written");
    if let Ok(library) = TaskLibrary::new(&[directory.path().to_owned()]) {
        let _ = library.names();
    }
});

//! A safetensors file either is refused with a message or gives every element it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mergekit::checkpoint::{Checkpoint, TensorSource};

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("model.safetensors");
    std::fs::write(&file, bytes).expect("a temporary file can be written");
    let Ok(checkpoint) = Checkpoint::open_file(&file) else { return };
    for (name, info) in checkpoint.tensors() {
        let mut values = vec![0.0; info.elements()];
        checkpoint.read_into(name, 0, &mut values).expect("headers are checked when opened");
    }
});

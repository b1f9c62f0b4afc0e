//! A safetensors file either is refused with a message or gives every element it promises.

use mergekit::checkpoint::{Checkpoint, TensorSource};

/// Fails when that is not so for a file of these `bytes`.
pub(crate) fn check(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("model.safetensors");
    std::fs::write(&file, bytes).expect("a temporary file can be written");
    let checkpoint = match Checkpoint::open_file(&file) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for (name, info) in checkpoint.tensors() {
        let mut values = vec![0.0; info.elements()];
        checkpoint.read_into(name, 0, &mut values).expect("headers are checked when opened");
    }
}

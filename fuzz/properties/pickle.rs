//! A PyTorch file either is refused with a message or gives every element it promises.

use mergekit::checkpoint::{Checkpoint, TensorSource};

/// Tensors are read up to this size and beyond it at both ends, because repeated elements make
/// many large ones of a small file.
const WHOLE: usize = 1 << 12;

/// Fails when that is not so for a file of these `bytes`.
pub(crate) fn check(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("pytorch_model.bin"), bytes)
        .expect("a temporary file can be written");
    let checkpoint = match Checkpoint::open(directory.path()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for (name, info) in checkpoint.tensors() {
        let n = info.elements();
        let mut values = vec![0.0; n.min(WHOLE)];
        for start in [0, n - values.len()] {
            checkpoint
                .read_into(name, start, &mut values)
                .expect("pickles are checked when opened");
        }
    }
}

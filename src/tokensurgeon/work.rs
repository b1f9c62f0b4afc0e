//! What long work needs beside its data: who watches it, and whether it is still wanted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SurgeonError;

/// Is told how far the work is, from many threads.
pub trait Observer: Sync {
    /// A stage of `total` steps begins; the one before is over.
    fn begin(&self, stage: &str, total: u64);

    /// `steps` more are done.
    fn advance(&self, steps: u64);
}

/// Does not look.
impl Observer for () {
    fn begin(&self, _stage: &str, _total: u64) {}

    fn advance(&self, _steps: u64) {}
}

/// Work on one output.
#[derive(Clone, Copy)]
pub(super) struct Work<'w> {
    pub(super) observer: &'w dyn Observer,
    pub(super) cancelled: &'w AtomicBool,
    /// A directory for large intermediate results, which is removed in the end.
    pub(super) scratch: &'w Path,
}

impl Work<'_> {
    pub(super) fn check_cancelled(&self) -> Result<(), SurgeonError> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(SurgeonError::Interrupted),
            false => Ok(()),
        }
    }
}

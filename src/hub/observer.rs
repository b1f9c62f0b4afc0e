//! Who is told how a download goes.

use std::fmt::Display;

/// Follows downloads. Its methods are called from several threads.
pub trait Observer: Send + Sync {
    /// `files` files of `what`, a model or several, begin to arrive; `bytes` in all are missing.
    fn begin(&self, what: &str, files: usize, bytes: u64);

    /// Bytes have arrived; a negative number of them have to be fetched again.
    fn advance(&self, bytes: i64);

    /// What [`begin`](Self::begin) announced is here, or has failed.
    fn end(&self);

    /// Something that takes time, or is not as usual, as a sentence without a full stop.
    fn note(&self, text: &dyn Display);
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn begin(&self, _: &str, _: usize, _: u64) {}
    fn advance(&self, _: i64) {}
    fn end(&self) {}
    fn note(&self, _: &dyn Display) {}
}

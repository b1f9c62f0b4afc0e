//! Everything that can go wrong with a model of the Hub.

mod advice;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Kind;
use crate::checkpoint::CheckpointError;

pub(super) use advice::nearest_directory;

/// Everything that can go wrong with a model of the Hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A revision of something that is neither here nor can be on the Hub.
    #[error("`{text}` asks for a revision, but is not the name of a model on the Hub")]
    NotAName {
        /// As written, with the revision.
        text: String,
    },

    /// A revision that would lead out of the cache.
    #[error("`{name}@{revision}`: `{revision}` is not a branch, a tag or a commit")]
    NotARevision {
        /// The model.
        name: String,
        /// As written.
        revision: String,
    },

    /// Nothing is downloaded, and the model is not in the cache.
    #[error(
        "model directory `{name}` does not exist, and the Hub's cache `{}` does not hold {}{}",
        cache.display(),
        revision.as_ref().map(|revision| format!("revision `{revision}` of ")).unwrap_or_default(),
        "a model of that name"
    )]
    NotCached {
        /// The model.
        name: String,
        /// The revision asked for.
        revision: Option<String>,
        /// The cache.
        cache: PathBuf,
        /// Why nothing is downloaded.
        offline: Offline,
        /// A directory of nearly that name.
        nearest: Option<String>,
    },

    /// Nothing is downloaded, and the cache holds a part of the model only.
    #[error("the Hub's cache holds `{name}` only in part: `{file}` is missing")]
    Incomplete {
        /// The model.
        name: String,
        /// What is missing.
        file: String,
        /// Why nothing is downloaded.
        offline: Offline,
    },

    /// There is no such model, or it is not shown to everyone.
    #[error(
        "model directory `{name}` does not exist, and the Hub has no model of that name{}",
        if *with_token { " that the token may read" } else { "" }
    )]
    NoModel {
        /// The model.
        name: String,
        /// Whether a token was sent.
        with_token: bool,
        /// A directory of nearly that name.
        nearest: Option<String>,
    },

    /// The model has no such revision.
    #[error("model `{name}` has no revision `{revision}` on the Hub")]
    NoRevision {
        /// The model.
        name: String,
        /// The revision.
        revision: String,
    },

    /// The Hub does not know the token.
    #[error("the Hub does not accept the token that it was asked with for `{name}`")]
    TokenRefused {
        /// The model.
        name: String,
    },

    /// A model whose terms have to be accepted first, or that the token may not read.
    #[error(
        "the Hub does not give out `{name}`{}",
        if *with_token { " for this token" } else { " without a token" }
    )]
    NoAccess {
        /// The model.
        name: String,
        /// Its page.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// What the model is said to have is not there.
    #[error("`{name}` has no file `{file}` on the Hub{}", if *in_index { ", which its index lists" } else { "" })]
    NoFile {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// Whether the index of the weights lists it.
        in_index: bool,
    },

    /// A repository of something else.
    #[error("`{name}` on the Hub is no {}: it has no {lacks}", match kind {
        Kind::Model => "model that can be merged",
        Kind::Adapter => "adapter",
        Kind::Tokenizer => "model with a tokenizer",
    })]
    NotAModel {
        /// The model.
        name: String,
        /// What it was expected to be.
        kind: Kind,
        /// What is missing, such as a file in backticks.
        lacks: String,
        /// What it may be instead.
        looks_like: Option<LooksLike>,
    },

    /// Too many requests, and waiting did not help or would take too long.
    #[error("the Hub takes no more requests for now, not even for `{name}`")]
    TooManyRequests {
        /// The model.
        name: String,
        /// The time after which it would, as far as it says.
        after: Option<Duration>,
    },

    /// An answer that means neither yes nor no.
    #[error("the Hub answers {status} to the request for `{url}`")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },

    /// An answer that is not understood.
    #[error("the answer of the Hub to the request for `{url}` {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it, as a predicate.
        what: String,
    },

    /// No connection, or one that does not last.
    #[error("cannot fetch `{url}`")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The Hub could not be asked, and the cache does not hold the model.
    #[error(
        "model directory `{name}` does not exist, and the Hub does not answer for a model of that name"
    )]
    NoAnswer {
        /// The model.
        name: String,
        /// A directory of nearly that name.
        nearest: Option<String>,
        /// What the Hub did instead.
        source: Box<HubError>,
    },

    /// What arrived is not what was sent.
    #[error("`{file}` of `{name}` arrived damaged, {what}, and was deleted")]
    Damaged {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// How that shows, as a participle.
        what: String,
    },

    /// The disk is too small.
    #[error(
        "{} have to be downloaded, but `{}` has room for {} only",
        indicatif::DecimalBytes(*needed),
        path.display(),
        indicatif::DecimalBytes(*free)
    )]
    NoSpace {
        /// Bytes that are missing.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// The cache.
        path: PathBuf,
    },

    /// Another process holds a lock and does nothing.
    #[error("another process has been downloading to `{}` for minutes without getting any further", path.display())]
    Locked {
        /// The file that it holds the lock of.
        path: PathBuf,
    },

    /// A file with certificates that holds none.
    #[error("`{}` holds no certificates in PEM form", path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },

    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The operating system refused to create, write, flush, lock or rename.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The index of the weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// The run was asked to stop.
    #[error("interrupted; what has arrived is kept")]
    Interrupted,
}

/// Why nothing is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// It was asked not to be.
    Asked,
    /// The program cannot.
    NotBuilt,
}

/// What a repository without the files of a model may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// A LoRA adapter.
    Adapter,
    /// A model of its own, where an adapter is asked for.
    Model,
    /// Weights in the form of llama.cpp.
    Gguf,
}

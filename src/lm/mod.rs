//! Decoder-only language models on candle: built from tensors in memory, scoring and generation.
//!
//! This room knows token ids, not text: tokenizers and prompts live in `evaluate`.
//!
//! - `families` reads a config.json into one table, `config`, and says where tensors are (`names`);
//!   `weights` takes them.
//! - `layout` says which tokens pass through the model together and what each of them sees, `layer`
//!   and `network` in which order operations run, `backend` what these operations are, `cpu` and
//!   `device` how they are computed.
//! - `scoring` and `generation` make passes of requests.
//!
//! Sequences lie end to end without padding, shared beginnings are computed once, and the head runs
//! only where a token is scored. Arithmetic is f32, whatever form weights are stored in, but for
//! products with 16-bit weights on graphics cards; on a CPU a score is the same, bit for bit, whatever
//! else is asked at the same time and however many threads there are.

mod alibi;
mod backend;
mod config;
mod cpu;
mod decoder;
mod device;
mod error;
mod families;
mod generation;
mod json;
mod layer;
mod layout;
mod limits;
mod names;
mod network;
mod rotary;
mod runner;
mod scoring;
mod storage;
mod weights;

pub use decoder::{Decoder, DecoderSkeleton};
pub use device::DeviceChoice;
pub use error::LmError;
pub use generation::Sampling;
pub use limits::DecoderOptions;
pub use storage::{Storage, StoredTensor};

/// A continuation to score after a context, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRequest {
    /// Given tokens, at least one.
    pub context: Vec<u32>,
    /// Tokens whose probability is asked, at least one.
    pub continuation: Vec<u32>,
}

/// Answer to a [`ScoreRequest`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum of natural-log probabilities of the continuation's tokens given the context.
    pub log_likelihood: f64,
    /// Whether greedy decoding would have produced the continuation.
    pub greedy: bool,
}

/// A prompt to continue, as token ids.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Given tokens, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to produce.
    pub max_new_tokens: usize,
    /// Producing one of these ends the sequence; it is not part of the answer.
    pub end_tokens: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Decides after each produced token whether a sequence is finished, for stop strings: called with
/// the index of the request and all tokens produced for it so far, it returns `true` to stop.
pub type StopRule<'a> = &'a (dyn Fn(usize, &[u32]) -> bool + Sync);

/// A language model as evaluators see it.
pub trait LanguageModel: Send + Sync {
    /// Scores every request; answers are in the order of the requests.
    ///
    /// A request longer than [`max_length`](Self::max_length) loses the beginning of its context, as
    /// in lm-evaluation-harness: the model sees the last `max_length` tokens before the final one.
    ///
    /// # Errors
    ///
    /// A request without context or continuation, with more than `max_length` tokens to score, or
    /// with an unknown token; and logits that are not finite.
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError>;

    /// Continues every prompt; answers are in the order of the requests and hold the produced tokens
    /// only, including those on which `stop` ended the sequence.
    ///
    /// A prompt that leaves no room for `max_new_tokens` within [`max_length`](Self::max_length)
    /// loses its beginning. `stop` is called from several threads, for each sequence in the order of
    /// its tokens, and not for tokens that are in `end_tokens`.
    ///
    /// # Errors
    ///
    /// An empty prompt, one with an unknown token, or one to be continued by `max_length` tokens or
    /// more; and logits that are not finite.
    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError>;

    /// Most tokens of context and continuation together.
    fn max_length(&self) -> usize;
}

//! Decoder-only language models on candle: built from tensors in memory, scoring and generation.
//!
//! This room knows token ids, not text: tokenizers and prompts live in `evaluate`.
//!
//! [`Decoder`] keeps its weights in the candle tensors it is given, without copying them, and works
//! on their slices: sequences lie end to end without padding, shared beginnings are computed once,
//! and the head runs only where a token is scored. Arithmetic is f32; a score is the same, bit for
//! bit, whatever else is asked at the same time and however many threads there are.

mod attention;
mod config;
mod decoder;
mod error;
mod generation;
mod kv;
mod rotary;
mod scoring;
mod vector;
mod weights;

pub use decoder::{Decoder, DecoderOptions};
pub use error::LmError;

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

/// A prompt to continue by greedy decoding, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateRequest {
    /// Given tokens, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to produce.
    pub max_new_tokens: usize,
    /// Producing one of these ends the sequence; it is not part of the answer.
    pub end_tokens: Vec<u32>,
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

    /// Continues every prompt greedily; answers are in the order of the requests and hold the
    /// produced tokens only, including those on which `stop` ended the sequence.
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

impl LanguageModel for Decoder {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        scoring::score(self, requests)
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        generation::generate(self, requests, stop)
    }

    fn max_length(&self) -> usize {
        self.max_length
    }
}

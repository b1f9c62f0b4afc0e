//! Decoder-only language models on candle: built from tensors in memory, scoring and generation.
//!
//! This room knows token ids, not text: tokenizers and prompts live in `evaluate`.

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
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError>;

    /// Continues every prompt greedily; answers are in the order of the requests and hold the
    /// produced tokens only, including those on which `stop` ended the sequence.
    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError>;

    /// Most tokens of context and continuation together.
    fn max_length(&self) -> usize;
}

/// Everything that can go wrong when a model is built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LmError {
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

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

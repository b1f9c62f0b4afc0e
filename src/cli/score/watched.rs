//! A model whose requests are counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lm::{Decoder, GenerateRequest, LanguageModel, LmError, Score, ScoreRequest, StopRule};

/// A model that counts what it is asked, and which prompts lose their beginning.
pub(super) struct Watched<'a> {
    decoder: &'a Decoder,
    pub(super) requests: AtomicUsize,
    pub(super) cut: AtomicUsize,
}

impl<'a> Watched<'a> {
    pub(super) fn new(decoder: &'a Decoder) -> Self {
        Self { decoder, requests: AtomicUsize::new(0), cut: AtomicUsize::new(0) }
    }

    fn count(&self, requests: usize, cut: usize) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
        self.cut.fetch_add(cut, Ordering::Relaxed);
    }
}

impl LanguageModel for Watched<'_> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        // The last token is only predicted.
        let seen = |request: &&ScoreRequest| request.context.len() + request.continuation.len() - 1;
        let cut = requests.iter().filter(|request| seen(request) > self.max_length()).count();
        self.count(requests.len(), cut);
        self.decoder.score(requests)
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        let needed = |request: &&GenerateRequest| request.prompt.len() + request.max_new_tokens;
        let cut = requests.iter().filter(|request| needed(request) > self.max_length()).count();
        self.count(requests.len(), cut);
        self.decoder.generate(requests, stop)
    }

    fn max_length(&self) -> usize {
        self.decoder.max_length()
    }
}

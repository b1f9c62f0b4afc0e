//! A model whose requests are counted.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::candidate::MergedCandidate;
use crate::cli::Talk;
use crate::cli::model::PreparedModel;
use crate::evaluate::{Candidate, EvaluateError};
use crate::lm::{Decoder, GenerateRequest, LanguageModel, LmError, Score, ScoreRequest, StopRule};

/// A candidate whose model counts what it is asked.
pub(super) struct WatchedCandidate<'a> {
    model: &'a PreparedModel,
    candidate: &'a MergedCandidate<'a>,
    talk: Talk,
    watched: OnceLock<Watched<'a>>,
}

impl<'a> WatchedCandidate<'a> {
    pub(super) fn new(
        model: &'a PreparedModel,
        candidate: &'a MergedCandidate<'a>,
        talk: Talk,
    ) -> Self {
        Self { model, candidate, talk, watched: OnceLock::new() }
    }

    /// Requests since the last call, and how many of them lost the beginning of their prompt.
    pub(super) fn take_counts(&self) -> (usize, usize) {
        self.watched.get().map_or((0, 0), Watched::take_counts)
    }

    /// Tokens that the model has room for; `None` if no task has asked for it.
    pub(super) fn max_length(&self) -> Option<usize> {
        self.watched.get().map(Watched::max_length)
    }
}

impl Candidate for WatchedCandidate<'_> {
    fn model(&self) -> Result<&dyn LanguageModel, EvaluateError> {
        if let Some(watched) = self.watched.get() {
            return Ok(watched);
        }
        let decoder = self.model.load(self.candidate, self.talk)?;
        Ok(self.watched.get_or_init(|| Watched::new(decoder)))
    }

    fn directory(&self) -> Result<&Path, EvaluateError> {
        self.candidate.directory()
    }

    fn config(&self) -> Result<&str, EvaluateError> {
        self.candidate.config()
    }
}

/// A model that counts what it is asked, and which prompts lose their beginning.
struct Watched<'a> {
    decoder: &'a Decoder,
    requests: AtomicUsize,
    cut: AtomicUsize,
}

impl<'a> Watched<'a> {
    fn new(decoder: &'a Decoder) -> Self {
        Self { decoder, requests: AtomicUsize::new(0), cut: AtomicUsize::new(0) }
    }

    /// Requests since the last call, and how many of them lost the beginning of their prompt.
    fn take_counts(&self) -> (usize, usize) {
        (self.requests.swap(0, Ordering::Relaxed), self.cut.swap(0, Ordering::Relaxed))
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

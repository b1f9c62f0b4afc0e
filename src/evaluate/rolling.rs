//! Tasks that ask how likely whole texts are, whatever their length: a text is scored in windows.

use serde_json::{Value, json};

use super::harness_task::{Item, TaskKind};
use super::loglikelihood::check_numbers;
use super::metric::{LOGLIKELIHOOD_ROLLING, Measure, Metric};
use super::prompted::PromptedDocument;
use super::python::is_whitespace;
use super::record::{RequestRecord, Response};
use super::{EvaluateError, MetricValues};
use crate::lm::{LanguageModel, ScoreRequest};

/// Tasks of texts.
pub(super) struct Rolling;

/// A text that is scored.
pub(super) struct Text {
    /// The prefix token, then those of the text.
    tokens: Vec<u32>,
    words: usize,
    bytes: usize,
}

impl TaskKind for Rolling {
    const OUTPUT_TYPE: &'static str = LOGLIKELIHOOD_ROLLING;
    type Question = Text;
    /// The log-likelihood of the whole text.
    type Answer = f64;

    fn item(&self, document: PromptedDocument<'_>) -> Result<Item<Text>, EvaluateError> {
        let text = document.target_text()?;
        let Some(prefix) = document.tokenizer.prefix_token() else {
            return Err(document.empty_prompt());
        };
        let question = Text::new(prefix, &document.tokenizer.encode(&text), &text);
        let record = document.record(|| vec![RequestRecord::Rolling { text }])?;
        Ok(Item { prompt: String::new(), record, question })
    }

    fn fingerprint(_prompt: &str, Text { tokens, words, bytes }: &Text) -> String {
        format!("{tokens:?} {words} {bytes}")
    }

    /// Any text fits into any model, window by window.
    fn check_length(
        &self,
        _task: &str,
        _item: usize,
        _text: &Text,
        _max_length: usize,
    ) -> Result<(), EvaluateError> {
        Ok(())
    }

    fn ask(
        &self,
        task: &str,
        questions: &[(usize, &Text)],
        model: &dyn LanguageModel,
    ) -> Result<Vec<f64>, EvaluateError> {
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        for (position, (_, text)) in questions.iter().enumerate() {
            requests.extend(text.windows(model.max_length()));
            owners.resize(requests.len(), position);
        }
        let scores = model.score(&requests)?;
        check_numbers(task, owners.iter().map(|&position| questions[position].0), &scores)?;
        let mut log_likelihoods = vec![0.0; questions.len()];
        for (score, position) in scores.iter().zip(owners) {
            log_likelihoods[position] += score.log_likelihood;
        }
        Ok(log_likelihoods)
    }

    fn measure(
        text: &Text,
        log_likelihood: &f64,
        _index: usize,
        metric: &Metric,
        values: &mut MetricValues,
    ) {
        values.push(&[*log_likelihood, text.count(metric.measure) as f64]);
    }

    fn variables(_text: &Text, log_likelihood: &f64) -> minijinja::Value {
        minijinja::context! { log_likelihood }
    }

    fn responses(&log_likelihood: &f64) -> Vec<Vec<Response>> {
        vec![vec![Response::LogLikelihood(log_likelihood)]]
    }

    fn note(text: &Text, log_likelihood: &f64, metric: &Metric) -> Option<Value> {
        Some(json!([log_likelihood, text.count(metric.measure)]))
    }
}

impl Text {
    fn new(prefix: u32, tokens: &[u32], text: &str) -> Text {
        let tokens = [&[prefix], tokens].concat();
        Text { tokens, words: count_words(text), bytes: text.len() }
    }

    /// What the log-likelihood is divided by.
    fn count(&self, measure: Measure) -> usize {
        if measure == Measure::PerWord { self.words } else { self.bytes }
    }

    /// Windows of up to `length` tokens that are scored, each token once. The first window follows
    /// the prefix token; a later one has so much in front of it that the model sees `length` tokens.
    fn windows(&self, length: usize) -> impl Iterator<Item = ScoreRequest> {
        let length = length.max(1);
        (1..self.tokens.len()).step_by(length).map(move |start| {
            let end = (start + length).min(self.tokens.len());
            ScoreRequest {
                context: self.tokens[end.saturating_sub(length + 1)..start].to_vec(),
                continuation: self.tokens[start..end].to_vec(),
            }
        })
    }
}

/// Number of pieces between stretches of whitespace; whitespace at an end has a piece beyond it, and
/// no text is one.
pub(super) fn count_words(text: &str) -> usize {
    let mut pieces = 1;
    let mut was_space = false;
    for c in text.chars() {
        let is_space = is_whitespace(c);
        pieces += usize::from(is_space && !was_space);
        was_space = is_space;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(tokens: &[u32], length: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let text = Text::new(0, tokens, "");
        text.windows(length).map(|request| (request.context, request.continuation)).collect()
    }

    #[test]
    fn every_token_is_scored_once_and_sees_what_fits() {
        assert_eq!(windows(&[], 4), []);
        assert_eq!(windows(&[1, 2], 4), [(vec![0], vec![1, 2])]);
        assert_eq!(
            windows(&[1, 2, 3, 4, 5, 6, 7], 3),
            [(vec![0], vec![1, 2, 3]), (vec![3], vec![4, 5, 6]), (vec![4, 5, 6], vec![7]),]
        );
    }

    #[test]
    fn words_are_what_whitespace_divides() {
        let counts = ["", "a", "a  b", " a\n", "\u{1c}"].map(count_words);
        assert_eq!(counts, [1, 1, 2, 3, 2]);
    }
}

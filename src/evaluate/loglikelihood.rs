//! Tasks that ask how likely one given answer is, and what scoring token pairs has in common.

use super::harness_task::{Item, TaskKind};
use super::metric::{LOGLIKELIHOOD, Measure, Metric};
use super::prompted::PromptedDocument;
use super::record::{RequestRecord, Response};
use super::tokenizer::TokenPair;
use super::{EvaluateError, MetricValues};
use crate::lm::{LanguageModel, Score, ScoreRequest};

/// Tasks with one answer for each prompt.
pub(super) struct LogLikelihood;

impl TaskKind for LogLikelihood {
    const OUTPUT_TYPE: &'static str = LOGLIKELIHOOD;
    type Question = TokenPair;
    type Answer = Score;

    fn item(&self, document: PromptedDocument<'_>) -> Result<Item<TokenPair>, EvaluateError> {
        let prompt = document.prompt();
        let answer = document.target_text()?;
        let question = document.encode_pair(prompt, &answer)?;
        let record = document.record(|| {
            let context = prompt.to_owned();
            vec![RequestRecord::LogLikelihood { context, continuation: answer }]
        })?;
        Ok(Item { record, question, prompt: document.into_prompt() })
    }

    fn fingerprint(prompt: &str, pair: &TokenPair) -> String {
        format!("{prompt}\n{:?} {:?}", pair.context, pair.continuation)
    }

    fn check_length(
        &self,
        task: &str,
        item: usize,
        pair: &TokenPair,
        max_length: usize,
    ) -> Result<(), EvaluateError> {
        check_room(task, item, pair, max_length)
    }

    fn ask(
        &self,
        task: &str,
        questions: &[(usize, &TokenPair)],
        model: &dyn LanguageModel,
    ) -> Result<Vec<Score>, EvaluateError> {
        score(model, task, questions.iter().copied())
    }

    fn measure(
        _pair: &TokenPair,
        score: &Score,
        _index: usize,
        metric: &Metric,
        values: &mut MetricValues,
    ) {
        values.push(&[match metric.measure {
            Measure::LogLikelihood => score.log_likelihood,
            _ => f64::from(u8::from(score.greedy)),
        }]);
    }

    fn variables(_question: &Self::Question, score: &Score) -> minijinja::Value {
        let Score { log_likelihood, greedy } = score;
        minijinja::context! { log_likelihood, greedy }
    }

    fn responses(&score: &Score) -> Vec<Vec<Response>> {
        vec![vec![Response::Score(score)]]
    }
}

/// Refuses a continuation that does not fit into a model.
pub(super) fn check_room(
    task: &str,
    item: usize,
    pair: &TokenPair,
    max_length: usize,
) -> Result<(), EvaluateError> {
    let needed = pair.continuation.len();
    if needed > max_length {
        let task = task.to_owned();
        return Err(EvaluateError::TooLong { task, item, needed, max_length });
    }
    Ok(())
}

/// Scores token pairs, given with their items, on a model. The model itself leaves out context that
/// does not fit.
pub(super) fn score<'a>(
    model: &dyn LanguageModel,
    task: &str,
    pairs: impl Iterator<Item = (usize, &'a TokenPair)> + Clone,
) -> Result<Vec<Score>, EvaluateError> {
    let requests: Vec<ScoreRequest> = pairs.clone().map(|(_, pair)| pair.clone().into()).collect();
    let scores = model.score(&requests)?;
    check_numbers(task, pairs.map(|(item, _)| item), &scores)?;
    Ok(scores)
}

/// Refuses scores that are not numbers.
pub(super) fn check_numbers(
    task: &str,
    items: impl Iterator<Item = usize>,
    scores: &[Score],
) -> Result<(), EvaluateError> {
    let mut pairs = items.zip(scores);
    match pairs.find(|(_, score)| score.log_likelihood.is_nan()) {
        Some((item, _)) => Err(EvaluateError::NotANumber { task: task.to_owned(), item }),
        None => Ok(()),
    }
}

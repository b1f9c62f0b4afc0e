//! Tasks that ask how likely whole texts are, whatever their length: a text is scored in windows.

use indexmap::IndexMap;
use serde_json::json;

use super::error::Row;
use super::loglikelihood::{check_numbers, target_text};
use super::metric::{LOGLIKELIHOOD_ROLLING, Measure, Metrics};
use super::prompt::TaskData;
use super::python::is_whitespace;
use super::record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
use super::{EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer};
use crate::lm::{LanguageModel, ScoreRequest};

/// A task of texts.
#[derive(Debug)]
pub(super) struct Rolling {
    name: String,
    items: Vec<Item>,
    metrics: Metrics,
    warnings: Vec<String>,
    info: TaskInfo,
}

#[derive(Debug)]
struct Item {
    /// The prefix token, then those of the text.
    tokens: Vec<u32>,
    words: usize,
    bytes: usize,
    record: Option<Box<ItemRecord>>,
}

impl Rolling {
    /// Tokenizes every text of a task.
    pub(super) fn prepare(
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<Rolling, EvaluateError> {
        let items = data.prepare_items(options, |index, _| {
            let text = target_text(&data, index)?;
            let Some(prefix) = tokenizer.prefix_token() else {
                let (task, row) = (data.config.name.clone(), Row::Item(index));
                return Err(EvaluateError::EmptyPrompt { task, row });
            };
            let mut item = Item::new(prefix, &tokenizer.encode(&text), &text);
            item.record = data.record(index, options, || vec![RequestRecord::Rolling { text }])?;
            Ok(item)
        })?;
        let warnings = data.warnings(options);
        let info = data.info(options);
        let config = data.config;
        let metrics = Metrics::new(config.metrics, &config.pipelines);
        Ok(Rolling { name: config.name, items, metrics, warnings, info })
    }
}

impl Item {
    fn new(prefix: u32, tokens: &[u32], text: &str) -> Item {
        let tokens = [&[prefix], tokens].concat();
        Item { tokens, words: count_words(text), bytes: text.len(), record: None }
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
fn count_words(text: &str) -> usize {
    let mut pieces = 1;
    let mut was_space = false;
    for c in text.chars() {
        let is_space = is_whitespace(c);
        pieces += usize::from(is_space && !was_space);
        was_space = is_space;
    }
    pieces
}

impl Evaluator for Rolling {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.items.len()
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn info(&self) -> &TaskInfo {
        &self.info
    }

    fn record(&self, item: usize) -> Option<&ItemRecord> {
        self.items[item].record.as_deref()
    }

    fn definition(&self) -> String {
        json!({ "output_type": LOGLIKELIHOOD_ROLLING, "metrics": self.metrics }).to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { tokens, words, bytes, .. } = &self.items[item];
        format!("{tokens:?} {words} {bytes}")
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        self.metrics.keys()
    }

    /// Any text fits into any model, window by window.
    fn check_length(&self, _max_length: usize) -> Result<(), EvaluateError> {
        Ok(())
    }

    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        for (position, &item) in items.iter().enumerate() {
            requests.extend(self.items[item].windows(model.max_length()));
            owners.resize(requests.len(), position);
        }
        let scores = model.score(&requests)?;
        check_numbers(&self.name, owners.iter().map(|&position| items[position]), &scores)?;
        let mut log_likelihoods = vec![0.0; items.len()];
        for (score, position) in scores.iter().zip(owners) {
            log_likelihoods[position] += score.log_likelihood;
        }
        let mut columns = self.metrics.columns();
        for (metric, column) in self.metrics.list.iter().zip(&mut columns) {
            for (&item, log_likelihood) in items.iter().zip(&log_likelihoods) {
                column.push(&[*log_likelihood, self.items[item].count(metric.measure) as f64]);
            }
        }
        let told =
            items.iter().zip(log_likelihoods).filter(|(item, _)| self.record(**item).is_some());
        let responses = told.map(|(&item, log_likelihood)| ItemResponses {
            noted: self.metrics.noted(|metric| {
                Some(json!([log_likelihood, self.items[item].count(metric.measure)]))
            }),
            ..self.metrics.unfiltered(vec![Response::LogLikelihood(log_likelihood)])
        });
        let responses = responses.collect();
        Ok(TaskScores { values: self.metrics.for_all_pipelines(&columns), responses })
    }

    fn aggregate(&self, metric: &str, values: &MetricValues) -> f64 {
        self.metrics.aggregate(metric, values)
    }

    fn standard_error(
        &self,
        metric: &str,
        values: &MetricValues,
        bootstrap_iterations: usize,
    ) -> Option<f64> {
        self.metrics.standard_error(metric, values, bootstrap_iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(tokens: &[u32], length: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let item = Item::new(0, tokens, "");
        item.windows(length).map(|request| (request.context, request.continuation)).collect()
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

//! Tasks that ask how likely one given answer is, and what scoring token pairs has in common.

use indexmap::IndexMap;
use serde_json::json;

use super::error::Row;
use super::metric::{LOGLIKELIHOOD, Measure, Metrics};
use super::prompt::TaskData;
use super::record::{ItemRecord, RequestRecord, Response, TaskInfo};
use super::tokenizer::{PairProblem, TokenPair};
use super::{EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer};
use crate::lm::{LanguageModel, Score, ScoreRequest};

/// A task with one answer for each prompt.
#[derive(Debug)]
pub(super) struct LogLikelihood {
    name: String,
    items: Vec<Item>,
    metrics: Metrics,
    warnings: Vec<String>,
    info: TaskInfo,
}

#[derive(Debug)]
struct Item {
    prompt: String,
    pair: TokenPair,
    record: Option<Box<ItemRecord>>,
}

impl LogLikelihood {
    /// Makes and tokenizes every prompt of a task.
    pub(super) fn prepare(
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<LogLikelihood, EvaluateError> {
        let items = data.prepare_items(options, |index, prompts| {
            let prompt = prompts.into_iter().next().unwrap_or_default();
            let answer = target_text(&data, index)?;
            let pair = encode(tokenizer, &data.config.name, index, &prompt, &answer)?;
            let record = data.record(index, options, || {
                vec![RequestRecord::LogLikelihood {
                    context: prompt.clone(),
                    continuation: answer.clone(),
                }]
            })?;
            Ok(Item { prompt, pair, record })
        })?;
        let warnings = data.warnings(options);
        let info = data.info(options);
        let config = data.config;
        let metrics = Metrics::new(config.metrics, &config.pipelines);
        Ok(LogLikelihood { name: config.name, items, metrics, warnings, info })
    }
}

/// The target of a document, which has to be text.
pub(super) fn target_text(data: &TaskData, index: usize) -> Result<String, EvaluateError> {
    let row = Row::Item(index);
    let target = &data.config.prompt.fields;
    let value = target.target(&data.documents[index], &data.columns, row)?;
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(target.target.wrong_value(row, "a text", &value)),
    }
}

/// The tokens of a context and a continuation of an item.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    task: &str,
    item: usize,
    context: &str,
    continuation: &str,
) -> Result<TokenPair, EvaluateError> {
    tokenizer.encode_pair(context, continuation).map_err(|problem| {
        let (task, row) = (task.to_owned(), Row::Item(item));
        match problem {
            PairProblem::EmptyContinuation => EvaluateError::EmptyContinuation { task, row },
            PairProblem::EmptyContext => EvaluateError::EmptyPrompt { task, row },
        }
    })
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
    let mut requests = Vec::new();
    for (item, pair) in pairs.clone() {
        check_room(task, item, pair, model.max_length())?;
        let (context, continuation) = (pair.context.clone(), pair.continuation.clone());
        requests.push(ScoreRequest { context, continuation });
    }
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

impl Evaluator for LogLikelihood {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.items.len()
    }

    fn prompt(&self, item: usize) -> &str {
        &self.items[item].prompt
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
        json!({ "output_type": LOGLIKELIHOOD, "metrics": self.metrics }).to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { prompt, pair, .. } = &self.items[item];
        format!("{prompt}\n{:?} {:?}", pair.context, pair.continuation)
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        self.metrics.keys()
    }

    fn check_length(&self, max_length: usize) -> Result<(), EvaluateError> {
        let mut items = self.items.iter().enumerate();
        items.try_for_each(|(item, Item { pair, .. })| {
            check_room(&self.name, item, pair, max_length)
        })
    }

    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let pairs = items.iter().map(|&item| (item, &self.items[item].pair));
        let scores = score(model, &self.name, pairs)?;
        let value = |measure: Measure, score: &Score| match measure {
            Measure::LogLikelihood => score.log_likelihood,
            _ => f64::from(u8::from(score.greedy)),
        };
        let column = |measure: Measure| scores.iter().map(|score| value(measure, score)).collect();
        let columns: Vec<MetricValues> =
            self.metrics.list.iter().map(|metric| column(metric.measure)).collect();
        let told = items.iter().zip(&scores).filter(|(item, _)| self.record(**item).is_some());
        let responses =
            told.map(|(_, &score)| self.metrics.unfiltered(vec![Response::Score(score)])).collect();
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

//! The [`Evaluator`] of every task from the harness's files, and what differs between kinds of tasks.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::data::Document;
use super::error::Row;
use super::filter::Pipeline;
use super::metric::{Metric, Metrics};
use super::prompt::TaskData;
use super::prompted::PromptedDocument;
use super::record::{ItemRecord, ItemResponses, Response, TaskInfo};
use super::{
    Candidate, EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer,
    metric_key,
};
use crate::lm::LanguageModel;

/// What a model is asked about an item, and what its answer is worth.
pub(super) trait TaskKind: Send + Sync + 'static {
    /// The output type in task files.
    const OUTPUT_TYPE: &'static str;

    /// What is asked about an item, tokenized, and what is right.
    type Question: Send + Sync + 'static;

    /// What the model says to a question.
    type Answer: Clone;

    /// What a person should know of this kind of task and this model, one sentence each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes an item of a document.
    fn item(&self, document: PromptedDocument<'_>) -> Result<Item<Self::Question>, EvaluateError>;

    /// As of [`Evaluator::definition`]. Journals keep its digest, so the order of the fields counts.
    fn definition(&self, metrics: &Metrics, _pipelines: &[Pipeline]) -> Value {
        json!({ "output_type": Self::OUTPUT_TYPE, "metrics": metrics })
    }

    /// As of [`Evaluator::fingerprint`]. Journals keep its digest.
    fn fingerprint(prompt: &str, question: &Self::Question) -> String;

    /// Refuses a question of the item with index `item` that asks for more than a model with room for
    /// `max_length` tokens can do.
    fn check_length(
        &self,
        task: &str,
        item: usize,
        question: &Self::Question,
        max_length: usize,
    ) -> Result<(), EvaluateError>;

    /// The answer to each question, given with its item's index, in their order. All passed
    /// [`TaskKind::check_length`] for this model.
    fn ask(
        &self,
        task: &str,
        questions: &[(usize, &Self::Question)],
        model: &dyn LanguageModel,
    ) -> Result<Vec<Self::Answer>, EvaluateError>;

    /// What a pipeline makes of an answer; only what is written freely is ever changed.
    fn filter<'a>(
        _question: &Self::Question,
        answer: &'a Self::Answer,
        _pipeline: &Pipeline,
    ) -> Cow<'a, Self::Answer> {
        Cow::Borrowed(answer)
    }

    /// Adds the value of an answer, filtered, to those of a metric, the task's `index`th.
    fn measure(
        question: &Self::Question,
        answer: &Self::Answer,
        index: usize,
        metric: &Metric,
        values: &mut MetricValues,
    );

    /// What templates that judge an answer, filtered, know of it.
    fn variables(question: &Self::Question, answer: &Self::Answer) -> minijinja::Value;

    /// For each request of an item, the responses to each of its repeats.
    fn responses(answer: &Self::Answer) -> Vec<Vec<Response>>;

    /// What the harness notes of an answer, filtered, where that is not the metric's value.
    fn note(_question: &Self::Question, _answer: &Self::Answer, _metric: &Metric) -> Option<Value> {
        None
    }
}

/// An item of a task.
pub(super) struct Item<Q> {
    /// The text in front of the answer; empty where there is none.
    pub(super) prompt: String,
    /// All items of a task have one, or none has.
    pub(super) record: Option<Box<ItemRecord>>,
    pub(super) question: Q,
}

/// A task with every prompt made and tokenized.
pub(super) struct HarnessTask<K: TaskKind> {
    name: String,
    info: TaskInfo,
    warnings: Vec<String>,
    metrics: Metrics,
    pipelines: Vec<Pipeline>,
    items: Vec<Item<K::Question>>,
    /// The rows of all items, if a metric is computed from them.
    documents: Vec<Document>,
    kind: K,
}

impl<K: TaskKind> HarnessTask<K> {
    /// Makes and tokenizes every prompt of a task.
    pub(super) fn prepare(
        kind: K,
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<HarnessTask<K>, EvaluateError> {
        let items = data.prepare_items(options, |index, prompts| {
            kind.item(PromptedDocument { data: &data, tokenizer, options, index, prompts })
        })?;
        let mut warnings = data.warnings(options);
        warnings.extend(kind.warnings());
        let info = data.info(options);
        let config = data.config;
        let mut documents = data.documents;
        let is_computed = config.metrics.iter().any(|metric| metric.template.is_some());
        documents.truncate(if is_computed { items.len() } else { 0 });
        Ok(HarnessTask {
            name: config.name,
            info,
            warnings,
            metrics: Metrics::new(config.metrics, &config.pipelines),
            pipelines: config.pipelines,
            items,
            documents,
            kind,
        })
    }

    /// What the model said to items, still without what pipelines make of it; nothing if items keep
    /// no records.
    fn responses(&self, answers: &[K::Answer]) -> Vec<ItemResponses> {
        if self.items.iter().any(|item| item.record.is_none()) {
            return Vec::new();
        }
        let said =
            |answer| ItemResponses { responses: K::responses(answer), ..ItemResponses::default() };
        answers.iter().map(said).collect()
    }
}

impl<K: TaskKind> Evaluator for HarnessTask<K> {
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

    fn info(&self) -> Cow<'_, TaskInfo> {
        Cow::Borrowed(&self.info)
    }

    fn record(&self, item: usize) -> Option<&ItemRecord> {
        self.items[item].record.as_deref()
    }

    fn definition(&self) -> String {
        self.kind.definition(&self.metrics, &self.pipelines).to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { prompt, question, .. } = &self.items[item];
        let fingerprint = K::fingerprint(prompt, question);
        match self.documents.get(item) {
            Some(document) => format!("{fingerprint}\n{}", json!(document.columns)),
            None => fingerprint,
        }
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        self.metrics.keys()
    }

    fn check(&self, candidate: &dyn Candidate) -> Result<(), EvaluateError> {
        let max_length = candidate.model()?.max_length();
        let mut items = self.items.iter().enumerate();
        items.try_for_each(|(index, item)| {
            self.kind.check_length(&self.name, index, &item.question, max_length)
        })
    }

    fn evaluate(
        &self,
        candidate: &dyn Candidate,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let model = candidate.model()?;
        let questions: Vec<(usize, &K::Question)> =
            items.iter().map(|&index| (index, &self.items[index].question)).collect();
        for &(index, question) in &questions {
            self.kind.check_length(&self.name, index, question, model.max_length())?;
        }
        let answers = self.kind.ask(&self.name, &questions, model)?;

        let mut values = IndexMap::new();
        let mut responses = self.responses(&answers);
        for pipeline in &self.pipelines {
            let judged: Vec<(&K::Question, Cow<'_, K::Answer>)> = questions
                .iter()
                .zip(&answers)
                .map(|(&(_, question), answer)| (question, K::filter(question, answer, pipeline)))
                .collect();
            for (index, metric) in self.metrics.list.iter().enumerate() {
                let mut column = MetricValues::new(metric.width());
                for ((question, answer), &item) in judged.iter().zip(items) {
                    match &metric.template {
                        Some(template) => {
                            let (said, row) = (K::variables(question, answer), Row::Item(item));
                            let document = &self.documents[item];
                            column.push(&template.numbers(said, document, row, metric.width())?);
                        }
                        None => K::measure(question, answer, index, metric, &mut column),
                    }
                }
                values.insert(metric_key(&metric.name, &pipeline.name), column);
            }
            let notes = responses.iter_mut().zip(&judged).enumerate();
            for (position, (responses, (question, answer))) in notes {
                let said = K::responses(answer).into_iter().flatten().collect();
                responses.filtered.insert(pipeline.name.clone(), said);
                for metric in &self.metrics.list {
                    let key = metric_key(&metric.name, &pipeline.name);
                    let note = match metric.template {
                        Some(_) if metric.width() > 1 => Some(json!(values[&key].row(position))),
                        Some(_) => None,
                        None => K::note(question, answer, metric),
                    };
                    responses.noted.extend(note.map(|note| (key, note)));
                }
            }
        }
        Ok(TaskScores { values, responses })
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

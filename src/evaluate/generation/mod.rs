//! Tasks whose answer the model writes until a stop string.

mod options;
mod right;
mod stops;

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use self::options::GenerationOptions;
use self::right::{Gold, right_answers};
use self::stops::{StopWatch, cut};
use super::error::Row;
use super::filter::Pipeline;
use super::metric::{GENERATE_UNTIL, Measure, Metrics};
use super::prompt::TaskData;
use super::record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
use super::{
    EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer, metric_key,
};
use crate::lm::{GenerateRequest, LanguageModel, Sampling};

/// A generation task with its prompts.
#[derive(Debug)]
pub(super) struct Generation {
    name: String,
    tokenizer: Tokenizer,
    items: Vec<Item>,
    metrics: Metrics,
    pipelines: Vec<Pipeline>,
    stops: Vec<String>,
    max_tokens: usize,
    /// How often a model is asked; once is enough where it always answers alike.
    repeats: usize,
    /// How tokens are chosen, with the seed that those of requests are derived from.
    sampling: Sampling,
    warnings: Vec<String>,
    info: TaskInfo,
}

#[derive(Debug)]
struct Item {
    prompt: String,
    record: Option<Box<ItemRecord>>,
    tokens: Vec<u32>,
    /// The texts that are right.
    right: Vec<String>,
    /// What each metric compares an answer with.
    gold: Vec<Gold>,
    /// What filters look for, if one needs it.
    choices: Vec<String>,
}

impl Generation {
    /// Makes and tokenizes every prompt of a task.
    pub(super) fn prepare(
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<Generation, EvaluateError> {
        let items = data.prepare_items(options, |index, prompts| {
            Item::prepare(&data, tokenizer, options, index, prompts)
        })?;
        let mut warnings = data.warnings(options);
        let defaults = tokenizer.generation_defaults();
        if !defaults.ignored.is_empty() {
            warnings.push(format!(
                "the model's generation_config.json has `{}`, which changes answers in the harness \
                 but not here",
                defaults.ignored.join("`, `")
            ));
        }
        let info = data.info(options);
        let config = data.config;
        let sampling =
            Sampling { seed: options.sampling_seed, ..config.generation.sampling(defaults) };
        let mut stops = config.generation.until;
        if let Some(end) = tokenizer.end_text()
            && !stops.iter().any(|stop| stop == end)
        {
            stops.push(end.to_owned());
        }
        Ok(Generation {
            name: config.name,
            tokenizer: tokenizer.clone(),
            items,
            metrics: Metrics::new(config.metrics, &config.pipelines),
            pipelines: config.pipelines,
            stops,
            max_tokens: config.generation.max_tokens,
            repeats: config.repeats,
            sampling,
            warnings,
            info,
        })
    }

    /// What the model writes for each item, each time that it is asked, up to the stop strings.
    fn answers(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<Vec<Vec<String>>, EvaluateError> {
        // Without draws the model answers alike however often it is asked.
        let asked = if self.sampling.temperature > 0.0 { self.repeats } else { 1 };
        let mut requests = Vec::with_capacity(items.len() * asked);
        for &item in items {
            self.check_room(item, model.max_length())?;
            // The model itself leaves out the beginning of a prompt that does not fit.
            requests.extend((0..asked).map(|repeat| GenerateRequest {
                prompt: self.items[item].tokens.clone(),
                max_new_tokens: self.max_tokens,
                end_tokens: self.tokenizer.end_tokens().to_vec(),
                sampling: Sampling { seed: self.seed(item, repeat), ..self.sampling },
            }));
        }
        let watches: Vec<Mutex<StopWatch<'_>>> =
            requests.iter().map(|_| Mutex::new(StopWatch::new(&self.tokenizer))).collect();
        let stop = |request: usize, tokens: &[u32]| {
            let mut watch = watches[request].lock().unwrap_or_else(PoisonError::into_inner);
            watch.sees_a_stop(tokens, &self.stops)
        };
        let produced = model.generate(&requests, &stop)?;
        let text = |tokens: &Vec<u32>| cut(&self.tokenizer.decode(tokens), &self.stops);
        let answers = produced.chunks(asked).map(|repeats| {
            let texts = repeats.iter().map(text).cycle();
            texts.take(self.repeats).collect()
        });
        Ok(answers.collect())
    }

    /// The seed of one request, which depends on nothing but the task's, the item and how often the
    /// item was asked before.
    fn seed(&self, item: usize, repeat: usize) -> u64 {
        let mut hash = Sha256::new();
        hash.update(b"generation");
        for number in [self.sampling.seed, item as u64, repeat as u64] {
            hash.update(number.to_le_bytes());
        }
        hash.update(self.name.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(seed)
    }

    /// What the model said to items that tell it, still without what filters make of it.
    fn responses(&self, items: &[usize], answers: &[Vec<String>]) -> Vec<ItemResponses> {
        let told = items.iter().zip(answers).filter(|(item, _)| self.record(**item).is_some());
        told.map(|(_, answers)| ItemResponses {
            responses: vec![answers.iter().cloned().map(Response::Text).collect()],
            ..ItemResponses::default()
        })
        .collect()
    }

    /// Refuses when nothing of an item's prompt would be left before the answer.
    fn check_room(&self, item: usize, max_length: usize) -> Result<(), EvaluateError> {
        if self.max_tokens >= max_length {
            let (task, needed) = (self.name.clone(), self.max_tokens + 1);
            return Err(EvaluateError::TooLong { task, item, needed, max_length });
        }
        Ok(())
    }
}

impl Item {
    fn prepare(
        data: &TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
        index: usize,
        prompts: Vec<String>,
    ) -> Result<Item, EvaluateError> {
        let prompt = prompts.into_iter().next().unwrap_or_default();
        let tokens = tokenizer.encode_prompt(&prompt);
        if tokens.is_empty() {
            let (task, row) = (data.config.name.clone(), Row::Item(index));
            return Err(EvaluateError::EmptyPrompt { task, row });
        }
        let right = right_answers(data, index)?;
        let metrics = &data.config.metrics;
        if right.len() > 1 && metrics.iter().any(|metric| metric.measure != Measure::ExactMatch) {
            let target = &data.config.prompt.fields.target;
            let found = Value::from(right);
            return Err(target.wrong_value(Row::Item(index), "a single text", &found));
        }
        let gold = metrics.iter().map(|metric| Gold::new(metric, &right)).collect();
        let mut choices = Vec::new();
        for pipeline in &data.config.pipelines {
            let wanted = pipeline.choices(&data.documents[index], Row::Item(index))?;
            choices = if wanted.is_empty() { choices } else { wanted };
        }
        let record = data.record(index, options, || {
            let options = data.config.generation.written.clone();
            vec![RequestRecord::Generation { context: prompt.clone(), options }]
        })?;
        Ok(Item { prompt, record, tokens, right, gold, choices })
    }
}

impl Evaluator for Generation {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.items.len()
    }

    fn prompt(&self, item: usize) -> &str {
        &self.items[item].prompt
    }

    fn definition(&self) -> String {
        let definition = json!({
            "output_type": GENERATE_UNTIL,
            "pipelines": self.pipelines,
            "metrics": self.metrics,
            "stops": self.stops,
            "max_tokens": self.max_tokens,
            "repeats": self.repeats,
            "end_tokens": self.tokenizer.end_tokens(),
            "temperature": self.sampling.temperature,
            "top_k": self.sampling.top_k,
            "top_p": self.sampling.top_p,
            "repetition_penalty": self.sampling.repetition_penalty,
            "seed": self.sampling.seed,
        });
        definition.to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { prompt, tokens, right, choices, .. } = &self.items[item];
        format!("{prompt}\n{tokens:?} {right:?} {choices:?}")
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

    fn metrics(&self) -> IndexMap<String, bool> {
        self.metrics.keys()
    }

    fn check_length(&self, max_length: usize) -> Result<(), EvaluateError> {
        (0..self.items.len()).try_for_each(|item| self.check_room(item, max_length))
    }

    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let answers = self.answers(model, items)?;
        let mut values = IndexMap::new();
        let mut responses = self.responses(items, &answers);
        for pipeline in &self.pipelines {
            let filtered: Vec<String> = items
                .iter()
                .zip(&answers)
                .map(|(&item, answers)| pipeline.apply(answers, &self.items[item].choices))
                .collect();
            let mut columns = self.metrics.columns();
            for (&item, answer) in items.iter().zip(&filtered) {
                let gold = self.items[item].gold.iter();
                for ((metric, gold), column) in self.metrics.list.iter().zip(gold).zip(&mut columns)
                {
                    gold.judge(metric, answer, column);
                }
            }
            for (responses, (&item, answer)) in
                responses.iter_mut().zip(items.iter().zip(&filtered))
            {
                let said = vec![Response::Text(answer.clone())];
                responses.filtered.insert(pipeline.name.clone(), said);
                for metric in self.metrics.list.iter().filter(|metric| metric.measure.width() > 1) {
                    let pair = json!([self.items[item].right.first(), answer]);
                    responses.noted.insert(metric_key(metric.name, &pipeline.name), pair);
                }
            }
            let keys = self.metrics.list.iter().map(|m| metric_key(m.name, &pipeline.name));
            values.extend(keys.zip(columns));
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

//! Tasks whose answer the model writes until a stop string.

mod options;
mod right;
mod stops;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use self::options::GenerationOptions;
use self::right::{Gold, right_answers};
use self::stops::{StopWatch, cut};
use super::filter::Pipeline;
use super::harness_task::{Item, TaskKind};
use super::metric::{GENERATE_UNTIL, Measure, Metric, Metrics};
use super::prompted::PromptedDocument;
use super::record::{RequestRecord, Response};
use super::task::TaskConfig;
use super::{EvaluateError, MetricValues, TaskOptions, Tokenizer};
use crate::lm::{GenerateRequest, LanguageModel, Sampling};

/// Generation tasks, with how answers are written.
pub(super) struct Generation {
    tokenizer: Tokenizer,
    stops: Vec<String>,
    max_tokens: usize,
    /// How often a model is asked; once is enough where it always answers alike.
    repeats: usize,
    /// How tokens are chosen, with the seed that those of requests are derived from.
    sampling: Sampling,
}

/// A prompt to be continued.
pub(super) struct Question {
    tokens: Vec<u32>,
    /// The texts that are right.
    right: Vec<String>,
    /// What each metric compares an answer with.
    gold: Vec<Gold>,
    /// What filters look for, if one needs it.
    choices: Vec<String>,
}

impl Generation {
    /// How answers to a task are written.
    pub(super) fn new(
        config: &TaskConfig,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Generation {
        let sampling = config.generation.sampling(tokenizer.generation_defaults());
        let mut stops = config.generation.until.clone();
        if let Some(end) = tokenizer.end_text()
            && !stops.iter().any(|stop| stop == end)
        {
            stops.push(end.to_owned());
        }
        Generation {
            tokenizer: tokenizer.clone(),
            stops,
            max_tokens: config.generation.max_tokens,
            repeats: config.repeats,
            sampling: Sampling { seed: options.sampling_seed, ..sampling },
        }
    }

    /// The seed of one request, which depends on nothing but the task's, the item and how often the
    /// item was asked before.
    fn seed(&self, task: &str, item: usize, repeat: usize) -> u64 {
        let mut hash = Sha256::new();
        hash.update(b"generation");
        for number in [self.sampling.seed, item as u64, repeat as u64] {
            hash.update(number.to_le_bytes());
        }
        hash.update(task.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(seed)
    }
}

impl TaskKind for Generation {
    const OUTPUT_TYPE: &'static str = GENERATE_UNTIL;
    type Question = Question;
    /// What is written each time that the model is asked, up to the stop strings; filtered it is one
    /// text.
    type Answer = Vec<String>;

    fn warnings(&self) -> Vec<String> {
        let ignored = &self.tokenizer.generation_defaults().ignored;
        if ignored.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "the model's generation_config.json has `{}`, which changes answers in the harness \
             but not here",
            ignored.join("`, `")
        )]
    }

    fn item(&self, document: PromptedDocument<'_>) -> Result<Item<Question>, EvaluateError> {
        let tokens = document.tokenizer.encode_prompt(document.prompt());
        if tokens.is_empty() {
            return Err(document.empty_prompt());
        }
        let config = &document.data.config;
        let right = right_answers(&document)?;
        let is_of_one =
            |metric: &Metric| metric.template.is_none() && metric.measure != Measure::ExactMatch;
        if right.len() > 1 && config.metrics.iter().any(is_of_one) {
            let (target, found) = (&document.fields().target, Value::from(right));
            return Err(target.wrong_value(document.row(), "a single text", &found));
        }
        let gold = config.metrics.iter().map(|metric| Gold::new(metric, &right)).collect();
        let choices = document.filter_choices()?;
        let record = document.record(|| {
            let (context, options) = (document.prompt().to_owned(), &config.generation.written);
            vec![RequestRecord::Generation { context, options: options.clone() }]
        })?;
        let question = Question { tokens, right, gold, choices };
        Ok(Item { record, question, prompt: document.into_prompt() })
    }

    fn definition(&self, metrics: &Metrics, pipelines: &[Pipeline]) -> Value {
        json!({
            "output_type": Self::OUTPUT_TYPE,
            "pipelines": pipelines,
            "metrics": metrics,
            "stops": self.stops,
            "max_tokens": self.max_tokens,
            "repeats": self.repeats,
            "end_tokens": self.tokenizer.end_tokens(),
            "temperature": self.sampling.temperature,
            "top_k": self.sampling.top_k,
            "top_p": self.sampling.top_p,
            "repetition_penalty": self.sampling.repetition_penalty,
            "seed": self.sampling.seed,
        })
    }

    fn fingerprint(prompt: &str, question: &Question) -> String {
        let Question { tokens, right, choices, .. } = question;
        format!("{prompt}\n{tokens:?} {right:?} {choices:?}")
    }

    /// Refuses when nothing of the prompt would be left before the answer.
    fn check_length(
        &self,
        task: &str,
        item: usize,
        _question: &Question,
        max_length: usize,
    ) -> Result<(), EvaluateError> {
        if self.max_tokens >= max_length {
            let (task, needed) = (task.to_owned(), self.max_tokens + 1);
            return Err(EvaluateError::TooLong { task, item, needed, max_length });
        }
        Ok(())
    }

    fn ask(
        &self,
        task: &str,
        questions: &[(usize, &Question)],
        model: &dyn LanguageModel,
    ) -> Result<Vec<Vec<String>>, EvaluateError> {
        // Without draws the model answers alike however often it is asked.
        let asked = if self.sampling.temperature > 0.0 { self.repeats } else { 1 };
        let mut requests = Vec::with_capacity(questions.len() * asked);
        for &(item, question) in questions {
            // The model itself leaves out the beginning of a prompt that does not fit.
            requests.extend((0..asked).map(|repeat| GenerateRequest {
                prompt: question.tokens.clone(),
                max_new_tokens: self.max_tokens,
                end_tokens: self.tokenizer.end_tokens().to_vec(),
                sampling: Sampling { seed: self.seed(task, item, repeat), ..self.sampling },
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

    fn filter<'a>(
        question: &Question,
        answers: &'a Vec<String>,
        pipeline: &Pipeline,
    ) -> Cow<'a, Vec<String>> {
        Cow::Owned(vec![pipeline.apply(answers, &question.choices)])
    }

    fn measure(
        question: &Question,
        answers: &Vec<String>,
        index: usize,
        metric: &Metric,
        values: &mut MetricValues,
    ) {
        for answer in answers {
            question.gold[index].judge(metric, answer, values);
        }
    }

    fn variables(_question: &Question, answers: &Vec<String>) -> minijinja::Value {
        let response = answers.first();
        minijinja::context! { response }
    }

    fn responses(answers: &Vec<String>) -> Vec<Vec<Response>> {
        vec![answers.iter().cloned().map(Response::Text).collect()]
    }

    fn note(question: &Question, answers: &Vec<String>, metric: &Metric) -> Option<Value> {
        let is_noted = metric.measure.width() > 1;
        is_noted.then(|| json!([question.right.first(), answers.first()]))
    }
}

//! Tasks whose answer the model writes, greedily, until a stop string.

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::chrf::Chrf;
use super::error::Row;
use super::field::{as_index, python_text};
use super::filter::Pipeline;
use super::metric::{GENERATE_UNTIL, Measure, Metric, Metrics};
use super::prompt::TaskData;
use super::record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
use super::tokenizer::TextStream;
use super::{
    EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer, bleu, chrf,
    metric_key, ter,
};
use crate::config::yaml::Node;
use crate::lm::{GenerateRequest, LanguageModel, Sampling};

/// Tokens that are produced at most when a task does not say.
const DEFAULT_MAX_TOKENS: usize = 256;

/// Names of the limit, the first found winning.
const MAX_TOKENS_NAMES: [&str; 4] =
    ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

/// How answers are written.
#[derive(Debug, Clone)]
pub(super) struct GenerationOptions {
    /// Strings that end an answer, which does not contain them. In the order of the task.
    until: Vec<String>,
    max_tokens: usize,
    /// As the task has them, defaults included.
    written: Value,
}

impl GenerationOptions {
    /// Reads `generation_kwargs`. What only concerns sampling is accepted and has no effect.
    pub(super) fn parse(
        node: Option<&Node<'_>>,
        fewshot_delimiter: &str,
    ) -> Result<GenerationOptions, EvaluateError> {
        let mut options = GenerationOptions {
            until: vec![fewshot_delimiter.to_owned()],
            max_tokens: DEFAULT_MAX_TOKENS,
            written: json!({
                "until": [fewshot_delimiter],
                "do_sample": false,
                "temperature": 0.0,
                "max_gen_toks": DEFAULT_MAX_TOKENS,
            }),
        };
        let Some(node) = node else { return Ok(options) };
        let fields = node.fields()?;
        let others = [
            "until",
            "do_sample",
            "temperature",
            "top_p",
            "top_k",
            "num_beams",
            "repetition_penalty",
        ];
        fields.only(&[MAX_TOKENS_NAMES.as_slice(), &others].concat())?;

        if let Some(node) = fields.get("until") {
            let nodes = if node.value().is_string() { vec![node] } else { node.items()? };
            let texts = nodes.iter().map(|node| node.text().map(str::to_owned));
            options.until = texts.collect::<Result<_, _>>()?;
        }
        options.until.retain(|text| !text.is_empty());
        if let Some(node) = MAX_TOKENS_NAMES.iter().find_map(|name| fields.get(name)) {
            options.max_tokens = node.count()?.max(1);
        }

        let temperature = fields.get("temperature");
        let is_hot = temperature.as_ref().map_or(Ok(0.0), Node::number)? > 0.0;
        match fields.get("do_sample") {
            Some(node) if node.boolean()? => {
                return Err(EvaluateError::unsupported(&node, "option", "do_sample", Vec::new()));
            }
            None if is_hot => {
                let node = temperature.as_ref().unwrap_or(node);
                return Err(EvaluateError::unsupported(node, "option", "temperature", Vec::new()));
            }
            _ => {}
        }
        for name in ["num_beams", "repetition_penalty"] {
            if let Some(node) = fields.get(name)
                && node.number()? != 1.0
            {
                return Err(EvaluateError::unsupported(&node, "option", name, Vec::new()));
            }
        }
        options.written = written(node, fewshot_delimiter);
        Ok(options)
    }
}

/// The options as JSON, with what the harness puts in where a task says nothing.
fn written(node: &Node<'_>, fewshot_delimiter: &str) -> Value {
    let mut written = serde_json::to_value(node.value()).unwrap_or_default();
    if let Some(fields) = written.as_object_mut() {
        if let Some(temperature) = fields.get_mut("temperature") {
            *temperature = temperature.as_f64().into();
        }
        fields.entry("until").or_insert_with(|| json!([fewshot_delimiter]));
    }
    written
}

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
    repeats: usize,
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
}

/// What a metric compares an answer with.
#[derive(Debug)]
enum Gold {
    /// Texts in the form in which they are compared.
    Texts(Vec<String>),
    Bleu(bleu::Reference),
    Chrf(chrf::Reference),
    Ter(ter::Reference),
}

impl Gold {
    fn new(metric: &Metric, right: &[String]) -> Gold {
        let first = right.first().map_or("", String::as_str);
        match metric.measure {
            Measure::Bleu => Gold::Bleu(bleu::Reference::new(first)),
            Measure::Chrf => Gold::Chrf(Chrf::CHARACTERS.reference(first)),
            Measure::ChrfWords => Gold::Chrf(Chrf::WORDS_TOO.reference(first)),
            Measure::Ter => Gold::Ter(ter::Reference::new(first)),
            _ => Gold::Texts(right.iter().map(|text| metric.normalization.apply(text)).collect()),
        }
    }

    /// Adds the value of an answer.
    fn judge(&self, metric: &Metric, answer: &str, values: &mut MetricValues) {
        match self {
            Gold::Texts(texts) => {
                let is_right = texts.contains(&metric.normalization.apply(answer));
                values.push(&[f64::from(u8::from(is_right))]);
            }
            Gold::Bleu(right) => values.push(&right.row(answer)),
            Gold::Chrf(right) => values.push(&right.row(answer)),
            Gold::Ter(right) => values.push(&right.row(answer)),
        }
    }
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
        if let Some(penalty) = tokenizer.repetition_penalty() {
            warnings.push(format!(
                "the model's generation_config.json has a repetition penalty of {penalty}, which \
                 changes answers in the harness but not here"
            ));
        }
        let info = data.info(options);
        let config = data.config;
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
            warnings,
            info,
        })
    }

    /// What the model writes for each item, up to the stop strings.
    fn answers(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<Vec<String>, EvaluateError> {
        let mut requests = Vec::with_capacity(items.len());
        for &item in items {
            self.check_room(item, model.max_length())?;
            // The model itself leaves out the beginning of a prompt that does not fit.
            requests.push(GenerateRequest {
                prompt: self.items[item].tokens.clone(),
                max_new_tokens: self.max_tokens,
                end_tokens: self.tokenizer.end_tokens().to_vec(),
                sampling: Sampling::default(),
            });
        }
        let watches: Vec<Mutex<StopWatch<'_>>> =
            items.iter().map(|_| Mutex::new(StopWatch::new(&self.tokenizer))).collect();
        let stop = |request: usize, tokens: &[u32]| {
            let mut watch = watches[request].lock().unwrap_or_else(PoisonError::into_inner);
            watch.sees_a_stop(tokens, &self.stops)
        };
        let produced = model.generate(&requests, &stop)?;
        let texts = produced.iter().map(|tokens| self.cut(&self.tokenizer.decode(tokens)));
        Ok(texts.collect())
    }

    /// What the model said to items that tell it, still without what filters make of it.
    fn responses(&self, items: &[usize], answers: &[String]) -> Vec<ItemResponses> {
        let told = items.iter().zip(answers).filter(|(item, _)| self.record(**item).is_some());
        let repeated = |answer: &String| vec![Response::Text(answer.clone()); self.repeats];
        told.map(|(_, answer)| ItemResponses {
            responses: vec![repeated(answer)],
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

    /// What precedes the first stop string; each stop in turn cuts what the ones before left.
    fn cut(&self, text: &str) -> String {
        let mut text = text;
        for stop in &self.stops {
            text = text.split_once(stop).map_or(text, |(before, _)| before);
        }
        text.to_owned()
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
        let record = data.record(index, options, || {
            let options = data.config.generation.written.clone();
            vec![RequestRecord::Generation { context: prompt.clone(), options }]
        })?;
        Ok(Item { prompt, record, tokens, right, gold })
    }
}

/// The texts that answer a document.
fn right_answers(data: &TaskData, index: usize) -> Result<Vec<String>, EvaluateError> {
    let row = Row::Item(index);
    let fields = &data.config.prompt.fields;
    let document = &data.documents[index];
    let target = fields.target(document, &data.columns, row)?;
    if let Some(choices) = fields.choices(document, &data.columns, row)? {
        let choice = as_index(&target).and_then(|index| usize::try_from(index).ok());
        let choice = choice.and_then(|index| choices.get(index).cloned());
        let wrong = || fields.target.wrong_value(row, "the index of a choice", &target);
        return Ok(vec![choice.ok_or_else(wrong)?]);
    }
    Ok(match &target {
        Value::Array(items) if !items.is_empty() => items.iter().map(python_text).collect(),
        other => vec![python_text(other)],
    })
}

/// Watches the text of one growing answer for stop strings.
struct StopWatch<'a> {
    stream: TextStream<'a>,
    text: String,
}

impl<'a> StopWatch<'a> {
    fn new(tokenizer: &'a Tokenizer) -> StopWatch<'a> {
        StopWatch { stream: tokenizer.decode_stream(), text: String::new() }
    }

    /// Whether a stop string appears in what the new tokens add, or reaches into it.
    fn sees_a_stop(&mut self, tokens: &[u32], stops: &[String]) -> bool {
        let seen = self.text.len();
        self.stream.advance(tokens, &mut self.text);
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        let mut start = seen.min(self.text.len()).saturating_sub(longest);
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        stops.iter().any(|stop| self.text[start..].contains(stop.as_str()))
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
        });
        definition.to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { prompt, tokens, right, .. } = &self.items[item];
        format!("{prompt}\n{tokens:?} {right:?}")
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
            // Greedy decoding answers alike however often it is asked.
            let filtered: Vec<String> = answers
                .iter()
                .map(|answer| pipeline.apply(&vec![answer.clone(); self.repeats]))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::yaml::Document;

    fn options(text: &str) -> Result<GenerationOptions, EvaluateError> {
        let document = Document::parse(text, Path::new("task.yaml"))?;
        GenerationOptions::parse(Some(&document.root()), "\n\n")
    }

    fn tokenizer() -> Tokenizer {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate/model");
        Tokenizer::open(&model).expect("a tokenizer")
    }

    #[test]
    fn options_have_the_harness_s_defaults_and_names() {
        let read = options("max_new_tokens: 5\ndo_sample: false\ntemperature: 0.7").expect("valid");
        assert_eq!((read.until, read.max_tokens), (vec!["\n\n".to_owned()], 5));
        let read = options("until: ['', x]\nmax_gen_toks: 3\nmax_tokens: 4").expect("valid");
        assert_eq!((read.until, read.max_tokens), (vec!["x".to_owned()], 3));
        assert_eq!(options("until: x").expect("valid").max_tokens, DEFAULT_MAX_TOKENS);
        assert!(options("until: []").expect("valid").until.is_empty());
    }

    #[test]
    fn sampling_and_beams_are_refused() {
        let message = |text| options(text).expect_err("not supported").to_string();
        assert_eq!(
            message("temperature: 0.7"),
            "task.yaml:1:14: temperature: option `temperature` is not supported"
        );
        assert_eq!(
            message("num_beams: 2"),
            "task.yaml:1:12: num_beams: option `num_beams` is not supported"
        );
    }

    #[test]
    fn stops_cut_in_their_order() {
        let generation = |stops: &[&str]| Generation {
            name: String::new(),
            tokenizer: tokenizer(),
            items: Vec::new(),
            metrics: Metrics::new(Vec::new(), &[]),
            pipelines: Vec::new(),
            stops: stops.iter().map(|&stop| stop.to_owned()).collect(),
            max_tokens: 1,
            repeats: 1,
            warnings: Vec::new(),
            info: TaskInfo {
                alias: String::new(),
                version: Value::Null,
                num_fewshot: 0,
                n_documents: 0,
                config: serde_json::Map::new(),
            },
        };
        assert_eq!(generation(&["\n", "b\nQ:"]).cut("ab\nQ:"), "ab");
        assert_eq!(generation(&["b\nQ:", "\n"]).cut("ab\nQ:"), "a");
        assert_eq!(generation(&["x"]).cut("ab"), "ab");
    }

    #[test]
    fn a_stop_is_seen_when_its_last_token_comes() {
        let tokenizer = tokenizer();
        let stops = ["のQ:".to_owned(), "<|end|>".to_owned()];
        for text in ["the のこ のQ: and", "then <|end|> more"] {
            let tokens = tokenizer.encode(text);
            let mut watch = StopWatch::new(&tokenizer);
            let stopped = (1..=tokens.len()).find(|&n| watch.sees_a_stop(&tokens[..n], &stops));
            let complete = (1..=tokens.len()).find(|&n| {
                let text = tokenizer.decode_all(&tokens[..n]);
                stops.iter().any(|stop| text.contains(stop.as_str()))
            });
            assert_eq!(stopped, complete, "{text}");
            assert!(stopped.is_some(), "{text}");
        }
    }
}

//! Tasks whose answer the model writes, greedily, until a stop string.

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::error::Row;
use super::field::{as_index, python_text};
use super::filter::Pipeline;
use super::metric::{GENERATE_UNTIL, Metric, mean, standard_error};
use super::prompt::TaskData;
use super::tokenizer::TextStream;
use super::{EvaluateError, Evaluator, TaskOptions, TaskScores, Tokenizer, metric_key};
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
        Ok(options)
    }
}

/// A generation task with its prompts.
#[derive(Debug)]
pub(super) struct Generation {
    name: String,
    tokenizer: Tokenizer,
    items: Vec<Item>,
    metrics: Vec<Metric>,
    pipelines: Vec<Pipeline>,
    stops: Vec<String>,
    max_tokens: usize,
    repeats: usize,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Item {
    prompt: String,
    tokens: Vec<u32>,
    /// For each metric, the texts that are right, in the form in which they are compared.
    gold: Vec<Vec<String>>,
}

impl Generation {
    /// Makes and tokenizes every prompt of a task.
    pub(super) fn prepare(
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<Generation, EvaluateError> {
        let items = data.prepare_items(options, |index, prompts| {
            Item::prepare(&data, tokenizer, index, prompts)
        })?;
        let mut warnings = data.warnings(options);
        if let Some(penalty) = tokenizer.repetition_penalty() {
            warnings.push(format!(
                "the model's generation_config.json has a repetition penalty of {penalty}, which \
                 changes answers in the harness but not here"
            ));
        }
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
            metrics: config.metrics,
            pipelines: config.pipelines,
            stops,
            max_tokens: config.generation.max_tokens,
            repeats: config.repeats,
            warnings,
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
        index: usize,
        prompts: Vec<String>,
    ) -> Result<Item, EvaluateError> {
        let prompt = prompts.into_iter().next().unwrap_or_default();
        let tokens = tokenizer.encode(&prompt);
        if tokens.is_empty() {
            let (task, row) = (data.config.name.clone(), Row::Item(index));
            return Err(EvaluateError::EmptyPrompt { task, row });
        }
        let right = right_answers(data, index)?;
        let compared =
            |metric: &Metric| right.iter().map(|text| metric.normalization.apply(text)).collect();
        let gold = data.config.metrics.iter().map(compared).collect();
        Ok(Item { prompt, tokens, gold })
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
        let Item { prompt, tokens, gold } = &self.items[item];
        format!("{prompt}\n{tokens:?} {gold:?}")
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        let keys = self.pipelines.iter().flat_map(|pipeline| {
            self.metrics.iter().map(move |metric| {
                (metric_key(metric.name, &pipeline.name), metric.higher_is_better)
            })
        });
        keys.collect()
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
        for pipeline in &self.pipelines {
            // Greedy decoding answers alike however often it is asked.
            let filtered: Vec<String> = answers
                .iter()
                .map(|answer| pipeline.apply(&vec![answer.clone(); self.repeats]))
                .collect();
            for (index, metric) in self.metrics.iter().enumerate() {
                let is_right = |(&item, answer): (&usize, &String)| {
                    let answer = metric.normalization.apply(answer);
                    f64::from(u8::from(self.items[item].gold[index].contains(&answer)))
                };
                let column = items.iter().zip(&filtered).map(is_right).collect();
                values.insert(metric_key(metric.name, &pipeline.name), column);
            }
        }
        Ok(TaskScores { values })
    }

    fn aggregate(&self, _metric: &str, values: &[f64]) -> f64 {
        mean(values)
    }

    fn standard_error(&self, _metric: &str, values: &[f64]) -> Option<f64> {
        standard_error(values)
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
            metrics: Vec::new(),
            pipelines: Vec::new(),
            stops: stops.iter().map(|&stop| stop.to_owned()).collect(),
            max_tokens: 1,
            repeats: 1,
            warnings: Vec::new(),
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

//! How answers are written: `generation_kwargs` of a task, and what the model's own settings add.

use serde_json::{Value, json};

use crate::config::yaml::{Fields, Node};
use crate::evaluate::EvaluateError;
use crate::evaluate::tokenizer::GenerationDefaults;
use crate::lm::Sampling;

/// Tokens that are produced at most when a task does not say.
const DEFAULT_MAX_TOKENS: usize = 256;

/// Names of the limit, the first found winning.
const MAX_TOKENS_NAMES: [&str; 4] =
    ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

/// Tokens that are drawn from when neither task nor model says, as in transformers.
const DEFAULT_TOP_K: usize = 50;

/// How answers are written.
#[derive(Debug, Clone)]
pub(in crate::evaluate) struct GenerationOptions {
    /// Strings that end an answer, which does not contain them. In the order of the task.
    pub(super) until: Vec<String>,
    pub(super) max_tokens: usize,
    /// As the task has them, defaults included.
    pub(super) written: Value,
    /// 0 if the most probable token is taken.
    temperature: f64,
    top_k: Option<usize>,
    top_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

impl GenerationOptions {
    /// Reads `generation_kwargs`.
    pub(in crate::evaluate) fn parse(
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
            temperature: 0.0,
            top_k: None,
            top_p: None,
            repetition_penalty: None,
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
        if let Some(node) = fields.get("num_beams")
            && node.number()? != 1.0
        {
            return Err(EvaluateError::unsupported(&node, "option", "num_beams", Vec::new()));
        }
        options.temperature = temperature(&fields)?;
        options.top_k = fields.get("top_k").map(|node| node.count()).transpose()?;
        options.top_p =
            within(&fields, "top_p", "a number above 0 and up to 1", |p| p > 0.0 && p <= 1.0)?;
        options.repetition_penalty =
            within(&fields, "repetition_penalty", "a number above 0", |penalty| penalty > 0.0)?;
        options.written = written(node, fewshot_delimiter);
        Ok(options)
    }

    /// How tokens are chosen, apart from the seed. The model's own settings stand where the task says
    /// nothing; without drawing, only a repetition penalty makes a difference.
    pub(super) fn sampling(&self, defaults: &GenerationDefaults) -> Sampling {
        let penalty = self.repetition_penalty.or(defaults.repetition_penalty);
        let mut sampling = Sampling {
            temperature: self.temperature,
            repetition_penalty: penalty.unwrap_or(1.0),
            ..Sampling::default()
        };
        if self.temperature > 0.0 {
            sampling.top_k = self.top_k.or(defaults.top_k).unwrap_or(DEFAULT_TOP_K);
            sampling.top_p = self.top_p.or(defaults.top_p).unwrap_or(1.0);
        }
        sampling
    }
}

/// The temperature; 0 if the most probable token is taken. A task draws if it says so or, if it does
/// not say, has a temperature; then 1 is the default.
fn temperature(fields: &Fields<'_>) -> Result<f64, EvaluateError> {
    let at_least = within(fields, "temperature", "a number that is not negative", |t| t >= 0.0)?;
    let draws = fields.get("do_sample").map(|node| node.boolean()).transpose()?;
    match (draws, at_least) {
        (Some(false), _) => Ok(0.0),
        (None, temperature) => Ok(temperature.unwrap_or(0.0)),
        (Some(true), None) => Ok(1.0),
        (Some(true), Some(0.0)) => {
            let node = fields.require("temperature")?;
            Err(node.wrong_type("a number above 0 where `do_sample` is `true`").into())
        }
        (Some(true), Some(temperature)) => Ok(temperature),
    }
}

/// A number that is as it has to be.
fn within(
    fields: &Fields<'_>,
    name: &str,
    expected: &str,
    is_valid: fn(f64) -> bool,
) -> Result<Option<f64>, EvaluateError> {
    let Some(node) = fields.get(name) else { return Ok(None) };
    match node.number()? {
        number if is_valid(number) => Ok(Some(number)),
        _ => Err(node.wrong_type(expected).into()),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::yaml::Document;

    fn options(text: &str) -> Result<GenerationOptions, EvaluateError> {
        let document = Document::parse(text, Path::new("task.yaml"))?;
        GenerationOptions::parse(Some(&document.root()), "\n\n")
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
    fn the_model_s_settings_stand_where_the_task_says_nothing() {
        let own = GenerationDefaults {
            repetition_penalty: Some(1.1),
            top_k: Some(20),
            ..GenerationDefaults::default()
        };
        let sampling = |text: &str| options(text).expect("valid").sampling(&own);
        let greedy = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
        assert_eq!(sampling("do_sample: false\ntemperature: 0.5\ntop_p: 0.9"), greedy);
        assert_eq!(sampling("temperature: 0\ntop_k: 3"), greedy);
        let drawn = Sampling { temperature: 0.5, top_k: 20, ..greedy };
        assert_eq!(sampling("temperature: 0.5"), drawn);
        assert_eq!(
            sampling("do_sample: true\ntop_k: 0\ntop_p: 0.9\nrepetition_penalty: 1"),
            Sampling { temperature: 1.0, top_p: 0.9, ..Sampling::default() }
        );
        let plain = options("temperature: 1").expect("valid");
        assert_eq!(plain.sampling(&GenerationDefaults::default()).top_k, DEFAULT_TOP_K);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let message = |text| options(text).expect_err("not supported").to_string();
        assert_eq!(
            message("num_beams: 2"),
            "task.yaml:1:12: num_beams: option `num_beams` is not supported"
        );
        assert_eq!(
            message("do_sample: true\ntemperature: 0.0"),
            "task.yaml:2:14: temperature: expected a number above 0 where `do_sample` is `true`, \
             found `0.0`"
        );
        assert_eq!(
            message("top_p: 1.5"),
            "task.yaml:1:8: top_p: expected a number above 0 and up to 1, found `1.5`"
        );
        assert_eq!(
            message("repetition_penalty: -1"),
            "task.yaml:1:21: repetition_penalty: expected a number above 0, found `-1`"
        );
    }
}

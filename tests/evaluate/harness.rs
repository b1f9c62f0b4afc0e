//! The runs of lm-evaluation-harness: prompts, tokens, log-likelihoods, answers and figures.

use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use mergekit::evaluate::{
    ChatOptions, ChatTemplate, Evaluator, Figure, Limit, MetricValues, TaskFigures, TaskLibrary,
    TaskOptions, Tokenizer,
};
use mergekit::lm::{
    Decoder, GenerateRequest, LanguageModel, LmError, Score, ScoreRequest, StopRule,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{decoder, golden};

/// Draws of the runs' standard errors.
const BOOTSTRAP_ITERATIONS: usize = 1000;

/// What the harness made of a run; see golden/evaluate/make.py.
#[derive(Deserialize)]
struct Expected {
    tasks: IndexMap<String, ExpectedTask>,
    groups: IndexMap<String, IndexMap<String, Value>>,
}

#[derive(Deserialize)]
struct ExpectedTask {
    /// Numbers, or `N/A`.
    figures: IndexMap<String, Value>,
    documents: Vec<ExpectedDocument>,
    fragile: Vec<usize>,
}

#[derive(Deserialize)]
struct ExpectedDocument {
    metrics: IndexMap<String, Value>,
    prompts: Option<Vec<String>>,
    prompt_ids: Option<Vec<Vec<u32>>>,
    requests: Option<Vec<ExpectedRequest>>,
    answer: Option<String>,
}

/// Index of the prompt, tokens, log-likelihood, whether greedy.
type ExpectedRequest = (usize, Vec<u32>, f64, bool);

fn expected(run: &str) -> Expected {
    let path = golden().join("expected").join(format!("{run}.json"));
    let text = std::fs::read_to_string(path).expect("golden data is there");
    serde_json::from_str(&text).expect("golden data is valid")
}

/// A model that notes what it is asked and what it answers.
struct Recorder {
    decoder: Decoder,
    scores: Mutex<Vec<(ScoreRequest, Score)>>,
    answers: Mutex<Vec<Vec<u32>>>,
}

impl Recorder {
    fn new(max_length: Option<usize>) -> Recorder {
        let decoder = decoder(max_length);
        Recorder { decoder, scores: Mutex::default(), answers: Mutex::default() }
    }
}

impl LanguageModel for Recorder {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        let scores = self.decoder.score(requests)?;
        let pairs = requests.iter().cloned().zip(scores.iter().copied());
        self.scores.lock().expect("no thread panicked").extend(pairs);
        Ok(scores)
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        let answers = self.decoder.generate(requests, stop)?;
        self.answers.lock().expect("no thread panicked").extend(answers.iter().cloned());
        Ok(answers)
    }

    fn max_length(&self) -> usize {
        self.decoder.max_length()
    }
}

/// A model that writes given texts.
struct Scripted<'a> {
    tokenizer: &'a Tokenizer,
    answers: Vec<&'a str>,
}

impl LanguageModel for Scripted<'_> {
    fn score(&self, _requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        panic!("nothing is to be scored")
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        _stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        assert_eq!(requests.len(), self.answers.len());
        Ok(self.answers.iter().map(|answer| self.tokenizer.encode(answer)).collect())
    }

    fn max_length(&self) -> usize {
        usize::MAX
    }
}

/// Scores every task of a run and compares all there is to compare.
fn check_run(run: &str, tokenizer: &Tokenizer, options: &TaskOptions, max_length: Option<usize>) {
    let library = TaskLibrary::new(&[golden()]).expect("the tasks are there");
    let expected = expected(run);
    let mut figures = IndexMap::new();
    for (name, expected) in &expected.tasks {
        let place = format!("{run}/{name}");
        let task = library.load(name, tokenizer, options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(task.name(), name);
        assert_eq!(task.n_items(), expected.documents.len(), "{place}");
        figures.insert(name.clone(), check_task(&place, &*task, expected, tokenizer, max_length));
    }
    if expected.groups.is_empty() {
        return;
    }
    let selection = library.select(&["ge_suite"]).expect("the group is there");
    let found = selection.group_figures(&figures);
    assert_eq!(found.len(), expected.groups.len());
    for ((name, expected), (found_name, found)) in expected.groups.iter().zip(&found) {
        assert_eq!(found_name, name);
        assert_eq!(json!(found.n_items), expected["sample_len"]);
        for (key, expected) in expected.iter().filter(|(key, _)| key.contains(',')) {
            let of_group = |key: &str| found.figures[key].figure;
            assert_figure(&format!("{run}/{name}"), key, expected, &of_group, 1e-6);
        }
        for (key, expected) in expected["sample_count"].as_object().expect("counts") {
            assert_eq!(json!(found.figures[key].n_items), *expected);
        }
    }
}

fn check_task(
    place: &str,
    task: &dyn Evaluator,
    expected: &ExpectedTask,
    tokenizer: &Tokenizer,
    max_length: Option<usize>,
) -> TaskFigures {
    let model = Recorder::new(max_length);
    let items: Vec<usize> = (0..task.n_items()).collect();
    let scores = task.evaluate(&model, &items).expect("the model scores");
    let recorded = model.scores.into_inner().expect("no thread panicked");
    let answers = model.answers.into_inner().expect("no thread panicked");
    let mut recorded = recorded.into_iter();
    let has_requests = expected.documents.iter().any(|document| document.requests.is_some());

    let mut is_same = true;
    for (index, document) in expected.documents.iter().enumerate() {
        let place = format!("{place}/{index}");
        if let Some(prompts) = &document.prompts {
            assert_eq!(task.prompt(index), prompts[0], "{place}");
        }
        for (prompt, tokens, log_likelihood, greedy) in document.requests.iter().flatten() {
            let (request, score) = recorded.next().expect("as many requests as the harness");
            if let Some(ids) = &document.prompt_ids {
                assert_eq!(request.context, ids[*prompt], "{place}");
            }
            assert_eq!(request.continuation, *tokens, "{place}");
            assert_close(&place, score.log_likelihood, *log_likelihood);
            assert_eq!(score.greedy, *greedy, "{place}");
        }
        if let Some(answer) = &document.answer {
            // What is produced behind a stop string is cut off.
            let written = tokenizer.decode(&answers[index]);
            let rest = written.strip_prefix(answer.as_str());
            let stops = ["\n\n", "Q:"];
            let is_equal = rest.is_some_and(|rest| {
                rest.is_empty() || stops.iter().any(|stop| rest.starts_with(stop))
            });
            assert!(
                is_equal || expected.fragile.contains(&index),
                "{place}: {written:?} {answer:?}"
            );
            is_same &= is_equal;
            if !is_equal {
                continue;
            }
        }
        for (metric, value) in &document.metrics {
            for (found, expected) in scores.values[metric].row(index).iter().zip(row(value)) {
                assert_close(&format!("{place} {metric}"), *found, expected);
            }
        }
    }
    assert!(!has_requests || recorded.next().is_none(), "{place}: more requests than the harness");

    let figures = task.figures(&scores, BOOTSTRAP_ITERATIONS);
    let exact = exact_values(task, expected, tokenizer);
    for (key, expected) in &expected.figures {
        if is_same {
            // Exponentials of sums magnify what they are made of.
            let tolerance = if key.contains("perplexity") { 2e-5 } else { 1e-6 };
            assert_figure(place, key, expected, &|key| figures.figures[key], tolerance);
        }
        let of_exact = |key: &str| Figure {
            value: task.aggregate(key, &exact[key]),
            standard_error: task.standard_error(key, &exact[key], BOOTSTRAP_ITERATIONS),
        };
        assert_figure(place, key, expected, &of_exact, 1e-9);
    }
    figures
}

/// The values that the harness's own figures are made of.
fn exact_values(
    task: &dyn Evaluator,
    expected: &ExpectedTask,
    tokenizer: &Tokenizer,
) -> IndexMap<String, MetricValues> {
    let documents = &expected.documents;
    let answers: Option<Vec<&str>> =
        documents.iter().map(|document| document.answer.as_deref()).collect();
    if let Some(answers) = answers {
        let items: Vec<usize> = (0..documents.len()).collect();
        let scores = task.evaluate(&Scripted { tokenizer, answers }, &items).expect("scores");
        return scores.values;
    }
    let column = |key: &String| {
        let mut rows = documents.iter().map(|document| row(&document.metrics[key])).peekable();
        let mut values = MetricValues::new(rows.peek().map_or(1, Vec::len));
        rows.for_each(|row| values.push(&row));
        (key.clone(), values)
    };
    documents[0].metrics.keys().map(column).collect()
}

/// What is kept of what the harness notes of a document: the same numbers, but of the right choice
/// and the choices' probabilities their squared distance.
fn row(value: &Value) -> Vec<f64> {
    let Some(list) = value.as_array() else { return vec![value.as_f64().expect("a number")] };
    match list[1].as_array() {
        None => list.iter().map(|number| number.as_f64().expect("a number")).collect(),
        Some(probabilities) => {
            let squares = probabilities.iter().enumerate().map(|(choice, probability)| {
                let certain = f64::from(u8::from(list[0] == json!(choice)));
                (probability.as_f64().expect("a number") - certain).powi(2)
            });
            vec![squares.sum()]
        }
    }
}

fn assert_close(place: &str, found: f64, expected: f64) {
    let tolerance = 1e-4 * f64::max(1.0, expected.abs() / 10.0);
    assert!((found - expected).abs() < tolerance, "{place}: {found} {expected}");
}

/// Compares a figure or, if the key is that of one, a standard error, by their relative difference.
fn assert_figure(
    place: &str,
    key: &str,
    expected: &Value,
    found: &dyn Fn(&str) -> Figure,
    tolerance: f64,
) {
    let (metric, pipeline) = key.split_once(',').expect("metric and filter");
    let found = match metric.strip_suffix("_stderr") {
        None => Some(found(key).value),
        Some(metric) => found(&format!("{metric},{pipeline}")).standard_error,
    };
    let is_equal = match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => {
            (found - expected).abs() <= tolerance * f64::max(1.0, expected.abs())
        }
        (found, _) => found.is_none() && *expected == json!("N/A"),
    };
    assert!(is_equal, "{place} {key}: {found:?} {expected}");
}

#[test]
fn tasks_score_as_in_the_harness() {
    let tokenizer = Tokenizer::open(&golden().join("model")).expect("a tokenizer");
    check_run("plain", &tokenizer, &TaskOptions::default(), None);
    check_run("batch8", &tokenizer, &TaskOptions::default(), None);
    let options = TaskOptions { limit: Some(Limit::Items(5)), ..TaskOptions::default() };
    check_run("limit5", &tokenizer, &options, None);
    check_run("short_ctx", &tokenizer, &TaskOptions::default(), Some(96));
}

#[test]
fn tasks_score_as_in_the_harness_in_conversations() {
    let model = golden().join("model");
    let tokenizer = Tokenizer::open(&model).expect("a tokenizer");
    let template = ChatTemplate::of_model(&model).expect("readable").expect("a chat template");
    let template = Arc::new(template);
    let chat = |multiturn| Some(ChatOptions { template: Arc::clone(&template), multiturn });
    let options = TaskOptions {
        chat: chat(true),
        system_instruction: Some("Be brief.".to_owned()),
        ..TaskOptions::default()
    };
    check_run("chat_multi", &tokenizer, &options, None);
    let options = TaskOptions { chat: chat(false), ..TaskOptions::default() };
    check_run("chat_single", &tokenizer, &options, None);
}

#[test]
fn tasks_score_as_in_the_harness_with_a_tokenizer_that_adds_a_token() {
    let directory = tempfile::tempdir().expect("a directory");
    for file in ["tokenizer.json", "generation_config.json"] {
        std::fs::copy(golden().join("model").join(file), directory.path().join(file))
            .expect("copied");
    }
    let config = json!({"bos_token": "<|bos|>", "eos_token": {"content": "<|end|>"},
        "add_bos_token": true});
    std::fs::write(directory.path().join("tokenizer_config.json"), config.to_string())
        .expect("written");
    let tokenizer = Tokenizer::open(directory.path()).expect("a tokenizer");
    check_run("bos", &tokenizer, &TaskOptions::default(), None);
}

//! Items one by one in the form in which the harness writes them (`samples_TASK.jsonl`).

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::python::{JsonStyle, dump_json, float_text};
use super::record::{ItemRecord, ItemResponses, RequestRecord, Response};
use super::{Evaluator, MetricValues, TaskScores};

/// A task's items as the harness writes them: one line of JSON for each filter and document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Without line ends.
    pub lines: Vec<String>,
    /// Digest of all documents, prompts and targets.
    pub digest: String,
}

impl Samples {
    /// The samples of `task`, scored on all of its items; without any where the task does not keep
    /// the records of its items.
    pub fn new(task: &dyn Evaluator, scores: &TaskScores) -> Samples {
        let mut samples = Samples { lines: Vec::new(), digest: String::new() };
        let mut digests = String::new();
        for (pipeline, metrics) in pipelines(scores) {
            for (item, responses) in scores.responses.iter().enumerate() {
                let Some(record) = task.record(item) else { continue };
                let hashes = Hashes::of(record);
                let mut line = line(item, record, responses, pipeline);
                line.insert("metrics".to_owned(), metrics.iter().map(|(name, _)| *name).collect());
                hashes.write(&mut line);
                for (name, values) in &metrics {
                    let key = super::metric_key(name, pipeline);
                    let noted = responses.noted.get(&key).cloned();
                    let value = noted.unwrap_or_else(|| values.row(item).first().copied().into());
                    line.insert((*name).to_owned(), value);
                }
                samples.lines.push(dump_json(&Value::Object(line), &JsonStyle::default()));
                digests.extend([hashes.document, hashes.prompt, hashes.target]);
            }
        }
        samples.digest = sha256(&digests);
        samples
    }
}

type NamedValues<'a> = Vec<(&'a str, &'a MetricValues)>;

/// Names and values of the metrics of each pipeline.
fn pipelines(scores: &TaskScores) -> Vec<(&str, NamedValues<'_>)> {
    let mut pipelines: Vec<(&str, NamedValues<'_>)> = Vec::new();
    for (key, values) in &scores.values {
        let (metric, pipeline) = key.split_once(',').unwrap_or((key, ""));
        let entry = (metric, values);
        match pipelines.iter_mut().find(|(name, _)| *name == pipeline) {
            Some((_, metrics)) => metrics.push(entry),
            None => pipelines.push((pipeline, vec![entry])),
        }
    }
    pipelines
}

fn line(
    item: usize,
    record: &ItemRecord,
    responses: &ItemResponses,
    pipeline: &str,
) -> Map<String, Value> {
    let ItemRecord { document, target, requests } = record;
    let arguments = requests.iter().enumerate().map(|(index, request)| {
        let texts = match request {
            RequestRecord::LogLikelihood { context, continuation } => {
                json!({"arg_0": context, "arg_1": continuation})
            }
            RequestRecord::Rolling { text } => json!({"arg_0": text}),
            RequestRecord::Generation { context, options } => {
                json!({"arg_0": context, "arg_1": options})
            }
        };
        (format!("gen_args_{index}"), texts)
    });
    let texts = |responses: &[Response]| responses.iter().map(text).collect::<Value>();
    let filtered = responses.filtered.get(pipeline).map_or(&[][..], Vec::as_slice);
    let resps: Value = responses.responses.iter().map(|repeats| texts(repeats)).collect();
    let fields = [
        ("doc_id", json!(item)),
        ("doc", Value::Object(document.clone())),
        ("target", json!(target)),
        ("arguments", Value::Object(arguments.collect())),
        ("resps", resps),
        ("filtered_resps", texts(filtered)),
        ("filter", json!(pipeline)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A response as text, as Python prints its parts.
fn text(response: &Response) -> Value {
    match response {
        Response::Score(score) => {
            let greedy = if score.greedy { "True" } else { "False" };
            json!([float_text(score.log_likelihood), greedy])
        }
        Response::LogLikelihood(log_likelihood) => json!(float_text(*log_likelihood)),
        Response::Text(text) => json!(text),
    }
}

/// Digests that tell whether two runs saw the same.
struct Hashes {
    document: String,
    prompt: String,
    target: String,
}

impl Hashes {
    fn of(record: &ItemRecord) -> Hashes {
        let indented = JsonStyle { indent: Some("  ".to_owned()), ..JsonStyle::default() };
        let document = dump_json(&Value::Object(record.document.clone()), &indented);
        let prompt = match record.requests.first() {
            Some(
                RequestRecord::LogLikelihood { context, .. }
                | RequestRecord::Generation { context, .. },
            ) => context,
            Some(RequestRecord::Rolling { text }) => text,
            None => "",
        };
        Hashes {
            document: sha256(&document),
            prompt: sha256(prompt),
            target: sha256(&record.target),
        }
    }

    fn write(&self, line: &mut Map<String, Value>) {
        for (name, digest) in [
            ("doc_hash", &self.document),
            ("prompt_hash", &self.prompt),
            ("target_hash", &self.target),
        ] {
            line.insert(name.to_owned(), json!(digest));
        }
    }
}

/// Lower-case hexadecimal digits of the SHA-256 of a text or of bytes.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

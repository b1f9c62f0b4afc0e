//! A task: its fields, what they amount to, and one item with everything that a model is asked.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::fields::field_text;
use super::visible::{visible, visible_lines};
use crate::evaluate::{
    EvaluateError, ItemRecord, RequestRecord, TaskField, TaskOutline, TaskSummary,
};
use crate::report::{count, quantity::grouped};

/// Where lists of tokens are broken, in characters.
const WIDTH: usize = 96;

/// A task to be shown.
pub struct ShownTask<'t> {
    /// The task's name.
    pub name: &'t str,
    /// Its fields.
    pub outline: &'t TaskOutline,
    /// One of its items, if there are data.
    pub item: Option<ShownItem>,
}

/// An item to be shown.
pub struct ShownItem {
    /// Its index.
    pub index: usize,
    /// Number of examples in front of it.
    pub num_fewshot: usize,
    /// How many documents the task has.
    pub n_documents: usize,
    /// Its texts; none of a task that does not say them.
    pub record: Option<ItemRecord>,
    /// The tokens of each request, if there is a tokenizer.
    pub tokens: Option<Vec<RequestTokens>>,
}

/// A request in tokens, each with its text.
pub struct RequestTokens {
    /// What is given.
    pub context: Vec<(u32, String)>,
    /// What is scored; nothing where the model writes.
    pub continuation: Vec<(u32, String)>,
}

/// A task for people.
pub fn task_text(task: &ShownTask<'_>) -> String {
    let mut text = format!("{}\n\n", task.name);
    match &task.outline.summary {
        Ok(summary) => write_summary(&mut text, summary, task.item.as_ref()),
        Err(error) => write_error(&mut text, "problem", error),
    }
    for note in &task.outline.notes {
        let _ = writeln!(text, "  note      {note}");
    }
    let mut by_file: IndexMap<&Option<PathBuf>, String> = IndexMap::new();
    for TaskField { name, at, value } in &task.outline.fields {
        by_file.entry(&at.file).or_default().push_str(&field_text(name, value, "  "));
    }
    for (file, fields) in by_file {
        let name = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let _ = write!(text, "\nfields in {name}:\n{fields}");
    }
    if let Some(item) = &task.item {
        write_item(&mut text, item);
    }
    text
}

fn write_summary(text: &mut String, summary: &TaskSummary, item: Option<&ShownItem>) {
    let _ = writeln!(text, "  asks      {}", summary.asks);
    for (index, (metric, higher)) in summary.metrics.iter().enumerate() {
        let label = if index == 0 { "measures" } else { "" };
        let _ = writeln!(text, "  {label:8}  {metric} {}", if *higher { "↑" } else { "↓" });
    }
    let shots = item.map_or(summary.num_fewshot, |item| item.num_fewshot);
    let _ = writeln!(text, "  examples  {shots}");
    let n = item.map(|item| count(item.n_documents, "document"));
    let n = n.map(|n| format!(" of {n}")).unwrap_or_default();
    if let Some(split) = &summary.split {
        let _ = writeln!(text, "  split     {split}{n}");
    }
    match &summary.data {
        Ok(splits) => {
            for (index, (split, files)) in splits.iter().enumerate() {
                let label = if index == 0 { "data" } else { "" };
                let first = files.first().map(|file| file.display().to_string());
                let more = match files.len() {
                    0 | 1 => String::new(),
                    n => format!(" and {} more", n - 1),
                };
                let first = first.unwrap_or_default();
                let _ = writeln!(text, "  {label:8}  {split}: {first}{more}");
            }
        }
        Err(error) => write_error(text, "data", error),
    }
}

fn write_error(text: &mut String, label: &str, error: &EvaluateError) {
    let _ = writeln!(text, "  {label:8}  {error}");
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "            hint: {hint}");
    }
}

fn write_item(text: &mut String, item: &ShownItem) {
    let n = grouped(item.n_documents as u64);
    let _ = writeln!(text, "\nitem {} of {n} (from 0):", item.index);
    let Some(record) = &item.record else {
        text.push_str("  the evaluator asks by itself\n");
        return;
    };
    for (column, value) in &record.document {
        let _ = writeln!(text, "  {column}: {value}");
    }
    let _ = writeln!(text, "\ntarget: {}", visible(&record.target));
    let contexts: HashSet<&str> = record.requests.iter().map(context).collect();
    let is_common = contexts.len() == 1;
    if is_common && let Some(first) = record.requests.first() {
        write_block(text, heading(first), context(first));
    }
    for (index, request) in record.requests.iter().enumerate() {
        write_request(text, index, request, is_common);
        let tokens = item.tokens.as_ref().and_then(|tokens| tokens.get(index));
        if let Some(tokens) = tokens {
            write_tokens(text, tokens, is_common && index > 0);
        }
    }
}

fn heading(request: &RequestRecord) -> &'static str {
    match request {
        RequestRecord::Rolling { .. } => "text",
        _ => "prompt",
    }
}

/// The text that is given.
fn context(request: &RequestRecord) -> &str {
    match request {
        RequestRecord::LogLikelihood { context, .. }
        | RequestRecord::Generation { context, .. } => context,
        RequestRecord::Rolling { text } => text,
    }
}

fn write_block(text: &mut String, heading: &str, block: &str) {
    let _ = writeln!(text, "\n{heading}:");
    for line in visible_lines(block) {
        let _ = writeln!(text, "  │{line}");
    }
}

fn write_request(text: &mut String, index: usize, request: &RequestRecord, is_common: bool) {
    if !is_common {
        write_block(text, &format!("prompt {index}"), context(request));
    }
    match request {
        RequestRecord::LogLikelihood { continuation, .. } => {
            let _ = writeln!(text, "\ncontinuation {index}: {}", visible(continuation));
        }
        RequestRecord::Generation { options, .. } => {
            let _ = writeln!(text, "\nthe model writes: {options}");
        }
        RequestRecord::Rolling { .. } => {}
    }
}

fn write_tokens(text: &mut String, tokens: &RequestTokens, is_known: bool) {
    let RequestTokens { context, continuation } = tokens;
    if !is_known {
        write_list(text, "given", context);
    }
    if !continuation.is_empty() {
        write_list(text, "scored", continuation);
    }
}

/// Tokens with their texts, in lines that are not too long.
fn write_list(text: &mut String, what: &str, tokens: &[(u32, String)]) {
    let _ = writeln!(text, "  {what}, {}:", count(tokens.len(), "token"));
    let mut line = String::new();
    for (id, piece) in tokens {
        let token = format!("{id} \"{}\"", visible(piece));
        if !line.is_empty() && line.chars().count() + token.chars().count() + 2 > WIDTH {
            let _ = writeln!(text, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(&token);
    }
    let _ = writeln!(text, "    {line}");
}

/// A task for programs.
pub fn task_json(task: &ShownTask<'_>) -> Value {
    let TaskOutline { fields, summary, notes } = task.outline;
    let values: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.clone(), serde_json::to_value(&field.value).unwrap_or_default()))
        .collect();
    let places: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let at = &field.at;
            (field.name.clone(), json!({"file": at.file, "line": at.line, "column": at.column}))
        })
        .collect();
    let summary = match summary {
        Ok(summary) => json!({
            "asks": summary.asks,
            "higher_is_better": summary.metrics,
            "num_fewshot": summary.num_fewshot,
            "split": summary.split,
            "data": summary.data.as_ref().ok(),
            "problem": summary.data.as_ref().err().map(ToString::to_string),
        }),
        Err(error) => json!({ "problem": error.to_string() }),
    };
    json!({
        "name": task.name,
        "fields": values,
        "places": places,
        "notes": notes,
        "summary": summary,
        "item": task.item.as_ref().map(item_json),
    })
}

fn item_json(item: &ShownItem) -> Value {
    let requests = item.record.iter().flat_map(|record| &record.requests).enumerate();
    let requests = requests.map(|(index, request)| {
        let mut fields = match request {
            RequestRecord::LogLikelihood { context, continuation } => {
                json!({ "context": context, "continuation": continuation })
            }
            RequestRecord::Rolling { text } => json!({ "text": text }),
            RequestRecord::Generation { context, options } => {
                json!({ "context": context, "options": options })
            }
        };
        if let Some(tokens) = item.tokens.as_ref().and_then(|tokens| tokens.get(index)) {
            fields["context_tokens"] = json!(tokens.context);
            fields["continuation_tokens"] = json!(tokens.continuation);
        }
        fields
    });
    let requests: Vec<Value> = requests.collect();
    json!({
        "index": item.index,
        "n_documents": item.n_documents,
        "document": item.record.as_ref().map(|record| &record.document),
        "target": item.record.as_ref().map(|record| &record.target),
        "requests": requests,
    })
}

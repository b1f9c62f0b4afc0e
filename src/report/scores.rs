//! Scores of a model on tasks: a table, and the object that the harness writes as `results.json`.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::columns::{Align, Columns};
use crate::evaluate::{Evaluator, TaskScores};

/// Columns of the table.
const HEADINGS: [(&str, Align); 8] = [
    ("task", Align::Left),
    ("n", Align::Right),
    ("shots", Align::Right),
    ("filter", Align::Left),
    ("metric", Align::Left),
    ("", Align::Left),
    ("value", Align::Point),
    ("", Align::Point),
];

/// Digits behind the point in the table, as in the harness.
const DIGITS: usize = 4;

/// A task that a model was scored on.
pub struct ScoredTask {
    /// The task.
    pub task: Box<dyn Evaluator>,
    /// Values of all its items.
    pub scores: TaskScores,
    /// Requests to the model.
    pub requests: usize,
    /// Requests whose prompt lost its beginning, because it was longer than the model's context.
    pub cut_requests: usize,
}

/// A metric's figure on a task.
struct Figure<'a> {
    metric: &'a str,
    filter: &'a str,
    value: f64,
    error: Option<f64>,
    higher_is_better: Option<bool>,
}

impl ScoredTask {
    fn figures(&self) -> impl Iterator<Item = Figure<'_>> {
        let higher = self.task.metrics();
        self.scores.values.iter().map(move |(key, values)| {
            let (metric, filter) = key.split_once(',').unwrap_or((key, ""));
            Figure {
                metric,
                filter,
                value: self.task.aggregate(key, values),
                error: self.task.standard_error(key, values),
                higher_is_better: higher.get(key).copied(),
            }
        })
    }

    /// As in `results` of the harness.
    fn result(&self) -> Value {
        let mut result = Map::new();
        result.insert("name".to_owned(), json!(self.task.name()));
        result.insert("alias".to_owned(), json!(self.task.info().alias));
        result.insert("sample_len".to_owned(), json!(self.task.n_items()));
        for Figure { metric, filter, value, error, .. } in self.figures() {
            result.insert(format!("{metric},{filter}"), json!(value));
            let error = error.map_or_else(|| json!("N/A"), |error| json!(error));
            result.insert(format!("{metric}_stderr,{filter}"), error);
        }
        Value::Object(result)
    }
}

/// The table of all scores.
pub fn scores_text(tasks: &[ScoredTask]) -> String {
    let mut table = Columns::new(&HEADINGS);
    for task in tasks {
        let info = task.task.info();
        for (index, figure) in task.figures().enumerate() {
            let first = |text: String| if index == 0 { text } else { String::new() };
            let arrow = match figure.higher_is_better {
                Some(true) => "↑",
                Some(false) => "↓",
                None => "",
            };
            let error = figure.error.map(|error| format!("± {error:.DIGITS$}"));
            table.line([
                first(info.alias.clone()),
                first(task.task.n_items().to_string()),
                first(info.num_fewshot.to_string()),
                figure.filter.to_owned(),
                figure.metric.to_owned(),
                arrow.to_owned(),
                format!("{:.DIGITS$}", figure.value),
                error.unwrap_or_default(),
            ]);
        }
    }
    table.render()
}

/// The object that the harness writes, without what it says of the run as a whole.
pub fn scores_json(tasks: &[ScoredTask]) -> Map<String, Value> {
    let by_name = |value: &dyn Fn(&ScoredTask) -> Value| -> Value {
        let entry = |task: &ScoredTask| (task.task.name().to_owned(), value(task));
        Value::Object(tasks.iter().map(entry).collect())
    };
    let directions = |task: &ScoredTask| {
        let figures = task
            .figures()
            .filter_map(|figure| Some((figure.metric.to_owned(), json!(figure.higher_is_better?))));
        Value::Object(figures.collect())
    };
    let samples = |task: &ScoredTask| json!({"original": task.task.info().n_documents, "effective": task.task.n_items()});
    let fields: IndexMap<&str, Value> = IndexMap::from([
        ("results", by_name(&ScoredTask::result)),
        ("group_subtasks", json!({})),
        ("configs", by_name(&|task| Value::Object(task.task.info().config.clone()))),
        ("versions", by_name(&|task| task.task.info().version.clone())),
        ("n-shot", by_name(&|task| json!(task.task.info().num_fewshot))),
        ("higher_is_better", by_name(&directions)),
        ("n-samples", by_name(&samples)),
        ("n-requests", by_name(&|task| json!({"total": task.requests, "cut": task.cut_requests}))),
    ]);
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

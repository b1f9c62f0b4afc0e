//! The fields of a command's file.

use std::time::Duration;

use indexmap::IndexMap;

use super::{CONFIG, FOLDER, ITEMS, MODEL, WORK};
use crate::config::yaml::{Fields, Node};
use crate::evaluate::kinds::EvaluatorFile;
use crate::evaluate::{EvaluateError, metric_key};

/// Longest time that a command may take where its file does not say.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// The pipeline of metrics that name none.
const NO_FILTER: &str = "none";

/// A command as its file describes it.
pub(super) struct Settings {
    /// The program and its arguments; never empty.
    pub(super) command: Vec<String>,
    /// Added to the environment of this process.
    pub(super) env: IndexMap<String, String>,
    /// By metric and filter: `acc,none`.
    pub(super) metrics: IndexMap<String, PrintedMetric>,
    /// Number of items, where each has a score of its own.
    pub(super) items: Option<usize>,
    pub(super) source: Source,
    pub(super) timeout: Duration,
    /// Attempts after the first.
    pub(super) retries: usize,
    /// How many may run at the same time.
    pub(super) at_once: usize,
}

/// A metric that a command reports.
pub(super) struct PrintedMetric {
    /// Where it is in what the command says: a JSON pointer.
    pub(super) at: String,
    pub(super) higher_is_better: bool,
}

/// Where a command says its scores.
pub(super) enum Source {
    /// On its standard output.
    Output,
    /// In a file, whose path may be a pattern.
    File(String),
}

impl Settings {
    pub(super) fn parse(file: &EvaluatorFile<'_>) -> Result<Settings, EvaluateError> {
        file.only(&[
            "command", "env", "metrics", "items", "scores", "timeout", "retries", "at_once",
        ])?;
        let document = file.document;
        let command = document.require("command")?;
        let items = command.items().map_err(|_| {
            command.wrong_type("a list of a program and its arguments, such as `[sh, judge.sh]`")
        })?;
        let command = items.iter().map(filled).collect::<Result<Vec<_>, _>>()?;
        if command.is_empty() {
            return Err(file.refuse("command", "has to name a program"));
        }
        let positive = |name: &str, default: usize| match document.get(name) {
            None => Ok(default),
            Some(node) => match node.count()? {
                0 => Err(EvaluateError::from(node.wrong_type("a whole number of at least 1"))),
                count => Ok(count),
            },
        };
        let items = positive("items", 0)?;
        let settings = Settings {
            env: document
                .get("env")
                .map_or_else(|| Ok(IndexMap::new()), |node| parse_env(&node))?,
            metrics: parse_metrics(&document.require("metrics")?)?,
            items: (items > 0).then_some(items),
            source: match document.get("scores") {
                None => Source::Output,
                Some(node) => Source::File(filled(&node)?),
            },
            timeout: document.get("timeout").map_or(Ok(TIMEOUT), |node| node.duration())?,
            retries: document.get("retries").map_or(Ok(0), |node| node.count())?,
            at_once: positive("at_once", 1)?,
            command,
        };
        if settings.items.is_none() && settings.uses(ITEMS) {
            return Err(
                file.refuse("command", "asks for `{items}`, but `items` does not say how many")
            );
        }
        Ok(settings)
    }

    /// Number of items to divide between search and validation.
    pub(super) fn n_items(&self) -> usize {
        self.items.unwrap_or(1)
    }

    /// Whether an argument or a variable asks for something.
    pub(super) fn uses(&self, placeholder: &str) -> bool {
        self.command.iter().chain(self.env.values()).any(|text| text.contains(placeholder))
    }
}

/// A text in which placeholders may stand; a number or a truth value is taken as it is written.
fn filled(node: &Node<'_>) -> Result<String, EvaluateError> {
    let text = match node.value() {
        serde_yaml::Value::Number(number) => number.to_string(),
        serde_yaml::Value::Bool(value) => value.to_string(),
        _ => node.text()?.to_owned(),
    };
    let known = [MODEL, CONFIG, WORK, FOLDER, ITEMS];
    match unknown_placeholder(&text).filter(|name| !known.contains(name)) {
        Some(name) => Err(EvaluateError::unsupported(node, "placeholder", name, known.to_vec())),
        None => Ok(text),
    }
}

/// The first `{word}` that none of the placeholders is: most likely a misspelt one.
fn unknown_placeholder(text: &str) -> Option<&str> {
    let known = [MODEL, CONFIG, WORK, FOLDER, ITEMS];
    text.match_indices('{').find_map(|(start, _)| {
        let length = text[start + 1..].find(|c: char| !c.is_ascii_lowercase())?;
        let end = start + 1 + length;
        let name = text.get(start..=end)?;
        (length > 0 && name.ends_with('}') && !known.contains(&name)).then_some(name)
    })
}

fn parse_env(node: &Node<'_>) -> Result<IndexMap<String, String>, EvaluateError> {
    let fields = node.fields()?.all()?;
    fields.iter().map(|(name, node)| Ok(((*name).to_owned(), filled(node)?))).collect()
}

/// Names in a list, or a mapping of names to what is known of them.
fn parse_metrics(node: &Node<'_>) -> Result<IndexMap<String, PrintedMetric>, EvaluateError> {
    let mut metrics = IndexMap::new();
    let mut add = |name: &str, fields: Option<Fields<'_>>| -> Result<(), EvaluateError> {
        let (metric, filter) = name.split_once(',').unwrap_or((name, NO_FILTER));
        let at = fields.as_ref().and_then(|fields| fields.get("at"));
        let higher = fields.as_ref().and_then(|fields| fields.get("higher_is_better"));
        let at = match at {
            None => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            Some(node) => match node.text()? {
                text if text.starts_with('/') => text.to_owned(),
                _ => {
                    return Err(node
                        .wrong_type("a path such as `/results/my_task/acc,none`")
                        .into());
                }
            },
        };
        let higher_is_better = higher.map_or(Ok(true), |node| node.boolean())?;
        metrics.insert(metric_key(metric, filter), PrintedMetric { at, higher_is_better });
        Ok(())
    };
    if node.value().is_mapping() {
        for (name, node) in node.fields()?.all()? {
            if node.is_null() {
                add(name, None)?;
                continue;
            }
            let fields = node.fields()?;
            fields.only(&["at", "higher_is_better"])?;
            add(name, Some(fields))?;
        }
    } else {
        for node in node.items()? {
            add(node.text()?, None)?;
        }
    }
    if metrics.is_empty() {
        return Err(node.wrong_type("at least one metric").into());
    }
    Ok(metrics)
}

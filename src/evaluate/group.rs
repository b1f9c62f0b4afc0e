//! Groups of tasks, and the figures that are made of their tasks' figures.

use indexmap::IndexMap;

use super::document::TaskDocument;
use super::{EvaluateError, Figure, TaskFigures, metric_key};

/// The fields of a group; every other one is a field of all its tasks.
pub(super) const GROUP_FIELDS: &[&str] = &["group", "group_alias", "task", AGGREGATES, "metadata"];

/// The field with a group's own figures.
pub(super) const AGGREGATES: &str = "aggregate_metric_list";

/// The only way in which a group makes one figure of several.
const MEAN: &str = "mean";

/// A group of tasks.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    /// The group's name; one that is written inside another has both: `outer::inner`.
    pub name: String,
    /// The name in tables.
    pub alias: String,
    /// `metadata.version`, null if there is none.
    pub version: serde_json::Value,
    /// Names of its tasks and groups, in its own order.
    pub members: Vec<String>,
    /// Names of the tasks in it and in the groups in it, in order.
    pub tasks: Vec<String>,
    /// Which figures it makes of its tasks'; none if empty.
    pub(super) aggregates: Vec<Aggregate>,
}

/// A figure that a group makes of its tasks'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aggregate {
    metric: String,
    /// Names of pipelines; every one that its tasks have if `None`.
    pipelines: Option<Vec<String>>,
    /// Whether a task counts as often as it has items, or once.
    weight_by_size: bool,
}

/// The figures of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupFigures {
    /// Items of all its tasks together.
    pub n_items: usize,
    /// By metric and filter: `acc,none`.
    pub figures: IndexMap<String, GroupFigure>,
}

/// A figure of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupFigure {
    /// The mean of its tasks' figures, and its standard error unless a task's is missing.
    pub figure: Figure,
    /// Items of the tasks that have the metric.
    pub n_items: usize,
}

impl Aggregate {
    /// Reads `aggregate_metric_list`: one entry or several.
    pub(super) fn parse(group: &TaskDocument) -> Result<Vec<Aggregate>, EvaluateError> {
        let Some(list) = group.get(AGGREGATES) else { return Ok(Vec::new()) };
        let entries = if list.value().is_mapping() { vec![list] } else { list.items()? };
        let mut aggregates = Vec::new();
        for entry in entries {
            let fields = entry.fields()?;
            fields.only(&["metric", "filter_list", "aggregation", "weight_by_size"])?;
            if let Some(node) = fields.get("aggregation")
                && node.value().as_str() != Some(MEAN)
            {
                let name = node.value().as_str().unwrap_or("!function");
                let known = vec![MEAN];
                return Err(EvaluateError::unsupported(&node, "aggregation", name, known));
            }
            let pipelines = match fields.get("filter_list") {
                None => None,
                Some(node) if node.value().is_string() => Some(vec![node.text()?.to_owned()]),
                Some(node) => {
                    let names = node.items()?;
                    let names = names.iter().map(|name| name.text().map(str::to_owned));
                    Some(names.collect::<Result<_, _>>()?)
                }
            };
            aggregates.push(Aggregate {
                metric: fields.require("metric")?.text()?.to_owned(),
                pipelines,
                weight_by_size: fields
                    .get("weight_by_size")
                    .map_or(Ok(true), |node| node.boolean())?,
            });
        }
        Ok(aggregates)
    }
}

impl TaskGroup {
    /// Whether the group has figures of its own.
    pub fn has_figures(&self) -> bool {
        !self.aggregates.is_empty()
    }

    /// The group's figures from those of its tasks, by their names. A task without a metric is left
    /// out of that metric's mean.
    pub fn figures(&self, tasks: &IndexMap<String, TaskFigures>) -> GroupFigures {
        let own: Vec<&TaskFigures> = self.tasks.iter().filter_map(|name| tasks.get(name)).collect();
        let mut figures = IndexMap::new();
        for aggregate in &self.aggregates {
            let pipelines = match &aggregate.pipelines {
                Some(pipelines) => pipelines.clone(),
                None => pipelines_of(&aggregate.metric, &own),
            };
            for pipeline in pipelines {
                let key = metric_key(&aggregate.metric, &pipeline);
                let parts: Vec<(Figure, usize)> = own
                    .iter()
                    .filter_map(|task| Some((*task.figures.get(&key)?, task.n_items)))
                    .collect();
                if !parts.is_empty() {
                    figures.insert(key, combine(&parts, aggregate.weight_by_size));
                }
            }
        }
        GroupFigures { n_items: own.iter().map(|task| task.n_items).sum(), figures }
    }
}

/// Names of the pipelines that a metric has in some tasks, sorted.
fn pipelines_of(metric: &str, tasks: &[&TaskFigures]) -> Vec<String> {
    let keys = tasks.iter().flat_map(|task| task.figures.keys());
    let mut pipelines: Vec<String> = keys
        .filter_map(|key| Some(key.strip_prefix(metric)?.strip_prefix(',')?.to_owned()))
        .collect();
    pipelines.sort();
    pipelines.dedup();
    pipelines
}

/// The mean of figures with their numbers of items, and its error: of a weighted mean the pooled
/// one, `√(Σ (n−1)·n·se² / (Σn − k) / Σn)`; of a plain one that of independent means, `√(Σ se²) / k`.
fn combine(parts: &[(Figure, usize)], weight_by_size: bool) -> GroupFigure {
    let n_items: usize = parts.iter().map(|(_, items)| items).sum();
    let count = parts.len() as f64;
    let total = n_items as f64;
    let errors: Option<Vec<(f64, f64)>> =
        parts.iter().map(|(figure, items)| Some((figure.standard_error?, *items as f64))).collect();
    let (value, standard_error) = if weight_by_size {
        let sum: f64 = parts.iter().map(|(figure, items)| figure.value * *items as f64).sum();
        let pooled = |errors: Vec<(f64, f64)>| {
            let squares: f64 = errors.iter().map(|(error, n)| (n - 1.0) * error * error * n).sum();
            (squares / (total - count) / total).sqrt()
        };
        (sum / total, errors.map(pooled))
    } else {
        let sum: f64 = parts.iter().map(|(figure, _)| figure.value).sum();
        let independent = |errors: Vec<(f64, f64)>| {
            errors.iter().map(|(error, _)| error * error).sum::<f64>().sqrt() / count
        };
        (sum / count, errors.map(independent))
    };
    GroupFigure { figure: Figure { value, standard_error }, n_items }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n_items: usize, figures: &[(&str, f64, Option<f64>)]) -> TaskFigures {
        let figures = figures.iter().map(|&(key, value, standard_error)| {
            (key.to_owned(), Figure { value, standard_error })
        });
        TaskFigures { n_items, figures: figures.collect() }
    }

    fn group(weight_by_size: bool) -> TaskGroup {
        let aggregate = Aggregate { metric: "acc".to_owned(), pipelines: None, weight_by_size };
        TaskGroup {
            name: "g".to_owned(),
            alias: "g".to_owned(),
            version: serde_json::Value::Null,
            members: Vec::new(),
            tasks: ["a", "b", "c"].map(str::to_owned).to_vec(),
            aggregates: vec![aggregate],
        }
    }

    #[test]
    fn means_are_weighted_or_not() {
        let tasks = IndexMap::from([
            ("a".to_owned(), task(10, &[("acc,none", 0.5, Some(0.1))])),
            ("b".to_owned(), task(30, &[("acc,none", 0.1, Some(0.2)), ("acc,x", 1.0, None)])),
            ("c".to_owned(), task(5, &[("acc_norm,none", 0.9, None)])),
        ]);
        let weighted = group(true).figures(&tasks);
        assert_eq!(weighted.n_items, 45);
        assert_eq!(weighted.figures.keys().collect::<Vec<_>>(), ["acc,none", "acc,x"]);
        let GroupFigure { figure, n_items } = weighted.figures["acc,none"];
        assert!((figure.value - 0.2).abs() < 1e-15);
        assert_eq!(n_items, 40);
        let pooled = ((9.0 * 10.0 * 0.01 + 29.0 * 30.0 * 0.04) / 38.0 / 40.0_f64).sqrt();
        assert!((figure.standard_error.expect("an error") - pooled).abs() < 1e-15);
        assert_eq!(weighted.figures["acc,x"].figure.standard_error, None);

        let figure = group(false).figures(&tasks).figures["acc,none"].figure;
        assert!((figure.value - 0.3).abs() < 1e-15);
        let independent = (0.05_f64).sqrt() / 2.0;
        assert!((figure.standard_error.expect("an error") - independent).abs() < 1e-15);
    }
}

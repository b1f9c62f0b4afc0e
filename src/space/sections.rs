//! The sections of a search file beside the merge and the optimizer: how long, and on what.

use std::path::PathBuf;
use std::time::Duration;

use super::error::SpaceError;
use crate::config::yaml::{Fields, Node, YamlError, describe};
use crate::lm::{DeviceChoice, Storage};

/// Evaluations when nothing else is asked for, as in mergekit-evolve.
const EVALUATIONS: u64 = 100;

/// Share of the items that the search does not see.
const VALIDATION_FRACTION: f64 = 0.5;

/// Seed of the split, other than the optimizer's so that changing one keeps the other.
const VALIDATION_SEED: u64 = 1;

/// Metric of a task that names none, as in mergekit-evolve.
const METRIC: &str = "acc,none";

/// A task and what it contributes to the score.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// Name of the task.
    pub name: String,
    /// Metric as written: with the name of its filter (`acc,none`) or without.
    pub metric: String,
    /// Factor of the metric in the sum that is maximised; negative when lower is better.
    pub weight: f64,
}

/// `budget:` when to stop; whatever comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Number of evaluations, at least 1.
    pub evaluations: u64,
    /// Time from the start.
    pub wall_clock: Option<Duration>,
    /// A score that is good enough.
    pub target: Option<f64>,
}

/// `evaluation:` how a candidate is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationOptions {
    /// Items per task, at least 1; `None` for all.
    pub limit: Option<usize>,
    /// Examples in each prompt; `None` for the task's own number.
    pub num_fewshot: Option<usize>,
    /// Prompts scored together; `None` for as many as are good.
    pub batch_size: Option<usize>,
    /// The form in which a candidate's weights are kept while it is scored.
    pub dtype: Storage,
    /// Where models run.
    pub device: DeviceChoice,
}

/// `validation:` which items the search does not see.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Share of each task's items, in `[0, 1)`; 0 for no validation.
    pub fraction: f64,
    /// Seed of the split.
    pub seed: u64,
}

impl Budget {
    pub(super) fn parse(section: Option<&Node<'_>>) -> Result<Self, SpaceError> {
        let mut budget = Self { evaluations: EVALUATIONS, wall_clock: None, target: None };
        let Some(section) = section else { return Ok(budget) };
        let fields = section.fields()?;
        fields.only(&["evaluations", "wall_clock", "target"])?;
        if let Some(node) = fields.get("evaluations") {
            budget.evaluations = at_least(&node, 1, "a whole number of at least 1")? as u64;
        }
        if let Some(node) = fields.get("wall_clock") {
            budget.wall_clock = Some(node.duration()?);
        }
        if let Some(node) = fields.get("target") {
            budget.target = Some(node.number()?);
        }
        Ok(budget)
    }
}

impl EvaluationOptions {
    /// `outer` is the file itself when it may give `limit` and `num_fewshot` outside of the
    /// section, as mergekit-evolve's files do.
    pub(super) fn parse(
        section: Option<&Node<'_>>,
        outer: Option<&Fields<'_>>,
    ) -> Result<Self, SpaceError> {
        let fields = section.map(Node::fields).transpose()?;
        if let Some(fields) = &fields {
            fields.only(&["limit", "num_fewshot", "batch_size", "dtype", "device"])?;
        }
        let inner = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
        let either = |name: &str| match (inner(name), outer.and_then(|outer| outer.get(name))) {
            (Some(inner), Some(outer)) => Err(SpaceError::GivenTwice {
                at: inner.key_place(),
                also: outer.path().to_string(),
            }),
            (inner, outer) => Ok(inner.or(outer)),
        };
        let mut options = Self {
            limit: None,
            num_fewshot: None,
            batch_size: None,
            dtype: Storage::F32,
            device: DeviceChoice::Cpu,
        };
        if let Some(node) = either("limit")? {
            options.limit = Some(limit(&node)?);
        }
        if let Some(node) = either("num_fewshot")? {
            options.num_fewshot = Some(node.count()?);
        }
        if let Some(node) = inner("batch_size")
            && node.value().as_str() != Some("auto")
        {
            options.batch_size =
                Some(at_least(&node, 1, "`auto` or a whole number of at least 1")?);
        }
        if let Some(node) = inner("dtype") {
            options.dtype = match node.text()? {
                "float32" => Storage::F32,
                "float16" => Storage::F16,
                "bf16" | "bfloat16" => {
                    return Err(SpaceError::NotSupported {
                        at: node.place(),
                        what: format!("scoring in {}", describe(node.value())),
                        instead: "`f32`, `f16`, `q8_0`, `q4_0` or `q4_k` can be given here; merged \
                                  weights are rounded to the merge config's `dtype` all the same",
                    });
                }
                name => name
                    .parse()
                    .map_err(|_| unknown_word(&node, &Storage::NAMES.map(|(name, _)| name)))?,
            };
        }
        if let Some(node) = inner("device") {
            options.device = node
                .text()?
                .parse()
                .map_err(|_| unknown_word(&node, &["cpu", "cuda", "cuda:N", "metal"]))?;
        }
        Ok(options)
    }
}

impl Validation {
    pub(super) fn parse(section: Option<&Node<'_>>) -> Result<Self, SpaceError> {
        let mut validation = Self { fraction: VALIDATION_FRACTION, seed: VALIDATION_SEED };
        let Some(section) = section else { return Ok(validation) };
        let fields = section.fields()?;
        fields.only(&["fraction", "seed"])?;
        if let Some(node) = fields.get("fraction") {
            validation.fraction = node.number()?;
            if !(0.0..1.0).contains(&validation.fraction) {
                return Err(out_of_range(&node, "a number from 0 to below 1"));
            }
        }
        if let Some(node) = fields.get("seed") {
            validation.seed = seed(&node)?;
        }
        Ok(validation)
    }
}

impl TaskRequest {
    /// The list of tasks; unknown fields of a task are given to `unknown`.
    pub(super) fn parse_all(
        list: &Node<'_>,
        unknown: &mut dyn FnMut(YamlError) -> Result<(), YamlError>,
    ) -> Result<Vec<Self>, SpaceError> {
        let items = list.items()?;
        if items.is_empty() {
            return Err(list.wrong_type("a list of at least one task").into());
        }
        let tasks: Vec<Self> =
            items.iter().map(|item| Self::parse(item, unknown)).collect::<Result<_, _>>()?;
        if tasks.iter().all(|task| task.weight == 0.0) {
            return Err(SpaceError::Conflict {
                at: list.place(),
                problem: "every task has weight 0, so all merges would have the same score"
                    .to_owned(),
                remedy: "give at least one task another `weight`",
            });
        }
        Ok(tasks)
    }

    fn parse(
        item: &Node<'_>,
        unknown: &mut dyn FnMut(YamlError) -> Result<(), YamlError>,
    ) -> Result<Self, SpaceError> {
        if let Some(name) = item.value().as_str() {
            return Ok(Self { name: name.to_owned(), metric: METRIC.to_owned(), weight: 1.0 });
        }
        let Ok(fields) = item.fields() else {
            return Err(item.wrong_type("a task: its name, or a mapping with its `name`").into());
        };
        known_fields(&fields, &["name", "weight", "metric"], unknown)?;
        let metric = fields.get("metric").map(|node| node.text()).transpose()?.unwrap_or(METRIC);
        let weight = fields.get("weight").map(|node| node.number()).transpose()?.unwrap_or(1.0);
        let name = fields.require("name")?.text()?.to_owned();
        Ok(Self { name, metric: metric.to_owned(), weight })
    }
}

/// `task_path`: directories that hold task files, one or a list.
pub(super) fn task_path(node: Option<&Node<'_>>) -> Result<Vec<PathBuf>, SpaceError> {
    let Some(node) = node else { return Ok(vec![PathBuf::from("evaluators")]) };
    if let Some(path) = node.value().as_str() {
        return Ok(vec![path.into()]);
    }
    let Ok(items) = node.items() else {
        return Err(node.wrong_type("a directory, or a list of directories").into());
    };
    Ok(items.iter().map(|item| item.text().map(PathBuf::from)).collect::<Result<_, _>>()?)
}

/// Gives every field outside of `known` to `unknown`, which may let it pass.
pub(super) fn known_fields(
    fields: &Fields<'_>,
    known: &[&str],
    unknown: &mut dyn FnMut(YamlError) -> Result<(), YamlError>,
) -> Result<(), YamlError> {
    for (name, node) in fields.all()? {
        if !known.contains(&name) {
            unknown(YamlError::UnknownField {
                at: node.key_place(),
                name: name.to_owned(),
                known: known.iter().map(|&name| name.to_owned()).collect(),
            })?;
        }
    }
    Ok(())
}

pub(super) fn unknown_word(node: &Node<'_>, known: &[&str]) -> SpaceError {
    SpaceError::UnknownWord {
        at: node.place(),
        found: node.value().as_str().unwrap_or_default().to_owned(),
        known: known.iter().map(|&word| word.to_owned()).collect(),
    }
}

pub(super) fn out_of_range(node: &Node<'_>, expected: &'static str) -> SpaceError {
    let found = describe(node.value());
    SpaceError::OutOfRange { at: node.place(), expected, found }
}

pub(super) fn at_least(
    node: &Node<'_>,
    least: usize,
    expected: &'static str,
) -> Result<usize, SpaceError> {
    match node.count() {
        Ok(count) if count >= least => Ok(count),
        _ => Err(out_of_range(node, expected)),
    }
}

pub(super) fn seed(node: &Node<'_>) -> Result<u64, SpaceError> {
    let exact = node.value().as_u64();
    Ok(exact.map_or_else(|| node.count().map(|seed| seed as u64), Ok)?)
}

/// The harness reads a number below 1 as a share of the items.
fn limit(node: &Node<'_>) -> Result<usize, SpaceError> {
    match node.number() {
        Ok(share) if share > 0.0 && share < 1.0 => Err(SpaceError::NotSupported {
            at: node.place(),
            what: "a share of the items".to_owned(),
            instead: "give the number of items per task",
        }),
        _ => at_least(node, 1, "a whole number of at least 1"),
    }
}

//! What the journal holds: one header, then one record per finished piece of work.
//!
//! Numbers are stored in the shortest decimal form that reads back to the same bits. Fields may be
//! added to a record without a new format number, and a reader ignores fields that it does not know.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::evaluate::MetricValues;
use crate::optimize::Reason;

/// Number of the journal format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// What is searched, with what and on what: always the first record, and only there.
    Header(Box<Header>),
    /// The score of a model that the winner is compared with, or of the winner itself.
    Reference(Box<Reference>),
    /// The score of one candidate.
    Evaluation(Box<Evaluation>),
    /// The search is over: why, and the closing table.
    Finish(Box<Finish>),
}

/// What a search depends on. A journal continues only under an equal header, up to `program`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Format of the whole journal.
    pub format: u32,
    /// Name and version of the program that began it.
    pub program: String,
    /// Digest of the search file's text.
    pub search_file: String,
    /// Seed of the optimizer.
    pub seed: u64,
    /// Largest number of candidates.
    pub evaluations: u64,
    /// Names of the variables, in the order of [`Evaluation::values`].
    pub variables: Vec<String>,
    /// What the score is made of.
    pub objective: Vec<Term>,
    /// Which items the search sees.
    pub split: SplitIdentity,
    /// Digest of every input model by its reference, see [`super::identity`].
    pub models: IndexMap<String, String>,
}

/// One term of the score: a metric of a task and its factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Name of the task.
    pub task: String,
    /// Metric with its filter: `acc,none`.
    pub metric: String,
    /// Factor as the search file gives it.
    pub weight: f64,
    /// Whether a larger value of the metric is better.
    pub higher_is_better: bool,
}

/// How items are divided into search items and validation items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitIdentity {
    /// Seed of the division.
    pub seed: u64,
    /// Share of the items kept for validation.
    pub fraction: f64,
    /// By task.
    pub tasks: IndexMap<String, TaskIdentity>,
}

/// What a task's scores depend on besides the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskIdentity {
    /// Number of search items.
    pub search: usize,
    /// Number of validation items.
    pub validation: usize,
    /// Digest of the task's definition and items.
    pub digest: String,
}

/// How an evaluation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// With a score.
    Ok,
    /// Without, through the candidate's own fault: it ranks behind every scored one.
    Infeasible,
    /// Without, through the machine's fault: it does not count in its generation.
    Lost,
}

impl Status {
    /// The word that stands for it in the journal and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Infeasible => "infeasible",
            Self::Lost => "lost",
        }
    }
}

/// One candidate and its score on the search items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Counts from 0 in the order asked.
    pub index: u64,
    /// Generation of the optimizer, from 0.
    pub generation: u64,
    /// The point as the optimizer proposed it.
    pub genotype: Vec<f64>,
    /// The value of every variable.
    pub values: Vec<f64>,
    /// Digest of the merge config that the genotype stands for.
    pub config: String,
    /// How it ended.
    pub status: Status,
    /// The score and what it is made of; present when the status is [`Status::Ok`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// Why there is no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The earlier evaluation with the same merge config, whose outcome this one shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<u64>,
    /// Seconds spent merging.
    pub merge_seconds: f64,
    /// Seconds spent scoring.
    pub evaluation_seconds: f64,
    /// Seconds that the search had run in all, earlier runs included, when this was written.
    pub elapsed_seconds: f64,
}

impl Evaluation {
    /// The score, if there is one. Higher is better.
    pub fn score(&self) -> Option<f64> {
        self.scores.as_ref().map(|scores| scores.score)
    }
}

/// What a reference is in the closing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// An input model as it is.
    Parent,
    /// The plain mean of the input models.
    UniformAverage,
    /// The candidate with the best score on the search items.
    Winner,
}

/// A model measured on search items and on validation items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// What it is.
    pub role: Role,
    /// Unique among references: the model as the search file names it, or the role in words.
    pub name: String,
    /// The merge config that makes it.
    pub config: String,
    /// Index of the winner's evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<u64>,
    /// How it ended.
    pub status: Status,
    /// On the search items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Scores>,
    /// On the validation items; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Scores>,
    /// Why there are no scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds spent merging.
    pub merge_seconds: f64,
    /// Seconds spent scoring.
    pub evaluation_seconds: f64,
    /// Seconds that the search had run in all when this was written.
    pub elapsed_seconds: f64,
}

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The weighted sum of the tasks' metrics; finite, higher is better.
    pub score: f64,
    /// By task.
    pub tasks: IndexMap<String, TaskResult>,
}

/// What one task says of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Every metric over the items that were scored.
    #[serde(with = "metrics")]
    pub metrics: IndexMap<String, f64>,
    /// The metrics that count, item by item.
    pub items: IndexMap<String, ItemValues>,
}

/// The end of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// Why the search ended.
    pub ending: Ending,
    /// Index of the winner's evaluation.
    pub winner: u64,
    /// The closing table.
    pub table: Vec<Row>,
    /// Seconds that the search ran in all.
    pub elapsed_seconds: f64,
}

/// Why a search proposes no more candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The budget of evaluations is spent.
    Evaluations,
    /// The budget of time is spent.
    WallClock,
    /// The target score is reached.
    Target,
    /// The optimizer sees no sense in going on.
    Optimizer(Vec<Reason>),
    /// Somebody asked to stop; never part of a [`Finish`].
    Interrupted,
}

/// One row of the closing table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What the row is about.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Score on the search items.
    pub search: Option<Estimate>,
    /// Score on the validation items.
    pub validation: Option<Estimate>,
    /// Winner minus this on the validation items; paired, so that shared luck cancels.
    pub gain: Option<Estimate>,
    /// Every term of the score on the validation items, or on the search items when there are no
    /// others.
    #[serde(with = "metrics")]
    pub terms: IndexMap<String, f64>,
    /// Why there are no scores.
    pub error: Option<String>,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// On the items as they are.
    pub value: f64,
    /// 2.5 % of the resampled values are below.
    pub low: f64,
    /// 2.5 % of the resampled values are above.
    pub high: f64,
}

/// JSON has no word for NaN and infinity: they are written as `null` and read as NaN.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

mod metrics {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        metrics: &IndexMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(metrics.iter().map(|(name, &value)| (name, finite(value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IndexMap<String, f64>, D::Error> {
        let metrics = IndexMap::<String, Option<f64>>::deserialize(deserializer)?;
        Ok(metrics.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
    }
}

/// The values of one metric, item by item.
///
/// Right and wrong answers are most of what a journal holds: a list of only 0 and 1 is written as a
/// text of these digits. Where an item has several numbers, it has a list of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemValues(pub MetricValues);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredItems {
    Digits(String),
    Numbers(Vec<Option<f64>>),
    Rows(Vec<Vec<Option<f64>>>),
}

/// The digit that stands for exactly this value.
fn digit(value: f64) -> Option<char> {
    if value.to_bits() == 0.0f64.to_bits() {
        Some('0')
    } else if value == 1.0 {
        Some('1')
    } else {
        None
    }
}

impl Serialize for ItemValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = |numbers: &[f64]| numbers.iter().map(|&value| finite(value)).collect();
        if self.0.width() > 1 {
            return StoredItems::Rows(self.0.rows().map(list).collect()).serialize(serializer);
        }
        match self.0.numbers().iter().map(|&value| digit(value)).collect() {
            Some(digits) => StoredItems::Digits(digits),
            None => StoredItems::Numbers(list(self.0.numbers())),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ItemValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = |values: Vec<Option<f64>>| -> Vec<f64> {
            values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect()
        };
        let values = match StoredItems::deserialize(deserializer)? {
            StoredItems::Digits(digits) => digits
                .chars()
                .map(|digit| match digit {
                    '0' => Ok(0.0),
                    '1' => Ok(1.0),
                    other => Err(serde::de::Error::custom(format!("`{other}` is no item value"))),
                })
                .collect::<Result<MetricValues, _>>()?,
            StoredItems::Numbers(values) => MetricValues::single(numbers(values)),
            StoredItems::Rows(rows) => {
                let mut values = MetricValues::new(rows.first().map_or(1, Vec::len));
                for row in rows {
                    if row.len() != values.width() {
                        return Err(serde::de::Error::custom("items have lists of other lengths"));
                    }
                    values.push(&numbers(row));
                }
                values
            }
        };
        Ok(Self(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(metric: f64, items: &[f64]) -> TaskResult {
        let items = MetricValues::single(items.to_vec());
        TaskResult {
            metrics: IndexMap::from([("acc,none".to_owned(), metric)]),
            items: IndexMap::from([("acc,none".to_owned(), ItemValues(items))]),
        }
    }

    fn round_trip(result: &TaskResult) -> (String, TaskResult) {
        let text = serde_json::to_string(result).unwrap();
        let back = serde_json::from_str(&text).unwrap();
        (text, back)
    }

    #[test]
    fn item_values_keep_their_bits_and_zeros_and_ones_are_short() {
        let answers = result(2.0 / 3.0, &[0.0, 1.0, 1.0]);
        let (text, back) = round_trip(&answers);
        assert!(text.contains(r#""acc,none":"011""#), "{text}");
        assert_eq!(back, answers);
        let numbers = result(0.1, &[0.1 + 0.2, -0.0, 1e-300]);
        let (_, back) = round_trip(&numbers);
        let bits = |result: &TaskResult| -> Vec<u64> {
            result.items["acc,none"].0.numbers().iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&back), bits(&numbers));
    }

    #[test]
    fn items_with_several_numbers_keep_them() {
        let mut values = MetricValues::new(2);
        values.push(&[-1.5, 3.0]);
        values.push(&[0.0, 1.0]);
        let mut rows = result(0.5, &[]);
        rows.items["acc,none"] = ItemValues(values);
        let (text, back) = round_trip(&rows);
        assert!(text.contains("[[-1.5,3.0],[0.0,1.0]]"), "{text}");
        assert_eq!(back, rows);
        assert!(serde_json::from_str::<ItemValues>("[[1,2],[3]]").is_err());
    }

    #[test]
    fn an_infinite_metric_becomes_nan_instead_of_a_broken_line() {
        let (text, back) = round_trip(&result(f64::INFINITY, &[]));
        assert!(text.contains("null"), "{text}");
        assert!(back.metrics["acc,none"].is_nan());
    }
}

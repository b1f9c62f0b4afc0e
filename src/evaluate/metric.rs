//! Metrics: values on single items, and what a task's figure is made of them.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;

use super::aggregation::Aggregation;
use super::chrf::Chrf;
use super::filter::Pipeline;
use super::functions::{ResultTemplate, Substitute, TaskFunctions};
use super::python::Pattern;
use super::{EvaluateError, MetricValues, bleu, metric_key};
use crate::config::yaml::Fields;

/// The output type of tasks that choose among given answers.
pub(super) const MULTIPLE_CHOICE: &str = "multiple_choice";

/// The output type of tasks whose answer is written freely.
pub(super) const GENERATE_UNTIL: &str = "generate_until";

/// The output type of tasks that ask for the log-likelihood of one given answer.
pub(super) const LOGLIKELIHOOD: &str = "loglikelihood";

/// The output type of tasks that ask for the log-likelihood of whole texts.
pub(super) const LOGLIKELIHOOD_ROLLING: &str = "loglikelihood_rolling";

/// What is measured on an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Measure {
    /// The likeliest choice is the right one; of a single given answer, greedy decoding would write
    /// it.
    Accuracy,
    /// The same with log-likelihoods per character of the choice.
    AccuracyPerCharacter,
    /// The same with log-likelihoods per byte of the choice.
    AccuracyPerByte,
    /// The same with the log-likelihood without context subtracted.
    AccuracyMutualInformation,
    /// Index of the right choice, index of the likeliest.
    Choice,
    /// Squared distance of the choices' probabilities from certainty of the right one.
    BrierScore,
    /// The choices' probability of the right one, or of the right ones together.
    Probability,
    /// The text written is the right one; of choices, greedy decoding would write the right one.
    ExactMatch,
    /// The log-likelihood of a given answer.
    LogLikelihood,
    /// The log-likelihood of a text, number of its words.
    PerWord,
    /// The log-likelihood of a text, number of its bytes.
    PerByte,
    /// Counts of [`bleu`](super::bleu).
    Bleu,
    /// Counts of [`chrf`](super::chrf).
    Chrf,
    /// Counts of [`chrf`](super::chrf), of words too.
    ChrfWords,
    /// Edits, number of words of the right text.
    Ter,
}

impl Measure {
    /// How many numbers it gives for an item.
    pub(super) fn width(self) -> usize {
        match self {
            Measure::Choice | Measure::PerWord | Measure::PerByte | Measure::Ter => 2,
            Measure::Bleu => bleu::WIDTH,
            Measure::Chrf => Chrf::CHARACTERS.width(),
            Measure::ChrfWords => Chrf::WORDS_TOO.width(),
            _ => 1,
        }
    }
}

/// A metric as the table below describes it.
struct Definition {
    name: &'static str,
    measure: Measure,
    output_types: &'static [&'static str],
    higher_is_better: bool,
    /// What may be made of its values; the first if a task does not say.
    aggregations: &'static [Aggregation],
}

/// What may be made of single numbers.
const NUMBERS: &[Aggregation] =
    &[Aggregation::Mean, Aggregation::Median, Aggregation::NanMean, Aggregation::Perplexity];

/// What may be made of right and chosen answers.
const AGREEMENT: &[Aggregation] =
    &[Aggregation::F1, Aggregation::Mcc, Aggregation::WeightedF1, Aggregation::MicroF1];

/// Every metric. To add one, add a line and a variant of [`Measure`].
const METRICS: &[Definition] = &[
    Definition {
        output_types: &[MULTIPLE_CHOICE, LOGLIKELIHOOD],
        ..of_choices("acc", Measure::Accuracy, NUMBERS)
    },
    of_choices("acc_norm", Measure::AccuracyPerCharacter, NUMBERS),
    of_choices("acc_bytes", Measure::AccuracyPerByte, NUMBERS),
    of_choices("acc_mutual_info", Measure::AccuracyMutualInformation, NUMBERS),
    of_choices("f1", Measure::Choice, AGREEMENT),
    of_choices(
        "mcc",
        Measure::Choice,
        &[Aggregation::Mcc, Aggregation::F1, Aggregation::WeightedF1, Aggregation::MicroF1],
    ),
    Definition {
        higher_is_better: false,
        ..of_choices("brier_score", Measure::BrierScore, &[Aggregation::BrierScore])
    },
    of_choices("likelihood", Measure::Probability, NUMBERS),
    Definition {
        output_types: &[MULTIPLE_CHOICE, GENERATE_UNTIL],
        ..of_choices("exact_match", Measure::ExactMatch, NUMBERS)
    },
    Definition {
        name: "perplexity",
        measure: Measure::LogLikelihood,
        output_types: &[LOGLIKELIHOOD],
        higher_is_better: false,
        aggregations: &[
            Aggregation::Perplexity,
            Aggregation::Mean,
            Aggregation::Median,
            Aggregation::NanMean,
        ],
    },
    of_texts("word_perplexity", Measure::PerWord, PERPLEXITY_FIRST),
    of_texts("byte_perplexity", Measure::PerByte, PERPLEXITY_FIRST),
    of_texts(
        "bits_per_byte",
        Measure::PerByte,
        &[Aggregation::BitsPerByte, Aggregation::WeightedPerplexity],
    ),
    of_answers("bleu", Measure::Bleu, &[Aggregation::Bleu]),
    of_answers("chrf", Measure::Chrf, &[Aggregation::Chrf]),
    of_answers("chrf++", Measure::ChrfWords, &[Aggregation::Chrf]),
    Definition { higher_is_better: false, ..of_answers("ter", Measure::Ter, &[Aggregation::Ter]) },
];

const PERPLEXITY_FIRST: &[Aggregation] =
    &[Aggregation::WeightedPerplexity, Aggregation::BitsPerByte];

const fn of_choices(
    name: &'static str,
    measure: Measure,
    aggregations: &'static [Aggregation],
) -> Definition {
    let output_types = &[MULTIPLE_CHOICE];
    Definition { name, measure, output_types, higher_is_better: true, aggregations }
}

const fn of_texts(
    name: &'static str,
    measure: Measure,
    aggregations: &'static [Aggregation],
) -> Definition {
    let output_types = &[LOGLIKELIHOOD_ROLLING];
    Definition { name, measure, output_types, higher_is_better: false, aggregations }
}

const fn of_answers(
    name: &'static str,
    measure: Measure,
    aggregations: &'static [Aggregation],
) -> Definition {
    let output_types = &[GENERATE_UNTIL];
    Definition { name, measure, output_types, higher_is_better: true, aggregations }
}

/// A metric that a task asks for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Metric {
    pub(super) name: Cow<'static, str>,
    pub(super) measure: Measure,
    higher_is_better: bool,
    aggregation: Aggregation,
    /// What computes it from row and answer instead of [`Metric::measure`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) template: Option<ResultTemplate>,
    /// Whether there is no standard error in any case, as for functions in the harness.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lacks_error: bool,
    pub(super) normalization: Normalization,
}

impl Metric {
    /// A metric by its name, without options; `None` if there is none for the output type.
    pub(super) fn named(name: &str, output_type: &str) -> Option<Metric> {
        let found = METRICS.iter().find(|metric| metric.name == name)?;
        found.output_types.contains(&output_type).then(|| Metric {
            name: Cow::Borrowed(found.name),
            template: None,
            measure: found.measure,
            higher_is_better: found.higher_is_better,
            aggregation: found.aggregations[0],
            lacks_error: false,
            normalization: Normalization::default(),
        })
    }

    /// A metric that a template computes, as the table has it if it has one of that name.
    pub(super) fn computed(name: &str, template: ResultTemplate) -> Metric {
        let found = METRICS.iter().find(|metric| metric.name == name);
        Metric {
            name: Cow::Owned(name.to_owned()),
            measure: found.map_or(Measure::Accuracy, |found| found.measure),
            higher_is_better: found.is_none_or(|found| found.higher_is_better),
            aggregation: found.map_or(Aggregation::Mean, |found| found.aggregations[0]),
            template: Some(template),
            lacks_error: false,
            normalization: Normalization::default(),
        }
    }

    /// How many numbers it has for an item.
    pub(super) fn width(&self) -> usize {
        match self.template {
            Some(_) => self.aggregation.width(),
            None => self.measure.width(),
        }
    }

    /// Reads an entry of `metric_list`; `results` stands for `process_results`, if the task has it.
    pub(super) fn parse(
        fields: &Fields<'_>,
        functions: TaskFunctions<'_>,
        results: Option<&Substitute>,
        output_type: &str,
    ) -> Result<Metric, EvaluateError> {
        let node = fields.require("metric")?;
        let name = node.text()?;
        let found = match results {
            Some(results) => Some(Metric::computed(name, results.result(name)?)),
            None => Metric::named(name, output_type),
        };
        let Some(mut metric) = found else {
            let supported = METRICS
                .iter()
                .filter(|metric| metric.output_types.contains(&output_type))
                .map(|metric| metric.name)
                .collect();
            return Err(EvaluateError::unsupported(&node, "metric", name, supported));
        };
        if let Some(node) = fields.get("aggregation") {
            let definition = METRICS.iter().find(|known| known.name == name);
            let allowed = match (results, definition) {
                (Some(_), _) => Aggregation::OF_TEMPLATES,
                (None, Some(definition)) => definition.aggregations,
                (None, None) => NUMBERS,
            };
            let substitute = functions.substitute(&node)?;
            let wanted = match &substitute {
                Some(substitute) => substitute.aggregation()?,
                None => node.text()?,
            };
            let Some(found) = allowed.iter().find(|known| known.names().contains(&wanted)) else {
                let known = allowed.iter().map(|known| known.names()[0]).collect();
                return Err(EvaluateError::unsupported(&node, "aggregation", wanted, known));
            };
            metric.aggregation = *found;
            metric.lacks_error = substitute.is_some();
        }
        if let Some(node) = fields.get("higher_is_better") {
            metric.higher_is_better = node.boolean()?;
        }
        // What the harness passes on to a metric has an effect on written answers only.
        if output_type == GENERATE_UNTIL && results.is_none() {
            fields.only(&[
                "metric",
                "aggregation",
                "higher_is_better",
                "hf_evaluate",
                "ignore_case",
                "ignore_punctuation",
                "ignore_numbers",
                "regexes_to_ignore",
            ])?;
            if let Some(node) = fields.get("hf_evaluate")
                && node.boolean()?
            {
                return Err(EvaluateError::unsupported(&node, "option", "hf_evaluate", Vec::new()));
            }
            metric.normalization = Normalization::parse(fields)?;
        }
        Ok(metric)
    }
}

/// The metrics of a task and the names of its pipelines: every metric has values for every pipeline.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Metrics {
    pub(super) list: Vec<Metric>,
    pipelines: Vec<String>,
}

impl Metrics {
    pub(super) fn new(list: Vec<Metric>, pipelines: &[Pipeline]) -> Metrics {
        Metrics { list, pipelines: pipelines.iter().map(|p| p.name.clone()).collect() }
    }

    /// Names with pipelines, and whether higher is better.
    pub(super) fn keys(&self) -> IndexMap<String, bool> {
        let keys = self.pipelines.iter().flat_map(|pipeline| {
            self.list
                .iter()
                .map(move |metric| (metric_key(&metric.name, pipeline), metric.higher_is_better))
        });
        keys.collect()
    }

    /// The figure of a metric, given with its pipeline; NaN if there is none.
    pub(super) fn aggregate(&self, key: &str, values: &MetricValues) -> f64 {
        self.find(key).map_or(f64::NAN, |metric| metric.aggregation.of(values))
    }

    /// The figure's standard error.
    pub(super) fn standard_error(
        &self,
        key: &str,
        values: &MetricValues,
        iterations: usize,
    ) -> Option<f64> {
        let metric = self.find(key)?;
        if metric.lacks_error {
            return None;
        }
        metric.aggregation.standard_error(values, iterations)
    }

    fn find(&self, key: &str) -> Option<&Metric> {
        let name = key.split(',').next().unwrap_or(key);
        self.list.iter().find(|metric| metric.name == name)
    }
}

/// What `exact_match` leaves out of account.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Normalization {
    removed: Vec<Pattern>,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
}

impl Normalization {
    fn parse(fields: &Fields<'_>) -> Result<Normalization, EvaluateError> {
        let flag = |name| fields.get(name).map_or(Ok(false), |node| node.boolean());
        Ok(Normalization {
            removed: Pattern::read_list(fields.get("regexes_to_ignore").as_ref())?,
            ignore_case: flag("ignore_case")?,
            ignore_punctuation: flag("ignore_punctuation")?,
            ignore_numbers: flag("ignore_numbers")?,
        })
    }

    /// The text that is compared: patterns go first, then case, punctuation and digits.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.removed {
            text = pattern.remove(&text);
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.ignore_numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        // The harness compares in arrays of fixed width, where NULs at the end are padding.
        text.trim_end_matches('\0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::yaml::Document;
    use crate::evaluate::functions::Functions;

    fn parse(entry: &str, output_type: &str) -> Result<Metric, EvaluateError> {
        let document = Document::parse(entry, Path::new("task.yaml"))?;
        let functions = Functions::default();
        Metric::parse(&document.root().fields()?, functions.of_task("t"), None, output_type)
    }

    #[test]
    fn exact_match_ignores_what_it_is_told_to() {
        let entry = "metric: exact_match\nignore_case: true\nignore_punctuation: true\n\
                     ignore_numbers: true\nregexes_to_ignore: [\"the \", \"\\\\.$\"]\n";
        let metric = parse(entry, GENERATE_UNTIL).expect("a metric");
        assert_eq!(metric.normalization.apply("the Cat-3 sat.\0"), "cat sat");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let message = |entry, output_type| parse(entry, output_type).expect_err("").to_string();
        assert_eq!(
            message("metric: acc", GENERATE_UNTIL),
            "task.yaml:1:9: metric: metric `acc` is not supported"
        );
        assert_eq!(
            message("metric: acc\naggregation: f1", MULTIPLE_CHOICE),
            "task.yaml:2:14: aggregation: aggregation `f1` is not supported"
        );
    }
}

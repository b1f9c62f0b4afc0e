//! Metrics: values on single items, and what a task's figure is made of them.

use serde::Serialize;

use super::EvaluateError;
use super::python::Pattern;
use crate::config::yaml::Fields;

/// The output type of tasks that choose among given answers.
pub(super) const MULTIPLE_CHOICE: &str = "multiple_choice";

/// The output type of tasks whose answer is written freely.
pub(super) const GENERATE_UNTIL: &str = "generate_until";

/// What is measured on an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Measure {
    /// The likeliest choice is the right one.
    Accuracy,
    /// The same with log-likelihoods per character of the choice.
    AccuracyPerCharacter,
    /// The same with log-likelihoods per byte of the choice.
    AccuracyPerByte,
    /// The same with the log-likelihood without context subtracted.
    AccuracyMutualInformation,
    /// Squared distance of the choices' probabilities from certainty of the right one.
    BrierScore,
    /// The text written is the right one; of choices, greedy decoding would write the right one.
    ExactMatch,
}

/// A metric as the table below describes it.
struct Definition {
    name: &'static str,
    measure: Measure,
    output_types: &'static [&'static str],
    higher_is_better: bool,
    aggregation: &'static str,
    /// Whether the harness gives a standard error.
    has_error: bool,
}

/// Every metric. To add one, add a line and a variant of [`Measure`].
const METRICS: &[Definition] = &[
    choice_metric("acc", Measure::Accuracy),
    choice_metric("acc_norm", Measure::AccuracyPerCharacter),
    choice_metric("acc_bytes", Measure::AccuracyPerByte),
    choice_metric("acc_mutual_info", Measure::AccuracyMutualInformation),
    Definition {
        higher_is_better: false,
        aggregation: "brier_score",
        has_error: false,
        ..choice_metric("brier_score", Measure::BrierScore)
    },
    Definition {
        output_types: &[MULTIPLE_CHOICE, GENERATE_UNTIL],
        ..choice_metric("exact_match", Measure::ExactMatch)
    },
];

const fn choice_metric(name: &'static str, measure: Measure) -> Definition {
    Definition {
        name,
        measure,
        output_types: &[MULTIPLE_CHOICE],
        higher_is_better: true,
        aggregation: "mean",
        has_error: true,
    }
}

/// A metric that a task asks for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) measure: Measure,
    pub(super) higher_is_better: bool,
    pub(super) has_error: bool,
    pub(super) normalization: Normalization,
}

impl Metric {
    /// A metric by its name, without options; `None` if there is none for the output type.
    pub(super) fn named(name: &str, output_type: &str) -> Option<Metric> {
        let found = METRICS.iter().find(|metric| metric.name == name)?;
        found.output_types.contains(&output_type).then(|| Metric {
            name: found.name,
            measure: found.measure,
            higher_is_better: found.higher_is_better,
            has_error: found.has_error,
            normalization: Normalization::default(),
        })
    }

    /// Reads an entry of `metric_list`.
    pub(super) fn parse(fields: &Fields<'_>, output_type: &str) -> Result<Metric, EvaluateError> {
        let node = fields.require("metric")?;
        let name = node.text()?;
        let Some(mut metric) = Metric::named(name, output_type) else {
            let supported = METRICS
                .iter()
                .filter(|metric| metric.output_types.contains(&output_type))
                .map(|metric| metric.name)
                .collect();
            return Err(EvaluateError::unsupported(&node, "metric", name, supported));
        };
        if let Some(node) = fields.get("aggregation") {
            let wanted = METRICS.iter().find(|known| known.name == name);
            let wanted = wanted.map_or("mean", |definition| definition.aggregation);
            let found = node.text()?;
            if found != wanted {
                return Err(EvaluateError::unsupported(&node, "aggregation", found, vec![wanted]));
            }
        }
        if let Some(node) = fields.get("higher_is_better") {
            metric.higher_is_better = node.boolean()?;
        }
        // What the harness passes on to a metric has an effect on written answers only.
        if output_type == GENERATE_UNTIL {
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
        let mut removed = Vec::new();
        if let Some(list) = fields.get("regexes_to_ignore") {
            for node in list.items()? {
                let pattern =
                    Pattern::new(node.text()?).map_err(|problem| EvaluateError::Syntax {
                        at: node.place().into(),
                        what: "regular expression",
                        problem,
                    })?;
                removed.push(pattern);
            }
        }
        Ok(Normalization {
            removed,
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

/// The mean, summed in the order given; NaN of no values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard error of the mean from the sample's deviation; `None` of fewer than two values.
pub(super) fn standard_error(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let count = values.len() as f64;
    Some((squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::yaml::Document;

    fn parse(entry: &str, output_type: &str) -> Result<Metric, EvaluateError> {
        let document = Document::parse(entry, Path::new("task.yaml"))?;
        Metric::parse(&document.root().fields()?, output_type)
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
            message("metric: acc\naggregation: median", MULTIPLE_CHOICE),
            "task.yaml:2:14: aggregation: aggregation `median` is not supported"
        );
    }

    #[test]
    fn the_error_is_that_of_the_mean() {
        assert_eq!(standard_error(&[1.0]), None);
        let error = standard_error(&[1.0, 0.0, 0.0, 1.0]).expect("four values");
        assert!((error - 0.288_675_134_594_812_9).abs() < 1e-15);
    }
}

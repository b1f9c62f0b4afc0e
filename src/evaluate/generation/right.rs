//! Right answers, in the forms in which metrics compare them with what a model wrote.

use serde_json::Value;

use crate::evaluate::chrf::Chrf;
use crate::evaluate::field::{as_index, python_text};
use crate::evaluate::metric::{Measure, Metric};
use crate::evaluate::prompted::PromptedDocument;
use crate::evaluate::{EvaluateError, MetricValues, bleu, chrf, ter};

/// What a metric compares an answer with.
#[derive(Debug)]
pub(super) enum Gold {
    /// Texts in the form in which they are compared.
    Texts(Vec<String>),
    Bleu(bleu::Reference),
    Chrf(chrf::Reference),
    Ter(ter::Reference),
}

impl Gold {
    /// The right texts, of which there is at least one, as a metric needs them.
    pub(super) fn new(metric: &Metric, right: &[String]) -> Gold {
        let first = right.first().map_or("", String::as_str);
        match metric.measure {
            Measure::Bleu => Gold::Bleu(bleu::Reference::new(first)),
            Measure::Chrf => Gold::Chrf(Chrf::CHARACTERS.reference(first)),
            Measure::ChrfWords => Gold::Chrf(Chrf::WORDS_TOO.reference(first)),
            Measure::Ter => Gold::Ter(ter::Reference::new(first)),
            _ => Gold::Texts(right.iter().map(|text| metric.normalization.apply(text)).collect()),
        }
    }

    /// Adds the value of an answer.
    pub(super) fn judge(&self, metric: &Metric, answer: &str, values: &mut MetricValues) {
        match self {
            Gold::Texts(texts) => {
                let is_right = texts.contains(&metric.normalization.apply(answer));
                values.push(&[f64::from(u8::from(is_right))]);
            }
            Gold::Bleu(right) => values.push(&right.row(answer)),
            Gold::Chrf(right) => values.push(&right.row(answer)),
            Gold::Ter(right) => values.push(&right.row(answer)),
        }
    }
}

/// The texts that answer a document.
pub(super) fn right_answers(document: &PromptedDocument<'_>) -> Result<Vec<String>, EvaluateError> {
    let target = document.target()?;
    if let Some(choices) = document.choices()? {
        let choice = as_index(&target).and_then(|index| usize::try_from(index).ok());
        let choice = choice.and_then(|index| choices.get(index).cloned());
        let field = &document.fields().target;
        let wrong = || field.wrong_value(document.row(), "the index of a choice", &target);
        return Ok(vec![choice.ok_or_else(wrong)?]);
    }
    Ok(match &target {
        Value::Array(items) if !items.is_empty() => items.iter().map(python_text).collect(),
        other => vec![python_text(other)],
    })
}

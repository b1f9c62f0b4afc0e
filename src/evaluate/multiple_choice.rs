//! Tasks that choose among given answers, by the log-likelihood of each.

use serde_json::{Value, json};

use super::field::as_index;
use super::harness_task::{Item, TaskKind};
use super::loglikelihood::{check_room, score};
use super::metric::{MULTIPLE_CHOICE, Measure, Metric};
use super::prompted::PromptedDocument;
use super::record::{RequestRecord, Response};
use super::tokenizer::TokenPair;
use super::{EvaluateError, MetricValues};
use crate::lm::{LanguageModel, Score};

/// The index that is no choice's, for answers that are not among the choices.
const NO_CHOICE: i64 = -100;

/// Multiple-choice tasks.
pub(super) struct MultipleChoice;

/// The choices of an item.
pub(super) struct Choices {
    /// One for each choice; then one for each choice without context, where a metric needs it.
    pairs: Vec<TokenPair>,
    lengths: Vec<ChoiceLength>,
    /// Indices of the right choices; one that is out of range is never chosen.
    gold: Vec<i64>,
}

/// Length of a choice's text.
#[derive(Debug, Clone, Copy)]
struct ChoiceLength {
    characters: usize,
    bytes: usize,
}

impl TaskKind for MultipleChoice {
    const OUTPUT_TYPE: &'static str = MULTIPLE_CHOICE;
    type Question = Choices;
    /// For each of [`Choices::pairs`].
    type Answer = Vec<Score>;

    fn item(&self, document: PromptedDocument<'_>) -> Result<Item<Choices>, EvaluateError> {
        let (row, fields, data) = (document.row(), document.fields(), document.data);
        let Some(choices) = document.choices()? else {
            unreachable!("a multiple-choice config without choices is refused when it is read")
        };
        let target = document.target()?;
        let delimiter = data.answer_delimiter(document.options);
        let continued = |text: &str| format!("{delimiter}{text}");

        let gold;
        let mut requests: Vec<(&str, String)>;
        if data.has_multiple_inputs {
            let Some(continuation) = target.as_str().map(continued) else {
                return Err(fields.target.wrong_value(row, "a text", &target));
            };
            let contexts = document.prompts.iter();
            requests = contexts.map(|context| (&**context, continuation.clone())).collect();
            let text = document.text()?;
            let right = as_index(&text);
            let wrong = || fields.text.wrong_value(row, "the index of a choice", &text);
            gold = vec![right.ok_or_else(wrong)?];
        } else {
            let context = document.prompt();
            requests = choices.iter().map(|choice| (context, continued(choice))).collect();
            let expected = "a choice, its index or a list of these";
            let wrong = || fields.target.wrong_value(row, expected, &target);
            gold = right_choices(&target, &choices).ok_or_else(wrong)?;
        }
        let metrics = &data.config.metrics;
        let needs_alone = |metric: &Metric| metric.measure == Measure::AccuracyMutualInformation;
        if metrics.iter().any(needs_alone) {
            requests.extend(choices.iter().map(|choice| ("", continued(choice))));
        }

        // The harness fails when a metric of two choices meets several right ones.
        let needs_one = |metric: &Metric| metric.measure == Measure::Choice;
        if gold.len() > 1 && metrics.iter().any(needs_one) {
            let expected = "a single choice, which `f1` and `mcc` need";
            return Err(fields.target.wrong_value(row, expected, &target));
        }

        let pairs = requests
            .iter()
            .map(|(context, continuation)| document.encode_pair(context, continuation));
        let pairs = pairs.collect::<Result<_, _>>()?;
        let record = document.record(|| {
            let requests = requests.into_iter().map(|(context, continuation)| {
                RequestRecord::LogLikelihood { context: context.to_owned(), continuation }
            });
            requests.collect()
        })?;
        let length = |choice: &String| ChoiceLength {
            characters: choice.chars().count(),
            bytes: choice.len(),
        };
        let lengths = choices.iter().map(length).collect();
        let question = Choices { pairs, lengths, gold };
        Ok(Item { record, question, prompt: document.into_prompt() })
    }

    fn fingerprint(prompt: &str, Choices { pairs, lengths, gold }: &Choices) -> String {
        let pairs: Vec<_> = pairs.iter().map(|pair| (&pair.context, &pair.continuation)).collect();
        format!("{prompt}\n{pairs:?} {lengths:?} {gold:?}")
    }

    fn check_length(
        &self,
        task: &str,
        item: usize,
        choices: &Choices,
        max_length: usize,
    ) -> Result<(), EvaluateError> {
        choices.pairs.iter().try_for_each(|pair| check_room(task, item, pair, max_length))
    }

    fn ask(
        &self,
        task: &str,
        questions: &[(usize, &Choices)],
        model: &dyn LanguageModel,
    ) -> Result<Vec<Vec<Score>>, EvaluateError> {
        let pairs = questions
            .iter()
            .flat_map(|&(item, choices)| choices.pairs.iter().map(move |pair| (item, pair)));
        let mut scores = score(model, task, pairs)?.into_iter();
        let own =
            |(_, choices): &(usize, &Choices)| scores.by_ref().take(choices.pairs.len()).collect();
        Ok(questions.iter().map(own).collect())
    }

    fn measure(
        choices: &Choices,
        scores: &Vec<Score>,
        _index: usize,
        metric: &Metric,
        values: &mut MetricValues,
    ) {
        match metric.measure {
            Measure::Choice => values.push(&choices.right_and_chosen(scores)),
            measure => values.push(&[choices.measure(measure, scores)]),
        }
    }

    fn variables(choices: &Choices, scores: &Vec<Score>) -> minijinja::Value {
        let given = &scores[..choices.lengths.len()];
        let log_likelihoods: Vec<f64> = given.iter().map(|score| score.log_likelihood).collect();
        let greedy: Vec<bool> = given.iter().map(|score| score.greedy).collect();
        minijinja::context! { log_likelihoods, greedy }
    }

    fn responses(scores: &Vec<Score>) -> Vec<Vec<Response>> {
        scores.iter().map(|&score| vec![Response::Score(score)]).collect()
    }

    fn note(choices: &Choices, scores: &Vec<Score>, metric: &Metric) -> Option<Value> {
        let given = &scores[..choices.lengths.len()];
        match metric.measure {
            Measure::Choice => {
                Some(json!(choices.right_and_chosen(scores).map(|choice| choice as i64)))
            }
            Measure::BrierScore => Some(json!([choices.gold.first(), probabilities(given)])),
            _ => None,
        }
    }
}

/// Indices of the right choices; `None` for a target that can be none.
fn right_choices(target: &Value, choices: &[String]) -> Option<Vec<i64>> {
    let index_of = |value: &Value| match value {
        Value::String(text) => {
            let found = choices.iter().position(|choice| choice == text);
            Some(found.map_or(NO_CHOICE, |index| index as i64))
        }
        other => {
            // A column of fractions may hold whole numbers.
            let whole = || other.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64);
            let index = as_index(other).or_else(whole)?;
            Some(if index < choices.len() as i64 { index } else { NO_CHOICE })
        }
    };
    match target {
        Value::Array(items) if !items.is_empty() => items.iter().map(index_of).collect(),
        other => index_of(other).map(|index| vec![index]),
    }
}

impl Choices {
    /// Which choice is right and which is likeliest.
    fn right_and_chosen(&self, scores: &[Score]) -> [f64; 2] {
        let given = scores[..self.lengths.len()].iter().map(|score| score.log_likelihood);
        [self.gold.first().map_or(f64::NAN, |&gold| gold as f64), largest(given) as f64]
    }

    /// The value of a metric of one number, from the scores of [`Choices::pairs`].
    fn measure(&self, measure: Measure, scores: &[Score]) -> f64 {
        let (given, without_context) = scores.split_at(self.lengths.len());
        let scaled = |length: fn(&ChoiceLength) -> usize| {
            given.iter().zip(&self.lengths).map(move |(score, choice)| match length(choice) {
                0 => f64::NEG_INFINITY,
                length => score.log_likelihood / length as f64,
            })
        };
        let likelihoods = given.iter().map(|score| score.log_likelihood);
        match measure {
            Measure::AccuracyPerCharacter => {
                self.is_right(largest(scaled(|choice| choice.characters)))
            }
            Measure::AccuracyPerByte => self.is_right(largest(scaled(|choice| choice.bytes))),
            Measure::AccuracyMutualInformation => {
                let alone = without_context.iter().map(|score| score.log_likelihood);
                self.is_right(largest(likelihoods.zip(alone).map(|(given, alone)| given - alone)))
            }
            Measure::BrierScore => self.brier_score(given),
            Measure::Probability => {
                let shares = probabilities(given).into_iter().enumerate();
                let right = shares.filter(|(index, _)| self.gold.contains(&(*index as i64)));
                right.map(|(_, share)| share).sum()
            }
            Measure::ExactMatch => {
                let is_greedy = |&index: &i64| {
                    usize::try_from(index)
                        .is_ok_and(|index| given.get(index).is_some_and(|score| score.greedy))
                };
                f64::from(u8::from(self.gold.iter().any(is_greedy)))
            }
            _ => self.is_right(largest(likelihoods)),
        }
    }

    fn is_right(&self, chosen: usize) -> f64 {
        f64::from(u8::from(self.gold.contains(&(chosen as i64))))
    }

    fn brier_score(&self, given: &[Score]) -> f64 {
        let squares = probabilities(given).into_iter().enumerate().map(|(index, probability)| {
            let certain = f64::from(u8::from(self.gold.contains(&(index as i64))));
            (probability - certain).powi(2)
        });
        squares.sum()
    }
}

/// The probabilities of choices when there are no others.
fn probabilities(given: &[Score]) -> Vec<f64> {
    let most = given.iter().map(|score| score.log_likelihood).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = given.iter().map(|score| (score.log_likelihood - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Index of the largest value, the first of equal ones.
fn largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choices(texts: &[&str], gold: &[i64]) -> Choices {
        Choices {
            pairs: Vec::new(),
            lengths: texts
                .iter()
                .map(|text| ChoiceLength { characters: text.chars().count(), bytes: text.len() })
                .collect(),
            gold: gold.to_vec(),
        }
    }

    fn scores(log_likelihoods: &[f64]) -> Vec<Score> {
        let score = |&log_likelihood| Score { log_likelihood, greedy: log_likelihood > -1.0 };
        log_likelihoods.iter().map(score).collect()
    }

    #[test]
    fn accuracies_divide_by_their_length() {
        let choices = choices(&["é", "abc", "a"], &[1]);
        let scores = scores(&[-3.0, -4.0, -3.0]);
        assert_eq!(choices.measure(Measure::Accuracy, &scores), 0.0);
        assert_eq!(choices.measure(Measure::AccuracyPerCharacter, &scores), 1.0);
        assert_eq!(choices.measure(Measure::AccuracyPerByte, &scores), 1.0);
        // The first of equal ones is chosen, and an empty choice never by its length.
        assert_eq!(largest([1.0, 1.0].into_iter()), 0);
        let empty = super::tests::choices(&["", "a"], &[1]);
        let scores = super::tests::scores(&[-0.1, -5.0]);
        assert_eq!(empty.measure(Measure::AccuracyPerCharacter, &scores), 1.0);
    }

    #[test]
    fn mutual_information_subtracts_what_is_likely_anyway() {
        let choices = choices(&["a", "b"], &[1]);
        let scores = scores(&[-2.0, -3.0, -1.0, -5.0]);
        assert_eq!(choices.measure(Measure::Accuracy, &scores), 0.0);
        assert_eq!(choices.measure(Measure::AccuracyMutualInformation, &scores), 1.0);
    }

    #[test]
    fn greedy_answers_and_certainty() {
        let choices = choices(&["a", "b"], &[1]);
        assert_eq!(choices.measure(Measure::ExactMatch, &scores(&[-3.0, -0.5])), 1.0);
        assert_eq!(choices.measure(Measure::ExactMatch, &scores(&[-0.5, -3.0])), 0.0);
        assert_eq!(choices.measure(Measure::BrierScore, &scores(&[-1.0, -1.0])), 0.5);
        let share = choices.measure(Measure::Probability, &scores(&[-1.0, -1.0 + 3f64.ln()]));
        assert!((share - 0.75).abs() < 1e-15);
        let both = super::tests::choices(&["a", "b", "c"], &[0, 2]);
        let share = both.measure(Measure::Probability, &scores(&[-2.0, -2.0, -2.0]));
        assert!((share - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn targets_are_indices_texts_or_lists() {
        let choices = ["x".to_owned(), "y".to_owned()];
        let right = |target| right_choices(&target, &choices);
        assert_eq!(right(json!(1)), Some(vec![1]));
        assert_eq!(right(json!(2)), Some(vec![NO_CHOICE]));
        assert_eq!(right(json!(1.0)), Some(vec![1]));
        assert_eq!(right(json!(true)), Some(vec![1]));
        assert_eq!(right(json!("y")), Some(vec![1]));
        assert_eq!(right(json!("z")), Some(vec![NO_CHOICE]));
        assert_eq!(right(json!(["y", 0])), Some(vec![1, 0]));
        assert_eq!(right(json!(null)), None);
    }
}

//! Tasks that choose among given answers, by the log-likelihood of each.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::error::Row;
use super::field::as_index;
use super::loglikelihood::{check_room, encode, score};
use super::metric::{MULTIPLE_CHOICE, Measure, Metric, Metrics};
use super::prompt::TaskData;
use super::record::{ItemRecord, ItemResponses, RequestRecord, Response, TaskInfo};
use super::tokenizer::TokenPair;
use super::{EvaluateError, Evaluator, MetricValues, TaskOptions, TaskScores, Tokenizer};
use crate::lm::{LanguageModel, Score};

/// The index that is no choice's, for answers that are not among the choices.
const NO_CHOICE: i64 = -100;

/// A multiple-choice task with its prompts.
#[derive(Debug)]
pub(super) struct MultipleChoice {
    name: String,
    items: Vec<Item>,
    metrics: Metrics,
    warnings: Vec<String>,
    info: TaskInfo,
}

#[derive(Debug)]
struct Item {
    prompt: String,
    record: Option<Box<ItemRecord>>,
    /// One for each choice; then one for each choice without context, where a metric needs it.
    pairs: Vec<TokenPair>,
    choices: Vec<ChoiceLength>,
    /// Indices of the right choices; one that is out of range is never chosen.
    gold: Vec<i64>,
}

/// Length of a choice's text.
#[derive(Debug, Clone, Copy)]
struct ChoiceLength {
    characters: usize,
    bytes: usize,
}

impl MultipleChoice {
    /// Makes and tokenizes every prompt of a task.
    pub(super) fn prepare(
        data: TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
    ) -> Result<MultipleChoice, EvaluateError> {
        let items = data.prepare_items(options, |index, contexts| {
            Item::prepare(&data, tokenizer, options, index, contexts)
        })?;
        let warnings = data.warnings(options);
        let info = data.info(options);
        let config = data.config;
        let metrics = Metrics::new(config.metrics, &config.pipelines);
        Ok(MultipleChoice { name: config.name, items, metrics, warnings, info })
    }
}

impl Item {
    fn prepare(
        data: &TaskData,
        tokenizer: &Tokenizer,
        options: &TaskOptions,
        index: usize,
        contexts: Vec<String>,
    ) -> Result<Item, EvaluateError> {
        let row = Row::Item(index);
        let (config, document) = (&data.config, &data.documents[index]);
        let fields = &config.prompt.fields;
        let Some(choices) = fields.choices(document, &data.columns, row)? else {
            unreachable!("a multiple-choice config without choices is refused when it is read")
        };
        let target = fields.target(document, &data.columns, row)?;
        let delimiter = data.answer_delimiter(options);
        let continued = |text: &str| format!("{delimiter}{text}");

        let gold;
        let mut requests: Vec<(&str, String)>;
        if data.has_multiple_inputs {
            let Some(continuation) = target.as_str().map(continued) else {
                return Err(fields.target.wrong_value(row, "a text", &target));
            };
            requests = contexts.iter().map(|context| (&**context, continuation.clone())).collect();
            let text = fields.text(document, &data.columns, row)?;
            let right = as_index(&text);
            let wrong = || fields.text.wrong_value(row, "the index of a choice", &text);
            gold = vec![right.ok_or_else(wrong)?];
        } else {
            let context = contexts.first().map_or("", String::as_str);
            requests = choices.iter().map(|choice| (context, continued(choice))).collect();
            let expected = "a choice, its index or a list of these";
            let wrong = || fields.target.wrong_value(row, expected, &target);
            gold = right_choices(&target, &choices).ok_or_else(wrong)?;
        }
        let needs_alone = |metric: &Metric| metric.measure == Measure::AccuracyMutualInformation;
        if config.metrics.iter().any(needs_alone) {
            requests.extend(choices.iter().map(|choice| ("", continued(choice))));
        }

        // The harness fails when a metric of two choices meets several right ones.
        let needs_one = |metric: &Metric| metric.measure == Measure::Choice;
        if gold.len() > 1 && config.metrics.iter().any(needs_one) {
            let expected = "a single choice, which `f1` and `mcc` need";
            return Err(fields.target.wrong_value(row, expected, &target));
        }

        let pairs = requests.iter().map(|(context, continuation)| {
            encode(tokenizer, &config.name, index, context, continuation)
        });
        let pairs = pairs.collect::<Result<_, _>>()?;
        let record = data.record(index, options, || {
            let requests = requests.iter().map(|(context, continuation)| {
                let (context, continuation) = ((*context).to_owned(), continuation.clone());
                RequestRecord::LogLikelihood { context, continuation }
            });
            requests.collect()
        })?;
        let length = |choice: &String| ChoiceLength {
            characters: choice.chars().count(),
            bytes: choice.len(),
        };
        let choices = choices.iter().map(length).collect();
        let prompt = contexts.into_iter().next().unwrap_or_default();
        Ok(Item { prompt, record, pairs, choices, gold })
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

impl Evaluator for MultipleChoice {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_items(&self) -> usize {
        self.items.len()
    }

    fn prompt(&self, item: usize) -> &str {
        &self.items[item].prompt
    }

    fn definition(&self) -> String {
        json!({ "output_type": MULTIPLE_CHOICE, "metrics": self.metrics }).to_string()
    }

    fn fingerprint(&self, item: usize) -> String {
        let Item { prompt, pairs, choices, gold, .. } = &self.items[item];
        let pairs: Vec<_> = pairs.iter().map(|pair| (&pair.context, &pair.continuation)).collect();
        format!("{prompt}\n{pairs:?} {choices:?} {gold:?}")
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn info(&self) -> &TaskInfo {
        &self.info
    }

    fn record(&self, item: usize) -> Option<&ItemRecord> {
        self.items[item].record.as_deref()
    }

    fn metrics(&self) -> IndexMap<String, bool> {
        self.metrics.keys()
    }

    fn check_length(&self, max_length: usize) -> Result<(), EvaluateError> {
        for (item, Item { pairs, .. }) in self.items.iter().enumerate() {
            pairs.iter().try_for_each(|pair| check_room(&self.name, item, pair, max_length))?;
        }
        Ok(())
    }

    fn evaluate(
        &self,
        model: &dyn LanguageModel,
        items: &[usize],
    ) -> Result<TaskScores, EvaluateError> {
        let pairs_of = |&item: &usize| self.items[item].pairs.iter().map(move |pair| (item, pair));
        let scores = score(model, &self.name, items.iter().flat_map(pairs_of))?;
        let mut columns = self.metrics.columns();
        let mut responses = Vec::new();
        let mut rest = scores.as_slice();
        for item in items.iter().map(|&index| &self.items[index]) {
            let (own, others) = rest.split_at(item.pairs.len());
            rest = others;
            for (metric, column) in self.metrics.list.iter().zip(&mut columns) {
                match metric.measure {
                    Measure::Choice => column.push(&item.choice(own)),
                    measure => column.push(&[item.measure(measure, own)]),
                }
            }
            if item.record.is_some() {
                responses.push(self.responses(item, own));
            }
        }
        Ok(TaskScores { values: self.metrics.for_all_pipelines(&columns), responses })
    }

    fn aggregate(&self, metric: &str, values: &MetricValues) -> f64 {
        self.metrics.aggregate(metric, values)
    }

    fn standard_error(
        &self,
        metric: &str,
        values: &MetricValues,
        bootstrap_iterations: usize,
    ) -> Option<f64> {
        self.metrics.standard_error(metric, values, bootstrap_iterations)
    }
}

impl MultipleChoice {
    /// What the model said to an item; filters leave it as it is.
    fn responses(&self, item: &Item, scores: &[Score]) -> ItemResponses {
        let said = scores.iter().copied().map(Response::Score);
        let given = &scores[..item.choices.len()];
        ItemResponses {
            noted: self.metrics.noted(|metric| match metric.measure {
                Measure::Choice => Some(json!(item.choice(scores).map(|choice| choice as i64))),
                Measure::BrierScore => Some(json!([item.gold.first(), probabilities(given)])),
                _ => None,
            }),
            ..self.metrics.unfiltered(said.collect())
        }
    }
}

impl Item {
    /// Which choice is right and which is likeliest.
    fn choice(&self, scores: &[Score]) -> [f64; 2] {
        let given = scores[..self.choices.len()].iter().map(|score| score.log_likelihood);
        [self.gold.first().map_or(f64::NAN, |&gold| gold as f64), largest(given) as f64]
    }

    /// The value of a metric of one number, from the scores of [`Item::pairs`].
    fn measure(&self, measure: Measure, scores: &[Score]) -> f64 {
        let (given, without_context) = scores.split_at(self.choices.len());
        let scaled = |length: fn(&ChoiceLength) -> usize| {
            given.iter().zip(&self.choices).map(move |(score, choice)| match length(choice) {
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

    fn item(choices: &[&str], gold: &[i64]) -> Item {
        Item {
            prompt: String::new(),
            record: None,
            pairs: Vec::new(),
            choices: choices
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
        let item = item(&["é", "abc", "a"], &[1]);
        let scores = scores(&[-3.0, -4.0, -3.0]);
        assert_eq!(item.measure(Measure::Accuracy, &scores), 0.0);
        assert_eq!(item.measure(Measure::AccuracyPerCharacter, &scores), 1.0);
        assert_eq!(item.measure(Measure::AccuracyPerByte, &scores), 1.0);
        // The first of equal ones is chosen, and an empty choice never by its length.
        assert_eq!(largest([1.0, 1.0].into_iter()), 0);
        let empty = super::tests::item(&["", "a"], &[1]);
        let scores = super::tests::scores(&[-0.1, -5.0]);
        assert_eq!(empty.measure(Measure::AccuracyPerCharacter, &scores), 1.0);
    }

    #[test]
    fn mutual_information_subtracts_what_is_likely_anyway() {
        let item = item(&["a", "b"], &[1]);
        let scores = scores(&[-2.0, -3.0, -1.0, -5.0]);
        assert_eq!(item.measure(Measure::Accuracy, &scores), 0.0);
        assert_eq!(item.measure(Measure::AccuracyMutualInformation, &scores), 1.0);
    }

    #[test]
    fn greedy_answers_and_certainty() {
        let item = item(&["a", "b"], &[1]);
        assert_eq!(item.measure(Measure::ExactMatch, &scores(&[-3.0, -0.5])), 1.0);
        assert_eq!(item.measure(Measure::ExactMatch, &scores(&[-0.5, -3.0])), 0.0);
        assert_eq!(item.measure(Measure::BrierScore, &scores(&[-1.0, -1.0])), 0.5);
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

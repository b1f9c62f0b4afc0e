//! Our substitutes against the functions they stand for; see tests/golden/evaluate/functions.py.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::evaluate::MetricValues;
use crate::evaluate::aggregation::Aggregation;
use crate::evaluate::data::{Document, Split};
use crate::evaluate::error::Row;

#[derive(Deserialize)]
struct Golden {
    made_with: String,
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    kind: String,
    given: Json,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    /// Of the file, and of those beside it by their paths from its folder.
    digests: HashMap<String, String>,
    function: String,
    expected: Json,
}

impl Case {
    /// The built-in substitute, for files that have the recorded digests.
    fn substitute(&self) -> Result<(Definition, Value, Option<String>), NoSubstitute> {
        let digests: HashMap<PathBuf, String> = self
            .digests
            .iter()
            .map(|(name, digest)| match *name == self.file {
                true => (PathBuf::from(name), digest.clone()),
                false => (Path::new(&self.file).with_file_name(name), digest.clone()),
            })
            .collect();
        let digest_of = move |path: &Path| digests.get(path).cloned();
        find(BUILT_IN_TABLES.iter(), Path::new(&self.file), &self.function, &digest_of)
    }
}

fn documents(rows: &Json) -> Vec<Document> {
    let rows: Vec<Map<String, Json>> = serde_json::from_value(rows.clone()).expect("rows");
    rows.into_iter().map(Document::new).collect()
}

/// What the substitute makes of what was given.
fn outcome(action: &Action, variables: &Value, given: &Json) -> Result<Json, String> {
    match action {
        Action::Value(expression) => {
            documents(given).iter().map(|row| expression.value(variables, row)).collect()
        }
        Action::Documents(steps) => {
            let documents = documents(given);
            let columns = documents[0].columns.keys().cloned().collect();
            let steps = steps.with_variables(variables.clone());
            match steps.apply(Split { documents, columns }, "test", Row::Item) {
                Ok(split) => Ok(split.documents.into_iter().map(|row| row.columns).collect()),
                Err(EvaluateError::NoDocumentsLeft { .. }) => Ok(Json::Array(Vec::new())),
                Err(error) => Err(error.to_string()),
            }
        }
        Action::Results(metrics) => {
            let given: Vec<(Json, Json)> = serde_json::from_value(given.clone()).expect("pairs");
            let found = given.into_iter().map(|(row, said)| {
                let row = &documents(&Json::Array(vec![row]))[0];
                let value = |(name, template): &(String, ResultTemplate)| {
                    let template = template.with_variables(variables);
                    let width =
                        if name.contains("perplexity") || name == "bits_per_byte" { 2 } else { 1 };
                    let numbers = template.numbers(answer(&said), row, Row::Item(0), width);
                    let numbers = numbers.map_err(|error| error.to_string())?;
                    let number = match numbers[..] {
                        [number] => json!(number),
                        // The second one is a count.
                        _ => json!([numbers[0], numbers[1] as u64]),
                    };
                    Ok((name.clone(), number))
                };
                metrics.iter().map(value).collect::<Result<Map<String, Json>, String>>()
            });
            found.map(|metrics| metrics.map(Json::Object)).collect()
        }
        Action::Aggregation(name) => {
            let known = [Aggregation::WeightedF1, Aggregation::MicroF1];
            let aggregation = known.into_iter().find(|known| known.names().contains(&&**name));
            let aggregation = aggregation.expect("an aggregation");
            let of = |pairs: Vec<[f64; 2]>| {
                let mut values = MetricValues::new(2);
                pairs.iter().for_each(|pair| values.push(pair));
                aggregation.of(&values)
            };
            let given: Vec<Vec<[f64; 2]>> = serde_json::from_value(given.clone()).expect("pairs");
            Ok(given.into_iter().map(of).collect())
        }
    }
}

/// What templates know of an answer, from what the harness gives to `process_results`.
fn answer(said: &Json) -> Value {
    let said = said.as_array().expect("a list");
    let log_likelihoods: Vec<f64> = said.iter().filter_map(|one| one[0].as_f64()).collect();
    let greedy: Vec<bool> = said.iter().filter_map(|one| one[1].as_bool()).collect();
    match &said[..] {
        [Json::String(response)] => minijinja::context! { response },
        [Json::Number(log_likelihood)] => {
            minijinja::context! { log_likelihood => log_likelihood.as_f64() }
        }
        _ => minijinja::context! { log_likelihoods, greedy },
    }
}

#[test]
fn substitutes_do_what_the_functions_do() {
    let text = include_str!("../../../tests/golden/evaluate/functions.json");
    let golden: Golden = serde_json::from_str(text).expect("golden data");
    let mut problems = Vec::new();
    for group in &golden.groups {
        for case in &group.cases {
            let what = format!("{} {} ({})", case.file, case.function, golden.made_with);
            let (definition, variables, warning) = match case.substitute() {
                Ok(found) => found,
                Err(problem) => {
                    problems.push(format!("{what}: {problem}"));
                    continue;
                }
            };
            assert_eq!(warning, None, "{what}");
            let found = outcome(&definition.action, &variables, &group.given);
            match found {
                Ok(found) if is_equal(&found, &case.expected) => {}
                Ok(found) => {
                    problems.push(format!("{what}, {}:\n{found}\n{}", group.kind, case.expected));
                }
                Err(problem) => problems.push(format!("{what}: {problem}")),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Whether values and the order of columns are the same; numbers agree to rounding of the last digit.
fn is_equal(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::Array(found), Json::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| is_equal(found, expected))
        }
        (Json::Object(found), Json::Object(expected)) => {
            found.keys().eq(expected.keys())
                && found.iter().all(|(key, value)| is_equal(value, &expected[key]))
        }
        (Json::Number(found), Json::Number(expected)) if found.is_f64() && expected.is_f64() => {
            let (found, expected) = (found.as_f64(), expected.as_f64());
            found.zip(expected).is_some_and(|(a, b)| (a - b).abs() <= 1e-15 * b.abs().max(1.0))
        }
        _ => found == expected,
    }
}

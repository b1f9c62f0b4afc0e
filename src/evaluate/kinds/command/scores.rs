//! Scores in what a command printed or wrote.

use std::fs;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::settings::PrintedMetric;
use crate::evaluate::selection::matches;
use crate::evaluate::{MetricValues, TaskScores};

/// What a command printed: a value, or one for each item.
pub(super) enum Printed {
    /// An object with the metrics.
    Whole(Value),
    /// A line for each item, with an object that has the metrics.
    Lines(Vec<Value>),
}

/// The scores on a standard output: all of it, or its last line.
pub(super) fn of_output(bytes: &[u8]) -> Result<Printed, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return Err("printed nothing, where its scores should be as JSON".to_owned());
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(Printed::Whole(value));
    }
    let last = text.lines().next_back().unwrap_or_default();
    let value = serde_json::from_str(last);
    value.map(Printed::Whole).map_err(|error| {
        format!("printed no JSON: neither all of its output is, nor the last line ({error})")
    })
}

/// The scores in a file, whose path may have `*` and `?` in each of its parts; with the extension `jsonl`
/// each line is an item.
pub(super) fn of_file(pattern: &Path) -> Result<Printed, String> {
    let shown = pattern.display();
    let found = files_like(pattern);
    let path = match found.as_slice() {
        [path] => path,
        [] => return Err(format!("wrote no file `{shown}`, where its scores should be")),
        [first, .., last] => {
            let (first, last) = (first.display(), last.display());
            return Err(format!(
                "wrote {} files `{shown}`, from `{first}` to `{last}`, where one is needed",
                found.len()
            ));
        }
    };
    let text = fs::read_to_string(path).map_err(|error| format!("wrote `{shown}`, but {error}"))?;
    let invalid = |line: usize, error: serde_json::Error| {
        format!("wrote `{}`, which is no JSON at line {line}: {error}", path.display())
    };
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        let value = serde_json::from_str(&text);
        return value.map(Printed::Whole).map_err(|error| invalid(error.line(), error));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let values = lines
        .map(|(index, line)| serde_json::from_str(line).map_err(|error| invalid(index + 1, error)));
    Ok(Printed::Lines(values.collect::<Result<_, _>>()?))
}

/// The files whose paths are as a pattern says, sorted.
fn files_like(pattern: &Path) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        let is_pattern = matches!(part, Component::Normal(_)) && name.contains(['*', '?']);
        places = match is_pattern {
            false => places.into_iter().map(|place| place.join(part)).collect(),
            true => {
                let inner = places.iter().filter_map(|place| fs::read_dir(place).ok());
                let inner = inner.flatten().flatten();
                inner
                    .filter(|entry| matches(&name, &entry.file_name().to_string_lossy()))
                    .map(|entry| entry.path())
                    .collect()
            }
        };
    }
    places.retain(|place| place.is_file());
    places.sort();
    places
}

/// The values of every metric on `items`. The command was asked for `asked`, the same in ascending order,
/// and has said one number for each of them, or for each of all `n_items`; one number in all where
/// there are no items of its own.
pub(super) fn read(
    printed: &Printed,
    metrics: &IndexMap<String, PrintedMetric>,
    n_items: Option<usize>,
    asked: &[usize],
    items: &[usize],
) -> Result<TaskScores, String> {
    let mut scores = TaskScores::default();
    for (key, metric) in metrics {
        let numbers = numbers(printed, metric)?;
        let of_item = |item: &usize| {
            let Some(n_items) = n_items else { return numbers.first().copied() };
            let place = match numbers.len() == n_items {
                true => Some(*item),
                false => asked.binary_search(item).ok(),
            };
            place.and_then(|place| numbers.get(place).copied())
        };
        let expected = n_items.map_or(1, |_| asked.len());
        let is_enough = numbers.len() == expected || Some(numbers.len()) == n_items;
        let values: Option<Vec<f64>> = items.iter().map(of_item).collect();
        let Some(values) = values.filter(|_| is_enough) else {
            let remedy = match n_items {
                None => "; `items` has to say how many there are".to_owned(),
                Some(all) if all != expected => format!(", or {all}, one for each item"),
                Some(_) => String::new(),
            };
            let at = &metric.at;
            return Err(format!(
                "has {} at `{at}` where {expected} were asked for{remedy}",
                count(numbers.len())
            ));
        };
        scores.values.insert(key.clone(), MetricValues::single(values));
    }
    Ok(scores)
}

fn count(numbers: usize) -> String {
    format!("{numbers} {}", if numbers == 1 { "number" } else { "numbers" })
}

/// The numbers of a metric, in the order in which they are printed.
fn numbers(printed: &Printed, metric: &PrintedMetric) -> Result<Vec<f64>, String> {
    let found = |value: &Value| {
        let found = value.pointer(&metric.at).cloned();
        found.ok_or_else(|| match value.as_object() {
            Some(object) => {
                let names: Vec<_> = object.keys().take(20).map(|key| format!("`{key}`")).collect();
                format!("said nothing at `{}`; there are {}", metric.at, names.join(", "))
            }
            None => format!("said nothing at `{}`", metric.at),
        })
    };
    let number = |value: &Value| {
        let number = value.as_f64().or_else(|| value.as_bool().map(|value| u8::from(value).into()));
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            let shown: String = value.to_string().chars().take(40).collect();
            format!("said `{shown}` at `{}`, which is no number", metric.at)
        })
    };
    match printed {
        Printed::Lines(lines) => lines.iter().map(|line| number(&found(line)?)).collect(),
        Printed::Whole(value) => match found(value)? {
            Value::Array(values) => values.iter().map(number).collect(),
            value => Ok(vec![number(&value)?]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(at: &str) -> IndexMap<String, PrintedMetric> {
        let metric = PrintedMetric { at: at.to_owned(), higher_is_better: true };
        IndexMap::from([("acc,none".to_owned(), metric)])
    }

    fn values(text: &str, n_items: Option<usize>, items: &[usize]) -> Result<Vec<f64>, String> {
        let mut asked = items.to_vec();
        asked.sort_unstable();
        let scores = read(&of_output(text.as_bytes())?, &metrics("/acc"), n_items, &asked, items)?;
        Ok(scores.values["acc,none"].numbers().to_vec())
    }

    #[test]
    fn scores_are_all_of_the_output_or_its_last_line() {
        assert_eq!(values("{\n \"acc\": 0.5\n}", None, &[0]), Ok(vec![0.5]));
        assert_eq!(values("loading\n{\"other\": 1}\n{\"acc\": true}\n", None, &[0]), Ok(vec![1.0]));
        for (text, problem) in [
            ("", "printed nothing"),
            ("done", "printed no JSON"),
            ("{\"acc\": NaN}", "printed no JSON"),
            ("{\"acc\": null}", "said `null` at `/acc`, which is no number"),
            ("{\"f1\": 1}", "said nothing at `/acc`; there are `f1`"),
            ("{\"acc\": [1, 0]}", "has 2 numbers at `/acc` where 1 were asked for; `items`"),
        ] {
            let error = values(text, None, &[0]).expect_err(text);
            assert!(error.starts_with(problem), "{text}: {error}");
        }
    }

    #[test]
    fn items_are_those_asked_for_or_all() {
        assert_eq!(values("{\"acc\": [0, 1, 2, 3]}", Some(4), &[3, 1]), Ok(vec![3.0, 1.0]));
        assert_eq!(values("{\"acc\": [10, 30]}", Some(4), &[3, 1]), Ok(vec![30.0, 10.0]));
        let error = values("{\"acc\": 1}", Some(4), &[3, 1]).expect_err("one number");
        assert!(error.contains("1 number at `/acc` where 2 were asked for, or 4"), "{error}");
    }

    #[test]
    fn files_are_found_by_pattern() {
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir(folder.path().join("model")).expect("a directory");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        write("model/samples_7.jsonl", "{\"acc\": 1}\n\n{\"acc\": 0}\n").expect("written");
        let pattern = folder.path().join("*/samples_*.jsonl");
        let printed = of_file(&pattern).expect("the file");
        let scores = read(&printed, &metrics("/acc"), Some(2), &[0, 1], &[0, 1]).expect("scores");
        assert_eq!(scores.values["acc,none"].numbers(), [1.0, 0.0]);
        write("model/samples_8.jsonl", "{").expect("written");
        let error = of_file(&pattern).err().expect("two files");
        assert!(error.contains("wrote 2 files"), "{error}");
        let error = of_file(&folder.path().join("*/samples_8.jsonl")).err().expect("no JSON");
        assert!(error.contains("is no JSON at line 1"), "{error}");
        let error = of_file(&folder.path().join("absent/*.json")).err().expect("no file");
        assert!(error.contains("wrote no file"), "{error}");
    }
}

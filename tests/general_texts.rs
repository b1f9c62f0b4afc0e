//! The ready tasks on common sense, code and translation: their items are well formed, ask
//! nothing twice, and cannot be solved by a look at positions or lengths.

#[path = "general/rows.rs"]
mod data;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use data::choices;
use mergekit::evaluate::{TaskLibrary, TaskOptions, Tokenizer};
use serde_json::Value;

/// Four choices: what a blind guess gets.
const CHANCE: f64 = 0.25;

const LANGUAGES: [&str; 3] = ["german", "french", "spanish"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rows(name: &str) -> Vec<Value> {
    data::rows(&format!("{name}.jsonl"))
}

/// A field that is text, with nothing behind its end.
fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    let text = data::text(row, field);
    assert!(!text.is_empty() && text.trim_end() == text, "`{field}` of {row}");
    text
}

fn gold(row: &Value) -> usize {
    usize::try_from(row["gold"].as_u64().unwrap()).unwrap()
}

/// How often the right choice is found by the extreme of lengths, `longest` or shortest; ties
/// count in part.
fn right_by_length(rows: &[Value], longest: bool) -> f64 {
    let points = rows.iter().map(|row| {
        let lengths: Vec<usize> = choices(row).iter().map(|c| c.chars().count()).collect();
        let extreme = if longest { lengths.iter().max() } else { lengths.iter().min() };
        let extreme = *extreme.unwrap();
        let ties = lengths.iter().filter(|&&length| length == extreme).count();
        if lengths[gold(row)] == extreme { 1.0 / ties as f64 } else { 0.0 }
    });
    points.sum::<f64>() / rows.len() as f64
}

fn check_choices(name: &str, question: &str, at_least: usize) {
    let rows = rows(name);
    assert!(rows.len() >= at_least, "{name} has {} items", rows.len());
    let mut seen = HashSet::new();
    let mut positions = [0_usize; 4];
    for row in &rows {
        assert!(seen.insert(text(row, question)), "asked twice: {row}");
        let choices = choices(row);
        assert!(choices.iter().all(|c| !c.is_empty() && c.trim() == *c), "{row}");
        assert_eq!(choices.iter().collect::<HashSet<_>>().len(), 4, "{row}");
        positions[gold(row)] += 1;
    }
    let (most, fewest) = (positions.iter().max().unwrap(), positions.iter().min().unwrap());
    assert!(most - fewest <= 1, "{name}: {positions:?}");
    for longest in [true, false] {
        let share = right_by_length(&rows, longest);
        assert!(share < CHANCE + 0.1, "{name}, longest is {longest}: {share}");
    }
}

#[test]
fn choices_say_nothing_by_position_or_length() {
    check_choices("common_sense", "prompt", 100);
    check_choices("code_completion", "prompt", 100);
    for language in LANGUAGES {
        check_choices(&format!("translation_{language}"), "source", 34);
    }
}

#[test]
fn every_topic_is_asked_about_often_enough() {
    for name in ["common_sense", "code_completion"] {
        let rows = rows(name);
        let topics: HashSet<&str> = rows.iter().map(|row| text(row, "topic")).collect();
        for topic in topics {
            let n = rows.iter().filter(|row| row["topic"] == topic).count();
            assert!(n >= 10, "{name} has {n} items of `{topic}`");
        }
    }
}

#[test]
fn code_has_a_test_to_check_it_by() {
    for row in rows("code_completion") {
        text(&row, "test");
        assert!(row["rest"].is_string(), "{row}");
    }
}

#[test]
fn examples_of_translation_are_not_asked_for() {
    for language in LANGUAGES {
        let items = rows(&format!("translation_{language}"));
        let asked: HashSet<&str> = items.iter().map(|row| text(row, "source")).collect();
        let examples = rows(&format!("translation_{language}_examples"));
        assert_eq!(examples.len(), 4, "{language}");
        for row in &examples {
            assert!(!asked.contains(text(row, "source")), "{row}");
            assert_eq!(choices(row)[gold(row)], text(row, "target"));
        }
    }
}

/// The sentence that is to be written and the one that is to be chosen are the same.
#[test]
fn a_translation_is_the_right_one_of_its_choices() {
    for language in LANGUAGES {
        let mut seen = HashSet::new();
        for row in &rows(&format!("translation_{language}")) {
            assert_eq!(choices(row)[gold(row)], text(row, "target"), "{row}");
            assert!(seen.insert(text(row, "target").to_string()), "{row}");
        }
    }
}

#[test]
fn the_program_reads_every_task() {
    let model: &Path = &root().join("tests/golden/evaluate/model");
    let tokenizer = Tokenizer::open(model).unwrap();
    let library = TaskLibrary::new(&[root().join("evaluators/general")]).unwrap();
    let n_items = |name: &str| {
        let task = library.load(name, &tokenizer, &TaskOptions::default()).unwrap();
        task.n_items()
    };
    for name in ["common_sense", "code_completion"] {
        assert_eq!(n_items(name), rows(name).len(), "{name}");
    }
    for language in LANGUAGES {
        let name = format!("translation_{language}");
        assert_eq!(n_items(&name), rows(&name).len(), "{name}");
        assert_eq!(n_items(&format!("{name}_choice")), rows(&name).len(), "{name}");
    }
}

//! The items of the general tasks: every answer is computed again from what the item asks.

#[path = "general/arithmetic.rs"]
mod arithmetic;
#[path = "general/expression.rs"]
mod expression;
#[path = "general/instructions.rs"]
mod instructions;
#[path = "general/rows.rs"]
mod rows;
#[path = "general/words.rs"]
mod words;

use std::collections::{HashMap, HashSet};

use rows::{choices, rows, text};
use serde_json::Value;

/// Examples and items together, after a check that there are enough items and that nothing is
/// asked twice, be it in an example and an item.
fn all_rows(task: &str, asked: &str) -> Vec<Value> {
    let items = rows(&format!("{task}.jsonl"));
    assert!(items.len() >= 100, "{task} has {} items", items.len());
    let mut all = rows(&format!("{task}_examples.jsonl"));
    all.extend(items);
    let mut seen = HashSet::new();
    for row in &all {
        assert!(seen.insert(text(row, asked).to_string()), "asked twice: {row}");
    }
    all
}

#[test]
fn arithmetic_answers_are_right() {
    for row in all_rows("arithmetic", "question") {
        assert_eq!(
            arithmetic::answer(text(&row, "skill"), text(&row, "question")),
            text(&row, "answer"),
            "{row}"
        );
    }
}

#[test]
fn arithmetic_choices_hold_the_answer_once_and_at_every_place() {
    let mut places = [0; 4];
    for row in rows("arithmetic.jsonl") {
        let choices = choices(&row);
        let right = row["right"].as_u64().unwrap() as usize;
        assert_eq!(choices[right], text(&row, "answer"), "{row}");
        assert_eq!(choices.iter().collect::<HashSet<_>>().len(), 4, "{row}");
        places[right] += 1;
    }
    assert!(places.iter().all(|&count| count >= 25), "right answers per place: {places:?}");
}

#[test]
fn replies_to_instructions_are_right() {
    let mut kinds = HashMap::new();
    for row in all_rows("instructions", "instruction") {
        let (kind, instruction) = (text(&row, "kind"), text(&row, "instruction"));
        assert_eq!(instructions::reply(kind, instruction), text(&row, "answer"), "{row}");
        *kinds.entry(kind.to_string()).or_insert(0) += 1;
    }
    assert!(kinds.len() >= 10 && kinds.values().all(|&count| count >= 8), "{kinds:?}");
}

#[test]
fn replies_keep_to_one_paragraph() {
    for row in rows("instructions.jsonl") {
        let answer = text(&row, "answer");
        assert!(
            answer == answer.trim() && !answer.contains("\n\n"),
            "a reply ends at an empty line: {row}"
        );
    }
}

#[test]
fn word_problems_are_solved_by_their_expressions() {
    for row in all_rows("word_problems", "question") {
        let (question, expression) = (text(&row, "question"), text(&row, "expression"));
        assert_eq!(expression::value(expression).to_string(), text(&row, "answer"), "{row}");
        assert!(
            words::tells_all(question, expression),
            "a number of the expression is not told: {row}"
        );
        assert!(
            words::needs_all(question, expression),
            "a number of the question is not used: {row}"
        );
    }
}

#[test]
fn worked_steps_are_right_and_end_at_the_answer() {
    for row in all_rows("word_problems", "question") {
        let mut last = "";
        for step in text(&row, "steps").trim_end_matches('.').split(". ") {
            let (expression, value) = step.split_once(" = ").unwrap();
            assert_eq!(expression::value(expression).to_string(), value, "{row}");
            last = value;
        }
        assert_eq!(last, text(&row, "answer"), "{row}");
    }
}

#[test]
fn a_story_is_told_at_most_three_times_and_never_in_an_example() {
    let mut told = HashMap::new();
    for row in rows("word_problems.jsonl") {
        *told.entry(words::story(text(&row, "question"))).or_insert(0) += 1;
    }
    assert!(told.values().all(|&count| count <= 3), "{told:?}");
    for row in rows("word_problems_examples.jsonl") {
        assert!(!told.contains_key(&words::story(text(&row, "question"))), "{row}");
    }
}

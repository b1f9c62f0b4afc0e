//! The items of the demo's skills: training, search and validation never share a question.

#[path = "../examples/train_demo/skills.rs"]
mod skills;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde_json::Value;
use skills::{Item, Level, Pool, Skill};

/// Prompts and answers of a task's data file.
fn shipped(skill: Skill) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("evaluators/demo")
        .join(format!("{}.jsonl", skill.name()));
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| row[name].as_str().unwrap().to_string();
            (field("prompt"), field("answer"))
        })
        .collect()
}

/// The items of a task's data file, found again among the generator's.
fn shipped_items(skill: Skill) -> Vec<Item> {
    let rows = shipped(skill);
    let items = skill.evaluation_items(rows.len());
    for (item, row) in items.iter().zip(&rows) {
        assert_eq!((&item.prompt, &item.answer), (&row.0, &row.1), "{}", skill.name());
    }
    items
}

#[test]
fn no_evaluation_item_may_be_trained_on() {
    for skill in Skill::ALL {
        for item in shipped_items(skill) {
            assert_eq!(item.pool(), Pool::Evaluation, "{}", item.prompt);
        }
    }
}

#[test]
fn training_draws_stay_in_the_training_pool() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for skill in Skill::ALL {
        let exam: HashSet<String> = shipped_items(skill).into_iter().map(|item| item.key).collect();
        for level in [Level::Easy, Level::Full] {
            for _ in 0..5_000 {
                let item = skill.training_item(level, &mut rng);
                assert_eq!(item.pool(), Pool::Training, "{}", item.prompt);
                assert!(!exam.contains(&item.key), "{}", item.prompt);
            }
        }
    }
}

/// Search and validation items are two parts of one file, so a question that stands in it once
/// cannot be in both.
#[test]
fn no_question_is_asked_twice() {
    let mut seen = HashMap::new();
    for skill in Skill::ALL {
        for item in shipped_items(skill) {
            if let Some(other) = seen.insert(item.key, item.prompt.clone()) {
                panic!("`{}` and `{other}` are the same question", item.prompt);
            }
        }
    }
}

#[test]
fn choices_hold_the_answer_once() {
    for item in Skill::Addition.evaluation_items(100) {
        let (choices, right) = Skill::Addition.choices(&item).unwrap();
        assert_eq!(choices[right], item.answer);
        assert_eq!(choices.iter().collect::<HashSet<_>>().len(), 4);
    }
}

use std::sync::atomic::Ordering;

use super::super::testing::{self, Formula, Walk};
use super::*;
use crate::evaluate::MetricValues;
use crate::search::Term;

const FILE: &str = "budget: {evaluations: 12}\n";

fn comparisons() -> Vec<Comparison> {
    let comparison = |role, name: &str, config: &str| Comparison {
        role,
        name: name.to_owned(),
        config: config.to_owned(),
    };
    vec![
        comparison(Role::Parent, "base", "[0.0, 0.0]"),
        comparison(Role::UniformAverage, "uniform average", "[0.1, 0.1]"),
    ]
}

fn mean(_: &Term, values: &MetricValues) -> f64 {
    values.numbers().iter().sum::<f64>() / values.n_items() as f64
}

/// Runs the search once; finishes it when it is complete.
fn run(directory: &Path, scorer: &Formula, interrupt: &Interrupt) -> Result<Results, SearchError> {
    let mut open = OpenSearch::open(directory, testing::header(), FILE)?;
    if open.results().finish.is_some() {
        return Ok(open.results().clone());
    }
    let search = Search {
        scorer,
        objective: &testing::objective(),
        aggregate: &mean,
        comparisons: &comparisons(),
        budget: Budget { evaluations: Some(12), ..Budget::default() },
        workers: 1,
        seed: 0,
    };
    match open.run(&search, &mut Walk::new(1, 5), interrupt, &mut |_| {})? {
        Run::Interrupted(results) => Ok(results),
        Run::Complete(closing) => open.finish(closing),
    }
}

fn quietly(directory: &Path, scorer: &Formula) -> Results {
    run(directory, scorer, &Interrupt::default()).unwrap()
}

fn timeless(mut results: Results) -> Results {
    for evaluation in &mut results.history {
        (evaluation.merge_seconds, evaluation.evaluation_seconds) = (0.0, 0.0);
        evaluation.elapsed_seconds = 0.0;
    }
    for reference in &mut results.references {
        (reference.merge_seconds, reference.evaluation_seconds) = (0.0, 0.0);
        reference.elapsed_seconds = 0.0;
    }
    if let Some(finish) = &mut results.finish {
        finish.elapsed_seconds = 0.0;
    }
    results
}

fn calls(scorer: &Formula) -> usize {
    scorer.calls.load(Ordering::SeqCst)
}

#[test]
fn a_finished_search_has_a_table_and_is_not_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula::default();
    let results = quietly(directory.path(), &scorer);
    assert_eq!(calls(&scorer), 2 + 12 + 1);
    let finish = results.finish.as_ref().unwrap();
    let names: Vec<_> = finish.table.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["base", "uniform average", WINNER]);
    let winner = &finish.table[2];
    let history = &results.history;
    assert_eq!(winner.search.unwrap().value, history[finish.winner as usize].score().unwrap());
    assert_eq!(winner.gain, None);
    let gain = finish.table[0].gain.unwrap();
    let (low, high) = (finish.table[0].validation.unwrap(), winner.validation.unwrap());
    assert_eq!(gain.value, high.value - low.value);
    assert_eq!(winner.terms.keys().collect::<Vec<_>>(), ["one", "two"]);

    let again = Formula::default();
    assert_eq!(quietly(directory.path(), &again), results);
    assert_eq!(calls(&again), 0);
    assert_eq!(Results::read(directory.path()).unwrap().unwrap(), results);
}

#[test]
fn a_search_killed_after_any_record_comes_to_the_same_end() {
    let whole = tempfile::tempdir().unwrap();
    let expected = timeless(quietly(whole.path(), &Formula::default()));
    let text = std::fs::read(whole.path().join(crate::search::JOURNAL_FILE)).unwrap();
    let ends = (0..text.len()).filter(|&at| text[at] == b'\n').map(|at| at + 1);
    for (records, end) in ends.enumerate() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(crate::search::JOURNAL_FILE), &text[..end]).unwrap();
        let scorer = Formula::default();
        assert_eq!(timeless(quietly(directory.path(), &scorer)), expected);
        assert_eq!(calls(&scorer), 15usize.saturating_sub(records), "after {records} records");
    }
}

#[test]
fn an_interruption_during_the_comparisons_is_orderly_too() {
    let directory = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::default();
    interrupt.request();
    let scorer = Formula::default();
    let results = run(directory.path(), &scorer, &interrupt).unwrap();
    assert_eq!((results.finish, calls(&scorer)), (None, 0));
    assert!(quietly(directory.path(), &scorer).finish.is_some());
}

#[test]
fn a_parent_that_cannot_be_scored_ends_the_search_before_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { fails_above: Some(-1.0), ..Formula::default() };
    let error = run(directory.path(), &scorer, &Interrupt::default()).unwrap_err();
    assert_eq!(error.to_string(), "model `base` cannot be scored: a tensor holds NaN");
    assert!(error.is_users_mistake());
    assert_eq!(Results::read(directory.path()).unwrap().unwrap().references, []);
    assert!(quietly(directory.path(), &Formula::default()).finish.is_some());
}

#[test]
fn before_a_candidate_is_scored_another_search_may_take_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { fails_above: Some(0.1), ..Formula::default() };
    run(directory.path(), &scorer, &Interrupt::default()).unwrap_err();
    let mut header = testing::header();
    header.search_file = "bb".to_owned();
    let text = "budget: {evaluations: 13}\n";
    let open = OpenSearch::open(directory.path(), header.clone(), text).unwrap();
    assert_eq!(*open.results(), Results::new(header.clone(), Vec::new(), Vec::new(), None));
    drop(open);
    assert_eq!(Results::read(directory.path()).unwrap().unwrap().header, header);
    assert_eq!(fs::read_to_string(directory.path().join(SEARCH_FILE_COPY)).unwrap(), text);
}

#[test]
fn a_winner_that_fails_on_the_validation_items_is_told_and_ends_the_search() {
    let lost = Formula { lost: 14..usize::MAX, ..Formula::default() };
    let broken = |call| assert!(call < 14, "broken");
    let broken = Formula { before: Some(Box::new(broken)), ..Formula::default() };
    for (scorer, message) in
        [(lost, "the machine is gone"), (broken, "the program panicked: broken")]
    {
        let directory = tempfile::tempdir().unwrap();
        let results = quietly(directory.path(), &scorer);
        let finish = results.finish.as_ref().unwrap();
        let winner = finish.table.last().unwrap();
        assert_eq!(winner.error.as_deref(), Some(message));
        assert!(winner.search.is_some() && winner.validation.is_none());
        assert!(winner.terms.is_empty());
        let text = crate::report::closing_text(&results);
        assert!(text.contains(&format!("`{WINNER}` could not be scored: {message}.")), "{text}");
        assert_eq!(quietly(directory.path(), &Formula::default()), results);
    }
}

#[test]
fn a_machine_that_fails_on_the_winner_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { lost: 14..16, ..Formula::default() };
    let results = quietly(directory.path(), &scorer);
    assert!(results.finish.unwrap().table.last().unwrap().validation.is_some());
    assert_eq!(calls(&scorer), 17);
}

#[test]
fn when_every_candidate_fails_the_first_error_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { fails_above: Some(0.1), ..Formula::default() };
    let error = run(directory.path(), &scorer, &Interrupt::default()).unwrap_err();
    let message =
        "none of 12 candidates could be scored; the first failed with: a tensor holds NaN";
    assert_eq!(error.to_string(), message);
    assert!(error.is_users_mistake());
    assert!(error.hint().unwrap().contains("narrower"));
}

#[test]
fn another_search_is_refused_with_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    quietly(directory.path(), &Formula::default());
    let mut header = testing::header();
    header.search_file = "bb".to_owned();
    let text = "budget: {evaluations: 13}\n";
    let error = OpenSearch::open(directory.path(), header, text).unwrap_err();
    let expected = "cannot be continued: the search file changed in line 1 from \
                    `budget: {evaluations: 12}` to `budget: {evaluations: 13}`";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert!(error.is_users_mistake());
}

#[test]
fn what_a_killed_search_left_half_written_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    quietly(directory.path(), &Formula::default());
    let path = |name: &str| directory.path().join(name);
    let copy = path(SEARCH_FILE_COPY);
    for file in [".mergekit-tmp-aBc123", "notes.txt"] {
        fs::write(path(file), "x").unwrap();
    }
    for folder in ["best_model.partial-aBc123", "best_model.replaced-aBc123", "my.partial-notes"] {
        fs::create_dir_all(path(folder).join("inner")).unwrap();
    }
    OpenSearch::open(directory.path(), testing::header(), FILE).unwrap();
    assert!(copy.exists());
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["journal.jsonl", "my.partial-notes", "notes.txt", SEARCH_FILE_COPY]);
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("precious"), "x").unwrap();
    let error = OpenSearch::open(directory.path(), testing::header(), FILE).unwrap_err();
    assert!(matches!(error, SearchError::NotASearch { .. }), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

use std::path::Path;

use super::super::journal::JOURNAL_FILE;
use super::super::testing::{self, Formula, Walk};
use super::*;

const BUDGET: Budget = Budget { evaluations: Some(22), wall_clock: None, target: None };

/// One run of a search with population 5 in `directory`, to its end or an interruption.
fn search_with(
    directory: &Path,
    scorer: &Formula,
    budget: Budget,
    workers: usize,
    interrupt: &Interrupt,
) -> Result<(Vec<Evaluation>, Ending), SearchError> {
    let (mut journal, records) = Journal::open(directory)?;
    if records.is_empty() {
        journal.append(&Record::Header(Box::new(testing::header())))?;
    }
    let recorded = records.into_iter().filter_map(|record| match record {
        Record::Evaluation(evaluation) => Some(*evaluation),
        _ => None,
    });
    let evolution = Evolution {
        optimizer: &mut Walk::new(1, 5),
        scorer,
        journal: &mut journal,
        budget,
        workers,
        interrupt,
        clock: Clock::continued(0.0),
        observe: &mut |_| {},
    };
    evolution.run(recorded.collect())
}

fn run(directory: &Path, scorer: &Formula, workers: usize) -> Vec<Evaluation> {
    search_with(directory, scorer, BUDGET, workers, &Interrupt::default()).unwrap().0
}

/// A history without what differs between two runs of the same search.
fn timeless(history: &[Evaluation]) -> Vec<Evaluation> {
    let strip = |evaluation: &Evaluation| Evaluation {
        merge_seconds: 0.0,
        evaluation_seconds: 0.0,
        elapsed_seconds: 0.0,
        ..evaluation.clone()
    };
    history.iter().map(strip).collect()
}

fn calls(scorer: &Formula) -> usize {
    scorer.calls.load(Ordering::SeqCst)
}

#[test]
fn a_search_ends_with_its_budget_and_improves() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula::default();
    let (history, ending) =
        search_with(directory.path(), &scorer, BUDGET, 1, &Interrupt::default()).unwrap();
    assert_eq!(ending, Ending::Evaluations);
    assert_eq!(calls(&scorer), 22);
    assert!(history.iter().enumerate().all(|(index, record)| record.index == index as u64));
    assert_eq!(history[21].generation, 4, "the fifth generation of five is cut to two");
    let first = best(&history[..5]).unwrap().score();
    assert!(best(&history).unwrap().score() >= first);
}

#[test]
fn a_journal_cut_anywhere_is_continued_to_the_same_history() {
    let directory = tempfile::tempdir().unwrap();
    let whole = run(directory.path(), &Formula::default(), 1);
    let path = directory.path().join(JOURNAL_FILE);
    let text = std::fs::read(&path).unwrap();
    let ends: Vec<_> = (0..text.len()).filter(|&at| text[at] == b'\n').map(|at| at + 1).collect();
    // The end of every line, the bytes around the last ends, and steps through the last lines. That
    // any byte will do is for the journal's own tests to show; here each cut costs a run.
    let around = ends[ends.len() - 3..].iter().flat_map(|&end| end - 2..text.len().min(end + 2));
    let through = (ends[ends.len() - 3]..text.len()).step_by(23);
    let cuts = ends.iter().copied().chain(around).chain(through);
    for cut in cuts {
        std::fs::write(&path, &text[..cut]).unwrap();
        let kept = text[..cut].iter().filter(|&&byte| byte == b'\n').count() - 1;
        let scorer = Formula::default();
        let history = run(directory.path(), &scorer, 1);
        assert_eq!(timeless(&history), timeless(&whole), "cut to {cut} bytes");
        assert_eq!(calls(&scorer), 22 - kept, "nothing is scored twice");
        assert_eq!(history[..kept], whole[..kept], "what was recorded stays as it was");
    }
}

#[test]
fn the_number_of_workers_changes_nothing_but_the_order_of_lines() {
    let alone = tempfile::tempdir().unwrap();
    let together = tempfile::tempdir().unwrap();
    let expected = run(alone.path(), &Formula::default(), 1);
    // Later candidates of a generation finish earlier.
    let slow = |call: usize| std::thread::sleep(Duration::from_millis(4 * (5 - call as u64 % 5)));
    let scorer = Formula { before: Some(Box::new(slow)), ..Formula::default() };
    let history = run(together.path(), &scorer, 4);
    assert_eq!(timeless(&history), timeless(&expected));
    let resumed = run(together.path(), &Formula::default(), 1);
    assert_eq!(resumed, history);
}

#[test]
fn equal_configs_are_scored_once() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { grain: Some(0.125), ..Formula::default() };
    let history = run(directory.path(), &scorer, 2);
    let mut configs: Vec<_> = history.iter().map(|record| &record.config).collect();
    configs.sort_unstable();
    configs.dedup();
    assert!(configs.len() < history.len(), "the grain makes candidates coincide");
    assert_eq!(calls(&scorer), configs.len());
    for record in &history {
        let Some(first) = record.same_as else { continue };
        let first = &history[first as usize];
        assert!(first.index < record.index && first.same_as.is_none());
        assert_eq!((&first.config, &first.scores), (&record.config, &record.scores));
    }
}

#[test]
fn a_failed_candidate_is_a_record_and_the_search_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { fails_above: Some(0.5), ..Formula::default() };
    let history = run(directory.path(), &scorer, 1);
    let failed: Vec<_> =
        history.iter().filter(|record| record.status == Status::Infeasible).collect();
    assert!(!failed.is_empty() && failed.len() < history.len());
    assert!(failed.iter().all(|record| record.error.as_deref() == Some("a tensor holds NaN")));
    assert!(best(&history).unwrap().values[0] <= 0.5);
    assert_eq!(timeless(&run(directory.path(), &Formula::default(), 1)), timeless(&history));
}

#[test]
fn a_search_in_which_nothing_works_ends_early() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { fails_above: Some(-9.0), ..Formula::default() };
    let error =
        search_with(directory.path(), &scorer, BUDGET, 1, &Interrupt::default()).unwrap_err();
    assert!(matches!(error, SearchError::NothingScored { candidates: 20, .. }), "{error}");
    assert_eq!(calls(&scorer), 20);
}

#[test]
fn a_failing_machine_is_tried_again_before_the_candidate_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let scorer = Formula { lost: 0..5, ..Formula::default() };
    let history = run(directory.path(), &scorer, 1);
    let status: Vec<_> = history.iter().take(3).map(|record| record.status).collect();
    assert_eq!(status, [Status::Lost, Status::Ok, Status::Ok]);
    assert_eq!(calls(&scorer), 22 + 4, "three attempts for the first, three for the second");
}

#[test]
fn an_interrupted_search_keeps_what_was_running_and_continues() {
    let whole = tempfile::tempdir().unwrap();
    let expected = run(whole.path(), &Formula::default(), 1);
    let directory = tempfile::tempdir().unwrap();
    let interrupt = std::sync::Arc::new(Interrupt::default());
    let handle = interrupt.clone();
    let at = move |call: usize| {
        if call == 7 {
            handle.request();
        }
    };
    let scorer = Formula { before: Some(Box::new(at)), ..Formula::default() };
    let (history, ending) = search_with(directory.path(), &scorer, BUDGET, 1, &interrupt).unwrap();
    assert_eq!((history.len(), ending), (8, Ending::Interrupted));
    assert_eq!(timeless(&run(directory.path(), &Formula::default(), 1)), timeless(&expected));
}

#[test]
fn time_and_target_end_a_search_and_still_do_when_it_is_run_again() {
    for (budget, expected) in [
        (Budget { wall_clock: Some(Duration::ZERO), ..BUDGET }, Ending::WallClock),
        (Budget { target: Some(0.1), ..BUDGET }, Ending::Target),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let search_with = |scorer: &Formula| {
            search_with(directory.path(), scorer, budget, 1, &Interrupt::default()).unwrap()
        };
        let (history, ending) = search_with(&Formula::default());
        assert_eq!(ending, expected);
        assert_eq!(history.len(), if expected == Ending::Target { 5 } else { 0 });
        let scorer = Formula::default();
        assert_eq!(search_with(&scorer), (history, ending));
        assert_eq!(calls(&scorer), 0);
    }
}

#[test]
fn a_journal_of_another_seed_or_space_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &Formula::default(), 1);
    let error = search_with(
        directory.path(),
        &Formula { grain: Some(0.01), ..Formula::default() },
        BUDGET,
        1,
        &Interrupt::default(),
    )
    .unwrap_err();
    assert!(error.to_string().ends_with("evaluation 0 has another merge config than recorded"));
    let shorter = Budget { evaluations: Some(10), ..BUDGET };
    let error =
        search_with(directory.path(), &Formula::default(), shorter, 1, &Interrupt::default());
    assert!(matches!(error, Err(SearchError::Diverged { index: 10, .. })), "{error:?}");
}

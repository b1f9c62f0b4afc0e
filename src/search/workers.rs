//! Scores several merges at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::SearchError;
use super::scorer::{CandidateScorer, ItemSets, Measurement, ScoreFailure};

/// Attempts after the first for a merge that the machine failed on.
const RETRIES: usize = 2;

/// One merge to score: its config and the items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) config: &'a str,
    pub(super) sets: ItemSets,
}

/// Scores `jobs` on up to `workers` threads, starting them in order, and hands each result with the
/// job's position to `finished` on the calling thread, as soon as it is there.
///
/// No job is started once `may_start` says no or `finished` failed; running ones are finished.
pub(super) fn score_all(
    scorer: &dyn CandidateScorer,
    jobs: &[Job<'_>],
    workers: usize,
    may_start: &(dyn Fn() -> bool + Sync),
    finished: &mut dyn FnMut(usize, Result<Measurement, ScoreFailure>) -> Result<(), SearchError>,
) -> Result<(), SearchError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            let (sender, next, failed) = (sender.clone(), &next, &failed);
            scope.spawn(move || {
                while !failed.load(Ordering::SeqCst) && may_start() {
                    let position = next.fetch_add(1, Ordering::SeqCst);
                    let Some(job) = jobs.get(position) else { break };
                    let result = score_with_retries(scorer, job);
                    if sender.send((position, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut outcome = Ok(());
        for (position, result) in results {
            if outcome.is_ok() {
                outcome = finished(position, result);
                failed.store(outcome.is_err(), Ordering::SeqCst);
            }
        }
        outcome
    })
}

fn score_with_retries(
    scorer: &dyn CandidateScorer,
    job: &Job<'_>,
) -> Result<Measurement, ScoreFailure> {
    let mut attempt = 0;
    loop {
        match score(scorer, job) {
            Err(ScoreFailure::Lost(_)) if attempt < RETRIES => attempt += 1,
            result => return result,
        }
    }
}

/// A panic while scoring is the candidate's fault: it would happen again.
fn score(scorer: &dyn CandidateScorer, job: &Job<'_>) -> Result<Measurement, ScoreFailure> {
    catch_unwind(AssertUnwindSafe(|| scorer.score(job.config, job.sets))).unwrap_or_else(
        |payload| {
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(ScoreFailure::Infeasible(format!("the program panicked: {message}")))
        },
    )
}

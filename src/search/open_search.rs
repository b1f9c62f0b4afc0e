//! One search in one directory, from the first record to the last.

use std::fs;
use std::path::Path;

use super::SearchError;
use super::bootstrap::Aggregate;
use super::closing;
use super::evolution::{Budget, Clock, Event, Evolution, Interrupt};
use super::identity;
use super::journal::Journal;
use super::objective::Objective;
use super::record::{Ending, Finish, Header, Record, Reference, Role, Status};
use super::results::Results;
use super::scorer::{CandidateScorer, ItemSets, Measurement, ScoreFailure};
use super::workers::{Job, score_all};
use crate::checkpoint::is_unfinished_output;
use crate::files;
use crate::optimize::Optimizer;

/// Name of the search file's copy in the output directory.
pub const SEARCH_FILE_COPY: &str = "search.yml";

/// Name of the winner in the closing table.
const WINNER: &str = "evolved merge";

/// What is searched and how, without the optimizer.
pub struct Search<'a> {
    /// From genotypes to scores.
    pub scorer: &'a dyn CandidateScorer,
    /// What the score is made of.
    pub objective: &'a Objective,
    /// Sets a metric from its items, for the intervals.
    pub aggregate: Aggregate<'a>,
    /// What the winner is compared with.
    pub comparisons: &'a [Comparison],
    /// When to stop.
    pub budget: Budget,
    /// Most merges in memory at once.
    pub workers: usize,
    /// Seed of the intervals.
    pub seed: u64,
}

/// A model that the winner is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What it is.
    pub role: Role,
    /// Its name, unique among comparisons.
    pub name: String,
    /// The merge config that makes it.
    pub config: String,
}

/// An open search: its journal, locked, and what the journal said when it was opened.
#[derive(Debug)]
pub struct OpenSearch {
    journal: Journal,
    results: Results,
    clock: Clock,
}

/// What a run came to.
#[derive(Debug)]
pub enum Run {
    /// Somebody asked to stop. Running the same search again goes on from here.
    Interrupted(Results),
    /// The search is done but for [`OpenSearch::finish`].
    Complete(Closing),
}

/// A search that is done, so that its outputs can be written before it counts as finished.
#[derive(Debug)]
pub struct Closing {
    /// The results, with the finish.
    pub results: Results,
    /// The winner's merge config.
    pub config: String,
}

impl OpenSearch {
    /// Opens the search in `directory`, or begins one there when the directory is empty or absent.
    ///
    /// Refused when the directory holds something else, when another process has it open, and when
    /// `header` or `search_file`, the search file's text, differ from what the journal was begun
    /// with. A journal without the score of a candidate is no loss, though: under another header it
    /// begins anew, so that a first mistake can be corrected in place.
    pub fn open(directory: &Path, header: Header, search_file: &str) -> Result<Self, SearchError> {
        check_directory(directory)?;
        fs::create_dir_all(directory)
            .map_err(|source| SearchError::Write { path: directory.to_owned(), source })?;
        let (mut journal, records) = Journal::open(directory)?;
        remove_leftovers(directory);
        let results = match Results::from_records(records) {
            Some(results) => {
                match check_unchanged(&results.header, &header, directory, search_file) {
                    Ok(()) => Some(results),
                    Err(error) if holds_scores(&results) => return Err(error),
                    Err(_) => None,
                }
            }
            None => None,
        };
        let copy = directory.join(SEARCH_FILE_COPY);
        let is_new = results.is_none();
        let results = match results {
            Some(results) => results,
            None => {
                journal.clear()?;
                journal.append(&Record::Header(Box::new(header.clone())))?;
                Results::new(header, Vec::new(), Vec::new(), None)
            }
        };
        if is_new || !copy.exists() {
            files::write_atomically(&copy, search_file.as_bytes())
                .map_err(|source| SearchError::Write { path: copy, source })?;
        }
        let clock = Clock::continued(results.elapsed_seconds());
        Ok(Self { journal, results, clock })
    }

    /// What the journal says.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Scores what the winner is compared with, searches, and scores the winner on the validation
    /// items. All that the journal holds already is taken from there.
    pub fn run(
        &mut self,
        search: &Search<'_>,
        optimizer: &mut dyn Optimizer,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Run, SearchError> {
        self.score_comparisons(search, interrupt, observe)?;
        if interrupt.requested() {
            return Ok(Run::Interrupted(self.results.clone()));
        }
        let recorded = std::mem::take(&mut self.results.history);
        let evolution = Evolution {
            optimizer: &mut *optimizer,
            scorer: search.scorer,
            journal: &mut self.journal,
            budget: search.budget,
            workers: search.workers,
            interrupt,
            clock: self.clock,
            observe: &mut *observe,
        };
        let (history, ending) = evolution.run(recorded)?;
        self.results.history = history;
        if ending == Ending::Interrupted {
            return Ok(Run::Interrupted(self.results.clone()));
        }
        self.close(search, &optimizer.status().mean, ending, observe)
    }

    /// Writes down that the search is over: from now on running it again only shows its results.
    pub fn finish(mut self, closing: Closing) -> Result<Results, SearchError> {
        if let Some(finish) = &closing.results.finish {
            self.journal.append(&Record::Finish(Box::new(finish.clone())))?;
        }
        Ok(closing.results)
    }

    /// Scores the comparisons that the journal does not hold. A parent that cannot be scored would
    /// spoil every candidate, so it ends the search before it begins; it is not written down, for it
    /// may be another one when it is repaired.
    fn score_comparisons(
        &mut self,
        search: &Search<'_>,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), SearchError> {
        for reference in self.results.references.iter().filter(|r| r.role != Role::Winner) {
            observe(Event::Reference(reference));
        }
        let known = |comparison: &&Comparison| {
            self.results.references.iter().any(|reference| {
                reference.role == comparison.role && reference.name == comparison.name
            })
        };
        let todo: Vec<&Comparison> =
            search.comparisons.iter().filter(|comparison| !known(comparison)).collect();
        let jobs: Vec<Job<'_>> = todo
            .iter()
            .map(|comparison| Job { config: &comparison.config, sets: ItemSets::BOTH })
            .collect();
        let may_start = || !interrupt.requested();
        score_all(search.scorer, &jobs, search.workers, &may_start, &mut |job, result| {
            let Comparison { role, name, config } = todo[job];
            let name_again = name.clone();
            match result {
                Err(ScoreFailure::Lost(error)) => {
                    Err(SearchError::Comparison { name: name_again, error })
                }
                Err(ScoreFailure::Infeasible(error)) if *role == Role::Parent => {
                    Err(SearchError::Parent { name: name_again, error })
                }
                result => {
                    let seconds = self.clock.seconds();
                    self.keep(reference(*role, name, config, seconds, result), observe)
                }
            }
        })
    }

    /// Chooses the winner, scores it on the validation items and makes the closing table.
    fn close(
        &mut self,
        search: &Search<'_>,
        mean: &[f64],
        ending: Ending,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Run, SearchError> {
        let history = &self.results.history;
        let Some(winner) = closing::choose_winner(history, mean).cloned() else {
            return Err(SearchError::nothing_scored(history));
        };
        observe(Event::Winner(&winner));
        let index = winner.index;
        let config = search
            .scorer
            .propose(&winner.genotype)
            .config
            .map_err(|error| SearchError::Winner { index, error })?;
        // A search that was killed between its winner and its end may have gone on to another one.
        let noted = self.results.reference(Role::Winner).and_then(|noted| noted.evaluation);
        if noted != Some(index) {
            // Even without this score the search is over: the winner is told with its error.
            let job = Job { config: &config, sets: ItemSets::VALIDATION };
            score_all(search.scorer, &[job], 1, &|| true, &mut |_, result| {
                let mut reference =
                    reference(Role::Winner, WINNER, &config, self.clock.seconds(), result);
                reference.evaluation = Some(index);
                reference.search = winner.scores.clone();
                self.keep(reference, observe)
            })?;
        }
        let references = &self.results.references;
        let table = closing::table(references, search.objective, search.aggregate, search.seed);
        let elapsed_seconds = self.clock.seconds();
        self.results.finish = Some(Finish { ending, winner: index, table, elapsed_seconds });
        Ok(Run::Complete(Closing { results: self.results.clone(), config }))
    }

    fn keep(
        &mut self,
        reference: Reference,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), SearchError> {
        self.journal.append(&Record::Reference(Box::new(reference.clone())))?;
        observe(Event::Reference(&reference));
        let Results { header, mut references, history, finish } = self.results.clone();
        references.push(reference);
        self.results = Results::new(header, references, history, finish);
        Ok(())
    }
}

/// The record of a reference.
fn reference(
    role: Role,
    name: &str,
    config: &str,
    elapsed_seconds: f64,
    result: Result<Measurement, ScoreFailure>,
) -> Reference {
    let mut reference = Reference {
        role,
        name: name.to_owned(),
        config: config.to_owned(),
        evaluation: None,
        status: Status::Ok,
        search: None,
        validation: None,
        error: None,
        merge_seconds: 0.0,
        evaluation_seconds: 0.0,
        elapsed_seconds,
    };
    match result {
        Ok(measurement) => {
            reference.search = measurement.search;
            reference.validation = measurement.validation;
            reference.merge_seconds = measurement.merge_seconds;
            reference.evaluation_seconds = measurement.evaluation_seconds;
        }
        Err(ScoreFailure::Infeasible(error)) => {
            (reference.status, reference.error) = (Status::Infeasible, Some(error));
        }
        Err(ScoreFailure::Lost(error)) => {
            (reference.status, reference.error) = (Status::Lost, Some(error));
        }
    }
    reference
}

/// Removes what a killed search had not finished writing. The journal must be locked, so that nobody
/// is writing now.
fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // What cannot be removed is in nobody's way.
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_file() && name.starts_with(files::UNFINISHED) => {
                fs::remove_file(entry.path())
            }
            Ok(kind) if kind.is_dir() && is_unfinished_output(&name) => {
                fs::remove_dir_all(entry.path())
            }
            _ => Ok(()),
        };
    }
}

/// Whether any candidate has been scored.
fn holds_scores(results: &Results) -> bool {
    results.history.iter().any(|evaluation| evaluation.scores.is_some())
}

/// Refuses a directory with other things in it.
fn check_directory(directory: &Path) -> Result<(), SearchError> {
    if directory.join(super::JOURNAL_FILE).exists() {
        return Ok(());
    }
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(SearchError::NotASearch { path: directory.to_owned() }),
            None => Ok(()),
        },
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SearchError::Write { path: directory.to_owned(), source }),
    }
}

/// Refuses to continue a journal under another header than it was begun with.
pub(super) fn check_unchanged(
    then: &Header,
    now: &Header,
    directory: &Path,
    search_file: &str,
) -> Result<(), SearchError> {
    let copy = fs::read_to_string(directory.join(SEARCH_FILE_COPY)).ok();
    let differences = identity::differences(then, now, copy.as_deref(), search_file);
    if differences.is_empty() {
        return Ok(());
    }
    Err(SearchError::Changed { path: directory.join(super::JOURNAL_FILE), differences })
}

#[cfg(test)]
mod tests;

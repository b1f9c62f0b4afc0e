//! The score of a model: a weighted sum of the tasks' metrics, higher is better.
//!
//! ```text
//! score = Σ weight · metric            where higher is better (`acc,none`)
//!       − Σ |weight| · metric          where lower is better (`word_perplexity,none`)
//! ```
//!
//! mergekit-evolve asks for a negative weight where lower is better, and here such a file means the
//! same. A positive weight there could only search for the worst model, so it counts as negative too.

use indexmap::IndexMap;

use super::SearchError;
use super::record::{Scores, TaskResult, Term};

/// What the score is made of; at least one term, no task and metric twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    terms: Vec<Term>,
}

impl Objective {
    /// An objective of the given terms.
    pub fn new(terms: Vec<Term>) -> Result<Self, SearchError> {
        if terms.is_empty() {
            return Err(SearchError::NoTasks);
        }
        for (position, term) in terms.iter().enumerate() {
            let same = |other: &Term| other.task == term.task && other.metric == term.metric;
            if terms[..position].iter().any(same) {
                let Term { task, metric, .. } = term.clone();
                return Err(SearchError::DuplicateTask { task, metric });
            }
        }
        Ok(Self { terms })
    }

    /// The terms, in the order of the search file.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Name of a term for people: its task, with the metric where the task has several.
    pub fn label(&self, term: &Term) -> String {
        if self.terms.iter().filter(|other| other.task == term.task).count() > 1 {
            format!("{} {}", term.task, term.metric)
        } else {
            term.task.clone()
        }
    }

    /// The names of the tasks, each once, in the order of the search file.
    pub fn tasks(&self) -> Vec<&str> {
        let mut tasks: Vec<&str> = Vec::new();
        for term in &self.terms {
            if !tasks.contains(&term.task.as_str()) {
                tasks.push(&term.task);
            }
        }
        tasks
    }

    /// The score, from the value of every term in the order of [`Objective::terms`].
    pub fn score(&self, values: impl IntoIterator<Item = f64>) -> f64 {
        self.terms.iter().zip(values).map(|(term, value)| factor(term) * value).sum()
    }

    /// Puts the results of all tasks together. `None` when a task is missing or the score is not
    /// finite.
    pub fn scores(&self, tasks: IndexMap<String, TaskResult>) -> Option<Scores> {
        let values: Option<Vec<f64>> = self
            .terms
            .iter()
            .map(|term| tasks.get(&term.task)?.metrics.get(&term.metric).copied())
            .collect();
        let score = self.score(values?);
        score.is_finite().then_some(Scores { score, tasks })
    }
}

/// What one unit of the metric adds to the score.
fn factor(term: &Term) -> f64 {
    if term.higher_is_better { term.weight } else { -term.weight.abs() }
}

/// The full name of a metric: `acc` alone stands for `acc,none`, as do all names without a filter.
/// When the task has no such metric, the only one of that name with another filter is taken.
pub fn find_metric(
    task: &str,
    asked: &str,
    available: &IndexMap<String, bool>,
) -> Result<(String, bool), SearchError> {
    let unfiltered = !asked.contains(',');
    let full = if unfiltered { format!("{asked},none") } else { asked.to_owned() };
    if let Some(&higher_is_better) = available.get(&full) {
        return Ok((full, higher_is_better));
    }
    let mut same_name = available.iter().filter(|(name, _)| name.split(',').next() == Some(asked));
    if let (true, Some((name, &higher_is_better)), None) =
        (unfiltered, same_name.next(), same_name.next())
    {
        return Ok((name.clone(), higher_is_better));
    }
    Err(SearchError::UnknownMetric {
        task: task.to_owned(),
        metric: asked.to_owned(),
        available: available.keys().cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(task: &str, weight: f64, higher_is_better: bool) -> Term {
        Term { task: task.to_owned(), metric: "m,none".to_owned(), weight, higher_is_better }
    }

    #[test]
    fn lower_is_better_counts_against_the_score_whatever_the_sign_of_its_weight() {
        let terms = |weight| vec![term("a", 2.0, true), term("b", weight, false)];
        for weight in [0.5, -0.5] {
            let objective = Objective::new(terms(weight)).unwrap();
            assert_eq!(objective.score([0.75, 3.0]), 0.0);
        }
    }

    #[test]
    fn a_score_that_is_not_finite_is_none() {
        let objective = Objective::new(vec![term("a", 1.0, true)]).unwrap();
        let tasks = |value| {
            let metrics = IndexMap::from([("m,none".to_owned(), value)]);
            IndexMap::from([("a".to_owned(), TaskResult { metrics, items: IndexMap::new() })])
        };
        assert_eq!(objective.scores(tasks(0.25)).unwrap().score, 0.25);
        assert_eq!(objective.scores(tasks(f64::NAN)), None);
        assert_eq!(objective.scores(tasks(f64::INFINITY)), None);
        assert_eq!(objective.scores(IndexMap::new()), None);
    }

    #[test]
    fn a_metric_without_filter_is_completed() {
        let metrics =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), true)).collect();
        let two = metrics(&["acc,none", "acc_norm,none"]);
        assert_eq!(find_metric("t", "acc", &two).unwrap().0, "acc,none");
        assert_eq!(find_metric("t", "acc_norm,none", &two).unwrap().0, "acc_norm,none");
        let filtered = metrics(&["exact_match,strict-match"]);
        let found = find_metric("t", "exact_match", &filtered).unwrap().0;
        assert_eq!(found, "exact_match,strict-match");
        let error = find_metric("t", "exact_match,none", &filtered).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `exact_match,strict-match`?");
        let error = find_metric("t", "exact_mach", &filtered).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `exact_match,strict-match`?");
        let error = find_metric("t", "acc_nrom,none", &two).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `acc_norm,none`?");
        let error = find_metric("t", "f1", &two).unwrap_err();
        let message = "task `t` has no metric `f1`; it has `acc,none`, `acc_norm,none`";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn no_task_and_a_task_twice_are_refused() {
        assert!(matches!(Objective::new(Vec::new()), Err(SearchError::NoTasks)));
        let twice = Objective::new(vec![term("a", 1.0, true), term("a", 2.0, true)]);
        assert!(matches!(twice, Err(SearchError::DuplicateTask { .. })));
    }

    #[test]
    fn a_task_may_count_with_two_metrics() {
        let other = Term { metric: "n,none".to_owned(), ..term("a", 1.0, true) };
        let objective = Objective::new(vec![term("a", 1.0, true), other, term("b", 1.0, true)]);
        let objective = objective.unwrap();
        let labels: Vec<_> = objective.terms().iter().map(|term| objective.label(term)).collect();
        assert_eq!(labels, ["a m,none", "a n,none", "b"]);
        assert_eq!(objective.tasks(), ["a", "b"]);
    }
}

//! The end of a search: which candidate won, and the table that says what the win is worth.
//!
//! The winner is the best candidate measured, not the optimizer's final mean: the mean has no score
//! of its own, and measuring it would be an evaluation beyond the budget.

use indexmap::IndexMap;

use super::bootstrap::{Aggregate, Bootstrap};
use super::evolution::best;
use super::objective::Objective;
use super::record::{Estimate, Evaluation, Reference, Role, Row, Scores};

/// The candidate with the best score on the search items; validation items have no say. Accuracies
/// are steps, so several candidates may share the best score: of these, the one nearest to the
/// optimizer's final mean wins, because the mean has averaged out more luck than any candidate.
pub(super) fn choose_winner<'a>(history: &'a [Evaluation], mean: &[f64]) -> Option<&'a Evaluation> {
    let score = best(history)?.score();
    let distance = |evaluation: &Evaluation| -> f64 {
        evaluation.genotype.iter().zip(mean).map(|(x, mean)| (x - mean).powi(2)).sum()
    };
    history
        .iter()
        .filter(|evaluation| evaluation.score() == score)
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The closing table, one row for each reference in the order given.
pub(super) fn table(
    references: &[Reference],
    objective: &Objective,
    aggregate: Aggregate<'_>,
    seed: u64,
) -> Vec<Row> {
    let search = |reference: &Reference| reference.search.clone();
    let validation = |reference: &Reference| reference.validation.clone();
    let (on_search, _) = estimates(references, &search, objective, aggregate, seed);
    let (on_validation, gains) = estimates(references, &validation, objective, aggregate, seed);
    let rows = references.iter().zip(on_search).zip(on_validation).zip(gains);
    rows.map(|(((reference, search), validation), gain)| Row {
        role: reference.role,
        name: reference.name.clone(),
        search,
        validation,
        gain,
        terms: terms(reference, objective),
        error: reference.error.clone(),
    })
    .collect()
}

/// Score and winner's lead over each reference, on one of the item sets.
fn estimates(
    references: &[Reference],
    scores: &dyn Fn(&Reference) -> Option<Scores>,
    objective: &Objective,
    aggregate: Aggregate<'_>,
    seed: u64,
) -> (Vec<Option<Estimate>>, Vec<Option<Estimate>>) {
    let measured: Vec<(usize, Scores)> = references
        .iter()
        .enumerate()
        .filter_map(|(position, reference)| Some((position, scores(reference)?)))
        .collect();
    let models: Vec<&Scores> = measured.iter().map(|(_, scores)| scores).collect();
    let bootstrap = Bootstrap::new(objective, &models, aggregate, seed);
    let winner =
        measured.iter().position(|(position, _)| references[*position].role == Role::Winner);
    let mut on_items = vec![None; references.len()];
    let mut gains = vec![None; references.len()];
    for (model, (position, _)) in measured.iter().enumerate() {
        on_items[*position] = Some(bootstrap.score(model));
        if let Some(winner) = winner.filter(|&winner| winner != model) {
            gains[*position] = Some(bootstrap.difference(winner, model));
        }
    }
    (on_items, gains)
}

fn terms(reference: &Reference, objective: &Objective) -> IndexMap<String, f64> {
    let scores = reference.validation.as_ref().or(reference.search.as_ref());
    // A winner that failed on the validation items has search scores, which would pass for others'.
    let Some(scores) = scores.filter(|_| reference.error.is_none()) else {
        return IndexMap::new();
    };
    let value = |term: &super::record::Term| {
        let metrics = scores.tasks.get(&term.task).map(|task| &task.metrics);
        metrics.and_then(|metrics| metrics.get(&term.metric)).copied().unwrap_or(f64::NAN)
    };
    objective.terms().iter().map(|term| (objective.label(term), value(term))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn of_equally_good_candidates_the_one_nearest_to_the_mean_wins() {
        let mut history: Vec<_> = (0..4).map(testing::evaluation).collect();
        assert_eq!(choose_winner(&history, &[2.2, 0.3]).unwrap().index, 2);
        history[0].scores.as_mut().unwrap().score += 0.125;
        assert_eq!(choose_winner(&history, &[2.2, 0.3]).unwrap().index, 0);
        assert_eq!(choose_winner(&[], &[0.0, 0.0]), None);
    }
}

//! The closing table: what won, against what, and whether the gain is real.

use std::fmt::Write;
use std::time::Duration;

use super::columns::{self, Align};
use super::{count, duration_words, short_names};
use crate::search::{Ending, Estimate, Finish, Results, Role, Row, Status};

/// The end of a search for people: the table, what it says in words, and how the search went. Empty
/// while the search is not finished.
pub fn closing_text(results: &Results) -> String {
    let Some(finish) = &results.finish else { return String::new() };
    let validated = finish.table.iter().any(|row| row.validation.is_some());
    let mut text = String::new();
    write_items(&mut text, results);
    text.push('\n');
    text.push_str(&render(&scores(&finish.table, validated)));
    let terms = terms(&finish.table);
    if terms.first().is_some_and(|header| header.len() > 2) {
        let set = if validated { "validation" } else { "search" };
        let _ = writeln!(text, "\nBy task, on {set} items:\n");
        text.push_str(&render(&terms));
    }
    text.push('\n');
    for row in finish.table.iter().filter(|row| row.error.is_some()) {
        let error = row.error.as_deref().unwrap_or_default();
        let _ = writeln!(text, "`{}` could not be scored: {error}.", row.name);
    }
    if let Some(verdict) = verdict(results, &finish.table) {
        let _ = writeln!(text, "{verdict}");
    }
    let _ = writeln!(text, "{}", course(results, finish));
    text
}

/// How many items the numbers rest on.
fn write_items(text: &mut String, results: &Results) {
    let tasks = &results.header.split.tasks;
    let search: usize = tasks.values().map(|task| task.search).sum();
    let validation: usize = tasks.values().map(|task| task.validation).sum();
    let search = count(search, "search item");
    let _ = write!(text, "Scores with 95 % intervals on {search}");
    if validation > 0 {
        let validation = count(validation, "validation item");
        let _ = write!(text, " and {validation} the search never saw");
    }
    text.push_str(".\n");
}

fn scores(table: &[Row], validated: bool) -> Vec<Vec<String>> {
    let mut lines = vec![vec!["model".to_owned(), "search".to_owned()]];
    if validated {
        lines[0].extend(["validation".to_owned(), "lead of the evolved merge".to_owned()]);
    }
    for (row, name) in table.iter().zip(short_names(table)) {
        let mut line = vec![name, words(row.search, "")];
        if validated {
            line.push(words(row.validation, ""));
            line.push(if row.role == Role::Winner { String::new() } else { words(row.gain, "+") });
        }
        lines.push(line);
    }
    lines
}

/// `0.512 [0.470, 0.554]`, with a sign where asked.
fn words(estimate: Option<Estimate>, sign: &str) -> String {
    let Some(Estimate { value, low, high }) = estimate else { return "failed".to_owned() };
    if sign == "+" {
        format!("{value:+.3} [{low:+.3}, {high:+.3}]")
    } else {
        format!("{value:.3} [{low:.3}, {high:.3}]")
    }
}

fn terms(table: &[Row]) -> Vec<Vec<String>> {
    let Some(longest) = table.iter().map(|row| &row.terms).max_by_key(|terms| terms.len()) else {
        return Vec::new();
    };
    let mut lines = vec![vec!["model".to_owned()]];
    lines[0].extend(longest.keys().cloned());
    for (row, name) in table.iter().zip(short_names(table)) {
        let value = |label: &String| row.terms.get(label).map(|value| format!("{value:.3}"));
        let mut line = vec![name];
        line.extend(longest.keys().map(|label| value(label).unwrap_or("failed".to_owned())));
        lines.push(line);
    }
    lines
}

/// Columns aligned: the first to the left, numbers to the right.
fn render(lines: &[Vec<String>]) -> String {
    columns::table(lines, &[Align::Left, Align::Right])
}

/// Fewest validation items of a task on which a verdict can rest. The bootstrap knows no other items
/// than those it has, so its intervals are too narrow where there are few.
const FEWEST_ITEMS: usize = 10;

/// Whether the validation items establish the gain. The interval of each comparison is taken as it
/// is: there are few of them. A rival that is better beyond the interval decides, the best of them is
/// named; without one, the rival that may be nearest.
fn verdict(results: &Results, table: &[Row]) -> Option<String> {
    let winner = table.iter().find(|row| row.role == Role::Winner)?;
    let names = short_names(table);
    let rivals: Vec<(&Row, &String, Estimate)> =
        table.iter().zip(&names).filter_map(|(row, name)| Some((row, name, row.gain?))).collect();
    let better = rivals.iter().filter(|(.., gain)| gain.high < 0.0);
    let (rival, name, gain) = better
        .min_by(|(.., a), (.., b)| a.value.total_cmp(&b.value))
        .or_else(|| rivals.iter().min_by(|(.., a), (.., b)| a.low.total_cmp(&b.low)))?;
    let name = match rival.role {
        Role::UniformAverage => "the uniform average".to_owned(),
        _ => format!("`{name}`"),
    };
    let lead = words(Some(*gain), "+");
    let few = results.header.split.tasks.values().any(|task| task.validation < FEWEST_ITEMS);
    let decides = gain.low > 0.0 || gain.high < 0.0;
    let sentence = if decides && (few || gain.low == gain.high) {
        let comparison = if gain.value > 0.0 { "better" } else { "worse" };
        format!(
            "There are too few validation items to tell whether the evolved merge is {comparison} than \
             {name} ({lead})."
        )
    } else if gain.low > 0.0 {
        format!(
            "The gain is established: on validation items the evolved merge beats every other row, \
             {name} by the least ({lead})."
        )
    } else if gain.high < 0.0 {
        format!("The evolved merge is worse than {name} on validation items ({lead}).")
    } else if gain.value > 0.0 {
        format!(
            "The gain is not established: on validation items the lead over {name} may be chance \
             ({lead})."
        )
    } else {
        format!(
            "The gain is not established: on validation items the evolved merge is not ahead of \
             {name} ({lead})."
        )
    };
    let optimism = winner.search?.value - winner.validation?.value;
    Some(format!(
        "{sentence}\nThe evolved merge scores {:.3} {} on search items than on validation items.",
        optimism.abs(),
        if optimism < 0.0 { "lower" } else { "higher" },
    ))
}

/// How the search went, in one sentence.
fn course(results: &Results, finish: &Finish) -> String {
    let number_of = |status: Status| results.history.iter().filter(|e| e.status == status).count();
    let repeated = results.history.iter().filter(|e| e.same_as.is_some()).count();
    let mut remarks = Vec::new();
    for (number, what) in [
        (number_of(Status::Infeasible), "infeasible"),
        (number_of(Status::Lost), "lost"),
        (repeated, "equal to an earlier one"),
    ] {
        if number > 0 {
            remarks.push(format!("{number} {what}"));
        }
    }
    let remarks =
        if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) };
    format!(
        "{}{remarks} in {}; {}. The winner is evaluation {}.",
        count(results.history.len(), "evaluation"),
        duration_words(Duration::from_secs_f64(finish.elapsed_seconds.max(0.0))),
        reason(&finish.ending),
        finish.winner,
    )
}

/// Why the search ended.
fn reason(ending: &Ending) -> String {
    match ending {
        Ending::Evaluations => "the budget of evaluations is spent".to_owned(),
        Ending::WallClock => "the time is up".to_owned(),
        Ending::Target => "the target is reached".to_owned(),
        Ending::Interrupted => "it was interrupted".to_owned(),
        Ending::Optimizer(reasons) => {
            let reasons: Vec<_> = reasons.iter().map(|reason| reason.words()).collect();
            format!("the optimizer sees no sense in going on: {}", reasons.join(", "))
        }
    }
}

#[cfg(test)]
pub(super) mod samples {
    use indexmap::IndexMap;

    use super::*;
    use crate::search::{
        Evaluation, FORMAT, Header, Reference, Scores, SplitIdentity, TaskIdentity, TaskResult,
    };

    fn task_scores(score: f64) -> Scores {
        let result = |value| TaskResult {
            metrics: IndexMap::from([("acc,none".to_owned(), value)]),
            items: IndexMap::new(),
        };
        let tasks = IndexMap::from([
            ("adding".to_owned(), result(score / 2.0 + 0.1)),
            ("sorting".to_owned(), result(score / 2.0 - 0.1)),
        ]);
        Scores { score, tasks }
    }

    fn reference(role: Role, name: &str, score: f64) -> Reference {
        Reference {
            role,
            name: name.to_owned(),
            config: String::new(),
            evaluation: None,
            status: Status::Ok,
            search: Some(task_scores(score)),
            validation: Some(task_scores(score - 0.02)),
            error: None,
            merge_seconds: 0.1,
            evaluation_seconds: 0.4,
            elapsed_seconds: 0.5,
        }
    }

    fn row(reference: &Reference, best: f64) -> Row {
        let around = |value: f64| Estimate { value, low: value - 0.05, high: value + 0.05 };
        let scores = reference.validation.as_ref().unwrap();
        let terms = scores.tasks.iter().map(|(task, result)| (task.clone(), result.metrics[0]));
        Row {
            role: reference.role,
            name: reference.name.clone(),
            search: reference.search.as_ref().map(|scores| around(scores.score)),
            validation: Some(around(scores.score)),
            gain: (reference.role != Role::Winner).then(|| around(best - scores.score)),
            terms: terms.collect(),
            error: None,
        }
    }

    /// A search of 60 evaluations that converges.
    pub(crate) fn results() -> Results {
        let history: Vec<Evaluation> = (0..60u64)
            .map(|index| {
                let noise = ((index * 7919) % 101) as f64 / 101.0 - 0.5;
                let score = 1.3 - 0.7 * (-(index as f64) / 20.0).exp() + 0.25 * noise;
                Evaluation {
                    index,
                    generation: index / 6,
                    genotype: vec![0.5, noise],
                    values: vec![0.1 + 0.2, noise],
                    config: index.to_string(),
                    status: Status::Ok,
                    scores: Some(task_scores(score)),
                    error: None,
                    same_as: None,
                    merge_seconds: 0.01,
                    evaluation_seconds: 0.5,
                    elapsed_seconds: 0.6 * (index + 1) as f64,
                }
            })
            .collect();
        let references = vec![
            reference(Role::Parent, "examples/demo/base", 0.31),
            reference(Role::Parent, "examples/demo/adder", 0.82),
            reference(Role::Parent, "examples/demo/sorter", 0.79),
            reference(Role::UniformAverage, "uniform average", 0.95),
            reference(Role::Winner, "evolved merge", 1.38),
        ];
        let identity = TaskIdentity { search: 100, validation: 100, digest: String::new() };
        let header = Header {
            format: FORMAT,
            program: "mergekit 0.0.0".to_owned(),
            search_file: String::new(),
            seed: 0,
            evaluations: 60,
            variables: ["models.adder.weight", "models.sorter.weight"].map(str::to_owned).into(),
            objective: Vec::new(),
            split: SplitIdentity {
                seed: 1,
                fraction: 0.5,
                tasks: IndexMap::from([
                    ("adding".to_owned(), identity.clone()),
                    ("sorting".to_owned(), identity),
                ]),
            },
            models: IndexMap::new(),
        };
        let finish = Finish {
            ending: Ending::Evaluations,
            winner: 57,
            table: references.iter().map(|reference| row(reference, 1.36)).collect(),
            elapsed_seconds: 95.0,
        };
        Results { header, references, history, finish: Some(finish) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_text_is_aligned_and_says_what_the_numbers_mean() {
        insta::assert_snapshot!(closing_text(&samples::results()), @r"
        Scores with 95 % intervals on 200 search items and 200 validation items the search never saw.

          model                           search             validation   lead of the evolved merge
          -----------------------------------------------------------------------------------------
          base              0.310 [0.260, 0.360]   0.290 [0.240, 0.340]     +1.070 [+1.020, +1.120]
          adder             0.820 [0.770, 0.870]   0.800 [0.750, 0.850]     +0.560 [+0.510, +0.610]
          sorter            0.790 [0.740, 0.840]   0.770 [0.720, 0.820]     +0.590 [+0.540, +0.640]
          uniform average   0.950 [0.900, 1.000]   0.930 [0.880, 0.980]     +0.430 [+0.380, +0.480]
          evolved merge     1.380 [1.330, 1.430]   1.360 [1.310, 1.410]

        By task, on validation items:

          model             adding   sorting
          ----------------------------------
          base               0.245     0.045
          adder              0.500     0.300
          sorter             0.485     0.285
          uniform average    0.565     0.365
          evolved merge      0.780     0.580

        The gain is established: on validation items the evolved merge beats every other row, the uniform average by the least (+0.430 [+0.380, +0.480]).
        The evolved merge scores 0.020 higher on search items than on validation items.
        60 evaluations in 1 min 35 s; the budget of evaluations is spent. The winner is evaluation 57.
        ");
    }

    #[test]
    fn a_gain_that_may_be_chance_is_called_that() {
        let mut results = samples::results();
        let table = &mut results.finish.as_mut().unwrap().table;
        table[3].gain = Some(Estimate { value: 0.02, low: -0.01, high: 0.05 });
        let text = closing_text(&results);
        let words = "The gain is not established: on validation items the lead over the uniform \
                     average may be chance (+0.020 [-0.010, +0.050]).";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn the_rival_that_is_certainly_better_decides() {
        let mut results = samples::results();
        let table = &mut results.finish.as_mut().unwrap().table;
        table[0].gain = Some(Estimate { value: 0.0, low: -0.5, high: 0.5 });
        table[1].gain = Some(Estimate { value: -0.1, low: -0.2, high: -0.05 });
        let text = closing_text(&results);
        let words = "The evolved merge is worse than `adder` on validation items (-0.100 [-0.200, \
                     -0.050]).";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn few_items_decide_nothing() {
        let undecided = |results: &Results, gain: &str| {
            let text = closing_text(results);
            let words = format!("There are too few validation items to tell whether {gain}");
            assert!(text.contains(&words), "{text}");
        };
        let mut few = samples::results();
        few.header.split.tasks[1].validation = 9;
        undecided(&few, "the evolved merge is better than the uniform average (+0.430");
        let mut constant = samples::results();
        let table = &mut constant.finish.as_mut().unwrap().table;
        table[2].gain = Some(Estimate { value: -1.0, low: -1.0, high: -1.0 });
        undecided(&constant, "the evolved merge is worse than `sorter` (-1.000");
    }

    #[test]
    fn one_thing_is_not_several() {
        let mut results = samples::results();
        results.history.truncate(1);
        results.header.split.tasks.truncate(1);
        results.header.split.tasks[0].search = 1;
        let reasons = vec![crate::optimize::Reason::EqualFun];
        results.finish.as_mut().unwrap().ending = Ending::Optimizer(reasons);
        let text = closing_text(&results);
        assert!(text.contains("on 1 search item and 100 validation items the"), "{text}");
        let words = "1 evaluation in 1 min 35 s; the optimizer sees no sense in going on: too many \
                     candidates have equal scores. The winner";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn failures_and_repetitions_are_counted() {
        let mut results = samples::results();
        results.history[3].status = Status::Infeasible;
        results.history[4].same_as = Some(3);
        let finish = results.finish.as_mut().unwrap();
        finish.ending = Ending::WallClock;
        finish.table[0] = Row {
            search: None,
            validation: None,
            gain: None,
            terms: indexmap::IndexMap::new(),
            error: Some("a tensor holds NaN".to_owned()),
            ..finish.table[0].clone()
        };
        let text = closing_text(&results);
        assert!(text.contains("`examples/demo/base` could not be scored: a tensor holds NaN."));
        assert!(text.contains("60 evaluations (1 infeasible, 1 equal to an earlier one) in 1 min"));
        assert!(text.contains("the time is up"), "{text}");
    }

    #[test]
    fn an_unfinished_search_has_no_closing_text() {
        let results = Results { finish: None, ..samples::results() };
        assert_eq!(closing_text(&results), "");
    }
}

//! `history.csv`: one row for each evaluation, in the order of their index.
//!
//! Columns: `index`, `generation`, `status` (`ok`, `infeasible`, `lost`), `score`, every metric as
//! `TASK/METRIC`, every variable by its name, `merge_seconds`, `evaluation_seconds`,
//! `elapsed_seconds`, `same_as`, `error`. Numbers have as many digits as it takes to read the same
//! number back. What there is not is empty.

use indexmap::{IndexMap, IndexSet};

use crate::search::{Evaluation, Results};

/// The history of a search as CSV.
pub fn history_csv(results: &Results) -> String {
    let metrics = metrics(&results.history);
    let mut rows = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> =
        ["index", "generation", "status", "score"].map(str::to_owned).into();
    for (task, metrics) in &metrics {
        header.extend(metrics.iter().map(|metric| format!("{task}/{metric}")));
    }
    header.extend(results.header.variables.iter().cloned());
    let last = ["merge_seconds", "evaluation_seconds", "elapsed_seconds", "same_as", "error"];
    header.extend(last.map(str::to_owned));
    rows.write_record(&header).expect(IN_MEMORY);
    for evaluation in &results.history {
        rows.write_record(row(evaluation, &metrics, results.header.variables.len()))
            .expect(IN_MEMORY);
    }
    let bytes = rows.into_inner().expect(IN_MEMORY);
    String::from_utf8(bytes).expect("all fields are text")
}

/// Why writing cannot fail: the sink is a vector, and all rows have a field for each column.
const IN_MEMORY: &str = "rows of equal length are written to memory";

/// All metrics that any evaluation reports, by task.
fn metrics(history: &[Evaluation]) -> IndexMap<&str, IndexSet<&str>> {
    let mut metrics: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for scores in history.iter().filter_map(|evaluation| evaluation.scores.as_ref()) {
        for (task, result) in &scores.tasks {
            let names = result.metrics.keys().map(String::as_str);
            metrics.entry(task).or_default().extend(names);
        }
    }
    metrics
}

fn row(
    evaluation: &Evaluation,
    metrics: &IndexMap<&str, IndexSet<&str>>,
    n_variables: usize,
) -> Vec<String> {
    let number = |value: Option<f64>| {
        value.filter(|value| value.is_finite()).map(|value| value.to_string()).unwrap_or_default()
    };
    let mut row = vec![
        evaluation.index.to_string(),
        evaluation.generation.to_string(),
        evaluation.status.name().to_owned(),
        number(evaluation.score()),
    ];
    for (task, names) in metrics {
        let result = evaluation.scores.as_ref().and_then(|scores| scores.tasks.get(*task));
        let value = |name: &&str| result.and_then(|result| result.metrics.get(*name)).copied();
        row.extend(names.iter().map(|name| number(value(name))));
    }
    row.extend((0..n_variables).map(|variable| number(evaluation.values.get(variable).copied())));
    row.extend([
        format!("{:.3}", evaluation.merge_seconds),
        format!("{:.3}", evaluation.evaluation_seconds),
        format!("{:.3}", evaluation.elapsed_seconds),
        evaluation.same_as.map(|index| index.to_string()).unwrap_or_default(),
        evaluation.error.clone().unwrap_or_default(),
    ]);
    row
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;
    use crate::search::Status;

    #[test]
    fn a_row_has_every_number_and_reads_back() {
        let mut results = samples::results();
        results.history[1].status = Status::Infeasible;
        results.history[1].scores = None;
        results.history[1].error = Some("a tensor, \"x\",\nholds NaN".to_owned());
        let text = history_csv(&results);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(
            header,
            [
                "index",
                "generation",
                "status",
                "score",
                "adding/acc,none",
                "sorting/acc,none",
                "models.adder.weight",
                "models.sorter.weight",
                "merge_seconds",
                "evaluation_seconds",
                "elapsed_seconds",
                "same_as",
                "error",
            ]
        );
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), results.history.len());
        assert_eq!(rows[0][6].parse::<f64>().unwrap(), results.history[0].values[0]);
        assert_eq!((&rows[1][2], &rows[1][3], &rows[1][4]), ("infeasible", "", ""));
        assert_eq!(&rows[1][12], "a tensor, \"x\",\nholds NaN");
    }
}

//! Scores of a model on tasks: a table, and the object that the harness writes as `results.json`.

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::columns::{Align, Columns};
use crate::evaluate::{
    Evaluator, Figure, GroupFigures, Selection, TaskFigures, TaskGroup, TaskScores,
};

/// Columns of the table.
const HEADINGS: [(&str, Align); 8] = [
    ("task", Align::Left),
    ("n", Align::Right),
    ("shots", Align::Right),
    ("filter", Align::Left),
    ("metric", Align::Left),
    ("", Align::Left),
    ("value", Align::Point),
    ("", Align::Point),
];

/// Digits behind the point in the table, as in the harness.
const DIGITS: usize = 4;

/// What the harness writes where there is nothing to say.
const NOTHING: &str = "N/A";

/// A task that a model was scored on.
pub struct ScoredTask {
    /// The task.
    pub task: Box<dyn Evaluator>,
    /// Values of all its items.
    pub scores: TaskScores,
    /// Requests to the model.
    pub requests: usize,
    /// Requests whose prompt lost its beginning, because it was longer than the model's context.
    pub cut_requests: usize,
}

/// A model's figures on tasks and on the groups that they are in.
pub struct Scores {
    /// Every task, in order.
    pub tasks: Vec<ScoredTask>,
    selection: Selection,
    task_figures: IndexMap<String, TaskFigures>,
    group_figures: IndexMap<String, GroupFigures>,
}

impl Scores {
    /// The figures of tasks that `selection` has selected; metrics that are not means are drawn again
    /// `bootstrap_iterations` times for their errors.
    pub fn new(
        selection: Selection,
        tasks: Vec<ScoredTask>,
        bootstrap_iterations: usize,
    ) -> Scores {
        let figures = |task: &ScoredTask| {
            let figures = task.task.figures(&task.scores, bootstrap_iterations);
            (task.task.name().to_owned(), figures)
        };
        let task_figures: IndexMap<_, _> = tasks.iter().map(figures).collect();
        let group_figures = selection.group_figures(&task_figures);
        Scores { tasks, selection, task_figures, group_figures }
    }

    fn task(&self, name: &str) -> Option<&ScoredTask> {
        self.tasks.iter().find(|task| task.task.name() == name)
    }

    fn group(&self, name: &str) -> Option<&TaskGroup> {
        self.selection.groups.iter().find(|group| group.name == name)
    }

    /// Whether higher is better, by metric, where the tasks agree.
    fn directions(&self, name: &str) -> IndexMap<String, Option<bool>> {
        let mut directions: IndexMap<String, Option<bool>> = IndexMap::new();
        if let Some(task) = self.task(name) {
            for (key, higher) in task.task.metrics() {
                let metric = key.split_once(',').map_or(key.as_str(), |(metric, _)| metric);
                directions.insert(metric.to_owned(), Some(higher));
            }
        }
        for member in self.group(name).into_iter().flat_map(|group| &group.tasks) {
            for (metric, higher) in self.directions(member) {
                let known = directions.entry(metric).or_insert(higher);
                if *known != higher {
                    *known = None;
                }
            }
        }
        directions
    }

    /// Number of examples, where all tasks of a group have as many.
    fn shots(&self, name: &str) -> Option<usize> {
        if let Some(task) = self.task(name) {
            return Some(task.task.info().num_fewshot);
        }
        let members = self.group(name)?.members.iter();
        let shots: IndexSet<Option<usize>> = members.map(|member| self.shots(member)).collect();
        match shots.len() {
            1 => *shots.first()?,
            _ => None,
        }
    }
}

/// The table of all scores; tasks stand below their groups.
pub fn scores_text(scores: &Scores) -> String {
    let mut table = Columns::new(&HEADINGS);
    let groups = &scores.selection.groups;
    let members: IndexSet<&String> = groups.iter().flat_map(|group| &group.members).collect();
    let mut shown = IndexSet::new();
    for group in groups.iter().filter(|group| !members.contains(&group.name)) {
        add_group(&mut table, scores, group, 0, &mut shown);
    }
    for task in &scores.tasks {
        if !shown.contains(task.task.name()) {
            add_task(&mut table, scores, task, 0);
        }
    }
    table.render()
}

fn add_group<'a>(
    table: &mut Columns,
    scores: &'a Scores,
    group: &'a TaskGroup,
    depth: usize,
    shown: &mut IndexSet<&'a str>,
) {
    let figures = scores.group_figures.get(&group.name);
    let lines = figures.into_iter().flat_map(|group| {
        group.figures.iter().map(|(key, figure)| (key, figure.figure, Some(figure.n_items)))
    });
    add_lines(table, scores, (&group.name, &group.alias), depth, None, lines);
    for member in &group.members {
        if let Some(inner) = scores.group(member) {
            add_group(table, scores, inner, depth + 1, shown);
        } else if let Some(task) = scores.task(member)
            && shown.insert(task.task.name())
        {
            add_task(table, scores, task, depth + 1);
        }
    }
}

fn add_task(table: &mut Columns, scores: &Scores, task: &ScoredTask, depth: usize) {
    let name = task.task.name();
    let Some(figures) = scores.task_figures.get(name) else { return };
    let lines = figures.figures.iter().map(|(key, figure)| (key, *figure, None));
    let info = task.task.info();
    let label = (name, info.alias.as_str());
    add_lines(table, scores, label, depth, Some(figures.n_items), lines);
}

/// A line for each figure, with its own number of items where it has one; one without figures for a
/// group that has none.
fn add_lines<'a>(
    table: &mut Columns,
    scores: &Scores,
    (name, alias): (&str, &str),
    depth: usize,
    n_items: Option<usize>,
    figures: impl Iterator<Item = (&'a String, Figure, Option<usize>)>,
) {
    let label = match depth {
        0 => alias.to_owned(),
        _ => format!("{:depth$}- {alias}", ""),
    };
    let shots = scores.shots(name).map(|shots| shots.to_string()).unwrap_or_default();
    let directions = scores.directions(name);
    let mut first = Some((label, shots));
    for (key, Figure { value, standard_error }, own_n_items) in figures {
        let (metric, filter) = key.split_once(',').unwrap_or((key, ""));
        let is_first = first.is_some();
        let (label, shots) = first.take().unwrap_or_default();
        let n_items = own_n_items.or(n_items.filter(|_| is_first));
        let arrow = match directions.get(metric).copied().flatten() {
            Some(true) => "↑",
            Some(false) => "↓",
            None => "",
        };
        let error = standard_error.map(|error| format!("± {error:.DIGITS$}"));
        table.line([
            label,
            n_items.map(|n_items| n_items.to_string()).unwrap_or_default(),
            shots,
            filter.to_owned(),
            metric.to_owned(),
            arrow.to_owned(),
            format!("{value:.DIGITS$}"),
            error.unwrap_or_default(),
        ]);
    }
    if let Some((label, shots)) = first {
        table.line([label, String::new(), shots]);
    }
}

/// The object that the harness writes, without what it says of the run as a whole.
pub fn scores_json(scores: &Scores) -> Map<String, Value> {
    let Scores { tasks, selection, task_figures, group_figures } = scores;
    let by_task = |value: &dyn Fn(&ScoredTask) -> Value| -> Map<String, Value> {
        tasks.iter().map(|task| (task.task.name().to_owned(), value(task))).collect()
    };
    let mut results = by_task(&|task| {
        let figures = task_figures.get(task.task.name());
        let head = [
            ("name", json!(task.task.name())),
            ("alias", json!(task.task.info().alias)),
            ("sample_len", json!(task.task.n_items())),
        ];
        let figures = figures.into_iter().flat_map(|task| &task.figures);
        Value::Object(entry(head, figures.map(|(key, figure)| (key, *figure))))
    });
    let mut groups = Map::new();
    for (name, figures) in group_figures {
        let Some(group) = scores.group(name) else { continue };
        let result = group_result(group, figures);
        results.insert(name.clone(), result.clone());
        if group.has_figures() {
            groups.insert(name.clone(), result);
        }
    }
    let mut versions = by_task(&|task| task.task.info().version.clone());
    let mut shots = by_task(&|task| json!(task.task.info().num_fewshot));
    let mut directions = by_task(&|task| json!(scores.directions(task.task.name())));
    for group in &selection.groups {
        let version = match &group.version {
            Value::Null => NOTHING.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        versions.insert(group.name.clone(), json!(version));
        if let Some(of_group) = scores.shots(&group.name) {
            shots.insert(group.name.clone(), json!(of_group));
        }
        directions.insert(group.name.clone(), json!(scores.directions(&group.name)));
    }
    let members = selection.groups.iter().map(|group| (group.name.clone(), json!(group.members)));
    let n_samples = |task: &ScoredTask| json!({"original": task.task.info().n_documents, "effective": task.task.n_items()});
    let n_requests = |task: &ScoredTask| json!({"total": task.requests, "cut": task.cut_requests});

    let mut fields = Map::new();
    let mut add = |name: &str, map: Map<String, Value>| {
        fields.insert(name.to_owned(), Value::Object(map));
    };
    add("results", results);
    if !groups.is_empty() {
        add("groups", groups);
    }
    add("group_subtasks", members.collect());
    add("configs", by_task(&|task| Value::Object(task.task.info().config.clone())));
    add("versions", versions);
    add("n-shot", shots);
    add("higher_is_better", directions);
    add("n-samples", by_task(&n_samples));
    add("n-requests", by_task(&n_requests));
    fields
}

fn group_result(group: &TaskGroup, figures: &GroupFigures) -> Value {
    let head = [("alias", json!(group.alias)), ("name", json!(group.name))];
    if !group.has_figures() {
        return Value::Object(entry(head, std::iter::empty()));
    }
    let head = head.into_iter().chain([("sample_len", json!(figures.n_items))]);
    let mut result = entry(head, figures.figures.iter().map(|(key, figure)| (key, figure.figure)));
    let counts = figures.figures.iter().map(|(key, figure)| (key.clone(), json!(figure.n_items)));
    result.insert("sample_count".to_owned(), Value::Object(counts.collect()));
    Value::Object(result)
}

/// Fields of a task or a group, with its figures and their errors behind them.
fn entry<'a>(
    head: impl IntoIterator<Item = (&'static str, Value)>,
    figures: impl Iterator<Item = (&'a String, Figure)>,
) -> Map<String, Value> {
    let head = head.into_iter().map(|(name, value)| (name.to_owned(), value));
    let figures = figures.flat_map(|(key, Figure { value, standard_error })| {
        let (metric, filter) = key.split_once(',').unwrap_or((key, ""));
        let error = standard_error.map_or_else(|| json!(NOTHING), |error| json!(error));
        [(key.clone(), json!(value)), (format!("{metric}_stderr,{filter}"), error)]
    });
    head.chain(figures).collect()
}

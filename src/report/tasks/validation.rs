//! What is wrong with task files: problem by problem, and in numbers.

use std::collections::HashSet;
use std::fmt::Write;

use indexmap::{IndexMap, IndexSet};
use serde::Serialize;
use serde_json::{Value, json};

use crate::evaluate::{CheckedFile, FileContent, Problem, ProblemKind};
use crate::report::quantity::grouped;

/// A problem with the names, or else the files, of all that have it.
struct Shared<'f> {
    problem: &'f Problem,
    of: IndexSet<String>,
}

/// Every problem once, however many tasks include the file that it is in, the worst kinds first.
fn shared(checked: &[CheckedFile]) -> Vec<Shared<'_>> {
    let mut problems: IndexMap<_, Shared<'_>> = IndexMap::new();
    for file in checked {
        for problem in &file.problems {
            let key = (problem.kind, &problem.at, &problem.sentence);
            let entry = problems.entry((key.0, key.1.to_string(), key.2));
            let shared = entry.or_insert_with(|| Shared { problem, of: IndexSet::new() });
            let name = file.content.name().map(str::to_owned);
            shared.of.insert(name.unwrap_or_else(|| file.path.display().to_string()));
        }
    }
    let mut problems: Vec<Shared<'_>> = problems.into_values().collect();
    problems.sort_by_cached_key(|shared| (shared.problem.kind, shared.problem.position()));
    problems
}

/// All problems by kind, and how many files can be used.
pub fn validation_text(checked: &[CheckedFile], with_data: bool) -> String {
    let mut text = String::new();
    let problems = shared(checked);
    for kind in ProblemKind::ALL {
        let mut of_kind = problems.iter().filter(|shared| shared.problem.kind == kind).peekable();
        if of_kind.peek().is_none() || (kind == ProblemKind::NoData && !with_data) {
            continue;
        }
        let _ = writeln!(text, "{}:", heading(kind));
        // What helps against one helps against all that are alike.
        let mut hints = HashSet::new();
        for Shared { problem, of } in of_kind {
            let several = match of.len() {
                1 => String::new(),
                n => format!(" ({} tasks)", grouped(n as u64)),
            };
            let _ = writeln!(text, "  {}: {}{several}", problem.at, problem.sentence);
            if let Some(hint) = problem.hint.as_ref().filter(|hint| hints.insert(hint.as_str())) {
                let _ = writeln!(text, "    hint: {hint}");
            }
        }
        text.push('\n');
    }
    text + &summary(checked)
}

fn heading(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Broken => "Broken",
        ProblemKind::NeedsPython => "Needs Python",
        ProblemKind::Unsupported => "Not supported",
        ProblemKind::NoData => "Data that are not here",
        ProblemKind::Note => "Notes",
    }
}

/// Files of one sort by what keeps them from being used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Tally {
    total: usize,
    fine: usize,
    /// Those that need functions or classes in Python, whatever else is wrong with them.
    python: usize,
    broken: usize,
    unsupported: usize,
    /// How many of those that are fine have data that are not here.
    without_data: usize,
}

impl Tally {
    fn of(checked: &[CheckedFile], is_wanted: fn(&FileContent) -> bool) -> Tally {
        let mut tally = Tally::default();
        for file in checked.iter().filter(|file| is_wanted(&file.content)) {
            let has = |kind| file.problems.iter().any(|problem| problem.kind == kind);
            tally.total += 1;
            if has(ProblemKind::NeedsPython) {
                tally.python += 1;
            } else if has(ProblemKind::Broken) {
                tally.broken += 1;
            } else if has(ProblemKind::Unsupported) {
                tally.unsupported += 1;
            } else {
                tally.fine += 1;
                tally.without_data += usize::from(has(ProblemKind::NoData));
            }
        }
        tally
    }

    /// A line such as `3 tasks: 1 needs Python; of the other 2, 1 is fine (50.0 %), 1 is broken`.
    fn sentence(&self, thing: &str) -> String {
        let total = several(self.total, thing);
        let others = self.total - self.python;
        let python = match self.python {
            0 => return format!("{total}: {}", self.verdict(others)),
            1 => "1 needs Python".to_owned(),
            n => format!("{} need Python", number(n)),
        };
        match others {
            0 => format!("{total}: {python}"),
            1 => format!("{total}: {python}; of the other one, {}", self.verdict(1)),
            n => format!("{total}: {python}; of the other {}, {}", number(n), self.verdict(n)),
        }
    }

    /// How those are that need no Python.
    fn verdict(&self, others: usize) -> String {
        if self.fine == others && others > 1 {
            return "all are fine".to_owned();
        }
        let are = |n: usize| format!("{} {}", number(n), if n == 1 { "is" } else { "are" });
        let mut parts = vec![format!("{} fine", are(self.fine))];
        if others > 1 {
            // Rounded down: short of all of them is never 100 %.
            let share = (1000.0 * self.fine as f64 / others as f64).floor() / 10.0;
            parts[0].push_str(&format!(" ({share:.1} %)"));
        }
        for (n, what) in [(self.broken, "broken"), (self.unsupported, "not supported")] {
            if n > 0 {
                parts.push(format!("{} {what}", are(n)));
            }
        }
        parts.join(", ")
    }
}

fn is_task(content: &FileContent) -> bool {
    matches!(content, FileContent::Task(_) | FileContent::Class(_))
}

fn is_group(content: &FileContent) -> bool {
    matches!(content, FileContent::Group(_))
}

fn is_template(content: &FileContent) -> bool {
    matches!(content, FileContent::Nothing)
}

fn is_unreadable(content: &FileContent) -> bool {
    matches!(content, FileContent::Unreadable)
}

fn number(number: usize) -> String {
    grouped(number as u64)
}

fn several(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", number(n), if n == 1 { "" } else { "s" })
}

/// How many files can be used, in sentences.
fn summary(checked: &[CheckedFile]) -> String {
    let mut text = String::new();
    let tasks = Tally::of(checked, is_task);
    for (tally, thing) in [(tasks, "task"), (Tally::of(checked, is_group), "group")] {
        if tally.total > 0 {
            let _ = writeln!(text, "{}", tally.sentence(thing));
        }
    }
    let unreadable = Tally::of(checked, is_unreadable).total;
    if unreadable > 0 {
        let _ = writeln!(text, "{} cannot be read", several(unreadable, "file"));
    }
    let templates = Tally::of(checked, is_template);
    if templates.fine > 0 {
        let _ = writeln!(text, "{} there to be included only", are(templates.fine, "file"));
    }
    if tasks.without_data > 0 {
        let verb = if tasks.without_data == 1 { "has" } else { "have" };
        let n = number(tasks.without_data);
        let _ = writeln!(text, "of the tasks that are fine, {n} {verb} no data on this machine");
    }
    text
}

fn are(n: usize, thing: &str) -> String {
    format!("{} {}", several(n, thing), if n == 1 { "is" } else { "are" })
}

/// Files, problems and numbers as JSON.
pub fn validation_json(checked: &[CheckedFile]) -> Value {
    let files: Vec<Value> = checked.iter().map(file_json).collect();
    let problems: Vec<Value> = shared(checked).iter().map(problem_json).collect();
    json!({
        "counts": {
            "tasks": Tally::of(checked, is_task),
            "groups": Tally::of(checked, is_group),
            "templates": Tally::of(checked, is_template),
            "unreadable": Tally::of(checked, is_unreadable).total,
        },
        "problems": problems,
        "files": files,
    })
}

fn file_json(file: &CheckedFile) -> Value {
    let content = match file.content {
        FileContent::Task(_) => "task",
        FileContent::Group(_) => "group",
        FileContent::Class(_) => "class",
        FileContent::Nothing => "template",
        FileContent::Unreadable => "unreadable",
    };
    json!({
        "file": file.path,
        "content": content,
        "name": file.content.name(),
        "can_be_used": file.can_be_used(),
        "problems": file.problems.len(),
    })
}

fn problem_json(shared: &Shared<'_>) -> Value {
    let Problem { kind, at, sentence, hint, function } = shared.problem;
    json!({
        "kind": kind.name(),
        "file": at.file,
        "line": at.line,
        "column": at.column,
        "field": at.field,
        "message": sentence,
        "hint": hint,
        "function": function,
        "of": shared.of,
    })
}

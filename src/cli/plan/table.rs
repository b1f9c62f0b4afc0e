//! The whole of a plan on a page.

use std::fmt::Write;

use indicatif::DecimalBytes;

use super::View;
use super::words;
use crate::plan::{Action, Overview, ParameterOverview, TensorKind, Tensors};
use crate::report::{Align, Columns, count, shape_text};

/// Models without parameters of their own, in the column of models.
const SHARED: &str = "";

/// More files than this are not named one by one.
const MOST_FILES: usize = 3;

/// Characters of a list of parts of the model, so that lines fit into a hundred.
const LONGEST_PLACE: usize = 56;

/// The page.
pub(super) fn render(view: &View<'_>) -> String {
    let overview = Overview::new(view.plan);
    let mut text = heading(view);
    for part in [models(view), parameters(view, &overview), tensors(view, &overview), cost(view)] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    text
}

fn heading(view: &View<'_>) -> String {
    let file = &view.file.document.root().place().file;
    let file = file.as_ref().map_or(String::new(), |file| format!("{}: ", file.display()));
    let vocabulary = view.plan.tokenizer().map_or(String::new(), |tokenizer| {
        let tokens = count(tokenizer.file.vocabulary().len(), "token");
        format!("vocabulary: {tokens} in embeddings of {}\n", count(tokenizer.rows, "row"))
    });
    format!("{file}{}\n{vocabulary}", words::heading(view.plan))
}

fn models(view: &View<'_>) -> String {
    let mut table = Columns::new(&[
        ("model", Align::Left),
        ("role", Align::Left),
        ("architecture", Align::Left),
        ("tensors", Align::Right),
        ("parameters", Align::Right),
        ("size", Align::Right),
    ]);
    let base = view.plan.base().map(|base| base.id());
    for model in view.plan.models() {
        let infos = model.checkpoint.tensors();
        let elements: u64 = infos.values().map(|info| info.elements() as u64).sum();
        let bytes: u64 = infos.values().map(|info| info.bytes() as u64).sum();
        table.line([
            model.label(),
            if base == Some(model.id()) { "base" } else { "input" }.to_owned(),
            model.architecture.name().to_owned(),
            infos.len().to_string(),
            words::weights(elements),
            DecimalBytes(bytes).to_string(),
        ]);
    }
    table.render()
}

fn parameters(view: &View<'_>, overview: &Overview<'_>) -> String {
    let mut table = Columns::new(&[
        ("parameter", Align::Left),
        ("model", Align::Left),
        ("value", Align::Left),
        ("for", Align::Left),
    ]);
    let short = words::short_names(view.plan);
    let mut defaults: Vec<String> = Vec::new();
    let mut rest = overview.parameters.as_slice();
    let mut is_empty = true;
    while let Some(first) = rest.first() {
        let n = rest.iter().take_while(|other| other.name == first.name).count();
        let (same, behind) = rest.split_at(n);
        rest = behind;
        let agree = same.iter().all(|other| other.courses == first.courses);
        if same.iter().all(|one| one.is_default) && agree {
            let courses = first.courses.iter().map(|(course, _)| words::course(course));
            defaults.push(format!("{} {}", first.name, courses.collect::<Vec<_>>().join(", ")));
            continue;
        }
        is_empty = false;
        let mut name = first.name;
        for one in if agree { &same[..1] } else { same } {
            let model = match &one.model {
                Some(_) if agree && n > 1 => "all".into(),
                Some(model) => short.of(model),
                None => SHARED.into(),
            };
            lines(&mut table, one, name, &model);
            name = "";
        }
    }
    let mut text = if is_empty { String::new() } else { table.render() };
    if !defaults.is_empty() {
        let _ = writeln!(text, "  by default: {}", defaults.join(", "));
    }
    text
}

fn lines(table: &mut Columns, parameter: &ParameterOverview, name: &str, model: &str) {
    let (mut name, mut model) = (name, model.to_owned());
    for (course, tensors) in &parameter.courses {
        let place = match tensors {
            Tensors::All => String::new(),
            Tensors::Of(parts) => listed(parts),
            Tensors::Rest => "the rest".to_owned(),
        };
        table.line([name.to_owned(), model, words::course(course), place]);
        (name, model) = ("", String::new());
    }
}

/// As many of `parts` as fit on a line, at least one, and the number of the others.
fn listed(parts: &[String]) -> String {
    let lengths = parts.iter().scan(0, |total, part| {
        *total += part.chars().count() + 2;
        Some(*total)
    });
    let n_shown = lengths.take_while(|&total| total <= LONGEST_PLACE).count().max(1);
    match parts.len().saturating_sub(n_shown) {
        0 => parts.join(", "),
        n => format!("{} and {n} more", parts[..n_shown].join(", ")),
    }
}

fn tensors(view: &View<'_>, overview: &Overview<'_>) -> String {
    let mut table = Columns::new(&[
        ("tensor", Align::Left),
        ("layers", Align::Left),
        ("count", Align::Right),
        ("shape", Align::Left),
        ("type", Align::Left),
        ("parameters", Align::Right),
        ("method", Align::Left),
    ]);
    let mut dtypes = std::collections::BTreeSet::new();
    for kind in &overview.kinds {
        let first = kind.tensors[0];
        dtypes.insert(first.info.dtype.to_string());
        table.line([
            kind.name.clone(),
            kind.layer_numbers(),
            kind.tensors.len().to_string(),
            shape_text(&first.info.shape),
            first.info.dtype.to_string(),
            words::weights(kind.elements()),
            method(view, kind),
        ]);
    }
    let elements: u64 = overview.kinds.iter().map(TensorKind::elements).sum();
    table.line([
        "together".to_owned(),
        String::new(),
        view.plan.tensors().len().to_string(),
        String::new(),
        dtypes.into_iter().collect::<Vec<_>>().join(", "),
        words::weights(elements),
    ]);
    table.render()
}

/// The method, or where a copy comes from when that is one model.
fn method(view: &View<'_>, kind: &TensorKind<'_>) -> String {
    let first = kind.tensors[0];
    let Action::Copy { from, .. } = &first.action else {
        return words::method(view.plan, first).to_owned();
    };
    let is_same = |tensor: &&crate::plan::PlannedTensor| match &tensor.action {
        Action::Copy { from: other, .. } => other.model.id() == from.model.id(),
        Action::Merge { .. } => false,
    };
    match kind.tensors.iter().all(is_same) {
        true => format!("copy of {}", words::short_names(view.plan).of(&from.model.label())),
        false => "copy".to_owned(),
    }
}

fn cost(view: &View<'_>) -> String {
    let estimate = &view.estimate;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  read    {}{}",
        DecimalBytes(estimate.bytes_read),
        passes(view).map(|passes| format!(": {passes}")).unwrap_or_default()
    );
    let _ =
        writeln!(text, "  write   {} in {}", DecimalBytes(view.layout.file_bytes()), files(view));
    let _ = writeln!(
        text,
        "  memory  at most {} on {}, beside the system's cache of files",
        DecimalBytes(estimate.peak_memory),
        count(estimate.threads, "thread"),
    );
    text
}

/// How often inputs are read.
fn passes(view: &View<'_>) -> Option<String> {
    let passes = view.plan.tensors().iter().map(|tensor| match &tensor.action {
        Action::Copy { .. } => 0,
        Action::Merge { method, .. } => method.statistics_passes(),
    });
    match passes.max() {
        Some(0) | None => Some("every input once".to_owned()),
        Some(statistics) => Some(format!(
            "every input up to {} times, {statistics} for statistics and 1 to merge",
            statistics + 1
        )),
    }
}

fn files(view: &View<'_>) -> String {
    let layout = view.layout;
    let n = layout.n_shards();
    let file = |shard: usize| {
        let name = layout.file_name(shard);
        match n {
            1 => name,
            _ => format!("{name} ({})", DecimalBytes(layout.shard_bytes(shard))),
        }
    };
    let listed = match n {
        0..=MOST_FILES => (0..n).map(file).collect::<Vec<_>>().join(", "),
        _ => format!("{} to {}", file(0), file(n - 1)),
    };
    format!("{}: {listed}", count(n, "file"))
}

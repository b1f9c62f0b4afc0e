//! Single tensors of a plan, with all that goes into them.

use std::fmt::Write;

use indicatif::DecimalBytes;

use super::View;
use super::words;
use crate::plan::{PlannedTensor, ResolvedParameter};
use crate::report::{Align, Columns, shape_text};

/// The tensors at `chosen` positions, one after the other.
pub(super) fn render(view: &View<'_>, chosen: &[usize]) -> String {
    let texts = chosen.iter().map(|&index| one(view, index));
    texts.collect::<Vec<_>>().join("\n")
}

fn one(view: &View<'_>, index: usize) -> String {
    let tensor = &view.plan.tensors()[index];
    let info = &tensor.info;
    let mut text = String::new();
    let _ = writeln!(text, "{}", tensor.name);
    let _ = writeln!(
        text,
        "  {} {}, {} in {}, by {}\n",
        info.dtype,
        shape_text(&info.shape),
        DecimalBytes(info.bytes() as u64),
        view.layout.file_name(view.layout.place(index).shard),
        words::method(view.plan, tensor),
    );
    text.push_str(&inputs(tensor));
    let parameters = parameters(view, tensor);
    if !parameters.is_empty() {
        text.push('\n');
        text.push_str(&parameters);
    }
    text
}

fn inputs(tensor: &PlannedTensor) -> String {
    let mut table = Columns::new(&[
        ("role", Align::Left),
        ("model", Align::Left),
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("read as", Align::Left),
        ("shape", Align::Left),
    ]);
    for (role, operand) in words::inputs(tensor) {
        let stored = &operand.model.checkpoint.tensors()[&operand.tensor];
        let read_as = match operand.loaded_as == operand.dtype {
            true => String::new(),
            false => operand.loaded_as.to_string(),
        };
        table.line([
            role.name().to_owned(),
            operand.model.label(),
            operand.tensor.clone(),
            operand.dtype.to_string(),
            read_as,
            shape_text(&stored.shape),
        ]);
    }
    table.render()
}

fn parameters(view: &View<'_>, tensor: &PlannedTensor) -> String {
    let mut table = Columns::new(&[
        ("parameter", Align::Left),
        ("model", Align::Left),
        ("value", Align::Left),
        ("from", Align::Left),
    ]);
    let short = words::short_names(view.plan);
    let mut is_empty = true;
    let mut line = |name: &str, model: &str, resolved: &ResolvedParameter| {
        let from = match &resolved.origin {
            Some(origin) => view.line_of(&origin.path()),
            None => "default".to_owned(),
        };
        table.line([name, model, &words::value(resolved.value), &from]);
        is_empty = false;
    };
    let own = words::inputs(tensor).into_iter().filter(|(role, _)| role.has_parameters());
    let own: Vec<_> = own.zip(&tensor.parameters.inputs).collect();
    for definition in view.plan.method().parameters {
        let name = definition.name;
        if let Some(resolved) = tensor.parameters.shared.get(name) {
            line(name, "", resolved);
        }
        for ((_, operand), values) in &own {
            if let Some(resolved) = values.get(name) {
                line(name, &short.of(&operand.model.label()), resolved);
            }
        }
    }
    if is_empty { String::new() } else { table.render() }
}

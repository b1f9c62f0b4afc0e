//! A plan for programs. `docs/plan.md` explains the fields; a test keeps it complete.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::View;
use super::words;
use crate::cli::warnings::{Told, of_merge};
use crate::methods::ParameterValue;
use crate::plan::{Action, PlannedTensor, ResolvedParameter};

/// Goes up when a field changes its meaning or goes away; new fields may come at any time.
const FORMAT: u32 = 1;

/// The plan, with the tensors at `chosen` positions.
pub(super) fn render(view: &View<'_>, chosen: &[usize]) -> String {
    let plan = view.plan;
    let config = &view.file.config;
    let base = plan.base().map(|base| base.id());
    let models = plan.models().iter().map(|model| {
        let infos = model.checkpoint.tensors();
        json!({
            "model": model.label(),
            "directory": model.directory,
            "role": if base == Some(model.id()) { "base" } else { "input" },
            "architecture": model.architecture.name(),
            "tensors": infos.len(),
            "parameters": infos.values().map(|info| info.elements() as u64).sum::<u64>(),
            "bytes": infos.values().map(|info| info.bytes() as u64).sum::<u64>(),
        })
    });
    let layout = view.layout;
    let mut members = vec![0usize; layout.n_shards()];
    (0..plan.tensors().len()).for_each(|index| members[layout.place(index).shard] += 1);
    let files = members.iter().enumerate().map(|(shard, tensors)| {
        json!({
            "file": layout.file_name(shard),
            "tensors": tensors,
            "bytes": layout.shard_bytes(shard),
        })
    });
    let estimate = &view.estimate;
    let elements: u64 = plan.tensors().iter().map(|tensor| tensor.info.elements() as u64).sum();
    let document = json!({
        "format": FORMAT,
        "config": view.file.document.root().place().file,
        "method": plan.method().name,
        "reference": plan.method().reference,
        "dtype": config.dtype.map(|dtype| dtype.to_string()),
        "out_dtype": config.out_dtype.map(|dtype| dtype.to_string()),
        "seed": plan.seed(),
        "models": models.collect::<Vec<_>>(),
        "output": {
            "architecture": plan.donor().architecture.name(),
            "tensors": plan.tensors().len(),
            "parameters": elements,
            "files": files.collect::<Vec<_>>(),
            "vocabulary": plan.tokenizer().map(|tokenizer| json!({
                "tokens": tokenizer.file.vocabulary().len(),
                "rows": tokenizer.rows,
            })),
        },
        "bytes": {"read": estimate.bytes_read, "written": layout.file_bytes()},
        "memory": {
            "peak": estimate.peak_memory,
            "limit": view.memory_limit,
            "threads": estimate.threads,
        },
        "warnings": warnings(view),
        "tensors": chosen.iter().map(|&index| tensor(view, index)).collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_string_pretty(&document).expect("keys are strings");
    text.push('\n');
    text
}

fn warnings(view: &View<'_>) -> Vec<Value> {
    let warning = |Told { message, hint, place }: Told| {
        json!({
            "message": message,
            "hint": hint,
            "field": Some(place.field).filter(|field| !field.is_empty()),
            "line": place.line,
            "column": place.column,
        })
    };
    of_merge(view.file, view.plan.warnings()).into_iter().map(warning).collect()
}

fn tensor(view: &View<'_>, index: usize) -> Value {
    let tensor: &PlannedTensor = &view.plan.tensors()[index];
    let info = &tensor.info;
    let mut own = tensor.parameters.inputs.iter();
    let inputs = words::inputs(tensor).into_iter().map(|(role, operand)| {
        let values = if role.has_parameters() { own.next() } else { None };
        json!({
            "role": role.name(),
            "model": operand.model.label(),
            "tensor": operand.tensor,
            "dtype": operand.dtype.to_string(),
            "read_as": operand.loaded_as.to_string(),
            "shape": operand.model.checkpoint.tensors()[&operand.tensor].shape,
            "parameters": values.map(|values| parameters(view, values)).unwrap_or_else(|| json!({})),
        })
    });
    let passes = match &tensor.action {
        Action::Copy { .. } => 0,
        Action::Merge { method, .. } => method.statistics_passes(),
    };
    json!({
        "name": tensor.name,
        "dtype": info.dtype.to_string(),
        "shape": info.shape,
        "bytes": info.bytes(),
        "file": view.layout.file_name(view.layout.place(index).shard),
        "method": words::method(view.plan, tensor),
        "statistics_passes": passes,
        "parameters": parameters(view, &tensor.parameters.shared),
        "inputs": inputs.collect::<Vec<_>>(),
    })
}

fn parameters(view: &View<'_>, values: &IndexMap<&'static str, ResolvedParameter>) -> Value {
    let one = |(name, resolved): (&&'static str, &ResolvedParameter)| {
        let value = match resolved.value {
            ParameterValue::Float(number) => json!(number),
            ParameterValue::Int(number) => json!(number),
            ParameterValue::Bool(boolean) => json!(boolean),
        };
        let field = resolved.origin.as_ref().map(|origin| origin.path());
        let line = field.as_ref().and_then(|field| view.file.place_of(field).line);
        ((*name).to_owned(), json!({"value": value, "field": field, "line": line}))
    };
    Value::Object(values.iter().map(one).collect())
}

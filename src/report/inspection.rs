//! What is in a model, as text and as JSON.

use std::fmt::Write;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::quantity::INSPECTED;
use super::statistics::Statistics;
use super::{count, grouped};
use crate::inspect::{InspectedPart, Inspection, Model};
use crate::kernels::dtype::DType;

/// Quantities in tables. Those behind the first are left out of a model that has none.
const COLUMNS: [&str; 6] = ["parameters", "norm", "rms", "min", "max", "zeros"];
const COLUMNS_IF_ANY: [&str; 2] = ["nan", "inf"];

/// The statistics of a model, ready to be shown.
pub fn inspection_statistics(inspection: &Inspection) -> Statistics<'_, InspectedPart> {
    let total = &inspection.groups.total;
    let columns = INSPECTED.iter().filter(|quantity| {
        COLUMNS.contains(&quantity.key)
            || COLUMNS_IF_ANY.contains(&quantity.key) && (quantity.value)(total) != Some(0.0)
    });
    Statistics {
        quantities: &INSPECTED,
        columns: columns.collect(),
        tensors: &inspection.tensors,
        groups: &inspection.groups,
    }
}

/// What is in `model`, for people: what it is, then tables.
pub fn inspection_text(model: &Model, inspection: &Inspection, every_tensor: bool) -> String {
    let total = &inspection.groups.total;
    let mut text = format!("{}\n\n", model.label());
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    line(
        "architecture",
        match (model.class(), definition_name(model)) {
            (Some(class), Some(name)) => format!("{class} ({name})"),
            (Some(class), None) => format!("{class} (inferred from the tensors' names)"),
            (None, _) => "inferred from the tensors' names".to_owned(),
        },
    );
    line("layers", inspection.groups.layers.len().to_string());
    line("parameters", grouped(total.summary.elements()));
    let types = dtypes(inspection);
    let all = total.summary.elements();
    line(
        "types",
        match types.len() {
            1 => types.keys().next().map(DType::to_string).unwrap_or_default(),
            _ => {
                let share =
                    |n: u64| super::quantity::Form::Share.text(n as f64 / all.max(1) as f64);
                let each = types.iter().map(|(dtype, part)| format!("{dtype} {}", share(part.0)));
                each.collect::<Vec<_>>().join(", ")
            }
        },
    );
    let files = count(model.shards(), "file");
    line(
        "bytes",
        format!("{} in {}, {files}", grouped(total.bytes), count(total.tensors, "tensor")),
    );
    for (name, tensor) in model.tied() {
        line("not stored", format!("{name}, which is {}", tensor.stored));
    }
    text.push('\n');
    text.push_str(&inspection_statistics(inspection).tables(every_tensor));
    text
}

/// What is in `model`, for programs.
pub fn inspection_json(model: &Model, inspection: &Inspection) -> Value {
    let types: serde_json::Map<String, Value> = dtypes(inspection)
        .into_iter()
        .map(|(dtype, (parameters, bytes))| {
            (dtype.to_string(), json!({"parameters": parameters, "bytes": bytes}))
        })
        .collect();
    let tied: serde_json::Map<String, Value> =
        model.tied().iter().map(|(name, tensor)| (name.clone(), json!(tensor.stored))).collect();
    let mut object = json!({
        "model": model.label(),
        "class": model.class(),
        "architecture": definition_name(model),
        "layer_count": inspection.groups.layers.len(),
        "tensor_count": inspection.tensors.len(),
        "shard_count": model.shards(),
        "dtypes": types,
        "tied": tied,
    });
    if let Value::Object(object) = &mut object {
        object.extend(inspection_statistics(inspection).json());
    }
    object
}

/// The name of the definition that `model` has, unless it is inferred.
fn definition_name(model: &Model) -> Option<&str> {
    let architecture = model.architecture();
    (!architecture.definition().is_inferred).then(|| architecture.name())
}

/// Parameters and bytes of each element type.
fn dtypes(inspection: &Inspection) -> IndexMap<DType, (u64, u64)> {
    let mut types: IndexMap<DType, (u64, u64)> = IndexMap::new();
    for tensor in &inspection.tensors {
        let entry = types.entry(tensor.dtypes[0]).or_default();
        entry.0 += tensor.part.summary.elements();
        entry.1 += tensor.part.bytes;
    }
    types.sort_by(|_, a, _, b| b.cmp(a));
    types
}

//! How two models differ, as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::quantity::compared;
use super::shape_text;
use super::statistics::Statistics;
use super::{count, grouped};
use crate::inspect::{ComparedPart, Difference, Unmatched};

/// Quantities in tables of two models.
const COLUMNS: [&str; 6] =
    ["parameters", "difference", "relative", "max_difference", "changed", "cosine"];

/// Quantities in tables of two models with their base.
const COLUMNS_WITH_BASE: [&str; 8] = [
    "relative",
    "task_norm_a",
    "task_norm_b",
    "task_cosine",
    "sign_agreement",
    "moved_both",
    "moved_only_a",
    "moved_only_b",
];

/// Shown where a model has any.
const NOT_FINITE: &str = "not_finite";

/// Most tensors that a list of those that cannot be compared names.
const LISTED: usize = 10;

/// The names of the models that were compared.
#[derive(Debug, Clone, Copy)]
pub struct ComparedModels<'m> {
    /// The first model.
    pub a: &'m str,
    /// The second model.
    pub b: &'m str,
    /// Where both come from.
    pub base: Option<&'m str>,
}

/// The differences of two models, ready to be shown.
pub fn difference_statistics(
    difference: &Difference,
    with_base: bool,
) -> Statistics<'_, ComparedPart> {
    let columns: &[&str] = if with_base { &COLUMNS_WITH_BASE } else { &COLUMNS };
    let any_not_finite = difference.groups.total.comparison.skipped > 0;
    let shown = |key: &str| columns.contains(&key) || key == NOT_FINITE && any_not_finite;
    let quantities = compared(with_base);
    Statistics {
        quantities,
        columns: quantities.iter().filter(|quantity| shown(quantity.key)).collect(),
        tensors: &difference.tensors,
        groups: &difference.groups,
    }
}

/// How two models differ, for people.
pub fn difference_text(
    models: &ComparedModels<'_>,
    difference: &Difference,
    every_tensor: bool,
) -> String {
    let comparison = &difference.groups.total.comparison;
    let mut text = format!("  A     {}\n  B     {}\n", models.a, models.b);
    if let Some(base) = models.base {
        let _ = writeln!(text, "  base  {base}");
    }
    let parameters = grouped(comparison.compared + comparison.skipped);
    let tensors = count(difference.tensors.len(), "tensor");
    let _ = writeln!(text, "\n{tensors} with {parameters} parameters in common.");
    list(&mut text, "only in A", &difference.only_in_a, unmatched);
    list(&mut text, "only in B", &difference.only_in_b, unmatched);
    list(&mut text, "of different shape", &difference.shape_mismatches, |tensor| {
        let [a, b] = tensor.shapes.each_ref().map(|shape| shape_text(shape));
        format!("{}  {a} in A, {b} in B", tensor.name)
    });
    let not_in_base = &difference.not_in_base;
    list(&mut text, "compared without the base, which lacks it", not_in_base, String::clone);
    text.push('\n');
    text.push_str(&difference_statistics(difference, models.base.is_some()).tables(every_tensor));
    if models.base.is_some() {
        text.push_str(
            "\nrelative: ‖B − A‖ / ‖A‖. task A: ‖A − base‖, task B: ‖B − base‖, with the cosine of the \
             two.\nsame sign: of the elements that both moved, those that moved to the same side.\n",
        );
    } else {
        text.push_str("\ndifference: ‖B − A‖. relative: ‖B − A‖ / ‖A‖. largest: max |B − A|.\n");
    }
    text
}

/// How two models differ, for programs.
pub fn difference_json(models: &ComparedModels<'_>, difference: &Difference) -> Value {
    let unmatched = |tensors: &[Unmatched]| -> Vec<Value> {
        tensors.iter().map(|tensor| json!({"name": tensor.name, "shape": tensor.shape})).collect()
    };
    let shapes = difference.shape_mismatches.iter().map(|tensor| {
        let [a, b] = &tensor.shapes;
        json!({"name": tensor.name, "shape_a": a, "shape_b": b})
    });
    let mut object = json!({
        "a": models.a,
        "b": models.b,
        "base": models.base,
        "tensor_count": difference.tensors.len(),
        "only_in_a": unmatched(&difference.only_in_a),
        "only_in_b": unmatched(&difference.only_in_b),
        "different_shape": shapes.collect::<Vec<_>>(),
        "not_in_base": difference.not_in_base,
    });
    if let Value::Object(object) = &mut object {
        object.extend(difference_statistics(difference, models.base.is_some()).json());
    }
    object
}

fn unmatched(tensor: &Unmatched) -> String {
    format!("{}  {}", tensor.name, shape_text(&tensor.shape))
}

/// Names tensors under a heading, as far as they are not too many.
fn list<T>(text: &mut String, what: &str, tensors: &[T], name: impl Fn(&T) -> String) {
    if tensors.is_empty() {
        return;
    }
    let _ = writeln!(text, "{} {what}:", count(tensors.len(), "tensor"));
    for tensor in tensors.iter().take(LISTED) {
        let _ = writeln!(text, "  {}", name(tensor));
    }
    if tensors.len() > LISTED {
        let _ = writeln!(text, "  and {} more", tensors.len() - LISTED);
    }
}

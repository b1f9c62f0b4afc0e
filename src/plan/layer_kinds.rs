//! Kinds of layers, where a model has several: only layers of one kind are merged with each other.

use super::PlanError;
use super::recipe::Slice;
use super::tensors::names;
use crate::architecture::{Location, Module, TensorTemplate};

/// The kinds of the layers that lie `index` layers into the parts of all sources of `slice`, layers of
/// the module `tensors`. A source without any tensor of any kind does not count; what it lacks is found
/// tensor by tensor.
pub(super) fn kinds_of_layer<'t>(
    slice: &Slice<'_>,
    tensors: &'t Module,
    index: usize,
) -> Result<Vec<&'t str>, PlanError> {
    if !tensors.has_kinds() {
        return Ok(Vec::new());
    }
    let mut first: Option<(String, Vec<&str>)> = None;
    for source in &slice.sources {
        let is_stored = |template: &TensorTemplate| {
            let names = names(source, template, Location::Layer(index), index);
            names.is_stored_in(&*source.model.checkpoint)
        };
        let kinds = tensors.kinds_of_layer(is_stored);
        let layer = format!("layer {} of `{}`", source.layers.start + index, source.model.label());
        match &first {
            _ if kinds.is_empty() => {}
            None => first = Some((layer, kinds)),
            Some((_, expected)) if *expected == kinds => {}
            Some((first, expected)) => {
                return Err(PlanError::LayerKinds {
                    field: source.model_field(),
                    layer,
                    found: kinds.join(" and "),
                    first: first.clone(),
                    expected: expected.join(" and "),
                });
            }
        }
    }
    Ok(first.map(|(_, kinds)| kinds).unwrap_or_default())
}

//! Merging slices in memory, for tests of the methods.

use super::{
    Chunk, Granularity, InMemory, ParameterDefault, ParameterScope, ParameterValue, Parameters,
    TensorInputs, find,
};
use crate::kernels::random::TensorKey;

/// A small base, and models around it.
pub(super) const B: [f32; 6] = [0.11, -0.23, 0.31, 0.42, 0.53, -0.64];
pub(super) const X1: [f32; 6] = [0.24, -0.16, 0.10, 0.37, 0.82, -1.01];
pub(super) const X2: [f32; 6] = [-0.08, -0.26, 0.58, 0.51, 0.22, -0.53];
pub(super) const X3: [f32; 6] = [0.11, -0.21, 0.27, 0.83, 0.59, -1.07];

type Values<'a> = &'a [(&'static str, f64)];

/// Merges tensors of shape `[2, n / 2]`, or of one row when `n` is odd, in one chunk.
pub(super) fn merge(
    method: &str,
    base: Option<&[f32]>,
    inputs: &[&[f32]],
    per_input: &[Values<'_>],
    shared: Values<'_>,
) -> Vec<f32> {
    let n = base.or(inputs.first().copied()).map_or(0, <[f32]>::len);
    merge_in_chunks(method, &[2, n / 2], base, inputs, per_input, shared, n)
}

/// Merges tensors of `shape` in chunks of `chunk` elements, a multiple of a row.
pub(super) fn merge_in_chunks(
    method: &str,
    shape: &[usize],
    base: Option<&[f32]>,
    inputs: &[&[f32]],
    per_input: &[Values<'_>],
    shared: Values<'_>,
    chunk: usize,
) -> Vec<f32> {
    let definition = find(method).expect("the method exists");
    let resolve = |scope: fn(ParameterScope) -> bool, given: Values<'_>| {
        let of_scope = definition.parameters.iter().filter(|parameter| scope(parameter.scope));
        let resolved = of_scope.filter_map(|parameter| {
            let given = given.iter().find(|(name, _)| *name == parameter.name);
            let value = match (given, parameter.default) {
                (Some((_, value)), _) => ParameterValue::Float(*value),
                (None, ParameterDefault::Value(value)) => value,
                (None, ParameterDefault::Absent) => return None,
                (None, ParameterDefault::Required) => panic!("{} is missing", parameter.name),
            };
            Some((parameter.name, value))
        });
        resolved.collect()
    };
    let parameters = Parameters {
        shared: resolve(|scope| scope == ParameterScope::Shared, shared),
        inputs: per_input
            .iter()
            .map(|given| resolve(|scope| scope != ParameterScope::Shared, given))
            .collect(),
    };
    let keys: Vec<_> = (0..inputs.len()).map(|index| TensorKey::new(7, "w", index)).collect();
    let reader = InMemory { base, inputs };
    let whole = TensorInputs {
        shape,
        n_inputs: inputs.len(),
        has_base: base.is_some(),
        keys: &keys,
        reader: &reader,
    };
    let method = (definition.bind)(&parameters).unwrap();
    let apply = method.prepare(&whole).unwrap();
    assert!(
        apply.granularity() == Granularity::Element || chunk.is_multiple_of(whole.row_elements())
    );
    let mut merged = vec![0.0; whole.elements()];
    for (index, out) in merged.chunks_mut(chunk.max(1)).enumerate() {
        let start = index * chunk;
        let part = |values: &[f32]| values[start..start + out.len()].to_vec();
        let base = base.map(part);
        let parts: Vec<Vec<f32>> = inputs.iter().map(|input| part(input)).collect();
        let inputs: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
        apply.apply(&Chunk { start, base: base.as_deref(), inputs: &inputs }, out);
    }
    merged
}

/// Within 1e-6 of what was expected. Names the first element that is not.
#[track_caller]
pub(super) fn assert_close(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (actual - expected).abs() <= 1e-6,
            "element {index}: got {actual}, expected {expected}"
        );
    }
}

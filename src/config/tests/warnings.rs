//! What is read but has no effect.

use super::*;

fn warned(text: &str) -> String {
    let lines = parse(text).unwrap().warnings.into_iter().map(|warning| {
        let hint = warning.hint().map(|hint| format!("\n  hint: {hint}"));
        format!("{warning}{}", hint.unwrap_or_default())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_has_no_effect_is_said() {
    let text = "
merge_method: ties
base_model: base
slices:
- sources:
  - model: a
    layer_range: [0, 1]
    parameters: {weight: 1, lambda: 2, densty: 3, scale: 1}
  residual_weight: 1
parameters: {unused_parameter: {value: [x, 1]}}
";
    assert_snapshot!(warned(text), @r"
    merge.yml:8:29: slices[0].sources[0].parameters.lambda: `lambda` is not read here, for it belongs to all models together
      hint: write `lambda` under the `parameters` of the whole config or slice
    merge.yml:8:40: slices[0].sources[0].parameters.densty: `ties` does not read `densty`
      hint: did you mean `density`?
    merge.yml:8:51: slices[0].sources[0].parameters.scale: `ties` does not read `scale`
    merge.yml:9:3: slices[0].residual_weight: `residual_weight` has no effect
    merge.yml:10:14: parameters.unused_parameter: `ties` does not read `unused_parameter`
    ");
}

#[test]
fn nothing_is_said_of_what_is_read() {
    assert_eq!(warned(&with_weight("1")), "");
}

#[test]
fn unknown_fields_are_warned_of_unless_they_look_like_a_missing_one() {
    let text = "
defaults: &half {weight: 0.5}
merge_method: linear
models:
- {model: a, parameters: *half, note: the better one}
- {model: b, parameters: {<<: *half}}
dtype: float32
dtypes: [float32]
";
    assert_snapshot!(warned(text), @r"
    merge.yml:2:1: defaults: unknown field `defaults` has no effect
    merge.yml:5:33: models[0].note: unknown field `note` has no effect
    merge.yml:8:1: dtypes: unknown field `dtypes` has no effect
    ");
    let missing = parse(&text.replace("dtype: float32\n", "")).unwrap_err();
    assert_snapshot!(missing.to_string(), @"merge.yml:7:1: dtypes: unknown field `dtypes`");
}

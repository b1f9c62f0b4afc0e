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

//! What is refused, and in which words.

use super::*;

#[test]
fn what_is_no_config() {
    assert_snapshot!(refused(""), @"error: merge.yml: expected a mapping, found nothing");
    assert_snapshot!(
        refused("- merge_method: linear\n"),
        @"error: merge.yml:1:1: expected a mapping, found a list"
    );
    assert_snapshot!(
        refused("merge_method: linear\nmodels:\n  - model: a\n   parameters: {weight: 1\n"),
        @"error: merge.yml:4:4: not valid YAML: did not find expected '-' indicator"
    );
    assert_snapshot!(
        refused("merge_method: linear\nmodels: [{model: a}]\n---\nmerge_method: ties\n"),
        @"error: merge.yml: not valid YAML: the file has more than one document"
    );
}

#[test]
fn unknown_and_missing_fields() {
    assert_snapshot!(refused_with("dytpe: float32"), @r"
    error: merge.yml:3:1: dytpe: unknown field `dytpe`
    hint: did you mean `dtype`?
    ");
    assert_snapshot!(refused("models: [{model: a}]\n"), @"error: merge.yml:1:1: field `merge_method` is missing");
    assert_snapshot!(refused("merge_method: linear\nmodels:\n- modle: a\n"), @r"
    error: merge.yml:3:3: models[0].modle: unknown field `modle`
    hint: did you mean `model`?
    ");
    assert_snapshot!(
        refused("merge_method: linear\nslices:\n- sources:\n  - model: a\n"),
        @"error: merge.yml:4:5: slices[0].sources[0]: field `layer_range` is missing"
    );
}

#[test]
fn unknown_methods() {
    assert_snapshot!(refused("merge_method: tees\nmodels: [{model: a}]\n"), @r"
    error: merge.yml:1:15: merge_method: unknown merge method `tees`
    hint: did you mean `ties`?
    ");
    assert_snapshot!(refused("merge_method: mega_blend\nmodels: [{model: a}]\n"), @r"
    error: merge.yml:1:15: merge_method: unknown merge method `mega_blend`
    hint: possible are `linear`, `slerp`, `nuslerp`, `multislerp`, `karcher`, `task_arithmetic`, `ties`, `dare_linear`, `dare_ties`, `della`, `della_linear`, `breadcrumbs`, `breadcrumbs_ties`, `model_stock`, `nearswap`, `arcee_fusion`, `ram`, `ramplus_tl`, `sce` and `passthrough`
    ");
}

#[test]
fn chat_templates_that_are_none() {
    assert_snapshot!(refused_with("chat_template: chatlm"), @r"
    error: merge.yml:3:16: chat_template: `chatlm` is neither the name of a chat template nor a Jinja template
    hint: did you mean `chatml`?
    ");
    assert_snapshot!(refused_with("chat_template: no braces, however long it is"), @r"
    error: merge.yml:3:16: chat_template: `no braces, however long it is` is neither the name of a chat template nor a Jinja template
    hint: possible are `auto`, `alpaca`, `chatml`, `exaone`, `llama3` and `mistral`
    ");
}

#[test]
fn tokenizers_that_are_none() {
    assert_snapshot!(refused_with("tokenizer: {source: base}\ntokenizer_source: union"), @r"
    error: merge.yml:4:1: tokenizer_source: `tokenizer_source` cannot be combined with `tokenizer`
    hint: write `tokenizer: {source: …}` and remove `tokenizer_source`
    ");
    assert_snapshot!(refused_with("tokenizer: {tokens: {a: {force: true}}}"), @"error: merge.yml:3:25: tokenizer.tokens.a: field `source` is missing");
    assert_snapshot!(refused_with("tokenizer: {tokens: {a: {source: {kind: one}}}}"), @"error: merge.yml:3:41: tokenizer.tokens.a.source.kind: expected `zero` or `model_token`, found `one`");
    assert_snapshot!(refused_with("tokenizer: {tokens: {a: {source: {kind: model_token, model: m}}}}"), @"error: merge.yml:3:34: tokenizer.tokens.a.source: a `model_token` has either a `token` or a `token_id`");
    assert_snapshot!(refused_with("tokenizer: {pad_to_multiple_of: 0}"), @"error: merge.yml:3:33: tokenizer.pad_to_multiple_of: expected a whole number that is at least 1, found `0`");
    assert_snapshot!(refused_with("tokenizer: {sauce: base}"), @r"
    error: merge.yml:3:13: tokenizer.sauce: unknown field `sauce`
    hint: possible are `source`, `tokens` and `pad_to_multiple_of`
    ");
    assert_snapshot!(refused_with("tokenizer_source: [a]"), @"error: merge.yml:3:19: tokenizer_source: expected a model's path, or a mapping with it, found `[a]`");
}

#[test]
fn none_or_several_recipes() {
    assert_snapshot!(refused("merge_method: linear\nmodels: []\n"), @r"
    error: merge.yml:1:1: nothing to merge: none of `models`, `slices`, `modules` has an entry
    hint: list what is merged under one of `models`, `slices`, `modules`
    ");
    assert_snapshot!(refused_with("slices: [{}]"), @r"
    error: merge.yml:3:9: slices: `slices` cannot be combined with `models`
    hint: keep either `models` or `slices`
    ");
    assert_snapshot!(
    refused("merge_method: linear\nmodules:\n  text: {parameters: {weight: 1}}\n"),
    @r"
    error: merge.yml:3:9: modules.text: nothing to merge: none of `models`, `slices` has an entry
    hint: list what is merged under one of `models`, `slices`
    "
    );
    assert_snapshot!(
        refused("merge_method: linear\nslices: [{sources: []}]\n"),
        @"error: merge.yml:2:20: slices[0].sources: expected at least one source, found an empty list"
    );
}

#[test]
fn models_that_are_none() {
    assert_snapshot!(refused_with("base_model: a+b+c"), @r"
        error: merge.yml:3:13: base_model: model `a+b+c` has more than one `+`
        hint: a path with `+` or `@` in it is written as a mapping: `model: {model: {path: …}}`
        ");
    assert_snapshot!(
        refused_with("base_model: [a]"),
        @"error: merge.yml:3:13: base_model: expected a model's path, or a mapping with it, found `[a]`"
    );
    assert_snapshot!(refused_with("base_model: {model: {path: ''}}"), @r"
        error: merge.yml:3:28: base_model.model.path: model `` has an empty path
        hint: a model is written as `PATH`, `PATH@REVISION`, or `PATH+LORA_PATH` with an adapter
        ");
}

#[test]
fn unknown_element_types() {
    assert_snapshot!(refused_with("dtype: bf16"), @r"
        error: merge.yml:3:8: dtype: unknown element type `bf16`
        hint: write `bfloat16`
        ");
    assert_snapshot!(refused_with("out_dtype: floot32"), @r"
        error: merge.yml:3:12: out_dtype: unknown element type `floot32`
        hint: did you mean `float32`?
        ");
    assert_snapshot!(refused_with("dtype: 16"), @"error: merge.yml:3:8: dtype: expected text, found `16`");
}

#[test]
fn layer_ranges_without_layers() {
    let range = |range: &str| {
        refused(&format!(
            "merge_method: linear\nslices:\n- sources:\n  - model: a\n    layer_range: {range}\n"
        ))
    };
    assert_snapshot!(range("[0, 1, 2]"), @"error: merge.yml:5:18: slices[0].sources[0].layer_range: expected two whole numbers `[first, behind last]`, found `[0, 1, 2]`");
    assert_snapshot!(range("[-1, 2]"), @"error: merge.yml:5:19: slices[0].sources[0].layer_range[0]: expected a whole number that is not negative, found `-1`");
    assert_snapshot!(range("[4, 2]"), @r"
        error: merge.yml:5:18: slices[0].sources[0].layer_range: layers 4 to 2 are none
        hint: the first layer comes first: write [2, 4]
        ");
    assert_snapshot!(range("[3, 3]"), @r"
        error: merge.yml:5:18: slices[0].sources[0].layer_range: layers 3 to 3 are none
        hint: the end is the layer behind the last: layer 3 alone is [3, 4]
        ");
}

#[test]
fn parameters_of_another_type() {
    let bad = |value: &str| refused(&with_weight(value));
    assert_snapshot!(bad("heavy"), @"error: merge.yml:5:13: models[0].parameters.weight: expected a number, found `heavy`");
    assert_snapshot!(bad("[low, high]"), @"error: merge.yml:5:14: models[0].parameters.weight[0]: expected a number, found `low`");
    assert_snapshot!(bad("null"), @"error: merge.yml:5:13: models[0].parameters.weight: expected a number, found nothing");
    assert_snapshot!(bad("true"), @"error: merge.yml:5:13: models[0].parameters.weight: expected a number, found `true`");
    assert_snapshot!(bad(".nan"), @"error: merge.yml:5:13: models[0].parameters.weight: expected a number, found `.nan`");
    assert_snapshot!(bad("[1, [2]]"), @"error: merge.yml:5:17: models[0].parameters.weight[1]: expected a number, found `[2]`");
    assert_snapshot!(
        refused(&format!("{}parameters: {{normalize: maybe}}\n", with_weight("1"))),
        @"error: merge.yml:6:25: parameters.normalize: expected `true` or `false`, found `maybe`"
    );
}

#[test]
fn conditions_that_are_malformed() {
    let bad = |value: &str| refused(&with_weight(value));
    assert_snapshot!(bad("[{value: 1}, 0.5]"), @"error: merge.yml:5:26: models[0].parameters.weight[1]: expected a condition `{filter: …, value: …}` as the list has others, found `0.5`");
    assert_snapshot!(bad("{filter: mlp}"), @"error: merge.yml:5:13: models[0].parameters.weight: field `value` is missing");
    assert_snapshot!(bad("{filer: mlp, value: 1}"), @r"
        error: merge.yml:5:14: models[0].parameters.weight.filer: unknown field `filer`
        hint: did you mean `filter`?
        ");
    assert_snapshot!(bad("{value: []}"), @"error: merge.yml:5:21: models[0].parameters.weight.value: expected a number, found an empty list");
}

#[test]
fn shares_that_are_percentages() {
    let text = "
merge_method: ties
base_model: base
models:
  - model: a
    parameters:
      weight: 1
      density: 50
";
    assert_snapshot!(refused(text), @r"
    error: merge.yml:8:16: models[0].parameters.density: density is 50, outside 0..=1
    hint: density is a share, not a percentage: write 0.5
    ");
    let text = text.replace("50", "[{value: [0.5, -0.1]}]");
    assert_snapshot!(refused(&text), @"error: merge.yml:8:31: models[0].parameters.density[0].value[1]: density is -0.1, outside 0..=1");
}

#[test]
fn required_parameters_that_are_mistyped() {
    assert_snapshot!(refused(&with_weight("1").replace("weight", "wieght")), @r"
    error: merge.yml:5:5: models[0].parameters.wieght: `linear` has no parameter `wieght`
    hint: did you mean `weight`?
    ");
}

//! What is read from configs that are right.

use super::*;

#[test]
fn a_whole_config() {
    let read = config(
        "
merge_method: ties
base_model: org/base@main
models:
  - model: ./a
    parameters: {weight: [0, 0.5], density: 0.4}
  - model: {model: {path: dir/with+plus}}
parameters: {normalize: no}
dtype: torch.bfloat16
out_dtype: float16
name: shown nowhere
",
    );
    assert_eq!(read.merge_method, "ties");
    assert_eq!(read.base_model, Some("org/base@main".parse().unwrap()));
    assert_eq!((read.dtype, read.out_dtype), (Some(DType::BF16), Some(DType::F16)));
    let plain = |value| Setting::Plain(Value::Scalar(value));
    assert_eq!(read.parameters["normalize"], plain(Scalar::Bool(false)));
    let Recipe::Models(models) = read.recipe else { unreachable!() };
    assert_eq!(models[0].model, ModelReference::new("./a"));
    assert_eq!(models[0].parameters["density"], plain(Scalar::Float(0.4)));
    let gradient = Value::Gradient(vec![Scalar::Int(0), Scalar::Float(0.5)]);
    assert_eq!(models[0].parameters["weight"], Setting::Plain(gradient));
    assert_eq!(models[1].model, ModelReference::new("dir/with+plus"));
    assert!(models[1].parameters.is_empty());
}

#[test]
fn slices_and_modules() {
    let slices = "
    slices:
    - sources:
      - {model: a, layer_range: [0, 2]}
      - {model: b, layer_range: [2, 4.0], parameters: {weight: 1}}
      base_model: c
      parameters: {weight: 0.5}
";
    let read = config(&format!("merge_method: linear\nmodules:\n  text:{slices}"));
    let Recipe::Modules(modules) = &read.recipe else { unreachable!() };
    let Recipe::Slices(slices) = &modules["text"].recipe else { unreachable!() };
    assert_eq!(slices[0].sources[1].layers, 2..4);
    assert_eq!(slices[0].base_model, Some(ModelReference::new("c")));
    assert_eq!(slices[0].parameters.len(), 1);
}

#[test]
fn empty_lists_and_nulls_count_as_absent() {
    let read = config(
        "merge_method: linear\nmodels: []\nmodules: {}\nslices:\n- sources:\n  \
         - {model: a, layer_range: [0, 1], parameters: {weight: []}}\nparameters: null\n",
    );
    let Recipe::Slices(slices) = read.recipe else { unreachable!() };
    assert!(slices[0].sources[0].parameters.is_empty());
    assert!(read.parameters.is_empty());
}

#[test]
fn parameters_take_the_type_that_the_method_reads() {
    let plain = |value| Setting::Plain(Value::Scalar(value));
    assert_eq!(weight("5e-1"), plain(Scalar::Float(0.5)));
    assert_eq!(weight("'0.25'"), plain(Scalar::Float(0.25)));
    assert_eq!(weight("2"), plain(Scalar::Int(2)));
    let switch = |text: &str| {
        let text = format!("{}parameters: {{normalize: {text}}}\n", with_weight("1"));
        config(&text).parameters["normalize"].clone()
    };
    assert_eq!(switch("'false'"), plain(Scalar::Bool(false)));
    assert_eq!(switch("On"), plain(Scalar::Bool(true)));
    assert_eq!(switch("1"), plain(Scalar::Bool(true)));
    let selection = Value::Gradient(vec![Scalar::Bool(true), Scalar::Bool(false)]);
    assert_eq!(switch("[1, 'no']"), Setting::Plain(selection));
}

#[test]
fn a_condition_may_stand_alone() {
    let condition = |filter: Option<&str>| Conditional {
        filter: filter.map(str::to_owned),
        value: Value::Scalar(Scalar::Int(1)),
    };
    let alone = weight("{filter: mlp, value: 1}");
    assert_eq!(alone, Setting::Conditional(vec![condition(Some("mlp"))]));
    let several = weight("[{filter: mlp, value: 1}, {value: 1}]");
    assert_eq!(several, Setting::Conditional(vec![condition(Some("mlp")), condition(None)]));
}

#[test]
fn configs_without_text_are_read_too() {
    let read = config(&with_weight("0.5"));
    assert_eq!(MergeConfig::from_value(&read.to_value()).unwrap(), read);
    let value = serde_yaml::from_str(&with_weight("heavy")).unwrap();
    assert_snapshot!(
        MergeConfig::from_value(&value).unwrap_err(),
        @"models[0].parameters.weight: expected a number, found `heavy`"
    );
}

#[test]
fn fields_named_by_the_plan_have_places() {
    let file = parse(&with_weight("1")).unwrap();
    let place = |field: &str| file.place_of(field).to_string();
    assert_eq!(place("models[0].parameters.weight"), "merge.yml:5:13: models[0].parameters.weight");
    assert_eq!(place("models[0].parameters.scale"), "merge.yml:5:5: models[0].parameters.scale");
    assert_eq!(place("no. path"), "merge.yml:1:1: no. path");
}

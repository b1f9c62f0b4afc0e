//! Whole configs: what is read, what is refused and in which words, and what is written.

use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(text, Path::new("merge.yml"))
}

fn config(text: &str) -> MergeConfig {
    parse(text).unwrap().config
}

/// The error as the program shows it.
fn refused(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(error.is_users_mistake());
    match error.hint() {
        Some(hint) => format!("error: {error}\nhint: {hint}"),
        None => format!("error: {error}"),
    }
}

/// The error in a config that lists one model, with `line` at the top level.
fn refused_with(line: &str) -> String {
    refused(&format!("merge_method: ties\nmodels: [{{model: a}}]\n{line}\n"))
}

/// A config with one parameter of `linear`.
fn with_weight(weight: &str) -> String {
    format!("merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: {weight}\n")
}

fn weight(text: &str) -> Setting {
    let Recipe::Models(models) = config(&with_weight(text)).recipe else { unreachable!() };
    models[0].parameters["weight"].clone()
}

mod reading {
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
        assert_eq!(
            place("models[0].parameters.weight"),
            "merge.yml:5:13: models[0].parameters.weight"
        );
        assert_eq!(
            place("models[0].parameters.scale"),
            "merge.yml:5:5: models[0].parameters.scale"
        );
        assert_eq!(place("no. path"), "merge.yml:1:1: no. path");
    }
}

mod warnings {
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
        merge.yml:9:3: slices[0].residual_weight: `residual_weight` has no effect
        merge.yml:8:29: slices[0].sources[0].parameters.lambda: `lambda` is not read here, for it belongs to all models together
          hint: write `lambda` under the `parameters` of the whole config or slice
        merge.yml:8:40: slices[0].sources[0].parameters.densty: `ties` does not read `densty`
          hint: did you mean `density`?
        merge.yml:8:51: slices[0].sources[0].parameters.scale: `ties` does not read `scale`
        merge.yml:10:14: parameters.unused_parameter: `ties` does not read `unused_parameter`
        ");
    }

    #[test]
    fn nothing_is_said_of_what_is_read() {
        assert_eq!(warned(&with_weight("1")), "");
    }
}

mod refusing {
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
            @"error: merge.yml: not valid YAML: deserializing from YAML containing more than one document is not supported"
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
        hint: possible are `linear`, `slerp`, `task_arithmetic`, `ties`, `dare_linear`, `dare_ties`, `della`, `della_linear`, `breadcrumbs`, `breadcrumbs_ties` and `passthrough`
        ");
        assert_snapshot!(refused("merge_method: karcher\nmodels: [{model: a}]\n"), @r"
        error: merge.yml:1:15: merge_method: merge method `karcher` is not available in this version
        hint: available are `linear`, `slerp`, `task_arithmetic`, `ties`, `dare_linear`, `dare_ties`, `della`, `della_linear`, `breadcrumbs`, `breadcrumbs_ties`, `passthrough`
        ");
    }

    #[test]
    fn what_is_not_available() {
        assert_snapshot!(refused_with("tokenizer_source: union"), @r"
        error: merge.yml:3:19: tokenizer_source: `tokenizer_source` is not available in this version
        hint: without it the output has the base model's tokenizer, and all models need its vocabulary
        ");
        assert_snapshot!(refused_with("chat_template: chatml"), @r"
        error: merge.yml:3:16: chat_template: `chat_template` is not available in this version
        hint: without it the output has the base model's chat template
        ");
        assert_snapshot!(refused("merge_method: ties\nmodels: [{model: a+b}]\n"), @r"
        error: merge.yml:2:18: models[0].model: a model with an adapter is not available in this version
        hint: merge the adapter into its model first, and name the result
        ");
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
}

mod resolving {
    use super::*;

    fn at(setting: &Setting, name: &str, t: f64) -> Option<f64> {
        setting.resolve(name, t).map(|scalar| scalar.as_number().unwrap())
    }

    #[test]
    fn gradients_interpolate_numbers() {
        let gradient = weight("[1, 2, 4]");
        let values: Vec<f64> =
            (0..4).map(|layer| at(&gradient, "", f64::from(layer) / 3.0).unwrap()).collect();
        let expected = [1.0, 5.0 / 3.0, 8.0 / 3.0, 4.0];
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{values:?}");
        assert_eq!(at(&weight("[0.4]"), "", 0.7), Some(0.4));
        assert_eq!(at(&weight("['1e-1', 2]"), "", 0.5), Some(1.05));
    }

    #[test]
    fn gradients_of_other_values_select() {
        let words = [true, false, true].map(Scalar::Bool).to_vec();
        let setting = Setting::Plain(Value::Gradient(words));
        let select = |t: f64| setting.resolve("", t).unwrap().as_boolean().unwrap();
        assert_eq!([0.0, 0.49, 0.5, 0.99, 1.0].map(select), [true, true, false, false, true]);
    }

    #[test]
    fn positions_out_of_range_do_not_panic() {
        let gradient = weight("[1, 2]");
        assert_eq!(at(&gradient, "", -1.0), Some(1.0));
        assert_eq!(at(&gradient, "", 9.0), Some(2.0));
        assert_eq!(at(&gradient, "", f64::NAN), Some(1.0));
        assert_eq!(Setting::Plain(Value::Gradient(Vec::new())).resolve("", 0.5), None);
    }

    #[test]
    fn the_first_filter_that_matches_wins() {
        let setting = weight("[{filter: mlp, value: [0, 1]}, {filter: '*', value: 2}, {value: 3}]");
        assert_eq!(at(&setting, "layers.0.mlp.up", 0.5), Some(0.5));
        assert_eq!(at(&setting, "layers.0.MLP.up", 0.5), Some(2.0));
        let shadowed = weight("[{value: 3}, {filter: mlp, value: 1}]");
        assert_eq!(at(&shadowed, "mlp", 0.0), Some(3.0));
    }

    #[test]
    fn the_first_scope_with_a_value_wins() {
        let scope = |text: &str| Settings::from([("weight".to_owned(), weight(text))]);
        let scopes = [Settings::new(), scope("{filter: mlp, value: 1}"), scope("2"), scope("3")];
        let value = |name: &str, tensor: &str| lookup(&scopes, name, tensor, 0.0);
        assert_eq!(value("weight", "mlp"), Some(Scalar::Int(1)));
        assert_eq!(value("weight", "norm"), Some(Scalar::Int(2)));
        assert_eq!(value("density", "norm"), None);
    }
}

mod writing {
    use super::*;
    use crate::methods::{METHODS, MethodDefinition, ParameterDefault, ParameterValue};

    #[test]
    fn configs_are_written_readably() {
        let text = "
merge_method: dare_ties
base_model: {model: {path: org/base, revision: main}}
models:
- {model: ./a, parameters: {weight: [1e-5, 0.5, 1], density: {filter: mlp, value: 0.5}}}
- model: {model: 'a b', override_architecture: LlamaForCausalLM}
parameters: {int8_mask: yes, 'on': '1.0', lambda: 1e16}
dtype: torch.bfloat16
";
        assert_snapshot!(config(text).to_yaml(), @r#"
        merge_method: dare_ties
        base_model: org/base@main
        models:
          - model: ./a
            parameters:
              weight: [1.0e-5, 0.5, 1]
              density:
                - filter: mlp
                  value: 0.5
          - model:
              model:
                path: "a b"
              override_architecture: LlamaForCausalLM
        parameters:
          int8_mask: true
          "on": "1.0"
          lambda: 1.0e+16
        dtype: bfloat16
        "#);
    }

    fn number() -> impl Strategy<Value = Scalar> {
        let finite = any::<f64>().prop_filter("finite", |number| number.is_finite());
        prop_oneof![any::<i64>().prop_map(Scalar::Int), finite.prop_map(Scalar::Float)]
    }

    fn scalar() -> impl Strategy<Value = Scalar> {
        let text = prop_oneof![any::<String>(), "[-+.0-9exXyYnN~_:]{1,6}"];
        prop_oneof![number(), any::<bool>().prop_map(Scalar::Bool), text.prop_map(Scalar::Text)]
    }

    fn setting(scalar: impl Strategy<Value = Scalar> + Clone + 'static) -> BoxedStrategy<Setting> {
        let value = prop_oneof![
            scalar.clone().prop_map(Value::Scalar),
            prop::collection::vec(scalar, 1..4).prop_map(Value::Gradient),
        ]
        .boxed();
        let condition = (prop::option::of(any::<String>()), value.clone())
            .prop_map(|(filter, value)| Conditional { filter, value });
        let conditions = prop::collection::vec(condition, 1..3);
        prop_oneof![value.prop_map(Setting::Plain), conditions.prop_map(Setting::Conditional)]
            .boxed()
    }

    /// Settings as they are after reading: in the type that the method reads.
    fn settings(method: &'static MethodDefinition) -> BoxedStrategy<Settings> {
        let read = prop::sample::select(method.parameters).prop_flat_map(|definition| {
            let setting = match (definition.name, definition.default) {
                (_, ParameterDefault::Value(ParameterValue::Bool(_))) => {
                    setting(any::<bool>().prop_map(Scalar::Bool).boxed())
                }
                ("density" | "gamma" | "epsilon", _) => {
                    setting((0.0..=1.0).prop_map(Scalar::Float).boxed())
                }
                _ => setting(number().boxed()),
            };
            (Just(definition.name.to_owned()), setting)
        });
        let unread = ("unread.{0,140}", setting(scalar().boxed()));
        let entries = prop::collection::vec(prop_oneof![4 => read, 1 => unread], 0..4);
        entries.prop_map(|entries| entries.into_iter().collect()).boxed()
    }

    fn model() -> impl Strategy<Value = ModelReference> {
        let path = prop_oneof![".{1,12}", "[a-z/.]{1,8}"];
        let path = (path, prop::option::of("[^@]{1,6}"))
            .prop_map(|(path, revision)| ModelPath { path, revision });
        (path, prop::option::of(any::<String>())).prop_map(|(model, override_architecture)| {
            ModelReference { model, lora: None, override_architecture }
        })
    }

    fn recipe(method: &'static MethodDefinition) -> BoxedStrategy<Recipe> {
        let entry = (model(), settings(method))
            .prop_map(|(model, parameters)| ModelEntry { model, parameters });
        let source = (model(), 0..99_usize, 1..99_usize, settings(method)).prop_map(
            |(model, start, count, parameters)| SliceSource {
                model,
                layers: start..start + count,
                parameters,
            },
        );
        let sources = prop::collection::vec(source, 1..3);
        let slice = (sources, prop::option::of(model()), settings(method)).prop_map(
            |(sources, base_model, parameters)| OutputSlice { sources, base_model, parameters },
        );
        prop_oneof![
            prop::collection::vec(entry, 1..4).prop_map(Recipe::Models),
            prop::collection::vec(slice, 1..3).prop_map(Recipe::Slices),
        ]
        .boxed()
    }

    fn any_config() -> impl Strategy<Value = MergeConfig> {
        (0..METHODS.len()).prop_flat_map(|method| {
            let method = METHODS[method];
            let module = (recipe(method), settings(method))
                .prop_map(|(recipe, parameters)| ModuleEntry { recipe, parameters });
            // Keys are unique, and `<<` would be a merge key.
            let modules = prop::collection::btree_map("m.{0,8}", module, 1..3)
                .prop_map(|modules| Recipe::Modules(modules.into_iter().collect()));
            let recipe = prop_oneof![3 => recipe(method), 1 => modules];
            let dtype = || prop::option::of(prop::sample::select(read::DTYPES.to_vec()));
            (recipe, prop::option::of(model()), settings(method), dtype(), dtype()).prop_map(
                |(recipe, base_model, parameters, dtype, out_dtype)| MergeConfig {
                    merge_method: method.name.to_owned(),
                    recipe,
                    base_model,
                    parameters,
                    dtype,
                    out_dtype,
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read_back(config in any_config()) {
            let yaml = config.to_yaml();
            let read = MergeConfig::parse(&yaml, Path::new("merge.yml"));
            prop_assert_eq!(read.map_err(|error| format!("{error}\n{yaml}")), Ok(config.clone()));
            prop_assert_eq!(MergeConfig::from_value(&config.to_value()).unwrap(), config);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), at in 0..200_usize, piece in "[]\\[{}:,'&*! \n-]{1,3}") {
            let _ = parse(&text).map_err(|error| (error.to_string(), error.hint()));
            let mut config = format!("{}parameters: {{normalize: no}}\n", with_weight("[1, {a: b}]"));
            let at = at % config.len();
            config.insert_str(at, &piece);
            let _ = parse(&config).map_err(|error| (error.to_string(), error.hint()));
        }
    }
}

//! What is written is read back.

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
    prop_oneof![value.prop_map(Setting::Plain), conditions.prop_map(Setting::Conditional)].boxed()
}

/// Settings as they are after reading: in the type that the method reads.
fn settings(method: &'static MethodDefinition) -> BoxedStrategy<Settings> {
    let unread = ("unread.{0,140}", setting(scalar().boxed())).boxed();
    if method.parameters.is_empty() {
        let entries = prop::collection::vec(unread, 0..4);
        return entries.prop_map(|entries| entries.into_iter().collect()).boxed();
    }
    let read = prop::sample::select(method.parameters).prop_flat_map(|definition| {
        let setting = match (definition.name, definition.default) {
            (_, ParameterDefault::Value(ParameterValue::Bool(_))) => {
                setting(any::<bool>().prop_map(Scalar::Bool).boxed())
            }
            (_, ParameterDefault::Value(ParameterValue::Int(_))) => {
                setting(any::<i64>().prop_map(Scalar::Int).boxed())
            }
            ("density" | "gamma" | "epsilon", _) => {
                setting((0.0..=1.0).prop_map(Scalar::Float).boxed())
            }
            _ => setting(number().boxed()),
        };
        (Just(definition.name.to_owned()), setting)
    });
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

fn tokenizer() -> impl Strategy<Value = TokenizerSettings> {
    let source = prop_oneof![
        Just(TokenizerSource::Union),
        Just(TokenizerSource::Base),
        model().prop_map(TokenizerSource::Model),
        prop_oneof!["union", "base"]
            .prop_map(|path| TokenizerSource::Model(ModelReference::new(path))),
    ];
    let name =
        prop_oneof![".{0,9}".prop_map(TokenName::Text), (0..99_usize).prop_map(TokenName::Id),];
    let embedding = prop_oneof![
        Just(EmbeddingSource::Zero),
        model().prop_map(EmbeddingSource::Model),
        (model(), name).prop_map(|(model, token)| EmbeddingSource::Token { model, token }),
    ];
    let settings =
        (embedding, any::<bool>()).prop_map(|(source, force)| TokenSettings { source, force });
    let tokens = prop::collection::btree_map("t.{0,9}", settings, 0..3);
    (source, tokens, prop::option::of(1..99_usize)).prop_map(
        |(source, tokens, pad_to_multiple_of)| TokenizerSettings {
            source,
            tokens: tokens.into_iter().collect(),
            pad_to_multiple_of,
        },
    )
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
        let template = prop::option::of(prop_oneof![
            Just(ChatTemplate::Auto),
            prop::sample::select(BuiltInTemplate::ALL.to_vec()).prop_map(ChatTemplate::BuiltIn),
            r"[^\PC]{20,40}\{".prop_map(ChatTemplate::Text),
        ]);
        let fields = (recipe, prop::option::of(model()), settings(method), dtype(), dtype());
        (fields, prop::option::of(tokenizer()), template).prop_map(
            |((recipe, base_model, parameters, dtype, out_dtype), tokenizer, chat_template)| {
                MergeConfig {
                    merge_method: method.name.to_owned(),
                    recipe,
                    base_model,
                    parameters,
                    dtype,
                    out_dtype,
                    tokenizer,
                    chat_template,
                }
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

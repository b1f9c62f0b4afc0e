use serde_json::json;

use super::testing::{TinyModel, plan, plan_with, store};
use super::*;
use crate::kernels::dtype::DType::{BF16, F8E4M3, F16, F32, F64, I64};

fn tiny(path: &str) -> TinyModel {
    TinyModel::noise(path, 2, F32, path.bytes().map(u32::from).sum())
}

/// Two models and a base, `a`, `b` and `base`, of two layers each.
fn three() -> ModelStore {
    store(["a", "b", "base"].map(tiny))
}

fn error(text: &str, store: &ModelStore) -> PlanError {
    match plan(text, store) {
        Ok(_) => panic!("the plan should have failed"),
        Err(error) => error,
    }
}

/// Which tensor of which model goes into the output tensor `name`; the base behind the others.
fn operands(plan: &MergePlan, name: &str) -> Vec<String> {
    let tensor = plan.tensors().iter().find(|tensor| tensor.name == name).unwrap();
    let show = |operand: &Operand| format!("{}:{}", operand.model.label(), operand.tensor);
    match &tensor.action {
        Action::Copy { from, equals } => std::iter::once(from).chain(equals).map(show).collect(),
        Action::Merge { base, inputs, .. } => inputs.iter().chain(base).map(show).collect(),
    }
}

const LINEAR: &str = "
merge_method: linear
models:
- {model: a, parameters: {weight: 1}}
- {model: b, parameters: {weight: 1}}
";

#[test]
fn tensors_come_in_the_order_of_the_architecture() {
    let plan = plan(LINEAR, &three()).unwrap();
    let names: Vec<_> = plan.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), 1 + 2 * 9 + 2);
    assert_eq!(names[0], "model.embed_tokens.weight");
    assert_eq!(names[10], "model.layers.1.input_layernorm.weight");
    assert_eq!(names[20], "lm_head.weight");
    assert_eq!(operands(&plan, "lm_head.weight"), ["a:lm_head.weight", "b:lm_head.weight"]);
    assert_eq!(plan.tensors()[0].info.shape, [testing::VOCABULARY, 5]);
    assert_eq!(plan.donor().label(), "a");
    assert!(plan.warnings().is_empty());
}

#[test]
fn a_base_that_is_not_listed_takes_part_behind_the_others() {
    let text = "
merge_method: ties
base_model: base
models: [{model: b}, {model: a}]
parameters: {weight: 1, density: 0.5}
";
    let planned = plan(text, &three()).unwrap();
    let norm = "model.norm.weight";
    assert_eq!(operands(&planned, norm), ["b", "a", "base"].map(|model| format!("{model}:{norm}")));
    assert_eq!(planned.donor().label(), "base");

    let listed_first = text.replace("models: [", "models: [{model: base}, ");
    let planned = plan(&listed_first, &three()).unwrap();
    assert_eq!(operands(&planned, norm), ["b", "a", "base"].map(|model| format!("{model}:{norm}")));
}

#[test]
fn slices_number_output_layers_and_take_their_own_sources() {
    let plan = plan(
        "
merge_method: passthrough
slices:
- sources: [{model: a, layer_range: [0, 2]}]
- sources: [{model: b, layer_range: [1, 2]}]
- sources: [{model: b, layer_range: [0, 1]}]
",
        &three(),
    )
    .unwrap();
    let layer = |index: usize| format!("model.layers.{index}.mlp.up_proj.weight");
    let sources = [("a", 0), ("a", 1), ("b", 1), ("b", 0)];
    for (output, (model, input)) in sources.into_iter().enumerate() {
        assert_eq!(operands(&plan, &layer(output)), [format!("{model}:{}", layer(input))]);
    }
    let embeddings = "model.embed_tokens.weight";
    assert_eq!(operands(&plan, embeddings), [format!("a:{embeddings}")]);
    assert_eq!(operands(&plan, "lm_head.weight"), ["b:lm_head.weight"]);
    assert_eq!(plan.model_config()["num_hidden_layers"], 4);
}

#[test]
fn a_tied_model_gives_its_embeddings_where_another_has_a_head() {
    let mut tied = tiny("a");
    tied.remove("lm_head.weight");
    tied.config["tie_word_embeddings"] = json!(true);
    let both_tied = [tied.clone(), TinyModel { path: "b".to_owned(), ..tied.clone() }];
    let planned = plan(LINEAR, &store(both_tied)).unwrap();
    assert_eq!(planned.tensors().last().unwrap().name, "model.norm.weight");
    assert_eq!(planned.model_config()["tie_word_embeddings"], true);

    let planned = plan(LINEAR, &store([tied, tiny("b")])).unwrap();
    let expected = ["a:model.embed_tokens.weight", "b:lm_head.weight"];
    assert_eq!(operands(&planned, "lm_head.weight"), expected);
    // Loaders would ignore the head otherwise.
    assert_eq!(planned.model_config()["tie_word_embeddings"], false);
}

#[test]
fn output_types_follow_the_config_and_else_the_inputs() {
    let dtypes = |a: DType, b: DType, config: &str| {
        let models = [TinyModel::noise("a", 1, a, 1), TinyModel::noise("b", 1, b, 2)];
        let plan = plan(&format!("{LINEAR}{config}"), &store(models)).unwrap();
        let dtype = plan.tensors()[0].info.dtype;
        assert!(plan.tensors().iter().all(|tensor| tensor.info.dtype == dtype));
        (dtype, plan.model_config()["torch_dtype"].as_str().unwrap().to_owned())
    };
    assert_eq!(dtypes(BF16, BF16, ""), (BF16, "bfloat16".to_owned()));
    assert_eq!(dtypes(BF16, F16, ""), (F32, "float32".to_owned()));
    assert_eq!(dtypes(BF16, F64, ""), (F64, "float64".to_owned()));
    assert_eq!(dtypes(F32, F32, "dtype: bfloat16"), (BF16, "bfloat16".to_owned()));
    assert_eq!(dtypes(BF16, BF16, "dtype: float32\nout_dtype: float16").0, F16);
    assert_eq!(dtypes(F32, BF16, "out_dtype: float16"), (F16, "float16".to_owned()));
}

#[test]
fn whole_numbers_are_copied_and_have_to_be_so_in_all_models() {
    let (mut a, mut b) = (tiny("a"), tiny("b"));
    for model in [&mut a, &mut b] {
        model.set("model.norm.weight", I64, &[5], &[1.0; 5]);
    }
    let planned = plan(&format!("{LINEAR}dtype: bfloat16"), &store([a.clone(), b])).unwrap();
    let tensor = planned.tensors().iter().find(|tensor| tensor.name == "model.norm.weight");
    let tensor = tensor.unwrap();
    assert_eq!(tensor.info.dtype, I64);
    assert!(matches!(&tensor.action, Action::Copy { equals, .. } if equals.len() == 1));

    assert_eq!(
        error(LINEAR, &store([a, tiny("b")])).to_string(),
        "tensor `model.norm.weight` has type float32 in `b`, but type int64 in `a`"
    );
}

#[test]
fn missing_parameters_are_named_with_model_tensor_and_field() {
    let missing = error(&LINEAR.replace("b, parameters: {weight: 1}", "b"), &three());
    assert_eq!(
        missing.to_string(),
        "`models[1].parameters.weight` is missing: merge method `linear` needs weight of model `b` \
        for tensor `model.embed_tokens.weight`"
    );
    let filtered = LINEAR.replacen("{weight: 1}", "{weight: [{filter: mlp, value: 1}]}", 1);
    let unmatched = error(&filtered, &three());
    assert_eq!(
        unmatched.to_string(),
        "`models[0].parameters.weight` is given, but none of its filters matches tensor \
        `model.embed_tokens.weight` of model `a`, for which merge method `linear` needs weight"
    );
    assert_eq!(unmatched.field(), Some("models[0].parameters.weight"));
    assert!(unmatched.hint().unwrap().contains("no `filter`"));

    let with_base = error(&format!("{LINEAR}base_model: base\n"), &three());
    assert!(with_base.hint().unwrap().contains("remove `base_model`"), "{with_base}");

    let slerp = "merge_method: slerp\nbase_model: base\nmodels: [{model: a}]";
    assert_eq!(
        error(slerp, &three()).to_string(),
        "`parameters.t` is missing: merge method `slerp` needs t for tensor \
        `model.embed_tokens.weight`"
    );
}

#[test]
fn weights_that_sum_to_zero_are_found_with_their_place() {
    let text = LINEAR.replacen("weight: 1", "weight: -1", 1);
    let error = error(&text, &three());
    assert_eq!(error.field(), Some("models[0].parameters.weight"));
    assert!(error.to_string().contains("all weights sum to 0"), "{error}");
    assert!(plan(&format!("{text}parameters: {{normalize: false}}\n"), &three()).is_ok());
}

#[test]
fn parameters_that_the_method_is_not_defined_for_are_found_with_their_place() {
    let ties = |parameters: &str| {
        format!(
            "merge_method: della\nbase_model: base\nmodels:\n- {{model: a, parameters: \
            {{weight: 1, {parameters}}}}}\n"
        )
    };
    let found = error(&ties("density: 0.9, epsilon: 0.2"), &three());
    assert_eq!(found.field(), Some("models[0].parameters.epsilon"));
    assert_eq!(found.hint(), None);
    let default = error(&ties("density: 0.9"), &three());
    assert!(default.to_string().contains("is 0.15 by default"), "{default}");
    assert!(default.hint().unwrap().contains("`models[0].parameters.epsilon`"));
    assert!(plan(&ties("density: [0.4, 0.6]"), &three()).is_ok());
}

#[test]
fn wrong_models_and_slices_are_described() {
    let deep = TinyModel::noise("deep", 3, F32, 9);
    let mut wide = tiny("wide");
    wide.set("model.embed_tokens.weight", F32, &[9, 5], &[0.0; 45]);
    let mut narrow = tiny("narrow");
    narrow.set("model.norm.weight", F32, &[4], &[0.0; 4]);
    let mut broken = tiny("broken");
    broken.remove("model.layers.1.mlp.up_proj.weight");
    let mut mistral = tiny("mistral");
    mistral.config["architectures"] = json!(["MistralForCausalLM"]);
    let store = store([tiny("a"), tiny("base"), deep, wide, narrow, broken, mistral]);
    let linear = |model: &str| LINEAR.replace("model: b", &format!("model: {model}"));
    let ties = "merge_method: ties\nparameters: {weight: 1}\nmodels: [{model: a}]\n";
    let stack = |sources: &str| {
        format!(
            "merge_method: linear\nparameters: {{weight: 1}}\nslices: [{{sources: [{sources}]}}]\n"
        )
    };
    let cases = [
        (linear("deep"), "`models`: `deep` gives 3 layers, but `a` gives 2"),
        (
            linear("wide"),
            "tensor `model.embed_tokens.weight` has shape [9, 5] in `wide`, but shape [7, 5] in `a`",
        ),
        (
            linear("narrow"),
            "tensor `model.norm.weight` has shape [4] in `narrow`, but shape [5] in `a`",
        ),
        (linear("broken"), "model `broken` has no tensor `model.layers.1.mlp.up_proj.weight`"),
        (linear("mistral"), "`mistral` is a mistral model, but `a` is a llama model"),
        (linear("a"), "`models[1]`: model `a` is already listed as `models[0]`"),
        (linear("absent"), "model directory `absent` does not exist"),
        (
            linear("a@main"),
            "model `a@main` asks for a revision, but models are read from local directories",
        ),
        (ties.to_owned(), "merge method `ties` needs a `base_model`"),
        (
            "merge_method: passthrough\nmodels: [{model: a}, {model: base}]\n".to_owned(),
            "`models`: merge method `passthrough` takes exactly 1 model, but 2 are given",
        ),
        (
            format!("{}base_model: base\n", stack("{model: a, layer_range: [0, 1]}"))
                .replace("linear", "ties"),
            "`slices[0]`: base model `base` is not among the sources",
        ),
        (
            stack("{model: a, layer_range: [0, 3]}"),
            "`slices[0].sources[0].layer_range` is [0, 3], but `a` has 2 layers",
        ),
        (
            stack("{model: a, layer_range: [0, 2]}, {model: base, layer_range: [0, 1]}"),
            "`slices[0]`: `base` gives 1 layer, but `a` gives 2",
        ),
        (
            "merge_method: linear\nmodules: {vision: {models: [{model: a}]}}\n".to_owned(),
            "`modules.vision`: llama models have no module `vision`",
        ),
    ];
    for (text, expected) in cases {
        let error = error(&text, &store);
        assert_eq!(error.to_string(), expected);
        assert!(error.is_users_mistake());
        assert!(error.field().is_some(), "{error}");
    }
    assert!(error(&linear("wide"), &store).hint().unwrap().contains("truncate"));
    assert!(!error(&linear("narrow"), &store).hint().unwrap().contains("truncate"));
}

#[test]
fn allowed_crimes_and_cut_vocabularies_are_planned() {
    let mut mistral = tiny("b");
    mistral.config["architectures"] = json!(["MistralForCausalLM"]);
    let options = PlanOptions { allow_mixed_architectures: true, ..PlanOptions::default() };
    let planned = plan_with(LINEAR, &store([tiny("a"), mistral]), &options).unwrap();
    assert!(matches!(planned.warnings(), [PlanWarning::MixedArchitectures { .. }]));

    let mut small = tiny("b");
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        small.set(name, F32, &[6, 5], &[0.0; 30]);
    }
    let options = PlanOptions { truncate_embeddings: true, ..PlanOptions::default() };
    let planned = plan_with(LINEAR, &store([tiny("a"), small]), &options).unwrap();
    assert_eq!(planned.tensors()[0].info.shape, [6, 5]);
    assert_eq!(planned.model_config()["vocab_size"], 6);
}

#[test]
fn tensors_that_would_get_lost_are_warned_of() {
    let mut a = tiny("a");
    a.set("model.layers.0.self_attn.q_proj.bias", F32, &[5], &[0.0; 5]);
    let planned = plan(LINEAR, &store([a, tiny("b")])).unwrap();
    let [warning] = planned.warnings() else { panic!("{:?}", planned.warnings()) };
    assert_eq!(
        warning.to_string(),
        "tensor `model.layers.0.self_attn.q_proj.bias` of `a` is unknown to its architecture and not \
        alike in all models; it will not be in the output"
    );
}

#[test]
fn weights_with_scales_beside_them_are_refused() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut model = tiny("a");
    model.set(name, F8E4M3, &[11, 5], &[0.5; 55]);
    assert!(plan(LINEAR, &store([model.clone(), tiny("b")])).is_ok());
    let scale = format!("{name}_scale_inv");
    model.set(&scale, F32, &[1, 1], &[0.25]);
    let TinyModel { path, config, tensors } = model;
    let config = ModelConfig::new(config, "config.json".into()).unwrap();
    let reference: ModelReference = path.parse().unwrap();
    let error = InputModel::new(reference, path.into(), Box::new(tensors), config).unwrap_err();
    let expected = format!(
        "`{name}` of `a` has its scale in `{scale}`, so that its own numbers cannot be merged"
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some() && error.is_users_mistake());
}

#[test]
fn what_all_models_have_beyond_their_architecture_is_merged() {
    let with = |path: &str, names: &[&str]| {
        let mut model = tiny(path);
        for name in names {
            model.set(name, F32, &[5], &[0.5; 5]);
        }
        model
    };
    let mut biases = Vec::new();
    let n_layers = tiny("a").config["num_hidden_layers"].as_u64().unwrap();
    for layer in 0..n_layers {
        biases.push(format!("model.layers.{layer}.self_attn.q_proj.bias"));
    }
    let behind = format!("model.layers.{n_layers}.eh_proj.weight");
    let mut names: Vec<&str> = biases.iter().map(String::as_str).collect();
    names.extend([behind.as_str(), "v_head.weight", "model.rotary_emb.inv_freq"]);
    let has = |planned: &MergePlan, name: &str| planned.tensors().iter().any(|t| t.name == name);

    let planned = plan(LINEAR, &store([with("a", &names), with("b", &names)])).unwrap();
    assert_eq!(planned.warnings(), []);
    for name in &names[..names.len() - 1] {
        assert!(has(&planned, name), "{name}");
    }
    assert!(!has(&planned, "model.rotary_emb.inv_freq"));

    // A layer behind the last has no place among rearranged ones.
    let slices = "merge_method: passthrough\nslices:\n\
                  - sources: [{model: a, layer_range: [0, 1]}]\n\
                  - sources: [{model: b, layer_range: [0, 1]}]\n\
                  - sources: [{model: a, layer_range: [0, 1]}]\n";
    let planned = plan(slices, &store([with("a", &names), with("b", &names)])).unwrap();
    for name in ["model.layers.2.self_attn.q_proj.bias", "v_head.weight"] {
        assert!(has(&planned, name), "{name}");
    }
    assert!(!has(&planned, &behind));
    let [first, second] = planned.warnings() else { panic!("{:?}", planned.warnings()) };
    assert!(first.to_string().contains(&behind) && second.to_string().contains(&behind));

    // What not all have alike is left out of rearranged layers, and out of whole models too.
    let some = [biases[0].as_str(), "v_head.weight"];
    let planned = plan(slices, &store([with("a", &some), with("b", &some)])).unwrap();
    assert!(has(&planned, "v_head.weight") && !has(&planned, &biases[0]));
    let mut other = with("b", &names[..1]);
    other.set("v_head.weight", F32, &[4], &[0.0; 4]);
    let planned = plan(LINEAR, &store([with("a", &names), other])).unwrap();
    assert!(!has(&planned, "v_head.weight") && !has(&planned, &biases[0]));
    assert_eq!(planned.warnings().len(), 2);
}

#[test]
fn parameters_keep_the_place_that_they_come_from() {
    let planned = plan(
        "
merge_method: ties
base_model: base
models:
- {model: a, parameters: {weight: [{filter: mlp, value: 2}, {value: [0, 1]}]}}
- {model: b}
parameters: {weight: 3}
",
        &three(),
    )
    .unwrap();
    let of = |name: &str| {
        let tensor = planned.tensors().iter().find(|tensor| tensor.name.ends_with(name)).unwrap();
        let weight = |input: usize| {
            let weight = &tensor.parameters.inputs[input]["weight"];
            (weight.value.as_float(), weight.origin.as_ref().unwrap().path())
        };
        assert_eq!(tensor.parameters.shared["lambda"].origin, None);
        assert_eq!(weight(1), (3.0, "parameters.weight".to_owned()));
        weight(0)
    };
    assert_eq!(
        of("0.mlp.up_proj.weight"),
        (2.0, "models[0].parameters.weight[0].value".to_owned())
    );
    assert_eq!(of("1.input_layernorm.weight").0, 1.0);
    assert_eq!(of("0.input_layernorm.weight").1, "models[0].parameters.weight[1].value");
    assert!(planned.warnings().is_empty(), "{:?}", planned.warnings());
}

/// The field and the text of each warning about a merge of [`three`].
fn warnings(text: &str) -> Vec<(String, String)> {
    let planned = plan(text, &three()).unwrap();
    let text = |warning: &PlanWarning| (warning.field().unwrap().to_owned(), warning.to_string());
    planned.warnings().iter().map(text).collect()
}

#[test]
fn filters_are_told_from_what_other_slices_have() {
    let found = warnings(
        "
merge_method: linear
slices:
- sources: [{model: a, layer_range: [0, 1]}]
  parameters: {weight: [{filter: layers.1., value: 2}, {value: 1}]}
- sources: [{model: a, layer_range: [1, 2]}]
  parameters: {weight: [{filter: layers.1., value: 2}, {filter: layers.1.mlp, value: 3}, {value: 1}]}
",
    );
    let [(first, elsewhere), (second, hidden)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(first, "slices[0].parameters.weight[0].filter");
    assert_eq!(
        elsewhere,
        "filter `layers.1.` matches no tensor that has its parameters from here, only others such \
        as `model.layers.1.input_layernorm.weight`"
    );
    assert_eq!(second, "slices[1].parameters.weight[1].filter");
    assert!(hidden.contains("others come first for all it matches"), "{hidden}");
}

#[test]
fn parameters_that_others_make_idle_are_warned_of() {
    let arithmetic = warnings(
        "
merge_method: task_arithmetic
base_model: base
models: [{model: a, parameters: {weight: 1, density: [{filter: mlp, value: 0.5}, {value: 0.2}]}}]
parameters: {rescale: true, lambda: 0.5}
",
    );
    let reason = "has no effect: `task_arithmetic` keeps every element of the task vectors";
    assert_eq!(
        arithmetic,
        [
            ("models[0].parameters.density".to_owned(), format!("`density` {reason}")),
            ("parameters.rescale".to_owned(), format!("`rescale` {reason}")),
        ]
    );
    let nuslerp = |flatten: &str| {
        warnings(&format!(
            "
merge_method: nuslerp
models: [{{model: a}}, {{model: b}}]
parameters: {{weight: 1, nuslerp_row_wise: true, nuslerp_flatten: {flatten}}}
"
        ))
    };
    let [(field, _)] = &nuslerp("true")[..] else { panic!("{:?}", nuslerp("true")) };
    assert_eq!(field, "parameters.nuslerp_row_wise");
    assert!(nuslerp("false").is_empty());
    assert!(nuslerp("[{filter: mlp, value: false}, {value: true}]").is_empty());
}

#[test]
fn settings_without_effect_are_warned_of() {
    let found = warnings(&format!("{LINEAR}parameters: {{weight: 2}}\n"));
    let [(field, text)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(field, "parameters.weight");
    assert!(text.contains("every tensor finds a nearer one"), "{text}");

    let zero = warnings(&format!(
        "{}parameters: {{normalize: false}}\n",
        LINEAR.replace("weight: 1", "weight: 0")
    ));
    let [(field, text)] = zero.as_slice() else { panic!("{zero:?}") };
    assert_eq!(field, "models[0].parameters.weight");
    assert!(
        text.starts_with("all weights are 0, so that nothing is left, for 21 tensors"),
        "{text}"
    );

    let arithmetic = |normalize: bool| {
        warnings(&format!(
            "
merge_method: task_arithmetic
base_model: base
models: [{{model: a, parameters: {{weight: 1}}}}, {{model: b, parameters: {{weight: -1}}}}]
parameters: {{normalize: {normalize}}}
"
        ))
    };
    assert!(arithmetic(false).is_empty());
    assert!(arithmetic(true)[0].1.starts_with("the weights sum to 0"));

    let shared = warnings(
        "
merge_method: slerp
base_model: base
models: [{model: a}]
parameters: {t: [{filter: lm_hed, value: 0}, {filter: lm_head, value: [0, 1]}, {value: 0.5}]}
",
    );
    let fields: Vec<_> = shared.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["parameters.t[0].filter", "parameters.t[1].value"]);
}

/// Plans the passthrough of a tied Qwen2 on disk with an adapter that holds `tensors`, all zero.
fn adapted(tensors: &[(&str, [usize; 2])]) -> Result<MergePlan, PlanError> {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, bytes: &[u8]| std::fs::write(directory.path().join(file), bytes);
    let named = |name: &str| format!("base_model.model.{name}");
    let views = tensors.iter().map(|&(name, shape)| {
        let zeros: &[u8] = &[0; 4096];
        let bytes = &zeros[..4 * shape.iter().product::<usize>()];
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.into(), bytes);
        (named(name), view.unwrap())
    });
    write("adapter_config.json", br#"{"peft_type": "LORA", "r": 2}"#).unwrap();
    let bytes = safetensors::serialize(views, None).unwrap();
    write("adapter_model.safetensors", &bytes).unwrap();
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models/qt_base");
    let adapter = directory.path().display();
    let text = format!("{{merge_method: passthrough, models: [{{model: {base}+{adapter}}}]}}");
    plan(&text, &ModelStore::new())
}

#[test]
fn the_output_of_an_adapted_model_has_the_config_that_it_needs() {
    let plan = adapted(&[("lm_head.lora_A.weight", [2, 12]), ("lm_head.lora_B.weight", [48, 2])]);
    let plan = plan.unwrap();
    assert_eq!(plan.model_config()["tie_word_embeddings"], false);
    assert!(plan.tensor_infos().contains_key("lm_head.weight"));

    let plan = adapted(&[("model.embed_tokens.weight", [51, 12])]).unwrap();
    assert_eq!(plan.model_config()["tie_word_embeddings"], true);
    assert_eq!(plan.model_config()["vocab_size"], 51);
    assert_eq!(plan.tensor_infos()["model.embed_tokens.weight"].shape, [51, 12]);
}

#[test]
fn an_adapter_that_cannot_be_used_is_blamed_where_it_is_named() {
    let error = adapted(&[("model.norm.lora_A.weight", [2, 12])]).err().unwrap();
    assert_eq!(error.field(), Some("models[0].model"));
    assert!(error.is_users_mistake());
    assert!(error.to_string().ends_with("module `model.norm` has no `lora_B.weight`"), "{error}");
    assert!(error.hint().is_some());
}

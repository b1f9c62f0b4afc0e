use super::*;

fn genome(fields: &str) -> Result<SearchFile, SpaceError> {
    read(&format!("genome: {{{fields}}}\ntasks: [arithmetic]\n"))
}

fn weights(config: &MergeConfig) -> Vec<Vec<f64>> {
    (0..2).map(|input| by_layer(config, input, "weight", "x")).collect()
}

#[test]
fn genotypes_are_ordered_by_group_model_filter_and_parameter() {
    let file = genome(
        "models: [o/a, o/b], merge_method: ties, base_model: o/base, layer_granularity: 4, \
         filters: [self_attn]",
    )
    .unwrap();
    let space = space(&file, 8);
    assert_eq!(space.dimension(), 2 * 2 * 2 * 2);
    assert_eq!(
        names(&space)[..5],
        [
            "models.a.weight[layers 0-3][self_attn]",
            "models.a.density[layers 0-3][self_attn]",
            "models.a.weight[layers 0-3][rest]",
            "models.a.density[layers 0-3][rest]",
            "models.b.weight[layers 0-3][self_attn]",
        ]
    );
    assert_eq!(space.variables()[0].initial, 0.5);
    assert_eq!(space.variables()[1].initial, 1.0);
    let genotype: Vec<f64> = (1..=16).map(|i| f64::from(i) / 16.0).collect();
    let config = space.decode_values(&genotype).unwrap();
    let expected = MergeConfig::parse(
        "
merge_method: ties
base_model: o/base
slices:
  - sources:
      - model: o/a
        layer_range: [0, 4]
        parameters:
          weight: [{filter: self_attn, value: 0.0625}, {value: 0.1875}]
          density: [{filter: self_attn, value: 0.125}, {value: 0.25}]
      - model: o/b
        layer_range: [0, 4]
        parameters:
          weight: [{filter: self_attn, value: 0.3125}, {value: 0.4375}]
          density: [{filter: self_attn, value: 0.375}, {value: 0.5}]
      - {model: o/base, layer_range: [0, 4]}
  - sources:
      - model: o/a
        layer_range: [4, 8]
        parameters:
          weight: [{filter: self_attn, value: 0.5625}, {value: 0.6875}]
          density: [{filter: self_attn, value: 0.625}, {value: 0.75}]
      - model: o/b
        layer_range: [4, 8]
        parameters:
          weight: [{filter: self_attn, value: 0.8125}, {value: 0.9375}]
          density: [{filter: self_attn, value: 0.875}, {value: 1.0}]
      - {model: o/base, layer_range: [4, 8]}
parameters: {normalize: true, int8_mask: true}
dtype: bfloat16
",
        Path::new("expected.yml"),
    )
    .unwrap();
    assert_eq!(config, expected);
    assert_eq!(reread(&config), config);
}

#[test]
fn one_group_is_one_slice() {
    let file = genome("models: [a, b], merge_method: linear").unwrap();
    let config = space(&file, 8).decode(&[0.25, 0.75]).unwrap();
    assert_eq!(slices(&config).len(), 1);
    assert_eq!(slices(&config)[0].sources[1].layers, 0..8);
    assert_eq!(weights(&config), [[0.25; 8], [0.75; 8]]);
    assert_eq!(scalar(&config.parameters, "normalize"), Scalar::Bool(true));
    assert_eq!(scalar(&config.parameters, "int8_mask"), Scalar::Bool(true));
}

#[test]
fn values_outside_of_the_bounds_are_decoded_as_in_python() {
    let fields = "models: [a, b], base_model: base, merge_method: dare_ties";
    let config = space(&genome(fields).unwrap(), 8).decode_values(&[-1.5, -2.0, 3.0, 0.5]);
    let config = config.unwrap();
    assert_eq!(weights(&config), [[1.5; 8], [3.0; 8]]);
    assert_eq!(by_layer(&config, 0, "density", "x"), [1.0; 8]);
    let negative = genome(&format!("{fields}, allow_negative_weights: true")).unwrap();
    let negative = space(&negative, 8);
    assert_eq!((negative.variables()[0].low, negative.variables()[0].high), (-1.0, 1.0));
    assert_eq!(
        weights(&negative.decode_values(&[-1.5, 1.0, 3.0, 1.0]).unwrap()),
        [[-1.5; 8], [3.0; 8]]
    );
}

#[test]
fn smooth_genomes_have_gradients() {
    let file = genome(
        "models: [a, b], base_model: base, merge_method: task_arithmetic, layer_granularity: 4, \
         smooth: true",
    )
    .unwrap();
    let space = space(&file, 8);
    assert_eq!(names(&space)[0], "models.a.weight[point 1 of 2]");
    assert_eq!(space.variables()[0].high, 2.0);
    let config = space.decode_values(&[0.1, 0.2, 0.3, 0.4]).unwrap();
    let expected = MergeConfig::parse(
        "
merge_method: task_arithmetic
base_model: base
models:
  - {model: a, parameters: {weight: [0.1, 0.3]}}
  - {model: b, parameters: {weight: [0.2, 0.4]}}
  - {model: base}
parameters: {normalize: false, int8_mask: true}
dtype: bfloat16
",
        Path::new("expected.yml"),
    )
    .unwrap();
    assert_eq!(config, expected);
}

#[test]
fn slerp_takes_the_two_largest() {
    let file = genome("models: [a, b, c], merge_method: slerp, layer_granularity: 4").unwrap();
    let space = space(&file, 8);
    assert_eq!(names(&space)[3..], ["a", "b", "c"].map(|m| format!("models.{m}.t[layers 4-7]")));
    let config = space.decode_values(&[0.0, 1.0, 0.5, 0.5, 0.5, 0.0]).unwrap();
    let slices = slices(&config);
    let models = |slice: &OutputSlice| -> Vec<String> {
        slice.sources.iter().map(|source| source.model.to_string()).collect()
    };
    assert_eq!(models(&slices[0]), ["b", "c"]);
    assert_eq!(slices[0].base_model.as_ref().unwrap().to_string(), "b");
    let t = scalar(&slices[0].parameters, "t").as_number().unwrap();
    assert!((t - 0.377_540_668_798_145_4).abs() < 1e-15, "{t}");
    assert_eq!(models(&slices[1]), ["a", "b"]);
    assert_eq!(scalar(&slices[1].parameters, "t"), Scalar::Float(0.5));
    assert_eq!(slices[1].sources[0].layers, 4..8);
    assert_eq!(reread(&config), config);
}

#[test]
fn files_of_mergekit_evolve_run_unchanged() {
    let file = read(
        "
genome:
  models: [a, b]
  merge_method: dare_ties
  base_model: base
  tokenizer_source: base
  layer_granularity: 0
  normalise: true
tasks:
  - arithmetic
  - {name: sorting, weight: -0.5, metric: 'exact_match,strict-match', note: x}
limit: 100
num_fewshot: 4
shuffle: true
random_init: true
apply_chat_template: true
fewshot_as_multiturn: false
strategy: pool
",
    )
    .unwrap();
    assert_eq!(file.evaluation.limit, Some(100));
    assert_eq!(file.evaluation.num_fewshot, Some(4));
    assert_eq!(file.tasks[0].metric, "acc,none");
    assert_eq!(file.tasks[1].weight, -0.5);
    let warnings: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "searches/try.yml:18:1: strategy: unknown field `strategy`, which is passed over",
            "searches/try.yml:8:3: genome.normalise: unknown field `normalise`, which is passed over",
            "searches/try.yml:11:71: tasks[1].note: unknown field `note`, which is passed over",
            "searches/try.yml:14:1: shuffle: items are not shuffled, but taken in the order of the \
             task's file",
        ]
    );
    assert_eq!(file.warnings[1].hint().unwrap(), "did you mean `normalize`?");
    let starts: Vec<f64> = space(&file, 8).variables().iter().map(|v| v.initial).collect();
    assert!(starts.iter().all(|start| (0.0..=1.0).contains(start)));
    assert_ne!(starts, [0.5, 1.0, 0.5, 1.0]);
    assert_eq!(starts, space(&file, 8).variables().iter().map(|v| v.initial).collect::<Vec<_>>());
}

#[test]
fn genomes_that_fit_no_merge_are_refused() {
    for (fields, message) in [
        (
            "models: [a], merge_method: slerp",
            "1:18: genome.models: `slerp` needs at least two models",
        ),
        (
            "models: [a, b], merge_method: slerp, smooth: true",
            "1:55: genome.smooth: `slerp` cannot be searched with `smooth`",
        ),
        (
            "models: [a, b], merge_method: ties",
            "1:40: genome.merge_method: `ties` needs a `base_model`",
        ),
        (
            "models: [a, b], merge_method: linear, base_model: c",
            "1:60: genome.base_model: `linear` has no use for a base model that is not one of \
             `models`",
        ),
        (
            "models: [a, b], merge_method: tiess",
            "1:40: genome.merge_method: `tiess` is not possible",
        ),
        (
            "models: [a, b], merge_method: linear, tokenizer_source: union",
            "1:66: genome.tokenizer_source: a vocabulary other than the base model's is not \
             supported yet",
        ),
        (
            "models: [], merge_method: linear",
            "1:18: genome.models: expected a list of at least one model, found an empty list",
        ),
        ("merge_method: linear", "1:9: genome: field `models` is missing"),
    ] {
        let error = genome(fields).unwrap_err();
        assert_eq!(error.to_string(), format!("searches/try.yml:{message}"));
        assert!(error.is_users_mistake());
    }
    let file = genome("models: [a, b], merge_method: linear, layer_granularity: 3").unwrap();
    let error = SearchSpace::new(&file, 8).unwrap_err();
    assert_eq!(
        error.to_string(),
        "searches/try.yml:1:67: genome.layer_granularity: groups of 3 layers do not divide 8 layers"
    );
}

#[test]
fn a_listed_base_is_pointed_out() {
    let fields = "models: [a, base], merge_method: ties, base_model: base";
    let file = genome(fields).unwrap();
    assert_eq!(file.warnings.len(), 1);
    assert_eq!(file.models().len(), 2);
    let config = space(&file, 8).decode(&[0.5; 4]).unwrap();
    assert_eq!(slices(&config)[0].sources.len(), 2);
}

#[test]
fn chat_templates_are_mentioned_where_a_model_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let text = |options: &str| {
        format!(
            "genome: {{models: ['{0}', '{0}/x'], merge_method: linear}}\ntasks: [t]\n{options}\n",
            folder.path().display()
        )
    };
    assert!(read(&text("")).unwrap().warnings.is_empty());
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"chat_template": "x"}"#)
        .unwrap();
    let warnings = |options: &str| -> Vec<String> {
        read(&text(options)).unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    let fact = "prompts are scored as they are, although a model has a chat template";
    assert_eq!(warnings(""), [format!("searches/try.yml:1:1: {fact}")]);
    let place = "searches/try.yml:3:1: apply_chat_template";
    assert_eq!(warnings("apply_chat_template: true"), [format!("{place}: {fact}")]);
    assert!(warnings("apply_chat_template: false").is_empty());
}

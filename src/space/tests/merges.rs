use super::*;

const DEMO: &str = "
merge_method: ties
base_model: demo/base
models:
  - model: demo/adder
    parameters:
      weight: {uniform: [0, 1], init: 0.25, layer_groups: 4}
      density: {uniform: [0.1, 1.0], filters: [self_attn, mlp]}
  - model: demo/sorter
    parameters:
      weight: {uniform: [0, 2], layer_groups: 3, smooth: true}
      density: {log_uniform: [0.04, 1.0]}
dtype: bfloat16
";

#[test]
fn variables_are_named_by_their_path() {
    let file = merge(DEMO).unwrap();
    let space = space(&file, 8);
    assert_eq!(
        names(&space),
        [
            "models.adder.weight[layers 0-1]",
            "models.adder.weight[layers 2-3]",
            "models.adder.weight[layers 4-5]",
            "models.adder.weight[layers 6-7]",
            "models.adder.density[self_attn]",
            "models.adder.density[mlp]",
            "models.adder.density[rest]",
            "models.sorter.weight[point 1 of 3]",
            "models.sorter.weight[point 2 of 3]",
            "models.sorter.weight[point 3 of 3]",
            "models.sorter.density",
        ]
    );
    assert_eq!(space.variables()[0].initial, 0.25);
    assert_eq!(space.variables()[4].initial, 0.55);
    assert_eq!(space.variables()[7].initial, 1.0);
    let density = &space.variables()[10];
    assert!(density.log && (density.initial - 0.2).abs() < 1e-15);
    let models: Vec<String> = file.models().iter().map(ToString::to_string).collect();
    assert_eq!(models, ["demo/base", "demo/adder", "demo/sorter"]);
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
}

#[test]
fn groups_of_layers_become_slices_that_hold_the_base() {
    let file = merge(DEMO).unwrap();
    let space = space(&file, 8);
    let values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0, 0.0, 0.9];
    let config = space.decode_values(&values).unwrap();
    let slices = slices(&config);
    let ranges: Vec<_> = slices.iter().map(|slice| slice.sources[0].layers.clone()).collect();
    assert_eq!(ranges, [0..2, 2..4, 4..6, 6..8]);
    for slice in slices {
        let models: Vec<_> = slice.sources.iter().map(|s| s.model.to_string()).collect();
        assert_eq!(models, ["demo/adder", "demo/sorter", "demo/base"]);
        assert!(slice.sources[2].parameters.is_empty());
    }
    assert_eq!(by_layer(&config, 0, "weight", "x"), [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]);
    assert_eq!(by_layer(&config, 0, "density", "layers.3.mlp.up_proj.weight"), [0.6; 8]);
    assert_eq!(by_layer(&config, 0, "density", "model.norm.weight"), [0.7; 8]);
    assert_eq!(by_layer(&config, 1, "density", "x"), [0.9; 8]);
    let smooth = by_layer(&config, 1, "weight", "x");
    for (layer, weight) in smooth.iter().enumerate() {
        let x = layer as f64 / 7.0 * 2.0;
        let expected = if x <= 1.0 { 1.0 + x } else { 4.0 - 2.0 * x };
        assert!((weight - expected).abs() < 1e-12, "layer {layer}: {weight} for {expected}");
    }
    assert_eq!(reread(&config), config);
}

#[test]
fn without_groups_the_recipe_keeps_its_form() {
    let file = merge(
        "
merge_method: linear
models:
  - {model: a, parameters: {weight: {uniform: [0, 1], layer_groups: 2, smooth: true}}}
  - {model: b, parameters: {weight: [{uniform: [0, 1]}, 0.5]}}
  - model: c
    parameters:
      weight:
        - {filter: mlp, value: {uniform: [0, 1], layer_groups: 3, smooth: true}}
        - {value: {uniform: [0, 1]}}
parameters: {normalize: true}
dtype: float32
",
    )
    .unwrap();
    let space = space(&file, 8);
    assert_eq!(
        names(&space),
        [
            "models.a.weight[point 1 of 2]",
            "models.a.weight[point 2 of 2]",
            "models.b.weight[0]",
            "models.c.weight[mlp][point 1 of 3]",
            "models.c.weight[mlp][point 2 of 3]",
            "models.c.weight[mlp][point 3 of 3]",
            "models.c.weight[rest]",
        ]
    );
    let config = space.decode_values(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]).unwrap();
    let expected = MergeConfig::parse(
        "
merge_method: linear
models:
  - {model: a, parameters: {weight: [0.1, 0.2]}}
  - {model: b, parameters: {weight: [0.3, 0.5]}}
  - {model: c, parameters: {weight: [{filter: mlp, value: [0.4, 0.5, 0.6]}, {value: 0.7}]}}
parameters: {normalize: true}
dtype: float32
",
        Path::new("expected.yml"),
    )
    .unwrap();
    assert_eq!(config, expected);
}

#[test]
fn uneven_groups_are_cut_at_every_boundary() {
    let file = merge(
        "
merge_method: linear
models:
  - {model: a, parameters: {weight: {uniform: [0, 9], layer_groups: 3}}}
  - {model: b, parameters: {weight: {uniform: [0, 9], layer_groups: 2}}}
",
    )
    .unwrap();
    let space = space(&file, 8);
    let config = space.decode_values(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let ranges: Vec<_> = slices(&config).iter().map(|s| s.sources[1].layers.clone()).collect();
    assert_eq!(ranges, [0..3, 3..4, 4..6, 6..8]);
    let group = |groups: usize| (0..8).map(move |layer| layer * groups / 8);
    let a: Vec<f64> = group(3).map(|g| 1.0 + g as f64).collect();
    let b: Vec<f64> = group(2).map(|g| 4.0 + g as f64).collect();
    assert_eq!(by_layer(&config, 0, "weight", "x"), a);
    assert_eq!(by_layer(&config, 1, "weight", "x"), b);
    assert_eq!(names(&space)[1], "models.a.weight[layers 3-5]");
}

#[test]
fn gradients_around_the_groups_keep_their_values() {
    let text = |weight: &str| {
        format!(
            "
merge_method: ties
base_model: base
models:
  - {{model: a, parameters: {{weight: {weight}, density: [0.2, 1.0, 0.4]}}}}
  - {{model: b, parameters: {{weight: 1.0}}}}
parameters:
  density: {{uniform: [0.1, 1], layer_groups: 2, smooth: true}}
"
        )
    };
    let whole = merge(&text("0.5")).unwrap();
    let whole = space(&whole, 8).decode_values(&[0.3, 0.8]).unwrap();
    let cut = merge(&text("{uniform: [0, 1], layer_groups: 3}")).unwrap();
    let cut = space(&cut, 8).decode_values(&[0.1, 0.2, 0.3, 0.3, 0.8]).unwrap();
    assert_eq!(slices(&cut).len(), 3);
    assert!(!cut.parameters.contains_key("density"));
    for input in [0, 1] {
        let pairs = by_layer(&whole, input, "density", "x")
            .into_iter()
            .zip(by_layer(&cut, input, "density", "x"));
        for (whole, cut) in pairs {
            assert_eq!(whole as f32, cut as f32);
        }
    }
    assert_eq!(reread(&cut), cut);
}

#[test]
fn slices_have_groups_of_their_own() {
    let file = merge(
        "
merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [0, 4]}]
    parameters: {t: {uniform: [0, 1], layer_groups: 2}}
  - sources: [{model: a, layer_range: [2, 8]}, {model: b, layer_range: [2, 8]}]
    parameters: {t: [{filter: mlp, value: 0.5}]}
parameters:
  t: {uniform: [0, 1], layer_groups: 3}
",
    )
    .unwrap();
    let space = space(&file, 8);
    assert_eq!(
        names(&space),
        [
            "slices[0].parameters.t[layers 0-1]",
            "slices[0].parameters.t[layers 2-3]",
            "parameters.t[group 1 of 3]",
            "parameters.t[group 2 of 3]",
            "parameters.t[group 3 of 3]",
        ]
    );
    let config = space.decode_values(&[0.1, 0.2, 0.3, 0.4, 0.6]).unwrap();
    let ranges: Vec<_> = slices(&config).iter().map(|s| s.sources[1].layers.clone()).collect();
    assert_eq!(ranges, [0..2, 2..4, 2..4, 4..6, 6..8]);
    let t = |tensor| by_layer(&config, 0, "t", tensor);
    assert_eq!(t("x"), [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.6, 0.6]);
    assert_eq!(t("mlp"), [0.1, 0.1, 0.2, 0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    assert_eq!(reread(&config), config);
}

#[test]
fn the_parameters_of_one_module_have_groups() {
    let file = merge(
        "
merge_method: linear
modules:
  default:
    models:
      - {model: x/m, parameters: {weight: {uniform: [0, 1], layer_groups: 2}}}
      - {model: y/m, parameters: {weight: 1}}
",
    )
    .unwrap();
    let space = space(&file, 4);
    assert_eq!(names(&space)[0], "modules.default.models.x/m.weight[layers 0-1]");
    let config = space.decode(&[0.0, 1.0]).unwrap();
    let Recipe::Modules(modules) = &config.recipe else { panic!("{config:?}") };
    let Recipe::Slices(slices) = &modules["default"].recipe else { panic!("{modules:?}") };
    assert_eq!(scalar(&slices[1].sources[0].parameters, "weight"), Scalar::Float(1.0));
    assert_eq!(reread(&config), config);
}

#[test]
fn models_listed_twice_have_counted_names() {
    let file = merge(
        "
merge_method: linear
models:
  - {model: m, parameters: {weight: {uniform: [0, 1]}}}
  - {model: m, parameters: {weight: {uniform: [0, 1]}}}
",
    )
    .unwrap();
    assert_eq!(names(&space(&file, 8)), ["models.m.weight", "models.m.weight #2"]);
}

use std::collections::HashSet;
use std::fmt::Write;

use proptest::prelude::*;

use super::super::Decoder;
use super::*;

const LAYERS: usize = 8;

/// One parameter: a variable with whatever options, or something fixed.
fn setting() -> impl Strategy<Value = String> {
    let options = (1usize..5, 0usize..3, any::<bool>(), any::<bool>(), 1u32..100, 1u32..100);
    prop_oneof![
        4 => options.prop_map(|(groups, filters, smooth, log, low, width)| {
            let kind = if log { "log_uniform" } else { "uniform" };
            let (low, high) = (f64::from(low) / 200.0, f64::from(low + width) / 200.0);
            let mut text = format!("{{{kind}: [{low}, {high}], layer_groups: {groups}");
            if smooth && groups > 1 {
                text += ", smooth: true";
            }
            if filters > 0 {
                let filters = ["self_attn", "mlp"][..filters].join(", ");
                write!(text, ", filters: [{filters}]").unwrap();
            }
            text + "}"
        }),
        1 => Just("0.5".to_owned()),
        1 => Just("[0.25, {uniform: [0, 1]}, 0.75]".to_owned()),
        1 => Just("[{filter: mlp, value: {uniform: [0, 1], layer_groups: 2}}, {value: 0.5}]".to_owned()),
        1 => Just("[{filter: mlp, value: [0.1, 0.3, {uniform: [0, 1]}]}, {value: 0.5}]".to_owned()),
    ]
}

fn search_file() -> impl Strategy<Value = String> {
    let settings = prop::collection::vec(setting(), 5);
    (settings, any::<bool>()).prop_map(|(settings, in_slices)| {
        let [a, b, c, d, outer] = settings.as_slice() else { unreachable!() };
        let range = |first: usize, end: usize| {
            if in_slices { format!(", layer_range: [{first}, {end}]") } else { String::new() }
        };
        let models = |indent: &str, first: usize, end: usize, a: &str, b: &str| {
            let range = range(first, end);
            format!(
                "{indent}- {{model: x/one{range}, parameters: {{weight: {a}, density: {b}}}}}\n\
                 {indent}- {{model: x/two{range}, parameters: {{weight: {c}}}}}\n\
                 {indent}- {{model: x/base{range}}}\n",
            )
        };
        let recipe = if in_slices {
            format!(
                "  slices:\n    - sources:\n{}    - sources:\n{}      parameters:\n        \
                 density: {d}\n",
                models("        ", 0, 5, a, b),
                models("        ", 1, 7, b, a),
            )
        } else {
            format!("  models:\n{}", models("    ", 0, 0, a, b))
        };
        format!(
            "merge:\n  merge_method: ties\n  base_model: x/base\n{recipe}  parameters:\n    \
             density: {outer}\n    lambda: {{uniform: [0, 2]}}\ntasks: [t]\n"
        )
    })
}

/// Every number that stands in the config's text.
fn numbers(config: &MergeConfig) -> HashSet<u64> {
    fn collect(value: &serde_yaml::Value, found: &mut HashSet<u64>) {
        match value {
            serde_yaml::Value::Number(number) => {
                found.extend(number.as_f64().map(f64::to_bits));
            }
            serde_yaml::Value::Sequence(items) => items.iter().for_each(|v| collect(v, found)),
            serde_yaml::Value::Mapping(map) => map.values().for_each(|v| collect(v, found)),
            _ => {}
        }
    }
    let mut found = HashSet::new();
    collect(&config.to_value(), &mut found);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn decoded_configs_read_back_and_use_every_variable(
        text in search_file(),
        seed in prop::collection::vec(-0.25f64..1.25, 200),
    ) {
        let file = read(&text).unwrap();
        let space = space(&file, LAYERS);
        let point = &seed[..space.dimension()];
        let config = space.decode(point).unwrap();
        let again = reread(&config);
        prop_assert_eq!(&again, &config);
        prop_assert_eq!(again.to_yaml(), config.to_yaml());

        let values = space.values(point);
        prop_assert_eq!(values.len(), space.variables().len());
        for (Variable { low, high, .. }, value) in space.variables().iter().zip(&values) {
            prop_assert!(low <= value && value <= high);
        }
        prop_assert_eq!(&space.decode_values(&values).unwrap(), &config);

        let names: HashSet<&str> = names(&space).into_iter().collect();
        prop_assert_eq!(names.len(), space.dimension());
        let Decoder::Merge(template) = &space.decoder else { unreachable!() };
        prop_assert!(template.uses(space.dimension()).iter().all(|uses| *uses > 0));
    }

    #[test]
    fn a_variable_changes_its_own_numbers_only(
        text in search_file(), which in any::<prop::sample::Index>(),
    ) {
        let file = read(&text).unwrap();
        let space = space(&file, LAYERS);
        let which = which.index(space.dimension());
        let mut values: Vec<f64> = (0..space.dimension()).map(|i| 100.0 + i as f64).collect();
        let before = numbers(&space.decode_values(&values).unwrap());
        values[which] = 1000.5;
        let after = numbers(&space.decode_values(&values).unwrap());
        prop_assert!(before != after);
    }

    #[test]
    fn genotypes_have_the_length_of_their_array(
        method in prop::sample::select(vec!["linear", "task_arithmetic", "ties", "dare_ties", "slerp"]),
        models in 2usize..5,
        granularity in prop::sample::select(vec![0usize, 1, 2, 4, 8]),
        filters in 0usize..3,
        smooth: bool,
        negative: bool,
        seed in prop::collection::vec(0.0f64..1.0, 400),
    ) {
        let plain = method == "slerp";
        let filters = if plain { 0 } else { filters };
        let names: Vec<String> = (0..models).map(|model| format!("m{model}")).collect();
        let base = if matches!(method, "linear" | "slerp") { "" } else { ", base_model: base" };
        let text = format!(
            "genome: {{merge_method: {method}, models: [{}]{base}, layer_granularity: {granularity}, \
             filters: [{}], smooth: {}, allow_negative_weights: {negative}}}\ntasks: [t]\n",
            names.join(", "),
            ["self_attn", "mlp"][..filters].join(", "),
            smooth && !plain,
        );
        let file = read(&text).unwrap();
        let space = space(&file, LAYERS);
        let groups = LAYERS.checked_div(granularity).unwrap_or(1);
        let parameters = if method.ends_with("ties") { 2 } else { 1 };
        prop_assert_eq!(space.dimension(), groups * models * (filters + 1) * parameters);
        let config = space.decode(&seed[..space.dimension()]).unwrap();
        prop_assert_eq!(&reread(&config), &config);
        let initial = space.values(&space.initial());
        for (variable, value) in space.variables().iter().zip(initial) {
            prop_assert!((variable.initial - value).abs() < 1e-12);
        }
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>(), file in search_file(), cut in 0usize..600) {
        let _ = read(&text);
        let cut: String = file.chars().take(cut).collect();
        let _ = read(&cut);
        let _ = read(&file.replacen("uniform", &text, 1));
    }
}

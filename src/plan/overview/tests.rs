use super::super::testing::{TinyModel, plan, store};
use super::*;
use crate::kernels::dtype::DType::F32;
use crate::methods::ParameterValue::Float;

fn planned(text: &str) -> MergePlan {
    let models = ["a", "b"].map(|name| TinyModel::noise(name, 5, F32, 1));
    plan(text, &store(models)).unwrap()
}

#[test]
fn layers_of_a_kind_are_one_line() {
    let plan = planned(
        "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}",
    );
    let overview = Overview::new(&plan);
    assert_eq!(overview.kinds.len(), 1 + 9 + 2);
    let count: usize = overview.kinds.iter().map(|kind| kind.tensors.len()).sum();
    assert_eq!(count, plan.tensors().len());
    let norm = &overview.kinds[1];
    assert_eq!(norm.name, "model.layers.*.input_layernorm.weight");
    assert_eq!(norm.layers, [(0, 4)]);
    assert_eq!(norm.part(), "input_layernorm");
    assert_eq!(overview.kinds[0].part(), "embed_tokens");
    assert!(overview.kinds[0].layers.is_empty());
}

#[test]
fn parameters_are_gathered_by_course() {
    let plan = planned(
        "
merge_method: slerp
base_model: a
models: [{model: b}]
parameters:
  t:
  - {filter: q_proj, value: [0, 1, 0]}
  - {filter: mlp, value: [1, 0.5]}
  - {value: 0.5}
",
    );
    let overview = Overview::new(&plan);
    let [t] = overview.parameters.as_slice() else { panic!("{:?}", overview.parameters) };
    assert_eq!((t.name, &t.model, t.is_default), ("t", &None, false));
    let of = |name: &str| Tensors::Of(vec![name.to_owned()]);
    let expected = [
        (Course::Through([0.0, 1.0, 0.0].map(Float).to_vec()), of("self_attn.q_proj")),
        (Course::Through([1.0, 0.5].map(Float).to_vec()), of("mlp")),
        (Course::Constant(Float(0.5)), Tensors::Rest),
    ];
    assert_eq!(t.courses.len(), expected.len());
    for course in expected {
        assert!(t.courses.contains(&course), "{course:?} in {:?}", t.courses);
    }
}

#[test]
fn kinds_of_several_slices_are_told_apart_by_their_layers() {
    let courses = |first: &str, second: &str| {
        let text = format!(
            "
merge_method: ties
base_model: a
parameters: {{weight: 1}}
slices:
- sources: [{{model: a, layer_range: [0, 2]}}, {{model: b, layer_range: [0, 2]}}]
  parameters: {{lambda: {first}}}
- sources:
  - {{model: a, layer_range: [2, 5]}}
  - {{model: b, layer_range: [2, 5]}}
  - {{model: c, layer_range: [2, 5]}}
  parameters: {{lambda: {second}}}
"
        );
        let models = ["a", "b", "c"].map(|name| TinyModel::noise(name, 5, F32, 1));
        let plan = plan(&text, &store(models)).unwrap();
        let mut parameters = Overview::new(&plan).parameters.into_iter();
        parameters.find(|parameter| parameter.name == "lambda").unwrap().courses
    };
    let of = |value: f64, names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        (Course::Constant(Float(value)), Tensors::Of(names))
    };
    let rest = |value: f64| (Course::Constant(Float(value)), Tensors::Rest);
    let slices = courses("0.25", "0.5");
    assert_eq!(slices, [of(0.25, &["embed_tokens", "layers 0-1"]), rest(0.5)]);
    let part = courses("0.25", "[{filter: mlp, value: 1}, {value: 0.25}]");
    assert_eq!(part, [of(1.0, &["mlp of layers 2-4"]), rest(0.25)]);
    let tensor = courses("[{filter: q_proj, value: 1}, {value: 0.25}]", "0.25");
    assert_eq!(tensor, [of(1.0, &["self_attn.q_proj of layers 0-1"]), rest(0.25)]);
}

#[test]
fn models_have_their_own_parameters() {
    let plan = planned(
        "
merge_method: ties
base_model: a
models: [{model: b, parameters: {weight: 0.5}}]
",
    );
    let parameters = Overview::new(&plan).parameters;
    let weight = &parameters[0];
    assert_eq!((weight.name, weight.model.as_deref()), ("weight", Some("b")));
    assert_eq!(weight.courses, [(Course::Constant(Float(0.5)), Tensors::All)]);
    assert!(parameters[1..].iter().all(|parameter| parameter.is_default));
}

#[test]
fn courses_with_many_turns_have_bounds() {
    let values: Vec<_> = (0..20).map(|index| Float(f64::from(index % 3))).collect();
    assert_eq!(Course::of(&values), Course::Between(Float(0.0), Float(2.0)));
    let plateau = [0.0, 1.0, 1.0, 2.0].map(Float);
    assert_eq!(Course::of(&plateau), Course::Through([0.0, 2.0].map(Float).to_vec()));
}

#[test]
fn numbers_that_follow_each_other_are_runs() {
    assert_eq!(runs(&[0, 1, 2, 5, 7, 8].into()), [(0, 2), (5, 5), (7, 8)]);
}

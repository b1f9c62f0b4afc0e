use std::path::PathBuf;

use serde_json::json;

use std::sync::Arc;

use super::*;
use crate::architecture::ModelConfig;
use crate::checkpoint::{MemoryCheckpoint, TensorInfo};
use crate::kernels::dtype::{DType, narrow};

fn model(label: &str, tensors: &[(&str, &[f32])]) -> Model {
    let mut source = MemoryCheckpoint::new();
    for (name, values) in tensors {
        source.insert(name, &[values.len()], values).unwrap();
    }
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1});
    let config = ModelConfig::new(config, PathBuf::from("config.json")).unwrap();
    Model::new(label.to_owned(), Arc::new(source), Some(&config)).0
}

fn measure(a: &Model, b: &Model, base: Option<&Model>) -> Result<Difference, InspectError> {
    let options = MeasureOptions { threads: Some(2), ..MeasureOptions::default() };
    Difference::measure(a, b, base, &options, &|_| {})
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const UP: &str = "model.layers.0.mlp.up_proj.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

#[test]
fn what_only_one_has_is_listed() {
    let a = model("a", &[(NORM, &[1.0, 2.0]), (UP, &[0.0; 3]), ("extra", &[1.0])]);
    let b = model("b", &[(UP, &[0.0; 2]), (NORM, &[1.0, 4.0]), ("other", &[1.0, 1.0])]);
    let difference = measure(&a, &b, None).unwrap();
    let name = |tensors: &[Unmatched]| -> Vec<String> {
        tensors.iter().map(|tensor| tensor.name.clone()).collect()
    };
    assert_eq!(name(&difference.only_in_a), ["extra"]);
    assert_eq!(name(&difference.only_in_b), ["other"]);
    assert_eq!(difference.only_in_b[0].shape, [2]);
    let shapes = [vec![3], vec![2]];
    assert_eq!(difference.shape_mismatches, [ShapeMismatch { name: UP.to_owned(), shapes }]);
    assert_eq!(difference.tensors.len(), 1);
    let part = &difference.tensors[0].part;
    assert_eq!((part.comparison.changed, part.comparison.largest_difference), (1, 2.0));
    assert_eq!(part.task_vectors, None);
}

#[test]
fn a_tied_head_is_compared_with_a_stored_one() {
    let tied = model("tied", &[(EMBEDDING, &[1.0, 2.0])]);
    let untied = model("untied", &[(EMBEDDING, &[1.0, 2.0]), (HEAD, &[1.0, 5.0])]);
    for (a, b) in [(&tied, &untied), (&untied, &tied)] {
        let difference = measure(a, b, Some(&tied)).unwrap();
        assert!(difference.only_in_a.is_empty() && difference.only_in_b.is_empty());
        let head = difference.tensors.iter().find(|tensor| tensor.name == HEAD).unwrap();
        assert_eq!(head.part.comparison.difference(), 3.0);
        assert_eq!(head.place.kind, "lm_head");
        assert_eq!(head.part.task_vectors.unwrap().moved_by_both, 0);
    }
    let difference = measure(&tied, &tied, None).unwrap();
    assert_eq!(difference.tensors.len(), 1);
}

#[test]
fn what_the_base_lacks_has_no_task_vectors() {
    let a = model("a", &[(UP, &[1.0, 2.0]), (NORM, &[1.0])]);
    let b = model("b", &[(UP, &[-1.0, 2.0]), (NORM, &[2.0])]);
    let base = model("base", &[(UP, &[0.0, 1.0]), (NORM, &[0.0, 0.0])]);
    let difference = measure(&a, &b, Some(&base)).unwrap();
    assert_eq!(difference.not_in_base, [NORM]);
    assert_eq!(difference.tensors[1].part.task_vectors, None);
    let total = &difference.groups.total;
    let vectors = total.task_vectors.unwrap();
    assert_eq!((total.comparison.compared, vectors.compared), (3, 2));
    assert_eq!((vectors.sign_agreement(), vectors.cosine()), (Some(0.5), Some(0.0)));

    let strange = model("strange", &[("else", &[1.0])]);
    let error = measure(&a, &b, Some(&strange)).unwrap_err();
    let expected = "base model `strange` has no tensor of the same name and shape as `a` and `b`";
    assert_eq!(error.to_string(), expected);
    let error = measure(&a, &strange, None).unwrap_err();
    assert_eq!(error.to_string(), "`a` and `strange` have no tensor of the same name and shape");
    assert!(error.is_users_mistake() && error.hint().is_some());
}

#[test]
fn values_are_compared_whatever_the_type() {
    let values = [0.5, -2.0, 7.0];
    let typed = |dtype: DType, values: &[f32]| {
        let mut bytes = vec![0; values.len() * dtype.size()];
        narrow(dtype, values, &mut bytes);
        let mut source = MemoryCheckpoint::new();
        let info = TensorInfo { dtype, shape: vec![values.len()] };
        source.insert_bytes("w", info, bytes).unwrap();
        Model::new(dtype.to_string(), Arc::new(source), None).0
    };
    let types = [DType::BF16, DType::F16, DType::F32, DType::F64];
    for a in types {
        for b in types {
            let (model_a, model_b) = (typed(a, &values), typed(b, &values));
            let difference = measure(&model_a, &model_b, Some(&model_a)).unwrap();
            let comparison = difference.groups.total.comparison;
            assert_eq!((comparison.compared, comparison.changed), (3, 0), "{a} {b}");
            assert_eq!(difference.tensors[0].dtypes, [a, b, a]);
        }
    }
    let mut ids = MemoryCheckpoint::new();
    let info = TensorInfo { dtype: DType::I64, shape: vec![] };
    ids.insert_bytes("w", info.clone(), 16_777_217i64.to_le_bytes().to_vec()).unwrap();
    let mut others = MemoryCheckpoint::new();
    others.insert_bytes("w", info, 16_777_216i64.to_le_bytes().to_vec()).unwrap();
    let ids = Model::new("ids".to_owned(), Arc::new(ids), None).0;
    let others = Model::new("others".to_owned(), Arc::new(others), None).0;
    let difference = measure(&ids, &others, None).unwrap();
    assert_eq!(difference.groups.total.comparison.largest_difference, 1.0);
}

#[test]
fn empty_tensors_are_equal() {
    let a = model("a", &[(NORM, &[])]);
    let difference = measure(&a, &a, Some(&a)).unwrap();
    let part = &difference.groups.total;
    assert_eq!((part.tensors, part.comparison.relative()), (1, None));
    assert_eq!(part.task_vectors.unwrap().cosine(), None);
}

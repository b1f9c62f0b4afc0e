//! Outputs as PyTorch pickles.

use mergekit::checkpoint::{Checkpoint, TensorSource};

use crate::{LINEAR, Place, names, values};

/// Both checkpoints have the same tensors, of the same types, with the same values.
fn assert_equal(actual: &Checkpoint, expected: &Checkpoint) {
    assert_eq!(actual.tensors().len(), expected.tensors().len());
    for (name, info) in expected.tensors() {
        assert_eq!(&actual.tensors()[name], info, "{name}");
        assert_eq!(values(actual, name), values(expected, name), "{name}");
    }
}

#[test]
fn a_pickled_output_has_the_same_tensors() {
    let place = Place::new();
    place.merge(LINEAR, "safe", &[]);
    let expected = Checkpoint::open(&place.path("safe")).unwrap();
    let flag = "--no-safe-serialization";
    for (out, more) in [("one", &[][..]), ("many", &["--out-shard-size", "500", "-j", "3"])] {
        place.merge(LINEAR, out, &[&[flag], more].concat());
        assert_equal(&Checkpoint::open(&place.path(out)).unwrap(), &expected);
        let weights: Vec<_> =
            names(&place.path(out)).into_iter().filter(|name| name.contains("model")).collect();
        match out {
            "one" => assert_eq!(weights, ["pytorch_model.bin"]),
            _ => assert!(weights.iter().all(|name| name.starts_with("pytorch_model"))),
        }
    }
    let index = place.json("many/pytorch_model.bin.index.json");
    let shard = index["weight_map"]["lm_head.weight"].as_str().unwrap();
    assert!(shard.starts_with("pytorch_model-000") && shard.ends_with(".bin"), "{shard}");

    // It is replaced like any other, also by one in the other format.
    place.merge(LINEAR, "many", &["--overwrite", "--safe-serialization"]);
    assert!(names(&place.path("many")).contains(&"model.safetensors".to_owned()));
    assert!(!names(&place.path("many")).iter().any(|name| name.ends_with(".bin")));
}

#[test]
fn pickled_outputs_have_the_same_bytes_for_any_number_of_threads() {
    let place = Place::new();
    let merged = |threads: &str| {
        let options = ["--no-safe-serialization", "--overwrite", "--threads", threads];
        place.merge(LINEAR, "merged", &options);
        std::fs::read(place.path("merged/pytorch_model.bin")).unwrap()
    };
    assert!(merged("1") == merged("4"));
}

#[test]
fn a_pickled_output_is_an_input_again() {
    let place = Place::new();
    place.merge(LINEAR, "pickled", &["--no-safe-serialization"]);
    place.merge(LINEAR, "safe", &[]);
    let again = "merge_method: passthrough\nmodels: [{model: pickled}]\n";
    place.merge(again, "again", &[]);
    let [again, safe] = ["again", "safe"].map(|name| Checkpoint::open(&place.path(name)).unwrap());
    assert_equal(&again, &safe);
}

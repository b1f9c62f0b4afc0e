//! Merges against results of the Python implementation (mergekit 0.1.5), on tiny models.
//!
//! Names, shapes and element types are the same, and every element is within the tolerance that
//! `meta.json` states, `|merged − expected| ≤ atol + rtol · |expected|`, up to a share of elements for
//! which a selection hangs on how the reference rounds in between.

use std::fs;
use std::path::{Path, PathBuf};

use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions, WriteOptions};
use mergekit::plan::{MergePlan, ModelStore, PlanOptions};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = vec![0.0; checkpoint.tensors()[name].elements()];
    checkpoint.read_into(name, 0, &mut values).unwrap();
    values
}

/// Merges as `case` says and describes everything that differs.
fn differences(case: &Path, models: &Path, engine: &Engine) -> Vec<String> {
    let text = fs::read_to_string(case.join("config.yml")).unwrap();
    let text = text.replace("${MODELS}", models.to_str().unwrap());
    let config = MergeConfig::parse(&text, &case.join("config.yml")).unwrap();
    let plan = MergePlan::new(&config, &ModelStore::new(), &PlanOptions::default()).unwrap();
    let out = tempfile::tempdir().unwrap();
    engine.merge_to_directory(&plan, out.path(), &WriteOptions::default(), &|_| ()).unwrap();

    let meta = json(&case.join("meta.json"));
    let tolerance = |key: &str| meta["tolerance"][key].as_f64().unwrap();
    let (atol, rtol) = (tolerance("atol"), tolerance("rtol"));
    let merged = Checkpoint::open(out.path()).unwrap();
    let expected = Checkpoint::open_file(&case.join("expected.safetensors")).unwrap();
    let mut found = Vec::new();
    let (mut n_elements, mut outside) = (0_u32, Vec::new());
    for name in merged.tensors().keys().filter(|name| !expected.tensors().contains_key(*name)) {
        found.push(format!("{name} should not be there"));
    }
    for (name, info) in expected.tensors() {
        if merged.tensors().get(name) != Some(info) {
            found.push(format!("{name}: {:?} instead of {info:?}", merged.tensors().get(name)));
            continue;
        }
        let pairs = values(&merged, name).into_iter().zip(values(&expected, name));
        for (merged, expected) in pairs {
            let error = f64::from(merged - expected).abs();
            n_elements += 1;
            if error.is_nan() || error > atol + rtol * f64::from(expected.abs()) {
                outside.push(format!("{name} has {merged} instead of {expected}"));
            }
        }
    }
    if outside.len() as f64 > tolerance("max_mismatch_frac") * f64::from(n_elements) {
        found.push(format!("{} elements are off; {}", outside.len(), outside[0]));
    }
    let config = json(&out.path().join("config.json"));
    let expected = json(&case.join("expected_config.json"));
    for key in meta["config_keys"].as_array().unwrap().iter().filter_map(Value::as_str) {
        // Versions of transformers differ in what they call the element type.
        let get = |config: &Value| match key {
            "dtype" if config.get(key).is_none() => config["torch_dtype"].clone(),
            key => config[key].clone(),
        };
        if get(&config) != get(&expected) {
            let (merged, expected) = (get(&config), get(&expected));
            found.push(format!("config.json: {key} is {merged} instead of {expected}"));
        }
    }
    found
}

#[test]
fn merges_equal_those_of_the_python_implementation() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let mut n_cases = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(golden.join("cases")).unwrap() {
        let case = entry.unwrap().path();
        n_cases += 1;
        for difference in differences(&case, &golden.join("models"), &engine) {
            failures.push(format!("{}: {difference}", case.file_name().unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(n_cases, 13);
}

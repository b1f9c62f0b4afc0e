//! `docs/adding-a-method.md` shows a method that compiles and merges models.

#[path = "own_method/clipped.rs"]
mod clipped;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;

use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions};
use mergekit::kernels::dtype::DType;
use mergekit::plan::{MergePlan, ModelStore, PlanError, PlanOptions};
use tempfile::TempDir;
use tiny::{llama, write_model};

#[test]
fn the_page_shows_the_method_that_is_tested_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/adding-a-method.md")).unwrap();
    let code = fs::read_to_string(root.join("tests/own_method/clipped.rs")).unwrap();
    assert!(page.contains(&format!("```rust\n{code}```\n")), "the page shows other code");
    for config in page.split("```yaml\n").skip(1) {
        let (config, _) = config.split_once("```").unwrap();
        assert!(config.contains("merge_method: clipped\n"), "{config}");
    }
    for file in
        page.split('`').filter(|word| word.starts_with("src/") || word.starts_with("tests/"))
    {
        assert!(file.contains("clipped") || root.join(file).exists(), "there is no `{file}`");
    }
}

/// The plan of a merge where `base` is 3 everywhere and `a` is 5, in tensors of 4, 16 and 16 elements.
fn planned(directory: &TempDir, limit: f64) -> Result<MergePlan, Box<PlanError>> {
    for (name, value) in [("base", 3.0), ("a", 5.0)] {
        let path = directory.path().join(name);
        write_model(&path, 1, llama(1, 4, DType::F32), |_, _| value);
    }
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: '{0}/base'\n\
        models: [{{model: '{0}/a', parameters: {{weight: 0.5}}}}]\nparameters: {{limit: {limit}}}\n",
        directory.path().display()
    );
    let config = MergeConfig::parse(&text, Path::new("merge.yml")).unwrap();
    let options = PlanOptions::default();
    let plan = MergePlan::with_method(&clipped::CLIPPED, &config, &ModelStore::new(), &options);
    plan.map_err(Box::new)
}

fn merge(limit: f64) -> Result<Vec<f32>, Box<PlanError>> {
    let directory = tempfile::tempdir().unwrap();
    let plan = planned(&directory, limit)?;
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let merged = engine.merge_to_memory(&plan).unwrap();
    let first =
        |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    Ok(merged.values().map(first).collect())
}

#[test]
fn a_method_of_ones_own_is_planned_and_run() {
    // The sum of task vectors is 1 where the base is 3: within half the base's length, not within a
    // tenth of it.
    assert!(merge(0.5).unwrap().iter().all(|value| *value == 4.0));
    assert!(merge(0.1).unwrap().iter().all(|value| (value - 3.3).abs() < 1e-6));
    let error = merge(-1.0).unwrap_err();
    assert!(error.to_string().contains("but no length is negative"), "{error}");
    assert_eq!(error.field(), Some("parameters.limit"));
}

#[test]
fn its_plan_knows_that_inputs_are_read_twice() {
    let directory = tempfile::tempdir().unwrap();
    let plan = planned(&directory, 0.5).unwrap();
    let elements: usize = plan.tensors().iter().map(|tensor| tensor.info.elements()).sum();
    let estimate = Engine::new(EngineOptions::default()).unwrap().estimate(&plan).unwrap();
    // Two models in float32, for the norms and for the sum.
    assert_eq!(estimate.bytes_read, (2 * 2 * 4 * elements) as u64);
    assert_eq!(estimate.bytes_written, (4 * elements) as u64);
}

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointError, MemoryCheckpoint, TensorInfo, TensorSource};
use crate::kernels::dtype::DType::{self, BF16, F16, F32, I64};
use crate::methods::{
    Apply, BaseRole, Chunk, Incomplete, MethodDefinition, MethodError, TensorInputs, TensorMethod,
};
use crate::plan::testing::{TinyModel, plan, store};
use crate::plan::{InputModel, ModelStore};

fn engine(threads: usize, chunk_elements: usize) -> Engine {
    let (threads, chunk_elements) = (Some(threads), Some(chunk_elements));
    Engine::new(EngineOptions { threads, chunk_elements, ..EngineOptions::default() }).unwrap()
}

fn models(dtype: DType) -> ModelStore {
    let paths = ["a", "b", "base"];
    store((0..).zip(paths).map(|(seed, path)| TinyModel::noise(path, 2, dtype, seed)))
}

/// A donor directory without side files.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn bytes(merged: &IndexMap<String, Tensor>) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor| {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    merged.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

fn task_vectors(method: &str) -> String {
    format!(
        "
merge_method: {method}
base_model: base
models:
- {{model: a, parameters: {{weight: [0.2, 0.9], density: 0.5}}}}
- {{model: b, parameters: {{weight: 0.7, density: 0.3}}}}
"
    )
}

pub(super) fn every_method() -> Vec<String> {
    let mut configs = vec![
        "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: [1, 2]}}"
            .to_owned(),
        "{merge_method: slerp, base_model: a, models: [{model: b}], parameters: {t: [0.1, 0.6]}}"
            .to_owned(),
        "{merge_method: nuslerp, models: [{model: a, parameters: {weight: 1}}, \
            {model: b, parameters: {weight: [1, 3]}}]}"
            .to_owned(),
        "{merge_method: nuslerp, base_model: base, models: [{model: a}, {model: b}], \
            parameters: {weight: 1, nuslerp_flatten: false}}"
            .to_owned(),
        "{merge_method: nuslerp, base_model: base, models: [{model: a}, {model: b}], \
            parameters: {weight: 1, nuslerp_flatten: false, nuslerp_row_wise: true}}"
            .to_owned(),
        "{merge_method: multislerp, base_model: base, models: [{model: a}, {model: b}], \
            parameters: {weight: 1}}"
            .to_owned(),
        "{merge_method: karcher, base_model: base, models: [{model: a}, {model: b}]}".to_owned(),
        "{merge_method: model_stock, base_model: base, models: [{model: a}, {model: b}]}"
            .to_owned(),
        "{merge_method: model_stock, base_model: base, models: [{model: a}, {model: b}], \
            parameters: {filter_wise: true}}"
            .to_owned(),
        "{merge_method: passthrough, models: [{model: a}]}".to_owned(),
        "{merge_method: passthrough, models: [{model: a}], parameters: {scale: 0.5}}".to_owned(),
    ];
    configs.extend(
        [
            "task_arithmetic",
            "ties",
            "dare_linear",
            "dare_ties",
            "della",
            "della_linear",
            "breadcrumbs",
            "breadcrumbs_ties",
        ]
        .map(task_vectors),
    );
    configs.extend(
        [
            "{merge_method: nearswap, base_model: base, models: [{model: b}], parameters: {t: 0.3}}",
            "{merge_method: ram, base_model: base, models: [{model: a}, {model: b}]}",
            "{merge_method: ramplus_tl, base_model: base, models: [{model: a}, {model: b}], \
                parameters: {epsilon: 0.4, alpha: 3, r: [0, 1]}}",
            "{merge_method: sce, base_model: base, models: [{model: a}, {model: b}]}",
            "{merge_method: sce, base_model: base, models: [{model: a}, {model: b}], \
                parameters: {select_topk: [0.3, 0.7]}}",
            "{merge_method: arcee_fusion, base_model: base, models: [{model: b}]}",
        ]
        .map(str::to_owned),
    );
    configs
}

#[test]
fn neither_threads_nor_chunks_nor_the_sink_change_a_bit() {
    for dtype in [BF16, F32] {
        let store = models(dtype);
        for config in every_method() {
            let plan = plan(&config, &store).unwrap();
            let expected = bytes(&engine(1, 1 << 15).merge_to_memory(&plan).unwrap());
            for (threads, chunk) in [(1, 7), (2, 13), (2, 1), (7, 1 << 15), (7, 3)] {
                let merged = engine(threads, chunk).merge_to_memory(&plan).unwrap();
                assert_eq!(
                    bytes(&merged),
                    expected,
                    "{threads} threads, {chunk} elements: {config}"
                );
            }
            let out = directory();
            let out = out.path().join("merged");
            let options = WriteOptions::default();
            let done = AtomicU64::new(0);
            let count = |bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
            };
            engine(3, 11).merge_to_directory(&plan, &out, &options, &count).unwrap();
            assert_eq!(done.into_inner(), plan.output_bytes());
            let written = MemoryCheckpoint::load(&Checkpoint::open(&out).unwrap()).unwrap();
            for (name, bits) in &expected {
                let mut values = vec![0.0; bits.len()];
                written.read_into(name, 0, &mut values).unwrap();
                let read: Vec<u32> = values.into_iter().map(f32::to_bits).collect();
                assert_eq!(&read, bits, "{name}: {config}");
            }
            assert_eq!(written.tensors(), &plan.tensor_infos());
        }
    }
}

#[test]
fn seeds_change_what_is_drawn_and_nothing_else() {
    let store = models(F32);
    let merge = |seed| {
        let config = crate::config::MergeConfig::parse(&task_vectors("dare_ties"), "m".as_ref());
        let options = crate::plan::PlanOptions { seed, ..Default::default() };
        let plan = MergePlan::new(&config.unwrap(), &store, &options).unwrap();
        bytes(&engine(2, 64).merge_to_memory(&plan).unwrap())
    };
    assert_eq!(merge(3), merge(3));
    assert_ne!(merge(3), merge(4));
}

#[test]
fn gradients_and_layers_reach_the_values() {
    let constant = |path: &str, value: f32| TinyModel::new(path, 4, F32, move |_, _| value);
    let store = store([constant("a", 1.0), constant("zero", 0.0)]);
    let text = "
merge_method: linear
models:
- {model: a, parameters: {weight: [1, 2, 4]}}
- {model: zero, parameters: {weight: 0}}
parameters: {normalize: false}
";
    let merged = engine(2, 8).merge_to_memory(&plan(text, &store).unwrap()).unwrap();
    let first = |name: &str| {
        let values: Vec<f32> = merged[name].flatten_all().unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|value| *value == values[0]));
        values[0]
    };
    let layer = |index: usize| first(&format!("model.layers.{index}.mlp.down_proj.weight"));
    assert_eq!(first("model.embed_tokens.weight"), 1.0);
    assert_eq!([layer(0), layer(1), layer(2), layer(3)], [1.0, 5.0 / 3.0, 8.0 / 3.0, 4.0]);
    assert_eq!(first("lm_head.weight"), 1.0);
}

#[test]
fn a_weight_that_is_no_number_is_named_and_with_strictness_ends_the_merge() {
    let mut broken = TinyModel::noise("b", 2, BF16, 1);
    let mut values = vec![0.5; 55];
    values[20] = f32::NAN;
    broken.set("model.layers.1.mlp.up_proj.weight", BF16, &[11, 5], &values);
    let others = ["a", "base"].map(|path| TinyModel::noise(path, 2, BF16, 7));
    let store = store(others.into_iter().chain([broken]));
    let mut configs = every_method();
    configs.retain(|config| config.contains("model: b"));
    configs.push("{merge_method: passthrough, models: [{model: b}]}".to_owned());
    let expected =
        "model `b`: tensor `model.layers.1.mlp.up_proj.weight` has the value NaN at element 20";
    for config in configs {
        let plan = plan(&config, &store).unwrap();
        let parent = directory();
        let out = parent.path().join("merged");
        let merge = |strict| {
            let options = WriteOptions { strict, ..WriteOptions::default() };
            engine(2, 8).merge_to_directory(&plan, &out, &options, &|_| ())
        };
        let error = merge(true).unwrap_err();
        assert_eq!(error.to_string(), expected, "{config}");
        assert!(error.is_users_mistake());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        let warnings = merge(false).unwrap();
        let warnings: Vec<_> = warnings.iter().map(|anomaly| anomaly.to_string()).collect();
        assert_eq!(warnings, [expected], "{config}");
        assert!(Checkpoint::open(&out).is_ok());
    }
}

#[test]
fn inputs_that_the_configs_dtype_cannot_hold_are_errors() {
    let store = store([TinyModel::new("big", 2, F32, |_, _| 1e5)]);
    for method in ["passthrough", "linear, parameters: {weight: 1}"] {
        let text = format!(
            "{{merge_method: {method}, dtype: float16, out_dtype: float32, models: [{{model: big}}]}}"
        );
        let merge = |text: &str| engine(1, 64).merge_to_memory(&plan(text, &store).unwrap());
        let error = merge(&text).unwrap_err();
        assert!(error.to_string().starts_with("model `big`: tensor"), "{error}");
        assert!(error.to_string().ends_with("which `dtype: float16` cannot hold"), "{error}");
        assert!(error.hint().unwrap().contains("dtype: bfloat16"), "{error}");
        assert!(merge(&text.replace("float16", "bfloat16")).is_ok());
    }
}

#[test]
fn filters_are_held_against_the_tensor_that_a_tied_one_stands_in_for() {
    let mut tied = TinyModel::new("tied", 2, F32, |_, _| 10.0);
    tied.remove("lm_head.weight");
    tied.config["tie_word_embeddings"] = true.into();
    let store = store([tied, TinyModel::new("untied", 2, F32, |_, _| 3.0)]);
    let text = "
merge_method: linear
models:
- {model: tied, parameters: {weight: [{filter: lm_head, value: 0}, {value: 1}]}}
- {model: untied, parameters: {weight: [{filter: lm_head, value: 1}, {value: 0}]}}
";
    let merged = engine(1, 64).merge_to_memory(&plan(text, &store).unwrap()).unwrap();
    let first = |name: &str| merged[name].flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    assert_eq!((first("lm_head.weight"), first("model.embed_tokens.weight")), (3.0, 10.0));
}

#[test]
fn results_that_the_type_cannot_hold_are_errors() {
    let store = models(F32);
    let merge = |text: &str| engine(1, 64).merge_to_memory(&plan(text, &store).unwrap());
    let scaled = "{merge_method: passthrough, out_dtype: float16, models: [{model: a}], \
        parameters: {scale: 1.0e+7}}";
    let error = merge(scaled).unwrap_err();
    assert!(error.to_string().ends_with("which float16 cannot hold"), "{error}");
    assert!(merge(&scaled.replace("float16", "bfloat16")).is_ok());
}

#[test]
fn infinities_are_copied_but_not_computed_with() {
    let mut model = TinyModel::noise("a", 1, F16, 1);
    model.set("model.norm.weight", F16, &[5], &[f32::NEG_INFINITY; 5]);
    let store = store([model]);
    let merge = |text: &str| engine(1, 64).merge_to_memory(&plan(text, &store).unwrap());
    assert!(merge("{merge_method: passthrough, models: [{model: a}]}").is_ok());
    let cast = "{merge_method: passthrough, models: [{model: a}], out_dtype: bfloat16}";
    assert!(merge(cast).is_ok());
    let computed = merge("{merge_method: linear, models: [{model: a}], parameters: {weight: 1}}");
    assert!(matches!(computed, Err(EngineError::Anomaly(Anomaly::NotFinite { .. }))));
}

#[test]
fn whole_numbers_have_to_be_equal() {
    let with = |path: &str, value: f32| {
        let mut model = TinyModel::noise(path, 1, F32, 1);
        model.set("model.norm.weight", I64, &[5], &[value; 5]);
        model
    };
    let text = "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}";
    let merge = |b: f32| {
        let store = store([with("a", 3.0), with("b", b)]);
        engine(1, 64).merge_to_memory(&plan(text, &store).unwrap())
    };
    let merged = merge(3.0).unwrap();
    assert_eq!(merged["model.norm.weight"].to_vec1::<f32>().unwrap(), [3.0; 5]);
    assert!(matches!(merge(4.0), Err(EngineError::Unequal { .. })));
}

#[test]
fn a_memory_limit_is_kept_or_refused() {
    let store = models(F32);
    let merge = |limit| {
        let options =
            EngineOptions { threads: Some(4), memory_limit: Some(limit), ..Default::default() };
        let plan = plan(&task_vectors("ties"), &store).unwrap();
        Engine::new(options).unwrap().merge_to_memory(&plan)
    };
    let error = merge(100_000).unwrap_err();
    let EngineError::MemoryLimit { needed, .. } = error else { panic!("{error}") };
    assert!(error.hint().is_some());
    assert!(merge(needed).is_ok());
    assert!(merge(needed - 1).is_err());
}

#[test]
fn a_cancelled_merge_leaves_nothing() {
    let options = EngineOptions::default();
    options.cancelled.store(true, Ordering::Relaxed);
    let parent = directory();
    let store = models(F32);
    let plan = plan(&task_vectors("ties"), &store).unwrap();
    let out = parent.path().join("merged");
    let engine = Engine::new(options).unwrap();
    let error = engine.merge_to_directory(&plan, &out, &WriteOptions::default(), &|_| ());
    assert!(matches!(error, Err(EngineError::Interrupted)));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// Counts the elements that are read of another source.
struct Counting {
    inner: MemoryCheckpoint,
    read: Arc<AtomicUsize>,
}

impl TensorSource for Counting {
    fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        self.inner.tensors()
    }

    fn read_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), CheckpointError> {
        self.read.fetch_add(out.len(), Ordering::Relaxed);
        self.inner.read_into(name, start, out)
    }

    fn copy_bytes(&self, name: &str, start: usize, out: &mut [u8]) -> Result<(), CheckpointError> {
        let size = self.inner.tensors()[name].dtype.size();
        self.read.fetch_add(out.len() / size, Ordering::Relaxed);
        self.inner.copy_bytes(name, start, out)
    }

    fn files(&self) -> Vec<&Path> {
        self.inner.files()
    }
}

/// Plans a merge of models in `tests/golden/models`, which `text` calls `MODELS`.
fn plan_on_disk(text: &str) -> MergePlan {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models");
    plan(&text.replace("MODELS", models), &ModelStore::new()).unwrap()
}

/// A plan with two adapters on disk, merged by a method with a statistics pass.
fn adapted_plan() -> MergePlan {
    let text = "
merge_method: ties
base_model: MODELS/base
models:
- {model: MODELS/base+MODELS/lora1, parameters: {weight: 1, density: 0.5}}
- {model: MODELS/base+MODELS/lora2, parameters: {weight: 1, density: 0.5}}
";
    plan_on_disk(text)
}

#[test]
fn adapted_models_merge_to_the_same_in_chunks_of_any_size() {
    let plan = adapted_plan();
    let expected = bytes(&engine(1, 1 << 15).merge_to_memory(&plan).unwrap());
    for (threads, chunk) in [(1, 7), (3, 1), (4, 13)] {
        let merged = engine(threads, chunk).merge_to_memory(&plan).unwrap();
        assert_eq!(bytes(&merged), expected, "{threads} threads, {chunk} elements");
    }
}

#[test]
fn what_adapters_hold_is_within_the_memory_limit() {
    let plan = adapted_plan();
    let held: Vec<u64> = plan
        .tensors()
        .iter()
        .map(|tensor| tensor.operands().map(|operand| operand.holding().memory).sum())
        .collect();
    // Twice the first adapter's A and B for down_proj, 12 × 16 of rank 4, in float32.
    let down_proj = 2 * 4 * 4 * (12 + 16);
    assert_eq!(held.iter().max(), Some(&down_proj));
    assert!(held.contains(&0));
    let needed = |plan: &MergePlan| {
        let options = EngineOptions { memory_limit: Some(1), ..EngineOptions::default() };
        match Engine::new(options).unwrap().estimate(plan) {
            Err(EngineError::MemoryLimit { needed, .. }) => needed,
            other => panic!("{other:?}"),
        }
    };
    let copy = |adapter: &str| {
        plan_on_disk(&format!(
            "{{merge_method: passthrough, models: [{{model: MODELS/base{adapter}}}]}}"
        ))
    };
    assert_eq!(needed(&copy("+MODELS/lora1")), needed(&copy("")) + down_proj);
}

/// Models of two layers in float32, and the number of elements that have been read of them.
pub(super) fn counting_store(paths: &[&str]) -> (ModelStore, Arc<AtomicUsize>) {
    counting((0..).zip(paths).map(|(seed, path)| TinyModel::noise(path, 2, F32, seed)))
}

/// The models, and the number of elements that have been read of them.
fn counting(models: impl IntoIterator<Item = TinyModel>) -> (ModelStore, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let store = ModelStore::new();
    for tiny in models {
        let path = tiny.path.clone();
        let inner = tiny.tensors.clone();
        let opened = tiny.open();
        let source = Counting { inner, read: Arc::clone(&read) };
        let (reference, config) = (opened.reference.clone(), opened.config.clone());
        store.insert(
            InputModel::new(reference, PathBuf::from(path), Box::new(source), config).unwrap(),
        );
    }
    (store, read)
}

/// Models `a`, `b` and `base` with one tensor so large that selecting holds all the memory it may, and
/// the number of elements that have been read of them.
pub(super) fn large_models() -> (ModelStore, Arc<AtomicUsize>) {
    let values: Vec<f32> = (0..1u32 << 19)
        .map(|index| (index.wrapping_mul(0x9e37_79b9) >> 8) as f32 / (1 << 24) as f32 - 0.5)
        .collect();
    counting(["a", "b", "base"].into_iter().enumerate().map(|(shift, path)| {
        let mut model = TinyModel::noise(path, 1, F32, shift as u32);
        let mut values = values.clone();
        values.rotate_left(shift * 1000);
        model.set("model.layers.0.self_attn.q_proj.weight", F32, &[512, 1024], &values);
        model
    }))
}

/// Holds much memory, and notes how many tensors do at once.
struct Hoarder;

static HOARDING: AtomicUsize = AtomicUsize::new(0);
static MOST_HOARDING: AtomicUsize = AtomicUsize::new(0);
static HOARDERS: MethodDefinition = MethodDefinition {
    name: "hoarder",
    base: BaseRole::Ignored,
    inputs: (1, usize::MAX),
    incomplete: Incomplete::Check,
    parameters: &[],
    bind: |_| Ok(Box::new(Hoarder)),
    reference: "",
};

impl TensorMethod for Hoarder {
    fn statistics_passes(&self) -> usize {
        1
    }

    fn statistics_memory(&self, _: &[usize]) -> u64 {
        32 << 20
    }

    fn prepare(&self, inputs: &TensorInputs<'_>) -> Result<Box<dyn Apply>, MethodError> {
        let now = 1 + HOARDING.fetch_add(1, Ordering::SeqCst);
        MOST_HOARDING.fetch_max(now, Ordering::SeqCst);
        // Threads that wait for each other would begin other tensors if they could.
        (0..64).into_par_iter().with_max_len(1).for_each(|_| {
            std::thread::sleep(std::time::Duration::from_micros(100));
        });
        inputs.map_blocks(&[0], false, |_| ())?;
        HOARDING.fetch_sub(1, Ordering::SeqCst);
        Ok(Box::new(Hoarder))
    }
}

impl Apply for Hoarder {
    fn apply(&self, chunk: &Chunk<'_>, out: &mut [f32]) {
        out.copy_from_slice(chunk.inputs[0]);
    }
}

#[test]
fn few_tensors_hold_statistics_at_once() {
    let store = models(F32);
    let text = "{merge_method: linear, models: [{model: a}, {model: b}]}";
    let config = crate::config::MergeConfig::parse(text, "m".as_ref()).unwrap();
    let plan = MergePlan::with_method(&HOARDERS, &config, &store, &Default::default()).unwrap();
    for (memory_limit, most) in [(None, 4), (Some(75_000_000), 2), (Some(40_000_000), 1)] {
        MOST_HOARDING.store(0, Ordering::SeqCst);
        let options = EngineOptions { threads: Some(12), memory_limit, ..Default::default() };
        let merged = Engine::new(options).unwrap().merge_to_memory(&plan).unwrap();
        assert!(merged.keys().eq(plan.tensor_infos().keys()));
        let found = MOST_HOARDING.load(Ordering::SeqCst);
        assert!((1..=most).contains(&found), "{found} with a limit of {memory_limit:?}");
    }
}

#[test]
fn statistics_of_the_same_models_are_not_computed_again() {
    let (store, read) = counting_store(&["a", "b"]);
    let engine =
        Engine::new(EngineOptions { remember_statistics: true, ..Default::default() }).unwrap();
    let elements = |t: f64| {
        let text = format!(
            "{{merge_method: slerp, base_model: a, models: [{{model: b}}], parameters: {{t: {t}}}}}"
        );
        let plan = plan(&text, &store).unwrap();
        read.store(0, Ordering::Relaxed);
        let merged = bytes(&engine.merge_to_memory(&plan).unwrap());
        let total: usize = plan.tensors().iter().map(|tensor| tensor.info.elements()).sum();
        (merged, read.load(Ordering::Relaxed), total)
    };
    let (_, first, total) = elements(0.3);
    assert_eq!(first, 4 * total);
    let (remembered, second, _) = elements(0.6);
    assert_eq!(second, 2 * total);
    let plan = plan(
        "{merge_method: slerp, base_model: a, models: [{model: b}], parameters: {t: 0.6}}",
        &store,
    );
    let fresh = Engine::new(EngineOptions::default()).unwrap();
    assert_eq!(bytes(&fresh.merge_to_memory(&plan.unwrap()).unwrap()), remembered);
}

#[test]
fn tensors_have_the_shape_and_the_rounded_values_of_the_output() {
    let store = models(F32);
    let text = "{merge_method: linear, out_dtype: bfloat16, models: [{model: a}, {model: b}], \
        parameters: {weight: 1}}";
    let merged = engine(2, 16).merge_to_memory(&plan(text, &store).unwrap()).unwrap();
    assert_eq!(merged.len(), 21);
    let tensor = &merged["model.layers.0.mlp.down_proj.weight"];
    assert_eq!(tensor.dims(), [5, 11]);
    for value in tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap() {
        assert_eq!(half::bf16::from_f32(value).to_f32(), value);
    }
}

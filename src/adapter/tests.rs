use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, iter};

use serde_json::{Value, json};

use super::config::AdapterConfig;
use super::{AdaptedCheckpoint, Adapter, AdapterError};
use crate::architecture::{Architecture, ModelConfig};
use crate::checkpoint::{Checkpoint, Holding, MemoryCheckpoint, TensorInfo, TensorSource};
use crate::kernels::dtype::{DType, narrow, widen};

const Q: &str = "model.layers.0.self_attn.q_proj";

fn llama() -> Architecture {
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1});
    let config = ModelConfig::new(config, "config.json".into()).unwrap();
    Architecture::of_model(&config, &MemoryCheckpoint::new()).unwrap()
}

/// Values that no test depends on, but that differ from each other.
fn noise(name: &str, elements: usize) -> Vec<f32> {
    let seed: u32 = name.bytes().map(u32::from).sum();
    let hash = |index: usize| (seed + index as u32).wrapping_mul(0x9e37_79b9).rotate_left(11);
    (0..elements).map(|index| hash(index) as f32 / u32::MAX as f32 - 0.5).collect()
}

fn source(dtype: DType, tensors: &[(&str, &[usize])]) -> MemoryCheckpoint {
    let mut source = MemoryCheckpoint::new();
    for &(name, shape) in tensors {
        let info = TensorInfo { dtype, shape: shape.to_vec() };
        let mut bytes = vec![0; info.bytes()];
        narrow(dtype, &noise(name, info.elements()), &mut bytes);
        source.insert_bytes(name, info, bytes).unwrap();
    }
    source
}

/// An adapter with these tensors, of which names begin behind `base_model.model.`.
fn adapter(config: &Value, tensors: &[(&str, &[usize])]) -> Result<Adapter, AdapterError> {
    let config =
        AdapterConfig::parse(config.to_string().as_bytes(), "lora/adapter_config.json".into())?;
    let names: Vec<String> =
        tensors.iter().map(|(name, _)| format!("base_model.model.{name}")).collect();
    let tensors: Vec<(&str, &[usize])> =
        names.iter().zip(tensors).map(|(name, (_, shape))| (name.as_str(), *shape)).collect();
    Adapter::new("lora".into(), config, Box::new(source(DType::F32, &tensors)))
}

fn put_on(
    base: MemoryCheckpoint,
    adapter: Result<Adapter, AdapterError>,
    dtype: Option<DType>,
) -> Result<AdaptedCheckpoint, AdapterError> {
    AdaptedCheckpoint::new(Arc::new(base), "base", &llama(), adapter?, dtype)
}

fn read(source: &dyn TensorSource, name: &str) -> Vec<f32> {
    let mut values = vec![0.0; source.tensors()[name].elements()];
    source.read_into(name, 0, &mut values).unwrap();
    values
}

#[test]
fn adapted_models_are_those_of_peft() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lora");
    let folders = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let mut n_cases = 0;
    for folder in folders.filter(|path| path.is_dir()) {
        let open = |name: &str| Checkpoint::open_file(&folder.join(name)).unwrap();
        let base = Arc::new(open("base.safetensors"));
        let expected = open("expected.safetensors");
        let adapter = Adapter::open(&folder).unwrap();
        let adapted = AdaptedCheckpoint::new(base, "base", &llama(), adapter, None).unwrap();
        for (name, info) in expected.tensors() {
            assert_eq!(&adapted.tensors()[name], info, "{}: {name}", folder.display());
            // For embeddings alone, peft rounds what it adds before it adds it; here it is rounded once.
            // That may differ in the last place of what is added, which is less than 1.
            let tolerance = match (info.dtype, name.as_str()) {
                (DType::F32, _) => 1e-6,
                (DType::F16, "embed.weight") => (-11f32).exp2(),
                (DType::BF16, "embed.weight") => (-8f32).exp2(),
                _ => 0.0,
            };
            for (actual, expected) in read(&adapted, name).iter().zip(read(&expected, name)) {
                assert!(
                    (actual - expected).abs() <= tolerance * expected.abs().max(1.0),
                    "{}: {name}: {actual} instead of {expected}",
                    folder.display(),
                );
            }
        }
        assert_eq!(adapted.tensors().len(), expected.tensors().len());
        n_cases += 1;
    }
    assert_eq!(n_cases, 11);
}

/// A large layer with everything that can be done to one.
fn large(dtype: DType, transposed: bool) -> AdaptedCheckpoint {
    let (rows, cols) = (37, 4099);
    let (inputs, outputs) = if transposed { (rows, cols) } else { (cols, rows) };
    let weight = format!("{Q}.weight");
    let base = source(dtype, &[(&weight, &[rows, cols])]);
    let config = json!({"r": 7, "use_dora": true});
    let adapter = adapter(
        &config,
        &[
            (&format!("{Q}.lora_A.weight"), &[7, inputs]),
            (&format!("{Q}.lora_B.weight"), &[outputs, 7]),
            (&format!("{Q}.lora_magnitude_vector"), &[outputs]),
        ],
    );
    put_on(base, adapter, None).unwrap()
}

#[test]
fn parts_have_the_values_of_the_whole_held_or_not() {
    for transposed in [false, true] {
        let adapted = large(DType::BF16, transposed);
        let name = format!("{Q}.weight");
        let whole = read(&adapted, &name);
        for is_held in [false, true] {
            let held = if is_held { adapted.hold(&name).unwrap() } else { None };
            assert_eq!(held.is_some(), is_held);
            for (start, length) in [(0, 1), (4090, 32), (1, 4099), (5000, 9000), (151_662, 1)] {
                let mut values = vec![0.0; length];
                adapted.read_into(&name, start, &mut values).unwrap();
                assert_eq!(values, whole[start..start + length]);
                let mut bytes = vec![0; 2 * length];
                adapted.copy_bytes(&name, start, &mut bytes).unwrap();
                widen(DType::BF16, &bytes, &mut values);
                assert_eq!(values, whole[start..start + length]);
            }
        }
        assert!(adapted.read_into(&name, 151_662, &mut [0.0; 2]).is_err());
        assert!(adapted.copy_bytes(&name, 0, &mut [0; 3]).is_err());
        assert!(adapted.read_into("nothing", 0, &mut [0.0]).is_err());
    }
}

#[test]
fn rows_and_columns_get_the_norms_of_dora() {
    for transposed in [false, true] {
        let adapted = large(DType::F32, transposed);
        let whole = read(&adapted, &format!("{Q}.weight"));
        let (outputs, step, stride) = if transposed { (4099, 4099, 1) } else { (37, 1, 4099) };
        let wanted = noise(&format!("base_model.model.{Q}.lora_magnitude_vector"), outputs);
        for (output, wanted) in wanted.into_iter().enumerate() {
            let length = whole.len() / outputs;
            let values = whole[output * stride..].iter().step_by(step).take(length);
            let square: f64 = values.map(|&value| f64::from(value).powi(2)).sum();
            assert!((square.sqrt() as f32 - wanted.abs()).abs() < 1e-5, "{output}");
        }
    }
}

#[test]
fn what_is_held_is_declared() {
    let adapted = large(DType::BF16, false);
    let weight = 2 * 37 * 4099;
    let factors = 4 * 7 * (37 + 4099);
    let expected = Holding { bytes_read: factors + 4 * 37 + weight, memory: 2 * factors + 12 * 37 };
    assert_eq!(adapted.holding(&format!("{Q}.weight")), expected);
    assert_eq!(adapted.holding("model.norm.weight"), Holding::default());
    assert!(adapted.hold("model.norm.weight").unwrap().is_none());
}

#[test]
fn the_base_is_converted_before_it_is_adapted() {
    let name = format!("{Q}.weight");
    let base =
        || source(DType::F32, &[(&name, &[6, 4]), ("model.norm.weight", &[4]), ("steps", &[1])]);
    let mut with_steps = base();
    let steps = TensorInfo { dtype: DType::I64, shape: vec![1] };
    with_steps.insert_bytes("steps", steps, vec![1; 8]).unwrap();
    let lora = || {
        adapter(
            &json!({"r": 2}),
            &[(&format!("{Q}.lora_A.weight"), &[2, 4]), (&format!("{Q}.lora_B.weight"), &[6, 2])],
        )
    };
    let adapted = put_on(with_steps, lora(), Some(DType::BF16)).unwrap();
    let dtypes: Vec<DType> = adapted.tensors().values().map(|info| info.dtype).collect();
    assert_eq!(dtypes, [DType::BF16, DType::BF16, DType::I64]);
    let mut bytes = [0; 8];
    adapted.copy_bytes("steps", 0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 8]);

    let rounded = source(DType::BF16, &[(&name, &[6, 4]), ("model.norm.weight", &[4])]);
    let expected = put_on(rounded, lora(), None).unwrap();
    for name in [name.as_str(), "model.norm.weight"] {
        assert_eq!(read(&adapted, name), read(&expected, name));
    }
    assert_ne!(read(&adapted, &name), read(&put_on(base(), lora(), None).unwrap(), &name));
}

#[test]
fn a_tied_head_that_is_adapted_becomes_a_tensor_of_its_own() {
    let base = || source(DType::BF16, &[("model.embed_tokens.weight", &[9, 4])]);
    let lora = adapter(
        &json!({"r": 2}),
        &[("lm_head.lora_A.weight", &[2, 4]), ("lm_head.lora_B.weight", &[9, 2])],
    );
    let adapted = put_on(base(), lora, None).unwrap();
    let info = TensorInfo { dtype: DType::BF16, shape: vec![9, 4] };
    assert_eq!(adapted.tensors()["lm_head.weight"], info);
    let embeddings = read(&adapted, "model.embed_tokens.weight");
    assert_eq!(embeddings, read(&base(), "model.embed_tokens.weight"));
    assert_ne!(embeddings, read(&adapted, "lm_head.weight"));

    assert!(adapted.is_untied());

    let saved = adapter(&json!({}), &[("lm_head.weight", &[9, 4])]);
    let adapted = put_on(base(), saved, None).unwrap();
    assert_eq!(adapted.tensors()["lm_head.weight"], info);
    assert!(adapted.is_untied());
}

#[test]
fn vocabularies_may_have_grown_but_only_all_of_them() {
    let base = |head: &[usize]| {
        let embeddings: (&str, &[usize]) = ("model.embed_tokens.weight", &[9, 4]);
        match head.is_empty() {
            true => source(DType::BF16, &[embeddings]),
            false => source(DType::BF16, &[embeddings, ("lm_head.weight", head)]),
        }
    };
    let grown = || adapter(&json!({}), &[("model.embed_tokens.weight", &[11, 4])]);
    let adapted = put_on(base(&[]), grown(), None).unwrap();
    assert_eq!(adapted.vocabulary_size(), Some(11));
    assert_eq!(adapted.tensors()["model.embed_tokens.weight"].shape, [11, 4]);
    assert!(!adapted.is_untied());

    let error = put_on(base(&[9, 4]), grown(), None).err().unwrap();
    insta::assert_snapshot!(
        error,
        @"adapter `lora` does not fit `base`: `base_model.model.model.embed_tokens.weight` of shape [11, 4] cannot change `lm_head.weight` of shape [9, 4]"
    );
    let both = adapter(
        &json!({}),
        &[("model.embed_tokens.weight", &[11, 4]), ("lm_head.weight", &[11, 4])],
    );
    assert_eq!(put_on(base(&[9, 4]), both, None).unwrap().vocabulary_size(), Some(11));
    let head = adapter(&json!({}), &[("lm_head.weight", &[11, 4])]);
    assert!(put_on(base(&[]), head, None).is_err());
}

#[test]
fn names_may_lack_or_have_a_prefix() {
    for (stored, module) in
        [("h.0.attn", "transformer.h.0.attn"), ("model.layers.0.q_proj", "layers.0.q_proj")]
    {
        let weight = format!("{stored}.weight");
        let base = source(DType::F32, &[(&weight, &[6, 4]), ("other.weight", &[6, 4])]);
        let lora = adapter(
            &json!({"r": 2}),
            &[
                (&format!("{module}.lora_A.weight"), &[2, 4]),
                (&format!("{module}.lora_B.weight"), &[6, 2]),
            ],
        );
        let before = read(&base, &weight);
        assert_ne!(read(&put_on(base, lora, None).unwrap(), &weight), before);
    }
}

/// What is said about an adapter of `tensors` on a Llama with a q_proj of 6 × 4.
fn refused(config: &Value, tensors: &[(&str, &[usize])]) -> String {
    let base =
        source(DType::F32, &[(&format!("{Q}.weight"), &[6, 4]), ("model.norm.weight", &[4])]);
    let error = put_on(base, adapter(config, tensors), None).err().unwrap();
    assert!(error.is_users_mistake());
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}")
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let config = json!({"r": 2, "base_model_name_or_path": "org/other"});
    let (a, b) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
    insta::assert_snapshot!(
        refused(&config, &[(&a, &[2, 5]), (&b, &[6, 2])]),
        @"
    adapter `lora` does not fit `base`: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` of shape [2, 5] cannot change `model.layers.0.self_attn.q_proj.weight` of shape [6, 4]
    hint: the adapter was trained on `org/other`
    "
    );
    insta::assert_snapshot!(
        refused(&config, &[(&a, &[2, 4]), (&b, &[7, 2])]),
        @"
    adapter `lora` does not fit `base`: `base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight` of shape [7, 2] cannot change `model.layers.0.self_attn.q_proj.weight` of shape [6, 4]
    hint: the adapter was trained on `org/other`
    "
    );
    insta::assert_snapshot!(
        refused(&config, &[("model.norm.weight", &[5])]),
        @"
    adapter `lora` does not fit `base`: `base_model.model.model.norm.weight` of shape [5] cannot change `model.norm.weight` of shape [4]
    hint: the adapter was trained on `org/other`
    "
    );
    let elsewhere = "model.layers.7.mlp.up_proj";
    insta::assert_snapshot!(
        refused(&config, &[
            (&format!("{elsewhere}.lora_A.weight"), &[2, 4]),
            (&format!("{elsewhere}.lora_B.weight"), &[6, 2]),
        ]),
        @"
    adapter `lora` changes `model.layers.7.mlp.up_proj.weight`, which `base` does not have
    hint: the adapter was trained on `org/other`
    "
    );
    insta::assert_snapshot!(
        refused(&json!({"r": 4}), &[(&a, &[2, 4]), (&b, &[6, 2])]),
        @"
    `lora`: module `model.layers.0.self_attn.q_proj` has rank 2, but `adapter_config.json` says 4
    hint: the adapter's config and weights do not belong together; fetch both again
    "
    );
    let bias = format!("{Q}.lora_B.bias");
    insta::assert_snapshot!(
        refused(&json!({"r": 2}), &[(&a, &[2, 4]), (&b, &[6, 2]), (&bias, &[6])]),
        @"adapter `lora` changes `model.layers.0.self_attn.q_proj.bias`, which `base` does not have"
    );
}

#[test]
fn incomplete_and_foreign_adapters_are_refused() {
    let (a, b) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
    let both: [(&str, &[usize]); 2] = [(&a, &[2, 4]), (&b, &[6, 2])];
    insta::assert_snapshot!(refused(&json!({"r": 2}), &both[..1]), @"
    `lora`: module `model.layers.0.self_attn.q_proj` has no `lora_B.weight`
    hint: the adapter is probably an incomplete download; fetch it again
    ");
    insta::assert_snapshot!(refused(&json!({"r": 2, "use_dora": true}), &both), @"
    `lora`: module `model.layers.0.self_attn.q_proj` has no `lora_magnitude_vector`
    hint: the adapter is probably an incomplete download; fetch it again
    ");
    let magnitude = format!("{Q}.lora_magnitude_vector");
    let with_magnitude: Vec<(&str, &[usize])> =
        both.into_iter().chain(iter::once((magnitude.as_str(), [6].as_slice()))).collect();
    insta::assert_snapshot!(refused(&json!({"r": 2}), &with_magnitude), @"
    `lora`: module `model.layers.0.self_attn.q_proj` has magnitudes, but `use_dora` is not set
    hint: the adapter's config and weights do not belong together; fetch both again
    ");
    insta::assert_snapshot!(
        refused(&json!({}), &[("model.q_proj.lora_A.default.weight", &[2, 4])]),
        @"`lora`: `base_model.model.model.q_proj.lora_A.default.weight` is no tensor of a LoRA adapter"
    );
}

#[test]
fn nothing_is_changed_twice_in_the_same_way() {
    let config = json!({"r": 2});
    let parts = |module: &str| ["A", "B"].map(|part| format!("{module}.lora_{part}.weight"));
    // Both are ends of the same name in the base.
    let ([a, b], [other_a, other_b]) = (parts(Q), parts("layers.0.self_attn.q_proj"));
    let shapes: [&[usize]; 2] = [&[2, 4], &[6, 2]];
    insta::assert_snapshot!(
        refused(&config, &[(&a, shapes[0]), (&b, shapes[1]), (&other_a, shapes[0]), (&other_b, shapes[1])]),
        @"
    `lora`: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` and `base_model.model.layers.0.self_attn.q_proj.lora_A.weight` are the same change twice
    hint: the adapter's config and weights do not belong together; fetch both again
    "
    );
    insta::assert_snapshot!(
        refused(&config, &[("model.norm.weight", &[4]), ("model.norm.modules_to_save.weight", &[4])]),
        @"
    `lora`: `base_model.model.model.norm.weight` and `base_model.model.model.norm.modules_to_save.weight` are the same change twice
    hint: the adapter's config and weights do not belong together; fetch both again
    "
    );
    let norms = ["model.norm.weight", "norm.weight"];
    assert!(refused(&config, &norms.map(|name| (name, &[4][..]))).contains("change twice"));
}

#[test]
fn axes_of_any_length_beside_empty_ones_do_not_fit() {
    let (a, b) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
    let huge = 1 << 40;
    let said = refused(&json!({"r": 0}), &[(&a, &[0, huge, huge]), (&b, &[6, 0])]);
    assert!(said.contains("does not fit"), "{said}");
    let base = source(DType::F32, &[(&format!("{Q}.weight"), &[0, 0])]);
    let lora = adapter(&json!({"r": 1u64 << 62}), &[(&a, &[1 << 62, 0]), (&b, &[0, 1 << 62])]);
    let adapted = put_on(base, lora, None).unwrap();
    let name = format!("{Q}.weight");
    assert!(read(&adapted, &name).is_empty() && adapted.holding(&name).bytes_read == 0);
}

#[test]
fn quantised_weights_are_not_adapted() {
    let mut base = MemoryCheckpoint::new();
    let info = TensorInfo { dtype: DType::I8, shape: vec![6, 4] };
    base.insert_bytes(&format!("{Q}.weight"), info, vec![0; 24]).unwrap();
    let lora = adapter(
        &json!({"r": 2}),
        &[(&format!("{Q}.lora_A.weight"), &[2, 4]), (&format!("{Q}.lora_B.weight"), &[6, 2])],
    );
    let error = put_on(base, lora, None).err().unwrap();
    insta::assert_snapshot!(
        error,
        @"adapter `lora` cannot change `model.layers.0.self_attn.q_proj.weight` of `base`, which has type int8"
    );
}

#[test]
fn directories_that_are_no_adapters_are_described() {
    let directory = tempfile::tempdir().unwrap();
    let refused = || {
        let error = Adapter::open(directory.path()).err().unwrap();
        assert!(error.is_users_mistake() && error.hint().is_some());
        error.to_string().replace(&directory.path().display().to_string(), "lora")
    };
    assert_eq!(refused(), "`lora` holds no `adapter_config.json`");
    let config = directory.path().join("adapter_config.json");
    fs::create_dir(&config).unwrap();
    let error = Adapter::open(directory.path()).err().unwrap();
    assert_eq!(error.to_string(), format!("`{}` is not a regular file", config.display()));
    fs::remove_dir(&config).unwrap();
    fs::write(directory.path().join("adapter_config.json"), "{}").unwrap();
    assert_eq!(
        refused(),
        "`lora` holds neither `adapter_model.safetensors` nor `adapter_model.bin`"
    );
    fs::write(directory.path().join("adapter_model.bin"), "").unwrap();
    assert_eq!(refused(), "`lora/adapter_model.bin` was not written by `torch.save`");
    let error = Adapter::open(Path::new("nowhere/lora")).err().unwrap();
    assert_eq!(error.to_string(), "adapter directory `nowhere/lora` does not exist");
    assert!(error.hint().is_some());
}

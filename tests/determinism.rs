//! The bytes of a merge depend on its inputs and its seed alone.

#[path = "support/every_method.rs"]
mod every_method;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeMap;

use every_method::{configs, noise, plan};
use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::engine::{Engine, EngineOptions, WriteOptions};
use mergekit::kernels::dtype::DType;
use mergekit::plan::MergePlan;
use tiny::{llama, write_model};

/// A matrix of 300 × 300 has several chunks, and several blocks of the statistics pass, none of which
/// ends where a row ends.
const SIZE: usize = 300;

fn merge(
    plan: &MergePlan,
    threads: usize,
    chunk_elements: Option<usize>,
) -> BTreeMap<String, Vec<u32>> {
    let options = EngineOptions { threads: Some(threads), chunk_elements, ..Default::default() };
    let merged = Engine::new(options).unwrap().merge_to_memory(plan).unwrap();
    let bits = merged.into_iter().map(|(name, tensor)| {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        (name, values.into_iter().map(f32::to_bits).collect())
    });
    bits.collect()
}

#[test]
fn threads_and_chunks_do_not_change_a_bit_of_large_tensors() {
    let directory = tempfile::tempdir().unwrap();
    for (seed, name) in (0..).zip(["base", "a", "b", "c"]) {
        // One large matrix is enough; the others would only take time.
        let mut tensors = llama(1, 7, DType::F32);
        tensors["model.layers.0.self_attn.q_proj.weight"].shape = vec![SIZE, SIZE];
        write_model(&directory.path().join(name), 1, tensors, noise(seed));
    }
    for (method, text) in configs(directory.path()) {
        let plan = plan(&text).unwrap();
        let expected = merge(&plan, 1, None);
        for (threads, chunk) in [(2, Some(1000)), (7, Some(5003)), (7, None), (2, Some(1 << 20))] {
            let merged = merge(&plan, threads, chunk);
            assert!(merged.keys().eq(expected.keys()), "{method}: other tensors");
            for (name, expected) in &expected {
                let merged = &merged[name];
                assert_eq!(merged.len(), expected.len(), "{method}: {name}");
                let differs = merged.iter().zip(expected).position(|(a, b)| a != b);
                assert_eq!(differs, None, "{method}: {name}, {threads} threads, {chunk:?}");
            }
        }
        let out = directory.path().join("merged");
        let options = WriteOptions { overwrite: true, ..Default::default() };
        let engine = Engine::new(EngineOptions { threads: Some(3), ..Default::default() }).unwrap();
        engine.merge_to_directory(&plan, &out, &options, &|_| ()).unwrap();
        let written = Checkpoint::open(&out).unwrap();
        assert_eq!(written.tensors().len(), expected.len(), "{method}");
        for (name, expected) in &expected {
            assert_eq!(written.tensors()[name].elements(), expected.len(), "{method}: {name}");
            let mut values = vec![0.0; expected.len()];
            written.read_into(name, 0, &mut values).unwrap();
            assert!(
                values.iter().map(|value| value.to_bits()).eq(expected.iter().copied()),
                "{method}: {name}"
            );
        }
    }
}

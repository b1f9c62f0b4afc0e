//! Tiny models on disk, for tests of whole merges.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mergekit::architecture::{Architecture, ModelConfig};
use mergekit::checkpoint::{CheckpointWriter, Layout, MemoryCheckpoint, ShardSize, TensorInfo};
use mergekit::kernels::dtype::{DType, narrow};
use serde_json::json;

/// The tensors of a Llama whose matrices are all `[hidden, hidden]`.
pub(crate) fn llama(n_layers: usize, hidden: usize, dtype: DType) -> IndexMap<String, TensorInfo> {
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": n_layers});
    let config = ModelConfig::new(config, PathBuf::from("config.json")).unwrap();
    let architecture = Architecture::of_model(&config, &MemoryCheckpoint::new()).unwrap();
    let (module, n_layers) = architecture.module("default").unwrap();
    let tensors = module.tensors(n_layers).map(|(location, template)| {
        let name = template.name_for(location, n_layers);
        let shape = if name.contains("norm") { vec![hidden] } else { vec![hidden, hidden] };
        (name, TensorInfo { dtype, shape })
    });
    tensors.collect()
}

/// Writes a Llama of `n_layers` with these tensors, whose values are `value(tensor, element)`.
pub(crate) fn write_model(
    directory: &Path,
    n_layers: usize,
    tensors: IndexMap<String, TensorInfo>,
    value: impl Fn(&str, usize) -> f32,
) {
    fs::create_dir_all(directory).unwrap();
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": n_layers});
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    write_weights(directory, Layout::new(tensors, ShardSize::UNLIMITED).unwrap(), value);
}

/// Fills the weight files of `layout` with the values `value(tensor, element)`.
pub(crate) fn write_weights(directory: &Path, layout: Layout, value: impl Fn(&str, usize) -> f32) {
    let writer = CheckpointWriter::create(directory, layout).unwrap();
    for (index, (name, info)) in writer.layout().tensors().iter().enumerate() {
        let values: Vec<f32> = (0..info.elements()).map(|element| value(name, element)).collect();
        let mut bytes = vec![0; info.bytes()];
        narrow(info.dtype, &values, &mut bytes);
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

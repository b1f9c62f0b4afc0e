//! Checkpoints against the reference implementation of safetensors, and against broken directories.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use indexmap::IndexMap;
use mergekit::checkpoint::{
    Checkpoint, CheckpointError, CheckpointWriter, Layout, ShardSize, TensorInfo, TensorSource,
    WeightFormat,
};
use mergekit::kernels::dtype::DType;
use proptest::prelude::*;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const DTYPES: [(DType, Dtype); 12] = [
    (DType::BF16, Dtype::BF16),
    (DType::F16, Dtype::F16),
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F8E4M3, Dtype::F8_E4M3),
    (DType::F8E5M2, Dtype::F8_E5M2),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::I16, Dtype::I16),
    (DType::I8, Dtype::I8),
    (DType::U8, Dtype::U8),
    (DType::Bool, Dtype::BOOL),
];

fn theirs(dtype: DType) -> Dtype {
    DTYPES.iter().find(|(ours, _)| *ours == dtype).unwrap().1
}

/// Bytes that differ from tensor to tensor and from place to place.
fn content(tensor: usize, info: &TensorInfo) -> Vec<u8> {
    (0..info.bytes()).map(|i| (i * 31 + tensor * 7 + i / 256) as u8).collect()
}

/// Writes every tensor in chunks of `chunk` bytes, last chunk first, from several threads.
fn write(directory: &Path, tensors: &IndexMap<String, TensorInfo>, size: ShardSize, chunk: usize) {
    write_layout(directory, Layout::new(tensors.clone(), size).unwrap(), chunk);
}

fn write_layout(directory: &Path, layout: Layout, chunk: usize) {
    let tensors = &layout.tensors().clone();
    let writer = CheckpointWriter::create(directory, layout).unwrap();
    let mut chunks = Vec::new();
    for (tensor, info) in tensors.values().enumerate() {
        chunks.extend((0..info.bytes()).step_by(chunk).map(|offset| (tensor, offset)));
    }
    chunks.reverse();
    chunks.par_iter().for_each(|&(tensor, offset)| {
        let bytes = content(tensor, &tensors[tensor]);
        let end = bytes.len().min(offset + chunk);
        writer.write_at(tensor, offset, &bytes[offset..end]).unwrap();
    });
    writer.finish().unwrap();
}

fn assert_holds(checkpoint: &Checkpoint, tensors: &IndexMap<String, TensorInfo>) {
    assert_eq!(checkpoint.tensors().len(), tensors.len());
    for (index, (name, info)) in tensors.iter().enumerate() {
        assert_eq!(&checkpoint.tensors()[name], info, "{name}");
        let mut bytes = vec![0; info.bytes()];
        checkpoint.copy_bytes(name, 0, &mut bytes).unwrap();
        assert_eq!(bytes, content(index, info), "{name}");
    }
}

fn tensor(dtype: DType, shape: &[usize]) -> TensorInfo {
    TensorInfo { dtype, shape: shape.to_vec() }
}

fn some_tensors() -> IndexMap<String, TensorInfo> {
    IndexMap::from([
        ("z.first".to_owned(), tensor(DType::BF16, &[5, 3])),
        ("a.second".to_owned(), tensor(DType::F32, &[40])),
        ("m.third".to_owned(), tensor(DType::I64, &[])),
    ])
}

fn any_tensors() -> impl Strategy<Value = IndexMap<String, TensorInfo>> {
    let dtype = prop::sample::select(DTYPES.map(|(ours, _)| ours).to_vec());
    let info = (dtype, prop::collection::vec(0usize..6, 0..4));
    let info = info.prop_map(|(dtype, shape)| TensorInfo { dtype, shape });
    let name = ".{0,12}".prop_filter("reserved", |name| name != "__metadata__");
    prop::collection::hash_map(name, info, 1..12).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_single_file_equals_the_reference_implementation_byte_for_byte(tensors in any_tensors()) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &tensors, ShardSize::UNLIMITED, 7);
        let contents: Vec<_> =
            tensors.values().enumerate().map(|(index, info)| content(index, info)).collect();
        let views = tensors.iter().zip(&contents).map(|((name, info), bytes)| {
            (name, TensorView::new(theirs(info.dtype), info.shape.clone(), bytes).unwrap())
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let expected = safetensors::serialize(views, Some(metadata)).unwrap();
        prop_assert_eq!(fs::read(directory.path().join("model.safetensors")).unwrap(), expected);
    }

    #[test]
    fn what_was_written_is_read_back(tensors in any_tensors(), limit in 0u64..400) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &tensors, ShardSize::from_bytes(limit), 16);
        assert_holds(&Checkpoint::open(directory.path()).unwrap(), &tensors);
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                SafeTensors::deserialize(&fs::read(path).unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn pickles_that_were_written_are_read_back(tensors in any_tensors(), limit in 0u64..400) {
        let directory = tempfile::tempdir().unwrap();
        let size = ShardSize::from_bytes(limit);
        let layout = Layout::in_format(WeightFormat::Pickle, tensors.clone(), size).unwrap();
        write_layout(directory.path(), layout, 16);
        assert_holds(&Checkpoint::open(directory.path()).unwrap(), &tensors);
        for entry in fs::read_dir(directory.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            prop_assert!(name.starts_with("pytorch_model"), "{}", name);
        }
    }

    #[test]
    fn files_of_the_reference_implementation_are_read(tensors in any_tensors()) {
        let directory = tempfile::tempdir().unwrap();
        let contents: Vec<_> =
            tensors.values().enumerate().map(|(index, info)| content(index, info)).collect();
        let views = tensors.iter().zip(&contents).map(|((name, info), bytes)| {
            (name, TensorView::new(theirs(info.dtype), info.shape.clone(), bytes).unwrap())
        });
        let file = directory.path().join("any name.safetensors");
        safetensors::serialize_to_file(views, None, &file).unwrap();
        assert_holds(&Checkpoint::open_file(&file).unwrap(), &tensors);
    }

    #[test]
    fn any_bytes_as_an_index_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("model.safetensors.index.json"), bytes).unwrap();
        let error = Checkpoint::open(directory.path()).unwrap_err();
        let is_syntax = matches!(error, CheckpointError::IndexSyntax { .. });
        prop_assert!(is_syntax, "{}", error);
    }
}

#[test]
fn shards_are_read_in_order_and_by_offset() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = some_tensors();
    write(directory.path(), &tensors, ShardSize::from_bytes(190), 64);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let names: Vec<_> = checkpoint.tensors().keys().collect();
    assert_eq!(names, ["a.second", "z.first", "m.third"]);

    let index = fs::read_to_string(directory.path().join("model.safetensors.index.json")).unwrap();
    let expected = r#"{
  "metadata": {
    "total_size": 198
  },
  "weight_map": {
    "z.first": "model-00001-of-00002.safetensors",
    "a.second": "model-00001-of-00002.safetensors",
    "m.third": "model-00002-of-00002.safetensors"
  }
}
"#;
    assert_eq!(index, expected);
}

#[test]
fn elements_are_widened_from_their_type() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = IndexMap::from([("w".to_owned(), tensor(DType::I16, &[2, 2]))]);
    let layout = Layout::new(tensors, ShardSize::default()).unwrap();
    let writer = CheckpointWriter::create(directory.path(), layout).unwrap();
    let values: Vec<u8> = [1i16, -2, 300, 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    writer.write_at(0, 0, &values).unwrap();
    writer.finish().unwrap();

    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let mut out = [0.0; 2];
    checkpoint.read_into("w", 1, &mut out).unwrap();
    assert_eq!(out, [-2.0, 300.0]);
    let error = checkpoint.read_into("w", 3, &mut out).unwrap_err();
    assert!(matches!(error, CheckpointError::ReadOutOfRange { elements: 4, .. }));
    let error = checkpoint.read_into("v", 0, &mut out).unwrap_err();
    assert!(error.to_string().ends_with("has no tensor `v`"), "{error}");
}

#[test]
fn more_shards_than_open_files_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let tensors: IndexMap<_, _> =
        (0..600).map(|i| (format!("layer.{i}"), tensor(DType::F32, &[3]))).collect();
    write(directory.path(), &tensors, ShardSize::from_bytes(1), 4);
    assert_holds(&Checkpoint::open(directory.path()).unwrap(), &tensors);
}

#[test]
fn candle_reads_what_was_written_as_a_pickle() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = IndexMap::from([
        ("z.first".to_owned(), tensor(DType::BF16, &[5, 3])),
        ("a.second".to_owned(), tensor(DType::F32, &[1, 300, 2])),
        ("m.third".to_owned(), tensor(DType::I64, &[])),
    ]);
    let format = WeightFormat::Pickle;
    let layout = Layout::in_format(format, tensors.clone(), ShardSize::UNLIMITED).unwrap();
    write_layout(directory.path(), layout, 50);
    let read = candle_core::pickle::read_all(directory.path().join("pytorch_model.bin")).unwrap();
    assert_eq!(read.len(), tensors.len());
    for (name, read) in read {
        let index = tensors.get_index_of(&name).unwrap();
        assert_eq!(read.dims(), tensors[index].shape, "{name}");
        let mut bytes = Vec::new();
        read.write_bytes(&mut bytes).unwrap();
        assert_eq!(bytes, content(index, &tensors[index]), "{name}");
    }
}

#[test]
fn incomplete_and_excessive_writes_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(some_tensors(), ShardSize::default()).unwrap();
    let writer = CheckpointWriter::create(directory.path(), layout).unwrap();
    let error = writer.write_at(0, 29, &[0, 0]).unwrap_err();
    assert_eq!(error.to_string(), "tensor `z.first` has 30 bytes; cannot write 2 from byte 29 on");
    writer.write_at(0, 0, &[0; 20]).unwrap();
    let error = writer.finish().unwrap_err();
    assert_eq!(error.to_string(), "tensor `z.first` is incomplete: 20 of 30 bytes were written");
    assert!(!error.is_users_mistake());
}

#[cfg(unix)]
#[test]
fn a_disk_without_enough_space_is_noticed_before_writing() {
    let directory = tempfile::tempdir().unwrap();
    let huge = IndexMap::from([("w".to_owned(), tensor(DType::U8, &[1 << 60]))]);
    let layout = Layout::new(huge, ShardSize::default()).unwrap();
    let error = CheckpointWriter::create(directory.path(), layout).unwrap_err();
    assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A directory with one valid shard that holds `w`, and the given index.
fn with_index(index: &str) -> CheckpointError {
    let directory = tempfile::tempdir().unwrap();
    let tensors = IndexMap::from([("w".to_owned(), tensor(DType::F32, &[1]))]);
    write(directory.path(), &tensors, ShardSize::default(), 4);
    fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
    Checkpoint::open(directory.path()).unwrap_err()
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_described() {
    let error = with_index(r#"{"weight_map": {"v": "model.safetensors"}}"#);
    let message = error.to_string();
    assert!(message.contains("places tensor `v` in `model.safetensors`"), "{message}");

    let error = with_index(r#"{"weight_map": {"w": "other.safetensors"}}"#);
    assert!(error.to_string().ends_with("other.safetensors`"), "{error}");
    assert!(error.is_users_mistake());

    let error =
        with_index(r#"{"weight_map": {"w": "model.safetensors", "w": "model.safetensors"}}"#);
    assert!(matches!(error, CheckpointError::DuplicateTensor { .. }), "{error}");
}

#[test]
fn an_index_cannot_reach_outside_of_its_directory() {
    for shard in ["../model.safetensors", "/etc/passwd", "", "a/../../b"] {
        let error = with_index(&serde_json::json!({"weight_map": {"w": shard}}).to_string());
        assert!(matches!(error, CheckpointError::ShardOutside { .. }), "{shard}: {error}");
    }
}

#[test]
fn an_index_wins_over_a_single_file() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = some_tensors();
    write(directory.path(), &tensors, ShardSize::from_bytes(100), 64);
    fs::write(directory.path().join("model.safetensors"), "no model").unwrap();
    assert_holds(&Checkpoint::open(directory.path()).unwrap(), &tensors);
}

#[test]
fn directories_without_weights_are_described() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let error = Checkpoint::open(path).unwrap_err();
    assert!(matches!(error, CheckpointError::NoWeights { .. }), "{error}");

    fs::write(path.join("pytorch_model.bin.index.json"), "{}").unwrap();
    let error = Checkpoint::open(path).unwrap_err();
    assert!(error.to_string().ends_with("is not a shard index"), "{error}");

    let error = Checkpoint::open(&path.join("absent")).unwrap_err();
    assert!(matches!(error, CheckpointError::NoDirectory { .. }), "{error}");
    let error = Checkpoint::open(&path.join("pytorch_model.bin.index.json")).unwrap_err();
    assert!(matches!(error, CheckpointError::NotADirectory { .. }), "{error}");
    let error = Checkpoint::open(Path::new("owner/model")).unwrap_err();
    assert!(error.hint().unwrap().contains("hf download owner/model"));
}

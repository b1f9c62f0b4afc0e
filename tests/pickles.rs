//! PyTorch files against the tensors that `torch.save` was given, and what is refused.
//!
//! `golden/pickles/make_pickles.py` wrote both, and the broken files in `fuzz/corpus/pickle`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::kernels::dtype::{DType, widen};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/pickles").join(name)
}

fn bytes(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; checkpoint.tensors()[name].bytes()];
    checkpoint.copy_bytes(name, 0, &mut bytes).unwrap();
    bytes
}

/// Every tensor has the same type, shape and bytes, whole and in parts, copied and widened.
#[track_caller]
fn assert_equal(actual: &Checkpoint, expected: &Checkpoint) {
    let sorted = |checkpoint: &Checkpoint| {
        let mut names: Vec<_> = checkpoint.tensors().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(sorted(actual), sorted(expected));
    for (name, info) in expected.tensors() {
        assert_eq!(&actual.tensors()[name], info, "{name}");
        let expected = bytes(expected, name);
        assert_eq!(bytes(actual, name), expected, "{name}");

        let (n, size) = (info.elements(), info.dtype.size());
        let mut values = vec![0.0; n];
        widen(info.dtype, &expected, &mut values);
        for start in 0..n {
            let mut part = vec![0; (n - start).div_ceil(2) * size];
            actual.copy_bytes(name, start, &mut part).unwrap();
            assert_eq!(part, expected[start * size..][..part.len()], "{name} from {start} on");
            let mut part = vec![0.0; (n - start).div_ceil(2)];
            actual.read_into(name, start, &mut part).unwrap();
            assert_eq!(part, values[start..][..part.len()], "{name} from {start} on");
        }
    }
}

#[test]
fn every_file_of_pytorch_gives_the_tensors_that_were_saved() {
    let mut n_files = 0;
    for entry in fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            let expected = Checkpoint::open_file(&path.with_extension("safetensors")).unwrap();
            let actual = Checkpoint::open_file(&path);
            let actual = actual.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_equal(&actual, &expected);
            n_files += 1;
        }
    }
    assert_eq!(n_files, 17);
}

#[test]
fn every_type_is_there() {
    for name in ["every-type.bin", "every-type-legacy.bin"] {
        let checkpoint = Checkpoint::open_file(&golden(name)).unwrap();
        let types: Vec<DType> = checkpoint.tensors().values().map(|info| info.dtype).collect();
        assert_eq!(types.len(), 12);
        for (name, info) in checkpoint.tensors() {
            assert_eq!(*name, format!("torch.{}", info.dtype));
        }
    }
}

#[test]
fn safetensors_win_over_pickles_and_indexes_over_single_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let open = || Checkpoint::open(path).unwrap();
    let put = |from: &str, to: &str| {
        fs::copy(golden(from), path.join(to)).unwrap();
    };

    put("every-type.bin", "pytorch_model.bin");
    assert_equal(&open(), &Checkpoint::open_file(&golden("every-type.bin")).unwrap());

    put("ordered-dict.bin", "pytorch_model-00001-of-00002.bin");
    put("views-legacy.bin", "pytorch_model-00002-of-00002.bin");
    let index = serde_json::json!({"metadata": {}, "weight_map": {
        "w": "pytorch_model-00001-of-00002.bin",
        "b": "pytorch_model-00001-of-00002.bin",
        "transposed": "pytorch_model-00002-of-00002.bin",
    }});
    fs::write(path.join("pytorch_model.bin.index.json"), index.to_string()).unwrap();
    let sharded = open();
    assert_eq!(sharded.shard_count(), 2);
    assert_eq!(sharded.tensors().keys().collect::<Vec<_>>(), ["w", "b", "transposed"]);
    let views = Checkpoint::open_file(&golden("views.safetensors")).unwrap();
    assert_eq!(bytes(&sharded, "transposed"), bytes(&views, "transposed"));

    put("names.safetensors", "model.safetensors");
    assert_equal(&open(), &Checkpoint::open_file(&golden("names.safetensors")).unwrap());
}

#[test]
fn what_is_no_pytorch_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pytorch_model.bin");
    fs::write(&file, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let error = Checkpoint::open(directory.path()).unwrap_err();
    let expected = format!("`{}` was not written by `torch.save`", file.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(Checkpoint::open_file(&file).unwrap_err().to_string(), expected);
    assert!(error.hint().unwrap().contains("Git LFS"));
    assert!(error.is_users_mistake());
}

#[test]
fn a_file_that_becomes_shorter_is_reported_with_the_tensor() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.bin");
    fs::copy(golden("views-legacy.bin"), &file).unwrap();
    let checkpoint = Checkpoint::open_file(&file).unwrap();
    let (name, _) = checkpoint.tensors().last().unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(900).unwrap();
    let error = checkpoint.read_into(name, 0, &mut [0.0]).unwrap_err();
    assert!(error.to_string().contains(&format!("tensor `{name}`")), "{error}");
}

#[test]
fn broken_and_hostile_files_are_described() {
    let messages = [
        "broken-archive-cut: is no archive of PyTorch: it has no list of entries at its end",
        "broken-axes: the pickle makes a tensor of an impossible shape at byte 831",
        "broken-beyond-entry: tensor `w` reaches beyond the 16 bytes of its data in `0`",
        "broken-beyond-storage: tensor `w` reaches beyond the 16 bytes of its data in `0`",
        "broken-big-endian: is no archive of PyTorch: its data is not little-endian",
        "broken-command: the pickle asks for `posix.system` at byte 59, which is refused",
        "broken-complex: tensor `w` has element type `complex64`, which is not supported",
        "broken-compressed: is no archive of PyTorch: its entries are compressed or encrypted",
        "broken-cycle: holds no state dict, but `state_dict`",
        "broken-deep: holds no state dict",
        "broken-evaluated: the pickle asks for `builtins.eval` at byte 81, which is refused",
        "broken-extension: the pickle has the opcode `EXT1` at byte 48, which is refused",
        "broken-instance: the pickle has the opcode `INST` at byte 47, which is refused",
        "broken-legacy-cut: has 1465 bytes, but its header describes 1466",
        "broken-legacy-pickle-cut: the pickle ends too early at byte 399",
        "broken-list-of-tensors: holds no state dict, but `w`",
        "broken-mark: the pickle takes more than it has put down at byte 49",
        "broken-memo-missing: the pickle refers to a value that was never numbered at byte 48",
        "broken-memo-number: the pickle numbers a value far too high at byte 49",
        "broken-negative: the pickle makes a tensor of an impossible shape at byte 201",
        "broken-no-end: the pickle ends too early at byte 49",
        "broken-no-program: is no archive of PyTorch: it has no entry `data.pkl`",
        "broken-no-storage: tensor `w` has its data in `7`, which is missing",
        "broken-not-a-dictionary: holds no state dict",
        "broken-nothing: was not written by `torch.save`",
        "broken-object: the pickle has the opcode `NEWOBJ` at byte 81, which is refused",
        "broken-overflowing: tensor `w` reaches beyond the 16 bytes of its data in `0`",
        "broken-plain-pickle: was not written by `torch.save`",
        "broken-repeated: tensor `w` of shape [1099511627776] repeats its elements to more than the whole file",
        "broken-stack: the pickle takes more than it has put down at byte 49",
        "broken-text-length: the pickle ends too early at byte 57",
        "broken-twice: lists tensor `w` twice",
        "broken-unknown-opcode: the pickle has the opcode `0xff` at byte 48, which is refused",
    ];
    let corpus = root().join("fuzz/corpus/pickle");
    let mut names: Vec<_> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("broken-"))
        .collect();
    names.sort();
    let directory = tempfile::tempdir().unwrap();
    let actual: Vec<String> = names
        .iter()
        .map(|name| {
            fs::copy(corpus.join(name), directory.path().join("pytorch_model.bin")).unwrap();
            let error = Checkpoint::open(directory.path()).expect_err(name);
            assert!(error.is_users_mistake(), "{name}: {error}");
            let message = error.to_string();
            let file = format!("`{}`", directory.path().join("pytorch_model.bin").display());
            let rest = message.strip_prefix(&file).expect("the file comes first");
            format!("{name}: {}", rest.trim_start_matches(':').trim_start())
        })
        .collect();
    assert_eq!(actual, messages);
}

/// Runs `mergekit merge` on a copy of the model `model` from a directory of its own.
fn merge(model: &Path, out: &Path) -> assert_cmd::assert::Assert {
    let config = format!(
        "merge_method: passthrough\ndtype: bfloat16\nmodels: [{{model: {}}}]\n",
        model.display()
    );
    let file = out.with_extension("yml");
    fs::write(&file, config).unwrap();
    Command::cargo_bin("mergekit").unwrap().arg("merge").args([file.as_path(), out]).assert()
}

#[test]
fn the_program_merges_pickles_and_refuses_what_would_run_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    merge(&root().join("tests/golden/models/c_bin_sharded"), &path.join("sound")).success();
    let merged = Checkpoint::open(&path.join("sound")).unwrap();
    let expected = Checkpoint::open(&root().join("tests/golden/models/c_bf16")).unwrap();
    assert_equal(&merged, &expected);

    let model = path.join("hostile");
    fs::create_dir(&model).unwrap();
    let config = root().join("tests/golden/models/b_bin/config.json");
    fs::copy(config, model.join("config.json")).unwrap();
    let program = root().join("fuzz/corpus/pickle/broken-command");
    fs::copy(program, model.join("pytorch_model.bin")).unwrap();
    let refused = merge(&model, &path.join("out")).code(2);
    let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(stderr.contains("the pickle asks for `posix.system` at byte 59"), "{stderr}");
    assert!(stderr.contains("hint: nothing was run"), "{stderr}");
    assert!(!path.join("out").exists());
}

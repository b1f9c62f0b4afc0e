//! Large, empty, odd and damaged inputs; outputs that cannot be written; programs that are killed.

#[path = "support/every_method.rs"]
mod every_method;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use every_method::{configs, noise, plan};
use indexmap::IndexMap;
use mergekit::checkpoint::{Checkpoint, Layout, Place, ShardSize, TensorInfo, TensorSource};
use mergekit::engine::{Engine, EngineError, EngineOptions, WriteOptions};
use mergekit::kernels::dtype::DType;
use mergekit::plan::PlanError;
use tempfile::TempDir;
use tiny::{llama, write_model};

fn info(dtype: DType, shape: &[usize]) -> TensorInfo {
    TensorInfo { dtype, shape: shape.to_vec() }
}

fn engine() -> Engine {
    Engine::new(EngineOptions { threads: Some(2), ..Default::default() }).unwrap()
}

/// The message with its causes, as the program prints it.
fn message(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}

/// Models `base`, `a`, `b` and `c` of one layer.
fn models(hidden: usize, dtype: DType) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (seed, name) in (0..).zip(["base", "a", "b", "c"]) {
        let tensors = llama(1, hidden, dtype);
        write_model(&directory.path().join(name), 1, tensors, noise(seed));
    }
    directory
}

fn average(directory: &Path, models: &[&str]) -> String {
    let mut text = "merge_method: linear\nparameters: {weight: 1}\nmodels:\n".to_owned();
    for model in models {
        text += &format!("- model: '{}'\n", directory.join(model).display());
    }
    text
}

// Large tensors

#[test]
fn tensors_beyond_4_gib_are_read_at_their_end() {
    const N: usize = 2_700_000_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let end = 2 * N;
    let header = format!(
        r#"{{"big":{{"dtype":"BF16","shape":[{N}],"data_offsets":[0,{end}]}},"last":{{"dtype":"F32","shape":[2],"data_offsets":[{end},{}]}}}}"#,
        end + 8
    );
    // The file has 5.4 GB but takes a few blocks of the disk.
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let data = 8 + header.len() as u64;
    file.set_len(data + end as u64 + 8).unwrap();
    file.seek(SeekFrom::Start(data + end as u64 - 4)).unwrap();
    file.write_all(&[0x80, 0x3f, 0x00, 0x40]).unwrap();
    file.write_all(&3f32.to_le_bytes()).unwrap();
    file.write_all(&4f32.to_le_bytes()).unwrap();
    drop(file);

    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.tensors()["big"].bytes(), end);
    let mut values = [9.0; 4];
    checkpoint.read_into("big", N - 4, &mut values).unwrap();
    assert_eq!(values, [0.0, 0.0, 1.0, 2.0]);
    let mut bytes = [0; 2];
    checkpoint.copy_bytes("big", N - 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0x00, 0x40]);
    checkpoint.read_into("last", 0, &mut values[..2]).unwrap();
    assert_eq!(values[..2], [3.0, 4.0]);
    assert!(checkpoint.read_into("big", N - 3, &mut values).is_err());
}

#[test]
fn outputs_beyond_4_gib_are_laid_out() {
    let tensors = IndexMap::from([
        ("a".to_owned(), info(DType::F32, &[3, 1 << 30])),
        ("b".to_owned(), info(DType::F32, &[2])),
        ("c".to_owned(), info(DType::BF16, &[1 << 33])),
    ]);
    let layout = Layout::new(tensors.clone(), ShardSize::UNLIMITED).unwrap();
    let header = layout.place(0).offset;
    assert_eq!(layout.place(1), Place { shard: 0, offset: header + 12 * (1 << 30) });
    assert_eq!(layout.place(2), Place { shard: 0, offset: header + 12 * (1 << 30) + 8 });
    assert_eq!(layout.file_bytes(), header + 12 * (1 << 30) + 8 + (1 << 34));
    let shards = Layout::new(tensors, ShardSize::default()).unwrap();
    assert_eq!(shards.n_shards(), 3);
    assert_eq!(shards.tensor_bytes(), 12 * (1 << 30) + 8 + (1 << 34));
}

// Odd shapes

#[test]
fn tensors_without_elements_and_without_axes_go_through_every_method() {
    let directory = tempfile::tempdir().unwrap();
    let mut tensors = llama(1, 5, DType::F32);
    for (name, shape) in [
        ("model.embed_tokens.weight", &[0, 5][..]),
        ("lm_head.weight", &[1, 1]),
        ("model.norm.weight", &[]),
        ("model.layers.0.mlp.down_proj.weight", &[3, 0]),
        ("model.layers.0.mlp.up_proj.weight", &[2, 3, 4]),
        ("model.layers.0.input_layernorm.weight", &[0]),
        ("model.layers.0.post_attention_layernorm.weight", &[1]),
    ] {
        tensors[name].shape = shape.to_vec();
    }
    for (seed, name) in (0..).zip(["base", "a", "b", "c"]) {
        write_model(&directory.path().join(name), 1, tensors.clone(), noise(seed));
    }
    for (method, text) in configs(directory.path()) {
        let plan = plan(&text).unwrap();
        assert_eq!(plan.tensor_infos(), tensors, "{method}");
        let merged = engine().merge_to_memory(&plan);
        let merged = merged.unwrap_or_else(|error| panic!("{method}: {}", message(&error)));
        for (name, info) in &tensors {
            assert_eq!(merged[name].dims(), info.shape, "{method}: {name}");
        }
        let out = directory.path().join(method);
        engine().merge_to_directory(&plan, &out, &WriteOptions::default(), &|_| ()).unwrap();
        assert_eq!(Checkpoint::open(&out).unwrap().tensors().len(), tensors.len(), "{method}");
    }
}

// Element types

#[test]
fn whole_numbers_are_copied_when_all_models_have_the_same() {
    const NORM: &str = "model.norm.weight";
    for dtype in [DType::I64, DType::I32, DType::I16, DType::I8, DType::U8, DType::Bool] {
        let directory = tempfile::tempdir().unwrap();
        for (name, first) in [("a", 1.0), ("same", 1.0), ("other", 0.0), ("float", 1.0)] {
            let mut tensors = llama(1, 4, DType::BF16);
            if name != "float" {
                tensors[NORM].dtype = dtype;
            }
            write_model(&directory.path().join(name), 1, tensors, |_, element| {
                if element == 0 { first } else { 1.0 }
            });
        }
        let text = |other| average(directory.path(), &["a", other]) + "out_dtype: float32\n";
        let merged = plan(&text("same")).unwrap();
        assert_eq!(merged.tensor_infos()[NORM], info(dtype, &[4]));
        let out = directory.path().join("merged");
        engine().merge_to_directory(&merged, &out, &WriteOptions::default(), &|_| ()).unwrap();
        let mut bytes = vec![0; 4 * dtype.size()];
        let mut expected = bytes.clone();
        Checkpoint::open(&out).unwrap().copy_bytes(NORM, 0, &mut bytes).unwrap();
        let input = Checkpoint::open(&directory.path().join("a")).unwrap();
        input.copy_bytes(NORM, 0, &mut expected).unwrap();
        assert_eq!(bytes, expected, "{dtype}");

        let error = engine().merge_to_memory(&plan(&text("other")).unwrap()).unwrap_err();
        assert!(matches!(&error, EngineError::Unequal { tensor, .. } if tensor == NORM), "{error}");
        let error = plan(&text("float")).err().unwrap();
        assert!(matches!(&*error, PlanError::Kinds { tensor, .. } if tensor == NORM), "{error}");
    }
}

#[test]
fn all_floating_types_are_merged() {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
        let directory = tempfile::tempdir().unwrap();
        // Quarters below 2 are exact in all types, and so are their averages.
        for (name, offset) in [("a", 0), ("b", 2)] {
            let value = |_: &str, element: usize| ((element + offset) % 4) as f32 * 0.25;
            write_model(&directory.path().join(name), 1, llama(1, 4, dtype), value);
        }
        let text = average(directory.path(), &["a", "b"]);
        let merged = plan(&text).unwrap();
        assert!(merged.tensors().iter().all(|tensor| tensor.info.dtype == dtype), "{dtype}");
        let values = &engine().merge_to_memory(&merged).unwrap()["model.norm.weight"];
        assert_eq!(values.to_vec1::<f32>().unwrap(), [0.25, 0.5, 0.25, 0.5], "{dtype}");

        let wide = plan(&(text + "out_dtype: float32\n")).unwrap();
        assert!(wide.tensors().iter().all(|tensor| tensor.info.dtype == DType::F32));
    }
}

// Shards

/// Moves the weights of a model that was written as one file to `shard` of the model `to`.
fn as_shard(from: &Path, to: &Path, shard: &str) {
    fs::create_dir_all(to).unwrap();
    fs::rename(from.join("model.safetensors"), to.join(shard)).unwrap();
    fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
}

fn write_index(directory: &Path, entries: &[(&String, &str)]) {
    let map: serde_json::Map<_, _> =
        entries.iter().map(|(name, shard)| ((*name).clone(), (*shard).into())).collect();
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    fs::write(directory.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn tensors_may_be_in_any_shard_in_any_order() {
    let directory = models(4, DType::F32);
    let path = |name: &str| directory.path().join(name);
    let tensors = llama(1, 4, DType::F32);
    const SHARDS: [&str; 3] =
        ["z.safetensors", "model-00007-of-00002.safetensors", "a.safetensors"];
    let mut index = Vec::new();
    for (number, shard) in SHARDS.into_iter().enumerate() {
        let mut part = tensors.clone();
        let names: Vec<_> = tensors.keys().skip(number).step_by(3).collect();
        part.retain(|name, _| names.contains(&name));
        write_model(&path("part"), 1, part, noise(1));
        as_shard(&path("part"), &path("sharded"), shard);
        index.extend(names.into_iter().map(|name| (name, shard)));
    }
    index.reverse();
    write_index(&path("sharded"), &index);

    let merge = |model| {
        let plan = plan(&average(directory.path(), &["base", model])).unwrap();
        let merged = engine().merge_to_memory(&plan).unwrap();
        let values = merged
            .into_iter()
            .map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()));
        values.collect::<Vec<_>>()
    };
    assert_eq!(merge("sharded"), merge("a"));
}

#[test]
fn of_a_tensor_in_two_shards_the_one_counts_that_the_index_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let tensors = llama(1, 4, DType::F32);
    for (value, shard) in [(1.0, "first.safetensors"), (2.0, "second.safetensors")] {
        write_model(&path("part"), 1, tensors.clone(), |_, _| value);
        as_shard(&path("part"), &path("model"), shard);
    }
    let shard = |index: usize| {
        if index.is_multiple_of(2) { "second.safetensors" } else { "first.safetensors" }
    };
    let index: Vec<_> = tensors.keys().enumerate().map(|(i, name)| (name, shard(i))).collect();
    write_index(&path("model"), &index);
    let checkpoint = Checkpoint::open(&path("model")).unwrap();
    assert_eq!(checkpoint.tensors().len(), tensors.len());
    for (index, name) in tensors.keys().enumerate() {
        let mut value = [0.0];
        checkpoint.read_into(name, 3, &mut value).unwrap();
        assert_eq!(value, [if index.is_multiple_of(2) { 2.0 } else { 1.0 }], "{name}");
    }

    // Named twice: nobody knows which one is meant.
    let (name, text) = (tensors.keys().next().unwrap(), path("model/model.safetensors.index.json"));
    let twice = format!(
        r#"{{"weight_map": {{"{name}": "first.safetensors", "{name}": "second.safetensors"}}}}"#
    );
    fs::write(text, twice).unwrap();
    let error = Checkpoint::open(&path("model")).unwrap_err().to_string();
    assert!(error.ends_with(&format!("lists tensor `{name}` twice")), "{error}");

    // Without an index nobody knows either.
    fs::remove_file(path("model/model.safetensors.index.json")).unwrap();
    let error = Checkpoint::open(&path("model")).unwrap_err().to_string();
    assert!(error.contains("holds neither `model.safetensors` nor"), "{error}");
}

#[test]
fn a_key_that_a_models_config_has_twice_is_refused() {
    let directory = models(4, DType::F32);
    let config = r#"{"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1,
        "text": {"x": 1, "x": 1}, "num_hidden_layers": 2}"#;
    for (text, key) in [(config, "x"), (&config.replace(r#", "x": 1"#, ""), "num_hidden_layers")] {
        fs::write(directory.path().join("a/config.json"), text).unwrap();
        let error = plan(&average(directory.path(), &["a"])).err().unwrap();
        let message = message(&*error);
        assert!(
            message.contains("a/config.json") && message.contains(&format!("`{key}`")),
            "{message}"
        );
        assert!(error.is_users_mistake());
    }
}

// Inputs that change

#[test]
fn an_input_that_is_cut_off_while_it_is_merged_is_an_error() {
    let directory = models(64, DType::F32);
    let file = directory.path().join("b/model.safetensors");
    let plan = plan(&average(directory.path(), &["a", "b"])).unwrap();
    let out = directory.path().join("merged");
    // Cut off when the first chunk has been written, of many tensors.
    let error = engine().merge_to_directory(&plan, &out, &WriteOptions::default(), &|_| {
        OpenOptions::new().write(true).open(&file).unwrap().set_len(5_000).unwrap();
    });
    let message = message(&error.unwrap_err());
    assert!(message.contains("b/model.safetensors` was cut off"), "{message}");
    assert!(message.contains("tensor `"), "{message}");
    assert!(!out.exists());
}

#[cfg(unix)]
mod programs {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    fn mergekit() -> std::path::PathBuf {
        assert_cmd::cargo::cargo_bin("mergekit")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Writes a merge of three models to `merge.yml`.
    fn prepare(hidden: usize) -> TempDir {
        let directory = models(hidden, DType::BF16);
        let config = average(directory.path(), &["a", "b", "c"]);
        fs::write(directory.path().join("merge.yml"), config).unwrap();
        directory
    }

    /// Names the directory of the models to a process that is to be killed while it merges them.
    const DIRECTORY: &str = "MERGE_UNTIL_KILLED";
    /// Percent of the output that is written until then.
    const PERCENT: &str = "MERGE_UNTIL_KILLED_AT";

    /// Merges the models in `directory`, and kills this process once `percent` of the output is written.
    fn merge_until_killed(directory: &Path, percent: u64) {
        let plan = plan(&average(directory, &["a", "b", "c"])).unwrap();
        let enough = (plan.output_bytes() * percent / 100).max(1);
        let written = AtomicU64::new(0);
        let merged = directory.join("merged");
        let result =
            engine().merge_to_directory(&plan, &merged, &WriteOptions::default(), &|bytes| {
                let before = written.fetch_add(bytes, Ordering::Relaxed);
                // One thread does it, and the merge does not end without that thread.
                if before < enough && before + bytes >= enough {
                    let me = std::process::id().to_string();
                    Command::new("kill").args(["-KILL", &me]).status().unwrap();
                    std::thread::sleep(Duration::from_secs(60));
                }
            });
        panic!("nobody was killed: {result:?}");
    }

    #[test]
    fn a_killed_merge_leaves_nothing_that_looks_like_a_model() {
        // This test is also the program that it kills.
        if let Some(directory) = env::var_os(DIRECTORY) {
            let percent = env::var(PERCENT).unwrap().parse().unwrap();
            return merge_until_killed(directory.as_ref(), percent);
        }
        let directory = prepare(300);
        let inputs = names(directory.path());
        let merged = directory.path().join("merged");
        for percent in [0, 50, 100] {
            let status = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "programs::a_killed_merge_leaves_nothing_that_looks_like_a_model",
                ])
                .env(DIRECTORY, directory.path())
                .env(PERCENT, percent.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(9), "{status}");
            assert!(!merged.exists(), "killed after {percent} %");
            let left = names(directory.path());
            let left: Vec<_> = left.iter().filter(|name| !inputs.contains(name)).collect();
            assert!(!left.is_empty(), "nothing was left after {percent} %");
            for name in left {
                assert!(mergekit::checkpoint::is_unfinished_output(name), "{name}");
            }
        }
        // What was left does not stand in the way.
        let (code, stderr) = run(directory.path(), "merged", "unlimited");
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(Checkpoint::open(&merged).unwrap().tensors().len(), 12);
    }

    /// Runs the merge of `directory` into `out` with a limit of file sizes, as a full disk has one.
    fn run(directory: &Path, out: &str, limit: &str) -> (Option<i32>, String) {
        // The signal would end the program before the system call could fail.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
        let output = Command::new("sh")
            .current_dir(directory)
            .args(["-c", &script, "sh"])
            .arg(mergekit())
            .args(["merge", "merge.yml", out])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_and_leaves_nothing() {
        let directory = prepare(100);
        let before = names(directory.path());
        let (code, stderr) = run(directory.path(), "merged", "8");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.starts_with("error: cannot write `"), "{stderr}");
        assert!(stderr.contains("model.safetensors"), "{stderr}");
        assert_eq!(names(directory.path()), before);
        let (code, stderr) = run(directory.path(), "merged", "unlimited");
        assert_eq!(code, Some(0), "{stderr}");
    }

    #[test]
    fn an_output_that_cannot_be_made_is_an_error() {
        let directory = prepare(8);
        for (out, part) in [("merge.yml/merged", "merge.yml"), ("/proc/merged", "/proc")] {
            let (code, stderr) = run(directory.path(), out, "unlimited");
            assert_eq!(code, Some(2), "{stderr}");
            assert!(stderr.starts_with("error: ") && stderr.contains(part), "{stderr}");
            assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        }
    }
}

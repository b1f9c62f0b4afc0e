//! `mergekit merge` as a person runs it: what it writes, and what it says when something is wrong.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use indexmap::IndexMap;
use mergekit::architecture::{Architecture, ModelConfig};
use mergekit::checkpoint::{
    Checkpoint, CheckpointWriter, Layout, MemoryCheckpoint, ShardSize, TensorInfo, TensorSource,
};
use mergekit::kernels::dtype::{DType, narrow};
use serde_json::{Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 4;

/// A directory with the Llamas `base`, `a` and `b`, and a place to merge to.
struct Workplace {
    directory: TempDir,
}

impl Workplace {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for (index, name) in ["base", "a", "b"].into_iter().enumerate() {
            place.add_model(name, HIDDEN, |element| (element % 7) as f32 * 0.1 + index as f32);
        }
        fs::write(place.path("base/tokenizer.json"), "{}").unwrap();
        fs::write(place.path("base/generation_config.json"), "{}").unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a model of `hidden` units whose tensors have `value(index)` at `index`.
    fn add_model(&self, name: &str, hidden: usize, value: impl Fn(usize) -> f32) {
        let directory = self.path(name);
        fs::create_dir(&directory).unwrap();
        let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2});
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        let config = ModelConfig::load(&directory).unwrap();
        let architecture = Architecture::of_model(&config, &MemoryCheckpoint::new()).unwrap();
        let (module, n_layers) = architecture.module("default").unwrap();
        let mut tensors = IndexMap::new();
        for (location, template) in module.tensors(n_layers) {
            let name = template.name_for(location, n_layers);
            let shape = if name.contains("norm") { vec![hidden] } else { vec![hidden, hidden] };
            tensors.insert(name, TensorInfo { dtype: DType::BF16, shape });
        }
        let layout = Layout::new(tensors, ShardSize::UNLIMITED).unwrap();
        let writer = CheckpointWriter::create(&directory, layout).unwrap();
        for (index, info) in writer.layout().tensors().values().enumerate() {
            let values: Vec<f32> = (0..info.elements()).map(&value).collect();
            let mut bytes = vec![0; info.bytes()];
            narrow(info.dtype, &values, &mut bytes);
            writer.write_at(index, 0, &bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    /// `mergekit merge merge.yml merged` with `config` as `merge.yml`.
    fn merge(&self, config: &str, options: &[&str]) -> Outcome {
        fs::write(self.path("merge.yml"), config).unwrap();
        let mut command = Command::cargo_bin("mergekit").unwrap();
        command.current_dir(self.directory.path());
        let output = command.args(["merge", "merge.yml", "merged"]).args(options).output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a merge that has to be refused: exit code 2, one sentence and perhaps a hint, and no
    /// trace of an output.
    #[track_caller]
    fn refused(&self, config: &str) -> String {
        let before = self.names();
        let outcome = self.merge(config, &[]);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
        let mut lines = outcome.stderr.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("error: ")), "{}", outcome.stderr);
        if let Some(blank) = lines.next() {
            assert_eq!(blank, "");
            assert!(lines.next().is_some_and(|line| line.starts_with("hint: ")));
        }
        assert_eq!(lines.next(), None);
        let after: Vec<_> = self.names().into_iter().filter(|name| name != "merge.yml").collect();
        assert_eq!(after, before);
        outcome.stderr
    }

    fn names(&self) -> Vec<String> {
        names(self.directory.path()).into_iter().filter(|name| name != "merge.yml").collect()
    }
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const TIES: &str = "\
merge_method: ties
base_model: base
models:
- model: a
  parameters: {weight: 0.5, density: 0.5}
- model: b
  parameters: {weight: 0.5, density: 0.5}
";

#[test]
fn a_merge_writes_a_whole_model() {
    let place = Workplace::new();
    let outcome = place.merge(TIES, &[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .starts_with("merged ties of 2 models on base `base` into `merged`: 21 tensors")
    );
    assert_eq!(
        names(&place.path("merged")),
        [
            "README.md",
            "config.json",
            "generation_config.json",
            "merge.lock.json",
            "mergekit_config.yml",
            "model.safetensors",
            "tokenizer.json",
        ]
    );
    assert_eq!(fs::read_to_string(place.path("merged/mergekit_config.yml")).unwrap(), TIES);
    let card = fs::read_to_string(place.path("merged/README.md")).unwrap();
    for part in
        ["# Merged model\n", "Base model: `base`", "* `a`\n* `b`\n", "- mergekit\n- merge\n", TIES]
    {
        assert!(card.contains(part), "{part} is not in:\n{card}");
    }
    let merged = Checkpoint::open(&place.path("merged")).unwrap();
    assert_eq!(merged.tensors().len(), 21);
    let config: Value =
        serde_json::from_slice(&fs::read(place.path("merged/config.json")).unwrap()).unwrap();
    assert_eq!(config["num_hidden_layers"], 2);
}

#[test]
fn options_decide_what_is_written() {
    let place = Workplace::new();
    let options = ["--no-copy-tokenizer", "--no-write-model-card", "--out-shard-size", "100"];
    let outcome = place.merge(TIES, &[&options[..], &["--quiet", "--threads", "1"]].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let written = names(&place.path("merged"));
    assert_eq!(written.first().unwrap(), "config.json");
    assert!(written.contains(&"model.safetensors.index.json".to_owned()), "{written:?}");
    assert!(!written.iter().any(|name| name.contains("token") || name == "README.md"));

    // mergekit-yaml's other options are understood.
    let options =
        ["--overwrite", "--device", "cpu", "--lazy-unpickle", "--num-threads", "2", "-vv"];
    let outcome = place.merge(TIES, &options);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("lm_head.weight bfloat16 [4, 4]"), "{}", outcome.stderr);
    assert!(names(&place.path("merged")).contains(&"README.md".to_owned()));
}

#[test]
fn the_chat_template_is_the_one_asked_for() {
    let place = Workplace::new();
    let given = |name: &str, template: &str| {
        let config = json!({"bos_token": "<s>", "chat_template": template}).to_string();
        fs::write(place.path(name).join("tokenizer_config.json"), config).unwrap();
    };
    for (name, template) in
        [("base", "{{ first }}"), ("a", "{{ second }}"), ("b", "{{ second }}\n")]
    {
        given(name, template);
    }
    let written = |template: &str| {
        let outcome = place.merge(&format!("{TIES}chat_template: {template}\n"), &["--overwrite"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let text = fs::read_to_string(place.path("merged/tokenizer_config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["bos_token"], "<s>");
        let file = fs::read_to_string(place.path("merged/chat_template.jinja")).unwrap();
        assert_eq!(config["chat_template"], file.as_str());
        file
    };
    assert_eq!(written("auto"), "{{ second }}");
    assert_eq!(written("'{{ bos_token }} and messages'"), "{{ bos_token }} and messages");
    assert!(written("chatml").contains("<|im_start|>"));

    let outcome = place
        .merge(&format!("{TIES}chat_template: chatml\n"), &["--overwrite", "--no-copy-tokenizer"]);
    assert!(outcome.stderr.contains("`chat_template` has no effect"), "{}", outcome.stderr);
    assert!(!names(&place.path("merged")).iter().any(|name| name.contains("template")));

    fs::write(place.path("a/tokenizer_config.json"), "[]").unwrap();
    let outcome = place.merge(&format!("{TIES}chat_template: auto\n"), &["--overwrite"]);
    let problem = "merge.yml:8:16: the chat template of `a` does not count";
    assert!(outcome.stderr.contains(problem), "{}", outcome.stderr);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let place = Workplace::new();
    // Matrices of several chunks, which are drawn for and written in any order.
    for (index, name) in ["base", "a", "b"].into_iter().enumerate() {
        fs::remove_dir_all(place.path(name)).unwrap();
        place.add_model(name, 200, |element| (element * (index + 2) % 97) as f32 * 0.01);
    }
    for method in ["dare_linear", "dare_ties", "della", "della_linear"] {
        let config = TIES.replace("ties", method);
        let merge = |seed: &str, threads: &str| {
            let options = ["--overwrite", "--random-seed", seed, "--threads", threads];
            let outcome = place.merge(&config, &options);
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
            fs::read(place.path("merged/model.safetensors")).unwrap()
        };
        let first = merge("1", "1");
        for threads in ["2", "7"] {
            assert!(merge("1", threads) == first, "{method} with {threads} threads");
        }
        assert!(merge("2", "1") != first, "{method}");
    }
}

#[test]
fn an_existing_output_is_kept_unless_told_otherwise() {
    let place = Workplace::new();
    assert_eq!(place.merge(TIES, &[]).code, 0);
    fs::write(place.path("merged/stale.json"), "{}").unwrap();
    let message = place.refused(TIES);
    assert!(message.contains("merged` is not empty"), "{message}");
    assert!(message.contains("--overwrite"), "{message}");
    assert!(place.path("merged/stale.json").exists());

    assert_eq!(place.merge(TIES, &["--overwrite"]).code, 0);
    assert!(!place.path("merged/stale.json").exists());
}

#[test]
fn overwriting_never_deletes_what_is_not_a_merged_model() {
    let place = Workplace::new();
    fs::create_dir(place.path("merged")).unwrap();
    fs::write(place.path("merged/precious"), "x").unwrap();
    let run = place.merge(TIES, &["--overwrite"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("holds `precious`, which is not part of a model"),
        "{}",
        run.stderr
    );
    assert_eq!(names(&place.path("merged")), ["precious"]);
    fs::remove_dir_all(place.path("merged")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path("a"), place.path("merged")).unwrap();
        let before = names(&place.path("a"));
        let run = place.merge(TIES, &["--overwrite"]);
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("is the input model `a`"), "{}", run.stderr);
        assert_eq!(names(&place.path("a")), before);
    }
}

#[test]
fn mistakes_in_configs_are_named_with_their_place() {
    let place = Workplace::new();
    let cases = [
        // YAML syntax
        (TIES.replace("- model: a\n", "- model: [a\n"), "merge.yml:"),
        // unknown field
        (TIES.replace("base_model", "base_modle"), "merge.yml:2:1"),
        (TIES.replace("base_model", "base_modle"), "`base_model`"),
        // unknown method
        (TIES.replace("ties", "tiez"), "merge.yml:1:15"),
        (TIES.replace("ties", "tiez"), "`ties`"),
        // missing required parameter
        (TIES.replacen("weight: 0.5, ", "", 1), "merge.yml:5:"),
        (TIES.replacen("weight: 0.5, ", "", 1), "`models[0].parameters.weight` is missing"),
        (TIES.replacen("weight: 0.5, ", "", 1), "model `a` for tensor `model.embed_tokens.weight`"),
        // density out of range
        (TIES.replacen("density: 0.5", "density: 1.5", 1), "merge.yml:5:"),
        (TIES.replacen("density: 0.5", "density: 1.5", 1), "density"),
        // missing model
        (
            TIES.replace("- model: b\n", "- model: missing\n"),
            "model directory `missing` does not exist",
        ),
    ];
    for (config, expected) in cases {
        let message = place.refused(&config);
        assert!(message.contains(expected), "{expected} is not in:\n{message}");
    }
}

#[test]
fn missing_files_are_named() {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    let output = command.args(["merge", "absent.yml", "merged"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("error: ") && message.contains("`absent.yml`"), "{message}");
    assert!(message.contains("No such file"), "{message}");

    let place = Workplace::new();
    fs::remove_file(place.path("b/config.json")).unwrap();
    assert!(place.refused(TIES).contains("b/config.json"));
    fs::remove_file(place.path("b/model.safetensors")).unwrap();
    assert!(place.refused(TIES).contains("holds neither `model.safetensors` nor"));
}

#[test]
fn models_of_different_shapes_are_refused() {
    let place = Workplace::new();
    place.add_model("wide", HIDDEN + 1, |_| 0.5);
    let message = place.refused(&TIES.replace("- model: b\n", "- model: wide\n"));
    assert!(message.contains("shape [5, 5] in `wide`, but shape [4, 4] in `a`"), "{message}");
}

#[test]
fn damaged_weights_are_refused() {
    let place = Workplace::new();
    let weights = place.path("b/model.safetensors");
    let whole = fs::read(&weights).unwrap();

    fs::write(&weights, &whole[..whole.len() - 10]).unwrap();
    let message = place.refused(TIES);
    assert!(message.contains("b/model.safetensors` has"), "{message}");
    assert!(message.contains("incomplete download"), "{message}");

    let mut corrupt = whole.clone();
    corrupt[12] = b'!';
    fs::write(&weights, &corrupt).unwrap();
    let message = place.refused(TIES);
    assert!(message.contains("b/model.safetensors` has no valid safetensors header"), "{message}");

    let mut huge = whole;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&weights, &huge).unwrap();
    assert!(place.refused(TIES).contains("declares a header of"));
}

#[test]
fn a_weight_that_is_no_number_is_named_and_refused_when_strict() {
    let place = Workplace::new();
    place.add_model("diverged", HIDDEN, |element| if element == 3 { f32::NAN } else { 0.5 });
    let config = TIES.replace("- model: b\n", "- model: diverged\n");
    let names_it = |message: &str| {
        message.contains("model `diverged`: tensor `")
            && message.contains("has the value NaN at element 3")
    };
    let outcome = place.merge(&config, &["--strict"]);
    assert_eq!(outcome.code, 2);
    assert!(names_it(&outcome.stderr), "{}", outcome.stderr);
    assert!(!place.path("merged").exists());
    let outcome = place.merge(&config, &[]);
    assert_eq!(outcome.code, 0);
    assert!(names_it(&outcome.stderr), "{}", outcome.stderr);
    assert!(place.path("merged/model.safetensors").exists());
}

#[test]
fn too_little_memory_is_refused() {
    let place = Workplace::new();
    let outcome = place.merge(TIES, &["--memory-limit", "10k"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("the memory limit of 10.00 kB is too small"));
    assert!(!place.path("merged").exists());
    assert_eq!(place.merge(TIES, &["--memory-limit", "10m"]).code, 0);
}

#[test]
fn help_shows_examples() {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    let output = command.args(["merge", "--help"]).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("mergekit merge"), "{help}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing() {
    // On a machine that has merged before the signal arrives, a larger merge takes longer.
    let interrupted = [600, 1200, 2400, 4800].into_iter().any(is_interrupted);
    assert!(interrupted, "every merge was done before it could be interrupted");
}

/// Interrupts a merge of models of `hidden` units, and checks what it leaves: nothing, or the whole model
/// where it was done before.
#[cfg(unix)]
fn is_interrupted(hidden: usize) -> bool {
    use std::process::{Command as Process, Stdio};
    use std::time::{Duration, Instant};
    let place = Workplace::new();
    for name in ["base", "a", "b"] {
        fs::remove_dir_all(place.path(name)).unwrap();
        place.add_model(name, hidden, |element| (element % 97) as f32 * 0.01);
    }
    fs::write(place.path("merge.yml"), TIES).unwrap();
    let before = place.names();
    let mut merge = Process::new(assert_cmd::cargo::cargo_bin("mergekit"))
        .current_dir(place.directory.path())
        .args(["merge", "merge.yml", "merged", "--threads", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has begun when its partial directory is there.
    let started = Instant::now();
    while place.names() == before && merge.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "the merge does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Until it has been waited for, its number belongs to no other process.
    if merge.try_wait().unwrap().is_none() {
        let id = merge.id().to_string();
        assert!(Process::new("kill").args(["-INT", &id]).status().unwrap().success());
    }
    let output = merge.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert_eq!(Checkpoint::open(&place.path("merged")).unwrap().tensors().len(), 21);
        return false;
    }
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(place.names(), before);
    true
}

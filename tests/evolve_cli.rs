//! `mergekit-evolve` as a person runs it: what it leaves behind, how it survives, and what it says
//! when something is wrong.

#[cfg(feature = "hub")]
#[path = "support/hub_server.rs"]
#[allow(dead_code, reason = "only the server is needed, without faults")]
mod hub_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use mergekit::architecture::{Architecture, ModelConfig};
use mergekit::checkpoint::{CheckpointWriter, Layout, MemoryCheckpoint, ShardSize, TensorInfo};
use mergekit::kernels::dtype::{DType, narrow};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Hidden units, vocabulary and all other widths: every weight is a square.
const WIDTH: usize = 16;

/// The longest that any run here may take.
const PATIENCE: Duration = Duration::from_secs(120);

const SEARCH: &str = "\
merge:
  merge_method: task_arithmetic
  base_model: models/base
  models:
  - model: models/a
    parameters:
      weight: {uniform: [0, 1.5]}
  - model: models/b
    parameters:
      weight: {uniform: [0, 1.5], layer_groups: 2}
  dtype: bfloat16
tasks:
- {name: choose, metric: acc}
task_path: [tasks]
budget: {evaluations: 120}
output: out
";

/// A directory with three tiny Llamas, a task and a search file.
struct Workplace {
    directory: TempDir,
}

impl Workplace {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for (seed, name) in ["base", "a", "b"].into_iter().enumerate() {
            place.add_model(name, seed as u64);
        }
        place.add_task();
        fs::write(place.path("search.yml"), SEARCH).unwrap();
        let endless = SEARCH.replace("evaluations: 120", "evaluations: 1000000");
        fs::write(place.path("endless.yml"), endless + "optimizer: {kind: random}\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn add_model(&self, name: &str, seed: u64) {
        self.add_model_of_width(name, seed, WIDTH);
    }

    fn add_model_of_width(&self, name: &str, seed: u64, width: usize) {
        let directory = self.path("models").join(name);
        fs::create_dir_all(&directory).unwrap();
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": width, "intermediate_size": width, "vocab_size": width,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        });
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        let vocabulary: IndexMap<String, usize> =
            (0..WIDTH).map(|token| (word(token), token)).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
        });
        fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();

        let config = ModelConfig::load(&directory).unwrap();
        let architecture = Architecture::of_model(&config, &MemoryCheckpoint::new()).unwrap();
        let (module, n_layers) = architecture.module("default").unwrap();
        let mut tensors = IndexMap::new();
        for (location, template) in module.tensors(n_layers) {
            let name = template.name_for(location, n_layers);
            let shape = if name.contains("norm") { vec![width] } else { vec![width, width] };
            tensors.insert(name, TensorInfo { dtype: DType::BF16, shape });
        }
        write_noise(&directory, tensors, seed);
    }

    /// An adapter of rank 2 for the attention of the models.
    fn add_adapter(&self, name: &str, seed: u64) {
        let directory = self.path("adapters").join(name);
        fs::create_dir_all(&directory).unwrap();
        let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]});
        fs::write(directory.join("adapter_config.json"), config.to_string()).unwrap();
        let mut tensors = IndexMap::new();
        for module in ["0.self_attn.q_proj", "1.self_attn.q_proj", "1.self_attn.v_proj"] {
            for (part, shape) in [("A", [2, WIDTH]), ("B", [WIDTH, 2])] {
                let name = format!("base_model.model.model.layers.{module}.lora_{part}.weight");
                tensors.insert(name, TensorInfo { dtype: DType::BF16, shape: shape.to_vec() });
            }
        }
        write_noise(&directory, tensors, seed);
        let weights = directory.join("model.safetensors");
        fs::rename(weights, directory.join("adapter_model.safetensors")).unwrap();
    }

    /// Gives the tokens of a model their ids in reverse.
    fn reverse_tokens(&self, name: &str) {
        let directory = self.path("models").join(name);
        let read = |file: &str| fs::read(directory.join(file)).unwrap();
        let mut tokenizer: Value = serde_json::from_slice(&read("tokenizer.json")).unwrap();
        for id in tokenizer["model"]["vocab"].as_object_mut().unwrap().values_mut() {
            *id = (WIDTH as u64 - 1 - id.as_u64().unwrap()).into();
        }
        fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let mut weights = read("model.safetensors");
        let data = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&weights[8..data]).unwrap();
        for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
            let offset =
                |end: usize| header[tensor]["data_offsets"][end].as_u64().unwrap() as usize;
            let rows = &mut weights[data + offset(0)..data + offset(1)];
            let reversed: Vec<u8> = rows.rchunks(2 * WIDTH).flatten().copied().collect();
            rows.copy_from_slice(&reversed);
        }
        fs::write(directory.join("model.safetensors"), weights).unwrap();
    }

    /// Forty questions with two answers.
    fn add_task(&self) {
        fs::create_dir(self.path("tasks")).unwrap();
        let task = "task: choose\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    \
                    test: choose.jsonl\ntest_split: test\noutput_type: multiple_choice\n\
                    doc_to_text: \"{{question}}\"\ndoc_to_choice: \"{{choices}}\"\n\
                    doc_to_target: \"{{answer}}\"\nmetric_list:\n- metric: acc\n";
        fs::write(self.path("tasks/choose.yaml"), task).unwrap();
        let item = |n: usize| {
            let question = format!("{} {} {}", word(n % 13), word(n * 7 % 11), word(n * 5 % 16));
            let choices = [word(n % 16), word((n + 5) % 16)];
            json!({"question": question, "choices": choices, "answer": n % 2}).to_string() + "\n"
        };
        let items: String = (0..40).map(item).collect();
        fs::write(self.path("tasks/choose.jsonl"), items).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mergekit-evolve"));
        command.current_dir(self.directory.path()).args(arguments);
        command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", self.path("no-cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a search in `out` and waits until its journal has so many evaluations.
    fn start_until(&self, search: &str, evaluations: usize) -> Child {
        let mut command = self.command(&[search]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        while self.recorded() < evaluations {
            assert!(child.try_wait().unwrap().is_none(), "the search ended by itself");
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    /// Number of evaluations in the journal.
    fn recorded(&self) -> usize {
        let text = fs::read_to_string(self.path("out/journal.jsonl")).unwrap_or_default();
        text.matches("\n{\"kind\":\"evaluation\"").count()
    }

    /// A refused command: exit code 2, one sentence and perhaps a hint, no output directory.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(stderr.lines().count() <= 3, "{stderr}");
        assert!(output.stdout.is_empty() && !self.path("out").exists());
        stderr
    }
}

/// Writes weights that look random, but depend on `seed` alone.
fn write_noise(directory: &Path, tensors: IndexMap<String, TensorInfo>, seed: u64) {
    let layout = Layout::new(tensors, ShardSize::UNLIMITED).unwrap();
    let writer = CheckpointWriter::create(directory, layout).unwrap();
    let mut word = seed;
    for (index, info) in writer.layout().tensors().values().enumerate() {
        let values: Vec<f32> = (0..info.elements())
            .map(|_| {
                word = word.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (word >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect();
        let mut bytes = vec![0; info.bytes()];
        narrow(info.dtype, &values, &mut bytes);
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn word(token: usize) -> String {
    format!("w{token}")
}

/// The records of a journal by kind and index, without what differs between equal runs.
fn records(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("journal.jsonl")).unwrap();
    let mut records: Vec<Value> = text
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            fields.retain(|name, _| !name.ends_with("_seconds") && name != "check");
            record
        })
        .collect();
    records.sort_by_key(|record| {
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        (text("kind"), record["index"].as_u64(), text("role"), text("name"))
    });
    records
}

/// All files below a directory with their contents.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_search_leaves_behind_everything_and_the_winner_can_be_made_again() {
    let place = Workplace::new();
    let output = place.run(&["search.yml"]);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for line in ["  base ", "  a ", "  b ", "  uniform average ", "  evolved merge "] {
        assert_eq!(stdout.matches(&format!("\n{line}")).count(), 1, "{stdout}");
    }
    assert!(stdout.contains("on 20 search items and 20 validation items"), "{stdout}");
    assert!(stderr.contains("evaluation 120/120"), "{stderr}");
    let out = place.path("out");
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "best_config.yaml",
        "best_model",
        "convergence.svg",
        "history.csv",
        "journal.jsonl",
        "search.yml",
        "summary.txt",
    ];
    assert_eq!(names, expected);
    assert_eq!(fs::read_to_string(out.join("summary.txt")).unwrap(), stdout);
    assert_eq!(fs::read_to_string(out.join("search.yml")).unwrap(), SEARCH);
    let history = fs::read_to_string(out.join("history.csv")).unwrap();
    assert_eq!(history.lines().count(), 121);

    let merge = Command::new(env!("CARGO_BIN_EXE_mergekit"))
        .current_dir(place.directory.path())
        .args(["merge", "out/best_config.yaml", "again"])
        .output()
        .unwrap();
    assert!(merge.status.success(), "{}", String::from_utf8_lossy(&merge.stderr));
    assert_eq!(files(&place.path("again")), files(&out.join("best_model")));

    let journal = fs::read(out.join("journal.jsonl")).unwrap();
    let again = place.run(&["search.yml"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), stdout);
    assert_eq!(fs::read(out.join("journal.jsonl")).unwrap(), journal);
    let quiet = place.run(&["search.yml", "--quiet"]);
    assert_eq!(String::from_utf8(quiet.stdout).unwrap(), stdout);
    assert!(quiet.status.success() && quiet.stderr.is_empty());
}

#[test]
fn models_with_adapters_are_searched_over_like_others() {
    let place = Workplace::new();
    place.add_adapter("x", 7);
    place.add_adapter("y", 8);
    let search = SEARCH
        .replace("model: models/a", "model: models/base+adapters/x")
        .replace("model: models/b\n", "model: models/base+adapters/y\n");
    fs::write(place.path("search.yml"), search).unwrap();
    let few = ["search.yml", "--evaluations", "12"];
    let output = place.run(&few);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for line in ["  base ", "  base+x ", "  base+y ", "  evolved merge "] {
        assert_eq!(stdout.matches(&format!("\n{line}")).count(), 1, "{stdout}");
    }
    let failed = |record: &Value| record["kind"] == "evaluation" && !record["error"].is_null();
    let records = records(&place.path("out"));
    assert!(!records.iter().any(failed), "{records:?}");

    let merge = Command::new(env!("CARGO_BIN_EXE_mergekit"))
        .current_dir(place.directory.path())
        .args(["merge", "out/best_config.yaml", "again"])
        .output()
        .unwrap();
    assert!(merge.status.success(), "{}", String::from_utf8_lossy(&merge.stderr));
    assert_eq!(files(&place.path("again")), files(&place.path("out/best_model")));

    // An unfinished search notices that an adapter changed, which is part of the model.
    let journal = place.path("out/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<_> = text.lines().collect();
    fs::write(&journal, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
    place.add_adapter("y", 9);
    let changed = place.run(&few);
    let stderr = String::from_utf8(changed.stderr).unwrap();
    assert_eq!(changed.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("model `models/base+adapters/y` changed"), "{stderr}");
}

#[test]
fn a_killed_search_is_continued_as_if_nothing_had_happened() {
    let (whole, killed) = (Workplace::new(), Workplace::new());
    assert!(whole.run(&["search.yml", "--threads", "1"]).status.success());
    for evaluations in [1, 9, 40] {
        let mut child = killed.start_until("search.yml", evaluations);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!killed.path("out/summary.txt").exists());
    }
    let output = killed.run(&["search.yml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("continuing: the journal holds"), "{stderr}");
    assert_eq!(records(&killed.path("out")), records(&whole.path("out")));
    assert_eq!(files(&killed.path("out/best_model")), files(&whole.path("out/best_model")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_in_good_order() {
    let place = Workplace::new();
    for round in 1..=2 {
        let child = place.start_until("endless.yml", place.recorded() + 3);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        let recorded = place.recorded();
        let message = format!(
            "error: stopped after {recorded} of 1000000 evaluations, all of which are kept"
        );
        assert!(stderr.contains(&message), "{stderr}");
        assert!(stderr.contains("stopping when the running evaluations are done"), "{stderr}");
        assert!(stderr.ends_with("hint: the same command goes on from here\n"), "{stderr}");
        assert_eq!(stderr.contains("continuing: the journal holds"), round > 1, "{stderr}");
        let history = fs::read_to_string(place.path("out/history.csv")).unwrap();
        assert_eq!(history.lines().count(), recorded + 1);
    }
}

#[test]
fn a_reader_that_leaves_does_not_end_a_search() {
    let place = Workplace::new();
    let deaf = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().unwrap().code()
    };
    let few = ["search.yml", "--evaluations", "6", "-vv"];
    assert_eq!(deaf(&few), Some(0));
    assert_eq!(place.recorded(), 6);
    assert!(place.path("out/best_model").exists());
    assert_eq!(deaf(&few), Some(0));
    assert_eq!(deaf(&["absent.yml"]), Some(2));
}

#[test]
fn a_finished_search_makes_lost_outputs_again() {
    let place = Workplace::new();
    let few = ["search.yml", "--evaluations", "6"];
    let first = place.run(&few);
    assert!(first.status.success());
    let out = place.path("out");
    let names = ["best_config.yaml", "convergence.svg", "history.csv", "summary.txt"];
    let read = || names.map(|name| fs::read(out.join(name)).unwrap());
    let (texts, model) = (read(), files(&out.join("best_model")));
    for name in names {
        fs::remove_file(out.join(name)).unwrap();
    }
    fs::remove_dir_all(out.join("best_model")).unwrap();
    let again = place.run(&few);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(read(), texts);
    assert_eq!(files(&out.join("best_model")), model);

    // Without the models that it was made from, there is no other way to have it again.
    fs::remove_dir_all(out.join("best_model")).unwrap();
    fs::remove_dir_all(place.path("models/a")).unwrap();
    let stderr = String::from_utf8(place.run(&few).stderr).unwrap();
    assert!(stderr.contains("error: ") && stderr.contains("`models/a` does not exist"), "{stderr}");
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let place = Workplace::new();
    let before = files(&place.path("tasks"));
    let stderr = place.refused(&["search.yml", "--output", "tasks"]);
    assert!(stderr.contains("`tasks`"), "{stderr}");
    assert!(stderr.contains("hint: choose another directory with `--output`"), "{stderr}");
    assert_eq!(files(&place.path("tasks")), before);
}

#[test]
fn models_with_other_token_ids_are_searched_as_if_they_had_the_same() {
    let place = Workplace::new();
    let search = SEARCH.replace("evaluations: 120", "evaluations: 20");
    let aligned = search.replace("  dtype:", "  tokenizer: {source: base}\n  dtype:");
    let scores = |search: &str| -> Vec<Value> {
        let _ = fs::remove_dir_all(place.path("out"));
        fs::write(place.path("search.yml"), search).unwrap();
        let output = place.run(&["search.yml"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = records(&place.path("out"));
        let scores: Vec<Value> = records
            .iter()
            .filter(|record| record["kind"] == "evaluation" || record["kind"] == "reference")
            .map(|record| {
                let what = if record["kind"] == "evaluation" { "scores" } else { "search" };
                json!([record["kind"], record["index"], record["name"], record[what]])
            })
            .collect();
        assert!(scores.len() > 20 && scores.iter().all(|score| score[3]["score"].is_number()));
        scores
    };
    let expected = scores(&search);
    assert!(scores(&aligned) == expected);
    place.reverse_tokens("b");
    assert!(scores(&search) != expected);
    assert!(scores(&aligned) == expected);
}

#[test]
fn models_of_different_shape_are_refused() {
    let place = Workplace::new();
    fs::remove_dir_all(place.path("models/b")).unwrap();
    place.add_model_of_width("b", 2, 2 * WIDTH);
    let stderr = place.refused(&["search.yml"]);
    assert!(stderr.contains("has shape [32, 32] in `models/b`, but shape [16, 16]"), "{stderr}");
    assert!(stderr.contains("\nhint: "), "{stderr}");
}

#[test]
fn a_running_search_keeps_others_out() {
    let place = Workplace::new();
    let mut child = place.start_until("endless.yml", 1);
    let output = place.run(&["endless.yml"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("`out/journal.jsonl` is in use by another search"), "{stderr}");
}

#[test]
fn a_changed_search_is_refused_with_what_changed() {
    let place = Workplace::new();
    let few = ["search.yml", "--evaluations", "6"];
    assert!(place.run(&few).status.success());
    let seed = place.run(&[&few[..], &["--seed", "9"]].concat());
    let stderr = String::from_utf8(seed.stderr).unwrap();
    assert_eq!(seed.status.code(), Some(2));
    assert!(stderr.contains("the seed was 0 and is 9"), "{stderr}");

    // An unfinished search notices changed models and a changed answer, too.
    let journal = place.path("out/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<_> = text.lines().collect();
    fs::write(&journal, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
    let items = fs::read_to_string(place.path("tasks/choose.jsonl")).unwrap();
    let changed = items.replacen("\"answer\":1", "\"answer\":0", 1);
    fs::write(place.path("tasks/choose.jsonl"), changed).unwrap();
    fs::remove_dir_all(place.path("models/a")).unwrap();
    place.add_model("a", 99);
    let model = place.run(&few);
    let stderr = String::from_utf8(model.stderr).unwrap();
    assert_eq!(model.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("model `models/a` changed; task `choose` changed"), "{stderr}");
}

#[test]
fn a_task_that_judges_answers_otherwise_is_refused() {
    let place = Workplace::new();
    let path = place.path("tasks/write.yaml");
    let task = "task: write\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    \
                test: choose.jsonl\ntest_split: test\noutput_type: generate_until\n\
                doc_to_text: \"{{question}}\"\ndoc_to_target: \"{{choices[0]}}\"\n\
                generation_kwargs: {max_gen_toks: 2}\nfilter_list:\n- name: strict\n  filter:\n  \
                - {function: regex, regex_pattern: \"(w[0-9]+)\", group_select: 0}\n  \
                - {function: take_first}\nmetric_list:\n\
                - {metric: exact_match, ignore_case: false, regexes_to_ignore: [\",\"]}\n";
    fs::write(&path, task).unwrap();
    let search =
        SEARCH.replace("{name: choose, metric: acc}", "{name: write, metric: exact_match}");
    fs::write(place.path("search.yml"), search).unwrap();
    let few = ["search.yml", "--evaluations", "2"];
    let output = place.run(&few);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let journal = place.path("out/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let unfinished = text.lines().count() - 1;
    let lines: Vec<_> = text.lines().take(unfinished).collect();
    fs::write(&journal, lines.join("\n") + "\n").unwrap();
    for (from, to) in [
        ("(w[0-9]+)", "(w[0-9])"),
        ("group_select: 0", "group_select: -1"),
        ("ignore_case: false", "ignore_case: true"),
        ("[\",\"]", "[\"!\"]"),
        ("max_gen_toks: 2", "max_gen_toks: 3"),
    ] {
        assert!(task.contains(from));
        fs::write(&path, task.replace(from, to)).unwrap();
        let output = place.run(&few);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{to}: {stderr}");
        assert!(stderr.contains("task `write` changed"), "{to}: {stderr}");
    }
    fs::write(&path, task).unwrap();
    assert!(place.run(&few).status.success());
}

/// Names of these directories are names of models on the Hub, too.
#[cfg(feature = "hub")]
#[test]
fn models_of_the_hub_are_searched_like_directories() {
    let (local, place) = (Workplace::new(), Workplace::new());
    let server = hub_server::HubServer::start();
    for name in ["base", "a", "b"] {
        let files = hub_server::files_of(&place.path("models").join(name));
        server.add(&format!("models/{name}"), hub_server::Repo::new(files));
    }
    fs::remove_dir_all(place.path("models")).unwrap();
    let arguments = ["search.yml", "--evaluations", "20"];
    assert!(local.run(&arguments).status.success());
    let mut command = place.command(&arguments);
    command.env("HF_ENDPOINT", server.endpoint()).env("HF_HUB_OFFLINE", "0");
    let found = command.output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    for file in ["best_config.yaml", "best_model/model.safetensors"] {
        let read = |place: &Workplace| fs::read(place.path("out").join(file)).unwrap();
        assert!(read(&place) == read(&local), "{file}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let place = Workplace::new();
    let write = |from: &str, to: &str| {
        assert!(SEARCH.contains(from));
        fs::write(place.path("other.yml"), SEARCH.replace(from, to)).unwrap();
        place.refused(&["other.yml"])
    };
    assert!(place.refused(&["absent.yml"]).contains("`absent.yml`"));
    assert!(write("models/a", "models/c").contains("`models/c` does not exist"));
    assert!(write("name: choose", "name: chose").contains("hint: did you mean `choose`?"));
    assert!(write("metric: acc}", "metric: f1}").contains("task `choose` has no metric `f1`"));
    assert!(write("tasks:\n", "tasks: [\n").contains("other.yml:"));
    let fixed = SEARCH
        .replace("{uniform: [0, 1.5]}", "1")
        .replace("{uniform: [0, 1.5], layer_groups: 2}", "0.5");
    fs::write(place.path("fixed.yml"), fixed).unwrap();
    assert!(place.refused(&["fixed.yml"]).contains("variable"));
    fs::write(place.path("other.yml"), SEARCH.replace("choose", "mmlu_choose")).unwrap();
    let benchmark = place.refused(&["other.yml"]);
    assert!(benchmark.contains("`--allow-benchmark-tasks`"), "{benchmark}");
}

#[test]
fn an_answer_that_cannot_fit_into_the_model_is_told_before_anything_is_written() {
    let place = Workplace::new();
    let path = place.path("tasks/choose.yaml");
    let task = fs::read_to_string(&path).unwrap();
    let end = task.find("output_type").unwrap();
    let generation = "doc_to_text: \"{{question}}\"\ndoc_to_target: \"{{answer}}\"\n\
                      generation_kwargs: {max_gen_toks: 64}\n";
    fs::write(&path, format!("{}{generation}", &task[..end])).unwrap();
    fs::write(place.path("search.yml"), SEARCH.replace("metric: acc}", "metric: exact_match}"))
        .unwrap();
    let stderr = place.refused(&["search.yml"]);
    assert!(stderr.contains("needs room for 65 tokens"), "{stderr}");
}

#[test]
fn a_broken_task_is_told_with_its_place() {
    let place = Workplace::new();
    let items = fs::read_to_string(place.path("tasks/choose.jsonl")).unwrap();
    let broken = items.replacen("{\"question\":\"w3", "{\"question\" \"w3", 1);
    fs::write(place.path("tasks/choose.jsonl"), broken).unwrap();
    let stderr = place.refused(&["search.yml"]);
    assert!(stderr.contains("choose.jsonl:4"), "{stderr}");

    fs::write(place.path("tasks/choose.jsonl"), items).unwrap();
    let task = fs::read_to_string(place.path("tasks/choose.yaml")).unwrap();
    fs::write(place.path("tasks/choose.yaml"), task.replace("doc_to_text: \"{{question}}\"\n", ""))
        .unwrap();
    let stderr = place.refused(&["search.yml"]);
    assert!(stderr.contains("choose.yaml:") && stderr.contains("doc_to_text"), "{stderr}");
}

#[test]
fn a_parent_with_nan_ends_the_search_before_it_begins() {
    let place = Workplace::new();
    let path = place.path("models/b/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0xC0, 0x7F]);
    fs::write(&path, bytes).unwrap();
    let stderr = place.refused(&["search.yml"]);
    assert!(stderr.contains("model `models/b`: tensor `"), "{stderr}");
    assert!(stderr.contains("has the value NaN"), "{stderr}");
    let stderr = place.refused(&["search.yml", "--memory-limit", "1k"]);
    assert!(stderr.contains("memory limit"), "{stderr}");
}

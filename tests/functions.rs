//! Tasks whose files name Python functions: `mergekit score` with what stands for these, against
//! lm-evaluation-harness, which runs them (see tests/golden/functions/harness.py), and what a person is
//! told.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

/// Runs `mergekit score` on the golden model: its exit code, and what it writes on both outputs.
fn score(arguments: &[&str]) -> (i32, String, String) {
    let model = golden("evaluate/model");
    let mut command = Command::cargo_bin("mergekit").unwrap();
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "nowhere");
    command.arg("score").arg(model).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A directory with a task `t` in `folder`, whose function is `utils.FUNCTION`.
struct Tasks {
    directory: tempfile::TempDir,
    folder: PathBuf,
}

impl Tasks {
    fn new(folder: &str, field: &str) -> Tasks {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let tasks = Tasks { directory, folder };
        let fields = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: t.jsonl}}\n\
                      test_split: test\noutput_type: multiple_choice\ndoc_to_choice: [x, y]\n\
                      metric_list: [{metric: acc}]\n";
        let defaults = "doc_to_text: \"{{ q }}\"\ndoc_to_target: \"{{ a }}\"\n";
        let defaults: String = defaults
            .lines()
            .filter(|line| !field.starts_with(&line[..10]))
            .map(|line| format!("{line}\n"))
            .collect();
        tasks.write("t.yaml", &format!("{fields}{defaults}{field}\n"));
        let rows = ["anatomy", "virology", "anatomy"]
            .map(|subject| format!("{{\"q\": \"1+1\", \"a\": 1, \"subject\": \"{subject}\"}}\n"));
        tasks.write("t.jsonl", &rows.concat());
        tasks
    }

    /// Writes a file beside the task.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn score(&self) -> (i32, String, String) {
        let directory = self.directory.path().to_str().unwrap();
        score(&["--tasks", "t", "--include-path", directory, "--quiet"])
    }

    /// What is said of a task that cannot be run, without the directory's name.
    #[track_caller]
    fn refused(&self) -> String {
        let (code, _, stderr) = self.score();
        assert_eq!(code, 2, "{stderr}");
        let directory = format!("{}/", self.directory.path().display());
        stderr.replace(&directory, "")
    }

    /// The number of documents, and what is said beside the table.
    #[track_caller]
    fn documents(&self) -> (usize, String) {
        let directory = self.directory.path().to_str().unwrap();
        let (code, stdout, stderr) =
            score(&["--tasks", "t", "--include-path", directory, "--json"]);
        assert_eq!(code, 0, "{stderr}");
        let results: Value = serde_json::from_str(&stdout).unwrap();
        let count = &results["n-samples"]["t"]["original"];
        (usize::try_from(count.as_u64().unwrap()).unwrap(), stderr)
    }
}

#[test]
fn tasks_with_functions_have_the_harness_s_numbers() {
    let expected = read(&golden("functions/expected.json"));
    let names: Vec<&str> = expected.as_object().unwrap().keys().map(String::as_str).collect();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("out");
    let folder = golden("functions");
    let (code, _, stderr) = score(&[
        "--tasks",
        &names.join(","),
        "--include-path",
        folder.to_str().unwrap(),
        "--bootstrap-iters",
        "1000",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{stderr}");
    let results = read(&path.join("results.json"));
    for name in names {
        for (metric, expected) in expected[name]["results"].as_object().unwrap() {
            let found = &results["results"][name][metric];
            match (found.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => {
                    let difference = (found - expected).abs() / expected.abs().max(1.0);
                    assert!(difference <= 1e-5, "{name} {metric}: {found} and not {expected}");
                }
                _ => assert_eq!(found, expected, "{name} {metric}"),
            }
        }
        let samples = fs::read_to_string(path.join(format!("samples_{name}.jsonl"))).unwrap();
        let samples: Vec<Value> =
            samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let harness = expected[name]["samples"].as_array().unwrap();
        assert_eq!(samples.len(), harness.len(), "{name}");
        for (found, expected) in samples.iter().zip(harness) {
            assert_eq!(found["arguments"]["gen_args_0"]["arg_0"], expected["prompt"], "{name}");
            for field in ["doc", "doc_hash", "prompt_hash", "target_hash"] {
                assert_eq!(found[field], expected[field], "{name}");
            }
        }
    }
}

#[test]
fn a_function_without_a_substitute_is_refused() {
    let tasks = Tasks::new("mine", "process_docs: !function utils.pick");
    let message = tasks.refused();
    assert!(
        message.contains(
            "mine/t.yaml:10:15: process_docs: task `t` needs the Python function `utils.pick`, \
             which cannot be run and has no substitute"
        ),
        "{message}"
    );
    assert!(message.contains("functions.yaml"), "{message}");
}

#[test]
fn a_file_of_substitutes_beside_the_task_or_above_it_is_found() {
    let entry = "modules:\n- file: utils.py\n  functions:\n    \"pick_{wanted}\":\n      \
                 documents: [keep: \"{{ subject == wanted }}\"]\n";
    let tasks = Tasks::new("mine/deep", "process_docs: !function utils.pick_anatomy");
    tasks.write("functions.yaml", entry);
    assert_eq!(tasks.documents().0, 2);
    fs::remove_file(tasks.folder.join("functions.yaml")).unwrap();
    tasks.write("../functions.yaml", entry);
    assert_eq!(tasks.documents().0, 2);
    fs::remove_file(tasks.folder.join("../functions.yaml")).unwrap();
    fs::write(tasks.directory.path().join("functions.yaml"), entry).unwrap();
    let (count, said) = tasks.documents();
    assert_eq!(count, 2);
    assert!(!said.contains("substitute"), "{said}");
}

#[test]
fn one_of_ours_is_for_one_text_of_the_module() {
    let tasks = Tasks::new("global_mmlu/full/xx", "process_docs: !function utils.process_anatomy");
    let (count, said) = tasks.documents();
    assert_eq!(count, 2);
    assert!(said.contains("utils.py` is not there"), "{said}");
    tasks.write("utils.py", "def process_anatomy(dataset):\n    return dataset\n");
    let message = tasks.refused();
    assert!(
        message.contains(
            "needs the Python function `utils.process_anatomy`, whose substitute is for another \
             text of `global_mmlu/full/xx/utils.py` than the one here"
        ),
        "{message}"
    );
    // One's own wins, whatever the module's text is.
    tasks.write(
        "functions.yaml",
        "modules:\n- file: utils.py\n  functions: {process_anatomy: {documents: []}}\n",
    );
    assert_eq!(tasks.documents().0, 3);
}

#[test]
fn a_substitute_for_another_field_is_refused() {
    let tasks = Tasks::new("mine", "doc_to_text: !function utils.pick");
    tasks.write(
        "functions.yaml",
        "modules:\n- file: utils.py\n  functions: {pick: {documents: []}}\n",
    );
    let message = tasks.refused();
    assert!(message.contains("`utils.pick`, which has no substitute for this field"), "{message}");
}

#[test]
fn mistakes_in_substitutes_are_named() {
    let message = |entry: &str| {
        let tasks = Tasks::new("mine", "process_docs: !function utils.pick");
        tasks
            .write("functions.yaml", &format!("modules:\n- file: utils.py\n  functions:\n{entry}"));
        tasks.refused()
    };
    for (entry, expected) in [
        ("    pick: {document: []}\n", "mine/functions.yaml:4:12: "),
        ("    pick: {documents: [{keep: \"{{ 1 +\"}]}\n", "not a valid template"),
        ("    pick: {documents: [{keep: \"{{ a }}\"}]}\n", "expected `true` or `false` for item 0"),
        ("    pick: {documents: [{keep: \"{{ b }}\"}]}\n", "there is no column `b`"),
        ("    pick: {documents: [{keep: false}]}\n", "no document of split `test` is left"),
        ("    \"pick_{\": {documents: []}\n", "`{name}` and `*` stand for any part"),
        ("    pick: {documents: [{keep: true, set: {a: 1}}]}\n", "one of `keep`, `set`"),
    ] {
        let message = message(entry);
        assert!(message.contains(expected), "{entry}{message}");
    }
}

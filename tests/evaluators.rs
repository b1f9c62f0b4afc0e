//! Evaluators that are no tasks of lm-evaluation-harness: commands, and kinds of one's own.
#![cfg(unix)]

#[path = "../examples/custom_evaluator.rs"]
#[allow(dead_code, reason = "the example's `main` is not called")]
mod custom_evaluator;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mergekit::evaluate::{EvaluatorKinds, TaskLibrary, TaskOptions, Tokenizer};
use mergekit::search::{Interrupt, PrepareOptions, PreparedSearch, Run};
use mergekit::space::SearchFile;
use serde_json::Value;
use tempfile::TempDir;

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A working directory with the demo's models, and one for temporary files.
struct Workplace {
    directory: TempDir,
    temporary: TempDir,
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo")
}

impl Workplace {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            temporary: tempfile::tempdir().unwrap(),
        };
        symlink(demo(), place.path("models")).unwrap();
        fs::create_dir(place.path("tasks")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let output = assert_cmd::Command::cargo_bin("mergekit")
            .unwrap()
            .current_dir(self.directory.path())
            .env("TMPDIR", self.temporary.path())
            .args(arguments)
            .timeout(Duration::from_secs(120))
            .output()
            .unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Scores a model on the task `tasks/judged.yaml`, and gives its results.
    #[track_caller]
    fn score(&self, model: &str) -> Value {
        let arguments = ["score", model, "--include-path", "tasks", "--tasks", "judged", "--json"];
        let Outcome { code, stdout, stderr } = self.run(&arguments);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 0, "files are left");
        serde_json::from_str(&stdout).unwrap()
    }

    /// The message with which the task `tasks/judged.yaml` fails.
    #[track_caller]
    fn refused(&self, exit_code: i32) -> String {
        let arguments = ["score", "models/base", "--include-path", "tasks", "--tasks", "judged"];
        let Outcome { code, stdout, stderr } = self.run(&arguments);
        assert_eq!((code, stdout.as_str()), (exit_code, ""), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

#[test]
fn a_command_is_given_the_model_as_a_directory() {
    let place = Workplace::new();
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\ntask_alias: a judge\n\
         command: [sh, '{folder}/judge.sh', '{model}', '{work}']\n\
         env: {SCALE: 2}\n\
         metrics: {files: {higher_is_better: false}, 'acc,strict': {at: /results/acc}}\n",
    );
    place.write(
        "tasks/judge.sh",
        "cd \"$1\" || exit 1\n\
         test -f config.json && test -f tokenizer.json && test -s model.safetensors || exit 2\n\
         test -d \"$2\" && test ! -e \"$2/file\" && touch \"$2/file\" || exit 3\n\
         echo thinking\n\
         echo \"{\\\"files\\\": $(ls | wc -l), \\\"results\\\": {\\\"acc\\\": 0.25$SCALE}}\"\n",
    );
    let results = place.score("models/adder");
    let judged = &results["results"]["judged"];
    assert!(judged["files,none"].as_f64().unwrap() >= 3.0, "{judged}");
    assert_eq!(judged["acc,strict"], 0.252);
    assert_eq!(judged["acc_stderr,strict"], "N/A");
    assert_eq!(judged["alias"], "a judge");
    assert_eq!(results["higher_is_better"]["judged"]["files"], false);
    assert_eq!(results["max_length"], Value::Null, "the model was not loaded into memory");
}

#[test]
fn a_command_scores_single_items() {
    let place = Workplace::new();
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\nitems: 4\nmetrics: [acc]\n\
         command: [sh, '{folder}/judge.sh', '{items}', '{work}']\n\
         scores: '{work}/scores_*.jsonl'\n",
    );
    place.write(
        "tasks/judge.sh",
        r#"for item in $(echo "$1" | tr -d "[]" | tr , " "); do echo "{\"acc\": $item}"; done > "$2/scores_1.jsonl""#,
    );
    let judged = &place.score("models/adder")["results"]["judged"];
    assert_eq!(judged["acc,none"], 1.5);
    assert_eq!(judged["sample_len"], 4);
    let error = (5.0_f64 / 3.0).sqrt() / 2.0;
    assert!((judged["acc_stderr,none"].as_f64().unwrap() - error).abs() < 1e-12, "{judged}");
}

/// A model that cannot run here, and has no tokenizer that is read.
#[test]
fn a_command_judges_models_that_cannot_run_here() {
    let place = Workplace::new();
    fs::create_dir(place.path("odd")).unwrap();
    let weights = demo().join("base/model.safetensors");
    fs::copy(weights, place.path("odd/model.safetensors")).unwrap();
    place.write("odd/config.json", r#"{"model_type": "odd", "architectures": ["OddModel"]}"#);
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\nmetrics: [acc]\n\
         command: [sh, '{folder}/judge.sh', '{model}']\n",
    );
    place.write("tasks/judge.sh", r#"test -s "$1/model.safetensors" && echo '{"acc": 1}'"#);
    assert_eq!(place.score("odd")["results"]["judged"]["acc,none"], 1.0);
}

#[test]
fn what_a_command_that_fails_has_said_is_kept() {
    let place = Workplace::new();
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\nmetrics: [acc]\n\
         command: [sh, -c, 'echo half; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 7']\n",
    );
    let arguments =
        ["score", "models/base", "--include-path", "tasks", "--tasks", "judged", "--output", "out"];
    let Outcome { code, stderr, .. } = place.run(&arguments);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("task `judged`: the command `sh` failed with exit status: 7"),
        "{stderr}"
    );
    assert!(stderr.contains("line 3\nline 4\nline 5\nline 6\nline 7"), "{stderr}");
    assert!(!stderr.contains("line 2"), "{stderr}");
    let failures: Vec<_> = fs::read_dir(place.path("out/failures")).unwrap().flatten().collect();
    assert_eq!(failures.len(), 1);
    let kept = failures[0].path();
    assert!(
        stderr.contains(&format!(
            "{}",
            Path::new("out/failures").join(failures[0].file_name()).display()
        )),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(kept.join("stdout.txt")).unwrap(), "half\n");
    assert!(fs::read_to_string(kept.join("stderr.txt")).unwrap().starts_with("line 1\nline 2\n"));
    assert!(fs::read_to_string(kept.join("config.yml")).unwrap().contains("models/base"));
}

#[test]
fn a_command_ends_with_its_time() {
    let place = Workplace::new();
    let pid = place.path("child");
    place.write(
        "tasks/judged.yaml",
        &format!(
            "task: judged\nevaluator: command\nmetrics: [acc]\ntimeout: 0.5\n\
             command: [sh, -c, 'sleep 600 & echo $! > {}; wait']\n",
            pid.display()
        ),
    );
    let started = Instant::now();
    let error = place.refused(2);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(error.contains("was ended after 0.5 s, its `timeout`"), "{error}");
    // Its own child has ended with it.
    let child = fs::read_to_string(pid).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_command_is_tried_again() {
    let place = Workplace::new();
    let task = "task: judged\nevaluator: command\nmetrics: [acc]\nretries: 1\n\
                command: [sh, -c, 'test -e seen || { touch seen; exit 1; }; echo \"{\\\"acc\\\": 1}\"']\n";
    place.write("tasks/judged.yaml", task);
    assert_eq!(place.score("models/base")["results"]["judged"]["acc,none"], 1.0);
    fs::remove_file(place.path("seen")).unwrap();
    place.write("tasks/judged.yaml", &task.replace("retries: 1\n", ""));
    assert!(place.refused(2).contains("failed with exit status: 1"));
}

#[test]
fn mistakes_in_files_of_commands_are_told_with_their_place() {
    let place = Workplace::new();
    for (fields, message) in [
        ("metrics: [acc]", "judged.yaml:1:1: field `command` is missing"),
        (
            "command: echo\nmetrics: [acc]",
            "judged.yaml:3:10: command: expected a list of a program and its",
        ),
        ("command: []\nmetrics: [acc]", "judged.yaml:3:10: command: has to name a program"),
        ("command: [echo]", "judged.yaml:1:1: field `metrics` is missing"),
        ("command: [echo]\nmetrics: []", "judged.yaml:4:10: metrics: expected at least one metric"),
        (
            "command: [a, '{modell}']\nmetrics: [acc]",
            "judged.yaml:3:14: command[1]: placeholder `{modell}`",
        ),
        ("command: [a, '{items}']\nmetrics: [acc]", "`items` does not say how many"),
        (
            "command: [a]\nmetrics: {acc: {at: acc}}",
            "judged.yaml:4:21: metrics.acc.at: expected a path such as",
        ),
        (
            "command: [a]\nmetrics: [acc]\ntimeout: soon",
            "judged.yaml:5:10: timeout: expected a time such as",
        ),
        (
            "command: [a]\nmetrics: [acc]\nitems: 0",
            "judged.yaml:5:8: items: expected a whole number of at",
        ),
        ("command: [a]\nmetrics: [acc]\nretrys: 1", "unknown field `retrys`"),
        ("command: [no-such-program]\nmetrics: [acc]", "the command `no-such-program` cannot be"),
    ] {
        place.write("tasks/judged.yaml", &format!("task: judged\nevaluator: command\n{fields}\n"));
        let error = place.refused(2);
        assert!(error.contains(message), "{fields}: {error}");
    }
    place.write("tasks/judged.yaml", "task: judged\nevaluator: comand\n");
    let error = place.refused(2);
    assert!(
        error.contains("judged.yaml:2:12: evaluator: there is no evaluator `comand`"),
        "{error}"
    );
    assert!(error.contains("did you mean `command`?"), "{error}");
    place.write("tasks/judged.yaml", "task: judged\nfiles: a.jsonl\n");
    let error = place.refused(2);
    assert!(error.contains("judged.yaml:2:1: files: `files` is for evaluators"), "{error}");
}

/// The judge sees the config alone, so nothing is ever merged but the winner.
const SEARCH: &str = "\
merge:
  merge_method: linear
  models:
  - model: models/adder
    parameters: {weight: {uniform: [0, 1]}}
  - model: models/sorter
    parameters: {weight: 0.5}
  dtype: float32
tasks: [{name: judged, metric: acc}]
task_path: [tasks]
budget: {evaluations: 24}
output: out
";

const JUDGE: &str = r#"
weight=$(awk '/adder/ {found = 1} found && /weight:/ {print $2; exit}' "$1")
echo "$weight" | awk -v items="$2" '{
  n = gsub(/[0-9]+/, "&", items); score = 1 - ($1 - 0.3) ^ 2
  printf "{\"acc\": ["; for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? "," : ""), score
  print "]}" }'
"#;

#[test]
fn a_search_with_a_command_as_its_judge() {
    let place = Workplace::new();
    place.write("search.yml", SEARCH);
    place.write("tasks/judge.sh", JUDGE);
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\nmetrics: [acc]\nitems: 10\nat_once: 2\n\
         command: [sh, '{folder}/judge.sh', '{config}', '{items}']\n",
    );
    let Outcome { code, stdout, stderr } = place.run(&["evolve", "search.yml"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("evolved merge     1.000"), "{stdout}");
    let best = fs::read_to_string(place.path("out/best_config.yaml")).unwrap();
    let weight = best.split("weight: ").nth(1).unwrap().lines().next().unwrap();
    assert!((weight.parse::<f64>().unwrap() - 0.3).abs() < 0.1, "{best}");
    assert!(place.path("out/best_model/model.safetensors").is_file());
    assert_eq!(fs::read_dir(place.temporary.path()).unwrap().count(), 0, "files are left");

    // With another judge it is another search.
    let definition = || {
        let library = TaskLibrary::new(&[place.path("tasks")]).unwrap();
        let tokenizer = Tokenizer::open(&demo().join("adder")).unwrap();
        library.load("judged", &tokenizer, &TaskOptions::default()).unwrap().definition()
    };
    let before = definition();
    assert_eq!(definition(), before);
    place.write("tasks/judge.sh", &format!("{JUDGE}# changed\n"));
    assert_ne!(definition(), before);
}

#[test]
fn a_candidate_that_a_command_fails_on_is_recorded() {
    let place = Workplace::new();
    place.write("search.yml", SEARCH);
    place.write("tasks/judge.sh", &format!("grep -q 'weight: 0.[5-9]' \"$1\" && exit 9\n{JUDGE}"));
    place.write(
        "tasks/judged.yaml",
        "task: judged\nevaluator: command\nmetrics: [acc]\nitems: 10\n\
         command: [sh, '{folder}/judge.sh', '{config}', '{items}']\n",
    );
    // The second model's weight is 0.5: every candidate fails, which no search can go on with.
    let Outcome { code, stderr, .. } = place.run(&["evolve", "search.yml"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("failed with exit status: 9"), "{stderr}");
    assert!(place.path("out/failures").is_dir());
}

const QUESTIONS: &str = r#"{"question": "1+1=", "right": "2", "wrong": "7"}
{"question": "2+2=", "right": "4", "wrong": "9"}
{"question": "2+3=", "right": "5", "wrong": "1"}
{"question": "4+3=", "right": "7", "wrong": "2"}
"#;

#[test]
fn a_kind_of_ones_own_scores_and_is_searched_with() {
    let place = Workplace::new();
    place.write("tasks/questions.jsonl", QUESTIONS);
    place.write("tasks/judged.yaml", "task: judged\nevaluator: margin\nfiles: questions.jsonl\n");
    let mut kinds = EvaluatorKinds::default();
    kinds.add("margin", custom_evaluator::load);
    let kinds = Arc::new(kinds);

    let library = TaskLibrary::new(&[place.path("tasks")]).unwrap().with_kinds(Arc::clone(&kinds));
    let tokenizer = Tokenizer::open(&demo().join("adder")).unwrap();
    let task = library.load("judged", &tokenizer, &TaskOptions::default()).unwrap();
    assert_eq!((task.name(), task.n_items()), ("judged", 4));
    assert_eq!(task.info().alias, "judged");
    assert_ne!(task.fingerprint(0), task.fingerprint(1));

    let directory = place.path("models/adder").display().to_string();
    let sorter = place.path("models/sorter").display().to_string();
    let search = SEARCH
        .replace("models/adder", &directory)
        .replace("models/sorter", &sorter)
        .replace("acc", "margin")
        .replace("[tasks]", &format!("['{}']", place.path("tasks").display()))
        .replace("evaluations: 24", "evaluations: 6");
    place.write("search.yml", &search);
    let file = SearchFile::read(&place.path("search.yml")).unwrap();
    let options = PrepareOptions { evaluators: kinds, ..PrepareOptions::default() };
    let mut search = PreparedSearch::new(&file, &options).unwrap();
    let mut open = search.open(&place.path("out")).unwrap();
    let run = search.run(&mut open, &Interrupt::default(), &mut |_| {}).unwrap();
    let Run::Complete(closing) = run else { panic!("nothing interrupts it") };
    assert_eq!(closing.results.history.len(), 6);
    let first = &closing.results.history[0];
    assert!(first.error.is_none(), "{:?}", first.error);
}

//! `mergekit tasks` as a person runs it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program in a directory.
fn mergekit(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    command.current_dir(directory).env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "nowhere");
    let output = command.arg("tasks").args(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr,
    }
}

#[track_caller]
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = mergekit(directory, arguments);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

#[track_caller]
fn printed_json(directory: &Path, arguments: &[&str]) -> Value {
    let Outcome { code, stdout, stderr } = mergekit(directory, &[arguments, &["--json"]].concat());
    assert!(code < 2, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate")
}

const GOOD: &str = "include: common.inc\ntask: good\ndoc_to_text: \"{{q}} =\\n\"\n";

const COMMON: &str = "\
dataset_path: json
dataset_kwargs: {data_files: {test: data.jsonl}}
test_split: test
doc_to_target: '{{a}}'
tag: sums
should_decontaminate: true
generation_kwargs: {until: [\"\\n\\n\"], max_gen_toks: 4}
";

const DATA: &str = "{\"q\": \" 1 +  1\", \"a\": 2}\n{\"q\": \"3 + 4\", \"a\": 7}\n";

const BAD: &str = "\
include: common.inc
task: bad
doc_to_txt: x
doc_to_text: '{{ q '
num_fewshot: many
process_docs: !function utils.prepare
metric_list:
  - metric: exact_match
  - metric: acc
  - metric: !function utils.judge
filter_list:
  - name: a
    filter:
      - {function: regex, regex_pattern: '['}
      - {function: take_first}
";

/// A directory `tasks` with good and bad files of every kind.
fn tasks() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tasks");
    fs::create_dir(&folder).unwrap();
    let choice = "include: common.inc\ntask: choice\noutput_type: multiple_choice\n\
                  doc_to_text: '{{q}}'\ndoc_to_choice: ['1', '7']\ndoc_to_target: '{{a}}'\n";
    for (name, text) in [
        ("common.inc", COMMON),
        ("data.jsonl", DATA),
        ("good.yaml", GOOD),
        ("bad.yaml", BAD),
        ("choice.yaml", choice),
        (
            "absent.yaml",
            "include: common.inc\ntask: absent\ndoc_to_text: q\ndataset_path: some/where\n",
        ),
        ("broken.yaml", "task: [\n"),
        ("class.yaml", "task: written\nclass: !function task.Written\n"),
        ("group.yaml", "group: all\ntask: [good, {group: inner, task: [choice]}]\n"),
        ("lost.yaml", "group: lost\ntask: [goods, choice]\nnum_fewshot: -1\n"),
        (
            "twice.yaml",
            "include: common.inc\ntask: twice\ntask: twice\ndoc_to_text: a\ndoc_to_text: b\n",
        ),
        ("texts.yaml", "task: texts\nevaluator: perplexity\nfiles: good.yaml\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    directory
}

/// Those that can be used only.
fn good_tasks() -> TempDir {
    let directory = tasks();
    for name in ["bad", "broken", "class", "lost"] {
        fs::remove_file(directory.path().join(format!("tasks/{name}.yaml"))).unwrap();
    }
    directory
}

#[test]
fn list_tells_kinds_and_files() {
    let directory = tasks();
    let list = |arguments: &[&str]| {
        printed(directory.path(), &[&["list", "--include-path", "tasks"], arguments].concat())
    };
    insta::assert_snapshot!(list(&[]), @r"
      name     kind   members  asks             file
      absent   task            generate_until   tasks/absent.yaml
      all      group        3                   tasks/group.yaml
      bad      task            generate_until   tasks/bad.yaml
      choice   task            multiple_choice  tasks/choice.yaml
      good     task            generate_until   tasks/good.yaml
      lost     group        2                   tasks/lost.yaml
      sums     tag          5
      texts    task            perplexity       tasks/texts.yaml
      twice    task            generate_until   tasks/twice.yaml
      written  class                            tasks/class.yaml

    6 tasks, 1 Python class, 2 groups, 1 tag
    ");
    insta::assert_snapshot!(list(&["g*", "--kind", "task"]), @r"
      name  kind  asks            file
      good  task  generate_until  tasks/good.yaml

    1 task
    ");
    assert!(list(&["sums", "all", "--kind", "tag", "--kind", "group"]).contains("1 group, 1 tag"));
    let entries =
        printed_json(directory.path(), &["list", "texts", "all", "--include-path", "tasks"]);
    assert_eq!(
        entries,
        json!([
            {"name": "all", "kind": "group", "members": ["good", "inner", "choice"], "asks": null,
             "file": "tasks/group.yaml"},
            {"name": "texts", "kind": "task", "members": [], "asks": "perplexity",
             "file": "tasks/texts.yaml"},
        ])
    );
}

#[test]
fn what_is_not_there_has_near_misses() {
    let directory = tasks();
    for command in ["list", "show", "validate"] {
        let arguments = [command, "chioce", "--include-path", "tasks"];
        let Outcome { code, stdout, stderr } = mergekit(directory.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains("there is no task `chioce` in `tasks`"), "{stderr}");
    }
    let Outcome { code, stderr, .. } = mergekit(directory.path(), &["list"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--include-path"), "{stderr}");
    fs::remove_file(directory.path().join("tasks/broken.yaml")).unwrap();
    let Outcome { stderr, .. } =
        mergekit(directory.path(), &["show", "chioce", "--include-path", "tasks"]);
    assert!(stderr.contains("did you mean `choice`?"), "{stderr}");
}

#[test]
fn show_tells_fields_and_a_prompt_with_its_white_space() {
    let directory = tasks();
    insta::assert_snapshot!(
        printed(directory.path(), &["show", "good", "--include-path", "tasks"])
            .replace(&directory.path().display().to_string(), "HERE"),
        @r#"
    good

      asks      generate_until
      measures  exact_match,none ↑
      examples  0
      split     test of 2 documents
      data      test: HERE/tasks/data.jsonl
      note      tasks/common.inc:6:23: should_decontaminate: nothing is decontaminated; it has no effect on scores

    fields in tasks/common.inc:
      dataset_path: json
      dataset_kwargs:
        data_files:
          test: data.jsonl
      test_split: test
      doc_to_target: '{{a}}'
      tag: sums
      should_decontaminate: true
      generation_kwargs:
        until:
          - "\n\n"
        max_gen_toks: 4

    fields in tasks/good.yaml:
      task: good
      doc_to_text: "{{q}} =\n"

    item 0 of 2 (from 0):
      q: " 1 +  1"
      a: 2

    target: 2

    prompt:
      │·1 +··1 =↵

    the model writes: {"until":["\n\n"],"max_gen_toks":4}
    "#
    );
    let item = printed(directory.path(), &["show", "tasks/choice.yaml", "--item", "1"]);
    assert!(item.contains("\nitem 1 of 2 (from 0):\n  q: \"3 + 4\"\n  a: 7\n"), "{item}");
    assert!(item.contains("\ncontinuation 1: ·7\n"), "{item}");
    let Outcome { code, stdout, stderr } =
        mergekit(directory.path(), &["show", "tasks/choice.yaml", "--item", "2"]);
    assert_eq!(code, 2);
    assert!(stdout.starts_with("choice\n"), "{stdout}");
    assert!(stderr.contains("task `choice` has no item 2: it has 2 documents"), "{stderr}");
}

#[test]
fn show_tells_tokens_and_where_the_continuation_begins() {
    let of = |arguments: &[&str]| {
        let arguments =
            [&["show", "ge_mc_words", "--include-path", ".", "--tokenizer", "model"], arguments];
        printed_json(&golden(), &arguments.concat())
    };
    let item = &of(&["--item", "3"])["item"];
    let requests = item["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 4);
    for request in requests {
        let text = |tokens: &str| -> String {
            let tokens = request[tokens].as_array().unwrap();
            tokens.iter().map(|token| token[1].as_str().unwrap()).collect()
        };
        assert_eq!(text("context_tokens"), request["context"].as_str().unwrap());
        assert_eq!(text("continuation_tokens"), request["continuation"].as_str().unwrap());
    }
    let with_system = of(&["--system-instruction", "Be brief."]);
    let context = with_system["item"]["requests"][0]["context"].as_str().unwrap();
    assert!(context.starts_with("Be brief."), "{context}");
}

#[test]
fn show_without_data_gives_the_reason() {
    let directory = tasks();
    let text = printed(directory.path(), &["show", "absent", "--include-path", "tasks"]);
    assert!(text.contains("the data set `some/where` is neither in a folder nor"), "{text}");
    assert!(text.contains("  dataset_path: some/where\n"), "{text}");
    let text = printed(directory.path(), &["show", "bad", "--include-path", "tasks"]);
    assert!(text.contains("  problem   tasks/bad.yaml:"), "{text}");
}

#[test]
fn show_draws_groups_as_trees() {
    let directory = good_tasks();
    let show = |name| printed(directory.path(), &["show", name, "--include-path", "tasks"]);
    assert_eq!(
        show("all"),
        "all: 2 tasks\n\n  all (group, 2 tasks)\n    good\n    all::inner (group, 1 task)\n      choice\n"
    );
    assert_eq!(show("sums"), "sums: 4 tasks\n\n  absent\n  choice\n  good\n  twice\n");
}

#[test]
fn validate_finds_every_problem_of_every_file() {
    let directory = tasks();
    let Outcome { code, stdout, stderr } = mergekit(directory.path(), &["validate", "tasks"]);
    assert_eq!((code, stderr.as_str()), (1, "error: 4 of 10 files cannot be used\n"));
    insta::assert_snapshot!(stdout, @r"
    Broken:
      tasks/bad.yaml:3:1: doc_to_txt: unknown field `doc_to_txt`
        hint: did you mean `doc_to_text`?
      tasks/bad.yaml:4:14: doc_to_text: not a valid template: syntax error: unexpected end of input, expected end of variable block
      tasks/bad.yaml:5:14: num_fewshot: expected a whole number that is not negative, found `many`
      tasks/bad.yaml:14:42: filter_list[0].filter[0].regex_pattern: not a valid regular expression: Parsing error at position 1: Invalid character class
      tasks/broken.yaml:2:1: not valid YAML: did not find expected node content
      tasks/lost.yaml:2:8: task[0]: there is no task, group or tag `goods`
        hint: did you mean `good`?
      tasks/lost.yaml:3:14: num_fewshot: expected a whole number that is not negative, found `-1`

    Needs Python:
      tasks/bad.yaml:6:15: process_docs: needs the Python function `utils.prepare`, which cannot be run and has no substitute
        hint: say what the function does in a file `functions.yaml`, beside the task or at the top of a directory of tasks; docs/functions.md tells how
      tasks/bad.yaml:10:13: metric_list[2].metric: needs the Python function `utils.judge`, which cannot be run and has no substitute
      tasks/class.yaml:2:8: class: needs the Python class `task.Written`, which cannot be run

    Not supported:
      tasks/bad.yaml:9:13: metric_list[1].metric: metric `acc` is not supported
        hint: supported are `exact_match`, `bleu`, `chrf`, `chrf++`, `ter`

    Notes:
      tasks/common.inc:6:23: should_decontaminate: nothing is decontaminated; it has no effect on scores (5 tasks)
      tasks/twice.yaml:3:1: `task` is given again; the last one counts
      tasks/twice.yaml:5:1: `doc_to_text` is given again; the last one counts

    7 tasks: 2 need Python; of the other 5, all are fine
    2 groups: 1 is fine (50.0 %), 1 is broken
    1 file cannot be read
    of the tasks that are fine, 1 has no data on this machine
    ");
}

#[test]
fn validate_is_content_with_good_files() {
    let directory = good_tasks();
    let Outcome { code, stdout, stderr } = mergekit(directory.path(), &["validate", "tasks"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("\n5 tasks: all are fine\n1 group: 1 is fine\n"), "{stdout}");
    assert!(
        stdout.contains("of the tasks that are fine, 1 has no data on this machine\n"),
        "{stdout}"
    );
    assert!(!stdout.contains("some/where"), "{stdout}");

    let found = printed_json(
        directory.path(),
        &["validate", "absent", "--include-path", "tasks", "--data"],
    );
    assert_eq!(found["problems"][0]["kind"], "data");
    assert_eq!(found["counts"]["tasks"]["fine"], 1);
    assert_eq!(found["counts"]["tasks"]["without_data"], 1);
}

#[test]
fn validate_with_data_makes_every_prompt() {
    let directory = good_tasks();
    let path = directory.path().join("tasks/good.yaml");
    let text = fs::read_to_string(&path).unwrap().replace("{{q}}", "{{question}}");
    fs::write(path, text).unwrap();
    printed(directory.path(), &["validate", "tasks"]);
    let Outcome { code, stdout, .. } = mergekit(directory.path(), &["validate", "tasks", "--data"]);
    assert_eq!(code, 1);
    let problem = "tasks/good.yaml:3:14: doc_to_text: the template fails on item 0: undefined value: \
                   there is no column `question`";
    assert!(stdout.contains(problem), "{stdout}");
}

#[test]
fn validate_goes_by_names_and_files() {
    let directory = tasks();
    let names = |arguments: &[&str]| -> Vec<String> {
        let found = printed_json(directory.path(), &[&["validate"], arguments].concat());
        let files = found["files"].as_array().unwrap();
        files.iter().map(|file| file["file"].as_str().unwrap().to_owned()).collect()
    };
    let group = ["tasks/group.yaml", "tasks/good.yaml", "tasks/choice.yaml"];
    assert_eq!(names(&["all", "--include-path", "tasks"]), group);
    assert_eq!(names(&["tasks/texts.yaml"]), ["tasks/texts.yaml"]);
    assert_eq!(names(&["t*", "--include-path", "tasks"]), ["tasks/texts.yaml", "tasks/twice.yaml"]);
    let all = names(&["--include-path", "tasks"]);
    assert_eq!(all.len(), 10);
}

#[test]
fn validate_json_says_who_has_a_problem() {
    let directory = tasks();
    let found = printed_json(directory.path(), &["validate", "tasks"]);
    let of = |kind: &str| -> Vec<&Value> {
        let problems = found["problems"].as_array().unwrap().iter();
        problems.filter(|problem| problem["kind"] == kind).collect()
    };
    let functions: Vec<&str> =
        of("python").iter().map(|problem| problem["function"].as_str().unwrap()).collect();
    assert_eq!(functions, ["utils.prepare", "utils.judge", "task.Written"]);
    let note = of("note")[0];
    assert_eq!(note["field"], "should_decontaminate");
    assert_eq!(note["of"], json!(["absent", "bad", "choice", "good", "twice"]));
    assert_eq!(found["counts"]["tasks"]["python"], 2);
    let good =
        found["files"].as_array().unwrap().iter().find(|file| file["name"] == "good").unwrap();
    assert_eq!(good["can_be_used"], true);
}

//! `mergekit score` and `mergekit generate` as a person runs them, and their results against those of
//! lm-evaluation-harness.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    command.current_dir(golden()).env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "nowhere");
    command.args(arguments);
    command
}

/// Runs the program among the golden tasks.
fn mergekit(arguments: &[&str]) -> Outcome {
    outcome(command(arguments))
}

fn outcome(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = mergekit(arguments);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let Outcome { code, stdout, stderr } = mergekit(arguments);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares with what the harness has, which made it with arithmetic in other orders.
#[track_caller]
fn assert_close(place: &str, found: &Value, expected: &Value, tolerance: f64) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys = |map: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(keys(found), keys(expected), "{place}");
            for (key, expected) in expected {
                assert_close(&format!("{place}/{key}"), &found[key], expected, tolerance);
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_close(&format!("{place}/{index}"), found, expected, tolerance);
            }
        }
        (Value::Number(_), Value::Number(_)) => {
            let [found, expected] = [found, expected].map(|number| number.as_f64().unwrap());
            let allowed = tolerance * expected.abs().max(1.0);
            assert!((found - expected).abs() <= allowed, "{place}: {found} {expected}");
        }
        // Log-likelihoods are written as texts.
        (Value::String(one), Value::String(other)) if one != other => {
            match (one.parse::<f64>(), other.parse::<f64>()) {
                (Ok(one), Ok(other)) => {
                    assert_close(place, &json!(one), &json!(other), tolerance);
                }
                _ => panic!("{place}: {found} {expected}"),
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

const ALL: &str =
    "ge_suite,ge_yesno,ge_cloze,ge_rolling,ge_gen_answer,ge_gen_rewrite,ge_which_context";
const IN_CHAT: &str = "ge_mc_letters,ge_yesno,ge_gen_answer,ge_gen_rewrite,ge_which_context";

/// Scores as a run of the harness did, and compares everything that it wrote; see
/// golden/evaluate/harness.py.
fn check_run(run: &str, tasks: &str, options: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join(run);
    let fixed = ["score", "model", "--include-path", ".", "--bootstrap-iters", "1000"];
    let output_option = ["--tasks", tasks, "--output", output.to_str().unwrap()];
    printed(&[&fixed[..], &output_option, options].concat());
    let results = read(&output.join("results.json"));
    let expected = read(&golden().join(format!("harness/{run}.json")));
    for (section, expected) in expected.as_object().unwrap() {
        // The harness says this of runs without a template, too.
        if section == "fewshot_as_multiturn" && expected["chat_template"].is_null() {
            continue;
        }
        assert_close(&format!("{run}/{section}"), &results[section], expected, 5e-6);
    }
}

#[test]
fn plain_runs_are_those_of_the_harness() {
    check_run("plain", ALL, &[]);
    check_run("batch8", ALL, &["--batch-size", "8", "--threads", "1"]);
}

#[test]
fn runs_with_another_beginning_are_those_of_the_harness() {
    check_run("bos", ALL, &["--add-bos-token", "true"]);
}

#[test]
fn cut_runs_are_those_of_the_harness() {
    let tasks = "ge_mc_letters,ge_rolling,ge_gen_answer";
    check_run("short_ctx", tasks, &["--max-length", "96"]);
    check_run("limit5", "ge_mc_letters,ge_yesno", &["--limit", "5"]);
}

#[test]
fn conversations_are_those_of_the_harness() {
    let brief = ["--apply-chat-template", "--system-instruction", "Be brief."];
    check_run("chat_multi", IN_CHAT, &brief);
    let single = ["--apply-chat-template", "--fewshot-as-multiturn", "false"];
    check_run("chat_single", IN_CHAT, &single);
}

#[test]
fn samples_are_those_of_the_harness() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    let tasks =
        "ge_yesno,ge_cloze,ge_rolling,ge_gen_answer,ge_gen_rewrite,ge_which_context,ge_mc_letters";
    let fixed = ["score", "model", "--include-path", ".", "--limit", "2", "--tasks", tasks];
    printed(&[&fixed[..], &["--output", output.to_str().unwrap()]].concat());
    let expected = read(&golden().join("harness/samples.json"));
    assert_eq!(read(&output.join("results.json"))["task_hashes"], expected["task_hashes"]);
    let lines = |path: PathBuf| -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for task in tasks.split(',') {
        let name = format!("samples_{task}.jsonl");
        let found = lines(output.join(&name));
        let expected = lines(golden().join("harness/samples").join(&name));
        assert_eq!(found.len(), expected.len(), "{task}");
        for (mut found, mut expected) in found.into_iter().zip(expected) {
            let fields = |line: &Value| -> Vec<String> {
                line.as_object().unwrap().keys().cloned().collect()
            };
            assert_eq!(fields(&found), fields(&expected), "{task}");
            // The harness writes an array of NumPy's as that prints.
            for line in [&mut found, &mut expected] {
                line.as_object_mut().unwrap().shift_remove("brier_score");
            }
            assert_close(task, &found, &expected, 1e-5);
        }
    }
}

#[test]
fn the_table_shows_groups_and_what_is_better() {
    let arguments =
        ["score", "model", "--include-path", ".", "--tasks", "ge_suite,ge_cloze", "--limit", "4"];
    let table = printed(&[&arguments[..], &["--bootstrap-iters", "0", "--quiet"]].concat());
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["task", "n", "shots", "filter", "metric", "value"]);
    assert_eq!(lines[1][..6], ["golden", "suite", "16", "none", "acc", "↑"]);
    assert!(table.contains("\n   - ge_suite::ge_endings"), "{table}");
    assert!(table.contains("\n    - first-n endings"), "{table}");
    assert!(table.contains("perplexity  ↓"), "{table}");
    assert!(!table.contains('±'), "{table}");
}

#[test]
fn results_go_where_they_are_wanted_and_replace_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("new/out");
    let score = |more: &[&str]| {
        let fixed = ["score", "model", "--include-path", ".", "--tasks", "ge_mc_words"];
        let output = ["--output", output.to_str().unwrap(), "--limit", "2"];
        mergekit(&[&fixed[..], &output, more].concat())
    };
    assert_eq!(score(&[]).code, 0);
    let before = fs::read(output.join("results.json")).unwrap();
    let again = score(&[]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("already holds `results.json`"), "{}", again.stderr);
    assert!(again.stderr.contains("--overwrite"), "{}", again.stderr);
    assert_eq!(fs::read(output.join("results.json")).unwrap(), before);
    fs::write(output.join("notes.txt"), "mine").unwrap();
    let printed = score(&["--overwrite", "--json"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let written = fs::read_to_string(output.join("results.json")).unwrap();
    assert_eq!(printed.stdout, written);
    assert_eq!(fs::read_to_string(output.join("notes.txt")).unwrap(), "mine");
    let names: Vec<_> =
        fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_merge_is_scored_as_the_model_that_it_makes() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("merge.yml");
    let model = golden().join("model");
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(model.join(name), copy.join(name)).unwrap();
    }
    let text = format!(
        "merge_method: linear\nmodels:\n- {{model: {}, parameters: {{weight: 1}}}}\n\
         - {{model: {}, parameters: {{weight: 3}}}}\n",
        model.display(),
        copy.display()
    );
    fs::write(&config, text).unwrap();
    let score = |model: &str| {
        let fixed = ["--include-path", ".", "--tasks", "ge_mc_words,ge_gen_answer", "--quiet"];
        printed(&[&["score", model][..], &fixed, &["--limit", "6"]].concat())
    };
    assert_eq!(score(config.to_str().unwrap()), score("model"));
}

#[test]
fn tasks_and_data_are_found_from_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&["score"]);
    command.current_dir(directory.path()).arg(golden().join("model"));
    command.arg("--tasks").arg(golden().join("ge_mc_words.yaml")).args(["--limit", "1"]);
    let Outcome { code, stdout, stderr } = outcome(command);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("ge_mc_words"), "{stdout}");
}

#[test]
fn data_sets_come_from_the_cache_of_the_hub() {
    let directory = tempfile::tempdir().unwrap();
    let repo = directory.path().join("cache/datasets--org--name");
    let commit = "0123456789".repeat(4);
    let snapshot = repo.join("snapshots").join(&commit);
    fs::create_dir_all(snapshot.join("one")).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), &commit).unwrap();
    let card =
        "---\nconfigs:\n- config_name: one\n  data_files:\n  - {split: test, path: one/t*}\n---\n";
    fs::write(snapshot.join("README.md"), card).unwrap();
    fs::write(snapshot.join("one/t.csv"), "q,a\nx,y\nz,w\n").unwrap();
    let task = directory.path().join("t.yaml");
    let score = |config: &str| {
        let text = format!(
            "task: t\ndataset_path: org/name\ndataset_name: {config}\ndataset_kwargs: {{trust_remote_code: \
             true, revision: main}}\ntest_split: test\noutput_type: loglikelihood\ndoc_to_text: '{{{{q}}}}'\n\
             doc_to_target: '{{{{a}}}}'\nmetric_list: [{{metric: acc}}]\n"
        );
        fs::write(&task, text).unwrap();
        let mut command = command(&["score", "model", "--tasks", task.to_str().unwrap()]);
        command.env("HF_HUB_CACHE", directory.path().join("cache"));
        outcome(command)
    };
    let Outcome { code, stdout, stderr } = score("one");
    assert_eq!(code, 0, "{stderr}");
    let row = stdout.lines().find(|line| line.trim_start().starts_with("t ")).unwrap();
    assert_eq!(row.split_whitespace().nth(1), Some("2"), "{stdout}");
    let Outcome { code, stderr, .. } = score("two");
    assert_eq!(code, 2);
    assert!(stderr.contains("no configuration `two`; it has `one`"), "{stderr}");
}

#[test]
fn what_cannot_be_scored_is_said_in_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |name: &str, change: &dyn Fn(&Path)| -> String {
        let to = directory.path().join(name);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(golden().join("model")).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        change(&to);
        to.display().to_string()
    };
    let score = |model: &str, more: &[&str]| {
        let fixed = ["score", model, "--include-path", ".", "--tasks", "ge_mc_words"];
        refused(&[&fixed[..], more].concat())
    };
    let unknown = refused(&["score", "model", "--include-path", ".", "--tasks", "ge_mc_word"]);
    assert!(unknown.starts_with("error: there is no task `ge_mc_word` in `.`\n"), "{unknown}");
    assert!(unknown.contains("hint: did you mean `ge_mc_words`?"), "{unknown}");
    let nowhere = refused(&["score", "model", "--tasks", "ge_mc_words"]);
    assert!(nowhere.contains("no directory to look for tasks in"), "{nowhere}");
    assert!(nowhere.contains("--include-path"), "{nowhere}");
    let absent = score("nowhere", &[]);
    assert!(absent.contains("`nowhere` does not exist"), "{absent}");
    let other = copy("other", &|to| {
        let config = fs::read_to_string(to.join("config.json")).unwrap();
        let config = config.replace("LlamaForCausalLM", "OddForCausalLM");
        fs::write(to.join("config.json"), config.replace("\"llama\"", "\"odd\"")).unwrap();
    });
    let other = score(&other, &[]);
    assert!(other.contains("cannot evaluate models of architecture `OddForCausalLM`"), "{other}");
    let broken = copy("broken", &|to| fs::write(to.join("model.safetensors"), "no").unwrap());
    let broken = score(&broken, &[]);
    assert!(broken.contains("model.safetensors"), "{broken}");
    let mute = copy("mute", &|to| fs::remove_file(to.join("tokenizer.json")).unwrap());
    let mute = score(&mute, &[]);
    assert!(mute.contains("tokenizer.json"), "{mute}");
    let bare = copy("bare", &|to| fs::remove_file(to.join("chat_template.jinja")).unwrap());
    let bare = score(&bare, &["--apply-chat-template"]);
    assert!(bare.contains("there is no chat template in"), "{bare}");
    let wrong = copy("wrong", &|to| {
        fs::write(to.join("chat_template.jinja"), "{{ raise_exception('never') }}").unwrap();
    });
    let wrong = score(&wrong, &["--apply-chat-template"]);
    assert!(wrong.contains("the chat template fails on item 0: never"), "{wrong}");
    let short = score("model", &["--max-length", "2"]);
    assert!(short.contains("needs room for"), "{short}");
    let tight = score("model", &["--memory-limit", "10k"]);
    assert!(tight.contains("--memory-limit"), "{tight}");
    for limit in ["0", "-1", "1.5", "many"] {
        let limit = score("model", &[&format!("--limit={limit}")]);
        assert!(limit.contains("share between 0 and 1"), "{limit}");
    }
    let device = score("model", &["--device", "abacus"]);
    assert!(device.contains("abacus"), "{device}");
    let seeds = score("model", &["--seed", "1,2"]);
    assert!(seeds.contains("`--seed` has 2 numbers"), "{seeds}");
}

#[test]
fn text_is_written_greedily_and_to_a_stop() {
    let generate = |more: &[&str]| {
        let fixed = ["generate", "model", "--prompt", "The otter", "--max-new-tokens", "20"];
        printed(&[&fixed[..], more].concat())
    };
    let text = generate(&[]);
    let answer: Value = serde_json::from_str(&generate(&["--json"])).unwrap();
    assert_eq!(format!("{}\n", answer["text"].as_str().unwrap()), text);
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 20);
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(generate(&[]), text);
    let stop = &text[4..8];
    assert_eq!(
        generate(&["--stop", stop]).trim_end_matches('\n'),
        &text[..text.find(stop).unwrap()]
    );
    let stopped: Value = serde_json::from_str(&generate(&["--stop", stop, "--json"])).unwrap();
    assert_eq!(stopped["finish_reason"], "stop");
    let drawn = |seed: &str| generate(&["--temperature", "1", "--seed", seed]);
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
}

#[test]
fn messages_are_framed_and_prompts_come_from_files_and_pipes() {
    let fixed = ["generate", "model", "-n", "2", "--json"];
    let chat = ["--chat", "--system-instruction", "S", "--prompt", "Q"];
    let answer: Value = serde_json::from_str(&printed(&[&fixed[..], &chat].concat())).unwrap();
    assert_eq!(answer["prompt"], "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\n");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"The otter\n").unwrap();
    let path = file.path().to_str().unwrap();
    let from_file = printed(&[&fixed[..3], &["2", "--prompt-file", path]].concat());
    let mut piped = command(&fixed[..4]);
    piped.write_stdin("The otter\n");
    let piped = outcome(piped);
    assert_eq!((piped.code, piped.stdout), (0, from_file), "{}", piped.stderr);
    let speed = mergekit(&["generate", "model", "--prompt", "x", "-n", "3"]).stderr;
    assert!(speed.starts_with("3 tokens after 1 token in "), "{speed}");
    assert!(speed.contains("tokens/s"), "{speed}");
}

#[test]
fn what_cannot_be_continued_is_said_in_a_sentence() {
    let empty = refused(&["generate", "model", "--prompt", ""]);
    assert!(empty.starts_with("error: the prompt has no tokens"), "{empty}");
    let long = refused(&["generate", "model", "--prompt", "x", "--max-new-tokens", "512"]);
    assert!(long.contains("context holds 512"), "{long}");
    let absent = refused(&["generate", "model", "--prompt-file", "nowhere.txt"]);
    assert!(absent.contains("cannot read `nowhere.txt`"), "{absent}");
    let system = refused(&["generate", "model", "--prompt", "x", "--system-instruction", "S"]);
    assert!(system.contains("--chat"), "{system}");
    let hot = refused(&["generate", "model", "--prompt", "x", "--temperature=-1"]);
    assert!(hot.contains("write a number, 0 or more"), "{hot}");
    let mut binary = command(&["generate", "model"]);
    binary.write_stdin(vec![0xff, 0xfe]);
    let binary = outcome(binary);
    assert_eq!(binary.code, 2);
    assert!(binary.stderr.contains("standard input is not UTF-8 text"), "{}", binary.stderr);
    let cut = mergekit(&[
        "generate",
        "model",
        "--prompt",
        "The otter swims",
        "-n",
        "4",
        "--max-length",
        "8",
    ]);
    assert_eq!(cut.code, 0, "{}", cut.stderr);
    assert!(cut.stderr.contains("the prompt loses its first"), "{}", cut.stderr);
}

#[test]
fn texts_and_preferences_are_scored_without_a_task_file_of_the_harness() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("one.txt", "Once upon a time there was a little girl.");
    write("two.txt", "She liked to play outside.\n");
    write("notes.yaml", "task: notes\nevaluator: perplexity\nfiles: '*.txt'\n");
    let rows = [
        json!({"text": "Once upon a time there was a little girl."}),
        json!({"text": "She liked to play outside.\n"}),
    ];
    write("rows.jsonl", &rows.map(|row| row.to_string()).join("\n"));
    write("rows.yaml", "task: rows\nevaluator: perplexity\nfiles: [rows.jsonl]\n");
    let pairs = [
        json!({"prompt": "Lily saw a", "chosen": " dog", "rejected": " qqzxv"}),
        json!({"prompt": "Lily saw a", "chosen": " qqzxv", "rejected": " dog"}),
    ];
    write("pairs.jsonl", &pairs.map(|row| row.to_string()).join("\n"));
    write("pairs.yaml", "task: pairs\nevaluator: preference\nfiles: pairs.jsonl\n");
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let talk = json!({
        "chosen": [said("user", "Lily saw a"), said("assistant", " dog")],
        "rejected": [said("user", "Lily saw a"), said("assistant", " qqzxv")],
    });
    write("talks.jsonl", &talk.to_string());
    write("talks.yaml", "task: talks\nevaluator: preference\nfiles: talks.jsonl\n");

    let folder = directory.path().to_str().unwrap();
    let tasks = "notes,rows,pairs,talks";
    let arguments = ["score", "model", "--tasks", tasks, "--include-path", folder, "--json"];
    let scores: Value = serde_json::from_str(&printed(&arguments)).unwrap();
    let results = &scores["results"];
    let number = |task: &str, metric: &str| results[task][metric].as_f64().unwrap();
    for metric in ["bits_per_byte,none", "byte_perplexity,none", "word_perplexity,none"] {
        assert!(number("notes", metric) > 0.0);
        assert_eq!(results["notes"][metric], results["rows"][metric], "{metric}");
    }
    // One pair is the other turned round.
    assert_eq!(number("pairs", "acc_norm,none"), 0.5);
    assert_eq!(number("talks", "acc_norm,none"), 1.0);

    write("wrong.yaml", "task: wrong\nevaluator: perplexty\nfiles: '*.txt'\n");
    write("none.yaml", "task: none\nevaluator: perplexity\n");
    write("column.yaml", "task: column\nevaluator: perplexity\nfiles: pairs.jsonl\n");
    for (task, words) in [
        ("wrong", ["wrong.yaml:2:12", "perplexity"]),
        ("none", ["none.yaml:1:1", "files"]),
        ("column", ["evaluator `perplexity`", "no column `text`"]),
    ] {
        let said = refused(&["score", "model", "--tasks", task, "--include-path", folder]);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

//! `mergekit tokensurgeon` as a person runs it, against results of the Python implementation.
//!
//! `golden/tokensurgeon/NAME.safetensors` are the embedding and the head that mergekit 0.1.5 made of tiny
//! models in `golden/models`; `cases.json` says of which, and with which arguments. Every element is
//! within `atol + rtol · |expected|`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mergekit::checkpoint::{Checkpoint, TensorSource};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Golden {
    made_with: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    donor: String,
    arguments: Vec<String>,
    atol: f32,
    rtol: f32,
    config: Value,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn model(name: &str) -> PathBuf {
    golden().join("models").join(name)
}

fn tokensurgeon(model: &Path, donor: &Path, out: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    command.arg("tokensurgeon").args([model, donor, out]).args(arguments);
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn made(model: &Path, donor: &Path, out: &Path, arguments: &[&str]) -> String {
    let outcome = tokensurgeon(model, donor, out, arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    outcome.stderr
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = vec![0.0; checkpoint.tensors()[name].elements()];
    checkpoint.read_into(name, 0, &mut values).unwrap();
    values
}

/// What differs between the case's result and the reference's.
fn differences(case: &Case) -> Vec<String> {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
    made(&model(&case.model), &model(&case.donor), &out, &arguments);
    let found = Checkpoint::open(&out).unwrap();
    let before = Checkpoint::open(&model(&case.model)).unwrap();
    let path = golden().join("tokensurgeon").join(format!("{}.safetensors", case.name));
    let expected = Checkpoint::open_file(&path).unwrap();
    let mut differences = Vec::new();
    for (name, info) in before.tensors() {
        let expected_info = expected.tensors().get(name).unwrap_or(info);
        if found.tensors().get(name) != Some(expected_info) {
            differences.push(format!("{name} is {:?}", found.tensors().get(name)));
            continue;
        }
        let found = values(&found, name);
        let (expected, tolerance) = match expected.tensors().contains_key(name) {
            true => (values(&expected, name), (case.atol, case.rtol)),
            false => (values(&before, name), (0.0, 0.0)),
        };
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let is_near = (found - expected).abs() <= tolerance.0 + tolerance.1 * expected.abs();
            if !is_near {
                differences.push(format!("{name}[{index}] is {found} instead of {expected}"));
                break;
            }
        }
    }
    if found.tensors().len() != before.tensors().len() {
        differences.push("there are other tensors".to_owned());
    }
    let config = json_of(&out.join("config.json"));
    for (key, expected) in case.config.as_object().unwrap() {
        if config[key] != *expected {
            differences.push(format!("{key} is {} instead of {expected}", config[key]));
        }
    }
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        if fs::read(out.join(file)).unwrap() != fs::read(model(&case.donor).join(file)).unwrap() {
            differences.push(format!("{file} is not the donor's"));
        }
    }
    differences
}

#[test]
fn transplants_equal_those_of_the_python_implementation() {
    let golden: Golden =
        serde_json::from_slice(&fs::read(golden().join("tokensurgeon/cases.json")).unwrap())
            .unwrap();
    assert_eq!(golden.cases.len(), 19);
    for case in &golden.cases {
        let found = differences(case);
        let what = format!("{} (made with {})", case.name, golden.made_with);
        assert!(found.is_empty(), "{what}: {}", found.join("; "));
    }
}

#[test]
fn what_was_done_is_said() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let text = made(&model("v1"), &model("v2"), &out, &["-k", "4"]);
    let line = "model.embed_tokens.weight: 34 shared tokens, 26 approximated tokens\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(", 60 rows, in "), "{text}");
    let quiet =
        made(&model("v1"), &model("v2"), &parent.path().join("two"), &["-k", "4", "--quiet"]);
    assert_eq!(quiet, "");
}

#[test]
fn outputs_are_replaced_only_when_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    made(&model("v1"), &model("v2"), &out, &["-a", "zero"]);
    let outcome = tokensurgeon(&model("v1"), &model("v2"), &out, &["-a", "mean"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("--overwrite"), "{}", outcome.stderr);
    made(&model("v1"), &model("v2"), &out, &["-a", "mean", "--overwrite"]);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn ids_in_the_generation_config_are_the_donors() {
    let parent = tempfile::tempdir().unwrap();
    let (body, donor) = (parent.path().join("body"), parent.path().join("donor"));
    copy(&model("v1"), &body);
    copy(&model("v2"), &donor);
    let own = json!({"temperature": 0.6, "bos_token_id": 11, "eos_token_id": [12, 13], "pad_token_id": 3});
    fs::write(body.join("generation_config.json"), own.to_string()).unwrap();
    let theirs = json!({"temperature": 2.0, "eos_token_id": [2, 4]});
    fs::write(donor.join("generation_config.json"), theirs.to_string()).unwrap();
    let out = parent.path().join("out");
    made(&body, &donor, &out, &["-a", "zero"]);
    let written = json_of(&out.join("generation_config.json"));
    let expected =
        json!({"temperature": 0.6, "bos_token_id": 1, "eos_token_id": [2, 4], "pad_token_id": 0});
    assert_eq!(written, expected);
    // A model without one gets the donor's, which knows what ends a text.
    fs::remove_file(body.join("generation_config.json")).unwrap();
    made(&body, &donor, &out, &["-a", "zero", "--overwrite"]);
    assert_eq!(json_of(&out.join("generation_config.json")), theirs);
}

#[test]
fn pickles_hold_the_same_numbers() {
    let parent = tempfile::tempdir().unwrap();
    let (safe, pickled) = (parent.path().join("safe"), parent.path().join("pickled"));
    made(&model("v1"), &model("v2"), &safe, &["-k", "4"]);
    made(&model("v1"), &model("v2"), &pickled, &["-k", "4", "--no-safe-serialization"]);
    assert!(pickled.join("pytorch_model.bin").is_file());
    let (safe, pickled) = (Checkpoint::open(&safe).unwrap(), Checkpoint::open(&pickled).unwrap());
    for name in safe.tensors().keys() {
        assert_eq!(values(&safe, name), values(&pickled, name), "{name}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::write(to.join(path.file_name().unwrap()), fs::read(path).unwrap()).unwrap();
    }
}

/// The first line of the message with which a transplant is refused, and its hint. Nothing is left behind.
#[track_caller]
fn refused(body: &Path, donor: &Path, arguments: &[&str]) -> String {
    let parent = tempfile::tempdir().unwrap();
    let outcome = tokensurgeon(body, donor, &parent.path().join("out"), arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    outcome.stderr
}

#[test]
fn too_few_shared_tokens_are_refused() {
    for method in ["omp", "common_interpolation", "stb", "mp_rope"] {
        let text = refused(&model("v1"), &model("v2"), &["-a", method, "-k", "35"]);
        let expected = format!(
            "error: `--k` is 35, but `{}` and `{}` have only 34 tokens in common\n\nhint: give `--k` at most 34\n",
            model("v1").display(),
            model("v2").display(),
        );
        assert!(text.ends_with(&expected), "{method}: {text}");
    }
    let text = refused(&model("v1"), &model("v2"), &["-k", "0"]);
    assert!(text.contains("write a whole number, 1 or more"), "{text}");
}

/// A copy of a golden model in which a file has other contents.
fn changed(name: &str, file: &str, contents: Option<&[u8]>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(&model(name), directory.path());
    let path = directory.path().join(file);
    match contents {
        Some(contents) => fs::write(path, contents).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    directory
}

#[test]
fn models_without_a_usable_tokenizer_are_refused() {
    let text = |contents: Option<&[u8]>| {
        let broken = changed("v2", "tokenizer.json", contents);
        refused(&model("v1"), broken.path(), &["-a", "zero"])
    };
    assert!(text(None).contains("has no `tokenizer.json`\n\nhint: "));
    assert!(text(Some(b"[]")).contains("tokenizer.json` is no JSON object"));
    assert!(text(Some(b"{}")).contains("cannot be understood: `model.vocab` is missing"));
    let empty = br#"{"model": {"vocab": {}}}"#;
    assert!(text(Some(empty)).contains("` has no tokens\n"));
    let broken = changed("v2", "tokenizer_config.json", Some(b"7"));
    let text = refused(&model("v1"), broken.path(), &["-a", "zero"]);
    assert!(text.contains("tokenizer_config.json` is no JSON object"), "{text}");
    // Only one method makes pieces of texts.
    let broken = changed("v1", "tokenizer.json", Some(br#"{"model": {"vocab": {"a": 0}}}"#));
    let text = refused(broken.path(), &model("v2"), &["-a", "subword"]);
    assert!(text.contains("tokenizer.json` cannot be understood: "), "{text}");
}

#[test]
fn tokenizers_with_nothing_in_common_are_refused() {
    let other = br#"{"model": {"vocab": {"nothing": 0, "alike": 1}}}"#;
    let donor = changed("v2", "tokenizer.json", Some(other));
    let text = refused(&model("v1"), donor.path(), &[]);
    assert!(text.contains("have no token in common, which `omp` needs\n\nhint: use "), "{text}");
    let text = refused(&model("v1"), donor.path(), &["-a", "landmark_pca"]);
    assert!(text.contains("have no token in common, which `landmark_pca` needs"), "{text}");
    let out = tempfile::tempdir().unwrap();
    made(&model("v1"), donor.path(), &out.path().join("out"), &["-a", "mean"]);
}

#[test]
fn models_of_another_build_are_refused() {
    let text = refused(&model("t5_base"), &model("v1"), &["-a", "zero"]);
    assert!(text.contains("` has 3 parts (decoder, encoder, shared); its vocabulary"), "{text}");
    let mut config = json_of(&model("v2").join("config.json"));
    config["architectures"] = json!(["LlamaForSequenceClassification"]);
    let donor = changed("v2", "config.json", Some(config.to_string().as_bytes()));
    let text = refused(&model("v1"), donor.path(), &["-a", "zero"]);
    assert!(text.contains("` has the head `lm_head.weight`, but the donor `"), "{text}");
}

#[test]
fn embeddings_of_whole_numbers_are_refused() {
    let weights = fs::read(model("v2").join("model.safetensors")).unwrap();
    let place = weights.windows(3).position(|word| word == b"F32").unwrap();
    let mut integers = weights;
    // Of the first tensor in the header, which is the embedding or the head.
    integers[place..place + 3].copy_from_slice(b"I32");
    let donor = changed("v2", "model.safetensors", Some(&integers));
    let text = refused(&model("v1"), donor.path(), &["-a", "zero"]);
    assert!(text.contains("` is int32 [60, 12], not a matrix of floating-point numbers"), "{text}");
}

#[test]
fn rows_that_are_no_numbers_are_named() {
    let weights = fs::read(model("v2").join("model.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(&model("v2")).unwrap();
    let name = "model.embed_tokens.weight";
    let row = values(&checkpoint, name)[30 * 12..31 * 12].to_vec();
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let place = weights.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let mut damaged = weights;
    damaged[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let donor = changed("v2", "model.safetensors", Some(&damaged));
    let text = refused(&model("v1"), donor.path(), &["-k", "4"]);
    let expected = format!("error: row 30 of tensor `{name}` of `");
    assert!(
        text.contains(&expected) && text.contains("has a value that is NaN or infinite"),
        "{text}"
    );
}

#[test]
fn rows_that_do_not_fit_their_type_are_refused() {
    let text = refused(&model("v1"), &model("v2"), &["-a", "zero", "-nvn", "1e30", "-nvs", "1e30"]);
    assert!(
        text.contains(" does not fit into float32\n\nhint: give a smaller `--new-vocab-scale`"),
        "{text}"
    );
    let text = refused(&model("v1"), &model("v2"), &["-nvs", "inf"]);
    assert!(text.contains("write a number"), "{text}");
}

#[test]
fn what_rotates_needs_heads() {
    let mut config = json_of(&model("v2").join("config.json"));
    config["num_attention_heads"] = json!(5);
    let donor = changed("v2", "config.json", Some(config.to_string().as_bytes()));
    let text = refused(&model("v1"), donor.path(), &["-a", "mp_rope", "-k", "4"]);
    assert!(
        text.contains("config.json`: `num_attention_heads` is 5, so that rows cannot"),
        "{text}"
    );
    config["num_attention_heads"] = json!(2);
    config["rope_theta"] = json!("fast");
    let donor = changed("v2", "config.json", Some(config.to_string().as_bytes()));
    let text = refused(&model("v1"), donor.path(), &["-a", "mp_rope", "-k", "4"]);
    assert!(text.contains(r#"`rope_theta` is "fast", so that rows cannot"#), "{text}");
}

#[test]
fn an_output_is_no_input() {
    let body = changed("v1", "chat_template.jinja", Some(b"x"));
    let outcome =
        tokensurgeon(body.path(), &model("v2"), body.path(), &["-a", "zero", "--overwrite"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("` is the input model `"), "{}", outcome.stderr);
    let outcome =
        tokensurgeon(&model("v1"), body.path(), body.path(), &["-a", "zero", "--overwrite"]);
    assert!(outcome.stderr.contains("` is the input model `"), "{}", outcome.stderr);
}

#[test]
fn words_of_the_command_line_are_checked() {
    let text = refused(&model("v1"), &model("v2"), &["-a", "opm"]);
    assert!(text.contains("possible values: common_interpolation, subword, mean"), "{text}");
    let text = refused(&model("v1"), &model("v2"), &["--no-copy-tokenizer"]);
    assert!(text.contains("the tokenizer that this command is about"), "{text}");
    let text = refused(Path::new("a+b+c"), &model("v2"), &[]);
    assert!(text.starts_with("error: model `a+b+c` has more than one `+`\n\nhint: "), "{text}");
    let text = refused(Path::new("./nowhere"), &model("v2"), &[]);
    assert!(text.starts_with("error: model directory `./nowhere` does not exist"), "{text}");
}

#[test]
fn flags_of_mergekit_are_accepted() {
    let out = tempfile::tempdir().unwrap();
    let text = made(
        &model("v1"),
        &model("v2"),
        &out.path().join("out"),
        &[
            "-a",
            "zero",
            "-nc",
            "-pm",
            "embed",
            "-bm",
            "lm_head",
            "-nvn",
            "0.5",
            "-nvs",
            "0.5",
            "--batch-size",
            "-1",
            "--device",
            "cpu",
            "--allow-crimes",
            "--lazy-unpickle",
            "--no-magikarp",
            "-w",
            "barycentric",
            "-s",
            "sum",
            "--random-seed",
            "4",
            "--cuda",
        ],
    );
    assert!(text.contains("note: `--cuda` has no effect"), "{text}");
}

//! `merge.lock.json`, and merges that are held to one.

use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{LINEAR, Place, names};

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place where `LINEAR` has been merged into `merged`.
fn merged() -> Place {
    let place = Place::new();
    place.write("base/tokenizer.json", "{}");
    place.write("base/generation_config.json", "{}");
    place.merge(LINEAR, "merged", &["--random-seed", "7"]);
    place
}

/// The lock asks for this seed.
const AGAIN: [&str; 5] = ["merged/mergekit_config.yml", "again", "--locked", "--random-seed", "7"];

#[test]
fn a_lock_has_every_file_with_its_digest() {
    let place = merged();
    let lock = place.json("merged/merge.lock.json");
    assert_eq!(lock["format"], 1);
    assert_eq!(lock["mergekit"], env!("CARGO_PKG_VERSION"));
    assert_eq!(lock["config_sha256"], sha256(LINEAR));
    assert_eq!(lock["options"]["random-seed"], 7);
    assert_eq!(lock["options"]["out-shard-size"], "5b");
    assert_eq!(lock["options"]["lora-merge-dtype"], Value::Null);
    let inputs = lock["inputs"].as_array().unwrap();
    let paths: Vec<_> = inputs.iter().map(|input| input["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["base", "a"]);
    for input in inputs {
        let model = input["path"].as_str().unwrap();
        let directory = place.path(model);
        // Nothing tells where this was.
        assert_eq!(input.as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "files"]);
        let files = input["files"].as_array().unwrap();
        let mut found: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, names(&directory));
        for file in files {
            let content = fs::read(directory.join(file["name"].as_str().unwrap())).unwrap();
            assert_eq!(file["bytes"], content.len());
            assert_eq!(file["sha256"], sha256(content));
        }
    }
}

#[test]
fn shards_adapters_and_pickles_are_in_the_lock() {
    let place = Place::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models");
    let config = format!(
        "merge_method: linear\nparameters: {{weight: 0.5}}\nmodels:\n- model: {golden}/base+{golden}/lora1\n\
         - model: {golden}/base\n- model: {golden}/c_bin_sharded\n"
    );
    place.merge(&config, "merged", &[]);
    let lock = place.json("merged/merge.lock.json");
    let mut inputs = lock["inputs"].as_array().unwrap().iter();
    let mut next = || {
        let input = inputs.next().unwrap();
        let path = input["path"].as_str().unwrap().strip_prefix(golden).unwrap().to_owned();
        let files = input["files"].as_array().unwrap();
        (path, files.iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect())
    };
    let input = |path: &str, files: &[&str]| -> (String, Vec<String>) {
        (path.to_owned(), files.iter().map(|&name| name.to_owned()).collect())
    };
    assert_eq!(next(), input("/base", &["config.json", "model.safetensors"]));
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    assert_eq!(next(), input("/lora1", &adapter));
    let (path, files): (String, Vec<String>) = next();
    assert_eq!(path, "/c_bin_sharded");
    assert_eq!(files[..2], ["config.json", "pytorch_model.bin.index.json"]);
    assert!(files.len() > 3 && files[2].starts_with("pytorch_model-00001-of-"), "{files:?}");
}

#[test]
fn a_model_that_only_gives_its_tokens_is_in_the_lock() {
    let place = Place::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models");
    let config = format!(
        "merge_method: passthrough\nmodels: [{{model: {golden}/v1}}]\ntokenizer: {{source: {golden}/v2}}\n"
    );
    place.merge(&config, "merged", &[]);
    let lock = place.json("merged/merge.lock.json");
    let source = &lock["inputs"][1];
    assert_eq!(source["path"], format!("{golden}/v2"));
    let files = source["files"].as_array().unwrap();
    let found: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert!(
        found.contains(&"tokenizer.json") && !found.contains(&"model.safetensors"),
        "{found:?}"
    );
}

#[test]
fn the_same_inputs_give_the_same_model_again() {
    let place = merged();
    let outcome = place.run(&AGAIN);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(names(&place.path("again")), names(&place.path("merged")));
    for name in names(&place.path("merged")) {
        let [first, second] =
            ["merged", "again"].map(|out| fs::read(place.path(out).join(&name)).unwrap());
        assert!(first == second, "{name} differs");
    }
    // A lock may lie anywhere.
    fs::rename(place.path("merged/merge.lock.json"), place.path("other.json")).unwrap();
    let options = ["--locked=other.json", "--random-seed", "7", "--overwrite", "--no-lock"];
    place.merge(LINEAR, "again", &options);
    assert!(!names(&place.path("again")).contains(&"merge.lock.json".to_owned()));
}

#[test]
fn the_first_file_that_differs_is_named() {
    let place = merged();
    let refused = || place.refused(&AGAIN, "again");
    let weights = fs::read(place.path("a/model.safetensors")).unwrap();

    // One bit of the last weight.
    let mut changed = weights.clone();
    *changed.last_mut().unwrap() ^= 1;
    place.write("a/model.safetensors", &changed);
    place.write("base/tokenizer.json", "[]");
    let said = refused();
    assert!(said.contains("`base/tokenizer.json` has another SHA-256"), "{said}");
    assert!(said.contains("hint: "), "{said}");
    place.write("base/tokenizer.json", "{}");
    assert!(refused().contains("`a/model.safetensors` has another SHA-256 than in the lock"));
    place.write("a/model.safetensors", &weights);

    place.write("base/tokenizer.json", "{} ");
    assert!(refused().contains("`base/tokenizer.json` has 3 bytes, and 2 in the lock"));
    fs::remove_file(place.path("base/tokenizer.json")).unwrap();
    assert!(refused().contains("`base/tokenizer.json` is missing, which is in the lock"));
    place.write("base/tokenizer.json", "{}");
    place.write("a/generation_config.json", "{}");
    assert!(refused().contains("`a/generation_config.json` is not in the lock"));
    fs::remove_file(place.path("a/generation_config.json")).unwrap();
    assert_eq!(place.run(&AGAIN).code, Some(0));
}

#[test]
fn another_config_or_option_is_refused() {
    let place = merged();
    let said = place.refused(&["merged/mergekit_config.yml", "again", "--locked"], "again");
    assert!(said.contains("`--random-seed` is 0, and 7 in the lock"), "{said}");
    assert!(said.contains("hint: add `--random-seed 7`"), "{said}");
    let said = place.refused(&[&AGAIN[..], &["--no-copy-tokenizer"]].concat(), "again");
    assert!(said.contains("hint: add `--copy-tokenizer`"), "{said}");
    let said = place.refused(&[&AGAIN[..], &["--lora-merge-dtype", "float16"]].concat(), "again");
    assert!(said.contains("hint: leave out `--lora-merge-dtype`"), "{said}");
    // What does not change a byte is free.
    let outcome = place.run(&[&AGAIN[..], &["--threads", "1", "--quiet"]].concat());
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));

    place.write("merged/mergekit_config.yml", LINEAR.replace("0.25", "0.5"));
    let said = place.refused(&AGAIN, "other");
    assert!(said.contains("`merged/mergekit_config.yml` is not the merge config of the lock"));
}

#[test]
fn locks_are_read_with_care() {
    let place = merged();
    let text = place.read("merged/merge.lock.json");
    let refused = |lock: &str| {
        place.write("merged/merge.lock.json", lock);
        place.refused(&AGAIN, "again")
    };
    assert!(refused("{").contains("`merged/merge.lock.json` is no lock of a merge"));
    assert!(refused("[]").contains("`merged/merge.lock.json` is no lock of a merge"));
    let said = refused(&text.replace("\"format\": 1", "\"format\": 2"));
    assert!(said.contains("has format 2, and this version knows 1"), "{said}");
    let said = refused(&text.replace("\"path\": \"a\"", "\"path\": \"c\""));
    assert!(said.contains("the lock has no model `a`"), "{said}");

    let version = env!("CARGO_PKG_VERSION");
    place.write("merged/merge.lock.json", text.replace(version, "0.0.9"));
    let outcome = place.run(&AGAIN);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let warning = "warning: `merged/merge.lock.json` was written by version 0.0.9";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);

    fs::remove_file(place.path("merged/merge.lock.json")).unwrap();
    fs::remove_dir_all(place.path("again")).unwrap();
    let said = place.refused(&AGAIN, "again");
    assert!(said.contains("cannot read `merged/merge.lock.json`: No such file"), "{said}");
}

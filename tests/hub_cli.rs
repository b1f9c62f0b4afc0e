//! The programs on models of the Hub: the same outputs as from directories, and nothing large before all
//! is known to be right.

#![cfg(feature = "hub")]

#[path = "support/hub_server.rs"]
#[allow(dead_code, reason = "nothing goes wrong here")]
mod hub_server;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use hub_server::{Files, HubServer, Repo, Request, files_of};
use indexmap::IndexMap;
use mergekit::checkpoint::TensorInfo;
use mergekit::kernels::dtype::DType;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::{llama, write_model};

const HIDDEN: usize = 8;

/// A server with the models `org/base`, `org/a` (also at `v1`) and the adapter `org/lora`, and the same
/// as directories `local/…`.
struct Workplace {
    server: HubServer,
    directory: TempDir,
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Workplace {
    fn new() -> Self {
        let place = Self { server: HubServer::start(), directory: tempfile::tempdir().unwrap() };
        let (base, main, v1) = (model(HIDDEN, 0.5), model(HIDDEN, 9.0), model(HIDDEN, 1.5));
        for (name, files) in [("base", &base), ("a", &v1), ("lora", &adapter())] {
            let local = place.path("local").join(name);
            fs::create_dir_all(&local).unwrap();
            files.iter().for_each(|(file, text)| fs::write(local.join(file), text).unwrap());
        }
        place.server.add("org/base", Repo::new(base));
        place.server.add("org/a", Repo::new(main).with("v1", v1));
        place.server.add("org/lora", Repo::new(model(HIDDEN, 1.0)).with("trained", adapter()));
        place.server.add("org/wide", Repo::new(model(2 * HIDDEN, 1.0)));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let mut command = Command::cargo_bin("mergekit").unwrap();
        command.current_dir(self.directory.path()).args(arguments).env_clear();
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.path("home"));
        let output = command.envs(variables.iter().copied()).output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let outcome = self.run(arguments, variables);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        outcome
    }
}

/// A Llama of `hidden` units whose values depend on `seed`.
fn model(hidden: usize, seed: f32) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let value = |_: &str, element: usize| (element % 11) as f32 * 0.25 + seed;
    write_model(directory.path(), 2, llama(2, hidden, DType::BF16), value);
    let mut files = files_of(directory.path());
    files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
    files
}

/// An adapter of rank 1 for one projection.
fn adapter() -> Files {
    let directory = tempfile::tempdir().unwrap();
    let module = "base_model.model.model.layers.0.self_attn.q_proj";
    let info = |shape: [usize; 2]| TensorInfo { dtype: DType::F32, shape: shape.to_vec() };
    let tensors = IndexMap::from([
        (format!("{module}.lora_A.weight"), info([1, HIDDEN])),
        (format!("{module}.lora_B.weight"), info([HIDDEN, 1])),
    ]);
    write_model(directory.path(), 2, tensors, |_, element| element as f32 * 0.5);
    let weights = files_of(directory.path()).remove("model.safetensors").unwrap();
    let config =
        json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    Files::from([
        ("adapter_config.json".to_owned(), config.to_string().into_bytes()),
        ("adapter_model.safetensors".to_owned(), weights),
    ])
}

/// Requests for weights as a whole.
fn of_weights(requests: Vec<Request>) -> Vec<Request> {
    let is_whole =
        |request: &Request| request.path.starts_with("/stored/") && request.range.is_none();
    requests.into_iter().filter(is_whole).collect()
}

const FROM_HUB: &str = "\
merge_method: task_arithmetic
base_model: org/base
models:
- model: org/a@v1
  parameters: {weight: 0.5}
- model: org/base+org/lora@trained
  parameters: {weight: 0.25}
";

fn from_directories() -> String {
    let text = FROM_HUB.replace("org/", "local/");
    text.replace("@v1", "").replace("@trained", "")
}

fn weights(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("model.safetensors")).unwrap()
}

#[test]
fn models_of_the_hub_merge_like_directories() {
    let place = Workplace::new();
    place.write("hub.yml", FROM_HUB);
    place.write("local.yml", &from_directories());
    place.succeeds(&["merge", "local.yml", "expected"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(place.server.requests().is_empty());

    let outcome = place.succeeds(&["merge", "hub.yml", "merged"], &[]);
    assert!(outcome.stderr.contains("fetching org/base: 2 files"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("fetching 2 models: 2 files"), "{}", outcome.stderr);
    assert_eq!(weights(&place.path("merged")), weights(&place.path("expected")));
    assert!(place.path("merged/tokenizer.json").is_file());
    let requests = place.server.requests();
    let listings = requests.iter().filter(|request| request.path.starts_with("/api/"));
    assert_eq!(listings.count(), 3, "each model is asked for once");
    assert_eq!(of_weights(requests).len(), 3);
    assert!(place.path("home/hub/models--org--base/refs/main").is_file());

    let offline = [("HF_HUB_OFFLINE", "1")];
    let outcome = place.succeeds(&["merge", "hub.yml", "again", "--quiet"], &offline);
    assert_eq!(outcome.stderr, "");
    assert_eq!(weights(&place.path("again")), weights(&place.path("expected")));
    assert!(place.server.requests().is_empty());
}

#[test]
fn a_plan_needs_no_weights() {
    let place = Workplace::new();
    place.write("hub.yml", FROM_HUB);
    place.write("local.yml", &from_directories());
    let expected = place.succeeds(&["plan", "local.yml", "--json"], &[]).stdout;
    let cache = place.path("elsewhere").display().to_string();
    let found =
        place.succeeds(&["plan", "hub.yml", "--json", "--transformers-cache", &cache], &[]).stdout;
    let bytes = |text: &str| serde_json::from_str::<Value>(text).unwrap()["bytes"].clone();
    assert_eq!(bytes(&found), bytes(&expected));
    assert!(place.path("elsewhere/models--org--a/snapshots").is_dir());
    assert!(!place.path("home").exists());
    // Those of the adapter, which are small.
    assert_eq!(of_weights(place.server.requests()).len(), 1);
}

#[test]
fn mistakes_are_found_before_weights_are_fetched() {
    let place = Workplace::new();
    let failed = |config: &str| {
        place.write("hub.yml", config);
        let outcome = place.run(&["merge", "hub.yml", "merged", "--quiet"], &[]);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(!place.path("merged").exists());
        assert!(of_weights(place.server.requests()).is_empty());
        outcome.stderr
    };
    let error = failed(
        "merge_method: linear\nmodels:\n- model: org/base\n  parameters: {weight: 1}\n- model: \
         org/wide\n  parameters: {weight: 1}\n",
    );
    assert!(error.contains("has shape [16, 16] in `org/wide`"), "{error}");
    let error = failed("merge_method: passthrough\nmodels: [{model: org/bse}]\n");
    let expected = "error: hub.yml:2:18: model directory `org/bse` does not exist, and the Hub has no \
                    model of that name\n";
    assert!(error.starts_with(expected), "{error}");
    let error = failed("merge_method: passthrough\nmodels: [{model: local/bse}]\n");
    assert!(error.ends_with("hint: there is a directory `local/base`\n"), "{error}");
    let error = failed("merge_method: passthrough\nmodels: [{model: org/base@v9}]\n");
    assert!(error.contains("model `org/base` has no revision `v9` on the Hub"), "{error}");
    let error = failed("merge_method: passthrough\nmodels: [{model: org/base+org/a}]\n");
    assert!(error.contains("`org/a` on the Hub is no adapter"), "{error}");
}

#[test]
fn a_directory_comes_before_the_hub_and_has_no_revisions() {
    let place = Workplace::new();
    fs::rename(place.path("local"), place.path("org")).unwrap();
    place.write("hub.yml", "merge_method: passthrough\nmodels: [{model: org/a@main}]\n");
    let outcome = place.succeeds(&["merge", "hub.yml", "merged", "--quiet"], &[]);
    let expected = "warning: hub.yml:2:18: the revision in `org/a@main` has no effect, because there \
                    is a local directory of that name\n";
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.stderr);
    assert_eq!(weights(&place.path("merged")), weights(&place.path("org/a")));
    assert!(place.server.requests().is_empty());
}

#[test]
fn models_of_the_hub_are_measured() {
    let place = Workplace::new();
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&place.succeeds(arguments, &[]).stdout).unwrap()
    };
    let expected = json(&["inspect", "local/a", "--json"]);
    let found = json(&["inspect", "org/a@v1", "--json"]);
    assert_eq!(found["total"], expected["total"]);
    assert_ne!(json(&["inspect", "org/a", "--json"])["total"], expected["total"]);
    let expected = json(&["inspect", "local/base+local/lora", "--json"]);
    let found = json(&["inspect", "org/base+org/lora@trained", "--json"]);
    assert_eq!(found["total"], expected["total"]);
    let outcome = place.succeeds(&["diff", "org/a@v1", "local/a"], &[]);
    assert!(outcome.stdout.contains("org/a@v1"), "{}", outcome.stdout);
}

#[test]
fn who_asks_is_said_by_the_environment_or_the_login() {
    let place = Workplace::new();
    let repo = Repo { private_to: Some("secret".to_owned()), ..Repo::new(model(HIDDEN, 1.0)) };
    place.server.add("org/private", repo);
    let refused = place.run(&["inspect", "org/private"], &[]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("a private model needs a token"), "{}", refused.stderr);
    place.succeeds(&["inspect", "org/private"], &[("HF_TOKEN", "secret")]);
    fs::write(place.path("home/token"), "secret\n").unwrap();
    place.succeeds(&["inspect", "org/private"], &[]);
}

#[test]
fn a_machine_without_the_hub_is_no_mistake() {
    let place = Workplace::new();
    // Nobody listens there.
    let outcome = place.run(&["inspect", "org/a"], &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let expected = "error: model directory `org/a` does not exist, and the Hub does not answer for a \
                    model of that name: cannot fetch `http://127.0.0.1:9/api/models/org/a/";
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("HF_HUB_OFFLINE=1"), "{}", outcome.stderr);
}

#[test]
fn a_tokenizer_may_come_from_a_model_that_takes_no_part() {
    let place = Workplace::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models");
    let mut tokenizer = files_of(&golden.join("v2"));
    tokenizer.retain(|name, _| name.starts_with("tokenizer"));
    place.server.add("org/tokens", Repo::new(adapter()).with("v2", tokenizer));
    let model = golden.join("v1").display().to_string();
    let plan = |source: &str| {
        let text = "{merge_method: passthrough, base_model: $m, models: [{model: $m}], tokenizer: \
                    {source: $source}}";
        place.write("hub.yml", &text.replace("$m", &model).replace("$source", source));
        place.run(&["plan", "hub.yml", "--json"], &[])
    };
    let (local, hub) = (plan(golden.join("v2").to_str().unwrap()), plan("org/tokens@v2"));
    assert_eq!((local.code, hub.code), (0, 0), "{}", hub.stderr);
    assert_eq!(hub.stdout, local.stdout);
    let refused = plan("org/tokens");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("it has no `tokenizer.json`"), "{}", refused.stderr);
}

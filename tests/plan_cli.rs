//! `mergekit plan` and `mergekit-yaml` as a person runs them, on the demo models.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(program: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::cargo_bin(program).unwrap();
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `mergekit plan` with a config of its own.
fn plan(config: &str, options: &[&str]) -> Outcome {
    let (directory, path) = written(config);
    let outcome = run("mergekit", &[&["plan", &path], options].concat());
    let stderr = outcome.stderr.replace(&path, "merge.yml");
    let stdout = outcome.stdout.replace(&path, "merge.yml");
    drop(directory);
    Outcome { stderr, stdout, ..outcome }
}

fn written(config: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("merge.yml");
    fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn json(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

const SLERP: &str = "\
merge_method: slerp
base_model: examples/demo/adder
models:
  - model: examples/demo/sorter
parameters:
  t:
    - filter: self_attn
      value: [0.0, 0.5, 1.0]
    - filter: mlp
      value: [1.0, 0.5, 0.0]
    - value: 0.5
dtype: bfloat16
";

#[test]
fn a_plan_fits_on_a_page() {
    let outcome = plan(SLERP, &["--threads", "2"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let (page, memory) = outcome.stdout.split_once("  memory  at most ").unwrap();
    let expected = "\
merge.yml: slerp of 1 model on base `examples/demo/adder`

  model                 role   architecture  tensors  parameters       size
  examples/demo/adder   base   llama              38       192 k  383.49 kB
  examples/demo/sorter  input  llama              38       192 k  383.49 kB

  parameter  value  for
  t          0 … 1  self_attn
             1 … 0  mlp
             0.5    the rest

  tensor                                          layers  count  shape      type      parameters  method
  model.embed_tokens.weight                                   1  [43, 64]   bfloat16      2.75 k  slerp
  model.layers.*.input_layernorm.weight           0-3         4  [64]       bfloat16         256  slerp
  model.layers.*.self_attn.q_proj.weight          0-3         4  [64, 64]   bfloat16      16.4 k  slerp
  model.layers.*.self_attn.k_proj.weight          0-3         4  [64, 64]   bfloat16      16.4 k  slerp
  model.layers.*.self_attn.v_proj.weight          0-3         4  [64, 64]   bfloat16      16.4 k  slerp
  model.layers.*.self_attn.o_proj.weight          0-3         4  [64, 64]   bfloat16      16.4 k  slerp
  model.layers.*.post_attention_layernorm.weight  0-3         4  [64]       bfloat16         256  slerp
  model.layers.*.mlp.gate_proj.weight             0-3         4  [160, 64]  bfloat16      41.0 k  slerp
  model.layers.*.mlp.up_proj.weight               0-3         4  [160, 64]  bfloat16      41.0 k  slerp
  model.layers.*.mlp.down_proj.weight             0-3         4  [64, 160]  bfloat16      41.0 k  slerp
  model.norm.weight                                           1  [64]       bfloat16          64  slerp
  together                                                   38             bfloat16       192 k

  read    1.53 MB: every input up to 2 times, 1 for statistics and 1 to merge
  write   387.42 kB in 1 file: model.safetensors
";
    assert_eq!(page, expected);
    assert!(memory.ends_with(" on 2 threads, beside the system's cache of files\n"), "{memory}");
}

#[test]
fn a_single_tensor_shows_its_inputs_and_the_lines_of_its_parameters() {
    let config = "\
merge_method: ties
base_model: examples/demo/base
models:
  - model: examples/demo/adder
    parameters: {weight: [0, 1], density: 0.5}
  - model: examples/demo/sorter
    parameters:
      density: 0.25
parameters:
  weight: 2
out_dtype: float32
";
    let outcome = plan(config, &["--tensor", "layers.1.mlp.up"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let expected = "\
model.layers.1.mlp.up_proj.weight
  float32 [160, 64], 40.96 kB in model.safetensors, by ties

  role   model                 tensor                             type      shape
  base   examples/demo/base    model.layers.1.mlp.up_proj.weight  bfloat16  [160, 64]
  input  examples/demo/adder   model.layers.1.mlp.up_proj.weight  bfloat16  [160, 64]
  input  examples/demo/sorter  model.layers.1.mlp.up_proj.weight  bfloat16  [160, 64]

  parameter  model   value    from
  weight     adder   0.33333  merge.yml:5:26
  weight     sorter  2        merge.yml:10:11
  density    adder   0.5      merge.yml:5:43
  density    sorter  0.25     merge.yml:8:16
  normalize          true     default
  rescale            false    default
  lambda             1        default
  int8_mask          false    default
";
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn tensors_that_are_not_there_get_a_hint() {
    for (wanted, error) in [
        (
            "lm_head",
            "no tensor `lm_head`: `lm_head.weight` is tied\n\nhint: it is `model.embed_tokens.weight`\n",
        ),
        ("mlp.up_prj", "no tensor `mlp.up_prj`\n\nhint: did you mean `mlp.up_proj`?\n"),
    ] {
        let outcome = plan(SLERP, &["--tensor", wanted]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
        assert_eq!(outcome.stderr, format!("error: the output has {error}"));
    }
}

#[test]
fn tensors_are_found_by_name_part_and_pattern() {
    let names = |wanted: &[&str]| {
        let mut options = vec!["--json"];
        options.extend(wanted.iter().flat_map(|name| ["--tensor", name]));
        let document = json(&plan(SLERP, &options));
        let tensors = document["tensors"].as_array().unwrap().clone();
        tensors.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).len(), 38);
    assert_eq!(names(&["model.norm.weight"]), ["model.norm.weight"]);
    assert_eq!(names(&["q_proj"]).len(), 4);
    assert_eq!(names(&["*.norm.*", "model.layers.?.mlp.up_proj.weight", "norm.weight"]).len(), 13);

    let unknown = plan(SLERP, &["--tensor", "self_atn"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert_eq!(
        unknown.stderr,
        "error: the output has no tensor `self_atn`\n\nhint: did you mean `self_attn`?\n"
    );
    let unknown = plan(SLERP, &["--tensor", "model.norm.weigth"]);
    assert!(unknown.stderr.ends_with("hint: did you mean `model.norm.weight`?\n"));
    let unknown = plan(SLERP, &["--tensor", "*vision*"]);
    assert!(unknown.stderr.contains("lists the kinds of tensors"), "{}", unknown.stderr);
}

#[test]
fn json_has_everything_and_the_page_on_it_all_fields() {
    let outcome = plan(SLERP, &["--out-shard-size", "100k", "--threads", "1", "--json"]);
    let document = json(&outcome);
    assert_eq!(document["method"], "slerp");
    assert_eq!(document["memory"]["threads"], 1);
    let files = document["output"]["files"].as_array().unwrap();
    assert!(files.len() > 3);
    let total: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert_eq!(document["bytes"]["written"], total);
    assert_eq!(document["bytes"]["read"], 4 * 383_488);
    let tensor = &document["tensors"][2];
    assert_eq!(tensor["name"], "model.layers.0.self_attn.q_proj.weight");
    assert_eq!(tensor["statistics_passes"], 1);
    let t = &tensor["parameters"]["t"];
    assert_eq!((&t["value"], &t["line"]), (&0.0.into(), &8.into()));
    assert_eq!(t["field"], "parameters.t[0].value");
    assert_eq!(tensor["inputs"][0]["role"], "base");

    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plan.md"));
    let page = page.unwrap();
    let mut keys = BTreeSet::new();
    gather(&document, &mut keys);
    keys.remove("t"); // a parameter's own name
    keys.extend(["message", "hint", "column"].map(str::to_owned));
    for key in keys {
        let named = [format!("`{key}`"), format!(".{key}`"), format!("`{key}[]`")];
        let found = named.iter().any(|text| page.contains(text))
            || page.contains(&format!(".{key}[]`"))
            || page.contains(&format!("`{key}."));
        assert!(found, "docs/plan.md does not mention `{key}`");
    }
}

fn gather(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            gather(value, keys);
        }),
        Value::Array(items) => items.iter().for_each(|item| gather(item, keys)),
        _ => {}
    }
}

#[test]
fn what_has_no_effect_is_warned_of_with_its_line() {
    let config = "\
merge_method: ties
base_model: examples/demo/base
models:
  - model: examples/demo/base
    parameters: {weight: 1}
  - model: examples/demo/adder
    parameters:
      weight:
        - {filter: self_atn, value: 1}
        - {filter: mlp, value: 0}
        - {filter: up_proj, value: 2}
        - value: 0
  - model: examples/demo/sorter
    parameters: {weight: 0, density: 1, lamda: 3}
parameters:
  density: 0.5
  t: 0.5
slices_: 1
";
    let refused = plan(config, &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains("slices_"), "{}", refused.stderr);

    let outcome = plan(&config.replace("slices_: 1\n", ""), &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let expected = "\
warning: merge.yml:5:26: `weight` has no effect here: the base model has none
warning: merge.yml:9:20: filter `self_atn` matches no tensor
  hint: did you mean `self_attn`?
warning: merge.yml:10:32: all weights are 0, so that the base model is left, for 12 tensors such as \
`model.layers.0.mlp.gate_proj.weight`
warning: merge.yml:11:20: filter `up_proj` decides about no tensor: others come first for all it \
matches
  hint: of several conditions the first that matches decides
warning: merge.yml:12:18: all weights are 0, so that the base model is left, for 26 tensors such as \
`model.embed_tokens.weight`
warning: merge.yml:14:41: models[2].parameters.lamda: `ties` does not read `lamda`
  hint: did you mean `lambda`?
warning: merge.yml:17:3: parameters.t: `ties` does not read `t`
";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn what_an_anchor_repeats_is_warned_of_once() {
    let config = "\
merge_method: ties
base_model: examples/demo/base
models:
  - model: examples/demo/adder
    parameters: &shared
      weight: [{filter: self_atn, value: 1}, {value: 0.5}]
      lamda: 3
  - {model: examples/demo/sorter, parameters: *shared}
  - {model: examples/demo/dater, parameters: *shared}
";
    let outcome = plan(config, &[]);
    let expected = "\
warning: merge.yml:6:25: filter `self_atn` matches no tensor
  hint: did you mean `self_attn`?
warning: merge.yml:7:7: models[0].parameters.lamda: `ties` does not read `lamda`
  hint: did you mean `lambda`?
";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, expected));
    let listed = json(&plan(config, &["--json"]))["warnings"].as_array().unwrap().len();
    assert_eq!(listed, 2);
}

#[test]
fn more_is_said_the_more_it_is_asked_for() {
    let lines = |options: &[&str]| plan(SLERP, options).stderr.lines().count();
    assert_eq!([&[][..], &["-v"], &["-vv"]].map(lines), [0, 2, 2 + 38]);
}

#[test]
fn gradients_that_cannot_run_are_warned_of() {
    let config = "\
merge_method: linear
slices:
  - sources:
      - {model: examples/demo/adder, layer_range: [0, 1], parameters: {weight: [0, 1]}}
      - {model: examples/demo/sorter, layer_range: [0, 1], parameters: {weight: 1}}
  - sources:
      - {model: examples/demo/adder, layer_range: [1, 4], parameters: {weight: [0, 1]}}
      - {model: examples/demo/sorter, layer_range: [1, 4], parameters: {weight: 1}}
parameters:
  normalize: true
";
    let outcome = plan(config, &[]);
    let expected = "\
warning: merge.yml:4:80: the gradient of 2 values is used in slices of one layer only, which take its \
last value
  hint: gradients run from the first layer of a slice to its last
";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, expected));

    let outside = SLERP.replace("self_attn", "norm.weight").replace("[1.0, 0.5, 0.0]", "1");
    let outside = outside.replace("filter: norm.weight", "filter: model.norm");
    let outcome = plan(&outside, &[]);
    assert!(
        outcome.stderr.contains("outside of layers only, where its first"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn errors_about_models_have_the_line_that_names_them() {
    let config = "merge_method: linear\nmodels:\n- model: examples/demo/adder\n- model: absent\n";
    let outcome = plan(config, &[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    assert!(
        outcome
            .stderr
            .starts_with("error: merge.yml:4:10: model directory `absent` does not exist"),
        "{}",
        outcome.stderr
    );
    let lost = plan(
        "merge_method: della\nbase_model: examples/demo/base\nmodels:\n- model: \
        examples/demo/adder\n  parameters: {weight: 1, density: 0.9}\n",
        &[],
    );
    assert_eq!(lost.code, 2);
    let expected = "error: merge.yml:5:15: `models[0].parameters.epsilon` is 0.15 by default";
    assert!(lost.stderr.starts_with(expected), "{}", lost.stderr);
    assert!(lost.stderr.contains("hint: the config does not give it"), "{}", lost.stderr);
}

#[test]
fn mergekit_yaml_is_mergekit_merge() {
    let parent = tempfile::tempdir().unwrap();
    let out = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let merged = run("mergekit", &["merge", "configs/linear.yml", &out("a")]);
    assert_eq!(merged.code, 0, "{}", merged.stderr);
    let flags = ["--cuda", "--lazy-unpickle", "--write-threads", "2", "-v", "--allow-crimes"];
    let second = out("b");
    let arguments = [&["configs/linear.yml", second.as_str()], &flags[..]].concat();
    let same = run("mergekit-yaml", &arguments);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{}", same.stderr);
    let notes: Vec<&str> = same.stderr.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes.len(), 3, "{}", same.stderr);
    assert_eq!(notes[0], "note: `--cuda` has no effect: merging runs on the CPU");
    for file in ["model.safetensors", "config.json", "README.md"] {
        let read = |name: &str| fs::read(parent.path().join(name).join(file)).unwrap();
        assert_eq!(read("a"), read("b"), "{file}");
    }

    let arguments = ["configs/linear.yml", &out("c"), "--no-safe-serialization"];
    assert_eq!(run("mergekit-yaml", &arguments).code, 0);
    assert!(parent.path().join("c/pytorch_model.bin").exists());
}

#[test]
fn absurd_numbers_of_threads_are_cut() {
    let outcome = plan(SLERP, &["--threads", "100000", "--json"]);
    assert!(outcome.stderr.starts_with("warning: 100000 threads"), "{}", outcome.stderr);
    let threads = json(&outcome)["memory"]["threads"].as_u64().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(threads, 16 * cores);
}

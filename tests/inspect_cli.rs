//! `mergekit inspect` and `mergekit diff` as a person runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use mergekit::checkpoint::{Checkpoint, TensorSource};
use serde_json::Value;

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program among the demo models.
fn mergekit(arguments: &[&str]) -> Outcome {
    let mut command = Command::cargo_bin("mergekit").unwrap();
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo"));
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "nowhere");
    let output = command.args(arguments).output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let outcome = mergekit(arguments);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
    outcome.stdout
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(arguments)).unwrap()
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let outcome = mergekit(arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
    outcome.stderr
}

fn values(model: &str, tensor: &str) -> Vec<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let checkpoint = Checkpoint::open(&root.join(model)).unwrap();
    let mut values = vec![0.0; checkpoint.tensors()[tensor].elements()];
    checkpoint.read_into(tensor, 0, &mut values).unwrap();
    values.into_iter().map(f64::from).collect()
}

#[track_caller]
fn close(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1e-3), "{found} {expected}");
}

/// The entry of `list` with `value` under `key`.
#[track_caller]
fn entry<'v>(list: &'v Value, key: &str, value: &Value) -> &'v Value {
    list.as_array().unwrap().iter().find(|entry| entry[key] == *value).unwrap()
}

const UP: &str = "model.layers.2.mlp.up_proj.weight";

#[test]
fn inspect_tells_what_a_model_is() {
    let text = printed(&["inspect", "base"]);
    for words in [
        "architecture  LlamaForCausalLM (llama)",
        "layers        4",
        "parameters    191,744",
        "types         bfloat16",
        "bytes         383,488 in 38 tensors, 1 file",
        "not stored    lm_head.weight, which is model.embed_tokens.weight",
        "\n  self_attn.q_proj               16,384",
        "\n  3                  47,232",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(!text.contains(UP));
    assert!(printed(&["inspect", "base", "--tensors"]).contains(UP));
}

#[test]
fn inspect_computes_what_plain_code_computes() {
    let report = json(&["inspect", "adder", "--json", "-j", "3"]);
    let values = values("adder", UP);
    let tensor = entry(&report["tensors"], "name", &UP.into());
    let squares: f64 = values.iter().map(|x| x * x).sum();
    close(&tensor["norm"], squares.sqrt());
    close(&tensor["rms"], (squares / values.len() as f64).sqrt());
    close(&tensor["min"], values.iter().copied().fold(f64::INFINITY, f64::min));
    close(&tensor["max"], values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    assert_eq!(tensor["layer"], 2);
    assert_eq!(tensor["kind"], "mlp.up_proj");
    assert_eq!(tensor["dtypes"], serde_json::json!(["bfloat16"]));
    assert_eq!(report["total"]["parameters"], 191_744);
    assert_eq!(report["total"]["nan"], 0);
    assert_eq!(report["layers"].as_array().unwrap().len(), 4);
    assert_eq!(report["tied"]["lm_head.weight"], "model.embed_tokens.weight");
}

#[test]
fn diff_computes_what_plain_code_computes() {
    let report = json(&["diff", "adder", "sorter", "--base", "base", "--json"]);
    let [a, b, base] = ["adder", "sorter", "base"].map(|model| values(model, UP));
    let tensor = entry(&report["tensors"], "name", &UP.into());
    let zip = |f: &dyn Fn(f64, f64, f64) -> f64| -> f64 {
        a.iter().zip(&b).zip(&base).map(|((&a, &b), &c)| f(a, b, c)).sum()
    };
    let n = a.len() as f64;
    let difference = zip(&|a, b, _| (b - a) * (b - a)).sqrt();
    let norm_a = zip(&|a, _, _| a * a).sqrt();
    close(&tensor["difference"], difference);
    close(&tensor["relative"], difference / norm_a);
    close(&tensor["changed"], zip(&|a, b, _| f64::from(a != b)) / n);
    let norm_b = zip(&|_, b, _| b * b).sqrt();
    close(&tensor["cosine"], zip(&|a, b, _| a * b) / (norm_a * norm_b));
    let (way_a, way_b) = (zip(&|a, _, c| (a - c).powi(2)), zip(&|_, b, c| (b - c).powi(2)));
    close(&tensor["task_norm_a"], way_a.sqrt());
    close(&tensor["task_norm_b"], way_b.sqrt());
    let product = zip(&|a, b, c| (a - c) * (b - c));
    close(&tensor["task_cosine"], product / (way_a.sqrt() * way_b.sqrt()));
    let both = zip(&|a, b, c| f64::from(a != c && b != c));
    close(&tensor["moved_both"], both / n);
    close(&tensor["sign_agreement"], zip(&|a, b, c| f64::from((a - c) * (b - c) > 0.0)) / both);
    close(&tensor["moved_only_a"], zip(&|a, b, c| f64::from(a != c && b == c)) / n);

    // Totals of layers are those of their tensors.
    let layer = entry(&report["layers"], "layer", &2.into());
    let in_layer = |tensor: &&Value| tensor["layer"] == 2;
    let tensors = report["tensors"].as_array().unwrap();
    let square = |tensor: &Value| tensor["difference"].as_f64().unwrap().powi(2);
    close(&layer["difference"], tensors.iter().filter(in_layer).map(square).sum::<f64>().sqrt());
}

/// The names of fields in `value`, without those of `open` objects, which are names from the model.
fn gather(value: &Value, open: &[&str], names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                if !open.contains(&name.as_str()) {
                    gather(value, open, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, open, names)),
        _ => {}
    }
}

#[test]
fn the_page_about_numbers_names_every_field_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/inspect.md")).unwrap();
    let mut names = BTreeSet::new();
    for arguments in [
        &["inspect", "base", "--json"][..],
        &["diff", "adder", "sorter", "--base", "base", "--json"],
    ] {
        gather(&json(arguments), &["dtypes", "tied"], &mut names);
    }
    let csv = printed(&["diff", "adder", "sorter", "--base", "base", "--csv", "-"]);
    names.extend(csv.lines().next().unwrap().split(',').map(str::to_owned));
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", "));
    for name in cells.map(|cell| cell.trim().trim_matches('`').trim_end_matches("[]")) {
        let name = name.rsplit('.').next().unwrap();
        assert!(names.contains(name), "there is no `{name}`");
    }
    for name in names {
        let is_named = [format!("`{name}`"), format!("`{name}[]`")];
        assert!(is_named.iter().any(|text| page.contains(text)), "the page lacks `{name}`");
    }
}

#[test]
fn a_model_does_not_differ_from_itself_whatever_the_threads() {
    let text = printed(&["diff", "base", "base"]);
    assert!(text.contains("38 tensors with 191,744 parameters in common."), "{text}");
    assert!(text.contains("0.00 %   1.00000"), "{text}");
    let csv = |threads| printed(&["diff", "adder", "dater", "--csv", "-", "-j", threads]);
    assert_eq!(csv("1"), csv("5"));
}

#[test]
fn csv_has_a_row_for_everything() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("numbers.csv");
    let file = file.to_str().unwrap();
    let outcome = mergekit(&["diff", "base", "adder", "--csv", file]);
    assert_eq!(outcome.stderr, format!("wrote all numbers to `{file}`\n"));
    assert!(outcome.stdout.starts_with("  A     base\n"));
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text, printed(&["diff", "base", "adder", "--csv", "-"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let scopes = |scope: &str| rows.iter().filter(|row| &row[0] == scope).count();
    assert_eq!(["total", "kind", "layer", "tensor"].map(scopes), [1, 11, 4, 38]);
    let column = header.iter().position(|name| name == "relative").unwrap();
    assert!(rows.iter().all(|row| row[column].parse::<f64>().unwrap() > 0.0));
}

#[test]
fn heat_maps_are_complete_svg() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, title) in [
        (&["inspect", "base"][..], "Root mean square"),
        (&["diff", "base", "adder"], "Relative difference"),
        (&["diff", "adder", "sorter", "--base", "base"], "Cosine of the task vectors"),
        (&["diff", "base", "adder", "--quantity", "changed"], "Share of elements that differ"),
    ] {
        let file = directory.path().join("map.svg");
        let options = ["--quiet", "--heat-map", file.to_str().unwrap()];
        printed(&[arguments, &options].concat());
        let svg = fs::read_to_string(&file).unwrap();
        check_xml(&svg);
        assert!(svg.contains(title), "{title} is missing");
        // Nine kinds and the total of four layers; nine totals of kinds; embeddings and norm.
        assert_eq!(svg.matches("<title>").count(), 4 * 10 + 9 + 2);
        for label in ["self_attn.q_proj", "mlp.down_proj", "embed_tokens", "norm"] {
            assert!(svg.contains(&format!(">{label}</text>")), "{label} is missing");
        }
    }
}

/// Whether elements are closed in the order in which they were opened, with quoted attributes and
/// no stray characters.
#[track_caller]
fn check_xml(text: &str) {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let between = &rest[..start];
        assert!(!between.contains('>'), "a stray > in {between:?}");
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('&'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
        rest = &rest[end + 1..];
    }
    assert_eq!((open.len(), rest.trim()), (0, ""));
}

#[test]
fn mistakes_get_a_sentence_and_a_hint() {
    let error = refused(&["inspect", "meta/llama"]);
    let expected = "error: model directory `meta/llama` does not exist, and the Hub's cache `nowhere` \
                    does not hold a model of that name\n";
    assert!(error.starts_with(expected), "{error}");
    let error = refused(&["diff", "base", "nothing"]);
    let expected = "error: model directory `nothing` does not exist\n\n\
                    hint: relative paths begin at the current directory\n";
    assert_eq!(error, expected);
    let error =
        refused(&["diff", "base", "adder", "--heat-map", "x.svg", "--quantity", "task_cosine"]);
    assert!(error.contains("which need a base model"), "{error}");
    let error = refused(&["diff", "base", "adder", "--heat-map", "nowhere/x.svg"]);
    let expected = "error: cannot write `nowhere/x.svg`: there is no such directory\n\n\
                    hint: create `nowhere` first\n";
    assert_eq!(error, expected);
    let error = refused(&["inspect", "base", "--json", "--csv", "-"]);
    assert!(error.contains("both go to standard output"), "{error}");
    let error = refused(&["inspect", "base", "--heat-map", "-"]);
    assert!(error.contains("not written to standard output"), "{error}");
    let error = refused(&["inspect", "base", "--heat-map", "x.svg", "--csv", "./x.svg"]);
    assert!(error.contains("both go to `x.svg`"), "{error}");
    let error = refused(&["inspect", "base", "--heat-map", "x.svg", "--quantity", "rsm"]);
    assert!(error.contains("rms"), "{error}");
    assert!(!Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/x.svg").exists());
}

#[test]
fn files_and_models_of_unknown_architecture_are_read_by_names() {
    let text = printed(&["inspect", "base/model.safetensors"]);
    assert!(text.contains("architecture  inferred from the tensors' names"), "{text}");
    assert!(text.contains("layers        4"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join("model");
    fs::create_dir(&model).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/base");
    fs::copy(demo.join("model.safetensors"), model.join("model.safetensors")).unwrap();
    fs::write(model.join("config.json"), r#"{"architectures": ["Strange"]}"#).unwrap();
    let model = model.to_str().unwrap();
    assert!(printed(&["diff", "base", model]).contains("38 tensors"));
    let text = printed(&["inspect", model]);
    assert!(text.contains("architecture  Strange (inferred from the tensors' names)"), "{text}");
    assert!(json(&["inspect", model, "--json"])["architecture"].is_null());
    fs::write(directory.path().join("model/config.json"), r#"{"architectures": []}"#).unwrap();
    let outcome = mergekit(&["diff", "base", model]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains("does not name the model's class"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("hint: layers and kinds are told from the tensors' names"));
    assert!(outcome.stdout.contains("38 tensors"), "{}", outcome.stdout);
}

#[test]
fn models_are_measured_with_their_adapters() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (base, lora) = (golden.join("models/base"), golden.join("models/lora1"));
    let (base, adapted) = (base.display(), format!("{}+{}", base.display(), lora.display()));
    let report = json(&["diff", &base.to_string(), &adapted, "--json", "-j", "2"]);
    assert_eq!(report["b"], adapted.as_str());
    let norms = |adapted: bool| -> Vec<&str> {
        let tensors = report["tensors"].as_array().unwrap().iter();
        let moved = tensors.filter(|tensor| (tensor["difference"] != 0.0) == adapted);
        moved.map(|tensor| tensor["kind"].as_str().unwrap()).collect()
    };
    let config = fs::read_to_string(lora.join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let targets: BTreeSet<&str> = config["target_modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| module.as_str().unwrap())
        .collect();
    let ends = |kind: &str| targets.contains(kind.rsplit('.').next().unwrap());
    assert!(!norms(true).is_empty() && norms(true).into_iter().all(ends));
    assert!(!norms(false).into_iter().any(ends));
    assert!(printed(&["inspect", &adapted]).starts_with(&format!("{adapted}\n")));
    let error = refused(&["inspect", &format!("{base}+nowhere")]);
    assert!(error.contains("adapter directory `nowhere` does not exist"), "{error}");
}

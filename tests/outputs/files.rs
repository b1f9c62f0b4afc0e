//! The files of an output, one by one.

use std::fs;

use mergekit::kernels::dtype::DType;

use crate::{LINEAR, Place, names, noise, tiny};

/// What transformers 4 writes for a Qwen3, with the keys that matter to a merge.
const QWEN3: &str = r#"{
  "architectures": [
    "Qwen3ForCausalLM"
  ],
  "attention_bias": false,
  "eos_token_id": [
    1,
    2
  ],
  "layer_types": [
    "full_attention",
    "sliding_attention",
    "full_attention"
  ],
  "max_window_layers": 1,
  "model_type": "qwen3",
  "num_hidden_layers": 3,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1000000.0,
  "rope_scaling": null,
  "sliding_window": 16,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "vocab_size": 6
}
"#;

/// The same as transformers 5 writes it.
fn modern() -> String {
    QWEN3
        .replace("\"torch_dtype\"", "\"dtype\"")
        .replace("  \"rope_scaling\": null,\n", "")
        .replace(
            "  \"rope_theta\": 1000000.0,\n",
            "  \"rope_parameters\": {\n    \"rope_theta\": 1000000.0,\n    \"rope_type\": \"default\"\n  },\n",
        )
}

/// A place with a Qwen3 of three layers, which has this config, and a copy of it under the name `other`.
fn qwen3(config: &str) -> Place {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    for (seed, name) in (0..).zip(["qwen", "other"]) {
        let mut tensors = tiny::llama(3, 6, DType::BF16);
        tensors.shift_remove("lm_head.weight");
        for layer in 0..3 {
            for norm in ["q_norm", "k_norm"] {
                let name = format!("model.layers.{layer}.self_attn.{norm}.weight");
                tensors.insert(name, tensors["model.norm.weight"].clone());
            }
        }
        tiny::write_model(&place.path(name), 3, tensors, noise(seed));
        place.write(&format!("{name}/config.json"), config);
    }
    place
}

const WHOLE: &str = "\
merge_method: linear
parameters: {weight: 0.5}
models: [{model: qwen}, {model: other}]
";

const STACKED: &str = "\
merge_method: passthrough
slices:
- sources: [{model: qwen, layer_range: [0, 2]}]
- sources: [{model: other, layer_range: [1, 3]}]
";

#[test]
fn a_config_is_that_of_the_donor_in_both_forms() {
    for config in [QWEN3.to_owned(), modern()] {
        let place = qwen3(&config);
        place.merge(WHOLE, "merged", &[]);
        assert_eq!(place.read("merged/config.json"), config);
        place.merge(&format!("{WHOLE}dtype: float32\nout_dtype: float16\n"), "half", &[]);
        assert_eq!(place.read("half/config.json"), config.replace("bfloat16", "float16"));
    }
}

#[test]
fn a_stack_of_layers_has_their_number_and_kinds() {
    for config in [QWEN3.to_owned(), modern()] {
        let place = qwen3(&config);
        place.merge(STACKED, "merged", &[]);
        let kinds =
            |types: &[&str]| format!("{:#}", serde_json::json!(types)).replace('\n', "\n  ");
        let (full, sliding) = ("full_attention", "sliding_attention");
        let expected = config
            .replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4")
            .replace(&kinds(&[full, sliding, full]), &kinds(&[full, sliding, sliding, full]));
        assert_eq!(place.read("merged/config.json"), expected);
    }
}

#[test]
fn a_whole_model_has_all_of_its_files() {
    let place = qwen3(QWEN3);
    let side_files = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "generation_config.json",
    ];
    for name in side_files {
        place.write(&format!("qwen/{name}"), format!("{{\"{name}\": 1}}"));
    }
    place.write("qwen/training_args.bin", "not part of it");
    place.merge(WHOLE, "merged", &["--out-shard-size", "300"]);
    let mut expected: Vec<String> = side_files.map(str::to_owned).to_vec();
    expected.extend(
        ["README.md", "config.json", "merge.lock.json", "mergekit_config.yml"].map(str::to_owned),
    );
    expected.extend(["model.safetensors.index.json".to_owned()]);
    let found = names(&place.path("merged"));
    let (weights, mut others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|name| name.ends_with(".safetensors"));
    others.sort();
    expected.sort();
    assert_eq!(others, expected);
    let index = place.json("merged/model.safetensors.index.json");
    let mut listed: Vec<_> = index["weight_map"]
        .as_object()
        .unwrap()
        .values()
        .map(|name| name.as_str().unwrap())
        .collect();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed, weights);
    for name in side_files {
        assert_eq!(place.read(&format!("merged/{name}")), place.read(&format!("qwen/{name}")));
    }
    assert_eq!(place.read("merged/mergekit_config.yml"), WHOLE);
    let card = place.read("merged/README.md");
    assert!(card.starts_with("---\nlibrary_name: transformers\ntags:\n- mergekit\n- merge\n---\n"));
}

#[test]
fn a_template_does_not_cost_the_generation_config() {
    let place = qwen3(QWEN3);
    place.write("qwen/generation_config.json", "{\"top_k\": 20}");
    place.write("qwen/tokenizer_config.json", "{\"chat_template\": \"old\", \"b\": 1}");
    place.merge(
        &format!("{WHOLE}chat_template: '{{{{ bos_token }}}} and messages'\n"),
        "merged",
        &[],
    );
    assert_eq!(place.read("merged/generation_config.json"), "{\"top_k\": 20}");
    assert_eq!(place.read("merged/chat_template.jinja"), "{{ bos_token }} and messages");
    assert_eq!(
        place.json("merged/tokenizer_config.json")["chat_template"],
        "{{ bos_token }} and messages"
    );
    // The other one is copied whether there is a tokenizer or not.
    place.merge(WHOLE, "bare", &["--no-copy-tokenizer"]);
    assert!(names(&place.path("bare")).contains(&"generation_config.json".to_owned()));
    assert!(!names(&place.path("bare")).contains(&"tokenizer_config.json".to_owned()));
}

/// Where files cannot grow beyond a few kilobytes, as on a full disk.
#[cfg(unix)]
#[test]
fn what_cannot_be_written_is_named_by_its_place_in_the_output() {
    let place = Place::new();
    place.write("merge.yml", LINEAR);
    let program = assert_cmd::cargo::cargo_bin("mergekit");
    let command = format!(
        "trap '' XFSZ; ulimit -f 4; exec '{}' merge merge.yml merged --no-lock",
        program.display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(&place.directory)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write `merged/model.safetensors`: "), "{said}");
    let left: Vec<_> = names(place.directory.path());
    assert_eq!(left, ["a", "b", "base", "merge.yml"]);
    assert!(fs::metadata(place.path("merged")).is_err());
}

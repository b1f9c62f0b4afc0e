//! Models with different vocabularies: what is said about them, and what the output holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::config::MergeConfig;
use mergekit::engine::{Engine, EngineOptions, WriteOptions};
use mergekit::plan::{MergePlan, ModelStore, PlanError, PlanOptions, PlanWarning};
use mergekit::tokenizer::TokenizerFile;
use serde_json::{Value, json};

/// Models of 48 and 60 tokens (`v1`, `v2`), one with added tokens and padding (`v3`), and one whose
/// tokenizer is larger than its embedding (`v4`).
fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(name)
}

fn plan_with(store: &ModelStore, text: &str) -> Result<MergePlan, Box<PlanError>> {
    let text = ["v1b", "v1", "v2", "v3", "v4"].into_iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("${name}"), model(name).to_str().unwrap())
    });
    let config = MergeConfig::parse(&text, Path::new("merge.yml")).unwrap();
    MergePlan::new(&config, store, &PlanOptions::default()).map_err(Box::new)
}

fn plan(text: &str) -> Result<MergePlan, Box<PlanError>> {
    plan_with(&ModelStore::new(), text)
}

fn merge(engine: &Engine, plan: &MergePlan) -> BTreeMap<String, Vec<u32>> {
    let merged = engine.merge_to_memory(plan).unwrap();
    let bits = merged.into_iter().map(|(name, tensor)| {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        (name, values.into_iter().map(f32::to_bits).collect())
    });
    bits.collect()
}

fn engine(options: EngineOptions) -> Engine {
    Engine::new(options).unwrap()
}

const LINEAR: &str = "{merge_method: linear, base_model: $v1, parameters: {weight: 1}, models: \
    [{model: $v1}, {model: $v2}, {model: $v3}], ";

#[test]
fn what_becomes_of_tokens_is_said() {
    let warnings = |text: &str| -> Vec<String> {
        let warnings = plan(text).unwrap().warnings().to_vec();
        let about_tokens = |warning: &PlanWarning| warning.field() == Some("tokenizer");
        warnings.iter().filter(|warning| about_tokens(warning)).map(|w| w.to_string()).collect()
    };
    let label = |name: &str| model(name).display().to_string();
    let searched = format!(
        "24 tokens (such as \"Ġm\") of other models will be found in texts before the rules of `{}` divide \
        them, also inside of words",
        label("v1")
    );
    assert_eq!(warnings(&format!("{LINEAR} tokenizer_source: union}}")), [searched]);
    assert_eq!(
        warnings(&format!("{LINEAR} tokenizer_source: base}}")),
        [
            format!("the output lacks 29 tokens (such as \"<|pad|>\") of `{}`", label("v2")),
            format!("the output lacks 3 tokens (such as \"<|extra_0|>\") of `{}`", label("v3")),
        ]
    );
    let larger = "{merge_method: passthrough, base_model: $v4, models: [{model: $v4}], \
        tokenizer_source: base}";
    let expected = "the output lacks 2 tokens (such as \"zebra\") of";
    let found = warnings(larger);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(expected), "{found:?}");
    assert!(found[0].ends_with("whose embedding has 49 rows"), "{found:?}");
    let outside = "{merge_method: passthrough, base_model: $v1, models: [{model: $v1}], \
        tokenizer: {source: $v2}}";
    let found = warnings(outside);
    let zeros =
        "no model has an embedding of 29 tokens (such as \"<|pad|>\"); the output has zeros";
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1], zeros);
}

#[test]
fn a_model_that_only_gives_its_tokens_takes_no_part() {
    let plan = plan(
        "{merge_method: passthrough, base_model: $v1, models: [{model: $v1}], \
        tokenizer: {source: $v2}}",
    )
    .unwrap();
    let out = tempfile::tempdir().unwrap();
    engine(EngineOptions::default())
        .merge_to_directory(&plan, out.path(), &WriteOptions::default(), &|_| ())
        .unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let read = |directory: &Path| fs::read(directory.join(file)).unwrap();
        assert!(read(out.path()) == read(&model("v2")), "{file}");
    }
    let config: Value =
        serde_json::from_slice(&fs::read(out.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["vocab_size"], 60);
}

#[test]
fn mistakes_name_the_token() {
    let error = |tokens: &str| {
        let error = plan(&format!("{LINEAR} tokenizer: {{tokens: {tokens}}}}}")).err().unwrap();
        assert!(error.is_users_mistake());
        error.to_string()
    };
    let v1 = model("v1").display().to_string();
    assert_eq!(
        error("{<s>: {source: $v4}}"),
        format!(
            "`tokenizer.tokens.<s>.source`: model `{}` gives nothing to tensor \
            `model.embed_tokens.weight`",
            model("v4").display()
        )
    );
    assert_eq!(
        error("{x: {source: {kind: model_token, model: $v1, token: none}}}"),
        format!(
            "`tokenizer.tokens.x.source`: model `{v1}` has no token \"none\", or no embedding for it"
        )
    );
    assert_eq!(
        error("{x: {source: {kind: model_token, model: $v1, token_id: 48}}}"),
        format!(
            "`tokenizer.tokens.x.source.token_id` is 48, but tensor `model.embed_tokens.weight` of \
            model `{v1}` has 48 rows"
        )
    );
}

#[test]
fn a_broken_tokenizer_is_an_error_of_the_base_and_a_warning_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(model("v1")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let copy = copy.display();
    let text = |base: &str| {
        format!(
            "{{merge_method: linear, base_model: {base}, parameters: {{weight: 1}}, models: \
            [{{model: $v1}}, {{model: {copy}}}], tokenizer_source: union}}"
        )
    };
    for (content, problem) in [
        (Some("{"), "is no JSON object"),
        (Some("{\"model\": {}}"), "cannot be understood: `model.vocab` is missing"),
        (None, "has no `tokenizer.json`"),
    ] {
        let path = format!("{copy}/tokenizer.json");
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let error = plan(&text(&copy.to_string())).err().unwrap();
        assert!(error.to_string().contains(problem), "{error}");
        assert_eq!(error.field(), Some("base_model"));
        let planned = plan(&text("$v1")).unwrap();
        let warning = planned.warnings().iter().map(ToString::to_string).collect::<String>();
        assert!(warning.contains("is taken to have the tokens of the base model"), "{warning}");
        assert!(warning.contains(problem), "{warning}");
    }
}

#[test]
fn threads_and_chunks_do_not_change_aligned_rows() {
    let text = format!("{LINEAR} tokenizer: {{source: union, pad_to_multiple_of: 64}}}}")
        .replace("linear", "ties")
        .replace("weight: 1", "weight: 0.5, density: 0.6");
    let plan = plan(&text).unwrap();
    let options = |threads, chunk_elements| EngineOptions {
        threads: Some(threads),
        chunk_elements,
        ..Default::default()
    };
    let expected = merge(&engine(options(1, None)), &plan);
    assert_eq!(expected["lm_head.weight"].len(), 128 * 12);
    for (threads, chunk) in [(2, Some(5)), (7, Some(37)), (7, None)] {
        assert!(merge(&engine(options(threads, chunk)), &plan) == expected, "{threads}, {chunk:?}");
    }
}

#[test]
fn statistics_of_other_rows_are_not_mistaken_for_these() {
    let store = ModelStore::new();
    let remembering = engine(EngineOptions { remember_statistics: true, ..Default::default() });
    for settings in ["", "tokens: {Ġt: {source: {kind: zero}, force: true}}"] {
        let text = format!(
            "{{merge_method: slerp, base_model: $v1, models: [{{model: $v1}}, {{model: $v2}}], \
            parameters: {{t: 0.3}}, tokenizer: {{source: union, {settings}}}}}"
        );
        let plan = plan_with(&store, &text).unwrap();
        let fresh = engine(EngineOptions::default());
        assert!(merge(&remembering, &plan) == merge(&fresh, &plan), "{settings}");
    }
}

#[test]
fn lists_of_added_tokens_follow() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("base");
    fs::create_dir(&base).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(model("v1").join(file), base.join(file)).unwrap();
    }
    fs::write(base.join("tokenizer.model"), "not read").unwrap();
    let listed = json!({"0": {"content": "<unk>"}});
    let config = json!({"added_tokens_decoder": listed, "eos_token": "</s>"}).to_string();
    fs::write(base.join("tokenizer_config.json"), config).unwrap();
    let plan = plan(&format!(
        "{{merge_method: linear, base_model: {0}, parameters: {{weight: 1}}, models: \
        [{{model: {0}}}, {{model: $v3}}], tokenizer_source: union}}",
        base.display()
    ))
    .unwrap();
    let said = plan.warnings().iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("the output has no `tokenizer.model`"), "{said}");
    let out = directory.path().join("out");
    engine(EngineOptions::default())
        .merge_to_directory(&plan, &out, &WriteOptions::default(), &|_| ())
        .unwrap();
    assert!(!out.join("tokenizer.model").exists());
    let config: Value =
        serde_json::from_slice(&fs::read(out.join("tokenizer_config.json")).unwrap()).unwrap();
    let listed = config["added_tokens_decoder"].as_object().unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["0", "1", "2", "3", "48", "49", "50"]);
    assert_eq!(listed["48"]["content"], "<|extra_0|>");
    assert_eq!(listed["48"]["special"], true);
}

#[test]
fn plans_show_the_vocabulary() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("merge.yml");
    let text = format!("{LINEAR} tokenizer: {{pad_to_multiple_of: 64}}}}");
    let text = ["v1", "v2", "v3"]
        .into_iter()
        .fold(text, |text, name| text.replace(&format!("${name}"), model(name).to_str().unwrap()));
    fs::write(&config, text).unwrap();
    let run = |more: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("mergekit").unwrap();
        let output = command.arg("plan").arg(&config).args(more).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&[]).lines().nth(1), Some("vocabulary: 80 tokens in embeddings of 128 rows"));
    let json: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json["output"]["vocabulary"], json!({"tokens": 80, "rows": 128}));
}

#[test]
fn rows_of_other_tokens_are_warned_of() {
    let merge = |models: &str| {
        let plan = plan(&format!(
            "{{merge_method: linear, base_model: $v1, parameters: {{weight: 1}}, models: {models}}}"
        ));
        plan.unwrap().warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(merge("[{model: $v1}, {model: $v1b}]"), [""; 0]);
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(model("v1")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let path = directory.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"y\"", "\"Y\"").replace("\"zz\"", "\"z\"")).unwrap();
    let copy = directory.path().display().to_string();
    let expected = format!(
        "1 id of `{copy}` is not the same token in `{}` (id 28 is \"Y\" and \"y\"), but embeddings are \
        merged row by row",
        model("v1").display()
    );
    assert_eq!(merge(&format!("[{{model: $v1}}, {{model: {copy}}}]")), [expected]);
}

#[test]
fn a_tied_head_of_another_size_is_aligned_with_the_untied_one() {
    let tied = model("v2t");
    let plan = plan(&format!(
        "{{merge_method: linear, base_model: $v1, parameters: {{weight: 1}}, models: \
        [{{model: $v1}}, {{model: {}}}], tokenizer_source: union}}",
        tied.display()
    ))
    .unwrap();
    assert_eq!(plan.model_config()["tie_word_embeddings"], false);
    let merged = merge(&engine(EngineOptions::default()), &plan);
    let tokenizer = &plan.tokenizer().unwrap().file;
    let weights = Checkpoint::open(&tied).unwrap();
    let theirs = TokenizerFile::read(&tied).unwrap().vocabulary()["<|im_end|>"] as usize;
    let ours = tokenizer.vocabulary()["<|im_end|>"] as usize;
    let mut row = [0.0; 12];
    weights.read_into("model.embed_tokens.weight", 12 * theirs, &mut row).unwrap();
    // A token of one model alone has the same row in all.
    let expected = row.map(f32::to_bits);
    for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
        assert_eq!(merged[tensor][12 * ours..][..12], expected, "{tensor}");
    }
}

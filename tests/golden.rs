//! Merges against results of the Python implementation (mergekit 0.1.5), on tiny models.
//!
//! Names, shapes and element types are the same, and every element is within the tolerance that
//! `meta.json` states, `|merged − expected| ≤ atol + rtol · |expected|`, up to a share of elements for
//! which a selection hangs on how the reference rounds in between; those are bounded too. Random
//! methods have to agree in mean and variance, and what the reference refuses is refused.

use std::fs;
use std::path::{Path, PathBuf};

use mergekit::checkpoint::{Checkpoint, TensorSource};
use mergekit::config::{ConfigFile, MergeConfig};
use mergekit::engine::{Engine, EngineOptions, WriteOptions};
use mergekit::kernels::dtype::DType;
use mergekit::methods::METHODS;
use mergekit::plan::{MergePlan, ModelStore, PlanOptions};
use mergekit::tokenizer::TokenizerFile;
use serde_json::Value;
use tokenizers::Tokenizer;

/// A case on disk.
struct Case {
    directory: PathBuf,
    meta: Value,
    config: String,
    options: PlanOptions,
    /// What models with adapters are converted to.
    adapted_as: Option<DType>,
}

impl Case {
    /// All cases whose results are of one kind: `tensors`, `stat` or `error`.
    fn all(kind: &str) -> Vec<Self> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let models = golden.join("models");
        let entries = fs::read_dir(golden.join("cases")).unwrap();
        let cases = entries.map(|entry| Self::read(entry.unwrap().path(), &models));
        let mut cases: Vec<_> = cases.filter(|case| case.meta["kind"] == kind).collect();
        cases.sort_by(|a, b| a.directory.cmp(&b.directory));
        cases
    }

    fn read(directory: PathBuf, models: &Path) -> Self {
        let config = fs::read_to_string(directory.join("config.yml")).unwrap();
        let config = config.replace("${MODELS}", models.to_str().unwrap());
        let mut options = PlanOptions::default();
        let mut adapted_as = None;
        let arguments = fs::read_to_string(directory.join("args.txt")).unwrap_or_default();
        let mut arguments = arguments.lines();
        while let Some(argument) = arguments.next() {
            match argument {
                "--random-seed" => options.seed = arguments.next().unwrap().parse().unwrap(),
                "--allow-crimes" => options.allow_mixed_architectures = true,
                "--unsafe-truncate-embeddings" => options.truncate_embeddings = true,
                // Where mergekit keeps merged copies.
                "--lora-merge-cache" => _ = arguments.next(),
                "--lora-merge-dtype" => {
                    assert_eq!(arguments.next(), Some("bfloat16"));
                    adapted_as = Some(DType::BF16);
                }
                other => panic!("{}: what is {other}?", directory.display()),
            }
        }
        let meta = json(&directory.join("meta.json"));
        Self { meta, directory, config, options, adapted_as }
    }

    fn name(&self) -> &str {
        self.directory.file_name().unwrap().to_str().unwrap()
    }

    fn plan(&self) -> MergePlan {
        let config = MergeConfig::parse(&self.config, &self.directory.join("config.yml")).unwrap();
        let store = ModelStore::with_adapted_as(self.adapted_as);
        MergePlan::new(&config, &store, &self.options).unwrap()
    }

    /// Whether a list of the case has an entry.
    fn lists(&self, list: &str, entry: &str) -> bool {
        self.meta[list].as_array().is_some_and(|entries| entries.iter().any(|name| name == entry))
    }

    fn tolerance(&self, key: &str) -> f64 {
        self.meta["tolerance"][key].as_f64().unwrap()
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn values(checkpoint: &dyn TensorSource, name: &str) -> Vec<f32> {
    let mut values = vec![0.0; checkpoint.tensors()[name].elements()];
    checkpoint.read_into(name, 0, &mut values).unwrap();
    values
}

/// Compares the output's tokenizer with the case's. Where both have the same tokens, returns for each
/// id of the expected one the id of the same token: new tokens of a union have ids in another order.
fn compare_tokenizers(case: &Case, out: &Path) -> Result<Option<Vec<usize>>, Vec<String>> {
    let path = case.directory.join("expected_tokenizer.json");
    if !path.exists() {
        return Ok(None);
    }
    let expected = json(&path);
    let mut found = Vec::new();
    let config = json(&out.join("tokenizer_config.json"));
    if let Some(special) = expected["special_tokens"].as_object() {
        for (name, token) in special.iter().filter(|(name, token)| config[*name] != **token) {
            found.push(format!("{name} is {} instead of {token}", config[name]));
        }
    }
    if let Some(template) = expected["chat_template"].as_str() {
        let written = fs::read_to_string(out.join("chat_template.jinja")).unwrap();
        if written.trim() != template.trim() {
            found.push(format!("chat template {written:?} instead of {template:?}"));
        }
    }
    let Some(wanted) = expected["vocab"].as_object() else {
        return if found.is_empty() { Ok(None) } else { Err(found) };
    };
    let tokenizer = TokenizerFile::read(out).unwrap();
    let vocabulary = tokenizer.vocabulary();
    // What a user of the tokenizer sees.
    let library = Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
    let fixed = case.meta["fixed_ids_below"].as_u64().unwrap_or(u64::MAX);
    let mut rows = vec![usize::MAX; wanted.len()];
    for (token, id) in wanted {
        let id = id.as_u64().unwrap();
        let own = vocabulary.get(token).copied();
        if library.token_to_id(token) != own {
            found.push(format!("the library takes {token:?} for {:?}", library.token_to_id(token)));
        }
        match own {
            None => found.push(format!("token {token:?} is missing")),
            Some(own) if id < fixed && u64::from(own) != id => {
                found.push(format!("token {token:?} is {own} instead of {id}"));
            }
            Some(own) => rows[id as usize] = own as usize,
        }
    }
    if vocabulary.len() != wanted.len() {
        found.push(format!("{} tokens instead of {}", vocabulary.len(), wanted.len()));
    }
    if found.is_empty() { Ok(Some(rows)) } else { Err(found) }
}

/// Elements that are off, and by how much at most: in multiples of the tolerance, and of the largest
/// change that the merge makes to any element of its tensor.
#[derive(Default)]
struct Outside {
    n: u32,
    tolerances: f64,
    changes: f64,
    example: String,
}

/// Merges as `case` says and describes everything that differs.
fn differences(case: &Case, engine: &Engine) -> Vec<String> {
    let plan = case.plan();
    let out = tempfile::tempdir().unwrap();
    engine.merge_to_directory(&plan, out.path(), &WriteOptions::default(), &|_| ()).unwrap();

    let (atol, rtol) = (case.tolerance("atol"), case.tolerance("rtol"));
    let merged = Checkpoint::open(out.path()).unwrap();
    let expected = Checkpoint::open_file(&case.directory.join("expected.safetensors")).unwrap();
    let mut found = Vec::new();
    let rows = match compare_tokenizers(case, out.path()) {
        Ok(rows) => rows,
        Err(differences) => {
            found.extend(differences);
            None
        }
    };
    let (mut n_elements, mut outside) = (0_u32, Outside::default());
    for name in merged.tensors().keys().filter(|name| !expected.tensors().contains_key(*name)) {
        found.push(format!("{name} should not be there"));
    }
    for (name, info) in expected.tensors() {
        if merged.tensors().get(name) != Some(info) {
            found.push(format!("{name}: {:?} instead of {info:?}", merged.tensors().get(name)));
            continue;
        }
        let (mut merged, expected) = (values(&merged, name), values(&expected, name));
        if let Some(rows) = &rows
            && case.lists("match_rows_by_token", name)
        {
            let width: usize = info.shape[1..].iter().product();
            let padding = rows.len()..info.shape[0];
            let rows = rows.iter().copied().chain(padding);
            merged = rows.flat_map(|row| &merged[row * width..][..width]).copied().collect();
        }
        let base = plan.base().filter(|base| base.checkpoint.tensors().contains_key(name));
        let change = base.map(|base| {
            let base = values(&*base.checkpoint, name);
            let changes = base.iter().zip(&expected).map(|(base, value)| (base - value).abs());
            f64::from(changes.fold(0.0, f32::max))
        });
        for (merged, expected) in merged.into_iter().zip(expected) {
            let error = f64::from(merged - expected).abs();
            let tolerance = atol + rtol * f64::from(expected.abs());
            n_elements += 1;
            if error.is_nan() || error > tolerance {
                outside.n += 1;
                outside.tolerances = outside.tolerances.max(error / tolerance);
                outside.changes = outside.changes.max(change.map_or(f64::INFINITY, |c| error / c));
                outside.example = format!("{name} has {merged} instead of {expected}");
            }
        }
    }
    if f64::from(outside.n) > case.tolerance("max_mismatch_frac") * f64::from(n_elements) {
        found.push(format!("{} elements are off; {}", outside.n, outside.example));
    }
    // A rounding that goes the other way twice, or an element that is kept or dropped by mistake: no
    // farther from the base than the farthest that the reference has.
    if outside.tolerances > 4.0 && outside.changes > 2.0 {
        let Outside { tolerances, changes, example, .. } = &outside;
        found.push(format!("off by {tolerances} tolerances, {changes} changes: {example}"));
    }
    let config = json(&out.path().join("config.json"));
    let expected = json(&case.directory.join("expected_config.json"));
    for key in case.meta["config_keys"].as_array().unwrap().iter().filter_map(Value::as_str) {
        // Versions of transformers differ in what they call the element type.
        let get = |config: &Value| match key {
            "dtype" if config.get(key).is_none() => config["torch_dtype"].clone(),
            key => config[key].clone(),
        };
        if get(&config) != get(&expected) {
            let (merged, expected) = (get(&config), get(&expected));
            found.push(format!("config.json: {key} is {merged} instead of {expected}"));
        }
    }
    found
}

#[test]
fn merges_equal_those_of_the_python_implementation() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let cases = Case::all("tensors");
    let mut failures = Vec::new();
    for case in &cases {
        for difference in differences(case, &engine) {
            failures.push(format!("{}: {difference}", case.name()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for method in METHODS {
        let line = format!("merge_method: {}\n", method.name);
        let is_random = Case::all("stat").iter().any(|case| case.config.contains(&line));
        assert!(is_random || cases.iter().any(|case| case.config.contains(&line)), "{line}");
    }
}

/// What the statistics of `case` say against the merges of many seeds.
///
/// With as many seeds as here, limits are about twice as far away as a sound sampler comes.
fn statistical_differences(case: &Case, engine: &Engine) -> Vec<String> {
    const SEEDS: u64 = 64;
    let spec = &case.meta["stat"];
    let (tensor, n_reference) = (spec["tensor"].as_str().unwrap(), spec["n"].as_f64().unwrap());
    let expected =
        Checkpoint::open_file(&case.directory.join("expected_stat.safetensors")).unwrap();
    let widened = |name: String| values(&expected, &name).into_iter().map(f64::from);
    let means: Vec<f64> = widened(format!("{tensor}.mean")).collect();
    let variances: Vec<f64> = widened(format!("{tensor}.var")).collect();

    let config = MergeConfig::parse(&case.config, &case.directory.join("config.yml")).unwrap();
    let store = ModelStore::new();
    let (mut sums, mut squares) = (vec![0.0; means.len()], vec![0.0; means.len()]);
    for seed in 0..SEEDS {
        let options = PlanOptions { seed: 1000 + seed, ..Default::default() };
        let plan = MergePlan::new(&config, &store, &options).unwrap();
        let merged = engine.merge_to_memory(&plan).unwrap();
        let merged: Vec<f32> = merged[tensor].flatten_all().unwrap().to_vec1().unwrap();
        for (index, value) in merged.into_iter().enumerate() {
            // Around the expected mean, which loses no digits.
            let value = f64::from(value) - means[index];
            sums[index] += value;
            squares[index] += value * value;
        }
    }
    let n = SEEDS as f64;
    let scatter = 1.0 / n + 1.0 / n_reference;
    let (mut n_live, mut dead) = (0.0, 0_f64);
    let (mut z_sum, mut z_squares) = (0.0, 0.0);
    let (mut variance, mut expected_variance, mut variance_squares) = (0.0, 0.0, 0.0);
    for index in 0..means.len() {
        let mean = sums[index] / n;
        if variances[index] <= 1e-14 {
            dead = dead.max(mean.abs());
            continue;
        }
        let z = mean / (variances[index] * scatter).sqrt();
        let sample = (squares[index] - n * mean * mean) / (n - 1.0);
        n_live += 1.0;
        z_sum += z;
        z_squares += z * z;
        variance += sample;
        expected_variance += variances[index];
        variance_squares += (sample / variances[index] - 1.0).powi(2);
    }
    assert!(n_live > 0.0, "nothing varies");
    let limits = [
        ("elements that never vary are off by", dead, 0.0..=1e-5),
        ("mean square z-score of the mean", z_squares / n_live, 0.88..=1.12),
        ("systematic offset of the mean", z_sum.abs() / n_live.sqrt(), 0.0..=5.0),
        ("variance to the reference's", variance / expected_variance, 0.9..=1.1),
        ("scatter of variances", variance_squares / n_live / scatter, 0.0..=4.0),
    ];
    let beyond = limits.into_iter().filter(|(_, value, range)| !range.contains(value));
    beyond.map(|(what, value, range)| format!("{what}: {value}, outside {range:?}")).collect()
}

#[test]
fn random_methods_have_the_mean_and_variance_of_the_python_implementation() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let cases = Case::all("stat");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let found = statistical_differences(&case, &engine);
        assert!(found.is_empty(), "{}: {}", case.name(), found.join("; "));
    }
}

/// The message with which `case` is refused, and whether it is the user's to change something.
fn refusal(case: &Case, engine: &Engine) -> Option<(String, bool)> {
    let config = match ConfigFile::parse(&case.config, Path::new("config.yml")) {
        Ok(file) => file.config,
        Err(error) => return Some((error.to_string(), error.is_users_mistake())),
    };
    let plan = match MergePlan::new(&config, &ModelStore::new(), &case.options) {
        Ok(plan) => plan,
        Err(error) => return Some((error.to_string(), error.is_users_mistake())),
    };
    let error = engine.merge_to_memory(&plan).err()?;
    Some((error.to_string(), error.is_users_mistake()))
}

#[test]
fn what_the_python_implementation_refuses_is_refused() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let cases = Case::all("error");
    assert!(cases.len() > 40);
    for case in cases {
        let Some((message, is_users_mistake)) = refusal(&case, &engine) else {
            panic!("{} is accepted", case.name());
        };
        assert!(!message.is_empty() && is_users_mistake, "{}: {message}", case.name());
        assert!(!message.contains("not available"), "{}: {message}", case.name());
    }
}

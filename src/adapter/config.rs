//! `adapter_config.json`: which rank and scale each module has, and which variant of LoRA it is.

use std::path::{Path, PathBuf};
use std::{fs, io};

use fancy_regex::{Regex, RegexBuilder};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::AdapterError;

/// The file that makes a directory an adapter.
pub(crate) const CONFIG_FILE: &str = "adapter_config.json";

/// Steps back that matching a pattern against one name may take, a thousand times what sensible ones do.
const MOST_STEPS_BACK: usize = 100_000;

/// What peft takes for a rank or an alpha that is not given.
const DEFAULT_RANK: usize = 8;

/// What the config of a LoRA adapter says about its modules.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    path: PathBuf,
    rank: usize,
    alpha: f64,
    /// Ranks of modules that the pattern matches, the first one first.
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    /// Rank-stabilised: divides by the square root of the rank.
    use_rslora: bool,
    /// Decomposes weights into directions and magnitudes.
    pub(super) use_dora: bool,
    /// Whether weights are stored as `[in, out]`.
    pub(super) fan_in_fan_out: bool,
    /// The model that it was trained on.
    pub(super) trained_on: Option<String>,
}

#[derive(Deserialize)]
struct Fields {
    peft_type: Option<String>,
    base_model_name_or_path: Option<String>,
    r: Option<usize>,
    lora_alpha: Option<f64>,
    rank_pattern: Option<IndexMap<String, usize>>,
    alpha_pattern: Option<IndexMap<String, f64>>,
    use_rslora: Option<bool>,
    use_dora: Option<bool>,
    fan_in_fan_out: Option<bool>,
    init_lora_weights: Option<Value>,
    #[serde(flatten)]
    others: IndexMap<String, Value>,
}

/// Fields of variants that are no sum of a base and a product.
const VARIANTS: [&str; 9] = [
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
];

/// Ways to begin a training that change the base as well, so that the adapter alone is not enough.
const CHANGE_THE_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

impl AdapterConfig {
    /// Reads the config in `directory`.
    pub(super) fn load(directory: &Path) -> Result<Self, AdapterError> {
        let path = directory.join(CONFIG_FILE);
        // A pipe without a writer would be waited for without end.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(AdapterError::NotAFile { path });
        }
        match fs::read(&path) {
            Ok(text) => Self::parse(&text, path),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let path = directory.to_owned();
                Err(match directory.is_dir() {
                    true => AdapterError::NoConfig { path },
                    false => AdapterError::NoDirectory { path },
                })
            }
            Err(source) => Err(AdapterError::Read { path, source }),
        }
    }

    /// Reads the text of a config; `path` is its file in messages.
    pub(super) fn parse(text: &[u8], path: PathBuf) -> Result<Self, AdapterError> {
        let fields: Fields = match serde_json::from_slice(text) {
            Ok(fields) => fields,
            Err(source) => return Err(AdapterError::Syntax { path, source }),
        };
        let kind = fields.peft_type.as_deref().unwrap_or("LORA");
        if kind != "LORA" {
            return Err(AdapterError::NotLora { path, found: kind.to_owned() });
        }
        for field in VARIANTS {
            if let Some(value) = fields.others.get(field).filter(|value| is_set(value)) {
                return Err(AdapterError::Variant { path, field, value: value.to_string() });
            }
        }
        let beginning = fields.init_lora_weights.as_ref().and_then(Value::as_str);
        if let Some(beginning) = beginning
            && CHANGE_THE_BASE.iter().any(|kind| beginning.to_lowercase().starts_with(kind))
        {
            let value = format!("`{beginning}`");
            return Err(AdapterError::Variant { path, field: "init_lora_weights", value });
        }
        Ok(Self {
            rank: fields.r.unwrap_or(DEFAULT_RANK),
            alpha: fields.lora_alpha.unwrap_or(DEFAULT_RANK as f64),
            ranks: patterns(fields.rank_pattern, "rank_pattern", &path)?,
            alphas: patterns(fields.alpha_pattern, "alpha_pattern", &path)?,
            use_rslora: fields.use_rslora.unwrap_or(false),
            use_dora: fields.use_dora.unwrap_or(false),
            fan_in_fan_out: fields.fan_in_fan_out.unwrap_or(false),
            path,
            trained_on: fields.base_model_name_or_path.filter(|name| !name.is_empty()),
        })
    }

    /// The rank of `module`, such as `model.layers.0.mlp.up_proj`.
    pub(super) fn rank(&self, module: &str) -> Result<usize, AdapterError> {
        Ok(self.first_match(&self.ranks, module)?.unwrap_or(self.rank))
    }

    /// What the product of `module` is multiplied with.
    pub(super) fn scale(&self, module: &str) -> Result<f32, AdapterError> {
        let alpha = self.first_match(&self.alphas, module)?.unwrap_or(self.alpha);
        let scale = match (self.rank(module)?, self.use_rslora) {
            (0, _) => 0.0,
            (rank, false) => alpha / rank as f64,
            (rank, true) => alpha / (rank as f64).sqrt(),
        };
        Ok(scale as f32)
    }

    fn first_match<T: Copy>(
        &self,
        patterns: &[(Regex, T)],
        module: &str,
    ) -> Result<Option<T>, AdapterError> {
        for (regex, value) in patterns {
            match regex.is_match(module) {
                Ok(true) => return Ok(Some(*value)),
                Ok(false) => {}
                Err(_) => {
                    let (path, pattern) = (self.path.clone(), regex.as_str().to_owned());
                    let module = module.to_owned();
                    return Err(AdapterError::SlowPattern { path, pattern, module });
                }
            }
        }
        Ok(None)
    }
}

/// Whether a field asks for something.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Keys match the end of a module's name, from a dot on.
fn patterns<T>(
    written: Option<IndexMap<String, T>>,
    field: &'static str,
    path: &Path,
) -> Result<Vec<(Regex, T)>, AdapterError> {
    let compile = |(pattern, value): (String, T)| {
        let whole = format!(r"^(?:.*\.)?(?:{pattern})$");
        match RegexBuilder::new(&whole).backtrack_limit(MOST_STEPS_BACK).build() {
            Ok(regex) => Ok((regex, value)),
            Err(source) => {
                let (path, source) = (path.to_owned(), Box::new(source));
                Err(AdapterError::Pattern { path, field, pattern, source })
            }
        }
    };
    written.unwrap_or_default().into_iter().map(compile).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: Value) -> Result<AdapterConfig, AdapterError> {
        AdapterConfig::parse(config.to_string().as_bytes(), "adapter_config.json".into())
    }

    #[test]
    fn scale_is_alpha_by_rank_or_by_its_square_root() {
        let config = json!({"peft_type": "LORA", "r": 16, "lora_alpha": 8});
        assert_eq!(parse(config).unwrap().scale("q_proj").unwrap(), 0.5);
        let config = json!({"r": 16, "lora_alpha": 8, "use_rslora": true});
        assert_eq!(parse(config).unwrap().scale("q_proj").unwrap(), 2.0);
        assert_eq!(parse(json!({})).unwrap().scale("q_proj").unwrap(), 1.0);
        assert_eq!(parse(json!({"r": 0})).unwrap().scale("q_proj").unwrap(), 0.0);
    }

    #[test]
    fn patterns_match_the_end_of_a_name_and_the_first_one_counts() {
        let config = parse(json!({
            "r": 8,
            "lora_alpha": 16,
            "rank_pattern": {"layers.1.self_attn.o_proj": 2, r"layers\.\d+\..*_proj": 4, "^lm_head": 3},
            "alpha_pattern": {"o_proj": 1},
        }))
        .unwrap();
        assert_eq!(config.rank("model.layers.1.self_attn.o_proj").unwrap(), 2);
        assert_eq!(config.rank("model.layers.11.self_attn.o_proj").unwrap(), 4);
        assert_eq!(config.rank("model.mylayers.1.self_attn.o_proj").unwrap(), 8);
        assert_eq!(config.rank("lm_head").unwrap(), 3);
        assert_eq!(config.rank("model.lm_head").unwrap(), 8);
        assert_eq!(config.scale("model.layers.1.self_attn.o_proj").unwrap(), 0.5);
        assert_eq!(config.scale("lm_head").unwrap(), 16.0 / 3.0);
        assert_eq!(config.scale("model.layers.1.mlp.xo_proj").unwrap(), 4.0);
    }

    #[test]
    fn other_adapters_are_refused_by_name() {
        let refused = |config: Value| {
            let error = parse(config).unwrap_err();
            assert!(error.is_users_mistake() && error.hint().is_some());
            error.to_string()
        };
        assert_eq!(
            refused(json!({"peft_type": "IA3"})),
            "`adapter_config.json` is a IA3 adapter; only LORA adapters can be merged in"
        );
        assert_eq!(
            refused(json!({"init_lora_weights": "pissa_niter_16"})),
            "`adapter_config.json`: adapters with `init_lora_weights` of `pissa_niter_16` cannot be \
             merged in"
        );
        assert_eq!(
            refused(json!({"layer_replication": [[0, 4], [2, 5]]})),
            "`adapter_config.json`: adapters with `layer_replication` of [[0,4],[2,5]] cannot be \
             merged in"
        );
        for harmless in [json!({"init_lora_weights": "gaussian"}), json!({"use_qalora": false})] {
            assert!(parse(harmless).is_ok());
        }
    }

    #[test]
    fn malformed_configs_are_described() {
        let error = AdapterConfig::parse(b"[]", "adapter_config.json".into()).unwrap_err();
        assert_eq!(error.to_string(), "`adapter_config.json` is not the config of an adapter");
        let error = parse(json!({"rank_pattern": {"(": 4}})).unwrap_err();
        let expected = "`adapter_config.json`: `(` in `rank_pattern` is not a regular expression";
        assert_eq!(error.to_string(), expected);
        let slow = parse(json!({"alpha_pattern": {"(a|b|ab)*(?=c)": 1}})).unwrap();
        let module = "ab".repeat(40);
        let error = slow.scale(&module).unwrap_err();
        let expected = format!(
            "`adapter_config.json`: pattern `^(?:.*\\.)?(?:(a|b|ab)*(?=c))$` cannot be matched against \
             `{module}`"
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some() && error.is_users_mistake());
    }
}

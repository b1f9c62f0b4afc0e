//! A definition for models that have none: what the names of their tensors tell.
//!
//! The first number between dots is a layer's index. What is before it names a stack of layers, and
//! every stack is a module of its own unless there is only one. A tensor is optional unless every
//! model has it, in every layer or in every layer of a [kind](kinds). Nothing that any of the models
//! has is left out.

mod kinds;

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::{
    ArchitectureDefinition, LayerCount, MOST_PLACES, ModelConfig, Module, NameTemplate,
    TensorTemplate,
};
use crate::checkpoint::{TensorInfo, TensorSource};
use kinds::{Presence, kinds_of_layers};

/// Last parts of the names of input embeddings, before `.weight`.
const INPUT_EMBEDDINGS: [&str; 7] = [
    "embed_tokens",
    "wte",
    "word_embeddings",
    "tok_embeddings",
    "embed_in",
    "token_embedding",
    "embeddings",
];

/// Last parts of the names of what turns hidden states into tokens or other results, before `.weight`
/// or `.bias`.
const HEADS: [&str; 6] = ["lm_head", "embed_out", "output", "output_layer", "proj_out", "head"];

/// Parts of the names of what comes before the layers: embeddings of tokens, positions and patches.
const BEFORE_LAYERS: [&str; 4] = ["emb", "wte", "wpe", "patch"];

/// Where configs have the size of the vocabulary.
const VOCABULARY_SIZE_KEYS: [&str; 3] =
    ["vocab_size", "text_config.vocab_size", "llm_config.vocab_size"];

/// What configs call a number of layers.
const LAYER_COUNT_KEYS: [&str; 8] = [
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "decoder_layers",
    "encoder_layers",
    "num_decoder_layers",
    "depth",
];

/// What models that take more than text have beside their weights.
pub(super) const SIDE_FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// Objects in a config that describe a part of the model; the empty path is the config itself.
const PARTS: [&str; 6] =
    ["", "text_config", "llm_config", "vision_config", "audio_config", "encoder"];

/// The definition that fits all of `models`, whose class is `class`.
///
/// Names that only some of the models have are optional. Token embeddings and heads are known by
/// their usual names and by having as many rows as the config's vocabulary has tokens; where only some
/// models have a head, the others are read as if it were tied to the only token embeddings. The number
/// of layers comes from the config key that agrees with the names in every model, or else from the
/// names.
pub fn infer_definition(
    class: &str,
    models: &[(&ModelConfig, &dyn TensorSource)],
) -> ArchitectureDefinition {
    let names = Names::of(models);
    let mut modules = IndexMap::new();
    let mut keys = names.layer_count_keys(models);
    let mut loose = Module {
        layer_count: LayerCount::Fixed(0),
        pre: Vec::new(),
        layer: Vec::new(),
        layer_variants: IndexMap::new(),
        post: Vec::new(),
    };
    for name in &names.loose {
        let tensor = names.loose_template(name, models);
        if is_before_layers(name) { loose.pre.push(tensor) } else { loose.post.push(tensor) }
    }
    let is_single = names.stacks.len() == 1;
    for (prefix, rests) in &names.stacks {
        let layer_count = match keys.remove(prefix) {
            Some(key) => LayerCount::Keys(vec![key]),
            None => LayerCount::Stored,
        };
        let layer = names.layer_templates(prefix, rests, models);
        if is_single {
            loose.layer_count = layer_count;
            loose.layer = layer;
        } else {
            let (pre, post, layer_variants) = (Vec::new(), Vec::new(), IndexMap::new());
            let module = Module { layer_count, pre, layer, layer_variants, post };
            modules.insert(module_name(prefix), module);
        }
    }
    if loose.templates().next().is_some() {
        modules.insert("default".to_owned(), loose);
    }
    let first = models.first().map(|(config, _)| *config);
    let model_type = first.and_then(|config| config.get("model_type")).and_then(Value::as_str);
    ArchitectureDefinition {
        name: class.to_owned(),
        model_type: model_type.unwrap_or_default().to_owned(),
        architectures: vec![class.to_owned()],
        modules,
        vocabulary_size_keys: VOCABULARY_SIZE_KEYS.map(str::to_owned).to_vec(),
        expert_count_keys: Vec::new(),
        side_files: SIDE_FILES.map(str::to_owned).to_vec(),
        is_inferred: true,
    }
}

/// What is before the layer's index, without its dot. A stack cannot have the name of all that is
/// outside of layers.
fn module_name(prefix: &str) -> String {
    match prefix.strip_suffix('.').unwrap_or(prefix) {
        "default" => "default.layers".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether a tensor outside of layers comes before them, as far as its name tells.
pub(crate) fn is_before_layers(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    BEFORE_LAYERS.iter().any(|word| lower.contains(word)) && !ends_with_one_of(name, &HEADS)
}

/// The names of several models, in the order in which they come first.
struct Names {
    /// Outside of layers.
    loose: IndexSet<String>,
    /// By what is before the layer's index, dot included: all that follows it, dot included.
    stacks: IndexMap<String, IndexSet<String>>,
    /// For each model, the layers of each stack.
    n_layers: Vec<HashMap<String, usize>>,
}

impl Names {
    fn of(models: &[(&ModelConfig, &dyn TensorSource)]) -> Self {
        let mut n_layers: Vec<HashMap<String, usize>> = Vec::new();
        let mut no_stacks = HashSet::new();
        for (_, source) in models {
            let mut found: HashMap<&str, (usize, HashSet<&str>)> = HashMap::new();
            for (prefix, layer, rest) in source.tensors().keys().filter_map(|name| split(name)) {
                let (count, rests) = found.entry(prefix).or_default();
                *count = (*count).max(layer.saturating_add(1));
                rests.insert(rest);
            }
            let most = source.tensors().len().saturating_mul(MOST_PLACES);
            n_layers.push(found.iter().map(|(&prefix, &(n, _))| (prefix.to_owned(), n)).collect());
            let is_stack = |n: usize, rests: usize| n.saturating_mul(rests) <= most;
            let others = found.into_iter().filter(|(_, (n, rests))| !is_stack(*n, rests.len()));
            no_stacks.extend(others.map(|(prefix, _)| prefix.to_owned()));
        }
        let (mut loose, mut stacks) = (IndexSet::new(), IndexMap::<_, IndexSet<String>>::new());
        for name in models.iter().flat_map(|(_, source)| source.tensors().keys()) {
            match split(name) {
                Some((prefix, _, rest)) if !no_stacks.contains(prefix) => {
                    stacks.entry(prefix.to_owned()).or_default().insert(rest.to_owned());
                }
                _ => {
                    loose.insert(name.clone());
                }
            }
        }
        Self { loose, stacks, n_layers }
    }

    /// The config key of each stack's layer count, the larger stacks first to choose.
    fn layer_count_keys(
        &self,
        models: &[(&ModelConfig, &dyn TensorSource)],
    ) -> HashMap<String, String> {
        let mut stacks: Vec<_> = self.stacks.iter().collect();
        stacks.sort_by_key(|(_, rests)| std::cmp::Reverse(rests.len()));
        let mut chosen = HashMap::new();
        let mut taken = HashSet::new();
        for (prefix, _) in stacks {
            let agrees = |key: &str| {
                models.iter().zip(&self.n_layers).all(|((config, _), n_layers)| {
                    let said = config.get(key).and_then(Value::as_u64);
                    said.is_some() && said == n_layers.get(prefix).map(|&count| count as u64)
                })
            };
            let key =
                likely_keys(prefix).into_iter().find(|key| agrees(key) && !taken.contains(key));
            if let Some(key) = key {
                taken.insert(key.clone());
                chosen.insert(prefix.clone(), key);
            }
        }
        chosen
    }

    fn layer_templates(
        &self,
        prefix: &str,
        rests: &IndexSet<String>,
        models: &[(&ModelConfig, &dyn TensorSource)],
    ) -> Vec<TensorTemplate> {
        let n_layers: Vec<usize> =
            self.n_layers.iter().map(|found| found.get(prefix).copied().unwrap_or(0)).collect();
        let presence = |rest: &str| -> Presence {
            let models = models.iter().zip(&n_layers);
            let layers = models.flat_map(|((_, source), &n_layers)| {
                (0..n_layers).map(move |layer| {
                    source.tensors().contains_key(&format!("{prefix}{layer}{rest}"))
                })
            });
            layers.collect()
        };
        let is_in_all_models = !n_layers.contains(&0);
        let mut partial: IndexMap<&str, Presence> =
            rests.iter().map(|rest| (rest.as_str(), presence(rest))).collect();
        partial.retain(|_, presence| !is_in_all_models || presence.contains(&false));
        let kinds = kinds_of_layers(&partial, &n_layers);
        let template = |rest: &String| {
            let kind = kinds.get(rest.as_str()).cloned();
            TensorTemplate {
                optional: kind.is_none() && partial.contains_key(rest.as_str()),
                kind,
                ..TensorTemplate::named(NameTemplate::of_layer(prefix, rest))
            }
        };
        rests.iter().map(template).collect()
    }

    fn loose_template(
        &self,
        name: &str,
        models: &[(&ModelConfig, &dyn TensorSource)],
    ) -> TensorTemplate {
        let infos = || {
            models.iter().filter_map(|(config, source)| Some((config, source.tensors().get(name)?)))
        };
        let mut tied = Vec::new();
        if is_head(name)
            && let Some((_, head)) = infos().next()
            && let Some(embedding) = self.only_embedding(head, models)
        {
            tied.push(NameTemplate::literal(embedding));
        }
        let is_vocabulary = infos().all(|(config, info)| is_vocabulary(name, config, info));
        TensorTemplate {
            optional: infos().count() < models.len(),
            tied,
            vocabulary_axis: is_vocabulary.then_some(0),
            ..TensorTemplate::named(NameTemplate::literal(name))
        }
    }

    /// The only token embeddings, when they have the width of `head`.
    fn only_embedding(
        &self,
        head: &TensorInfo,
        models: &[(&ModelConfig, &dyn TensorSource)],
    ) -> Option<&str> {
        let mut embeddings = self.loose.iter().filter(|name| is_input_embedding(name));
        let (embedding, None) = (embeddings.next()?, embeddings.next()) else { return None };
        let info = models.iter().find_map(|(_, source)| source.tensors().get(embedding))?;
        (info.shape.len() == 2 && info.shape.get(1) == head.shape.get(1)).then_some(embedding)
    }
}

/// A name as what is before the first number between dots, the number, and what follows.
fn split(name: &str) -> Option<(&str, usize, &str)> {
    let mut start = name.find('.')? + 1;
    loop {
        let length = name[start..].find('.')?;
        let part = &name[start..start + length];
        let is_plain = part == "0" || !part.starts_with('0');
        if is_plain
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(layer) = part.parse()
        {
            return Some((&name[..start], layer, &name[start + length..]));
        }
        start += length + 1;
    }
}

/// Config keys that may have the number of layers of a stack, the likeliest first.
fn likely_keys(prefix: &str) -> Vec<String> {
    let has = |word: &str| prefix.contains(word);
    let part_first = |part: &str| match part {
        "vision_config" => has("vis") || has("image"),
        "audio_config" => has("audio"),
        "text_config" | "llm_config" => has("text") || has("language"),
        _ => false,
    };
    let key_first = |key: &str| {
        (has("decoder") && key.contains("decoder")) || (has("encoder") && key.contains("encoder"))
    };
    let mut parts = PARTS;
    parts.sort_by_key(|part| !part_first(part));
    let mut keys = LAYER_COUNT_KEYS;
    keys.sort_by_key(|key| !key_first(key));
    let join = |part: &str, key: &str| match part {
        "" => key.to_owned(),
        part => format!("{part}.{key}"),
    };
    parts.iter().flat_map(|part| keys.iter().map(|key| join(part, key))).collect()
}

/// Whether a tensor outside of layers has a row for each token: a telling name and at least as many rows
/// as there are tokens, since classes other than tokens have heads too; or else as many rows as tokens,
/// unless it is a norm or numbers positions.
pub(super) fn is_vocabulary(name: &str, config: &ModelConfig, info: &TensorInfo) -> bool {
    let size = VOCABULARY_SIZE_KEYS.iter().find_map(|key| config.get(key)?.as_u64());
    let is_named = is_input_embedding(name) || is_head(name);
    let (Some(size), Some(&rows)) = (size, info.shape.first()) else {
        return is_named && !info.shape.is_empty();
    };
    let is_other = ["norm", "ln_", "position", "wpe"].iter().any(|word| name.contains(word));
    if is_named { rows as u64 >= size } else { rows as u64 == size && !is_other }
}

fn is_input_embedding(name: &str) -> bool {
    name.ends_with(".weight") && ends_with_one_of(name, &INPUT_EMBEDDINGS)
}

fn is_head(name: &str) -> bool {
    ends_with_one_of(name, &HEADS)
}

/// Whether the last part of a name before `weight` or `bias` is one of `words`.
fn ends_with_one_of(name: &str, words: &[&str]) -> bool {
    let stem = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias"));
    stem.is_some_and(|stem| words.contains(&stem.rsplit('.').next().unwrap_or(stem)))
}

#[cfg(test)]
mod tests;

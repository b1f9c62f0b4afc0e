//! What results say of the run as a whole.

use serde_json::{Map, Value, json};

use super::{Arguments, DEFAULT_SEEDS};
use crate::cli::model::PreparedModel;
use crate::evaluate::{Limit, TaskOptions, Tokenizer, TokenizerSource, sha256};
use crate::files::file_name_of;

/// What the harness notes as `config`: the model and how it was run.
pub(super) fn run_config(arguments: &Arguments, parameters: u64) -> Value {
    let mut model_args = Map::new();
    let mut note = |name: &str, value: Value| model_args.insert(name.to_owned(), value);
    note("pretrained", json!(arguments.model.model.display().to_string()));
    if let Some(tokenizer) = &arguments.model.tokenizer {
        note("tokenizer", json!(tokenizer.display().to_string()));
    }
    if let Some(adds_bos) = arguments.model.add_bos_token {
        note("add_bos_token", json!(adds_bos));
    }
    if let Some(max_length) = arguments.model.max_length {
        note("max_length", json!(max_length.get()));
    }
    let seeds = arguments.seeds().unwrap_or(DEFAULT_SEEDS);
    json!({
        "model": "mergekit",
        "model_args": model_args,
        "model_num_parameters": parameters,
        "model_dtype": arguments.model.dtype,
        "batch_size": arguments.batch_size,
        "device": arguments.model.device.to_string(),
        "limit": match arguments.limit {
            None => Value::Null,
            Some(Limit::Items(items)) => json!(items as f64),
            Some(Limit::Share(share)) => json!(share),
        },
        "bootstrap_iters": arguments.bootstrap_iters,
        "gen_kwargs": Value::Null,
        "random_seed": seeds[0],
        "numpy_seed": seeds[1],
        "torch_seed": seeds[2],
        "fewshot_seed": seeds[3],
    })
}

/// What the harness notes of tokenizer and prompts.
pub(super) fn description(
    arguments: &Arguments,
    model: &PreparedModel,
    options: &TaskOptions,
) -> Map<String, Value> {
    let name = arguments.model.model.display().to_string();
    let sanitized = file_name_of(&name);
    let instruction = arguments.prompting.system_instruction.as_deref();
    let template = options.chat.as_ref().map(|chat| chat.template.text());
    // Models without one can be judged by commands.
    let tokenizer = model.tokenizer.tokenizer().ok();
    let [bos, eos] = [Tokenizer::bos, Tokenizer::eos].map(|of| tokenizer.and_then(of));
    let fields = json!({
        "tokenizer_bos_token": token(bos),
        "tokenizer_eos_token": token(eos),
        "eot_token_id": eos.map(|(_, id)| id),
        "model_source": "mergekit",
        "model_name": name,
        "model_name_sanitized": sanitized,
        "system_instruction": instruction,
        "system_instruction_sha": instruction.map(sha256),
        "fewshot_as_multiturn": options.chat.as_ref().map(|chat| chat.multiturn),
        "chat_template": template,
        "chat_template_sha": template.map(sha256),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("the macro is given an object"),
    }
}

/// Text and id of a token, both as text.
fn token(token: Option<(&str, u32)>) -> Value {
    token.map_or(Value::Null, |(text, id)| json!([text, id.to_string()]))
}

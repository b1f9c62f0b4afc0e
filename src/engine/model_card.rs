//! The model card: a `README.md` that says what a merged model was made of.

use std::fmt::Write;

use crate::plan::MergePlan;

/// The card of a merged model. `config_text` is the merge config's text. Where the model lies does not
/// show, so that the same merge gives the same card everywhere.
pub(super) fn model_card(plan: &MergePlan, config_text: &str) -> String {
    let mut card = "---\nlibrary_name: transformers\ntags:\n- mergekit\n- merge\n---\n".to_owned();
    let mut line = |text: &str| {
        writeln!(card, "{text}").expect("writing to a string does not fail");
    };
    line("# Merged model\n");
    line("This language model was not trained but merged from others, with mergekit.\n");
    line("## How it was made\n");
    let method = plan.method();
    line(&format!("Merge method: [{}]({}).\n", method.name, method.reference));
    if let Some(base) = plan.base() {
        line(&format!("Base model: {}\n", quote(&base.label())));
    }
    line("Merged models:\n");
    let base = plan.base().map(|base| base.id());
    for model in plan.models().iter().filter(|model| Some(model.id()) != base) {
        line(&format!("* {}", quote(&model.label())));
    }
    line("\n## Merge config\n");
    line("`mergekit merge` makes the same model again from this file, which is also kept as");
    line("`mergekit_config.yml`:\n");
    let fence = fence(config_text);
    line(&format!("{fence}yaml\n{}\n{fence}", config_text.trim_end()));
    card
}

/// A name as inline code.
fn quote(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// A code fence that does not occur in `text`.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

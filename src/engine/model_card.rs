//! The model card: a `README.md` that says what a merged model was made of.

use std::fmt::Write;

use crate::plan::{InputModel, MergePlan};

/// The card of a merged model. `config_text` is the merge config's text. Where the output lies does not
/// show, so that the same merge gives the same card everywhere.
pub(super) fn model_card(plan: &MergePlan, config_text: &str) -> String {
    let mut card = String::new();
    let mut line = |text: &str| {
        writeln!(card, "{text}").expect("writing to a string does not fail");
    };
    line(&front_matter(&hub_ids(plan.models().iter().flat_map(|model| paths(model)))));
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

/// What the Hub reads of a card, as YAML between two rules: the models that it came from, and its tags.
/// <https://huggingface.co/docs/hub/model-cards>
fn front_matter(base_models: &[&str]) -> String {
    let mut matter = "---\n".to_owned();
    if !base_models.is_empty() {
        matter += "base_model:\n";
        for id in base_models {
            // A name without owner could read as a number or a truth value.
            let id = if id.contains('/') { (*id).to_owned() } else { format!("\"{id}\"") };
            matter += &format!("- {id}\n");
        }
        matter += "base_model_relation: merge\n";
    }
    matter + "library_name: transformers\ntags:\n- mergekit\n- merge\n---"
}

/// The paths of a model and its adapter, and whether they came from the Hub.
fn paths(model: &InputModel) -> impl Iterator<Item = (&str, bool)> {
    let paths = std::iter::once(&model.reference.model).chain(&model.reference.lora);
    let snapshots = [&model.snapshot, &model.adapter_snapshot];
    paths.zip(snapshots).map(|(path, snapshot)| (path.path.as_str(), snapshot.is_some()))
}

/// What came from the Hub, each once. A local directory is none of its models, even if its path looks like
/// one: the Hub would show a link to whatever has that name.
fn hub_ids<'p>(paths: impl Iterator<Item = (&'p str, bool)>) -> Vec<&'p str> {
    let mut ids: Vec<&str> = Vec::new();
    for (path, is_of_hub) in paths {
        if is_of_hub && !ids.contains(&path) {
            ids.push(path);
        }
    }
    ids
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_of_the_hub_are_base_models() {
        let paths =
            [("models/base", false), ("owner/one", true), ("owner/one", true), ("gpt2", true)];
        let ids = hub_ids(paths.into_iter());
        assert_eq!(ids, ["owner/one", "gpt2"]);
        let expected = "---\nbase_model:\n- owner/one\n- \"gpt2\"\nbase_model_relation: merge\n\
            library_name: transformers\ntags:\n- mergekit\n- merge\n---";
        assert_eq!(front_matter(&ids), expected);
        assert!(front_matter(&[]).starts_with("---\nlibrary_name: transformers\n"));
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_text() {
        assert_eq!(fence("no fence"), "```");
        assert_eq!(fence("a ```` b"), "`````");
    }
}

//! How tasks are asked: examples, conversations, what the model is told first.

use clap::{ArgAction, Args};

/// Options of every command that makes prompts.
#[derive(Debug, Args)]
pub(super) struct Prompting {
    /// Examples in front of each document, in place of the task's own number unless that is 0
    #[arg(short = 'f', long, value_name = "N", alias = "num_fewshot")]
    pub(super) num_fewshot: Option<usize>,

    /// Ask in conversations, as the model's chat template frames them
    #[arg(long, alias = "apply_chat_template")]
    pub(super) apply_chat_template: bool,

    /// Whether examples are turns of the conversation, or text in front of the question
    #[arg(
        long,
        alias = "fewshot_as_multiturn",
        value_name = "BOOL",
        requires = "apply_chat_template"
    )]
    #[arg(default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub(super) fewshot_as_multiturn: bool,

    /// What the model is told before everything else
    #[arg(long, value_name = "TEXT", alias = "system_instruction")]
    pub(super) system_instruction: Option<String>,
}

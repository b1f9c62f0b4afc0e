//! `mergekit tasks show`: a task's fields, and what it asks a model about one item.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::Failure;
use crate::cli::prompting::Prompting;
use crate::cli::task_files::TaskFiles;
use crate::cli::terminal::print;
use crate::evaluate::{
    ChatOptions, ChatTemplate, EvaluatorKinds, Limit, RequestRecord, SelectedTask, TaskOptions,
    TokenPair, Tokenizer,
};
use crate::report::{
    RequestTokens, ShownItem, ShownTask, count, selection_json, selection_text, task_json,
    task_text,
};

/// Show a task: its fields, where its data are, and what it asks
///
/// The prompt of an item is made as for scoring. In texts, a space at an end or beside another one is
/// shown as ·, the end of a line as ↵, a tab as →. Of groups and tags, what is in them is shown.
#[derive(Debug, Args)]
#[command(mut_arg("apply_chat_template", |argument| argument.requires("tokenizer")))]
#[command(after_help = "\
Examples:
  mergekit tasks show addition
      fields, data, and what is asked about item 0
  mergekit tasks show arc_easy --include-path lm_eval/tasks --item 7 --num-fewshot 5
      item 7, with five examples in front
  mergekit tasks show addition --tokenizer examples/demo/adder
      the tokens too, divided into what is given and what is scored
  mergekit tasks show mmlu --include-path lm_eval/tasks
      a group as a tree")]
pub(in crate::cli) struct Arguments {
    /// A task, group or tag by name, or a task file by its path
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    files: TaskFiles,

    /// Index of the item to show, from 0
    #[arg(long, value_name = "K", default_value_t = 0)]
    item: usize,

    /// Model directory whose tokenizer and chat template are used; without one, no tokens are shown
    #[arg(long, value_name = "DIRECTORY", visible_alias = "model")]
    tokenizer: Option<PathBuf>,

    #[command(flatten)]
    prompting: Prompting,

    /// Seed of the draw of examples
    #[arg(long, value_name = "N", default_value_t = TaskOptions::default().fewshot_seed)]
    seed: u64,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(in crate::cli) fn run(
    arguments: &Arguments,
    evaluators: Arc<EvaluatorKinds>,
) -> Result<(), Failure> {
    let name = arguments.name.as_str();
    let library = arguments
        .files
        .library(std::slice::from_ref(&arguments.name), Vec::new())?
        .with_kinds(evaluators);
    let selection = library.select(&[name])?;
    let task = match selection.tasks.as_slice() {
        [task] if selection.groups.is_empty() => task,
        _ => {
            return print(&match arguments.json {
                true => format!("{:#}\n", selection_json(name, &selection)),
                false => selection_text(name, &selection),
            });
        }
    };
    let outline = task.outline();
    let is_here = outline.summary.as_ref().is_ok_and(|summary| summary.data.is_ok());
    let item = match is_here {
        true => arguments.item(task).map(Some),
        false => Ok(None),
    };
    let (item, failure) = match item {
        Ok(item) => (item, None),
        Err(failure) => (None, Some(failure)),
    };
    let shown = ShownTask { name: &task.name, outline: &outline, item };
    print(&match arguments.json {
        true => format!("{:#}\n", task_json(&shown)),
        false => task_text(&shown),
    })?;
    failure.map_or(Ok(()), Err)
}

impl Arguments {
    /// The item that is asked for.
    fn item(&self, task: &SelectedTask) -> Result<ShownItem, Failure> {
        let tokenizer = self.tokenizer.as_deref().map(Tokenizer::open).transpose()?;
        let bytes = Tokenizer::of_bytes();
        let options = self.options()?;
        let task = task.load(tokenizer.as_ref().unwrap_or(&bytes), &options)?;
        let (n_documents, num_fewshot) = (task.info().n_documents, task.info().num_fewshot);
        if self.item >= task.n_items() {
            let documents = count(n_documents, "document");
            return Err(Failure::refused(
                format!("task `{}` has no item {}: it has {documents}", task.name(), self.item),
                format!("give `--item` a number from 0 to {}", n_documents.saturating_sub(1)),
            ));
        }
        let record = task.record(self.item).cloned();
        let requests = record.iter().flat_map(|record| &record.requests);
        let tokens = tokenizer.as_ref().map(|tokenizer| {
            requests.map(|request| tokens_of(request, tokenizer)).collect::<Vec<_>>()
        });
        Ok(ShownItem { index: self.item, num_fewshot, n_documents, record, tokens })
    }

    fn options(&self) -> Result<TaskOptions, Failure> {
        let chat = match &self.tokenizer {
            Some(directory) if self.prompting.apply_chat_template => {
                let template = ChatTemplate::of_model(directory)?.ok_or_else(|| {
                    Failure::refused(
                        format!("there is no chat template in `{}`", directory.display()),
                        "leave out `--apply-chat-template`, or name another directory",
                    )
                })?;
                let multiturn = self.prompting.fewshot_as_multiturn;
                Some(ChatOptions { template: Arc::new(template), multiturn })
            }
            _ => None,
        };
        Ok(TaskOptions {
            limit: Some(Limit::Items(self.item.saturating_add(1))),
            num_fewshot: self.prompting.num_fewshot,
            fewshot_seed: self.seed,
            system_instruction: self.prompting.system_instruction.clone(),
            chat,
            records: true,
            ..TaskOptions::default()
        })
    }
}

/// The tokens of a request, as a model is given them.
fn tokens_of(request: &RequestRecord, tokenizer: &Tokenizer) -> RequestTokens {
    let pair = match request {
        RequestRecord::LogLikelihood { context, continuation } => {
            tokenizer.encode_pair(context, continuation).ok()
        }
        RequestRecord::Generation { context, .. } => {
            Some(TokenPair { context: tokenizer.encode_prompt(context), continuation: Vec::new() })
        }
        RequestRecord::Rolling { text } => {
            Some(TokenPair { context: Vec::new(), continuation: tokenizer.encode(text) })
        }
    };
    let texts = |tokens: Vec<u32>| {
        tokens.into_iter().map(|token| (token, tokenizer.token_text(token))).collect()
    };
    let pair = pair.unwrap_or(TokenPair { context: Vec::new(), continuation: Vec::new() });
    RequestTokens { context: texts(pair.context), continuation: texts(pair.continuation) }
}

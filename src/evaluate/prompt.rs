//! Prompts of a task's documents: description, examples, question.
//!
//! The prompts of all documents are made in order, once: the draw of a document's examples depends
//! on the draws before it. A part of the documents keeps the prompts it has among all of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde_json::Value;

use super::chat::{
    ChatOptions, ChatProblem, Message, Role, begun, join, plain_text, prefix_delimiter,
    single_turn, without_system,
};
use super::data::{Document, Split};
use super::dataset::SplitName;
use super::error::Row;
use super::field::{Field, Fields, as_index};
use super::functions::DocumentSteps;
use super::python::{PythonRandom, is_whitespace};
use super::record::TaskInfo;
use super::task::{FewShotConfig, PromptConfig, Sampler, TaskConfig};
use super::{EvaluateError, TaskOptions};

/// A task with its documents.
#[derive(Debug)]
pub(super) struct TaskData {
    pub(super) config: TaskConfig,
    /// What is evaluated.
    pub(super) documents: Vec<Document>,
    pub(super) columns: HashSet<String>,
    /// Where examples are drawn from.
    pool: Vec<Document>,
    /// Whether the evaluated document may not be among its own examples.
    excludes_itself: bool,
    /// Whether the choices are alternative contexts of one continuation. The first document decides.
    pub(super) has_multiple_inputs: bool,
    /// Whether a chat template has refused a system message, so that prompts go without it.
    lost_system_message: AtomicBool,
}

impl TaskData {
    /// Reads the documents of a task.
    pub(super) fn read(config: TaskConfig) -> Result<TaskData, EvaluateError> {
        let data = &config.data;
        let test = &data.test;
        let evaluated = test.as_ref().or(data.validation.as_ref());
        let Some(evaluated) = evaluated else {
            unreachable!("a config without test and validation split is refused when it is read")
        };
        let of_task = config.process_docs.as_ref();
        let Split { documents, columns } = read_split(&config, evaluated, of_task, Row::Item)?;

        let fewshot = &config.fewshot;
        let examples = |split: &SplitName, steps: Option<&DocumentSteps>| {
            read_split(&config, split, steps, Row::Example).map(|split| split.documents)
        };
        let pool = match (&fewshot.split, &fewshot.samples) {
            (Some(split), _) => examples(split, fewshot.process_docs.as_ref())?,
            (None, Some(samples)) => samples.iter().cloned().map(Document::new).collect(),
            (None, None) => match &data.training {
                Some(training) => examples(training, of_task)?,
                // Without a training split examples come from validation, then from test.
                None => match &data.validation {
                    Some(validation) => examples(validation, of_task)?,
                    None => documents.clone(),
                },
            },
        };
        // Two splits that are both unset count as equal: the harness's rule, on which its draws
        // depend.
        let name = |split: &Option<SplitName>| split.as_ref().map(|split| split.name.clone());
        let excludes_itself = name(&fewshot.split) == name(test);

        let first = config.prompt.fields.text(&documents[0], &columns, Row::Item(0))?;
        let has_choices = config.prompt.fields.choice.is_some();
        let has_multiple_inputs = has_choices && as_index(&first).is_some();
        Ok(TaskData {
            config,
            documents,
            columns,
            pool,
            excludes_itself,
            has_multiple_inputs,
            lost_system_message: AtomicBool::new(false),
        })
    }

    /// Makes the prompts of the documents, and of each document's index and prompts an item.
    ///
    /// Tasks with multiple inputs have one prompt for each choice, others have one.
    pub(super) fn prepare_items<T: Send>(
        &self,
        options: &TaskOptions,
        prepare: impl Fn(usize, Vec<String>) -> Result<T, EvaluateError> + Sync,
    ) -> Result<Vec<T>, EvaluateError> {
        let items: Vec<Result<T, EvaluateError>> = self
            .prompts(options)?
            .into_par_iter()
            .enumerate()
            .map(|(index, prompts)| prepare(index, prompts))
            .collect();
        // Of several mistakes the first item's is told, whichever thread was first.
        items.into_iter().collect()
    }

    /// What reports say of the task.
    pub(super) fn info(&self, options: &TaskOptions) -> TaskInfo {
        let TaskConfig { alias, version, written, .. } = &self.config;
        TaskInfo {
            alias: alias.clone(),
            version: version.clone(),
            num_fewshot: self.shots(options),
            n_documents: self.documents.len(),
            config: written.clone(),
        }
    }

    /// What is questionable about the prompts, once they are made.
    pub(super) fn warnings(&self, options: &TaskOptions) -> Vec<String> {
        let mut warnings = self.config.warnings.clone();
        warnings.append(&mut self.leaks(options));
        if self.lost_system_message.load(Ordering::Relaxed) {
            warnings.push(format!(
                "task `{}`: the chat template refuses system messages, so system instruction and \
                 description are left out, as in the harness",
                self.config.name
            ));
        }
        warnings
    }

    /// Examples that give away answers of other documents.
    fn leaks(&self, options: &TaskOptions) -> Vec<String> {
        let (data, fewshot) = (&self.config.data, &self.config.fewshot);
        let Some(evaluated) = data.test.as_ref().or(data.validation.as_ref()) else {
            return Vec::new();
        };
        // Where the pool is read from, see `read`.
        let source = match (&fewshot.split, &fewshot.samples) {
            (Some(split), _) => Some(split),
            (None, Some(_)) => None,
            (None, None) => data.training.as_ref().or(data.validation.as_ref()).or(Some(evaluated)),
        };
        let Some(source) = source.filter(|source| source.name == evaluated.name) else {
            return Vec::new();
        };
        if self.shots(options) == 0 {
            return Vec::new();
        }
        let among_its_own = if self.excludes_itself {
            ""
        } else {
            "; a document may even be among its own examples, as in the harness"
        };
        vec![format!(
            "{}: examples come from the evaluated split `{}`, so they may show the answers of other \
             documents: when these are divided, a score on the part that is kept for validation can \
             be too good; a `training_split` with other documents, and no `fewshot_split`, would fix \
             that{among_its_own}",
            source.at, source.name
        )]
    }

    /// What separates a prompt from a choice: in a conversation nothing does, unless the answer is
    /// already begun.
    pub(super) fn answer_delimiter(&self, options: &TaskOptions) -> &str {
        let PromptConfig { fields, target_delimiter, .. } = &self.config.prompt;
        let begun = fields.prefix.as_ref().map_or("", Field::written);
        match options.chat {
            Some(_) if begun.is_empty() || begun.ends_with(is_whitespace) => "",
            _ => target_delimiter,
        }
    }

    /// What stands in front of the answer, for each document in order.
    fn prompts(&self, options: &TaskOptions) -> Result<Vec<Vec<String>>, EvaluateError> {
        let shots = self.shots(options);
        let n_documents = self.documents.len();
        let limit = options.limit.map_or(n_documents, |limit| limit.of(n_documents));
        let mut random = PythonRandom::new(options.fewshot_seed);
        self.documents
            .iter()
            .take(limit)
            .enumerate()
            .map(|(index, document)| {
                let row = Row::Item(index);
                let mut start = self.system_message(document, row, options)?;
                for example in self.examples(document, shots, &mut random)? {
                    start.append(&mut self.example_messages(example)?);
                }
                let endings = self.endings(document, row)?;
                let is_open = endings.iter().any(|ending| ending.len() > 1);
                endings
                    .into_iter()
                    .map(|ending| {
                        let messages = [start.as_slice(), &ending].concat();
                        self.prompt_text(&messages, is_open, row, options)
                    })
                    .collect()
            })
            .collect()
    }

    /// System instruction and description.
    fn system_message(
        &self,
        document: &Document,
        row: Row,
        options: &TaskOptions,
    ) -> Result<Vec<Message>, EvaluateError> {
        let PromptConfig { description, fewshot_delimiter, .. } = &self.config.prompt;
        let description = match description {
            Some(description) => description.text(document, &self.columns, row)?,
            None => String::new(),
        };
        let instruction = options.system_instruction.as_deref().unwrap_or_default();
        let content = join(instruction, &description, fewshot_delimiter);
        Ok(match content.is_empty() {
            true => Vec::new(),
            false => vec![Message::new(Role::System, content)],
        })
    }

    /// The text of a document's messages. `is_open` if the answer is already begun.
    fn prompt_text(
        &self,
        messages: &[Message],
        is_open: bool,
        row: Row,
        options: &TaskOptions,
    ) -> Result<String, EvaluateError> {
        let Some(ChatOptions { template, multiturn }) = &options.chat else {
            return Ok(plain_text(messages));
        };
        let turns = if *multiturn { messages.to_vec() } else { single_turn(messages) };
        let rendered = template.render(&turns, is_open).or_else(|problem| match problem {
            ChatProblem::Template(_) => {
                let others = without_system(&turns);
                if others.len() < turns.len() {
                    self.lost_system_message.store(true, Ordering::Relaxed);
                }
                template.render(&others, is_open)
            }
            other => Err(other),
        });
        rendered.map_err(|problem| EvaluateError::ChatTemplate {
            task: self.config.name.clone(),
            row,
            problem: problem.to_string(),
        })
    }

    /// A number given when the task is loaded wins, except over a task that says 0.
    fn shots(&self, options: &TaskOptions) -> usize {
        match (self.config.fewshot.count, options.num_fewshot) {
            (Some(0), _) => 0,
            (count, wanted) => wanted.or(count).unwrap_or(0),
        }
    }

    /// Indices in the pool of a document's examples.
    fn examples(
        &self,
        document: &Document,
        shots: usize,
        random: &mut PythonRandom,
    ) -> Result<Vec<usize>, EvaluateError> {
        if shots == 0 {
            return Ok(Vec::new());
        }
        let too_few = |wanted, available| EvaluateError::TooFewExamples {
            at: self.config.fewshot.at.clone().into(),
            wanted,
            available,
        };
        let is_other = |&index: &usize| !self.excludes_itself || self.pool[index] != *document;
        let others = || (0..self.pool.len()).filter(is_other).collect::<Vec<_>>();
        if self.config.fewshot.sampler == Sampler::FirstN {
            let mut others = others();
            if others.len() < shots {
                return Err(too_few(shots, others.len()));
            }
            others.truncate(shots);
            return Ok(others);
        }
        let wanted = shots + usize::from(self.excludes_itself);
        let drawn = random.sample(self.pool.len(), wanted);
        let mut examples = drawn.ok_or_else(|| too_few(wanted, self.pool.len()))?;
        examples.retain(is_other);
        examples.truncate(shots);
        if examples.len() < shots {
            // The pool has the document several times.
            let others = others();
            let drawn = random.sample(others.len(), shots);
            let drawn = drawn.ok_or_else(|| too_few(shots, others.len()))?;
            examples = drawn.into_iter().map(|index| others[index]).collect();
        }
        Ok(examples)
    }

    /// Question and answer of an example, with what separates them from each other and from what
    /// follows.
    fn example_messages(&self, index: usize) -> Result<Vec<Message>, EvaluateError> {
        let FewShotConfig { fields, target_delimiter, fewshot_delimiter, .. } =
            &self.config.fewshot;
        let (document, columns, row) = (&self.pool[index], &self.columns, Row::Example(index));
        let choices = fields.choices(document, columns, row)?;
        let question = self.question(fields, document, choices.as_deref(), row)?;
        let choices = choices.filter(|_| !self.has_multiple_inputs);
        let target = fields.target(document, columns, row)?;
        let answer = answer_text(fields, &target, choices.as_deref(), row)?;
        let prefix = fields.prefix(document, columns, row)?;
        if answer.is_empty() {
            return Ok(begun(question, prefix, target_delimiter));
        }
        let suffix = match prefix.is_empty() {
            true => target_delimiter,
            false => prefix_delimiter(&question, &prefix, target_delimiter),
        };
        Ok(vec![
            Message { suffix: suffix.to_owned(), ..Message::new(Role::User, question) },
            Message {
                suffix: fewshot_delimiter.clone(),
                ..Message::new(Role::Assistant, join(&prefix, &answer, " "))
            },
        ])
    }

    /// The document's own question, once for each input.
    fn endings(&self, document: &Document, row: Row) -> Result<Vec<Vec<Message>>, EvaluateError> {
        let PromptConfig { fields, target_delimiter, .. } = &self.config.prompt;
        let prefix = fields.prefix(document, &self.columns, row)?;
        if self.has_multiple_inputs {
            let contexts = fields.choices(document, &self.columns, row)?.unwrap_or_default();
            return Ok(contexts
                .into_iter()
                .map(|context| begun(context, prefix.clone(), ""))
                .collect());
        }
        let question = self.question(fields, document, None, row)?;
        Ok(vec![begun(question, prefix, target_delimiter)])
    }

    /// The question's text. In tasks with multiple inputs it is the choice that is the right one.
    fn question(
        &self,
        fields: &Fields,
        document: &Document,
        choices: Option<&[String]>,
        row: Row,
    ) -> Result<String, EvaluateError> {
        let value = fields.text(document, &self.columns, row)?;
        if self.has_multiple_inputs {
            let index = as_index(&value).and_then(|index| usize::try_from(index).ok());
            return match (index, choices) {
                (Some(index), Some(choices)) if index < choices.len() => Ok(choices[index].clone()),
                _ => Err(fields.text.wrong_value(row, "the index of a choice", &value)),
            };
        }
        match value {
            Value::String(text) => Ok(text),
            other => Err(fields.text.wrong_value(row, "a text", &other)),
        }
    }
}

fn read_split(
    config: &TaskConfig,
    split: &SplitName,
    steps: Option<&DocumentSteps>,
    row: fn(usize) -> Row,
) -> Result<Split, EvaluateError> {
    let read = config.data.read(split)?;
    match steps {
        Some(steps) => steps.apply(read, &split.name, row),
        None => Ok(read),
    }
}

/// The text of an example's answer; empty if it has none.
fn answer_text(
    fields: &Fields,
    target: &Value,
    choices: Option<&[String]>,
    row: Row,
) -> Result<String, EvaluateError> {
    let value = match target {
        Value::Null => return Ok(String::new()),
        Value::Array(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    };
    match (value, choices, as_index(value)) {
        (_, Some(choices), Some(index)) if target == value => usize::try_from(index)
            .ok()
            .and_then(|index| choices.get(index).cloned())
            .ok_or_else(|| fields.target.wrong_value(row, "the index of a choice", value)),
        (Value::String(text), ..) => Ok(text.clone()),
        _ => Err(fields.target.wrong_value(row, "a text", target)),
    }
}

//! The kinds of tasks. To add one, implement [`TaskKind`] and add an entry.

use super::generation::Generation;
use super::harness_task::{HarnessTask, TaskKind};
use super::loglikelihood::LogLikelihood;
use super::multiple_choice::MultipleChoice;
use super::prompt::TaskData;
use super::rolling::Rolling;
use super::{EvaluateError, Evaluator, TaskOptions, Tokenizer};
use crate::config::yaml::Node;

/// A kind of task: what a model is asked for.
#[derive(Debug)]
pub(super) struct OutputType {
    /// The name in task files.
    pub(super) name: &'static str,
    /// Metrics of tasks that name none.
    pub(super) default_metrics: &'static [&'static str],
    /// Prepares every prompt of a task.
    pub(super) prepare: Prepare,
}

type Prepare = fn(TaskData, &Tokenizer, &TaskOptions) -> Result<Box<dyn Evaluator>, EvaluateError>;

/// Every kind. The first is that of tasks that do not say.
static OUTPUT_TYPES: [OutputType; 4] = [
    OutputType {
        name: Generation::OUTPUT_TYPE,
        default_metrics: &["exact_match"],
        prepare: |data, tokenizer, options| {
            let kind = Generation::new(&data.config, tokenizer, options);
            prepare(kind, data, tokenizer, options)
        },
    },
    OutputType {
        name: MultipleChoice::OUTPUT_TYPE,
        default_metrics: &["acc", "acc_norm"],
        prepare: |data, tokenizer, options| prepare(MultipleChoice, data, tokenizer, options),
    },
    OutputType {
        name: LogLikelihood::OUTPUT_TYPE,
        default_metrics: &["perplexity", "acc"],
        prepare: |data, tokenizer, options| prepare(LogLikelihood, data, tokenizer, options),
    },
    OutputType {
        name: Rolling::OUTPUT_TYPE,
        default_metrics: &["word_perplexity", "byte_perplexity", "bits_per_byte"],
        prepare: |data, tokenizer, options| prepare(Rolling, data, tokenizer, options),
    },
];

/// Makes and tokenizes every prompt of a task of a kind.
fn prepare<K: TaskKind>(
    kind: K,
    data: TaskData,
    tokenizer: &Tokenizer,
    options: &TaskOptions,
) -> Result<Box<dyn Evaluator>, EvaluateError> {
    Ok(Box::new(HarnessTask::prepare(kind, data, tokenizer, options)?))
}

/// The kind that the field `output_type` names.
pub(super) fn output_type(node: Option<&Node<'_>>) -> Result<&'static OutputType, EvaluateError> {
    let Some(node) = node else { return Ok(&OUTPUT_TYPES[0]) };
    let name = node.text()?;
    OUTPUT_TYPES.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let known = OUTPUT_TYPES.iter().map(|kind| kind.name).collect();
        EvaluateError::unsupported(node, "output type", name, known)
    })
}

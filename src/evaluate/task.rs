//! A task file as typed values: what is asked of which data, and how answers are judged.

use serde_json::Map;

use super::EvaluateError;
use super::dataset::{DataConfig, FILES, SplitName, split_name};
use super::document::TaskDocument;
use super::field::{Field, Fields};
use super::filter::Pipeline;
use super::functions::{DocumentSteps, TaskFunctions};
use super::generation::GenerationOptions;
use super::metric::{GENERATE_UNTIL, MULTIPLE_CHOICE, Metric};
use super::registry;
use crate::config::yaml::{Node, Place};

/// Fields that are read here.
const READ: &[&str] = &[
    "task",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    FILES,
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "output_type",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "gen_prefix",
    "num_fewshot",
    "fewshot_config",
    "process_docs",
    "process_results",
    "metric_list",
    "generation_kwargs",
    "repeats",
    "filter_list",
];

/// Fields without an effect on scores.
const WITHOUT_EFFECT: &[&str] = &[
    "task_alias",
    "tag",
    "group",
    "task_list",
    "metadata",
    "should_decontaminate",
    "doc_to_decontamination_query",
];

/// Fields that need Python or other inputs than text; `false` and nothing are harmless.
const REFUSED: &[&str] =
    &["class", "custom_dataset", "doc_to_image", "doc_to_audio", "unsafe_code", "use_prompt"];

/// The version of tasks without one, as the harness reports it.
const VERSION: &str = "Yaml";

/// A task as its file describes it.
#[derive(Debug, Clone)]
pub(super) struct TaskConfig {
    pub(super) name: String,
    /// Label in tables.
    pub(super) alias: String,
    /// As `metadata` gives it.
    pub(super) version: serde_json::Value,
    /// The fields as they are written.
    pub(super) written: Map<String, serde_json::Value>,
    pub(super) output_type: &'static registry::OutputType,
    pub(super) data: DataConfig,
    /// What happens to the documents of every split.
    pub(super) process_docs: Option<DocumentSteps>,
    pub(super) prompt: PromptConfig,
    pub(super) fewshot: FewShotConfig,
    pub(super) metrics: Vec<Metric>,
    pub(super) generation: GenerationOptions,
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) repeats: usize,
    /// What a person should know of the substitutes for functions.
    pub(super) warnings: Vec<String>,
}

/// How a document becomes a prompt.
#[derive(Debug, Clone)]
pub(super) struct PromptConfig {
    pub(super) fields: Fields,
    pub(super) description: Option<Field>,
    pub(super) target_delimiter: String,
    pub(super) fewshot_delimiter: String,
}

/// Which examples stand in front of a document, and how they look.
#[derive(Debug, Clone)]
pub(super) struct FewShotConfig {
    pub(super) count: Option<usize>,
    /// `num_fewshot`, for messages.
    pub(super) at: Place,
    pub(super) split: Option<SplitName>,
    pub(super) samples: Option<Vec<Map<String, serde_json::Value>>>,
    /// What happens to the documents of `split`.
    pub(super) process_docs: Option<DocumentSteps>,
    pub(super) sampler: Sampler,
    pub(super) fields: Fields,
    pub(super) target_delimiter: String,
    pub(super) fewshot_delimiter: String,
}

/// How examples are chosen from their pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampler {
    /// Drawn anew for each document.
    Default,
    /// The first ones for every document.
    FirstN,
}

impl TaskConfig {
    /// Reads a task, and finds where its documents are; `name` is its name where that is not the one it
    /// has itself.
    pub(super) fn parse(
        document: &TaskDocument,
        name: Option<&str>,
    ) -> Result<TaskConfig, EvaluateError> {
        let mut config = TaskConfig::describe(document, name)?;
        config.data.find(document)?;
        Ok(config)
    }

    /// Reads a task, whether its documents are here or not.
    pub(super) fn describe(
        document: &TaskDocument,
        name: Option<&str>,
    ) -> Result<TaskConfig, EvaluateError> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => document.require("task")?.text()?.to_owned(),
        };
        let functions = document.functions().of_task(&name);
        let warnings = check_functions(document, functions)?;
        let known: Vec<&str> = READ.iter().chain(WITHOUT_EFFECT).copied().collect();
        document.only(&known.iter().chain(REFUSED).copied().collect::<Vec<_>>())?;
        for field in REFUSED {
            if let Some(node) = document.get(field)
                && node.value().as_bool() != Some(false)
            {
                return Err(EvaluateError::unsupported(&node, "field", field, Vec::new()));
            }
        }

        let output_type = registry::output_type(document.get("output_type").as_ref())?;
        let prompt = PromptConfig::parse(document, functions)?;
        let process_docs = match document.get("process_docs") {
            Some(node) => process_docs(&node, functions)?,
            None => None,
        };
        if output_type.name == MULTIPLE_CHOICE {
            document.require("doc_to_choice")?;
        }
        let fewshot = FewShotConfig::parse(document, functions, &prompt, process_docs.as_ref())?;
        let generation = GenerationOptions::parse(
            document.get("generation_kwargs").as_ref(),
            &prompt.fewshot_delimiter,
        )?;
        let written = document.to_json();
        let alias = written.get("task_alias").and_then(serde_json::Value::as_str);
        let version = written.get("metadata").and_then(|metadata| metadata.get("version"));
        let metrics = parse_metrics(document, functions, output_type)?;
        let pipelines = parse_pipelines(document, output_type)?;
        Ok(TaskConfig {
            alias: alias.unwrap_or(&name).to_owned(),
            version: version.cloned().unwrap_or_else(|| VERSION.into()),
            written,
            data: DataConfig::parse(document)?,
            process_docs,
            metrics,
            pipelines,
            repeats: document.get("repeats").map_or(Ok(1), |node| node.count())?.max(1),
            warnings,
            output_type,
            prompt,
            fewshot,
            generation,
            name,
        })
    }
}

/// Refuses functions without a substitute; gives what a person should know of the others.
fn check_functions(
    document: &TaskDocument,
    functions: TaskFunctions<'_>,
) -> Result<Vec<String>, EvaluateError> {
    let mut warnings = Vec::new();
    for name in READ.iter().chain(REFUSED) {
        if let Some(node) = document.get(name) {
            functions.check(&node, name, &mut warnings)?;
        }
    }
    warnings.dedup();
    Ok(warnings)
}

/// Reads `process_docs`, which is always a function.
fn process_docs(
    node: &Node<'_>,
    functions: TaskFunctions<'_>,
) -> Result<Option<DocumentSteps>, EvaluateError> {
    if node.is_null() {
        return Ok(None);
    }
    match functions.substitute(node)? {
        Some(substitute) => Ok(Some(substitute.documents()?)),
        None => Err(node.wrong_type("a function, such as `!function utils.process_docs`").into()),
    }
}

fn parse_metrics(
    document: &TaskDocument,
    functions: TaskFunctions<'_>,
    output_type: &registry::OutputType,
) -> Result<Vec<Metric>, EvaluateError> {
    let results = match document.get("process_results") {
        Some(node) => match functions.substitute(&node)? {
            Some(results) => Some(results),
            None => {
                return Err(node
                    .wrong_type("a function, such as `!function utils.process_results`")
                    .into());
            }
        },
        None => None,
    };
    let Some(list) = document.get("metric_list") else {
        let default = |name: &&'static str| match &results {
            Some(results) => Ok(Some(Metric::computed(name, results.result(name)?))),
            None => Ok(Metric::named(name, output_type.name)),
        };
        let defaults = output_type.default_metrics.iter().map(default);
        return defaults.filter_map(Result::transpose).collect();
    };
    let mut metrics: Vec<Metric> = Vec::new();
    for node in list.items()? {
        let metric = Metric::parse(&node.fields()?, functions, results.as_ref(), output_type.name)?;
        // The last entry of a name counts, as it does for keys.
        metrics.retain(|earlier| earlier.name != metric.name);
        metrics.push(metric);
    }
    if metrics.is_empty() {
        return Err(list.wrong_type("at least one metric").into());
    }
    Ok(metrics)
}

fn parse_pipelines(
    document: &TaskDocument,
    output_type: &registry::OutputType,
) -> Result<Vec<Pipeline>, EvaluateError> {
    let Some(list) = document.get("filter_list") else { return Ok(vec![Pipeline::take_first()]) };
    let items = list.items()?;
    if items.is_empty() {
        return Err(list.wrong_type("at least one pipeline").into());
    }
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for node in items {
        let pipeline = Pipeline::parse(&node.fields()?)?;
        if output_type.name != GENERATE_UNTIL && !pipeline.keeps_responses() {
            let known = vec!["take_first"];
            return Err(EvaluateError::unsupported(
                &node,
                "filter of log-likelihoods",
                &pipeline.name,
                known,
            ));
        }
        pipelines.retain(|earlier| earlier.name != pipeline.name);
        pipelines.push(pipeline);
    }
    Ok(pipelines)
}

impl PromptConfig {
    fn parse(
        document: &TaskDocument,
        functions: TaskFunctions<'_>,
    ) -> Result<PromptConfig, EvaluateError> {
        let field = |node: &Node<'_>| Field::parse_with(node, functions);
        let text = |name: &str, default: &str| match document.get(name) {
            Some(node) => node.text().map(str::to_owned),
            None => Ok(default.to_owned()),
        };
        let optional = |name: &str| document.get(name).map(|node| field(&node)).transpose();
        Ok(PromptConfig {
            fields: Fields {
                text: field(&document.require("doc_to_text")?)?,
                target: field(&document.require("doc_to_target")?)?,
                choice: optional("doc_to_choice")?,
                prefix: optional("gen_prefix")?,
            },
            description: optional("description")?,
            target_delimiter: text("target_delimiter", " ")?,
            fewshot_delimiter: text("fewshot_delimiter", "\n\n")?,
        })
    }
}

impl FewShotConfig {
    /// Reads `num_fewshot`, `fewshot_split` and `fewshot_config`; what they leave open is as in
    /// the prompt.
    fn parse(
        document: &TaskDocument,
        functions: TaskFunctions<'_>,
        prompt: &PromptConfig,
        of_task: Option<&DocumentSteps>,
    ) -> Result<FewShotConfig, EvaluateError> {
        let count_node = document.get("num_fewshot");
        let mut fewshot = FewShotConfig {
            count: count_node.as_ref().map(Node::count).transpose()?,
            at: count_node.map_or_else(|| document.place(), |node| node.place()),
            split: split_name(document.get("fewshot_split"))?,
            samples: None,
            process_docs: of_task.cloned(),
            sampler: Sampler::Default,
            fields: prompt.fields.clone(),
            target_delimiter: prompt.target_delimiter.clone(),
            fewshot_delimiter: prompt.fewshot_delimiter.clone(),
        };
        let Some(config) = document.get("fewshot_config") else { return Ok(fewshot) };
        let config = config.fields()?;
        config.only(&[
            "sampler",
            "split",
            "samples",
            "fewshot_indices",
            "process_docs",
            "doc_to_text",
            "doc_to_target",
            "doc_to_choice",
            "gen_prefix",
            "fewshot_delimiter",
            "target_delimiter",
        ])?;
        // Nothing given here is not the same as nothing said.
        if let Some((_, node)) = config.all()?.iter().find(|(name, _)| *name == "process_docs") {
            fewshot.process_docs = process_docs(node, functions)?;
        }
        if let Some(node) = config.get("sampler") {
            fewshot.sampler = match node.text()? {
                "default" => Sampler::Default,
                "first_n" => Sampler::FirstN,
                other => {
                    let known = vec!["default", "first_n"];
                    return Err(EvaluateError::unsupported(&node, "sampler", other, known));
                }
            };
        }
        if let Some(split) = split_name(config.get("split"))? {
            fewshot.split = Some(split);
        }
        if let Some(list) = config.get("samples") {
            let samples = list.items()?;
            let samples = samples.iter().map(|node| match serde_json::to_value(node.value()) {
                Ok(serde_json::Value::Object(columns)) => Ok(columns),
                _ => Err(node.wrong_type("a mapping with the columns of a document")),
            });
            fewshot.samples = Some(samples.collect::<Result<_, _>>()?);
        }
        if let Some(node) = config.get("doc_to_text") {
            fewshot.fields.text = Field::parse_with(&node, functions)?;
        }
        if let Some(node) = config.get("doc_to_target") {
            fewshot.fields.target = Field::parse_with(&node, functions)?;
        }
        if let Some(node) = config.get("doc_to_choice") {
            fewshot.fields.choice = Some(Field::parse_with(&node, functions)?);
        }
        if let Some(node) = config.get("gen_prefix") {
            fewshot.fields.prefix = Some(Field::parse_with(&node, functions)?);
        }
        if let Some(node) = config.get("fewshot_delimiter") {
            fewshot.fewshot_delimiter = node.text()?.to_owned();
        }
        if let Some(node) = config.get("target_delimiter") {
            fewshot.target_delimiter = node.text()?.to_owned();
        }
        Ok(fewshot)
    }
}

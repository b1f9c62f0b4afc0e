//! Search files: what is merged, which numbers vary, and how to search.

use std::path::{Path, PathBuf};

use super::error::SpaceError;
use super::genome::Genome;
use super::merge_form::MergeForm;
use super::optimizer::OptimizerOptions;
use super::sections::{
    Budget, EvaluationOptions, TaskRequest, Validation, known_fields, task_path,
};
use super::warning::Warning;
use crate::config::ModelReference;
use crate::config::yaml::{Document, Fields, YamlError};
use crate::tokenizer;

/// Fields of every search file.
const FIELDS: [&str; 7] =
    ["tasks", "task_path", "optimizer", "budget", "evaluation", "validation", "output"];

/// Fields that mergekit-evolve's files have beside the genome and the tasks.
const FIELDS_OF_GENOME: [&str; 7] = [
    "genome",
    "limit",
    "num_fewshot",
    "shuffle",
    "random_init",
    "apply_chat_template",
    "fewshot_as_multiturn",
];

/// A search file as read.
///
/// Paths in it are relative to the current directory, as those of merge configs are.
#[derive(Debug)]
pub struct SearchFile {
    /// What is merged, and which numbers vary.
    pub(super) form: Form,
    /// What is scored; at least one.
    pub tasks: Vec<TaskRequest>,
    /// Directories with task files; `evaluators` unless given.
    pub task_path: Vec<PathBuf>,
    /// How candidates are proposed.
    pub optimizer: OptimizerOptions,
    /// When to stop.
    pub budget: Budget,
    /// How candidates are scored.
    pub evaluation: EvaluationOptions,
    /// Which items the search does not see.
    pub validation: Validation,
    /// Directory for results; `results/` and the file's name without its ending unless given.
    pub output: PathBuf,
    /// Whether the search starts at a random point, drawn from the optimizer's seed.
    pub random_init: bool,
    /// The text as read.
    pub text: String,
    /// What in it is not obeyed.
    pub warnings: Vec<Warning>,
}

/// The two forms of a search file.
#[derive(Debug)]
pub(super) enum Form {
    Merge(Box<MergeForm>),
    Genome(Box<Genome>),
}

impl SearchFile {
    /// Reads and checks a search file; the models are not looked at.
    pub fn read(path: &Path) -> Result<Self, SpaceError> {
        Self::from_document(&Document::read(path)?, path)
    }

    /// Parses the text of a search file; `file` is its name in messages and gives the output
    /// directory its name.
    pub fn parse(text: &str, file: &Path) -> Result<Self, SpaceError> {
        Self::from_document(&Document::parse(text, file)?, file)
    }

    /// The models that take part: the base first when there is one, the others in the order of the
    /// file, each once.
    pub fn models(&self) -> Vec<ModelReference> {
        match &self.form {
            Form::Merge(merge) => merge.models(),
            Form::Genome(genome) => genome.models(),
        }
    }

    fn from_document(document: &Document, path: &Path) -> Result<Self, SpaceError> {
        let root = document.root();
        let fields = root.fields()?;
        let mut warnings = Vec::new();
        let form = match (fields.get("merge"), fields.get("genome")) {
            (Some(_), Some(genome)) => {
                return Err(SpaceError::BothForms { at: genome.key_place() });
            }
            (None, None) => {
                // A mistyped name is more likely than a file of another kind.
                fields.only(&known(&["merge", "genome"]))?;
                return Err(SpaceError::NoForm { at: root.place() });
            }
            (Some(merge), None) => {
                fields.only(&known(&["merge"]))?;
                Form::Merge(Box::new(MergeForm::read(&merge, &mut warnings)?))
            }
            (None, Some(genome)) => {
                known_fields(&fields, &known(&FIELDS_OF_GENOME), &mut |error| {
                    warnings.push(Warning::UnknownField(error));
                    Ok(())
                })?;
                Form::Genome(Box::new(Genome::read(&genome, &mut warnings)?))
            }
        };
        let is_genome = matches!(form, Form::Genome(_));
        let tasks = TaskRequest::parse_all(&fields.require("tasks")?, &mut |error: YamlError| {
            if !is_genome {
                return Err(error);
            }
            warnings.push(Warning::UnknownField(error));
            Ok(())
        })?;
        let mut file = Self {
            form,
            tasks,
            task_path: task_path(fields.get("task_path").as_ref())?,
            optimizer: OptimizerOptions::parse(fields.get("optimizer").as_ref())?,
            budget: Budget::parse(fields.get("budget").as_ref())?,
            evaluation: EvaluationOptions::parse(
                fields.get("evaluation").as_ref(),
                is_genome.then_some(&fields),
            )?,
            validation: Validation::parse(fields.get("validation").as_ref())?,
            output: match fields.get("output") {
                Some(node) => node.text()?.into(),
                None => Path::new("results").join(path.file_stem().unwrap_or(path.as_os_str())),
            },
            random_init: false,
            text: document.text().to_owned(),
            warnings,
        };
        if is_genome {
            file.read_genome_options(&fields)?;
        }
        Ok(file)
    }

    /// The options of mergekit-evolve's files that have no other place.
    fn read_genome_options(&mut self, fields: &Fields<'_>) -> Result<(), SpaceError> {
        let flag =
            |name: &str, default: bool| fields.get(name).map_or(Ok(default), |node| node.boolean());
        self.random_init = flag("random_init", false)?;
        flag("fewshot_as_multiturn", true)?;
        if flag("shuffle", false)?
            && let Some(node) = fields.get("shuffle")
        {
            self.warnings.push(Warning::NotHonoured {
                at: node.key_place(),
                fact: "items are not shuffled, but taken in the order of the task's file",
                remedy: "`shuffle: false` says so; shuffle the file itself for another order",
            });
        }
        // On by default, and nothing changes for models that have no template.
        if flag("apply_chat_template", true)? && self.models().iter().any(has_chat_template) {
            let place = fields.get("apply_chat_template").map(|node| node.key_place());
            self.warnings.push(Warning::NotHonoured {
                at: place.unwrap_or_else(|| fields.node().place()),
                fact: "prompts are scored as they are, although a model has a chat template",
                remedy: "`apply_chat_template: false` says so",
            });
        }
        Ok(())
    }
}

fn known<'a>(forms: &[&'a str]) -> Vec<&'a str> {
    forms.iter().copied().chain(FIELDS).collect()
}

/// Whether a model's directory is here and its tokenizer has a chat template.
fn has_chat_template(model: &ModelReference) -> bool {
    matches!(tokenizer::of_model(Path::new(&model.model.path)), Ok(Some(_)))
}

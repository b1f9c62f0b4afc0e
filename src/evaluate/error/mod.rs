//! Everything that can go wrong with a task or with scoring a model on it.

mod advice;

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::kinds::CommandFailure;
use crate::config::yaml::{Node, Place, YamlError};
use crate::engine::EngineError;
use crate::lm::LmError;
use crate::tokenizer::TokenizerError;

/// Everything that can go wrong with a task or with scoring a model on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] LmError),

    /// The model cannot be made, or not be written.
    #[error(transparent)]
    Engine(#[from] Box<EngineError>),

    /// The model does not exist in the form that an evaluator needs.
    #[error("the evaluator needs {form} of the model, which is only in memory")]
    NoForm {
        /// With its article, such as `a directory`.
        form: &'static str,
    },

    /// There is no room for temporary files.
    #[error("cannot write to the directory for temporary files, `{}`", std::env::temp_dir().display())]
    Temporary {
        /// What the system says.
        source: io::Error,
    },

    /// The command of an evaluator gave no scores.
    #[error(transparent)]
    Command(#[from] Box<CommandFailure>),

    /// The fields of an evaluator's file are not what its kind needs.
    #[error("{at}: {problem}")]
    Fields {
        /// The file or the field.
        at: Box<Place>,
        /// What is wrong.
        problem: String,
    },

    /// There is no kind of evaluators of that name.
    #[error("{at}: there is no evaluator `{name}`")]
    UnknownKind {
        /// The field.
        at: Box<Place>,
        /// The name.
        name: String,
        /// Names of the kinds there are.
        known: Vec<String>,
    },

    /// A file lists data files as evaluators do, but is no evaluator.
    #[error("{at}: `files` is for evaluators, and the file does not say which it is")]
    NoKind {
        /// The field.
        at: Box<Place>,
    },

    /// A task file is not what it should be.
    #[error(transparent)]
    Yaml(Box<YamlError>),

    /// A score is not a number.
    #[error("task `{task}`: the score of item {item} is not a number")]
    NotANumber {
        /// The task's name.
        task: String,
        /// Index of the item.
        item: usize,
    },

    /// The operating system refused a read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// A file is no JSON.
    #[error("`{}` is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it deviates.
        source: serde_json::Error,
    },

    /// A tokenizer file is not one.
    #[error("`{}` is not a tokenizer: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        problem: String,
    },

    /// No task file has the name.
    #[error("there is no task `{name}` in {}", list_paths(searched))]
    NoTask {
        /// The name asked for.
        name: String,
        /// The directories searched.
        searched: Vec<PathBuf>,
        /// Names of the tasks found there.
        known: Vec<String>,
        /// A file there that is not valid YAML, and what is wrong with it.
        unreadable: Option<Box<EvaluateError>>,
    },

    /// The name belongs to something else than a task.
    #[error("{at}: `{name}` is {kind}, not a task")]
    NotATask {
        /// The field that makes it so.
        at: Box<Place>,
        /// The name asked for.
        name: String,
        /// With its article, such as `a group`.
        kind: &'static str,
        /// Names that could be asked for instead.
        members: Vec<String>,
    },

    /// A group names a member that does not exist.
    #[error("{at}: there is no task, group or tag `{name}`")]
    NoMember {
        /// The member.
        at: Box<Place>,
        /// The name.
        name: String,
        /// Names that there are.
        known: Vec<String>,
    },

    /// A group is in itself, directly or through others.
    #[error("{at}: group `{group}` contains itself")]
    GroupCycle {
        /// The group.
        at: Box<Place>,
        /// Its name.
        group: String,
    },

    /// Two of the names asked for stand for the same task.
    #[error("task `{task}` is selected twice, by `{first}` and by `{second}`")]
    SelectedTwice {
        /// The task's name.
        task: String,
        /// The first that selects it.
        first: String,
        /// The second.
        second: String,
    },

    /// A file that is included does not exist.
    #[error("{at}: there is no file `{}` to include", path.display())]
    NoInclude {
        /// The include.
        at: Box<Place>,
        /// The file.
        path: PathBuf,
    },

    /// A file includes itself.
    #[error("{at}: `{}` includes itself", path.display())]
    IncludeCycle {
        /// The include that closes the circle.
        at: Box<Place>,
        /// The file included.
        path: PathBuf,
    },

    /// A field needs a Python function.
    #[error("{at}: task `{task}` needs the Python function `{function}`, {problem}")]
    Function {
        /// The field.
        at: Box<Place>,
        /// The task's name.
        task: String,
        /// The function as written behind `!function`.
        function: String,
        /// Why it has no substitute, as the end of a sentence.
        problem: String,
    },

    /// A model's chat template is no valid template.
    #[error("the chat template in `{}` is not valid: {problem}", directory.display())]
    ChatTemplateSyntax {
        /// The model's directory.
        directory: PathBuf,
        /// What the parser says.
        problem: String,
    },

    /// The files of a chat template cannot be read.
    #[error(transparent)]
    ChatTemplateFile(#[from] TokenizerError),

    /// The chat template fails on an item's prompt.
    #[error("task `{task}`: the chat template fails on {row}: {problem}")]
    ChatTemplate {
        /// The task's name.
        task: String,
        /// The document.
        row: Row,
        /// What it says.
        problem: String,
    },

    /// The chat template fails on a conversation.
    #[error("the chat template fails: {problem}")]
    Conversation {
        /// What it says.
        problem: String,
    },

    /// The task asks for something that does not exist here.
    #[error("{at}: {what} `{name}` is not supported")]
    Unsupported {
        /// Where it is asked for.
        at: Box<Place>,
        /// The kind of thing, such as `output type`.
        what: &'static str,
        /// Its name as written.
        name: String,
        /// The names that are supported; empty if the field may only be left out.
        supported: Vec<&'static str>,
    },

    /// A template or a regular expression cannot be compiled.
    #[error("{at}: not a valid {what}: {problem}")]
    Syntax {
        /// The text.
        at: Box<Place>,
        /// `template` or `regular expression`.
        what: &'static str,
        /// What the parser says.
        problem: String,
    },

    /// A template fails on a document.
    #[error("{at}: the template fails on {row}: {problem}")]
    Template {
        /// The template.
        at: Box<Place>,
        /// The document.
        row: Row,
        /// What the renderer says.
        problem: String,
    },

    /// A field has a value of the wrong kind for a document.
    #[error("{at}: expected {expected} for {row}, found {found}")]
    Value {
        /// The field.
        at: Box<Place>,
        /// The document.
        row: Row,
        /// With its article, such as `a text`.
        expected: &'static str,
        /// The value, shortened.
        found: String,
    },

    /// A data set is neither a format nor a folder.
    #[error(
        "{at}: the data set `{name}` is neither in a folder nor in the Hub's cache, and none is downloaded"
    )]
    NoDataset {
        /// The field.
        at: Box<Place>,
        /// The name.
        name: String,
        /// Where it was looked for.
        searched: Box<DatasetSearch>,
    },

    /// A data set's card lists other configurations than the one that the task names.
    #[error("{at}: the data set has no configuration `{name}`; it has {}", quoted(known))]
    NoConfiguration {
        /// The field.
        at: Box<Place>,
        /// The name.
        name: String,
        /// Names of those there are.
        known: Vec<String>,
    },

    /// A data set has several configurations and the task names none.
    #[error("`{}` lists several configurations; `dataset_name` has to name one of {}", card.display(),
        quoted(known))]
    NoConfigurationNamed {
        /// The data set's card.
        card: PathBuf,
        /// Names of those there are.
        known: Vec<String>,
    },

    /// A folder of a data set has no file in a format that is read.
    #[error("{at}: `{}` has no files in JSON, CSV or Parquet", folder.display())]
    NoDataInFolder {
        /// The field that names the folder.
        at: Box<Place>,
        /// The folder.
        folder: PathBuf,
    },

    /// A data file is neither in the working directory nor beside or above the task file.
    #[error("{at}: there is no data file `{}`", path.display())]
    NoDataFile {
        /// The field.
        at: Box<Place>,
        /// The path as written.
        path: PathBuf,
        /// Where relative paths start.
        folder: PathBuf,
        /// Whether they start in directories above it, too.
        is_start: bool,
    },

    /// A folder that a mapping of data sets names does not exist.
    #[error("{at}: there is no folder `{}`", folder.display())]
    NoDataFolder {
        /// The value in the mapping.
        at: Box<Place>,
        /// The folder.
        folder: PathBuf,
    },

    /// A file is in none of the formats that are read.
    #[error("{at}: `{}` is not in JSON, CSV or Parquet", path.display())]
    NoFormat {
        /// What names the file.
        at: Box<Place>,
        /// The file.
        path: PathBuf,
    },

    /// A data set is made by a script in Python.
    #[error("{at}: the data set `{name}` is made by the script `{}`, which cannot be run", script.display())]
    DatasetScript {
        /// The field.
        at: Box<Place>,
        /// The data set's name.
        name: String,
        /// The script.
        script: PathBuf,
    },

    /// Files do not say which of them belong to a configuration.
    #[error("{at}: which files in `{}` are of the configuration `{config}` is not clear", folder.display())]
    UnclearConfiguration {
        /// The field.
        at: Box<Place>,
        /// The configuration.
        config: String,
        /// The folder.
        folder: PathBuf,
        /// Names of the files that may be meant.
        files: Vec<String>,
    },

    /// The files of a split are known, but not on this machine.
    #[error("{at}: the split `{split}` has no file here: there is no `{file}` in `{}`", folder.display())]
    AbsentSplit {
        /// The field that names the split.
        at: Box<Place>,
        /// The split.
        split: String,
        /// The file, or a pattern for several.
        file: String,
        /// Where it should be.
        folder: PathBuf,
    },

    /// A slice of a split has no documents.
    #[error("{at}: of the {count} documents of split `{split}` none is in the slice")]
    EmptySlice {
        /// The field.
        at: Box<Place>,
        /// The split.
        split: String,
        /// How many documents it has.
        count: usize,
    },

    /// A data file is not text.
    #[error("`{}` is not UTF-8 text", path.display())]
    DataNotText {
        /// The file.
        path: PathBuf,
    },

    /// A data file is not in the form of data files.
    #[error("{}:{line}:{column}: not valid data: {problem}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },

    /// A data file cannot be read as Parquet.
    #[error("`{}` cannot be read as Parquet: {problem}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// Of a split in several files some are not here.
    #[error("`{}` is one of {expected} files, of which {found} {} here", path.display(),
        if *found == 1 { "is" } else { "are" })]
    MissingParts {
        /// One that is here.
        path: PathBuf,
        /// How many are here.
        found: usize,
        /// How many there are.
        expected: usize,
    },

    /// A data file packed with gzip is damaged.
    #[error("`{}` cannot be unpacked: {source}", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },

    /// A data file holds nothing.
    #[error("`{}` has no documents", path.display())]
    NoDocuments {
        /// The file.
        path: PathBuf,
    },

    /// The steps that stand for `process_docs` leave nothing.
    #[error("{at}: no document of split `{split}` is left")]
    NoDocumentsLeft {
        /// The steps.
        at: Box<Place>,
        /// The split.
        split: String,
    },

    /// The task names a split that has no data.
    #[error("{at}: there is no split `{split}` in `data_files`")]
    NoSplit {
        /// The field that names it.
        at: Box<Place>,
        /// The split.
        split: String,
        /// The splits there are.
        known: Vec<String>,
    },

    /// There are fewer examples than shots.
    #[error("{at}: {wanted} examples are needed, but there are only {available}")]
    TooFewExamples {
        /// The number of shots.
        at: Box<Place>,
        /// How many have to be drawn.
        wanted: usize,
        /// How many there are.
        available: usize,
    },

    /// Nothing is left to be scored.
    #[error("task `{task}`: {row} has a continuation without tokens")]
    EmptyContinuation {
        /// The task's name.
        task: String,
        /// The document.
        row: Row,
    },

    /// A continuation has nothing in front of it.
    #[error("task `{task}`: {row} has a prompt without tokens")]
    EmptyPrompt {
        /// The task's name.
        task: String,
        /// The document.
        row: Row,
    },

    /// A request does not fit into the model.
    #[error(
        "task `{task}`: item {item} needs room for {needed} tokens, but the model has room for \
         {max_length}"
    )]
    TooLong {
        /// The task's name.
        task: String,
        /// Index of the item.
        item: usize,
        /// Tokens that cannot be left out.
        needed: usize,
        /// The model's limit.
        max_length: usize,
    },
}

impl From<YamlError> for EvaluateError {
    fn from(error: YamlError) -> Self {
        Self::Yaml(Box::new(error))
    }
}

/// Where a data set was looked for.
#[derive(Debug)]
pub struct DatasetSearch {
    /// The directory of the task file; directories above it, too.
    pub folder: PathBuf,
    /// Directories of tasks.
    pub roots: Vec<PathBuf>,
    /// The mappings of data sets that were read.
    pub mappings: Vec<PathBuf>,
    /// A name in them that is like the one looked for.
    pub nearest: Option<String>,
    /// The Hub's cache.
    pub cache: PathBuf,
}

/// A document of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// One that is evaluated, by its index.
    Item(usize),
    /// One of the pool of examples, by its index.
    Example(usize),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Row::Item(index) => write!(f, "item {index}"),
            Row::Example(index) => write!(f, "example {index}"),
        }
    }
}

impl EvaluateError {
    /// The value at `node` asks for a `what` that does not exist here.
    pub(super) fn unsupported(
        node: &Node<'_>,
        what: &'static str,
        name: &str,
        supported: Vec<&'static str>,
    ) -> EvaluateError {
        let (at, name) = (node.place().into(), name.to_owned());
        EvaluateError::Unsupported { at, what, name, supported }
    }
}

fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn list_paths(paths: &[PathBuf]) -> String {
    quoted(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

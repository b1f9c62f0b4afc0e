//! Where an error is, and what to do about it.

use super::{DatasetSearch, EvaluateError, list_paths, quoted};
use crate::config::yaml::{Place, closest, did_you_mean};
use crate::files;

impl EvaluateError {
    /// Where in a task's files the mistake is, where it is in one.
    pub fn at(&self) -> Option<&Place> {
        match self {
            Self::Yaml(error) => error.at(),
            Self::Fields { at, .. }
            | Self::UnknownKind { at, .. }
            | Self::NoKind { at }
            | Self::NotATask { at, .. }
            | Self::NoMember { at, .. }
            | Self::GroupCycle { at, .. }
            | Self::NoInclude { at, .. }
            | Self::IncludeCycle { at, .. }
            | Self::Function { at, .. }
            | Self::Unsupported { at, .. }
            | Self::Syntax { at, .. }
            | Self::Template { at, .. }
            | Self::Value { at, .. }
            | Self::NoDataset { at, .. }
            | Self::NoConfiguration { at, .. }
            | Self::NoDataInFolder { at, .. }
            | Self::NoDataFile { at, .. }
            | Self::NoDataFolder { at, .. }
            | Self::NoFormat { at, .. }
            | Self::DatasetScript { at, .. }
            | Self::UnclearConfiguration { at, .. }
            | Self::AbsentSplit { at, .. }
            | Self::EmptySlice { at, .. }
            | Self::NoSplit { at, .. }
            | Self::TooFewExamples { at, .. } => Some(at),
            _ => None,
        }
    }

    /// What to do about it, printed on its own line as `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Yaml(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::UnknownKind { name, known, .. } => Some(did_you_mean(name, known)),
            Self::NoKind { .. } => Some(
                "add `evaluator: perplexity` or another kind; a task has `dataset_path` and \
                 `dataset_kwargs: {data_files: …}`"
                    .to_owned(),
            ),
            Self::NoTask { unreadable: Some(error), .. } => {
                Some(format!("a task file could not be read: {error}"))
            }
            Self::NoTask { known, .. } if known.is_empty() => {
                Some("task files end in `.yaml` and have a field `task`".to_owned())
            }
            Self::NoTask { name, known, .. } => Some(similar_task(name, known)),
            Self::NotATask { members, .. } if !members.is_empty() => {
                Some(format!("its members are {}", quoted(members)))
            }
            Self::Unsupported { supported, .. } if supported.is_empty() => {
                Some("leave it out".to_owned())
            }
            Self::Unsupported { supported, .. } => {
                Some(format!("supported are {}", quoted(supported)))
            }
            Self::NoDataFile { path, folder, is_start: true, .. } if path.is_relative() => {
                Some(format!(
                    "relative paths start at the working directory, at `{}` or at a directory above it",
                    folder.display()
                ))
            }
            Self::NoMember { name, known, .. } => Some(similar_task(name, known)),
            Self::SelectedTwice { .. } => Some("name one of the two".to_owned()),
            Self::NoDataset { name, searched, .. } => Some(searched.remedy(name)),
            Self::DatasetScript { name, .. } => Some(format!(
                "fetch what the Hub has made of it with `hf download --repo-type dataset {name} --revision \
                 refs/convert/parquet`, or turn it into JSON, CSV or Parquet and say in `datasets.yaml` \
                 where that is"
            )),
            Self::UnclearConfiguration { files, .. } => Some(format!(
                "say which are meant in `datasets.yaml`; files that may be are {}",
                quoted(files)
            )),
            Self::NoSplit { split, known, .. } => Some(did_you_mean(split, known)),
            Self::Function { .. } => Some(
                "say what the function does in a file `functions.yaml`, beside the task or at the \
                     top of a directory of tasks; docs/functions.md tells how"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether another input would help, as opposed to another machine.
    pub fn is_users_mistake(&self) -> bool {
        match self {
            Self::NotANumber { .. } | Self::Temporary { .. } => false,
            Self::Command(failure) => !failure.is_machine,
            Self::Model(error) => error.is_users_mistake(),
            Self::Engine(error) => error.is_users_mistake(),
            Self::Yaml(error) => error.is_users_mistake(),
            Self::ChatTemplateFile(error) => error.is_users_mistake(),
            Self::Read { source, .. } => files::is_users_mistake(source),
            _ => true,
        }
    }
}

impl DatasetSearch {
    /// What would have it found.
    fn remedy(&self, name: &str) -> String {
        if let (Some(nearest), Some(mapping)) = (&self.nearest, self.mappings.first()) {
            return format!("did you mean `{nearest}`, which is in `{}`?", mapping.display());
        }
        let mut places = vec![self.folder.clone()];
        places.extend(self.roots.iter().filter(|root| **root != self.folder).cloned());
        format!(
            "fetch it into the Hub's cache, `{}`, with `hf download --repo-type dataset {name}`; put its \
             files into a folder `{name}`, or say in a file `datasets.yaml` where they are, in the working \
             directory, in {} or in a directory above",
            self.cache.display(),
            list_paths(&places)
        )
    }
}

/// Most names of tasks that a message lists.
const MOST_NAMES: usize = 30;

/// The hint for a task that does not exist.
fn similar_task(name: &str, known: &[String]) -> String {
    match closest(name, known) {
        None if known.len() > MOST_NAMES => {
            format!("`mergekit tasks list` shows the {} names there are", known.len())
        }
        _ => did_you_mean(name, known),
    }
}

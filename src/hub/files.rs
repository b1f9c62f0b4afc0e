//! Which files of a model are needed.

use std::path::Path;

use super::HubError;
use crate::adapter;
use crate::architecture::{TOKENIZER_FILES, side_file_names};
use crate::checkpoint::{self, WeightsFile};

/// What a name on the Hub is expected to stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A model with weights of its own.
    Model,
    /// A LoRA adapter.
    Adapter,
    /// A model of which only the tokenizer is wanted.
    Tokenizer,
}

impl Kind {
    /// The file without which it is nothing.
    pub(super) fn config_file(self) -> &'static str {
        match self {
            Self::Model => "config.json",
            Self::Adapter => adapter::CONFIG_FILE,
            Self::Tokenizer => "tokenizer.json",
        }
    }

    /// Files beside the weights, as far as there are such.
    pub(super) fn small_files(self) -> Vec<&'static str> {
        let others = match self {
            Self::Model => side_file_names(),
            Self::Adapter => Vec::new(),
            Self::Tokenizer => TOKENIZER_FILES.to_vec(),
        };
        let config_file = self.config_file();
        let others = others.into_iter().filter(|name| *name != config_file);
        std::iter::once(config_file).chain(others).collect()
    }

    /// Whether it is nothing without weights.
    pub(super) fn has_weights(self) -> bool {
        self != Self::Tokenizer
    }

    /// The file that the weights are in, or that lists them, among those that `is_there` knows.
    pub(super) fn weights_file(self, is_there: impl Fn(&str) -> bool) -> Option<WeightsFile> {
        match self {
            Self::Model => checkpoint::weights_file(is_there),
            Self::Adapter => adapter::weights_file(is_there),
            Self::Tokenizer => None,
        }
    }
}

/// The files that hold the weights, where `file` in `directory` holds or lists them.
pub(super) fn shards(file: &WeightsFile, directory: &Path) -> Result<Vec<String>, HubError> {
    if !file.is_index {
        return Ok(vec![file.name.to_owned()]);
    }
    Ok(checkpoint::listed_shards(&directory.join(file.name))?)
}

//! The two forms of weight files, and the names that they go by.

use super::header;

/// The form of a checkpoint's weight files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// `model.safetensors`: a header with the place of every tensor, then their data.
    #[default]
    Safetensors,
    /// `pytorch_model.bin`: what `torch.save` makes of a dictionary of tensors.
    Pickle,
}

impl WeightFormat {
    /// Every format, the preferred first.
    pub(super) const ALL: [Self; 2] = [Self::Safetensors, Self::Pickle];

    /// The name of a weight file that holds everything.
    pub(super) fn single_name(self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors",
            Self::Pickle => "pytorch_model.bin",
        }
    }

    /// The name of the list of shards.
    pub(super) fn index_name(self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors.index.json",
            Self::Pickle => "pytorch_model.bin.index.json",
        }
    }

    /// The name of weight file `shard`, from 0, of `n_shards`.
    pub(super) fn file_name(self, shard: usize, n_shards: usize) -> String {
        let single = self.single_name();
        match single.rsplit_once('.') {
            Some((stem, ending)) if n_shards > 1 => {
                format!("{stem}-{:05}-of-{n_shards:05}.{ending}", shard + 1)
            }
            _ => single.to_owned(),
        }
    }

    /// Most bytes that may list the tensors of one file.
    pub(super) fn max_head_bytes(self) -> u64 {
        match self {
            Self::Safetensors => header::MAX_HEADER_BYTES,
            Self::Pickle => super::pickle::MAX_DIRECTORY_BYTES,
        }
    }
}

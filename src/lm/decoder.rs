//! A decoder as others see it.

use candle_core::Tensor;
use indexmap::IndexMap;
use serde_json::Value;

use super::cpu::Cpu;
use super::error::LmError;
use super::families;
use super::limits::DecoderOptions;
use super::network::Skeleton;
use super::runner::Runner;
use super::storage::StoredTensor;
use super::{GenerateRequest, LanguageModel, Score, ScoreRequest, StopRule};

/// A decoder-only model.
///
/// Holds its tensors by handle. Runs on the rayon pool of the caller: batches go to its threads, and
/// when there are fewer batches than threads, large products are divided as well.
#[derive(Debug)]
pub struct Decoder {
    runner: Runner<Cpu>,
}

/// A decoder without weights: what a config says, and the buffers of a decoder that has been run.
///
/// A search loads one candidate's weights after the other into it, which costs no memory but theirs.
#[derive(Debug)]
pub struct DecoderSkeleton(Skeleton<Cpu>);

impl DecoderSkeleton {
    /// Reads the contents of a config.json.
    ///
    /// # Errors
    ///
    /// Architectures and settings that are not computed exactly are refused; so are configs whose
    /// numbers make no sense.
    pub fn new(config: &Value, options: &DecoderOptions) -> Result<Self, LmError> {
        Ok(Self(Skeleton::new(families::read(config)?, options)))
    }

    /// Adds tensors, which carry the names of transformers' checkpoints. Those in f32 that are
    /// contiguous are not copied; those that the architecture does not use are dropped.
    ///
    /// # Errors
    ///
    /// Missing or misshapen tensors.
    pub fn load(self, tensors: IndexMap<String, StoredTensor>) -> Result<Decoder, LmError> {
        Ok(Decoder { runner: Runner::new(self.0.load(tensors)?, Cpu::new()) })
    }
}

impl Decoder {
    /// Builds the model that `config`, the contents of config.json, describes; see
    /// [`DecoderSkeleton`].
    ///
    /// # Errors
    ///
    /// As [`DecoderSkeleton::new`] and [`DecoderSkeleton::load`].
    pub fn new(
        config: &Value,
        tensors: IndexMap<String, Tensor>,
        options: &DecoderOptions,
    ) -> Result<Self, LmError> {
        let stored = |(name, tensor)| (name, StoredTensor::new(tensor));
        DecoderSkeleton::new(config, options)?.load(tensors.into_iter().map(stored).collect())
    }

    /// Drops the weights, and keeps everything else for those of another model of the same config.
    pub fn unload(self) -> DecoderSkeleton {
        DecoderSkeleton(self.runner.network.unload())
    }

    /// Number of token ids, counted from 0.
    pub fn vocabulary(&self) -> usize {
        self.runner.network.config.vocabulary
    }
}

impl LanguageModel for Decoder {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        super::scoring::score(&self.runner, requests)
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        super::generation::generate(&self.runner, requests, stop)
    }

    fn max_length(&self) -> usize {
        self.runner.network.limits.max_length
    }
}

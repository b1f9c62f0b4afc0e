//! A decoder as others see it.

use candle_core::Tensor;
use indexmap::IndexMap;
use serde_json::Value;

use super::cpu::Cpu;
use super::error::LmError;
use super::families::{self, Blueprint};
use super::limits::{DecoderOptions, Limits};
use super::network::Network;
use super::runner::Runner;
use super::storage::StoredTensor;
use super::weights::Weights;
use super::{GenerateRequest, LanguageModel, Score, ScoreRequest, StopRule};

/// A decoder-only model.
///
/// Holds its tensors by handle. Runs on the rayon pool of the caller: batches go to its threads, and
/// when there are fewer batches than threads, large products are divided as well.
#[derive(Debug)]
pub struct Decoder {
    blueprint: Blueprint,
    runner: Runner<Cpu>,
}

impl Decoder {
    /// Builds the model that `config`, the contents of config.json, describes.
    ///
    /// Tensors carry the names of transformers' checkpoints. Those in f32 that are contiguous are
    /// not copied; other dtypes are converted to f32. Tensors that the architecture does not use
    /// are dropped.
    ///
    /// # Errors
    ///
    /// Architectures and settings that are not computed exactly are refused; so are configs whose
    /// numbers make no sense, and missing or misshapen tensors.
    pub fn new(
        config: &Value,
        tensors: IndexMap<String, Tensor>,
        options: &DecoderOptions,
    ) -> Result<Self, LmError> {
        let stored = |(name, tensor)| (name, StoredTensor::new(tensor));
        Self::from_stored(config, tensors.into_iter().map(stored).collect(), options)
    }

    /// Builds a model whose tensors have the form in which they are to be kept.
    ///
    /// # Errors
    ///
    /// As [`Decoder::new`].
    pub fn from_stored(
        config: &Value,
        tensors: IndexMap<String, StoredTensor>,
        options: &DecoderOptions,
    ) -> Result<Self, LmError> {
        let blueprint = families::read(config)?;
        let Blueprint { config, names } = &blueprint;
        let weights = Weights::new(config, names, tensors)?;
        let limits = Limits::new(config, options);
        let runner = Runner::new(Network::new(config.clone(), weights, limits), Cpu::new());
        Ok(Self { blueprint, runner })
    }

    /// Replaces all weights; buffers stay.
    ///
    /// # Errors
    ///
    /// Missing or misshapen tensors; the model then keeps its weights.
    pub fn replace_weights(
        &mut self,
        tensors: IndexMap<String, StoredTensor>,
    ) -> Result<(), LmError> {
        let Blueprint { config, names } = &self.blueprint;
        self.runner.network.weights = Weights::new(config, names, tensors)?;
        Ok(())
    }

    /// Number of token ids, counted from 0.
    pub fn vocabulary(&self) -> usize {
        self.blueprint.config.vocabulary
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

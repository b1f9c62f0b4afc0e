//! A decoder as others see it.

use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use serde_json::Value;

use super::backend::Backend;
use super::cpu::Cpu;
use super::device::{DeviceChoice, OnDevice};
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
/// Holds its tensors by handle. On the processor it runs on the rayon pool of the caller: batches go to
/// its threads, and when there are fewer batches than threads, large products are divided as well.
#[derive(Debug)]
pub struct Decoder {
    blueprint: Blueprint,
    machine: Machine,
}

/// A model with what it runs on.
#[derive(Debug)]
enum Machine {
    Cpu(Runner<Cpu>),
    Device(Runner<OnDevice>),
}

/// Does the same with the runner, whatever it runs on.
macro_rules! with_runner {
    ($machine:expr, $runner:ident => $work:expr) => {
        match $machine {
            Machine::Cpu($runner) => $work,
            Machine::Device($runner) => $work,
        }
    };
}

impl Decoder {
    /// Builds the model that `config`, the contents of config.json, describes.
    ///
    /// Tensors carry the names of transformers' checkpoints. On the processor those in f32 that are
    /// contiguous are not copied; other dtypes are converted to f32. Graphics cards keep those in f16
    /// and bf16 as they are. Tensors that the architecture does not use are dropped.
    ///
    /// # Errors
    ///
    /// Architectures and settings that are not computed exactly are refused; so are configs whose
    /// numbers make no sense, missing or misshapen tensors, and devices that cannot be opened.
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
        match options.device {
            DeviceChoice::Cpu => {
                let blueprint = families::read(config)?;
                let runner = runner(&blueprint, tensors, options, Cpu::new())?;
                Ok(Self { blueprint, machine: Machine::Cpu(runner) })
            }
            choice => Self::on_device(config, tensors, options, choice.open()?),
        }
    }

    /// Builds a model that runs on one of candle's devices, whatever `options` choose. On candle's
    /// processor this is slower than what [`Decoder::from_stored`] builds for it, and a way to see
    /// what a graphics card would compute.
    ///
    /// # Errors
    ///
    /// As [`Decoder::new`].
    pub fn on_device(
        config: &Value,
        tensors: IndexMap<String, StoredTensor>,
        options: &DecoderOptions,
        device: Device,
    ) -> Result<Self, LmError> {
        let blueprint = families::read(config)?;
        let runner = runner(&blueprint, tensors, options, OnDevice::new(device))?;
        Ok(Self { blueprint, machine: Machine::Device(runner) })
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
        with_runner!(&mut self.machine, runner => {
            runner.network.weights = Weights::new(&runner.backend(1), config, names, tensors)?;
        });
        Ok(())
    }

    /// Number of token ids, counted from 0.
    pub fn vocabulary(&self) -> usize {
        self.blueprint.config.vocabulary
    }
}

/// Builds a model for a backend.
fn runner<B: Backend>(
    blueprint: &Blueprint,
    tensors: IndexMap<String, StoredTensor>,
    options: &DecoderOptions,
    backend: B,
) -> Result<Runner<B>, LmError> {
    let Blueprint { config, names } = blueprint;
    let weights = Weights::new(&backend, config, names, tensors)?;
    let limits = Limits::new(config, options, &B::HABITS);
    Ok(Runner::new(Network::new(config.clone(), weights, limits), backend))
}

impl LanguageModel for Decoder {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        with_runner!(&self.machine, runner => super::scoring::score(runner, requests))
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        with_runner!(&self.machine, runner => super::generation::generate(runner, requests, stop))
    }

    fn max_length(&self) -> usize {
        with_runner!(&self.machine, runner => runner.network.limits.max_length)
    }
}

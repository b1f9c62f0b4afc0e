//! A decoder as others see it.

use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use serde_json::Value;

use super::cpu::Cpu;
use super::device::{DeviceChoice, OnDevice};
use super::error::LmError;
use super::families;
use super::limits::DecoderOptions;
use super::network::Skeleton;
use super::runner::Runner;
use super::storage::StoredTensor;
use super::{GenerateRequest, LanguageModel, Score, ScoreRequest, StopRule};

/// A decoder-only model.
///
/// Holds its tensors by handle. On the processor it runs on the rayon pool of the caller: batches go to
/// its threads, and when there are fewer batches than threads, large products are divided as well.
#[derive(Debug)]
pub struct Decoder(AnyRunner);

#[derive(Debug)]
enum AnyRunner {
    Cpu(Runner<Cpu>),
    Device(Runner<OnDevice>),
}

/// Does the same with a decoder's runner, whatever it runs on.
macro_rules! with_runner {
    ($decoder:expr, $runner:ident => $work:expr) => {
        match &$decoder.0 {
            AnyRunner::Cpu($runner) => $work,
            AnyRunner::Device($runner) => $work,
        }
    };
}

/// A decoder without weights: what a config says, and the buffers of a decoder that has been run.
///
/// A search loads one candidate's weights after the other into it, which costs no memory but theirs.
#[derive(Debug)]
pub struct DecoderSkeleton(AnySkeleton);

#[derive(Debug)]
enum AnySkeleton {
    Cpu(Skeleton<Cpu>),
    Device(Skeleton<OnDevice>, OnDevice),
}

impl DecoderSkeleton {
    /// Reads the contents of a config.json.
    ///
    /// # Errors
    ///
    /// Architectures and settings that are not computed exactly are refused; so are configs whose
    /// numbers make no sense, and devices that cannot be opened.
    pub fn new(config: &Value, options: &DecoderOptions) -> Result<Self, LmError> {
        let blueprint = families::read(config)?;
        Ok(Self(match options.device {
            DeviceChoice::Cpu => AnySkeleton::Cpu(Skeleton::new(blueprint, options)),
            choice => {
                let device = OnDevice::new(choice.open()?);
                AnySkeleton::Device(Skeleton::new(blueprint, options), device)
            }
        }))
    }

    /// The same for one of candle's devices, whatever `options` choose. Candle's processor is slower
    /// than what [`DecoderSkeleton::new`] chooses for `cpu`; it computes what a graphics card would.
    ///
    /// # Errors
    ///
    /// As [`DecoderSkeleton::new`].
    pub fn on_device(
        config: &Value,
        options: &DecoderOptions,
        device: Device,
    ) -> Result<Self, LmError> {
        let skeleton = Skeleton::new(families::read(config)?, options);
        Ok(Self(AnySkeleton::Device(skeleton, OnDevice::new(device))))
    }

    /// Adds tensors, which carry the names of transformers' checkpoints. On the processor those in f32
    /// that are contiguous are not copied, and other floats become f32; graphics cards keep f16 and
    /// bf16. Tensors that the architecture does not use are dropped.
    ///
    /// # Errors
    ///
    /// Missing or misshapen tensors.
    pub fn load(self, tensors: IndexMap<String, StoredTensor>) -> Result<Decoder, LmError> {
        Ok(Decoder(match self.0 {
            AnySkeleton::Cpu(skeleton) => {
                let machine = Cpu::new();
                AnyRunner::Cpu(Runner::new(skeleton.load(&machine, tensors)?, machine))
            }
            AnySkeleton::Device(skeleton, machine) => {
                AnyRunner::Device(Runner::new(skeleton.load(&machine, tensors)?, machine))
            }
        }))
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

    /// The same on one of candle's devices; see [`DecoderSkeleton::on_device`].
    ///
    /// # Errors
    ///
    /// As [`Decoder::new`].
    pub fn on_device(
        config: &Value,
        tensors: IndexMap<String, Tensor>,
        options: &DecoderOptions,
        device: Device,
    ) -> Result<Self, LmError> {
        let stored = |(name, tensor)| (name, StoredTensor::new(tensor));
        DecoderSkeleton::on_device(config, options, device)?
            .load(tensors.into_iter().map(stored).collect())
    }

    /// Drops the weights, and keeps everything else for those of another model of the same config.
    pub fn unload(self) -> DecoderSkeleton {
        DecoderSkeleton(match self.0 {
            AnyRunner::Cpu(runner) => AnySkeleton::Cpu(runner.network.unload()),
            AnyRunner::Device(runner) => {
                let machine = runner.backend(1);
                AnySkeleton::Device(runner.network.unload(), machine)
            }
        })
    }

    /// Number of token ids, counted from 0.
    pub fn vocabulary(&self) -> usize {
        with_runner!(self, runner => runner.network.config.vocabulary)
    }
}

impl LanguageModel for Decoder {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
        with_runner!(self, runner => super::scoring::score(runner, requests))
    }

    fn generate(
        &self,
        requests: &[GenerateRequest],
        stop: StopRule<'_>,
    ) -> Result<Vec<Vec<u32>>, LmError> {
        with_runner!(self, runner => super::generation::generate(runner, requests, stop))
    }

    fn max_length(&self) -> usize {
        with_runner!(self, runner => runner.network.limits.max_length)
    }
}

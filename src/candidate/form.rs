//! How merged models are kept in memory and run.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::engine::{Engine, EngineError};
use crate::lm::{Decoder, DecoderOptions, DecoderSkeleton, LmError, Storage, StoredTensor};
use crate::plan::MergePlan;

/// How merged models are kept in memory and run.
#[derive(Debug)]
pub struct ModelForm {
    storage: Storage,
    options: DecoderOptions,
    /// Most bytes that weights may take.
    weight_limit: Option<u64>,
    /// Of models that have been scored, with their configs.
    skeletons: Mutex<Vec<(Value, DecoderSkeleton)>>,
}

impl ModelForm {
    /// Keeps weights in `storage`, and runs models with `options`.
    pub fn new(storage: Storage, options: DecoderOptions) -> ModelForm {
        ModelForm { storage, options, weight_limit: None, skeletons: Mutex::default() }
    }

    /// Refuses models whose weights take more bytes than that.
    #[must_use]
    pub fn with_weight_limit(self, bytes: Option<u64>) -> ModelForm {
        ModelForm { weight_limit: bytes, ..self }
    }

    /// Bytes that the weights of a merge take.
    pub fn bytes(&self, plan: &MergePlan) -> u64 {
        plan.tensors().iter().map(|tensor| self.storage.bytes(tensor.info.elements())).sum()
    }

    /// Merges a plan into a model that can run. Errors of the merge are outside, those of building
    /// the model inside.
    pub(super) fn merge(
        &self,
        engine: &Engine,
        plan: &MergePlan,
    ) -> Result<Result<Decoder, LmError>, EngineError> {
        let needed = self.bytes(plan);
        if let Some(limit) = self.weight_limit.filter(|&limit| needed >= limit) {
            return Err(EngineError::MemoryLimit { limit, needed });
        }
        let skeleton = match self.skeleton(plan.model_config()) {
            Ok(skeleton) => skeleton,
            Err(error) => return Ok(Err(error)),
        };
        let tensors = engine.merge_to_memory_as(plan, |name, tensor| {
            StoredTensor::convert(name, &tensor, self.storage)
        })?;
        Ok(skeleton.load(tensors))
    }

    fn skeleton(&self, config: &Value) -> Result<DecoderSkeleton, LmError> {
        let mut skeletons = self.skeletons.lock().unwrap_or_else(PoisonError::into_inner);
        match skeletons.iter().position(|(own, _)| own == config) {
            Some(index) => Ok(skeletons.swap_remove(index).1),
            None => DecoderSkeleton::new(config, &self.options),
        }
    }

    /// Takes back a model that has been scored.
    pub(super) fn recycle(&self, plan: &MergePlan, model: Decoder) {
        let mut skeletons = self.skeletons.lock().unwrap_or_else(PoisonError::into_inner);
        skeletons.push((plan.model_config().clone(), model.unload()));
    }
}

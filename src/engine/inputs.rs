//! The inputs of one output tensor as methods read them, and the statistics remembered about them.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::kernels::dtype::{first_not_finite, first_overflow, round_to};
use crate::methods::{MethodError, ReadInput, Statistic};
use crate::plan::Operand;

use super::error::EngineError;

/// Statistics by what they were computed from.
#[derive(Default)]
pub(super) struct StatisticsCache {
    entries: Mutex<HashMap<String, Statistic>>,
}

impl StatisticsCache {
    fn get_or_compute(
        &self,
        key: String,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        // The lock is not held while computing: another thread may need it to finish this very
        // computation. Two threads that miss at once compute the same value.
        let entries = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries().get(&key).cloned();
        match found {
            Some(statistic) => Ok(statistic),
            None => {
                let statistic = compute()?;
                Ok(entries().entry(key).or_insert(statistic).clone())
            }
        }
    }
}

/// The inputs of one output tensor.
pub(super) struct Inputs<'p> {
    base: Option<&'p Operand>,
    inputs: &'p [Operand],
    cache: &'p StatisticsCache,
    /// Names the inputs, so that statistics of others are not mistaken for theirs.
    identity: String,
}

impl<'p> Inputs<'p> {
    /// `elements` of every input take part.
    pub(super) fn new(
        base: Option<&'p Operand>,
        inputs: &'p [Operand],
        elements: usize,
        cache: &'p StatisticsCache,
    ) -> Self {
        let mut identity = elements.to_string();
        for (role, operand) in
            base.map(|base| ('b', base)).into_iter().chain(inputs.iter().map(|input| ('i', input)))
        {
            let (id, loaded_as) = (operand.model.id(), operand.loaded_as);
            write!(identity, "\0{role}{id}:{loaded_as}:{}", operand.tensor)
                .expect("writing to a string does not fail");
        }
        Self { base, inputs, cache, identity }
    }
}

impl ReadInput for Inputs<'_> {
    fn read_base(&self, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        let base = self.base.expect("methods read a base only where there is one");
        read(base, start, out).map_err(wrap)
    }

    fn read(&self, index: usize, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        read(&self.inputs[index], start, out).map_err(wrap)
    }

    fn remember(
        &self,
        key: &str,
        compute: &mut dyn FnMut() -> Result<Statistic, MethodError>,
    ) -> Result<Statistic, MethodError> {
        self.cache.get_or_compute(format!("{}\0{key}", self.identity), compute)
    }
}

fn wrap(error: EngineError) -> MethodError {
    MethodError::Read(Box::new(error))
}

/// Reads elements `start .. start + out.len()` of a tensor that is computed with: all of them have
/// to be finite numbers.
pub(super) fn read(operand: &Operand, start: usize, out: &mut [f32]) -> Result<(), EngineError> {
    operand.model.checkpoint.read_into(&operand.tensor, start, out)?;
    if let Some(index) = first_not_finite(out) {
        return Err(EngineError::NotFinite {
            model: operand.model.label(),
            tensor: operand.tensor.clone(),
            element: start + index,
            value: out[index],
        });
    }
    load(operand, start, out)
}

/// Rounds values of `operand`, from element `start` on, to the type that it is computed in.
pub(super) fn load(operand: &Operand, start: usize, values: &mut [f32]) -> Result<(), EngineError> {
    if operand.loaded_as == operand.dtype {
        return Ok(());
    }
    if let Some(index) = first_overflow(operand.loaded_as, values) {
        return Err(EngineError::LoadOverflow {
            model: operand.model.label(),
            tensor: operand.tensor.clone(),
            element: start + index,
            value: values[index],
            dtype: operand.loaded_as,
        });
    }
    round_to(operand.loaded_as, values);
    Ok(())
}

//! The inputs of one output tensor as methods read them, and the statistics remembered about them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::kernels::dtype::{first_not_finite, first_overflow, round_to, widen};
use crate::methods::{MethodError, ReadInput, Statistic};
use crate::plan::Operand;

use super::anomaly::{Anomalies, Anomaly};
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

/// The operands of one output tensor, and where their anomalies go.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'p> {
    pub(super) base: Option<&'p Operand>,
    pub(super) inputs: &'p [Operand],
    /// Index of the output tensor in the plan.
    pub(super) index: usize,
    pub(super) anomalies: &'p Anomalies,
}

impl<'p> Inputs<'p> {
    /// The base, when there is one, and the inputs.
    pub(super) fn operands(&self) -> impl Iterator<Item = &'p Operand> + use<'p> {
        self.base.into_iter().chain(self.inputs)
    }

    pub(super) fn n_operands(&self) -> usize {
        self.inputs.len() + usize::from(self.base.is_some())
    }

    /// Reads stored bytes of the operand at `position`, from element `start` on. All of them should
    /// be finite numbers.
    pub(super) fn read_stored(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        stored: &mut [u8],
    ) -> Result<(), EngineError> {
        operand.model.checkpoint.copy_bytes(&operand.tensor, start, stored)?;
        let Some(index) = first_not_finite(operand.dtype, stored) else { return Ok(()) };
        self.meet_not_finite(position, operand, start, stored, index)
    }

    /// Notes that element `index` of `stored` is no finite number.
    pub(super) fn meet_not_finite(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        stored: &[u8],
        index: usize,
    ) -> Result<(), EngineError> {
        let size = operand.dtype.size();
        let mut value = [0.0];
        widen(operand.dtype, &stored[index * size..][..size], &mut value);
        let anomaly = Anomaly::NotFinite {
            model: operand.model.label(),
            tensor: operand.tensor.clone(),
            element: start + index,
            value: value[0],
        };
        Ok(self.anomalies.meet(self.index, position, anomaly)?)
    }

    /// Widens stored bytes of the operand at `position`, from element `start` on, and rounds them to
    /// the type that it is computed in.
    pub(super) fn load(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        stored: &[u8],
        values: &mut [f32],
    ) -> Result<(), EngineError> {
        widen(operand.dtype, stored, values);
        if operand.loaded_as == operand.dtype {
            return Ok(());
        }
        if let Some(index) = first_overflow(operand.loaded_as, values) {
            let anomaly = Anomaly::LoadOverflow {
                model: operand.model.label(),
                tensor: operand.tensor.clone(),
                element: start + index,
                value: values[index],
                dtype: operand.loaded_as,
            };
            self.anomalies.meet(self.index, position, anomaly)?;
        }
        round_to(operand.loaded_as, values);
        Ok(())
    }
}

/// The inputs as the statistics pass reads them.
pub(super) struct Reader<'p> {
    inputs: Inputs<'p>,
    cache: &'p StatisticsCache,
    /// Names the inputs, so that statistics of others are not mistaken for theirs.
    identity: String,
}

impl<'p> Reader<'p> {
    /// `elements` of every input take part.
    pub(super) fn new(inputs: Inputs<'p>, elements: usize, cache: &'p StatisticsCache) -> Self {
        let mut identity = elements.to_string();
        for (position, operand) in inputs.operands().enumerate() {
            let role = if position == 0 && inputs.base.is_some() { 'b' } else { 'i' };
            let (id, loaded_as) = (operand.model.id(), operand.loaded_as);
            write!(identity, "\0{role}{id}:{loaded_as}:{}", operand.tensor)
                .expect("writing to a string does not fail");
        }
        Self { inputs, cache, identity }
    }

    fn read_operand(
        &self,
        position: usize,
        operand: &Operand,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        thread_local! {
            static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        STORED.with_borrow_mut(|stored| {
            stored.resize(out.len() * operand.dtype.size(), 0);
            self.inputs.read_stored(position, operand, start, stored)?;
            self.inputs.load(position, operand, start, stored, out)
        })
    }
}

impl ReadInput for Reader<'_> {
    fn read_base(&self, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        let base = self.inputs.base.expect("methods read a base only where there is one");
        self.read_operand(0, base, start, out).map_err(wrap)
    }

    fn read(&self, index: usize, start: usize, out: &mut [f32]) -> Result<(), MethodError> {
        let position = index + usize::from(self.inputs.base.is_some());
        self.read_operand(position, &self.inputs.inputs[index], start, out).map_err(wrap)
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

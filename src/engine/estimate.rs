//! What running a plan will take, known before it runs.

use crate::plan::{Action, MergePlan, Operand, PlannedTensor};

use super::memory::{self, Budget};
use super::{Engine, EngineError};

/// Memory of the process whatever it merges: the program, its threads' stacks, and the list of tensors.
const PROCESS_BYTES: u64 = 4_000_000;

/// Memory for each tensor of the plan: names, shapes, parameters.
const BYTES_PER_TENSOR: u64 = 2_000;

/// What running a plan will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Threads that work on it; fewer than the engine has where the memory limit is tight.
    pub threads: usize,
    /// Bytes read of all inputs: once to merge them, and for statistics as often as the method
    /// says. What the system keeps in memory from one reading to the next comes from the disk once.
    pub bytes_read: u64,
    /// Bytes of all output tensors, without files' headers.
    pub bytes_written: u64,
    /// Most bytes of memory of the process's own, beside the system's cache of files. Rather too
    /// many than too few.
    pub peak_memory: u64,
}

impl Engine {
    /// What [`Engine::merge_to_directory`] will take for `plan`; fails as that would when the memory
    /// limit is too small. Reads nothing.
    pub fn estimate(&self, plan: &MergePlan) -> Result<Estimate, EngineError> {
        let (budget, threads) = Budget::new(
            plan,
            self.options.memory_limit,
            self.threads(),
            self.options.chunk_elements,
        )?;
        let mut per_thread = 0;
        for tensor in plan.tensors() {
            per_thread = per_thread.max(working_bytes(tensor, &budget)?);
        }
        let n_tensors = plan.tensors().len() as u64;
        Ok(Estimate {
            threads,
            bytes_read: plan.tensors().iter().map(bytes_read).sum(),
            bytes_written: plan.output_bytes(),
            peak_memory: PROCESS_BYTES + n_tensors * BYTES_PER_TENSOR + threads as u64 * per_thread,
        })
    }
}

/// Bytes that a merge reads for one output tensor.
pub(super) fn bytes_read(tensor: &PlannedTensor) -> u64 {
    let bytes = |operand: &Operand| (tensor.info.elements() * operand.dtype.size()) as u64;
    match &tensor.action {
        Action::Copy { from, equals } => bytes(from) + equals.iter().map(bytes).sum::<u64>(),
        Action::Merge { method, base, inputs } => {
            let once: u64 = inputs.iter().chain(base).map(bytes).sum();
            once * (1 + method.statistics_passes() as u64)
        }
    }
}

/// Most bytes that one thread needs for one output tensor.
fn working_bytes(tensor: &PlannedTensor, budget: &Budget) -> Result<u64, EngineError> {
    let Action::Merge { method, base, inputs } = &tensor.action else {
        return Ok(memory::chunk_bytes(2, budget.chunk(2, 1)?.0));
    };
    let n_operands = inputs.len() + usize::from(base.is_some());
    let (chunk, _) = budget.chunk(n_operands, 1)?;
    let apply = memory::chunk_bytes(n_operands, chunk);
    if method.statistics_passes() == 0 {
        return Ok(apply);
    }
    // The method may want whole rows, which only its statistics pass decides.
    let row = tensor.info.shape.get(1..).map_or(1, |rest| rest.iter().product());
    let rows = memory::chunk_bytes(n_operands, row);
    let held = method.statistics_memory(tensor.info.elements());
    Ok(apply.max(rows).max(memory::statistics_bytes(n_operands)) + held)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::EngineOptions;
    use super::super::tests::counting_store;
    use super::*;
    use crate::plan::testing::plan;

    #[test]
    fn methods_read_as_often_as_they_say() {
        let (store, read) = counting_store(&["base", "a", "b"]);
        for (method, parameters) in [
            ("linear", "weight: 1"),
            ("slerp", "t: 0.4"),
            ("task_arithmetic", "weight: 1"),
            ("ties", "weight: 1, density: 0.5"),
            ("ties", "weight: 1"),
            ("dare_linear", "weight: 1, density: 0.5"),
            ("dare_ties", "weight: 1, density: 0.5, rescale: false"),
            ("della", "weight: 1, density: 0.5"),
            ("breadcrumbs", "weight: 1, density: 0.5"),
            ("passthrough", "scale: 2"),
        ] {
            let (base, models) = match method {
                "linear" => ("", "{model: a}, {model: b}"),
                "passthrough" => ("", "{model: a}"),
                "slerp" => ("base_model: base, ", "{model: b}"),
                _ => ("base_model: base, ", "{model: a}, {model: b}"),
            };
            let text = format!(
                "{{merge_method: {method}, {base}models: [{models}], parameters: {{{parameters}}}}}"
            );
            let plan = plan(&text, &store).unwrap();
            let engine = Engine::new(EngineOptions::default()).unwrap();
            let estimate = engine.estimate(&plan).unwrap();
            read.store(0, Ordering::Relaxed);
            engine.merge_to_memory(&plan).unwrap();
            // The models are in float32. Thresholds among equals read blocks again, and these tensors
            // are a single block.
            let bytes = 4 * read.load(Ordering::Relaxed) as u64;
            let says = estimate.bytes_read;
            let selects =
                matches!(method, "ties" | "breadcrumbs") && parameters.contains("density");
            match selects {
                true => assert!((says..=3 * says).contains(&bytes), "{method}: {bytes} for {says}"),
                false => assert_eq!(bytes, says, "{method}, {parameters}"),
            }
            assert_eq!(estimate.bytes_written, plan.output_bytes());
        }
    }

    #[test]
    fn a_memory_limit_bounds_the_estimate() {
        let (store, _) = counting_store(&["a", "b"]);
        let text =
            "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}";
        let plan = plan(text, &store).unwrap();
        let estimate = |memory_limit| {
            let options = EngineOptions { threads: Some(4), memory_limit, ..Default::default() };
            Engine::new(options).unwrap().estimate(&plan)
        };
        let free = estimate(None).unwrap();
        assert_eq!(free.threads, 4);
        let limited = estimate(Some(1_000_000)).unwrap();
        assert!(limited.threads < 4);
        assert!(limited.peak_memory < free.peak_memory);
        assert!(limited.peak_memory < 1_000_000 + PROCESS_BYTES + 100_000);
        assert!(matches!(estimate(Some(10)), Err(EngineError::MemoryLimit { .. })));
    }
}

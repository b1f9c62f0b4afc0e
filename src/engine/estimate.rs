//! What running a plan will take, known before it runs.

use crate::plan::{Action, MergePlan, Operand, PlannedTensor};

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
        let budget = self.budget(plan)?;
        let n_tensors = plan.tensors().len() as u64;
        Ok(Estimate {
            threads: budget.threads,
            bytes_read: plan.tensors().iter().map(bytes_read).sum(),
            bytes_written: plan.output_bytes(),
            peak_memory: PROCESS_BYTES
                + n_tensors * BYTES_PER_TENSOR
                + plan.tokenizer_memory()
                + budget.peak(plan)?,
        })
    }
}

/// Bytes that a merge reads for one output tensor.
pub(super) fn bytes_read(tensor: &PlannedTensor) -> u64 {
    let bytes = |operand: &Operand| (tensor.info.elements() * operand.dtype.size()) as u64;
    let at_first: u64 = tensor.operands().map(|operand| operand.holding().bytes_read).sum();
    let once: u64 = tensor.operands().map(bytes).sum();
    let times = match &tensor.action {
        Action::Copy { .. } => 1,
        Action::Merge { method, .. } => 1 + method.statistics_passes() as u64,
    };
    at_first + once * times
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::EngineOptions;
    use super::super::tests::{every_method, large_models};
    use super::*;
    use crate::methods::METHODS;
    use crate::plan::testing::plan;

    #[test]
    fn methods_read_as_often_as_they_say() {
        let (store, read) = large_models();
        let engine = Engine::new(EngineOptions::default()).unwrap();
        for text in every_method() {
            let plan = plan(&text, &store).unwrap();
            let estimate = engine.estimate(&plan).unwrap();
            read.store(0, Ordering::Relaxed);
            engine.merge_to_memory(&plan).unwrap();
            // The models are in float32.
            let bytes = 4 * read.load(Ordering::Relaxed) as u64;
            let says = estimate.bytes_read;
            let by_rows = text.contains("nuslerp_flatten") || text.contains("filter_wise");
            let selects = match &text {
                text if text.contains("density") => {
                    text.contains(": ties") || text.contains("breadcrumbs")
                }
                text => text.contains("select_topk"),
            };
            if selects {
                // A sample and the blocks of the last ties are read again.
                assert!((says..=says * 9 / 8).contains(&bytes), "{bytes} for {says}: {text}");
            } else if text.contains("arcee_fusion") {
                // Its sample has whole rows, and its quartiles have ties each.
                assert!((says..=says * 6 / 5).contains(&bytes), "{bytes} for {says}: {text}");
            } else if by_rows {
                // What is computed for each row needs no statistics of whole tensors.
                assert!((says / 2..=says).contains(&bytes), "{bytes} for {says}: {text}");
            } else {
                assert_eq!(bytes, says, "{text}");
            }
            assert_eq!(estimate.bytes_written, plan.output_bytes());
        }
    }

    #[test]
    fn memory_is_bounded_for_every_method() {
        let (store, _) = large_models();
        let configs = every_method();
        for method in METHODS.iter() {
            let named = format!("merge_method: {}", method.name);
            let is_here =
                |text: &String| text.split([',', '\n']).any(|part| part.trim_matches('{') == named);
            assert!(configs.iter().any(is_here), "{named}");
        }
        for text in configs {
            let plan = plan(&text, &store).unwrap();
            let beside = PROCESS_BYTES + plan.tensors().len() as u64 * BYTES_PER_TENSOR;
            for threads in [1, 4, 16, 200] {
                let estimate = |memory_limit| {
                    let threads = Some(threads);
                    let options = EngineOptions { threads, memory_limit, ..Default::default() };
                    Engine::new(options).unwrap().estimate(&plan)
                };
                let free = estimate(None).unwrap();
                assert!(free.peak_memory <= 256_000_000, "{threads} threads: {text}");
                assert!(free.threads >= threads.min(16), "{threads} threads: {text}");
                for limit in [10, 100_000, 1_000_000, 10_000_000, 40_000_000, 100_000_000] {
                    let kept = match estimate(Some(limit)) {
                        Err(EngineError::MemoryLimit { needed, .. }) => {
                            assert!(needed > limit && estimate(Some(needed - 1)).is_err());
                            estimate(Some(needed)).unwrap().peak_memory <= needed + beside
                        }
                        other => other.unwrap().peak_memory <= limit + beside,
                    };
                    assert!(kept, "{limit} with {threads} threads: {text}");
                }
            }
        }
    }

    #[test]
    fn a_memory_limit_is_kept_by_fewer_threads() {
        let (store, _) = large_models();
        let plan = plan(
            "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}",
            &store,
        )
        .unwrap();
        let estimate = |memory_limit| {
            let options = EngineOptions { threads: Some(4), memory_limit, ..Default::default() };
            Engine::new(options).unwrap().estimate(&plan).unwrap()
        };
        assert_eq!(estimate(None).threads, 4);
        assert_eq!(estimate(Some(1_000_000)).threads, 4);
        assert_eq!(estimate(Some(80_000)).threads, 2);
    }
}

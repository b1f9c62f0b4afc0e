//! Runs a [`MergePlan`] inside a memory budget, into files or into tensors.
//!
//! For each output tensor the method's statistics pass comes first, then chunks of all inputs are
//! widened, merged, rounded and handed over, on all threads at once. Chunks go straight to their
//! place, a byte range of a file or a part of a tensor, so nothing waits for anything else. Peak memory
//! is chunks × threads, and what statistics hold × the tensors in work at once, which is bounded. Neither
//! chunk size nor threads change a single bit of the result.

mod anomaly;
mod buffer;
mod directory;
mod error;
mod estimate;
mod inputs;
mod lock;
mod memory;
mod model_card;
mod tensor;

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::checkpoint::CheckpointWriter;
use crate::plan::{MergePlan, PlannedTensor};

pub use anomaly::Anomaly;
pub(crate) use directory::is_same_directory;
pub use directory::{WriteOptions, write_small_files};
pub use error::EngineError;
pub use estimate::Estimate;
pub use lock::{
    InputFiles, LOCK_FILE, Lock, LockError, LockOptions, LockedConfig, LockedFile, LockedInput,
};

use anomaly::Anomalies;
use inputs::StatisticsCache;
use lock::Hashing;
use memory::Budget;
use tensor::{Buffers, PreparedTensor};

/// How an engine works.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Threads; as many as the machine has cores when not given.
    pub threads: Option<usize>,
    /// Most bytes of working memory; 224 MB when not given, or what one thread needs if that is more. So
    /// a larger limit may allow more threads. The finished tensors of [`Engine::merge_to_memory`] are not
    /// counted.
    pub memory_limit: Option<u64>,
    /// Whether statistics are kept for later runs. Worth it when the same models are merged again
    /// with other parameters, as a search does; costs memory for as long as the engine lives.
    pub remember_statistics: bool,
    /// Most elements per chunk. Changes speed and memory, never the result.
    pub chunk_elements: Option<usize>,
    /// Once it is true, running merges stop with [`EngineError::Interrupted`].
    pub cancelled: Arc<AtomicBool>,
}

/// Runs plans, one after the other or several at once.
pub struct Engine {
    options: EngineOptions,
    pool: ThreadPool,
    statistics: StatisticsCache,
}

impl Engine {
    /// An engine with its own threads.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let pool = pool(options.threads.unwrap_or(0))?;
        Ok(Self { options, pool, statistics: StatisticsCache::default() })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Merges into tensors on the CPU, in output order.
    ///
    /// They are `f32`, with values already rounded to the plan's output type: exactly what reading
    /// the written output back would give. The first [`Anomaly`] is an error, since a model with one
    /// is not worth evaluating.
    pub fn merge_to_memory(
        &self,
        plan: &MergePlan,
    ) -> Result<IndexMap<String, Tensor>, EngineError> {
        self.merge_to_memory_as(plan, |_, tensor| Ok(tensor))
    }

    /// Merges like [`Engine::merge_to_memory`], but gives every tensor to `convert` with its name as
    /// soon as it is complete, and keeps what that makes of it. So a model whose `f32` tensors would
    /// not fit into memory can be kept in another form.
    pub fn merge_to_memory_as<T: Send>(
        &self,
        plan: &MergePlan,
        convert: impl Fn(&str, Tensor) -> candle_core::Result<T> + Sync,
    ) -> Result<IndexMap<String, T>, EngineError> {
        let anomalies = Anomalies::new(true);
        self.run(plan, &anomalies, |run| {
            // The largest first, while nothing else takes memory.
            let mut order: Vec<usize> = (0..plan.tensors().len()).collect();
            order.sort_by_key(|&index| Reverse(plan.tensors()[index].info.elements()));
            let mut converted = run.each(&order, |index| {
                let (name, tensor) = run.tensor(index)?;
                let tensor = convert(&name, tensor)
                    .map_err(|source| EngineError::Tensor { tensor: name.clone(), source })?;
                Ok((index, (name, tensor)))
            })?;
            converted.sort_unstable_by_key(|&(index, _)| index);
            Ok(converted.into_iter().map(|(_, tensor)| tensor).collect())
        })
    }

    /// Merges into the model directory `out`, which appears complete or not at all.
    ///
    /// `progress` is told how many more bytes of weights have been written, from many threads; in
    /// the end they add up to [`MergePlan::output_bytes`]. Returns what deserves a warning.
    pub fn merge_to_directory(
        &self,
        plan: &MergePlan,
        out: &Path,
        options: &WriteOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Anomaly>, EngineError> {
        directory::write(self, plan, out, options, progress)
    }

    /// Hashes input files on all threads, whatever is known of them, and tells `progress` about every
    /// byte.
    pub fn hash(
        &self,
        files: InputFiles,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<LockedInput>, EngineError> {
        self.finish_hashing(Hashing::new(files, None), progress)
    }

    fn finish_hashing(
        &self,
        hashing: Hashing,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<LockedInput>, EngineError> {
        self.pool.install(|| hashing.finish(&|| self.check_cancelled(), progress))
    }

    /// Writes every tensor of the plan at its place, and lets `hashing` keep up.
    fn merge_to_writer(
        &self,
        plan: &MergePlan,
        anomalies: &Anomalies,
        writer: &CheckpointWriter,
        hashing: Option<&Hashing>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), EngineError> {
        // In the order on disk, which is usually that of the inputs as well. The smallest tensor comes
        // first, so that a merge that cannot write says so at once, not after the embedding's statistics.
        let elements = |index: &usize| plan.tensors()[*index].info.elements();
        let mut order: Vec<usize> = (0..plan.tensors().len()).collect();
        order.sort_by_key(|&index| writer.layout().place(index));
        let smallest = order.iter().enumerate().filter(|(_, index)| elements(index) > 0);
        if let Some((place, _)) = smallest.min_by_key(|(_, index)| elements(index)) {
            order[..=place].rotate_right(1);
        }
        let total = plan.output_bytes();
        let done = AtomicU64::new(0);
        self.run(plan, anomalies, |run| {
            run.each(&order, |index| {
                run.write(index, |offset, bytes| {
                    writer.write_at(index, offset, bytes)?;
                    progress(bytes.len() as u64);
                    Ok(())
                })?;
                let Some(hashing) = hashing else { return Ok(()) };
                let bytes = plan.tensors()[index].info.bytes() as u64;
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                hashing.advance(done, total, &|| self.check_cancelled())
            })?;
            Ok(())
        })
    }

    fn check_cancelled(&self) -> Result<(), EngineError> {
        match self.options.cancelled.load(Ordering::Relaxed) {
            true => Err(EngineError::Interrupted),
            false => Ok(()),
        }
    }

    /// How the memory that this engine may use is divided when it runs `plan`.
    fn budget(&self, plan: &MergePlan) -> Result<Budget, EngineError> {
        let EngineOptions { memory_limit, chunk_elements, .. } = self.options;
        Budget::new(plan, memory_limit, self.threads(), chunk_elements)
    }

    fn run<T: Send>(
        &self,
        plan: &MergePlan,
        anomalies: &Anomalies,
        work: impl FnOnce(&Run<'_>) -> Result<T, EngineError> + Send,
    ) -> Result<T, EngineError> {
        let budget = self.budget(plan)?;
        let allowed = budget.threads;
        let run = Run { engine: self, plan, anomalies, budget, buffers: Buffers::default() };
        match allowed < self.threads() {
            true => pool(allowed)?.install(|| work(&run)),
            false => self.pool.install(|| work(&run)),
        }
    }
}

fn pool(threads: usize) -> Result<ThreadPool, EngineError> {
    let name = |index| format!("merge-{index}");
    Ok(ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()?)
}

/// One plan at work.
struct Run<'r> {
    engine: &'r Engine,
    plan: &'r MergePlan,
    anomalies: &'r Anomalies,
    budget: Budget,
    buffers: Buffers,
}

impl Run<'_> {
    /// Calls `work` with every index of `order`, and returns the results in that order.
    ///
    /// Each lane works on one tensor at a time and takes the next one when it is done, so that no more
    /// tensors hold statistics than there are lanes. Tensors given to rayon one by one would not have
    /// that bound: a thread that waits for blocks of its tensor begins another one meanwhile. Nobody
    /// waits for a lane; threads without one share the blocks and chunks of the tensors in work.
    fn each<T: Send>(
        &self,
        order: &[usize],
        work: impl Fn(usize) -> Result<T, EngineError> + Sync,
    ) -> Result<Vec<T>, EngineError> {
        let next = AtomicUsize::new(0);
        let lane = |_| {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&index) = order.get(place) else { return Ok(done) };
                match work(index) {
                    Ok(result) => done.push((place, result)),
                    Err(error) => {
                        // The other lanes stop too.
                        next.store(order.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let lanes = (0..self.budget.lanes).into_par_iter().with_max_len(1);
        let done: Result<Vec<Vec<(usize, T)>>, EngineError> = lanes.map(lane).collect();
        let mut done: Vec<_> = done?.into_iter().flatten().collect();
        done.sort_unstable_by_key(|&(place, _)| place);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }

    fn prepare(&self, index: usize) -> Result<PreparedTensor<'_>, EngineError> {
        self.engine.check_cancelled()?;
        let planned = &self.plan.tensors()[index];
        let prepare = |statistics: &StatisticsCache| {
            let seed = self.plan.seed();
            PreparedTensor::new(planned, index, seed, statistics, self.anomalies, &self.budget)
        };
        match self.engine.options.remember_statistics {
            true => prepare(&self.engine.statistics),
            false => prepare(&StatisticsCache::default()),
        }
    }

    fn write(
        &self,
        index: usize,
        write: impl Fn(usize, &[u8]) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        let tensor = self.prepare(index)?;
        (0..tensor.n_chunks()).into_par_iter().with_max_len(1).try_for_each(|chunk| {
            self.engine.check_cancelled()?;
            tensor.bytes(chunk, &self.buffers, &write)
        })
    }

    fn tensor(&self, index: usize) -> Result<(String, Tensor), EngineError> {
        let tensor = self.prepare(index)?;
        let PlannedTensor { name, info, .. } = &self.plan.tensors()[index];
        let mut values = vec![0.0f32; info.elements()];
        let chunks = values.par_chunks_mut(tensor.chunk).enumerate().with_max_len(1);
        chunks.try_for_each(|(index, out)| {
            self.engine.check_cancelled()?;
            tensor.values(index * tensor.chunk, out, &self.buffers)
        })?;
        let tensor = Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu);
        let failed = |source| EngineError::Tensor { tensor: name.clone(), source };
        Ok((name.clone(), tensor.map_err(failed)?))
    }
}

#[cfg(test)]
mod tests;

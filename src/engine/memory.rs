//! How much of a tensor is worked on at a time, and how many tensors.
//!
//! Each thread has buffers for a chunk, and for what the statistics pass reads. On top of that come, for
//! every tensor in work, the statistics that methods hold, [`TensorMethod::statistics_memory`], and what
//! inputs hold that are computed while they are read, [`TensorSource::holding`]. One formula says what a plan needs at least, what a limit leaves for chunks, and what a merge takes.
//!
//! [`TensorMethod::statistics_memory`]: crate::methods::TensorMethod::statistics_memory
//! [`TensorSource::holding`]: crate::checkpoint::TensorSource::holding

use crate::kernels::select::BUCKETS;
use crate::methods::{BLOCKS_READ, STATISTICS_BLOCK, row_elements};
use crate::plan::{Action, MergePlan, PlannedTensor};

use super::error::EngineError;

/// Elements per chunk when memory is no concern: enough for system calls to be cheap, few enough that
/// the stored bytes of a few models stay in a core's second cache.
const LARGEST_CHUNK: usize = 1 << 16;

/// Elements per block of a chunk: the values of a few models stay in a core's first cache.
pub(super) const BLOCK: usize = 1 << 11;

/// Elements per chunk below which more time goes into bookkeeping than into merging.
const SMALLEST_CHUNK: usize = 1 << 10;

/// Histograms that a thread may hold at once: its own, and partial sums that wait for others.
const HISTOGRAMS: usize = 3;

/// Operands that copying a tensor counts as: the tensor itself, and another to compare it with.
pub(super) const COPY_OPERANDS: usize = 2;

/// Working memory to make do with when no limit is given, if one thread can. Many threads use smaller
/// chunks, and fewer of them work where that is not enough: on rows of many millions, for example.
const USUAL_MEMORY: u64 = 224_000_000;

/// Most bytes that the statistics of all tensors in work may hold, if one tensor's are not more.
const STATISTICS_MEMORY: u64 = 128 << 20;

/// How working memory is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    limit: Option<u64>,
    /// Threads that work, no more than the engine has.
    pub(super) threads: usize,
    /// Tensors that are in work at once.
    pub(super) lanes: usize,
    needs: Needs,
    /// Bytes that a thread may use for a chunk.
    room: u64,
    largest_chunk: usize,
}

/// What the most demanding tensors of a plan need, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    /// The smallest chunk, per thread.
    chunk: u64,
    /// What the statistics pass reads into, per thread. Threads keep it while they work on chunks.
    blocks: u64,
    /// What statistics and the inputs' adapters hold, per tensor in work.
    held: u64,
}

impl Needs {
    fn of_plan(plan: &MergePlan) -> Self {
        plan.tensors().iter().map(Self::of_tensor).fold(Self::default(), |a, b| Self {
            chunk: a.chunk.max(b.chunk),
            blocks: a.blocks.max(b.blocks),
            held: a.held.max(b.held),
        })
    }

    fn of_tensor(tensor: &PlannedTensor) -> Self {
        let n_operands = n_operands(tensor);
        let chunk = chunk_bytes(n_operands, SMALLEST_CHUNK.max(granule(tensor)));
        let held: u64 = tensor.operands().map(|operand| operand.holding().memory).sum();
        match &tensor.action {
            Action::Merge { method, base, inputs } if method.statistics_passes() > 0 => {
                let block = STATISTICS_BLOCK.max(granule(tensor));
                let stored: usize = inputs.iter().chain(base).map(|from| from.dtype.size()).sum();
                // Values of every operand, of the result, and a working copy.
                let values = 4 * block * (n_operands + 2);
                let blocks = BLOCKS_READ * block * stored + values + 8 * BUCKETS * HISTOGRAMS;
                let held = held + method.statistics_memory(&tensor.info.shape);
                Self { chunk, blocks: blocks as u64, held }
            }
            _ => Self { chunk, blocks: 0, held },
        }
    }

    fn per_thread(&self) -> u64 {
        self.chunk + self.blocks
    }
}

impl Budget {
    /// A budget for `plan`, on at most `threads`. A limit that one thread cannot keep is an error.
    pub(super) fn new(
        plan: &MergePlan,
        limit: Option<u64>,
        threads: usize,
        largest_chunk: Option<usize>,
    ) -> Result<Self, EngineError> {
        let largest_chunk = largest_chunk.unwrap_or(LARGEST_CHUNK).max(1);
        let needs = Needs::of_plan(plan);
        let per_thread = needs.per_thread().max(1);
        let total = limit.unwrap_or(USUAL_MEMORY);
        let fit = total.saturating_sub(needs.held) / per_thread;
        if let Some(limit) = limit.filter(|_| fit == 0) {
            return Err(EngineError::MemoryLimit { limit, needed: needs.held + per_thread });
        }
        let threads = fit.clamp(1, threads.max(1) as u64);
        // As many tensors at once as the threads leave room for.
        let left = total.saturating_sub(threads * per_thread).min(STATISTICS_MEMORY);
        let lanes = left.checked_div(needs.held).unwrap_or(threads).clamp(1, threads);
        let room = (total.saturating_sub(lanes * needs.held) / threads)
            .saturating_sub(needs.blocks)
            .max(needs.chunk);
        let (threads, lanes) = (threads as usize, lanes as usize);
        Ok(Self { limit, threads, lanes, needs, room, largest_chunk })
    }

    /// Elements per chunk of a tensor with `n_operands` inputs, and per block of a chunk: multiples of
    /// `granule`.
    pub(super) fn chunk(
        &self,
        n_operands: usize,
        granule: usize,
    ) -> Result<(usize, usize), EngineError> {
        // Only a method that did not say that it needs rows comes to want more than there is room for.
        let excess = chunk_bytes(n_operands, granule).saturating_sub(self.room);
        if let Some(limit) = self.limit.filter(|_| granule > 1 && excess > 0) {
            let needed = limit + excess * self.threads as u64;
            return Err(EngineError::MemoryLimit { limit, needed });
        }
        let fits = usize::try_from(self.room / chunk_bytes(n_operands, 1)).unwrap_or(usize::MAX);
        let wanted = self.largest_chunk.min(fits);
        let whole = |elements: usize| (elements / granule).max(1) * granule;
        Ok((whole(wanted), whole(BLOCK.min(wanted))))
    }

    /// Most bytes of working memory that running `plan`, for which this budget was made, takes.
    pub(super) fn peak(&self, plan: &MergePlan) -> Result<u64, EngineError> {
        let mut chunk = 0;
        for tensor in plan.tensors() {
            let n_operands = n_operands(tensor);
            let (elements, _) = self.chunk(n_operands, granule(tensor))?;
            chunk = chunk.max(chunk_bytes(n_operands, elements));
        }
        let Self { threads, lanes, needs, .. } = self;
        Ok(*threads as u64 * (chunk + needs.blocks) + *lanes as u64 * needs.held)
    }
}

fn n_operands(tensor: &PlannedTensor) -> usize {
    match &tensor.action {
        Action::Copy { .. } => COPY_OPERANDS,
        Action::Merge { base, inputs, .. } => inputs.len() + usize::from(base.is_some()),
    }
}

/// Elements of which a chunk of the tensor is a multiple.
fn granule(tensor: &PlannedTensor) -> usize {
    let shape = &tensor.info.shape;
    match &tensor.action {
        Action::Merge { method, .. } if method.needs_rows(shape) => row_elements(shape).max(1),
        _ => 1,
    }
}

/// Bytes that the apply pass needs for a chunk: stored bytes of every input and of the result, and
/// values of a block, which is at most as large.
fn chunk_bytes(n_operands: usize, elements: usize) -> u64 {
    let per_element = (8 + 4) * (n_operands + 1);
    (per_element * elements) as u64
}

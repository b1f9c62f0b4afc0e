//! How much of a tensor is worked on at a time.

use crate::kernels::select::BUCKETS;
use crate::methods::STATISTICS_BLOCK;
use crate::plan::{Action, MergePlan};

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

/// Working memory that each thread may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    limit: Option<Limit>,
    largest_chunk: usize,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    total: u64,
    threads: u64,
}

impl Budget {
    /// A budget for `plan`, and the number of threads that it allows, at most `threads`.
    pub(super) fn new(
        plan: &MergePlan,
        limit: Option<u64>,
        threads: usize,
        largest_chunk: Option<usize>,
    ) -> Result<(Self, usize), EngineError> {
        let largest_chunk = largest_chunk.unwrap_or(LARGEST_CHUNK).max(1);
        let Some(total) = limit else {
            return Ok((Self { limit: None, largest_chunk }, threads));
        };
        let needed = plan.tensors().iter().map(|tensor| match &tensor.action {
            Action::Copy { .. } => chunk_bytes(2, SMALLEST_CHUNK),
            Action::Merge { base, inputs, .. } => {
                let n_operands = inputs.len() + usize::from(base.is_some());
                statistics_bytes(n_operands).max(chunk_bytes(n_operands, SMALLEST_CHUNK))
            }
        });
        let needed = needed.max().unwrap_or(0);
        let threads = (total / needed.max(1)).min(threads as u64);
        if threads == 0 {
            return Err(EngineError::MemoryLimit { limit: total, needed });
        }
        Ok((Self { limit: Some(Limit { total, threads }), largest_chunk }, threads as usize))
    }

    /// Elements per chunk of a tensor with `n_operands` inputs, and per block of a chunk: multiples of
    /// `granule`.
    pub(super) fn chunk(
        &self,
        n_operands: usize,
        granule: usize,
    ) -> Result<(usize, usize), EngineError> {
        let wanted = match self.limit {
            None => self.largest_chunk,
            Some(Limit { total, threads }) => {
                let room = total / threads;
                if granule > 1 && chunk_bytes(n_operands, granule) > room {
                    let needed = chunk_bytes(n_operands, granule) * threads;
                    return Err(EngineError::MemoryLimit { limit: total, needed });
                }
                let fits = room / chunk_bytes(n_operands, 1);
                self.largest_chunk.min(usize::try_from(fits).unwrap_or(usize::MAX))
            }
        };
        let whole = |elements: usize| (elements / granule).max(1) * granule;
        Ok((whole(wanted), whole(BLOCK.min(wanted))))
    }
}

/// Bytes that the apply pass needs for a chunk: stored bytes of every input and of the result, and
/// values of a block, which is at most as large.
pub(super) fn chunk_bytes(n_operands: usize, elements: usize) -> u64 {
    let per_element = (8 + 4) * (n_operands + 1);
    (per_element * elements) as u64
}

/// Bytes that the statistics pass needs: a block of every input, its working copy, and histograms.
pub(super) fn statistics_bytes(n_operands: usize) -> u64 {
    (4 * STATISTICS_BLOCK * (n_operands + 2) + 8 * BUCKETS * HISTOGRAMS) as u64
}

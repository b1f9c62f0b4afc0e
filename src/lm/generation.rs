//! Generation for many prompts at once, by continuous batching.
//!
//! Every worker has a fixed number of slots for sequences, whose keys and values have their places
//! from the beginning. A pass takes the next token of every sequence that is being continued and as
//! many tokens of prompts that have just come in as it has room for; a sequence that is finished
//! makes room for the next prompt at once. What is produced for a request does not depend on the
//! others.

mod sampling;
mod slot;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::backend::Backend;
use super::error::LmError;
use super::layout::{BlockAllocator, Pass, Prefix, Segment};
use super::network::Network;
use super::rotary::{Regime, Turns, regimes};
use super::runner::Runner;
use super::scoring::common_length;
use super::{GenerateRequest, StopRule};
pub use sampling::Sampling;
use sampling::choose;
use slot::Slot;

/// Continues every prompt; see [`super::LanguageModel::generate`].
pub(super) fn generate<B: Backend>(
    runner: &Runner<B>,
    requests: &[GenerateRequest],
    stop: StopRule<'_>,
) -> Result<Vec<Vec<u32>>, LmError> {
    let network = &runner.network;
    let prompts = requests
        .iter()
        .enumerate()
        .map(|(index, request)| prompt(network, index, request))
        .collect::<Result<Vec<_>, _>>()?;
    let mut answers = vec![Vec::new(); requests.len()];
    let queue: VecDeque<usize> =
        (0..requests.len()).filter(|index| requests[*index].max_new_tokens > 0).collect();
    if queue.is_empty() {
        return Ok(answers);
    }

    let shared = shared_beginning(network, &prompts, requests);
    let lengths = prompts.iter().zip(requests);
    let capacity = lengths.map(|(prompt, request)| prompt.len() + request.max_new_tokens).max();
    let capacity = capacity.unwrap_or(0) - shared;
    let affordable = (network.limits.kv_positions / capacity).max(1);
    let slots = queue.len().min(B::HABITS.sequences).min(affordable);
    let workers = queue.len().div_ceil(slots).min(rayon::current_num_threads());
    let workers = workers.min((affordable / slots).max(1)).min(network.limits.passes);
    let backend = runner.backend(workers);
    let prefixes = match shared {
        0 => Vec::new(),
        _ => {
            let turns = Turns::new(&network.config.rotaries, shared, 0..shared);
            let tokens = &prompts[0][..shared];
            vec![Arc::new(network.prefix(&runner.backend(1), tokens, &[], &turns)?)]
        }
    };
    let work = Work {
        network,
        backend: &backend,
        requests,
        prompts: &prompts,
        prefixes: &prefixes,
        stop,
        queue: Mutex::new(queue),
    };
    let results: Vec<_> =
        (0..workers).into_par_iter().map(|_| Worker::new(&work, slots, capacity)?.run()).collect();
    let mut failed: Option<LmError> = None;
    for result in results {
        match result {
            Ok(finished) => {
                finished.into_iter().for_each(|(index, answer)| answers[index] = answer)
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(answers), Err)
}

/// The end of a prompt, as much of it as leaves room for the answer.
fn prompt<'a, B: Backend>(
    network: &Network<B>,
    index: usize,
    request: &'a GenerateRequest,
) -> Result<&'a [u32], LmError> {
    if request.prompt.is_empty() {
        return Err(LmError::EmptyContext { request: index });
    }
    network.check_tokens(index, &request.prompt)?;
    let max_length = network.limits.max_length;
    let tokens = request.max_new_tokens;
    if tokens >= max_length {
        return Err(LmError::RequestTooLong { request: index, tokens, max_length });
    }
    let kept = request.prompt.len().min(max_length - tokens);
    Ok(&request.prompt[request.prompt.len() - kept..])
}

/// How many first tokens all prompts share, leaving each at least one of its own.
fn shared_beginning<B: Backend>(
    network: &Network<B>,
    prompts: &[&[u32]],
    requests: &[GenerateRequest],
) -> usize {
    let Some((first, others)) = prompts.split_first() else { return 0 };
    let rotaries = &network.config.rotaries;
    let is_usual = |length| regimes(rotaries, length).iter().all(|one| *one == Regime::Usual);
    let stays_usual = prompts
        .iter()
        .zip(requests)
        .all(|(prompt, request)| is_usual(prompt.len() + request.max_new_tokens));
    if others.is_empty() || !stays_usual || !network.limits.share_prefixes {
        return 0;
    }
    others
        .iter()
        .map(|prompt| common_length(first, prompt).min(prompt.len() - 1))
        .fold(first.len() - 1, usize::min)
}

/// What all workers share.
struct Work<'a, B: Backend> {
    network: &'a Network<B>,
    backend: &'a B,
    requests: &'a [GenerateRequest],
    prompts: &'a [&'a [u32]],
    prefixes: &'a [Arc<Prefix<B::Store>>],
    stop: StopRule<'a>,
    /// Requests that nobody has begun.
    queue: Mutex<VecDeque<usize>>,
}

impl<B: Backend> Work<'_, B> {
    fn next(&self) -> Option<usize> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// One thread's share of the work.
struct Worker<'a, B: Backend> {
    work: &'a Work<'a, B>,
    slots: Vec<Slot>,
    store: B::Store,
    /// For sequences in the usual regime.
    turns: Turns,
    finished: Vec<(usize, Vec<u32>)>,
}

impl<'a, B: Backend> Worker<'a, B> {
    fn new(work: &'a Work<'a, B>, slots: usize, capacity: usize) -> Result<Self, LmError> {
        let mut blocks = BlockAllocator::default();
        let slots = (0..slots).map(|_| Slot::new(blocks.allot(capacity))).collect();
        let mut store = work.network.lasting_store(work.backend);
        work.backend.grow(&mut store, blocks.positions)?;
        let turns = Turns::new(&work.network.config.rotaries, 0, 0..0);
        Ok(Self { work, slots, store, turns, finished: Vec::new() })
    }

    /// Continues sequences until there are no more requests.
    fn run(mut self) -> Result<Vec<(usize, Vec<u32>)>, LmError> {
        loop {
            self.refill();
            let Some(regimes) = self.slots.iter().find_map(Slot::regimes) else {
                return Ok(self.finished);
            };
            let regimes = regimes.to_vec();
            self.pass(&regimes)?;
        }
    }

    /// Begins requests in free slots.
    fn refill(&mut self) {
        let shared = self.work.prefixes.iter().map(|prefix| prefix.len).sum();
        for slot in &mut self.slots {
            if slot.is_free() {
                let Some(request) = self.work.next() else { return };
                let rotaries = &self.work.network.config.rotaries;
                slot.begin(request, self.work.prompts[request], shared, rotaries);
            }
        }
    }

    /// Runs one pass for the sequences in some regime.
    fn pass(&mut self, regimes: &[Regime]) -> Result<(), LmError> {
        let Self { work, slots, store, turns, finished } = self;
        let network = work.network;
        let mut tokens = Vec::new();
        let mut segments: Vec<Segment> = Vec::new();
        // Slots whose next token comes out of this pass.
        let mut predicted = Vec::new();
        let mut wanted = Vec::new();
        // Sequences that are being continued come first, so that a prompt cannot hold them up.
        let mut order: Vec<usize> =
            (0..slots.len()).filter(|slot| slots[*slot].regimes() == Some(regimes)).collect();
        order.sort_by_key(|slot| slots[*slot].waiting());
        for index in order {
            let room = network.limits.batch_rows.saturating_sub(tokens.len());
            if room == 0 && !segments.is_empty() {
                break;
            }
            let (segment, is_last) = slots[index].feed(room.max(1), &mut tokens);
            segments.push(segment);
            if is_last {
                predicted.push(index);
                wanted.push(tokens.len() - 1);
            }
        }
        let positions = |segment: &Segment| {
            let start = segment.position + segment.held;
            start..start + segment.tokens.len()
        };
        let end = segments.iter().map(|segment| positions(segment).end).max().unwrap_or(0);
        let rotaries = &network.config.rotaries;
        let own_turns;
        let turns = if regimes.iter().all(|regime| *regime == Regime::Usual) {
            turns.extend(rotaries, end);
            &*turns
        } else {
            let start = segments.iter().map(|segment| positions(segment).start).min().unwrap_or(0);
            own_turns = Turns::of_regimes(rotaries, regimes.to_vec(), start..end);
            &own_turns
        };
        let pass = Pass { tokens: &tokens, segments: &segments, prefixes: work.prefixes, turns };
        network.with_workspace(work.backend, |workspace| {
            network.run(work.backend, &pass, &wanted, workspace, Some(store))?;
            let count = wanted.len();
            network.head(work.backend, count, workspace, |start, logits, summaries| {
                let some = &predicted[start..start + summaries.len()];
                let sampling = |slot: &Slot| &work.requests[slot.request()].sampling;
                let all_logits = match some.iter().all(|slot| sampling(&slots[*slot]).is_greedy()) {
                    true => None,
                    false => Some(work.backend.to_host(logits)?),
                };
                let width = network.config.vocabulary;
                for (row, (slot, summary)) in some.iter().zip(summaries).enumerate() {
                    let slot = &mut slots[*slot];
                    let request = &work.requests[slot.request()];
                    if !summary.log_sum.is_finite() {
                        return Err(LmError::NotFinite { request: slot.request() });
                    }
                    let own = all_logits.as_deref().map(|all| &all[row * width..(row + 1) * width]);
                    let token = match own {
                        Some(logits) if !request.sampling.is_greedy() => {
                            choose(&request.sampling, logits, slot.tokens(), slot.answer().len())
                        }
                        _ => summary.argmax,
                    };
                    let ends = request.end_tokens.contains(&token);
                    if !ends {
                        slot.push(token, rotaries);
                    }
                    if ends
                        || (work.stop)(slot.request(), slot.answer())
                        || slot.answer().len() == request.max_new_tokens
                    {
                        finished.push(slot.finish());
                    }
                }
                Ok(())
            })
        })
    }
}

//! Greedy generation for many prompts at once.
//!
//! Prompts are divided into groups; a group's prompts pass through the model packed, and then each
//! step appends one token to every sequence of the group that is not finished. Keys and values stay
//! in pages that are added as answers grow, since answers usually end long before they may.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::{Ancestor, Prefix, Segment};
use super::decoder::{Decoder, Pass, continued};
use super::error::LmError;
use super::kv::{BlockAllocator, KvStore};
use super::rotary::RotaryTable;
use super::scoring::common_length;
use super::{GenerateRequest, StopRule};

/// Sequences that are continued together: enough for products to run at nearly full speed, and few
/// enough that a few hundred prompts occupy several threads.
const MOST_SEQUENCES: usize = 64;

/// Keys and values of a group, at most, if all its answers become as long as they may.
const MOST_KV_BYTES: usize = 1 << 30;

/// Positions added to a sequence at once.
const PAGE: usize = 32;

/// A sequence that is being continued.
struct Sequence<'a> {
    request: usize,
    prompt: &'a [u32],
    answer: Vec<u32>,
    /// The token to feed next, if the prompt is done.
    next: u32,
}

/// Continues every prompt; see [`super::LanguageModel::generate`].
pub(super) fn generate(
    decoder: &Decoder,
    requests: &[GenerateRequest],
    stop: StopRule<'_>,
) -> Result<Vec<Vec<u32>>, LmError> {
    let prompts = requests
        .iter()
        .enumerate()
        .map(|(index, request)| prompt(decoder, index, request))
        .collect::<Result<Vec<_>, _>>()?;
    if requests.is_empty() {
        return Ok(Vec::new());
    }

    let groups = groups(decoder, &prompts, requests);
    let pool = rayon::current_num_threads();
    let threads = pool.div_ceil(groups.len());
    let shared = shared_beginning(&prompts);
    let rotary = decoder.config.rotary.table(shared);
    let prefix = (shared > 0).then(|| decoder.prefix(&prompts[0][..shared], &rotary, pool));
    let results: Vec<_> = groups
        .into_par_iter()
        .map(|range| {
            let mut group = Group {
                decoder,
                requests,
                stop,
                prefix: prefix.as_ref(),
                rotary: decoder.config.rotary.table(0),
                threads,
                blocks: BlockAllocator::default(),
                store: decoder.kv_store(0, true),
            };
            group.run(range, &prompts)
        })
        .collect();
    let mut answers = Vec::with_capacity(requests.len());
    for group in results {
        answers.extend(group?);
    }
    Ok(answers)
}

/// The end of a prompt, as much of it as leaves room for the answer.
fn prompt<'a>(
    decoder: &Decoder,
    index: usize,
    request: &'a GenerateRequest,
) -> Result<&'a [u32], LmError> {
    if request.prompt.is_empty() {
        return Err(LmError::EmptyContext { request: index });
    }
    decoder.check_tokens(index, &request.prompt)?;
    if request.max_new_tokens >= decoder.max_length {
        return Err(LmError::RequestTooLong {
            request: index,
            tokens: request.max_new_tokens,
            max_length: decoder.max_length,
        });
    }
    let kept = request.prompt.len().min(decoder.max_length - request.max_new_tokens);
    Ok(&request.prompt[request.prompt.len() - kept..])
}

/// How many first tokens all prompts share, leaving each at least one of its own.
fn shared_beginning(prompts: &[&[u32]]) -> usize {
    let Some((first, others)) = prompts.split_first() else {
        return 0;
    };
    if others.is_empty() {
        return 0;
    }
    others
        .iter()
        .map(|prompt| common_length(first, prompt).min(prompt.len() - 1))
        .fold(first.len() - 1, usize::min)
}

/// Divides the requests, in order, into groups of bounded size and memory.
fn groups(
    decoder: &Decoder,
    prompts: &[&[u32]],
    requests: &[GenerateRequest],
) -> Vec<Range<usize>> {
    let config = &decoder.config;
    let position_bytes = 2 * config.layers * config.kv_heads * config.head_dim * size_of::<f32>();
    let most_positions = MOST_KV_BYTES / position_bytes;
    let mut groups = Vec::new();
    let mut start = 0;
    let mut positions = 0;
    for (index, (prompt, request)) in prompts.iter().zip(requests).enumerate() {
        let needed = prompt.len() + request.max_new_tokens + PAGE;
        if index > start && (index - start == MOST_SEQUENCES || positions + needed > most_positions)
        {
            groups.push(start..index);
            start = index;
            positions = 0;
        }
        positions += needed;
    }
    groups.push(start..prompts.len());
    groups
}

struct Group<'a> {
    decoder: &'a Decoder,
    requests: &'a [GenerateRequest],
    stop: StopRule<'a>,
    prefix: Option<&'a Prefix>,
    rotary: RotaryTable,
    threads: usize,
    blocks: BlockAllocator,
    store: KvStore,
}

impl Group<'_> {
    /// Answers the requests of a group, in order.
    fn run(&mut self, range: Range<usize>, prompts: &[&[u32]]) -> Result<Vec<Vec<u32>>, LmError> {
        let mut answers = vec![Vec::new(); range.len()];
        let shared = self.prefix.map_or(0, |prefix| prefix.len);
        let mut live = Vec::new();
        let mut segments = Vec::new();
        for request in range.clone() {
            if self.requests[request].max_new_tokens == 0 {
                continue;
            }
            let prompt = &prompts[request][shared..];
            let block = self.blocks.allot(prompt.len() + PAGE);
            segments.push(continued(block, 0, shared, 0..0));
            live.push(Sequence { request, prompt, answer: Vec::new(), next: 0 });
        }
        self.make_room(&segments);
        let mut predictions = self.feed_prompts(&live, &mut segments);
        while !live.is_empty() {
            let finished = self.take(&mut live, &predictions)?;
            let mut keep = finished.iter().map(|finished| !finished);
            segments.retain(|_| keep.next().unwrap_or(false));
            let mut keep = finished.iter().map(|finished| !finished);
            live.retain_mut(|sequence| {
                let kept = keep.next().unwrap_or(false);
                if !kept {
                    answers[sequence.request - range.start] = std::mem::take(&mut sequence.answer);
                }
                kept
            });
            if !live.is_empty() {
                predictions = self.step(&live, &mut segments);
            }
        }
        Ok(answers)
    }

    /// Prepares for what the segments' blocks may come to hold.
    fn make_room(&mut self, segments: &[Segment]) {
        self.store.grow(self.blocks.positions);
        let ends = segments.iter().map(|segment| segment.position + segment.block.capacity);
        self.rotary.extend(&self.decoder.config.rotary, ends.max().unwrap_or(0));
    }

    /// Passes all prompts through the model, in passes of bounded size, and returns each sequence's
    /// first prediction.
    fn feed_prompts(&mut self, live: &[Sequence<'_>], segments: &mut [Segment]) -> Vec<Prediction> {
        let mut predictions = Vec::with_capacity(live.len());
        let mut sequence = 0;
        while sequence < live.len() {
            let mut tokens = Vec::new();
            let mut parts = Vec::new();
            let mut wanted = Vec::new();
            while sequence < live.len() && tokens.len() < self.decoder.batch_rows {
                let held = segments[sequence].held;
                let rest = &live[sequence].prompt[held..];
                let fed = rest.len().min(self.decoder.batch_rows - tokens.len());
                let start = tokens.len();
                tokens.extend_from_slice(&rest[..fed]);
                segments[sequence].tokens = start..start + fed;
                parts.push(segments[sequence].clone());
                segments[sequence].held += fed;
                if fed < rest.len() {
                    break;
                }
                wanted.push(tokens.len() - 1);
                sequence += 1;
            }
            predictions.extend(self.predict(&tokens, &parts, &wanted));
        }
        predictions
    }

    /// Feeds every sequence its last token and returns its next prediction.
    fn step(&mut self, live: &[Sequence<'_>], segments: &mut [Segment]) -> Vec<Prediction> {
        for (row, segment) in segments.iter_mut().enumerate() {
            segment.tokens = row..row + 1;
            if segment.held == segment.block.capacity {
                let Segment { block, held, position, .. } = *segment;
                segment.ancestors.push(Ancestor { block, len: held, position });
                segment.block = self.blocks.allot(PAGE);
                segment.position += held;
                segment.held = 0;
            }
        }
        self.make_room(segments);
        let tokens: Vec<u32> = live.iter().map(|sequence| sequence.next).collect();
        let wanted: Vec<usize> = (0..live.len()).collect();
        let predictions = self.predict(&tokens, segments, &wanted);
        segments.iter_mut().for_each(|segment| segment.held += 1);
        predictions
    }

    fn predict(
        &mut self,
        tokens: &[u32],
        segments: &[Segment],
        wanted: &[usize],
    ) -> Vec<Prediction> {
        let Self { decoder, prefix, threads, .. } = *self;
        let pass = Pass { tokens, segments, prefix, rotary: &self.rotary, threads };
        let states = decoder.hidden(&pass, wanted, &mut self.store);
        let mut predictions = Vec::with_capacity(wanted.len());
        decoder.head(&states, threads, |_, _, summary| {
            predictions
                .push(Prediction { token: summary.argmax, is_number: summary.log_sum.is_finite() });
        });
        predictions
    }

    /// Gives each sequence its predicted token and tells which of them are finished by it.
    fn take(
        &self,
        live: &mut [Sequence<'_>],
        predictions: &[Prediction],
    ) -> Result<Vec<bool>, LmError> {
        live.iter_mut()
            .zip(predictions)
            .map(|(sequence, prediction)| {
                let request = &self.requests[sequence.request];
                if !prediction.is_number {
                    return Err(LmError::NotFinite { request: sequence.request });
                }
                if request.end_tokens.contains(&prediction.token) {
                    return Ok(true);
                }
                sequence.answer.push(prediction.token);
                sequence.next = prediction.token;
                Ok((self.stop)(sequence.request, &sequence.answer)
                    || sequence.answer.len() == request.max_new_tokens)
            })
            .collect()
    }
}

/// The most probable next token of a sequence.
struct Prediction {
    token: u32,
    /// Whether the logits it was chosen from are finite.
    is_number: bool,
}

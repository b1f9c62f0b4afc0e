//! Scoring: which tokens pass through the model, and what their logits say about the requests.
//!
//! The inputs of all requests form a prefix tree. Each of its nodes passes through the model once,
//! seen by all requests below it; the head runs once per row that predicts a scored token. The tree
//! is cut into batches of bounded size, and what all requests share is computed before them.
//!
//! A row's arithmetic does not depend on what else is in its batch, so scores are the same, bit for
//! bit, for every composition of requests, batch size and number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::{Ancestor, Prefix, Segment};
use super::decoder::{Decoder, Pass};
use super::error::LmError;
use super::kv::BlockAllocator;
use super::rotary::RotaryTable;
use super::{Score, ScoreRequest};

/// A request as the model sees it.
#[derive(Debug)]
struct Item<'a> {
    request: usize,
    /// The tokens fed in: all but the last of context and continuation, at most `max_length`.
    input: Vec<u32>,
    /// The continuation; its first token is predicted at input position `first`.
    targets: &'a [u32],
    first: usize,
}

/// Scores every request; see [`super::LanguageModel::score`].
pub(super) fn score(decoder: &Decoder, requests: &[ScoreRequest]) -> Result<Vec<Score>, LmError> {
    let mut items = requests
        .iter()
        .enumerate()
        .map(|(index, request)| item(decoder, index, request))
        .collect::<Result<Vec<_>, _>>()?;
    items.sort_by(|a, b| a.input.cmp(&b.input));
    let Some(longest) = items.iter().map(|item| item.input.len()).max() else {
        return Ok(Vec::new());
    };

    let (shared, batches) = batches(&items, decoder.batch_rows);
    let pool = rayon::current_num_threads();
    let threads = pool.div_ceil(batches.len());
    let rotary = decoder.config.rotary.table(longest);
    let prefix = (shared > 0).then(|| decoder.prefix(&items[0].input[..shared], &rotary, pool));
    let results: Vec<_> = batches
        .into_par_iter()
        .map(|batch| score_batch(decoder, &items[batch], prefix.as_ref(), &rotary, threads))
        .collect();

    let mut scores = vec![Score { log_likelihood: 0.0, greedy: true }; requests.len()];
    let mut sorted = items.iter();
    for batch in results {
        for (score, item) in batch?.into_iter().zip(sorted.by_ref()) {
            scores[item.request] = score;
        }
    }
    Ok(scores)
}

fn item<'a>(
    decoder: &Decoder,
    index: usize,
    request: &'a ScoreRequest,
) -> Result<Item<'a>, LmError> {
    let ScoreRequest { context, continuation } = request;
    if context.is_empty() {
        return Err(LmError::EmptyContext { request: index });
    }
    let Some((_, fed)) = continuation.split_last() else {
        return Err(LmError::EmptyContinuation { request: index });
    };
    decoder.check_tokens(index, context)?;
    decoder.check_tokens(index, continuation)?;
    if continuation.len() > decoder.max_length {
        return Err(LmError::RequestTooLong {
            request: index,
            tokens: continuation.len(),
            max_length: decoder.max_length,
        });
    }
    let kept = context.len().min(decoder.max_length - fed.len());
    let input = [&context[context.len() - kept..], fed].concat();
    Ok(Item { request: index, input, targets: continuation, first: kept - 1 })
}

/// Cuts sorted items into batches of at most `rows` tokens, or of one item. Also returns how many
/// first tokens of all items should be computed before the batches: those that all items share and
/// none predicts from, if there is more than one batch.
fn batches(items: &[Item<'_>], rows: usize) -> (usize, Vec<Range<usize>>) {
    let (Some(head), Some(tail)) = (items.first(), items.last()) else {
        return (0, Vec::new());
    };
    let common = common_length(&head.input, &tail.input);
    let shared = items.iter().map(|item| item.first).fold(common, usize::min);
    let mut batches = Vec::new();
    let mut start = 0;
    let mut filled = 0;
    for (index, item) in items.iter().enumerate() {
        let known = match index.checked_sub(1) {
            Some(before) if index > start => common_length(&items[before].input, &item.input),
            _ => shared,
        };
        filled += item.input.len() - known;
        if filled > rows && index > start {
            batches.push(start..index);
            start = index;
            filled = item.input.len() - shared;
        }
    }
    batches.push(start..items.len());
    (if batches.len() > 1 { shared } else { 0 }, batches)
}

/// A subtree still to be laid out: sorted items that agree up to `depth`.
struct Subtree {
    items: Range<usize>,
    depth: usize,
    ancestors: Vec<Ancestor>,
}

/// A batch's prefix tree as segments.
#[derive(Default)]
struct Layout {
    tokens: Vec<u32>,
    segments: Vec<Segment>,
    blocks: BlockAllocator,
    predictions: Vec<Prediction>,
}

/// A row that predicts a token of an item's continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prediction {
    row: usize,
    item: usize,
    target: u32,
}

impl Layout {
    /// Lays out the tree of sorted items below their first `shared` tokens.
    fn new(items: &[Item<'_>], shared: usize) -> Self {
        let mut layout = Self::default();
        let root = Subtree { items: 0..items.len(), depth: shared, ancestors: Vec::new() };
        let mut pending = vec![root];
        while let Some(subtree) = pending.pop() {
            layout.lay(items, subtree, &mut pending);
        }
        layout.predictions.sort_unstable();
        layout
    }

    /// Lays out the segment that a subtree's items share, and notes the subtrees below it. Children
    /// come after their parents, so that an item's predictions stand in the order of its tokens.
    fn lay(&mut self, items: &[Item<'_>], subtree: Subtree, pending: &mut Vec<Subtree>) {
        let Subtree { items: range, depth, mut ancestors } = subtree;
        let first = &items[range.start].input;
        let end = common_length(first, &items[range.end - 1].input);
        if end > depth {
            let row = self.tokens.len();
            let block = self.blocks.allot(end - depth);
            self.tokens.extend_from_slice(&first[depth..end]);
            self.segments.push(Segment {
                tokens: row..row + end - depth,
                block,
                held: 0,
                position: depth,
                ancestors: ancestors.clone(),
            });
            ancestors.push(Ancestor { block, len: end - depth, position: depth });
            for index in range.clone() {
                let item = &items[index];
                self.predictions.extend((item.first.max(depth)..end).map(|position| Prediction {
                    row: row + position - depth,
                    item: index,
                    target: item.targets[position - item.first],
                }));
            }
        }
        let mut rest = range.end;
        while rest > range.start && items[rest - 1].input.len() > end {
            let token = items[rest - 1].input[end];
            let below = items[range.start..rest]
                .iter()
                .rposition(|item| item.input.get(end) != Some(&token))
                .map_or(range.start, |before| range.start + before + 1);
            pending.push(Subtree { items: below..rest, depth: end, ancestors: ancestors.clone() });
            rest = below;
        }
    }
}

fn score_batch(
    decoder: &Decoder,
    items: &[Item<'_>],
    prefix: Option<&Prefix>,
    rotary: &RotaryTable,
    threads: usize,
) -> Result<Vec<Score>, LmError> {
    let layout = Layout::new(items, prefix.map_or(0, |prefix| prefix.len));
    let mut wanted: Vec<usize> =
        layout.predictions.iter().map(|prediction| prediction.row).collect();
    wanted.dedup();
    let mut store = decoder.kv_store(layout.blocks.positions, false);
    let pass = Pass { tokens: &layout.tokens, segments: &layout.segments, prefix, rotary, threads };
    let states = decoder.hidden(&pass, &wanted, &mut store);

    let mut scores = vec![Score { log_likelihood: 0.0, greedy: true }; items.len()];
    let mut failed = None;
    let mut predictions = layout.predictions.iter().peekable();
    decoder.head(&states, threads, |row, logits, summary| {
        while let Some(prediction) = predictions.next_if(|next| next.row == wanted[row]) {
            if !summary.log_sum.is_finite() {
                failed = failed.or(Some(items[prediction.item].request));
            }
            let score = &mut scores[prediction.item];
            let logit = logits[prediction.target as usize];
            score.log_likelihood += f64::from(logit) - f64::from(summary.largest) - summary.log_sum;
            score.greedy &= prediction.target == summary.argmax;
        }
    });
    match failed {
        Some(request) => Err(LmError::NotFinite { request }),
        None => Ok(scores),
    }
}

/// How many first tokens two sequences share.
pub(super) fn common_length(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(inputs: &[(&[u32], usize)]) -> Vec<Item<'static>> {
        inputs
            .iter()
            .enumerate()
            .map(|(request, (input, first))| Item {
                request,
                input: input.to_vec(),
                targets: &[9; 8][..input.len() - first],
                first: *first,
            })
            .collect()
    }

    #[test]
    fn shared_beginnings_pass_once() {
        let items = items(&[
            (&[1, 2], 1),
            (&[1, 2], 1),
            (&[1, 2, 3, 4], 2),
            (&[1, 2, 3, 5, 6], 2),
            (&[2, 2], 0),
        ]);
        let layout = Layout::new(&items, 0);
        assert_eq!(layout.tokens, [1, 2, 3, 4, 5, 6, 2, 2]);
        let starts: Vec<_> =
            layout.segments.iter().map(|s| (s.position, s.ancestors.len())).collect();
        assert_eq!(starts, [(0, 0), (2, 1), (3, 2), (3, 2), (0, 0)]);
        let rows = |item| -> Vec<usize> {
            layout.predictions.iter().filter(|p| p.item == item).map(|p| p.row).collect()
        };
        assert_eq!([rows(0), rows(1)], [[1], [1]]);
        assert_eq!([rows(2), rows(3), rows(4)], [vec![2, 3], vec![2, 4, 5], vec![6, 7]]);
        // Below a stored beginning of one token, only the rest passes.
        assert_eq!(Layout::new(&items[..4], 1).tokens, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn batches_are_bounded_and_share_what_nobody_predicts_from() {
        let items = items(&[
            (&[1, 2, 3, 4], 3),
            (&[1, 2, 3, 5], 3),
            (&[1, 2, 3, 6, 7, 8], 2),
            (&[1, 2, 3, 7], 3),
        ]);
        let (shared, whole) = batches(&items, 100);
        assert_eq!((shared, whole.len(), whole[0].clone()), (0, 1, 0..4));
        // Two tokens before the first prediction are common; batches hold the rest of the tree.
        assert_eq!(batches(&items, 3), (2, vec![0..2, 2..3, 3..4]));
        assert_eq!(batches(&items, 1), (2, vec![0..1, 1..2, 2..3, 3..4]));
        assert_eq!(batches(&[], 1), (0, vec![]));
    }
}

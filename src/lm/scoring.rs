//! Scoring: which tokens pass through the model, and what their logits say about the requests.
//!
//! The inputs of all requests form a prefix tree. Each of its nodes passes through the model once,
//! seen by all requests below it; the head runs once per row that predicts a scored token. The tree
//! is cut into batches of bounded size, and what all requests share is computed before them.
//!
//! A row's arithmetic does not depend on what else is in its batch, so scores are the same, bit for
//! bit, for every composition of requests, batch size and number of threads.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::backend::Backend;
use super::error::LmError;
use super::layout::{Ancestor, BlockAllocator, Pass, Prefix, Segment};
use super::limits::Limits;
use super::network::{Network, Workspace};
use super::rotary::{Regime, Turns, regimes};
use super::runner::Runner;
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
    /// What only sequences of such a length may share.
    regimes: Vec<Regime>,
}

/// Scores every request; see [`super::LanguageModel::score`].
pub(super) fn score<B: Backend>(
    runner: &Runner<B>,
    requests: &[ScoreRequest],
) -> Result<Vec<Score>, LmError> {
    let network = &runner.network;
    let mut items = requests
        .iter()
        .enumerate()
        .map(|(index, request)| item(network, index, request))
        .collect::<Result<Vec<_>, _>>()?;
    items.sort_by(|a, b| (&a.regimes, &a.input).cmp(&(&b.regimes, &b.input)));
    let mut scores = vec![Score { log_likelihood: 0.0, greedy: true }; requests.len()];
    for alike in items.chunk_by(|a, b| a.regimes == b.regimes) {
        let some = score_alike(runner, alike)?;
        for (score, item) in some.into_iter().zip(alike) {
            scores[item.request] = score;
        }
    }
    Ok(scores)
}

/// Scores sorted items whose rotary embeddings are of one regime.
fn score_alike<B: Backend>(runner: &Runner<B>, items: &[Item<'_>]) -> Result<Vec<Score>, LmError> {
    let network = &runner.network;
    let longest = items.iter().map(|item| item.input.len()).max().unwrap_or(0);
    let turns = Turns::new(&network.config.rotaries, longest, 0..longest);
    let branch = match network.limits.share_prefixes {
        true => Branch::new(items, 0..items.len(), 0, &network.limits),
        false => Branch::apart(items.len()),
    };
    let run = Run { runner, items, turns: &turns };
    let mut scores = vec![Score { log_likelihood: 0.0, greedy: true }; items.len()];
    run.branch(&branch, &[], &mut scores)?;
    Ok(scores)
}

/// Items on their way through a model.
struct Run<'a, B: Backend> {
    runner: &'a Runner<B>,
    /// Sorted.
    items: &'a [Item<'a>],
    turns: &'a Turns,
}

impl<B: Backend> Run<'_, B> {
    /// Scores the items of a branch, whose first tokens `before` holds.
    fn branch(
        &self,
        branch: &Branch,
        before: &[Arc<Prefix<B::Store>>],
        scores: &mut [Score],
    ) -> Result<(), LmError> {
        let mut prefixes = before.to_vec();
        if !branch.shared.is_empty() {
            let tokens = &self.items[branch.first].input[branch.shared.clone()];
            let backend = self.runner.backend(1);
            let prefix = self.runner.network.prefix(&backend, tokens, before, self.turns)?;
            prefixes.push(Arc::new(prefix));
        }
        for some in branch.batches.chunks(self.runner.network.limits.passes) {
            let results: Vec<_> =
                some.par_iter().map(|batch| self.batch(batch, &prefixes, some.len())).collect();
            for (batch, result) in some.iter().zip(results) {
                scores[batch.clone()].copy_from_slice(&result?);
            }
        }
        branch.branches.iter().try_for_each(|inner| self.branch(inner, &prefixes, scores))
    }

    /// Scores some items in one pass; `batches` such passes run at the same time.
    fn batch(
        &self,
        batch: &Range<usize>,
        prefixes: &[Arc<Prefix<B::Store>>],
        batches: usize,
    ) -> Result<Vec<Score>, LmError> {
        let items = &self.items[batch.clone()];
        let layout = Layout::new(items, prefixes.iter().map(|prefix| prefix.len).sum());
        let mut wanted: Vec<usize> =
            layout.predictions.iter().map(|prediction| prediction.row).collect();
        wanted.dedup();
        let Layout { tokens, segments, .. } = &layout;
        let pass = Pass { tokens, segments, prefixes, turns: self.turns };
        let backend = self.runner.backend(batches);
        let network = &self.runner.network;
        network.with_workspace(&backend, |workspace| {
            backend.grow(&mut workspace.store, layout.blocks.positions)?;
            network.run(&backend, &pass, &wanted, workspace, None)?;
            read_scores(network, &backend, &layout.predictions, &wanted, items, workspace)
        })
    }
}

fn item<'a, B: Backend>(
    network: &Network<B>,
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
    network.check_tokens(index, context)?;
    network.check_tokens(index, continuation)?;
    let max_length = network.limits.max_length;
    if continuation.len() > max_length {
        let tokens = continuation.len();
        return Err(LmError::RequestTooLong { request: index, tokens, max_length });
    }
    let kept = context.len().min(max_length - fed.len());
    let input = [&context[context.len() - kept..], fed].concat();
    let regimes = regimes(&network.config.rotaries, input.len());
    Ok(Item { request: index, input, targets: continuation, first: kept - 1, regimes })
}

/// Sorted items that share their first tokens, and how they pass through the model.
#[derive(Debug, PartialEq, Eq)]
struct Branch {
    /// The first item.
    first: usize,
    /// Which of its tokens are computed once for all batches and branches.
    shared: Range<usize>,
    /// Items that pass together.
    batches: Vec<Range<usize>>,
    /// Items that are too many for one pass and share more tokens.
    branches: Vec<Branch>,
}

impl Branch {
    /// Every item by itself, with nothing shared.
    fn apart(items: usize) -> Self {
        let batches = (0..items).map(|item| item..item + 1).collect();
        Self { first: 0, shared: 0..0, batches, branches: Vec::new() }
    }

    /// Divides items, which agree in their first `depth` tokens, into batches of `batch_rows` tokens
    /// at least, where possible. Items that share tokens stay in one batch as long as that has no
    /// more than `most_rows`; where they do not fit, what they share is computed before.
    fn new(items: &[Item<'_>], range: Range<usize>, depth: usize, limits: &Limits) -> Self {
        let some = &items[range.clone()];
        let common = match some {
            [] => depth,
            [first, .., last] => common_length(&first.input, &last.input),
            [only] => only.input.len(),
        };
        // Rows from which something is predicted stay in the batches.
        let end = some.iter().map(|item| item.first).fold(common, usize::min).max(depth);
        let mut branch = Self {
            first: range.start,
            shared: depth..end,
            batches: Vec::new(),
            branches: Vec::new(),
        };
        let mut batch = range.start..range.start;
        let mut filled = 0;
        let mut start = range.start;
        while start < range.end {
            let token = items[start].input.get(end);
            let next = items[start..range.end].partition_point(|item| item.input.get(end) == token);
            let twig = start..start + next;
            start = twig.end;
            let rows = tree_rows(&items[twig.clone()], end);
            if rows > limits.most_rows {
                branch.close(&mut batch, &mut filled, twig.end);
                branch.branch_off(items, twig, end, limits);
                continue;
            }
            batch.end = twig.end;
            filled += rows;
            if filled >= limits.batch_rows {
                branch.close(&mut batch, &mut filled, twig.end);
            }
        }
        branch.close(&mut batch, &mut filled, range.end);
        let fits = tree_rows(some, depth) <= limits.most_rows;
        if branch.branches.is_empty() && branch.batches.len() == 1 && fits {
            branch.shared = depth..depth;
        }
        branch
    }

    /// Ends a batch, unless it is empty; the next one begins at `next`.
    fn close(&mut self, batch: &mut Range<usize>, filled: &mut usize, next: usize) {
        if batch.start < batch.end {
            self.batches.push(batch.clone());
        }
        *batch = next..next;
        *filled = 0;
    }

    /// Divides items that are too many for one pass.
    fn branch_off(
        &mut self,
        items: &[Item<'_>],
        twig: Range<usize>,
        depth: usize,
        limits: &Limits,
    ) {
        let common = common_length(&items[twig.start].input, &items[twig.end - 1].input);
        let first = items[twig.clone()].iter().map(|item| item.first).min().unwrap_or(0);
        if common.min(first) > depth {
            self.branches.push(Self::new(items, twig, depth, limits));
            return;
        }
        // What they share is predicted from, so that every batch has to have it.
        let mut batch = twig.start..twig.start;
        for end in twig.start + 1..=twig.end {
            if batch.start < batch.end
                && tree_rows(&items[batch.start..end], depth) > limits.most_rows
            {
                self.batches.push(batch.clone());
                batch.start = batch.end;
            }
            batch.end = end;
        }
        self.batches.push(batch);
    }
}

/// Tokens in the prefix tree of sorted items, below their first `depth`.
fn tree_rows(items: &[Item<'_>], depth: usize) -> usize {
    let first = items.first().map_or(0, |item| item.input.len() - depth);
    let others = items.windows(2).map(|pair| {
        let known = common_length(&pair[0].input, &pair[1].input);
        pair[1].input.len() - known.max(depth)
    });
    first + others.sum::<usize>()
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

/// Reads the scores of items off the states that a pass left.
fn read_scores<B: Backend>(
    network: &Network<B>,
    backend: &B,
    predictions: &[Prediction],
    wanted: &[usize],
    items: &[Item<'_>],
    workspace: &mut Workspace<B>,
) -> Result<Vec<Score>, LmError> {
    let mut scores = vec![Score { log_likelihood: 0.0, greedy: true }; items.len()];
    let mut rest = predictions;
    network.head(backend, wanted.len(), workspace, |start, logits, summaries| {
        let rows = &wanted[start..start + summaries.len()];
        let (here, later) =
            rest.split_at(rest.partition_point(|prediction| {
                rows.last().is_some_and(|last| prediction.row <= *last)
            }));
        rest = later;
        let row_of = |prediction: &Prediction| rows.partition_point(|row| *row < prediction.row);
        let picked: Vec<(usize, u32)> =
            here.iter().map(|prediction| (row_of(prediction), prediction.target)).collect();
        let logits = backend.pick(logits, &picked)?;
        for ((prediction, (row, _)), logit) in here.iter().zip(&picked).zip(logits) {
            let summary = summaries[*row];
            if !summary.log_sum.is_finite() {
                return Err(LmError::NotFinite { request: items[prediction.item].request });
            }
            let score = &mut scores[prediction.item];
            score.log_likelihood += f64::from(logit) - f64::from(summary.largest) - summary.log_sum;
            score.greedy &= prediction.target == summary.argmax;
        }
        Ok(())
    })?;
    Ok(scores)
}

/// How many first tokens two sequences share.
pub(super) fn common_length(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "batches are ranges")]
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
                regimes: Vec::new(),
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

    fn limits(batch_rows: usize, most_rows: usize) -> Limits {
        Limits {
            max_length: 100,
            batch_rows,
            most_rows,
            head_rows: 64,
            passes: 2,
            kv_positions: 100,
            share_prefixes: true,
        }
    }

    #[test]
    fn batches_are_bounded_and_share_what_nobody_predicts_from() {
        let items = items(&[
            (&[1, 2, 3, 4], 3),
            (&[1, 2, 3, 5], 3),
            (&[1, 2, 3, 6, 7, 8], 2),
            (&[1, 2, 3, 7], 3),
        ]);
        let of = |batch_rows, most_rows| {
            let branch = Branch::new(&items, 0..4, 0, &limits(batch_rows, most_rows));
            (branch.shared.end, branch.batches)
        };
        assert_eq!(of(100, 100), (0, vec![0..4]));
        // Two tokens before the first prediction are common; the third is in every batch.
        assert_eq!(of(3, 3), (2, vec![0..2, 2..3, 3..4]));
        assert_eq!(of(1, 100), (0, vec![0..4]));
        assert!(Branch::new(&[], 0..0, 0, &limits(1, 1)).batches.is_empty());
    }

    #[test]
    fn what_does_not_fit_shares_more_before() {
        let items = items(&[
            (&[1, 2, 3, 4, 5], 3),
            (&[1, 2, 3, 4, 6], 3),
            (&[1, 7, 3, 4, 5], 3),
            (&[1, 7, 3, 4, 6, 7, 8], 3),
        ]);
        let branch = Branch::new(&items, 0..4, 0, &limits(2, 5));
        let inner = Branch { first: 2, shared: 1..3, batches: vec![2..4], branches: vec![] };
        let whole = Branch { first: 0, shared: 0..1, batches: vec![0..2], branches: vec![inner] };
        assert_eq!(branch, whole);
        assert_eq!(tree_rows(&items, 1), 4 + 1 + 4 + 3);
    }
}

//! Feed-forward networks of which each token uses some experts.

use super::{FeedForwardBuffers, widen};
use crate::lm::backend::Backend;
use crate::lm::config::{ExpertGroups, Experts, RouterScores};
use crate::lm::error::LmError;
use crate::lm::weights::FeedForwardWeights;

/// The tokens of an expert, as rows, and the weight of the expert in each.
#[derive(Debug, Clone, Default, PartialEq)]
struct Share {
    rows: Vec<usize>,
    weights: Vec<f32>,
}

/// Runs each token through its experts, and all through the shared network: `out = Σ weight · expert`.
pub(super) fn run<B: Backend>(
    backend: &B,
    config: &Experts,
    weights: &FeedForwardWeights<B>,
    input: &B::Rows,
    out: &mut B::Rows,
    buffers: &mut FeedForwardBuffers<B>,
) -> Result<(), LmError> {
    let FeedForwardWeights::Experts { router, correction, experts, shared, shared_gate } = weights
    else {
        unreachable!("weights are made after the config")
    };
    backend.project(&mut buffers.gate, input, router)?;
    let correction =
        correction.as_ref().map(|vector| backend.vector_to_host(vector)).transpose()?;
    let shares = {
        let logits = backend.to_host(&buffers.gate)?;
        shares(config, &logits, correction.as_deref())
    };
    backend.zeros(out, input)?;
    for (expert, share) in experts.iter().zip(&shares) {
        if share.rows.is_empty() {
            continue;
        }
        let mut rows = std::mem::take(&mut buffers.input);
        backend.gather(&mut rows, input, &share.rows)?;
        widen(backend, &config.mlp, expert, &rows, buffers)?;
        buffers.input = rows;
        backend.project(&mut buffers.output, &buffers.gate, &expert.down)?;
        backend.add_at(out, &buffers.output, &share.rows, &share.weights)?;
    }
    let (Some(network), Some(shared)) = (&config.shared, shared) else { return Ok(()) };
    let factors = match shared_gate {
        None => None,
        Some(gate) => {
            backend.project(&mut buffers.gate, input, gate)?;
            let logits = backend.to_host(&buffers.gate)?;
            Some(logits.iter().map(|logit| sigmoid(*logit)).collect::<Vec<_>>())
        }
    };
    widen(backend, &network.mlp, shared, input, buffers)?;
    match factors {
        None => backend.add_projected(out, &buffers.gate, &shared.down),
        Some(factors) => {
            let rows: Vec<usize> = (0..factors.len()).collect();
            backend.project(&mut buffers.output, &buffers.gate, &shared.down)?;
            backend.add_at(out, &buffers.output, &rows, &factors)
        }
    }
}

/// Divides rows among experts by the router's logits `[rows, experts]`.
fn shares(config: &Experts, logits: &[f32], correction: Option<&[f32]>) -> Vec<Share> {
    let mut shares = vec![Share::default(); config.count];
    let mut scores = vec![0.0; config.count];
    for (row, logits) in logits.chunks_exact(config.count).enumerate() {
        let chosen = match config.routing.scores {
            RouterScores::Sparsemixer { tolerance } => {
                scores.copy_from_slice(logits);
                sparsemixer(&mut scores, config.per_token, tolerance)
            }
            _ => by_scores(config, logits, correction, &mut scores),
        };
        for (expert, weight) in chosen {
            shares[expert].rows.push(row);
            shares[expert].weights.push(weight * config.routing.scale);
        }
    }
    shares
}

/// A token's experts and their weights by sparsemixer's rule; `logits` are used up.
fn sparsemixer(logits: &mut [f32], per_token: usize, tolerance: f32) -> Vec<(usize, f32)> {
    let mut chosen = Vec::with_capacity(per_token);
    for expert in best(logits, per_token) {
        let most = logits[expert];
        let near = |logit: &&f32| (most - **logit) / logit.abs().max(most) <= tolerance;
        let sum: f32 = logits.iter().filter(near).map(|logit| (logit - most).exp()).sum();
        // The best is near itself, but for a logit of 0, which is divided by itself.
        chosen.push((expert, 1.0 / sum.max(1.0)));
        logits[expert] = f32::NEG_INFINITY;
    }
    chosen
}

/// A token's experts and their weights by what the router's scores say.
fn by_scores(
    config: &Experts,
    logits: &[f32],
    correction: Option<&[f32]>,
    scores: &mut [f32],
) -> Vec<(usize, f32)> {
    score(config.routing.scores, logits, scores);
    let chosen = choose(config, scores, correction);
    let sum: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
    let weight = |expert: usize| match config.routing.normalized {
        Some(least) => scores[expert] / (sum + least),
        None => scores[expert],
    };
    chosen.into_iter().map(|expert| (expert, weight(expert))).collect()
}

fn score(kind: RouterScores, logits: &[f32], scores: &mut [f32]) {
    match kind {
        RouterScores::Sparsemixer { .. } => unreachable!("it has no scores of single experts"),
        RouterScores::Sigmoid => {
            scores.iter_mut().zip(logits).for_each(|(score, logit)| *score = sigmoid(*logit));
        }
        RouterScores::Softmax => {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().zip(logits).for_each(|(score, l)| *score = (l - largest).exp());
            let sum: f32 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
    }
}

/// The experts with the best scores, of equal ones the first.
fn choose(config: &Experts, scores: &[f32], correction: Option<&[f32]>) -> Vec<usize> {
    let mut merits: Vec<f32> = scores.to_vec();
    if let Some(correction) = correction {
        merits.iter_mut().zip(correction).for_each(|(merit, shift)| *merit += shift);
    }
    if let Some(groups) = config.routing.groups {
        let closed = if correction.is_some() { f32::NEG_INFINITY } else { 0.0 };
        close_groups(&groups, &mut merits, closed);
    }
    best(&merits, config.per_token)
}

/// Gives experts outside of the best groups the merit `closed`.
fn close_groups(groups: &ExpertGroups, merits: &mut [f32], closed: f32) {
    let size = merits.len() / groups.count;
    let group_merits: Vec<f32> = merits
        .chunks_exact(size)
        .map(|group| best(group, groups.best).into_iter().map(|expert| group[expert]).sum())
        .collect();
    let open = best(&group_merits, groups.chosen);
    for (index, group) in merits.chunks_exact_mut(size).enumerate() {
        if !open.contains(&index) {
            group.fill(closed);
        }
    }
}

/// Indices of the largest values, in falling order.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
    order
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

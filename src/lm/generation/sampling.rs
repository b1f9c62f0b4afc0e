//! Which token comes next.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// How tokens are drawn from a model's probabilities. The default always takes the most probable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the most probable token.
    pub temperature: f64,
    /// Only the so many most probable tokens are drawn; 0: all.
    pub top_k: usize,
    /// Only the most probable tokens whose probabilities add up to this are drawn; from 0 to 1.
    pub top_p: f64,
    /// Logits of tokens that the prompt or the answer has already are divided by this where positive,
    /// and multiplied by it where negative (Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>).
    pub repetition_penalty: f64,
    /// Draws are a function of this and of the number of tokens before.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Whether the next token is simply that of the largest logit.
    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && self.repetition_penalty == 1.0
    }
}

/// The next token after `tokens`, of which the last `step` have been produced.
pub(super) fn choose(sampling: &Sampling, logits: &[f32], tokens: &[u32], step: usize) -> u32 {
    let mut logits: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    if sampling.repetition_penalty != 1.0 {
        let mut seen = tokens.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            let logit = &mut logits[token as usize];
            let penalty = sampling.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let falling = |a: &u32, b: &u32| {
        logits[*b as usize].total_cmp(&logits[*a as usize]).then_with(|| a.cmp(b))
    };
    if sampling.temperature == 0.0 {
        return order.into_iter().min_by(falling).unwrap_or(0);
    }
    if sampling.top_k > 0 && sampling.top_k < order.len() {
        order.select_nth_unstable_by(sampling.top_k - 1, falling);
        order.truncate(sampling.top_k);
    }
    order.sort_unstable_by(falling);
    let largest = order.first().map_or(0.0, |token| logits[*token as usize]);
    let weight = |token: &u32| ((logits[*token as usize] - largest) / sampling.temperature).exp();
    let mut weights: Vec<f64> = order.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    if sampling.top_p < 1.0 {
        let mut before = 0.0;
        let kept = weights.iter().take_while(|weight| {
            let is_kept = before < sampling.top_p * sum;
            before += **weight;
            is_kept
        });
        let kept = kept.count().max(1);
        weights.truncate(kept);
    }
    let mut random = ChaCha8Rng::seed_from_u64(sampling.seed);
    random.set_stream(step as u64);
    let mut left = random.random::<f64>() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    order[drawn.unwrap_or(weights.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for seed in 0..4000 {
            counts[choose(&Sampling { seed, ..sampling }, logits, &[], 0) as usize] += 1.0 / 4000.0;
        }
        counts
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_probable() {
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln(), f32::NEG_INFINITY];
        let plain = Sampling { temperature: 1.0, ..Sampling::default() };
        let near = |shares: Vec<f64>, expected: [f64; 4]| {
            let worst = shares.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 0.03, "{shares:?}");
        };
        near(shares(plain, &logits), [0.125, 0.25, 0.625, 0.0]);
        near(shares(Sampling { top_k: 2, ..plain }, &logits), [0.0, 2.0 / 7.0, 5.0 / 7.0, 0.0]);
        near(shares(Sampling { top_p: 0.6, ..plain }, &logits), [0.0, 0.0, 1.0, 0.0]);
        near(shares(Sampling { top_p: 0.7, ..plain }, &logits), [0.0, 2.0 / 7.0, 5.0 / 7.0, 0.0]);
        let cold = Sampling { temperature: 0.5, ..plain };
        near(shares(cold, &logits), [1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0, 0.0]);
        let other = choose(&Sampling { seed: 3, ..plain }, &logits, &[], 1);
        let draws: Vec<u32> = (0..20)
            .map(|step| choose(&Sampling { seed: 3, ..plain }, &logits, &[], step))
            .collect();
        assert_eq!(draws[1], other);
        assert!(draws.iter().any(|token| *token != other));
    }

    #[test]
    fn what_was_said_is_penalized() {
        let penal = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(choose(&penal, &[3.0, 2.0, 1.0], &[0], 0), 1);
        assert_eq!(choose(&penal, &[-1.0, -1.5, -9.0], &[0, 0], 0), 1);
        assert_eq!(choose(&penal, &[3.0, 2.0, 1.0], &[2], 0), 0);
    }
}

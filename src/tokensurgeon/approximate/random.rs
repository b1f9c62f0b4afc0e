//! Random rows.
//!
//! `john_hewitt` draws rows from the normal distribution that the model's own rows have (Hewitt 2021,
//! <https://nlp.stanford.edu/~johnhew/vocab-expansion.html>). With the centred rows X of n tokens and
//! standard normal g,
//!
//! ```text
//! row = mean + Xᵀ g / √n
//! ```
//!
//! has their mean and the covariance `Xᵀ X / n`, whether that is positive definite or not, and needs neither the
//! covariance nor a root of it: `2 · n · width` operations for each token, and a block of X.
//!
//! Numbers are a function of the seed, the tensor, the token's id and their place.

use std::ops::Range;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::kernels::random::TensorKey;

use super::super::rows::Rows;
use super::super::work::Work;
use super::super::{SurgeonError, product};
use super::{Approximation, Task};

/// Rows of X that are read at a time; even.
const DEPTH: usize = 1024;

/// Tokens whose rows one task computes.
const STRIP: usize = 32;

/// The method `randn`.
pub(super) struct StandardNormal {
    draws: Draws,
    width: usize,
}

/// The method `john_hewitt`.
pub(super) struct LikeTheOthers {
    draws: Draws,
    /// The model's rows without their mean.
    rows: Rows,
    mean: Vec<f32>,
}

/// Where the random numbers of a matrix come from.
struct Draws {
    seed: u64,
    tensor: String,
    /// Ids of the tokens.
    ids: Vec<u32>,
}

impl Draws {
    fn new(task: &Task<'_>) -> Self {
        let tensor = task.model.matrix.name().to_owned();
        Self { seed: task.options.seed, tensor, ids: task.matches.new.clone() }
    }

    /// Standard normal numbers of a token from `first`, which is even, on.
    fn fill(&self, token: usize, first: usize, out: &mut [f32]) {
        let key = TensorKey::new(self.seed, &self.tensor, self.ids[token] as usize);
        fill_normal(key, first, out);
    }
}

/// Standard normal numbers of a stream (Box and Muller 1958), from number `first`, which is even, on.
fn fill_normal(key: TensorKey, first: usize, out: &mut [f32]) {
    let mut stream = ChaCha8Rng::from_seed(key.0);
    // Two numbers are made of two draws, and a draw of two words.
    stream.set_word_pos(2 * first as u128);
    let mut uniform = || (stream.next_u64() >> 11) as f64 * f64::EPSILON / 2.0;
    for pair in out.chunks_mut(2) {
        let radius = (-2.0 * libm::log(1.0 - uniform())).sqrt();
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * uniform());
        let numbers = [radius * cosine, radius * sine];
        pair.iter_mut().zip(numbers).for_each(|(out, number)| *out = number as f32);
    }
}

/// Adds normal noise with the standard deviation `size` to the row of token `id` in `tensor`.
pub(in super::super) fn add_noise(seed: u64, tensor: &str, id: u32, size: f32, row: &mut [f32]) {
    let key = TensorKey::new(seed, &format!("noise of {tensor}"), id as usize);
    let mut noise = vec![0.0; row.len()];
    fill_normal(key, 0, &mut noise);
    row.iter_mut().zip(&noise).for_each(|(value, noise)| *value += size * noise);
}

impl StandardNormal {
    pub(super) fn new(task: &Task<'_>) -> Self {
        Self { draws: Draws::new(task), width: task.model.matrix.width() }
    }
}

impl Approximation for StandardNormal {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        let rows = out.par_chunks_exact_mut(self.width).zip(tokens.clone());
        rows.for_each(|(out, token)| self.draws.fill(token, 0, out));
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

impl LikeTheOthers {
    pub(super) fn new(task: &Task<'_>, work: &Work<'_>) -> Result<Self, SurgeonError> {
        let rows = task.model.matrix.all();
        let mean = rows.mean(work)?;
        Ok(Self { draws: Draws::new(task), rows: rows.centered(mean.clone()), mean })
    }
}

impl Approximation for LikeTheOthers {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        let width = self.rows.width();
        let scale = 1.0 / (self.rows.len() as f32).sqrt();
        out.chunks_exact_mut(width).for_each(|out| out.copy_from_slice(&self.mean));
        for start in (0..self.rows.len()).step_by(DEPTH) {
            work.check_cancelled()?;
            let block = self.rows.read_range(start..self.rows.len().min(start + DEPTH))?;
            let depth = block.len() / width;
            let strips = out.par_chunks_mut(STRIP * width).enumerate();
            strips.for_each(|(strip, out)| {
                let first = tokens.start + strip * STRIP;
                let mut numbers = vec![0.0; out.len() / width * depth];
                for (token, numbers) in (first..).zip(numbers.chunks_exact_mut(depth)) {
                    self.draws.fill(token, start, numbers);
                    numbers.iter_mut().for_each(|number| *number *= scale);
                }
                product::add(out, &numbers, &block, depth);
            });
        }
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal_and_depend_on_their_place_alone() {
        let key = TensorKey::new(3, "w", 5);
        let mut all = vec![0.0; 20_000];
        fill_normal(key, 0, &mut all);
        for (first, n) in [(0, 7), (2, 8), (1024, 333)] {
            let mut part = vec![0.0; n];
            fill_normal(key, first, &mut part);
            assert_eq!(part, all[first..][..n]);
        }
        let n = all.len() as f32;
        let mean = all.iter().sum::<f32>() / n;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
        assert!(mean.abs() < 5.0 / n.sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{variance}");
        assert!(all.iter().any(|x| x.abs() > 3.0) && all.iter().all(|x| x.abs() < 9.0));
    }
}

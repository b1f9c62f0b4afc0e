//! Random numbers as a function of what they are for.
//!
//! A [`DrawKey`] is the key of a ChaCha8 stream, so no generator has state that would have to be
//! saved, and one candidate's numbers do not depend on how many others were drawn before it.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// What a sequence of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawKey {
    /// The user's seed.
    pub(super) seed: u64,
    /// Which restart of the search, from 0.
    pub(super) restart: u32,
    /// Which generation, from 0.
    pub(super) generation: u64,
    /// Which candidate of the generation, from 0.
    pub(super) index: u32,
    /// How often this candidate was drawn anew.
    pub(super) attempt: u32,
}

impl DrawKey {
    /// `n` independent draws from [0, 1), multiples of 2⁻⁵³.
    pub(super) fn uniforms(self, n: usize) -> Vec<f64> {
        let mut stream = self.stream();
        (0..n).map(|_| uniform(&mut stream)).collect()
    }

    /// `n` independent standard normal draws.
    pub(super) fn normals(self, n: usize) -> Vec<f64> {
        self.normals_and_uniforms(n, 0).0
    }

    /// `n_normals` standard normal draws and `n_uniforms` from [0, 1), all independent.
    pub(super) fn normals_and_uniforms(
        self,
        n_normals: usize,
        n_uniforms: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        let mut stream = self.stream();
        let normals = normals(&mut stream, n_normals);
        (normals, (0..n_uniforms).map(|_| uniform(&mut stream)).collect())
    }

    fn stream(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.generation.to_le_bytes());
        key[16..20].copy_from_slice(&self.restart.to_le_bytes());
        key[20..24].copy_from_slice(&self.index.to_le_bytes());
        key[24..28].copy_from_slice(&self.attempt.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// Box and Muller 1958.
fn normals(stream: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let mut normals = Vec::with_capacity(n + 1);
    while normals.len() < n {
        let radius = (-2.0 * libm::log(1.0 - uniform(stream))).sqrt();
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * uniform(stream));
        normals.extend([radius * cosine, radius * sine]);
    }
    normals.truncate(n);
    normals
}

fn uniform(stream: &mut ChaCha8Rng) -> f64 {
    (stream.next_u64() >> 11) as f64 * f64::EPSILON / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: DrawKey = DrawKey { seed: 1, restart: 0, generation: 2, index: 3, attempt: 0 };

    #[test]
    fn every_part_of_the_key_matters() {
        let keys = [
            KEY,
            DrawKey { seed: 2, ..KEY },
            DrawKey { restart: 1, ..KEY },
            DrawKey { generation: 3, ..KEY },
            DrawKey { index: 2, ..KEY },
            DrawKey { attempt: 1, ..KEY },
        ];
        for (i, a) in keys.iter().enumerate() {
            assert_eq!(a.normals(5), a.normals(5));
            for b in &keys[i + 1..] {
                assert_ne!(a.normals(1), b.normals(1));
            }
        }
    }

    #[test]
    fn more_draws_continue_fewer() {
        assert_eq!(KEY.normals(7)[..4], KEY.normals(4));
        assert_eq!(KEY.uniforms(7)[..4], KEY.uniforms(4));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let n = 100_000;
        let normals = KEY.normals(n);
        let moment = |power| normals.iter().map(|z| z.powi(power)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.015);
        assert!((moment(2) - 1.0).abs() < 0.02);
        assert!(moment(3).abs() < 0.05);
        assert!((moment(4) - 3.0).abs() < 0.15);
    }

    #[test]
    fn uniforms_fill_the_unit_interval() {
        let mut uniforms = KEY.uniforms(10_000);
        uniforms.sort_by(f64::total_cmp);
        assert!(uniforms[0] >= 0.0 && uniforms[9_999] < 1.0);
        for (i, u) in uniforms.iter().enumerate() {
            assert!((u - i as f64 / 10_000.0).abs() < 0.02);
        }
    }
}

//! What the tests of several optimizers need.

use super::{Candidate, Optimizer, Outcome};

/// Asks for a whole generation.
pub(super) fn ask_all(search: &mut dyn Optimizer) -> Vec<Candidate> {
    std::iter::from_fn(|| search.ask()).collect()
}

/// Runs generations in which every candidate gets its outcome at once.
pub(super) fn run(
    search: &mut dyn Optimizer,
    n_generations: usize,
    outcome: impl Fn(&Candidate) -> Outcome,
) {
    for _ in 0..n_generations {
        for candidate in ask_all(search) {
            search.tell(candidate.id, outcome(&candidate)).unwrap();
        }
    }
}

/// Equal up to a relative tolerance of the largest number.
pub(super) fn assert_close(ours: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
    for (a, b) in ours.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * scale, "{what}: {a} instead of {b}");
    }
}

/// SplitMix64, and Box–Muller with the cosine first, as the reference's figures were made.
pub(super) struct SplitMix64 {
    state: u64,
    spare: Option<f64>,
}

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    pub(super) fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / 2f64.powi(53)
    }

    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

//! Random numbers as a function of where they are used.
//!
//! Word `i` of a [`TensorKey`] belongs to element `i` of that tensor of that model, so chunk size,
//! order and threads do not change what an element gets.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Key of the random words of one input of one output tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorKey(pub [u8; 32]);

impl TensorKey {
    /// Derives the key from the merge's seed, the output tensor's name and the input's position.
    pub fn new(seed: u64, tensor: &str, input: usize) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update((input as u64).to_le_bytes());
        hash.update(tensor.as_bytes());
        Self(hash.finalize().into())
    }

    /// One random word per element, from `element` on.
    pub fn words(self, element: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.0);
        rng.set_word_pos(element as u128);
        rng
    }
}

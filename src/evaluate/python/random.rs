//! CPython's `random.Random`, as far as the harness needs it: the Mersenne Twister MT19937
//! (Matsumoto and Nishimura 1998), seeded by key, `sample` and `choices`.

use std::collections::HashSet;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A stream of draws that equals that of `random.Random(seed)`.
pub(in crate::evaluate) struct PythonRandom {
    state: Vec<u32>,
    next: usize,
}

impl PythonRandom {
    /// The generator for a seed, whose 32-bit words are the key, lowest first.
    pub(in crate::evaluate) fn new(seed: u64) -> PythonRandom {
        let low = seed as u32;
        let high = (seed >> 32) as u32;
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };

        let mut state = vec![0_u32; SIZE];
        state[0] = 19_650_218;
        for i in 1..SIZE {
            let mixed = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = mixed.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for round in 0..SIZE {
            let j = round % key.len();
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            i = following(&mut state, i);
        }
        for _ in 1..SIZE {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ mixed).wrapping_sub(i as u32);
            i = following(&mut state, i);
        }
        state[0] = 0x8000_0000;
        PythonRandom { state, next: SIZE }
    }

    fn word(&mut self) -> u32 {
        if self.next == SIZE {
            self.renew();
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// Makes the next [`SIZE`] words of the state from the last.
    fn renew(&mut self) {
        let mut twist = |k: usize, next: usize, shifted: usize| {
            let joined = (self.state[k] & 0x8000_0000) | (self.state[next] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[k] = self.state[shifted] ^ (joined >> 1) ^ twist;
        };
        for k in 0..SIZE - SHIFT {
            twist(k, k + 1, k + SHIFT);
        }
        for k in SIZE - SHIFT..SIZE - 1 {
            twist(k, k + 1, k + SHIFT - SIZE);
        }
        twist(SIZE - 1, 0, SHIFT - 1);
    }

    /// A number in `0 .. n`; `n` is at least 1 and below 2³².
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.word() >> (32 - bits)) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// Fills `indices` with members of a population that are drawn with replacement, as `choices`
    /// does.
    pub(in crate::evaluate) fn choices(&mut self, population: usize, indices: &mut [usize]) {
        for index in indices {
            let (high, low) = (self.word() >> 5, self.word() >> 6);
            let share = (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0;
            *index = (share * population as f64) as usize;
        }
    }

    /// Indices of `count` different members of a population, in the order drawn; `None` if the
    /// population is smaller.
    pub(in crate::evaluate) fn sample(
        &mut self,
        population: usize,
        count: usize,
    ) -> Option<Vec<usize>> {
        if count > population {
            return None;
        }
        // Below this size CPython shuffles a copy; above it, it draws until it finds new ones. The
        // two consume the stream differently.
        let mut copy_limit = 21.0;
        if count > 5 {
            copy_limit += 4_f64.powf((((count * 3) as f64).ln() / 4_f64.ln()).ceil());
        }
        if population as f64 <= copy_limit {
            let mut pool: Vec<usize> = (0..population).collect();
            return Some(
                (0..count)
                    .map(|i| {
                        let j = self.below(population - i);
                        let drawn = pool[j];
                        pool[j] = pool[population - i - 1];
                        drawn
                    })
                    .collect(),
            );
        }
        let mut seen = HashSet::new();
        Some(
            (0..count)
                .map(|_| {
                    loop {
                        let drawn = self.below(population);
                        if seen.insert(drawn) {
                            return drawn;
                        }
                    }
                })
                .collect(),
        )
    }
}

/// The index behind `i`; past the end the state wraps, and its first word is a copy of the last.
fn following(state: &mut [u32], i: usize) -> usize {
    if i + 1 < SIZE {
        return i + 1;
    }
    state[0] = state[SIZE - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected numbers come from CPython 3: `random.Random(seed)`.
    #[test]
    fn draws_equal_cpythons() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(10, 3), Some(vec![7, 1, 0]));
        assert_eq!(random.sample(100, 3), Some(vec![11, 74, 4]));
        assert_eq!(random.sample(30, 8), Some(vec![21, 22, 2, 3, 24, 11, 7, 0]));
        assert_eq!(random.sample(1000, 8), Some(vec![31, 807, 16, 354, 663, 638, 495, 630]));
        assert_eq!(PythonRandom::new(0).sample(40, 5), Some(vec![24, 26, 2, 16, 32]));
        let long_seed = (1 << 40) + 7;
        assert_eq!(PythonRandom::new(long_seed).sample(40, 5), Some(vec![39, 36, 30, 16, 8]));
    }

    #[test]
    fn draws_equal_cpythons_after_the_state_was_renewed() {
        let mut random = PythonRandom::new(1234);
        let last = (0..200).map(|_| random.sample(50, 6)).last().flatten();
        assert_eq!(last, Some(vec![4, 33, 23, 47, 45, 31]));
    }

    #[test]
    fn draws_with_replacement_equal_cpythons() {
        let mut random = PythonRandom::new(3);
        let mut drawn = [0; 8];
        random.choices(30, &mut drawn);
        assert_eq!(drawn, [7, 16, 11, 18, 18, 1, 0, 25]);
        (0..100).for_each(|_| random.choices(7, &mut drawn));
        assert_eq!(drawn, [0, 2, 2, 0, 1, 5, 4, 6]);
    }

    #[test]
    fn a_population_that_is_too_small_gives_nothing() {
        assert_eq!(PythonRandom::new(1).sample(2, 3), None);
        assert_eq!(PythonRandom::new(1).sample(3, 3).map(|drawn| drawn.len()), Some(3));
    }
}

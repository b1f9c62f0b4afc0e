//! How far apart two rows are as probabilities: the Kullback-Leibler divergence of their softmaxes.
//!
//! ```text
//! P = softmax(x) + 1e-8,  Q = softmax(base) + 1e-8,  κ = Σ P ln(P/Q)
//! ```
//!
//! For a fine-tuned row κ is about 1e-7 while the terms of the sum are not, so adding them up as
//! written leaves nothing but rounding errors in `f32`. With r = P/Q − 1 and since P and Q have the
//! same sum,
//!
//! ```text
//! κ = Σ Q ((1+r) ln(1+r) − r)
//! ```
//!
//! whose terms are all positive. r is computed without a difference of nearly equal numbers: with
//! d = x − base, softmax(x) = softmax(base) · exp(d − L), where L = ln(1 + Σ softmax(base)(eᵈ − 1)).
//! And with s = r/(2+r), (1+r) ln(1+r) − r = s r (1 + (1+s) s g(s²)), where artanh s = s + s³ g(s²).

use super::elementary::{artanh_tail, exp, exp_m1_near_0, ln};
use super::simd::{Aligned, vectorized};

/// Added to every probability; mergekit's constant.
const OFFSET: f64 = 1e-8;

/// Up to this change of all its elements a row takes the short way: |d − L| is at most twice as
/// large, where with |s| < 0.16 the series of [`artanh_tail`] holds.
const NEAR: f32 = 0.16;

/// Up to this size of all elements of the base their exponentials are computed as they are, without
/// regard to the largest one: see [`power_of_weight`].
const LARGEST_WEIGHT: f32 = 1.4;

/// Up to this |d − L| [`exp_m1_near_0`] holds, and from there on differences of probabilities lose
/// at most two bits.
const NEARLY_EQUAL: f32 = 0.35;

/// Beyond this |d| rounding errors of d − L are no longer small beside those of probabilities.
const LARGEST_SHIFT: f32 = 32.0;

/// Up to this |s| [`artanh_tail`] holds.
const LARGEST_SERIES: f32 = 0.16;

/// Partial sums: independent of the machine's vectors, so that results are, too.
const LANES: usize = 16;

/// Elements whose terms are computed before they are added; a multiple of the lanes.
const BLOCK: usize = 128;

/// The divergence of a row `x` from a row `base` of the same length, relative to its size as exact
/// as `f32` allows. Never negative; 0 for equal rows and for empty ones, NaN when an element is NaN.
/// Each half of `scratch` is as long as the rows; what they hold before and after has no meaning.
pub fn softmax_divergence(x: &[f32], base: &[f32], scratch: [&mut [f32]; 2]) -> f32 {
    let lengths = [base.len(), scratch[0].len(), scratch[1].len()];
    assert!(lengths == [x.len(); 3], "all rows have the same length");
    if x.is_empty() {
        return 0.0;
    }
    let [powers, moves] = scratch;
    // Closures of this size are inlined into the vectorized function only when told to.
    vectorized(
        #[inline(always)]
        || {
            let weights = of_near_rows(x, base, LARGEST_WEIGHT, powers, moves, power_of_weight);
            if let Some(divergence) = weights {
                return divergence;
            }
            let [largest_x, largest_base] = largest(x, base);
            let powers_of_any = of_near_rows(
                x,
                base,
                f32::INFINITY,
                powers,
                moves,
                #[inline(always)]
                |base| exp(base - largest_base),
            );
            if let Some(divergence) = powers_of_any {
                return divergence;
            }
            for (power, base) in powers.iter_mut().zip(base) {
                *power = exp(base - largest_base);
            }
            of_far_rows(x, base, powers, largest_x, largest_base)
        },
    )
}

/// eˣ for x up to [`LARGEST_WEIGHT`] on either side of 0.
#[inline(always)]
fn power_of_weight(x: f32) -> f32 {
    let fourth_root = 1.0 + exp_m1_near_0(0.25 * x);
    let root = fourth_root * fourth_root;
    root * root
}

/// Largest x and base. NaN is passed over; it shows in the sums.
#[inline(always)]
fn largest(x: &[f32], base: &[f32]) -> [f32; 2] {
    [x, base].map(
        #[inline(always)]
        |row| {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            for_lanes(
                row,
                #[inline(always)]
                |lane, value| lanes[lane] = larger(value, lanes[lane]),
            );
            lanes.into_iter().fold(f32::NEG_INFINITY, larger)
        },
    )
}

/// `b` if `a` is NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Calls `visit` with the lane and the value of every element.
#[inline(always)]
fn for_lanes(values: &[f32], mut visit: impl FnMut(usize, f32)) {
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &value) in block.iter().enumerate() {
            visit(lane, value);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        visit(lane, value);
    }
}

/// Adds up to [`BLOCK`] values in `f32` and the lanes of their sums to `totals`.
#[inline(always)]
fn add_block(values: &[f32], totals: &mut [f64; LANES]) {
    let mut lanes = [0.0f32; LANES];
    for_lanes(
        values,
        #[inline(always)]
        |lane, value| lanes[lane] += value,
    );
    for (total, lane) in totals.iter_mut().zip(lanes) {
        *total += f64::from(lane);
    }
}

/// Adds what `terms` returns for every x, base and power of the base, in a fixed order.
#[inline(always)]
fn sum(x: &[f32], base: &[f32], powers: &[f32], term: impl Fn(f32, f32, f32) -> f32) -> f64 {
    // Terms are computed first and added after, which are two loops that vectorize and not one that
    // does not.
    let mut lanes = [0.0f64; LANES];
    let blocks = x.chunks(BLOCK).zip(base.chunks(BLOCK)).zip(powers.chunks(BLOCK));
    for ((x, base), powers) in blocks {
        let mut terms = Aligned([0.0f32; BLOCK]);
        for (((out, &x), &base), &power) in terms.iter_mut().zip(x).zip(base).zip(powers) {
            *out = term(x, base, power);
        }
        for terms in terms.as_chunks::<LANES>().0 {
            for (lane, term) in lanes.iter_mut().zip(terms) {
                *lane += f64::from(*term);
            }
        }
    }
    lanes.iter().sum()
}

/// For rows that differ by at most [`NEAR`] anywhere and a base of no larger magnitudes than
/// `bound`; none for others. `power` is the exponential, up to a factor, by whose sum all
/// probabilities are scaled. `powers` and `moves` are overwritten.
#[inline(always)]
fn of_near_rows(
    x: &[f32],
    base: &[f32],
    bound: f32,
    powers: &mut [f32],
    moves: &mut [f32],
    power: impl Fn(f32) -> f32,
) -> Option<f32> {
    let (mut total, mut moved) = ([0.0f64; LANES], [0.0f64; LANES]);
    let rows = x.chunks(BLOCK).zip(base.chunks(BLOCK));
    let scratch = powers.chunks_mut(BLOCK).zip(moves.chunks_mut(BLOCK));
    for ((x, base), (powers, moves)) in rows.zip(scratch) {
        let mut is_far = 0u32;
        let elements = x.iter().zip(base).zip(powers.iter_mut().zip(moves.iter_mut()));
        for ((&x, &base), (power_out, move_out)) in elements {
            let (delta, q) = (x - base, power(base));
            // NaN is not far; it shows in the sums.
            is_far |= u32::from((delta.abs() > NEAR) | (base.abs() > bound));
            *power_out = q;
            *move_out = q * exp_m1_near_0(delta);
        }
        if is_far != 0 {
            return None;
        }
        add_block(powers, &mut total);
        add_block(moves, &mut moved);
    }
    let (total, moved): (f64, f64) = (total.iter().sum(), moved.iter().sum());
    // With u = eᵈ − 1, exp(d − L) − 1 = (u · Σq − Σqu) / (Σq + Σqu).
    let (scale, shift) = ((total / (total + moved)) as f32, (moved / (total + moved)) as f32);
    let offset = (OFFSET * total) as f32;
    let mut divergence = [0.0f64; LANES];
    for (powers, moves) in powers.chunks(BLOCK).zip(moves.chunks(BLOCK)) {
        let mut terms = Aligned([0.0f32; BLOCK]);
        for (term, (&q, &moved)) in terms.iter_mut().zip(powers.iter().zip(moves)) {
            let difference = scale * moved - shift * q;
            let s = difference / (2.0 * (q + offset) + difference);
            *term = near_term(s, difference);
        }
        add_block(&terms[..powers.len()], &mut divergence);
    }
    Some((divergence.iter().sum::<f64>() / total) as f32)
}

/// Q((1+r) ln(1+r) − r) for `difference` = Q r and small s = r/(2+r).
#[inline(always)]
fn near_term(s: f32, difference: f32) -> f32 {
    s * difference * (1.0 + (1.0 + s) * s * artanh_tail(s * s))
}

/// For any two rows. Probabilities are scaled as in [`of_near_rows`].
#[inline(always)]
fn of_far_rows(x: &[f32], base: &[f32], powers: &[f32], largest_x: f32, largest_base: f32) -> f32 {
    let total = sum(
        x,
        base,
        powers,
        #[inline(always)]
        |_, _, q| q,
    );
    let total_x = sum(
        x,
        base,
        powers,
        #[inline(always)]
        |x, _, _| exp(x - largest_x),
    );
    let shift = f64::from(largest_x) - f64::from(largest_base) + libm::log(total_x / total);
    let (shift, scale) = (shift as f32, (total / total_x) as f32);
    let offset = (OFFSET * total) as f32;
    let divergence = sum(
        x,
        base,
        powers,
        #[inline(always)]
        |x, base, q| {
            let p = scale * exp(x - largest_x);
            let change = (x - base) - shift;
            let is_near = (change.abs() <= NEARLY_EQUAL) & ((x - base).abs() <= LARGEST_SHIFT);
            let difference = if is_near { q * exp_m1_near_0(change) } else { p - q };
            let (p, q) = (p + offset, q + offset);
            let s = difference / (p + q);
            let near = near_term(s, difference);
            let far = p * ln(p / q) - difference;
            if s.abs() <= LARGEST_SERIES { near } else { far }
        },
    );
    (divergence / total) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divergence_of(x: &[f32], base: &[f32]) -> f32 {
        softmax_divergence(x, base, [&mut vec![0.0; x.len()], &mut vec![0.0; x.len()]])
    }

    /// In `f64`, term by term as the module's documentation says.
    fn exact(x: &[f32], base: &[f32]) -> f64 {
        let softmax = |row: &[f32]| -> Vec<f64> {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> =
                row.iter().map(|value| (f64::from(*value) - f64::from(largest)).exp()).collect();
            let total: f64 = powers.iter().sum();
            powers.iter().map(|power| power / total + 1e-8).collect()
        };
        softmax(x)
            .iter()
            .zip(softmax(base))
            .map(|(p, q)| {
                let r = (p - q) / q;
                q * ((1.0 + r) * r.ln_1p() - r)
            })
            .sum()
    }

    /// Reproducible numbers around 0.
    fn noise(length: usize, size: f32, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..length).map(|_| size * (uniform() + uniform() + uniform())).collect()
    }

    #[track_caller]
    fn assert_near(x: &[f32], base: &[f32], tolerance: f64) {
        let (actual, exact) = (f64::from(divergence_of(x, base)), exact(x, base));
        assert!(
            (actual - exact).abs() <= tolerance * exact,
            "got {actual:e}, expected {exact:e}, relative error {:e}",
            (actual - exact).abs() / exact
        );
    }

    #[test]
    fn changes_of_every_size_are_measured() {
        for length in [2, 3, 15, 16, 17, 100, 2048, 5000] {
            for size in [0.02, 0.9, 1.0, 20.0] {
                let base = noise(length, size, 1);
                for change in [1e-3, 0.02, 0.1, 0.3, 1.0, 10.0, 100.0] {
                    let x: Vec<f32> =
                        base.iter().zip(noise(length, change, 2)).map(|(b, d)| b + d).collect();
                    assert_near(&x, &base, 2e-5);
                    assert_near(&base, &x, 2e-5);
                }
            }
        }
    }

    #[test]
    fn the_definition_gives_the_same_where_it_does_not_cancel() {
        let (x, base) = ([0.5f32, -1.0, 2.0], [1.5f32, 0.25, -0.5]);
        let softmax = |row: [f32; 3]| {
            let total: f64 = row.iter().map(|value| f64::from(*value).exp()).sum();
            row.map(|value| f64::from(value).exp() / total + 1e-8)
        };
        let terms = softmax(x).into_iter().zip(softmax(base)).map(|(p, q)| p * (p / q).ln());
        let expected: f64 = terms.sum();
        let actual = f64::from(divergence_of(&x, &base));
        assert!((actual - expected).abs() < 1e-6 * expected, "{actual} instead of {expected}");
    }

    #[test]
    fn rows_with_the_same_softmax_do_not_diverge() {
        let row = noise(777, 0.3, 5);
        assert_eq!(divergence_of(&row, &row), 0.0);
        assert_eq!(divergence_of(&[1.0; 33], &[1.0; 33]), 0.0);
        assert_eq!(divergence_of(&[3.0], &[-500.0]), 0.0);
        assert_eq!(divergence_of(&[], &[]), 0.0);
        // All of a row moved by the same amount: both ways of computing see next to nothing.
        for shift in [0.125, 4.0, 1000.0] {
            let base: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
            let x: Vec<f32> = base.iter().map(|value| value + shift).collect();
            let divergence = divergence_of(&x, &base);
            assert!((0.0..1e-11).contains(&divergence), "{divergence:e} for {shift}");
        }
    }

    #[test]
    fn logits_of_any_size_stay_finite() {
        let (x, base) = ([1e4f32, -1e4, 0.0, 3e38], [-1e4f32, 1e4, -3e38, 0.0]);
        let divergence = divergence_of(&x, &base);
        // All of the probability went to an element that had none.
        assert!((divergence - 1e8f32.ln()).abs() < 1e-4, "{divergence}");
        for broken in [f32::NAN, f32::INFINITY] {
            let broken = [0.1, broken, 0.2, 0.3];
            assert!(divergence_of(&broken, &[0.0; 4]).is_nan());
            assert!(divergence_of(&[0.0; 4], &broken).is_nan());
        }
    }
}

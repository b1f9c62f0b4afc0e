//! Exponentials and logarithms of `f32` that the compiler can vectorize.
//!
//! Plain arithmetic, bit patterns and selections, no calls and no jumps: a loop over any of these
//! functions inside [`vectorized`](super::simd::vectorized) becomes vector instructions, and gives
//! the same bits on every machine. Relative errors are a few units in the last place (see the
//! tests). Powers too small for normal numbers are not exact: they stop at 2⁻¹²⁵.

use std::f32::consts::{LOG2_E, SQRT_2};

/// ln 2 in two parts: the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Bounds of x that keep eˣ finite and its half a normal number.
const SMALLEST: f32 = -86.643_4;
const LARGEST: f32 = 88.722_83;

/// Adding it rounds a small number to a whole one, which then stands in the lowest bits.
const ROUNDER: f32 = 12_582_912.0;

/// eˣ. Below −86.64 it stays at 2⁻¹²⁵ and above 88.72 at the largest finite power.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (half_scale, fraction) = split(x);
    2.0 * (half_scale + half_scale * exp_m1_near_0(fraction))
}

/// eˣ − 1, also where it is tiny. Bounded as [`exp`].
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    let (half_scale, fraction) = split(x);
    2.0 * (half_scale * exp_m1_near_0(fraction) + (half_scale - 0.5))
}

/// `(2ⁿ / 2, f)` with x = n · ln 2 + f and f in about ±0.35. Half the power, since the whole one
/// would be infinite for the largest x.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    // Selections, not `clamp`, so that NaN stays NaN.
    let x = if x < SMALLEST { SMALLEST } else { x };
    let x = if x > LARGEST { LARGEST } else { x };
    let rounded = x * LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let fraction = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // 126 instead of 127 is the exponent of a half.
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(126);
    (f32::from_bits(exponent << 23), fraction)
}

/// eˣ − 1 for x in ±0.36, by its Taylor series.
#[inline(always)]
pub fn exp_m1_near_0(x: f32) -> f32 {
    // Added up in pairs (Estrin's scheme), since a chain of eight additions would be waited for.
    let squared = x * x;
    let low = (0.5 + x * (1.0 / 6.0)) + squared * (1.0 / 24.0 + x * (1.0 / 120.0));
    let high = (1.0 / 720.0 + x * (1.0 / 5040.0)) + squared * (1.0 / 40320.0);
    x + squared * (low + (squared * squared) * high)
}

/// Natural logarithm of a positive normal number.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = 2ⁿ · m with m in √½ .. √2.
    let shifted = x.to_bits().wrapping_add(1f32.to_bits() - (SQRT_2 / 2.0).to_bits());
    let n = (shifted >> 23) as i32 - 127;
    let m = f32::from_bits((shifted & 0x007f_ffff) + (SQRT_2 / 2.0).to_bits());
    let n = n as f32;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // ln m = 2 artanh s = 2s + 2s³ (⅓ + …)
    n * LN_2_HIGH + (2.0 * s + (2.0 * s * z * artanh_tail(z) + n * LN_2_LOW))
}

/// g(s²) in artanh s = s + s³ · g(s²), for s in ±0.18.
#[inline(always)]
pub fn artanh_tail(z: f32) -> f32 {
    (1.0 / 3.0 + z * (1.0 / 5.0))
        + (z * z) * ((1.0 / 7.0 + z * (1.0 / 9.0)) + (z * z) * (1.0 / 11.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest relative error of `function`, over `from..to` in equal steps.
    fn largest_error(
        from: f32,
        to: f32,
        function: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
    ) -> f64 {
        let steps = 200_003;
        let points = (0..=steps).map(|step| from + (to - from) * (step as f32 / steps as f32));
        let errors = points.map(|x| {
            let exact = exact(f64::from(x));
            match exact == 0.0 {
                true => f64::from(function(x)).abs(),
                false => ((f64::from(function(x)) - exact) / exact).abs(),
            }
        });
        errors.fold(0.0, f64::max)
    }

    const ULP: f64 = 1.2e-7;

    #[test]
    fn exponentials_are_near_the_exact_ones() {
        assert!(largest_error(-86.6, 88.7, exp, f64::exp) < 2.0 * ULP);
        for bound in [1e-9, 1e-4, 0.1, 0.34, 0.36, 1.0, 88.7] {
            let error = largest_error(-bound, bound, exp_m1, f64::exp_m1);
            assert!(error < 2.0 * ULP, "{error:e} up to {bound}");
        }
        for bound in [1e-9, 1e-4, 0.1, 0.36] {
            let error = largest_error(-bound, bound, exp_m1_near_0, f64::exp_m1);
            assert!(error < 2.0 * ULP, "{error:e} up to {bound}");
        }
    }

    #[test]
    fn exponentials_are_bounded_and_keep_what_is_no_number() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp_m1(0.0), 0.0);
        assert!(exp(1e30).is_finite() && exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NEG_INFINITY) < 2.4e-38 && exp(-1e30) >= 0.0);
        assert_eq!(exp_m1(f32::NEG_INFINITY), -1.0);
        assert!(exp(f32::NAN).is_nan() && exp_m1(f32::NAN).is_nan());
    }

    #[test]
    fn logarithms_are_near_the_exact_ones() {
        for (from, to) in [(0.5, 2.0), (1e-30, 1e-20), (1e-3, 10.0), (1.0, 1e30), (0.999, 1.001)] {
            let error = largest_error(from, to, ln, f64::ln);
            assert!(error < 2.0 * ULP, "{error:e} in {from}..{to}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert!((ln(f32::MIN_POSITIVE) + 87.336_54).abs() < 1e-5);
    }
}

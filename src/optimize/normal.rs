//! The standard normal distribution, the same bits on every machine.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Φ(x), the probability of a draw below x.
pub(super) fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// Φ⁻¹(p) for p in (0, 1): x such that a draw lies below it with probability p.
///
/// A rational approximation for small p (Abramowitz & Stegun 26.2.23, error below 5e-4), made exact
/// by Halley steps.
pub(super) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let t = (-2.0 * libm::log(p)).sqrt();
    let numerator = 2.515517 + t * (0.802853 + t * 0.010328);
    let denominator = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308));
    let mut x = numerator / denominator - t;
    for _ in 0..3 {
        let error = (cdf(x) - p) * (2.0 * PI).sqrt() * libm::exp(0.5 * x * x);
        x -= error / (1.0 + 0.5 * x * error);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_inverse_of_the_distribution() {
        assert_eq!(cdf(0.0), 0.5);
        assert!((quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-13);
        assert!((quantile(1e-8) + 5.612_001_244_174_789).abs() < 1e-12);
        for step in 1..1000 {
            let p = f64::from(step) / 1000.0;
            assert!((cdf(quantile(p)) - p).abs() < 1e-15, "{p}");
        }
    }
}

//! The decoder's loops over slices.
//!
//! Each loop keeps a fixed number of lanes and a fixed order of additions, and never fuses a
//! multiplication with an addition, so that results do not depend on the width of the machine's
//! registers. [`run_widened`] runs a [`Loop`] as compiled for the widest registers found at run time;
//! functions meant for loops are `#[inline(always)]`.

use std::f32::consts::FRAC_1_SQRT_2;

use crate::lm::backend::RowSummary;
use crate::lm::config::{Activation, Norm};

/// Partial sums of a reduction.
const LANES: usize = 16;

/// A loop over slices, with what it works on.
///
/// `run` and all it calls must be `#[inline(always)]`: code that stays a function of its own is
/// compiled for the narrowest registers. (For that reason this is not a closure.)
pub(super) trait Loop {
    type Output;

    fn run(self) -> Self::Output;
}

struct Widened<L>(L);

impl<L: Loop> pulp::WithSimd for Widened<L> {
    type Output = L::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> L::Output {
        self.0.run()
    }
}

/// Runs a loop as compiled for the machine's widest registers.
pub(super) fn run_widened<L: Loop>(work: L) -> L::Output {
    pulp::Arch::new().dispatch(Widened(work))
}

/// Adds `bias` to every row.
pub(super) fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(value, shift)| *value += shift);
    }
}

/// `row · weight / √(mean(row²) + ε)`, in place; with `1 + weight` where the weight is an offset.
#[inline(always)]
fn rms_norm(row: &mut [f32], weight: &[f32], epsilon: f32, offset: f32) {
    let squares = sum_of(row, |value| value * value);
    let scale = 1.0 / (squares / row.len() as f32 + epsilon).sqrt();
    for (value, weight) in row.iter_mut().zip(weight) {
        *value = (offset + *weight) * (*value * scale);
    }
}

/// `(row − mean) / √(variance + ε)`, in place.
#[inline(always)]
fn standardize(row: &mut [f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = sum_of(row, |value| value) / count;
    row.iter_mut().for_each(|value| *value -= mean);
    let scale = 1.0 / (sum_of(row, |value| value * value) / count + epsilon).sqrt();
    row.iter_mut().for_each(|value| *value *= scale);
}

/// `Σ term(value)`, over fixed lanes in a fixed order.
#[inline(always)]
fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += term(*value);
    }
    folded(lanes, |a, b| a + b)
}

/// Reduces lanes by halves, in a fixed order.
#[inline(always)]
fn folded<T: Copy>(mut lanes: [T; LANES], combine: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Normalizes each `width` elements of rows.
pub(super) struct Normalize<'a> {
    pub(super) rows: &'a mut [f32],
    pub(super) norm: Norm,
    /// As many elements as one part, or as several parts; empty for a norm without weights.
    pub(super) weight: &'a [f32],
    /// Empty for a norm without bias.
    pub(super) bias: &'a [f32],
    pub(super) width: usize,
}

impl Loop for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, norm, weight, bias, width } = self;
        let parts = (weight.len() / width).max(1);
        for (index, part) in rows.chunks_exact_mut(width).enumerate() {
            let own = index % parts * width;
            match norm {
                Norm::Rms { epsilon, offset } => {
                    let offset = if offset { 1.0 } else { 0.0 };
                    rms_norm(part, &weight[own..own + width], epsilon, offset);
                }
                Norm::Plain { epsilon } => standardize(part, epsilon),
                Norm::Layer { epsilon, bias: has_bias } => {
                    standardize(part, epsilon);
                    for (value, weight) in part.iter_mut().zip(&weight[own..own + width]) {
                        *value *= weight;
                    }
                    if has_bias {
                        for (value, bias) in part.iter_mut().zip(&bias[own..own + width]) {
                            *value += bias;
                        }
                    }
                }
            }
        }
    }
}

/// Replaces each value by its activation, times the same element of `up` unless that is empty.
pub(super) struct Activate<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) up: &'a [f32],
    pub(super) activation: Activation,
}

impl Loop for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { values, up, activation } = self;
        match activation {
            Activation::Silu => each(values, |x| x / (1.0 + exp(-x))),
            Activation::Gelu => each(values, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))),
            Activation::GeluTanh => each(values, |x| {
                0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
            }),
            Activation::Relu => each(values, |x| x.max(0.0)),
            Activation::ReluSquared => each(values, |x| x.max(0.0) * x.max(0.0)),
        }
        values.iter_mut().zip(up).for_each(|(value, up)| *value *= up);
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;

#[inline(always)]
fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = function(*value));
}

/// `cap · tanh(scale · x / cap)`, or `scale · x` without a cap.
pub(super) struct Limit<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) scale: f32,
    pub(super) soft_cap: Option<f32>,
}

impl Loop for Limit<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { values, scale, soft_cap } = self;
        match soft_cap {
            None => each(values, |x| x * scale),
            Some(cap) => each(values, |x| cap * tanh(x * scale / cap)),
        }
    }
}

/// `(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)`; not a number stays so.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Beyond 10 the result is ±1 to the last digit. Near 0 the difference of exponentials loses
    // digits, and a series is exact.
    let square = x * x;
    let near = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 - square * (17.0 / 315.0))));
    let clamped = if x > 10.0 { 10.0 } else { x };
    let clamped = if clamped < -10.0 { -10.0 } else { clamped };
    let power = exp(2.0 * clamped);
    let far = (power - 1.0) / (power + 1.0);
    if square < 0.0225 { near } else { far }
}

/// The error function, to within 3e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * magnitude);
    let mut polynomial = 1.061_405_4_f32;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        polynomial = polynomial * t + coefficient;
    }
    let value = 1.0 - polynomial * t * exp(-magnitude * magnitude);
    if x < 0.0 { -value } else { value }
}

/// Replaces each value by `e^(value − largest)` and returns the sum of the results.
#[inline(always)]
pub(super) fn exponentiate(values: &mut [f32]) -> f32 {
    let largest = maximum(values);
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *value = exp(*value - largest);
            *lane += *value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *value = exp(*value - largest);
        *lane += *value;
    }
    folded(lanes, |a, b| a + b)
}

/// Largest value; unspecified if one is not a number.
#[inline(always)]
fn maximum(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *value);
    }
    folded(lanes, larger)
}

/// Summarises a row of logits, with exponentials in f32 and their sum in f64.
pub(super) struct Summarize<'a>(pub(super) &'a [f32]);

impl Loop for Summarize<'_> {
    type Output = RowSummary;

    #[inline(always)]
    fn run(self) -> RowSummary {
        let Self(logits) = self;
        let largest = maximum(logits);
        let mut lanes = [0.0_f64; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, logit) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(exp(*logit - largest));
            }
        }
        for (lane, logit) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(exp(*logit - largest));
        }
        let argmax = logits.iter().position(|logit| *logit == largest).unwrap_or(0) as u32;
        RowSummary { largest, log_sum: folded(lanes, |a, b| a + b).ln(), argmax }
    }
}

/// `eˣ` to within one and a half units in the last place for x in −87 to 88; outside of that the
/// value at the nearer end; not a number stays so.
///
/// `x = n·ln 2 + r`, and a polynomial for `eʳ`, |r| ≤ ½ ln 2: branch-free, so that it vectorises.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding this to a small number leaves the number, rounded, in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has trailing zeros, so that its multiples are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Minimax coefficients of (eʳ − 1 − r) / r², as in Cephes' expf.
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * r + coefficient;
    }
    let power = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    (polynomial * r * r + r + 1.0) * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_the_last_digits() {
        let worst = (-870_000..=880_000)
            .map(|step| step as f32 * 1e-4)
            .map(|x| {
                let exact = f64::from(x).exp();
                (f64::from(exp(x)) - exact).abs() / exact
            })
            .fold(0.0, f64::max);
        assert!(worst < 1.8e-7, "relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    fn summarized(logits: &[f32]) -> RowSummary {
        run_widened(Summarize(logits))
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        let summary = summarized(&[0.0, 2.0, 1.0, 2.0]);
        assert_eq!(summary.argmax, 1);
        let sum = (-2.0_f64).exp() + 1.0 + (-1.0_f64).exp() + 1.0;
        assert!((summary.log_sum - sum.ln()).abs() < 1e-7);
        assert!(!summarized(&[0.0, f32::NAN]).log_sum.is_finite());
        assert!(!summarized(&[0.0, f32::INFINITY]).log_sum.is_finite());
        assert!(!summarized(&[f32::NEG_INFINITY; 3]).log_sum.is_finite());
    }
}

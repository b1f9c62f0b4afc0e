//! How frequencies are changed for contexts that are longer than those of the training.

use std::borrow::Cow;
use std::f64::consts::PI;

use serde_json::Value;

use super::{Regime, RotaryDefaults};
use crate::lm::error::LmError;
use crate::lm::json::Fields;

/// The frequencies of a rotary embedding, one per pair of elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    /// The same for sequences of all lengths.
    Fixed { frequencies: Vec<f32>, amplitude: f32 },
    /// Others for sequences of more than `original` tokens (LongRoPE, Ding et al. 2024,
    /// <https://arxiv.org/abs/2402.13753>).
    Long { original: usize, short: Vec<f32>, long: Vec<f32>, amplitudes: ShortAndLong },
    /// For more than `original` tokens they depend on how many there are (dynamic NTK).
    Dynamic { original: usize, theta: f64, factor: f64, usual: Vec<f32> },
}

/// What cosines and sines are multiplied by, in sequences up to the original length and beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ShortAndLong {
    short: f32,
    long: f32,
}

impl Scaling {
    /// Reads the parameters of a rotary embedding that turns `dim` elements.
    pub(super) fn parse(
        config: Fields<'_>,
        parameters: Fields<'_>,
        theta: f64,
        dim: usize,
        defaults: &RotaryDefaults,
    ) -> Result<Self, LmError> {
        let max_length = defaults.max_length;
        let usual = frequencies(theta, dim);
        let fixed = |frequencies, amplitude| Self::Fixed { frequencies, amplitude };
        let kind = kind(parameters);
        let own = parameters.optional_size("original_max_position_embeddings")?;
        let original = config.optional_size("original_max_position_embeddings")?.or(own);
        let original = original.unwrap_or(max_length);
        let scaling = match kind.map_or(Some("default"), Value::as_str) {
            Some("default") => fixed(usual, 1.0),
            Some("linear") => {
                let factor = parameters.positive("factor")? as f32;
                fixed(usual.iter().map(|frequency| frequency / factor).collect(), 1.0)
            }
            Some("dynamic") => {
                let factor = parameters.positive("factor")?;
                Self::Dynamic { original: max_length, theta, factor, usual }
            }
            Some("llama3") => {
                let rule = Llama3::parse(parameters, original)?;
                fixed(usual.iter().map(|frequency| rule.rescale(*frequency)).collect(), 1.0)
            }
            Some("yarn") => {
                let (frequencies, amplitude) =
                    yarn(parameters, &usual, theta, original, max_length)?;
                fixed(frequencies, amplitude)
            }
            Some("longrope" | "su") => longrope(parameters, theta, dim, original, defaults)?,
            _ => {
                let field =
                    if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
                return Err(parameters.unsupported(field, kind.unwrap_or(&Value::Null)));
            }
        };
        Ok(scaling)
    }

    pub(super) fn dim(&self) -> usize {
        match self {
            Self::Fixed { frequencies, .. } => 2 * frequencies.len(),
            Self::Long { short, .. } => 2 * short.len(),
            Self::Dynamic { usual, .. } => 2 * usual.len(),
        }
    }

    pub(super) fn regime(&self, length: usize) -> Regime {
        match self {
            Self::Long { original, .. } if length > *original => Regime::Long,
            Self::Dynamic { original, .. } if length > *original => Regime::Exactly(length),
            _ => Regime::Usual,
        }
    }

    pub(super) fn frequencies(&self, regime: Regime) -> Cow<'_, [f32]> {
        match (self, regime) {
            (Self::Fixed { frequencies, .. }, _) => Cow::Borrowed(frequencies),
            (Self::Long { long, .. }, Regime::Long) => Cow::Borrowed(long),
            (Self::Long { short, .. }, _) => Cow::Borrowed(short),
            (Self::Dynamic { original, theta, factor, usual }, Regime::Exactly(length)) => {
                let dim = 2 * usual.len();
                let stretch = factor * length as f64 / *original as f64 - (factor - 1.0);
                let exponent = dim as f64 / (dim as f64 - 2.0);
                Cow::Owned(frequencies(theta * stretch.powf(exponent), dim))
            }
            (Self::Dynamic { usual, .. }, _) => Cow::Borrowed(usual),
        }
    }

    /// What cosines and sines are multiplied by.
    pub(super) fn amplitude(&self, regime: Regime) -> f32 {
        match (self, regime) {
            (Self::Fixed { amplitude, .. }, _) => *amplitude,
            (Self::Long { amplitudes, .. }, Regime::Long) => amplitudes.long,
            (Self::Long { amplitudes, .. }, _) => amplitudes.short,
            (Self::Dynamic { .. }, _) => 1.0,
        }
    }
}

/// The name of the rule, if there is one.
fn kind<'a>(parameters: Fields<'a>) -> Option<&'a Value> {
    parameters.get("rope_type").or_else(|| parameters.get("type"))
}

/// Whether frequencies are not rescaled.
pub(super) fn is_default(parameters: Fields<'_>) -> bool {
    kind(parameters).is_none_or(|kind| kind.as_str() == Some("default"))
}

/// `θ^(−2i / dim)` for each pair.
fn frequencies(theta: f64, dim: usize) -> Vec<f32> {
    powers(theta, dim).into_iter().map(|power| 1.0 / power).collect()
}

/// `θ^(2i / dim)` for each pair.
fn powers(theta: f64, dim: usize) -> Vec<f32> {
    let power = |pair| {
        let exponent = (2 * pair) as f32 / dim as f32;
        f64::from(theta as f32).powf(f64::from(exponent)) as f32
    };
    (0..dim / 2).map(power).collect()
}

/// Llama 3's rule: slow turns are divided by `factor`, fast ones kept, those between blended.
struct Llama3 {
    factor: f32,
    low: f32,
    high: f32,
    original: f32,
}

impl Llama3 {
    fn parse(parameters: Fields<'_>, original: usize) -> Result<Self, LmError> {
        let rule = Self {
            factor: parameters.positive("factor")? as f32,
            low: parameters.positive("low_freq_factor")? as f32,
            high: parameters.positive("high_freq_factor")? as f32,
            original: original as f32,
        };
        if rule.low == rule.high {
            let expected = "different from `low_freq_factor`".to_owned();
            return Err(parameters.invalid("high_freq_factor", &rule.high.into(), expected));
        }
        Ok(rule)
    }

    fn rescale(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength > self.original / self.low {
            frequency / self.factor
        } else if wavelength < self.original / self.high {
            frequency
        } else {
            let smooth = (self.original / wavelength - self.low) / (self.high - self.low);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

/// Frequencies and amplitude of YaRN (Peng et al. 2023, <https://arxiv.org/abs/2309.00071>): pairs
/// that turn often within the original length keep their frequency, those that turn seldom have it
/// divided by the factor, and those between are blended.
fn yarn(
    parameters: Fields<'_>,
    usual: &[f32],
    theta: f64,
    original: usize,
    max_length: usize,
) -> Result<(Vec<f32>, f32), LmError> {
    let dim = 2.0 * usual.len() as f64;
    let factor = match parameters.optional_positive("factor")? {
        Some(factor) => factor,
        None => max_length as f64 / original as f64,
    };
    let amplitude = match parameters.optional_positive("attention_factor")? {
        Some(amplitude) => amplitude,
        None => match (parameters.nonzero("mscale")?, parameters.nonzero("mscale_all_dim")?) {
            (Some(mscale), Some(all)) => yarn_mscale(factor, mscale) / yarn_mscale(factor, all),
            _ => yarn_mscale(factor, 1.0),
        },
    };
    // The pair that turns so many times within the original length.
    let pair_of =
        |turns: f64| dim * (original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let mut low = pair_of(parameters.positive_or("beta_fast", 32.0)?);
    let mut high = pair_of(parameters.positive_or("beta_slow", 1.0)?);
    if parameters.flag("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    let frequencies =
        powers(theta, 2 * usual.len()).into_iter().enumerate().map(|(pair, power)| {
            let ramp = ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            1.0 / (factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
        });
    Ok((frequencies.collect(), amplitude as f32))
}

/// YaRN's temperature: `0.1 · mscale · ln(factor) + 1`, or 1 for factors up to 1.
pub(in crate::lm) fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

fn longrope(
    parameters: Fields<'_>,
    theta: f64,
    dim: usize,
    original: usize,
    defaults: &RotaryDefaults,
) -> Result<Scaling, LmError> {
    let rescaled = |field| -> Result<Vec<f32>, LmError> {
        let factors = parameters.positive_list(field, dim / 2)?;
        let powers = powers(theta, dim);
        Ok(factors.iter().zip(powers).map(|(f, power)| 1.0 / (*f as f32 * power)).collect())
    };
    let factor = match parameters.optional_positive("factor")? {
        Some(factor) => factor,
        None => defaults.max_length as f64 / original as f64,
    };
    let amplitude = match parameters.optional_positive("attention_factor")? {
        Some(amplitude) => amplitude,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    let amplitude = |field| {
        let own = if defaults.reads_mscales { parameters.optional_positive(field)? } else { None };
        Ok::<_, LmError>(own.unwrap_or(amplitude) as f32)
    };
    Ok(Scaling::Long {
        original,
        short: rescaled("short_factor")?,
        long: rescaled("long_factor")?,
        amplitudes: ShortAndLong {
            short: amplitude("short_mscale")?,
            long: amplitude("long_mscale")?,
        },
    })
}

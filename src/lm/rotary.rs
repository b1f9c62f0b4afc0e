//! Rotary position embeddings (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), half-split form.
//!
//! Element `i` of the first half of a head and element `i` of the second half are turned together by
//! the angle `position · frequency[i]`, `frequency[i] = θ^(−2i / head_dim)`, possibly rescaled for
//! long contexts. Frequencies and angles are f32 as in transformers: at position 1000 an angle's
//! last bit is worth 6e-5, so computing them better would mean computing them differently.

use serde_json::Value;

use super::config::{positive, present, shortened};
use super::error::LmError;

const DEFAULT_THETA: f64 = 10000.0;

/// The frequencies of a model, one per pair of elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotary {
    frequencies: Vec<f32>,
}

impl Rotary {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which replaced both.
    ///
    /// `head_dim` is even; `max_length` stands in for an absent
    /// `original_max_position_embeddings`.
    pub(super) fn from_json(
        config: &Value,
        head_dim: usize,
        max_length: usize,
    ) -> Result<Self, LmError> {
        let (section, parameters) = match present(config, "rope_parameters") {
            Some(parameters) => ("rope_parameters", Some(parameters)),
            None => ("rope_scaling", present(config, "rope_scaling")),
        };
        let in_section = |field: &str| parameters.and_then(|object| present(object, field));
        if let Some(value) = parameters
            && !value.as_object().is_some_and(|object| object.values().all(|v| !v.is_object()))
        {
            return Err(LmError::UnsupportedSetting {
                field: section.to_owned(),
                value: shortened(value),
            });
        }
        for holder in [parameters, Some(config)].into_iter().flatten() {
            if let Some(value) = present(holder, "partial_rotary_factor")
                && value.as_f64() != Some(1.0)
            {
                return Err(LmError::UnsupportedSetting {
                    field: "partial_rotary_factor".to_owned(),
                    value: shortened(value),
                });
            }
        }
        let theta = match in_section("rope_theta").or_else(|| present(config, "rope_theta")) {
            Some(value) => positive(value, "rope_theta")?,
            None => DEFAULT_THETA,
        };
        let mut frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|pair| {
                let exponent = (2 * pair) as f32 / head_dim as f32;
                1.0 / (f64::from(theta as f32).powf(f64::from(exponent)) as f32)
            })
            .collect();

        let required = |field: &str| {
            let path = format!("{section}.{field}");
            match in_section(field) {
                Some(value) => positive(value, &path).map(|number| number as f32),
                None => Err(LmError::MissingField { field: path }),
            }
        };
        let kind = in_section("rope_type").or_else(|| in_section("type"));
        match kind.map_or(Some("default"), Value::as_str) {
            Some("default") => {}
            Some("linear") => {
                let factor = required("factor")?;
                frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
            }
            Some("llama3") => {
                let original_length = match in_section("original_max_position_embeddings") {
                    Some(_) => required("original_max_position_embeddings")?,
                    None => max_length as f32,
                };
                let rule = Llama3 {
                    factor: required("factor")?,
                    low: required("low_freq_factor")?,
                    high: required("high_freq_factor")?,
                    original_length,
                };
                if rule.low == rule.high {
                    return Err(LmError::InvalidField {
                        field: format!("{section}.high_freq_factor"),
                        value: rule.high.to_string(),
                        expected: "different from `low_freq_factor`".to_owned(),
                    });
                }
                frequencies.iter_mut().for_each(|frequency| *frequency = rule.rescale(*frequency));
            }
            _ => {
                return Err(LmError::UnsupportedSetting {
                    field: format!("{section}.rope_type"),
                    value: kind.map(shortened).unwrap_or_default(),
                });
            }
        }
        Ok(Self { frequencies })
    }

    /// The turns for positions 0 to `positions`, exclusive.
    pub(super) fn table(&self, positions: usize) -> RotaryTable {
        let mut table =
            RotaryTable { half: self.frequencies.len(), cosines: Vec::new(), sines: Vec::new() };
        table.extend(self, positions);
        table
    }
}

/// Llama 3's rule: slow turns are divided by `factor`, fast ones kept, those between blended.
struct Llama3 {
    factor: f32,
    low: f32,
    high: f32,
    original_length: f32,
}

impl Llama3 {
    fn rescale(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength > self.original_length / self.low {
            frequency / self.factor
        } else if wavelength < self.original_length / self.high {
            frequency
        } else {
            let smooth = (self.original_length / wavelength - self.low) / (self.high - self.low);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

/// Cosines and sines `[position, head_dim / 2]`.
pub(super) struct RotaryTable {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryTable {
    /// Adds the turns up to `positions`, exclusive, that are not there yet.
    pub(super) fn extend(&mut self, rotary: &Rotary, positions: usize) {
        for position in self.cosines.len() / self.half..positions {
            for frequency in &rotary.frequencies {
                let angle = f64::from(position as f32 * frequency);
                self.cosines.push(angle.cos() as f32);
                self.sines.push(angle.sin() as f32);
            }
        }
    }

    /// Turns every head of a row `[heads · head_dim]` that stands at `position`.
    #[inline(always)]
    pub(super) fn turn(&self, row: &mut [f32], position: usize) {
        let here = position * self.half..(position + 1) * self.half;
        let (cosines, sines) = (&self.cosines[here.clone()], &self.sines[here]);
        for head in row.chunks_exact_mut(2 * self.half) {
            let (first, second) = head.split_at_mut(self.half);
            for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}

//! Rotary position embeddings (Su et al. 2021, <https://arxiv.org/abs/2104.09864>).
//!
//! Elements of a head are turned in pairs, pair `i` by the angle `position · frequency[i]`,
//! `frequency[i] = θ^(−2i / dim)`, possibly rescaled for long contexts. Frequencies and angles are
//! f32 as in transformers: at position 1000 an angle's last bit is worth 6e-5, so computing them
//! better would mean computing them differently.

mod scaling;

pub(super) use scaling::yarn_mscale;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::error::LmError;
use super::json::Fields;
use scaling::Scaling;

/// Most elements that are turned: frequencies are computed before any tensor is seen.
const LARGEST_DIM: usize = 1 << 16;

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Element `i` of the first half and element `i` of the second half.
    Halves,
    /// Neighbours: `2i` and `2i + 1`.
    Neighbours,
}

/// What a family does where its config says nothing, and which part of a head it turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct RotaryDefaults {
    /// Elements of a head.
    pub(super) head_dim: usize,
    /// `rope_theta`.
    pub(super) theta: f64,
    /// The share of a head that is turned.
    pub(super) partial: f64,
    /// Whether `partial_rotary_factor` has a say in it without scaling, too.
    pub(super) reads_partial: bool,
    pub(super) pairing: Pairing,
    /// Most positions, which stand in for an absent `original_max_position_embeddings`.
    pub(super) max_length: usize,
    /// Whether a sequence is computed anew when it grows beyond the original length of `longrope`,
    /// so that all its keys are turned alike; otherwise earlier keys stay as they were turned.
    pub(super) restarts: bool,
    /// Whether `short_mscale` and `long_mscale` are what `longrope` multiplies cosines and sines by.
    pub(super) reads_mscales: bool,
}

/// The object with the parameters of rotary embeddings, and its name: `rope_parameters`, unless
/// there is `rope_scaling`, its first name.
pub(super) fn section(config: Fields<'_>) -> (&'static str, Option<&Value>) {
    let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    match config.get("rope_scaling").filter(|value| !is_empty(value)) {
        Some(value) => ("rope_scaling", Some(value)),
        None => ("rope_parameters", config.get("rope_parameters")),
    }
}

/// A rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotary {
    scaling: Scaling,
    pub(super) pairing: Pairing,
    restarts: bool,
}

impl Rotary {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which replaced both.
    pub(super) fn from_config(
        config: Fields<'_>,
        defaults: &RotaryDefaults,
    ) -> Result<Self, LmError> {
        let (section, value) = section(config);
        Self::from_section(config, section, value, defaults)
    }

    /// Reads the parameters of one kind of layers, where `rope_parameters` has some for each.
    pub(super) fn of_layer_type(
        config: Fields<'_>,
        layer_type: &str,
        defaults: &RotaryDefaults,
    ) -> Result<Self, LmError> {
        match config.get("rope_parameters") {
            Some(value) if value.get(layer_type).is_some() => {
                Self::from_section(config, "rope_parameters", value.get(layer_type), defaults)
            }
            _ => Self::from_config(config, defaults),
        }
    }

    /// A rotary embedding without any scaling.
    pub(super) fn unscaled(defaults: &RotaryDefaults) -> Result<Self, LmError> {
        let nothing = Value::Null;
        Self::from_section(Fields::new(&nothing), "rope_parameters", None, defaults)
    }

    fn from_section(
        config: Fields<'_>,
        section: &'static str,
        value: Option<&Value>,
        defaults: &RotaryDefaults,
    ) -> Result<Self, LmError> {
        let nothing = Value::Null;
        let parameters = match value {
            Some(value)
                if !value
                    .as_object()
                    .is_some_and(|object| object.values().all(|value| !value.is_object())) =>
            {
                return Err(config.unsupported(section, value));
            }
            Some(value) => Fields::inside(value, section_path(section)),
            None => Fields::inside(&nothing, section_path(section)),
        };
        let theta = match parameters.optional_positive("rope_theta")? {
            Some(theta) => theta,
            None => config.positive_or("rope_theta", defaults.theta)?,
        };
        let configured = match parameters.optional_positive("partial_rotary_factor")? {
            Some(partial) => Some(partial),
            None => config.optional_positive("partial_rotary_factor")?,
        };
        let is_read = defaults.reads_partial || !scaling::is_default(parameters);
        let partial = configured.filter(|_| is_read).unwrap_or(defaults.partial);
        let dim = (defaults.head_dim as f64 * partial) as usize;
        if !dim.is_multiple_of(2) || dim == 0 || dim > defaults.head_dim.min(LARGEST_DIM) {
            return Err(LmError::InvalidField {
                field: "head_dim".to_owned(),
                value: defaults.head_dim.to_string(),
                expected: format!(
                    "such that an even number of its elements, at most {LARGEST_DIM}, is turned \
                     (`partial_rotary_factor` is {partial})"
                ),
            });
        }
        Ok(Self {
            scaling: Scaling::parse(config, parameters, theta, dim, defaults)?,
            pairing: defaults.pairing,
            restarts: defaults.restarts,
        })
    }

    /// Elements of a head that are turned.
    pub(super) fn dim(&self) -> usize {
        self.scaling.dim()
    }

    /// What distinguishes the turns in a sequence of `length` tokens: equal regimes, equal turns.
    pub(super) fn regime(&self, length: usize) -> Regime {
        self.scaling.regime(length)
    }

    /// Whether keys from before have to be computed anew in another regime.
    pub(super) fn restarts(&self) -> bool {
        self.restarts
    }

    fn frequencies(&self, regime: Regime) -> Cow<'_, [f32]> {
        self.scaling.frequencies(regime)
    }
}

fn section_path(section: &str) -> &'static str {
    match section {
        "rope_scaling" => "rope_scaling.",
        _ => "rope_parameters.",
    }
}

/// A range of lengths over which sequences are turned alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Regime {
    /// Up to the original length, or always.
    #[default]
    Usual,
    /// Beyond it.
    Long,
    /// Beyond it, for sequences of exactly this length.
    Exactly(usize),
}

/// The turns of a model's rotary embeddings, by index, in one regime.
#[derive(Debug)]
pub(super) struct Turns {
    tables: Vec<RotaryTable>,
    regimes: Vec<Regime>,
}

impl Turns {
    /// The turns at some positions of sequences of `length` tokens.
    pub(super) fn new(rotaries: &[Rotary], length: usize, positions: Range<usize>) -> Self {
        Self::of_regimes(rotaries, regimes(rotaries, length), positions)
    }

    /// The turns at some positions, each rotary embedding in its regime.
    pub(super) fn of_regimes(
        rotaries: &[Rotary],
        regimes: Vec<Regime>,
        positions: Range<usize>,
    ) -> Self {
        let tables = rotaries
            .iter()
            .zip(&regimes)
            .map(|(rotary, regime)| {
                let mut table = RotaryTable::new(rotary, positions.start);
                table.extend(rotary, *regime, positions.end);
                table
            })
            .collect();
        Self { tables, regimes }
    }

    /// Adds the turns up to position `end`, exclusive, that are not there yet.
    pub(super) fn extend(&mut self, rotaries: &[Rotary], end: usize) {
        for ((table, rotary), regime) in self.tables.iter_mut().zip(rotaries).zip(&self.regimes) {
            table.extend(rotary, *regime, end);
        }
    }

    /// The turns of the rotary embedding at `index`.
    pub(super) fn table(&self, index: usize) -> &RotaryTable {
        &self.tables[index]
    }
}

/// The regime of each rotary embedding in sequences of `length` tokens.
pub(super) fn regimes(rotaries: &[Rotary], length: usize) -> Vec<Regime> {
    rotaries.iter().map(|rotary| rotary.regime(length)).collect()
}

/// Cosines and sines `[position, dim / 2]` from some position on.
#[derive(Debug)]
pub(super) struct RotaryTable {
    /// No other table has it; what a table holds of a position never changes.
    pub(super) id: u64,
    first: usize,
    /// Pairs of elements.
    pub(super) half: usize,
    pub(super) pairing: Pairing,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryTable {
    fn new(rotary: &Rotary, first: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (half, pairing) = (rotary.dim() / 2, rotary.pairing);
        Self { id, first, half, pairing, cosines: Vec::new(), sines: Vec::new() }
    }

    fn extend(&mut self, rotary: &Rotary, regime: Regime, end: usize) {
        let frequencies = rotary.frequencies(regime);
        let factor = rotary.scaling.amplitude(regime);
        for position in self.first + self.cosines.len() / self.half..end {
            for frequency in frequencies.iter() {
                let angle = f64::from(position as f32 * frequency);
                self.cosines.push(angle.cos() as f32 * factor);
                self.sines.push(angle.sin() as f32 * factor);
            }
        }
    }

    /// Cosines and sines `[dim / 2]` at a position.
    #[inline(always)]
    pub(super) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let row = position - self.first;
        let here = row * self.half..(row + 1) * self.half;
        (&self.cosines[here.clone()], &self.sines[here])
    }

    /// Turns every head of a row `[heads · head_dim]` that stands at `position`, from the heads'
    /// element `offset` on.
    #[inline(always)]
    pub(super) fn turn(&self, row: &mut [f32], head_dim: usize, offset: usize, position: usize) {
        let (cosines, sines) = self.at(position);
        for head in row.chunks_exact_mut(head_dim) {
            let turned = &mut head[offset..offset + 2 * self.half];
            match self.pairing {
                Pairing::Halves => {
                    let (first, second) = turned.split_at_mut(self.half);
                    for (((a, b), cosine), sine) in
                        first.iter_mut().zip(second).zip(cosines).zip(sines)
                    {
                        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                    }
                }
                Pairing::Neighbours => {
                    let (pairs, _) = turned.as_chunks_mut::<2>();
                    for (([a, b], cosine), sine) in pairs.iter_mut().zip(cosines).zip(sines) {
                        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                    }
                }
            }
        }
    }
}

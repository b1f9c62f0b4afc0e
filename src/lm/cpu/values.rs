//! Weights in the forms in which they lie in memory, and how each is widened to f32.
//!
//! Quantised weights are ggml's blocks, along the inputs of an output:
//!
//! - q8_0: a scale `d` (f16) and 32 signed bytes `q`; a weight is `d · q`.
//! - q4_0: a scale `d` (f16) and 16 bytes, whose low halves are the first 16 numbers `q` and whose high
//!   halves the others; a weight is `d · (q − 8)`.
//! - q4_k: a scale `d` and an offset `m` (f16), eight pairs of 6-bit numbers `(s, o)` in 12 bytes, and
//!   128 bytes; each 32 of these hold 64 numbers `q`, the low halves before the high ones. A weight of
//!   the pair's 32 is `d · s · q − m · o`.

use std::ops::Range;

use half::{bf16, f16};

/// Weights `[outputs, inputs]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight<'a> {
    pub(super) values: Values<'a>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// How weights lie in memory; one output after the other, except in [`Values::Columns`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Values<'a> {
    Rows(&'a [f32]),
    /// The outputs of one input lie together, those of the next `stride` elements further.
    Columns {
        values: &'a [f32],
        stride: usize,
    },
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    /// Inputs are a multiple of 32.
    Q8_0(&'a [u8]),
    /// Inputs are a multiple of 32.
    Q4_0(&'a [u8]),
    /// Inputs are a multiple of 256.
    Q4K(&'a [u8]),
}

const Q8_0_BYTES: usize = 34;
const Q4_0_BYTES: usize = 18;
const Q4K_BYTES: usize = 144;

impl<'a> Weight<'a> {
    /// Some outputs.
    pub(super) fn part(self, outputs: Range<usize>) -> Self {
        let inputs = self.inputs;
        let elements = outputs.start * inputs..outputs.end * inputs;
        let bytes = |of_block: usize, elements_of_block: usize| {
            let of_output = inputs / elements_of_block * of_block;
            outputs.start * of_output..outputs.end * of_output
        };
        let values = match self.values {
            Values::Rows(values) => Values::Rows(&values[elements]),
            Values::Columns { values, stride } => {
                Values::Columns { values: &values[outputs.start..], stride }
            }
            Values::F16(values) => Values::F16(&values[elements]),
            Values::Bf16(values) => Values::Bf16(&values[elements]),
            Values::Q8_0(blocks) => Values::Q8_0(&blocks[bytes(Q8_0_BYTES, 32)]),
            Values::Q4_0(blocks) => Values::Q4_0(&blocks[bytes(Q4_0_BYTES, 32)]),
            Values::Q4K(blocks) => Values::Q4K(&blocks[bytes(Q4K_BYTES, 256)]),
        };
        Self { values, outputs: outputs.len(), inputs }
    }

    /// All weights, if they are f32 and lie one output after the other.
    #[inline(always)]
    pub(super) fn rows_in_place(self) -> Option<&'a [f32]> {
        match self.values {
            Values::Rows(values) => Some(values),
            _ => None,
        }
    }

    /// Copies the weights of an output for some inputs, which begin at a multiple of 256.
    #[inline(always)]
    pub(super) fn widen(self, output: usize, inputs: Range<usize>, out: &mut [f32]) {
        let start = output * self.inputs + inputs.start;
        let elements = start..start + inputs.len();
        match self.values {
            Values::Rows(values) => out.copy_from_slice(&values[elements]),
            Values::Columns { values, stride } => {
                let columns = values[inputs.start * stride..].chunks(stride);
                out.iter_mut().zip(columns).for_each(|(out, column)| *out = column[output]);
            }
            Values::F16(values) => {
                let values = &values[elements];
                out.iter_mut().zip(values).for_each(|(out, value)| *out = widen_f16(*value));
            }
            Values::Bf16(values) => {
                let values = &values[elements];
                out.iter_mut().zip(values).for_each(|(out, value)| {
                    *out = f32::from_bits(u32::from(value.to_bits()) << 16);
                });
            }
            Values::Q8_0(blocks) => {
                let blocks = blocks.as_chunks::<Q8_0_BYTES>().0[start / 32..].iter();
                out.as_chunks_mut().0.iter_mut().zip(blocks).for_each(widen_q8_0);
            }
            Values::Q4_0(blocks) => {
                let blocks = blocks.as_chunks::<Q4_0_BYTES>().0[start / 32..].iter();
                out.as_chunks_mut().0.iter_mut().zip(blocks).for_each(widen_q4_0);
            }
            Values::Q4K(blocks) => {
                let blocks = blocks.as_chunks::<Q4K_BYTES>().0[start / 256..].iter();
                out.as_chunks_mut().0.iter_mut().zip(blocks).for_each(widen_q4_k);
            }
        }
    }
}

/// Exact, with arithmetic that vectorises.
#[inline(always)]
fn widen_f16(value: f16) -> f32 {
    /// 2¹¹²: the difference of the exponents' biases.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);

    let bits = u32::from(value.to_bits());
    let magnitude = (bits & 0x7FFF) << 13;
    let finite = (f32::from_bits(magnitude) * REBIAS).to_bits();
    // Infinite, or not a number.
    let special = magnitude | 0x7F80_0000;
    let magnitude = if bits & 0x7C00 == 0x7C00 { special } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

#[inline(always)]
fn scale(low: u8, high: u8) -> f32 {
    widen_f16(f16::from_bits(u16::from_le_bytes([low, high])))
}

#[inline(always)]
fn widen_q8_0((out, block): (&mut [f32; 32], &[u8; Q8_0_BYTES])) {
    let d = scale(block[0], block[1]);
    out.iter_mut().zip(&block[2..]).for_each(|(out, q)| *out = f32::from(*q as i8) * d);
}

#[inline(always)]
fn widen_q4_0((out, block): (&mut [f32; 32], &[u8; Q4_0_BYTES])) {
    let d = scale(block[0], block[1]);
    let (low, high) = out.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..]) {
        *low = (f32::from(q & 15) - 8.0) * d;
        *high = (f32::from(q >> 4) - 8.0) * d;
    }
}

#[inline(always)]
fn widen_q4_k((out, block): (&mut [f32; 256], &[u8; Q4K_BYTES])) {
    let (d, m) = (scale(block[0], block[1]), scale(block[2], block[3]));
    let pairs = &block[4..16];
    // The first four pairs lie in the low six bits of the first and second four bytes. Of the others,
    // the low four bits are in the last four bytes, and the high two bits are the others' high bits.
    let factors: [(f32, f32); 8] = std::array::from_fn(|pair| {
        let (s, o) = match pair {
            0..4 => (pairs[pair] & 63, pairs[pair + 4] & 63),
            _ => (
                pairs[pair + 4] & 15 | pairs[pair - 4] >> 6 << 4,
                pairs[pair + 4] >> 4 | pairs[pair] >> 6 << 4,
            ),
        };
        (d * f32::from(s), m * f32::from(o))
    });
    let numbers = block[16..].chunks_exact(32);
    for ((out, numbers), factors) in
        out.chunks_exact_mut(64).zip(numbers).zip(factors.as_chunks::<2>().0)
    {
        let [(low_scale, low_offset), (high_scale, high_offset)] = *factors;
        let (low, high) = out.split_at_mut(32);
        for ((low, high), q) in low.iter_mut().zip(high).zip(numbers) {
            *low = low_scale * f32::from(q & 15) - low_offset;
            *high = high_scale * f32::from(q >> 4) - high_offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, exact) = (widen_f16(f16::from_bits(bits)), f16::from_bits(bits).to_f32());
            assert!(ours == exact || ours.is_nan() && exact.is_nan(), "{bits:#06x}");
            assert_eq!(ours.is_sign_negative(), exact.is_sign_negative(), "{bits:#06x}");
        }
    }
}

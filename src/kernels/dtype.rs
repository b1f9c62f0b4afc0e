//! Element types of tensors, and their conversion to and from `f32`.

use std::fmt;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::float8;
use super::simd::vectorized;

/// Elements that are converted through a buffer at a time.
const BUFFER: usize = 1024;

/// Elements that are looked at as a whole before one of them is looked for, which the compiler turns
/// into vector instructions.
const GLANCE: usize = 4096;

/// The bits of an `f32` without its sign.
const MAGNITUDE: u32 = u32::MAX >> 1;

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Upper half of an `f32`.
    BF16,
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// 8-bit float of 4 exponent and 3 mantissa bits, finite: PyTorch's `float8_e4m3fn`.
    F8E4M3,
    /// 8-bit float of 5 exponent and 2 mantissa bits, with infinities.
    F8E5M2,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte per truth value.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::BF16 | Self::F16 | Self::I16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether arithmetic on fractions makes sense. Other types are only copied.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::BF16 | Self::F16 | Self::F32 | Self::F64 | Self::F8E4M3 | Self::F8E5M2)
    }
}

/// The name that PyTorch and merge configs use: `bfloat16`, `float32`, ….
impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F8E4M3 => "float8_e4m3fn",
            Self::F8E5M2 => "float8_e5m2",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        })
    }
}

/// Widens stored little-endian elements to `f32`; `false` is 0 and `true` is 1.
///
/// Exact for BF16, F16, F32, both 8-bit floats and integers up to 2²⁴; anything else is rounded to
/// nearest.
///
/// # Panics
///
/// When `bytes.len() != out.len() * dtype.size()`.
pub fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        bytes.len(),
        out.len() * dtype.size(),
        "bytes must hold exactly the elements asked for"
    );
    vectorized(
        #[inline(always)]
        || match dtype {
            DType::BF16 => convert(bytes, out, |b| widen_bf16(u16::from_le_bytes(b))),
            DType::F16 => widen_f16(bytes, out),
            DType::F32 => convert(bytes, out, f32::from_le_bytes),
            DType::F64 => convert(bytes, out, |b| f64::from_le_bytes(b) as f32),
            DType::F8E4M3 => convert(bytes, out, |[b]: [u8; 1]| float8::widen_e4m3(b)),
            DType::F8E5M2 => convert(bytes, out, |[b]: [u8; 1]| float8::widen_e5m2(b)),
            DType::I64 => convert(bytes, out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => convert(bytes, out, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => convert(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            DType::I8 => convert(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            DType::U8 => convert(bytes, out, |[b]: [u8; 1]| f32::from(b)),
            DType::Bool => convert(bytes, out, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
        },
    );
}

#[inline(always)]
fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], widen_one: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, &element) in out.iter_mut().zip(elements) {
        *out = widen_one(element);
    }
}

#[inline(always)]
fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To nearest, ties to even; a NaN stays one by its quiet bit.
#[inline(always)]
fn narrow_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let bits = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
    (bits >> 16) as u16
}

/// In bulk, since CPUs have instructions for it that the compiler does not think of.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    let (elements, _) = bytes.as_chunks::<2>();
    let mut buffer = [f16::ZERO; BUFFER];
    for (elements, out) in elements.chunks(BUFFER).zip(out.chunks_mut(BUFFER)) {
        let buffer = &mut buffer[..elements.len()];
        for (half, &element) in buffer.iter_mut().zip(elements) {
            *half = f16::from_le_bytes(element);
        }
        buffer.convert_to_f32_slice(out);
    }
}

/// Rounds `f32` values to stored little-endian elements, to nearest with ties to even.
///
/// NaN stays NaN in floating types, and what is too large becomes infinite, or the largest number of
/// E4M3, which has no infinities. Integers saturate, and NaN becomes 0; `Bool` is 1 for anything
/// but 0.
///
/// # Panics
///
/// When `out.len() != values.len() * dtype.size()`.
pub fn narrow(dtype: DType, values: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), values.len() * dtype.size(), "out must hold exactly the values given");
    vectorized(
        #[inline(always)]
        || match dtype {
            DType::BF16 => store(values, out, |x| narrow_bf16(x).to_le_bytes()),
            DType::F16 => narrow_f16(values, out),
            DType::F32 => store(values, out, f32::to_le_bytes),
            DType::F64 => store(values, out, |x| f64::from(x).to_le_bytes()),
            DType::F8E4M3 => store(values, out, |x| [float8::narrow_e4m3(x)]),
            DType::F8E5M2 => store(values, out, |x| [float8::narrow_e5m2(x)]),
            DType::I64 => store(values, out, |x| (x.round_ties_even() as i64).to_le_bytes()),
            DType::I32 => store(values, out, |x| (x.round_ties_even() as i32).to_le_bytes()),
            DType::I16 => store(values, out, |x| (x.round_ties_even() as i16).to_le_bytes()),
            DType::I8 => store(values, out, |x| (x.round_ties_even() as i8).to_le_bytes()),
            DType::U8 => store(values, out, |x| [x.round_ties_even() as u8]),
            DType::Bool => store(values, out, |x| [u8::from(x != 0.0)]),
        },
    );
}

#[inline(always)]
fn store<const N: usize>(values: &[f32], out: &mut [u8], narrow_one: impl Fn(f32) -> [u8; N]) {
    let (elements, _) = out.as_chunks_mut::<N>();
    for (element, &value) in elements.iter_mut().zip(values) {
        *element = narrow_one(value);
    }
}

/// As [`widen_f16`].
fn narrow_f16(values: &[f32], out: &mut [u8]) {
    let (elements, _) = out.as_chunks_mut::<2>();
    let mut buffer = [f16::ZERO; BUFFER];
    for (values, elements) in values.chunks(BUFFER).zip(elements.chunks_mut(BUFFER)) {
        let buffer = &mut buffer[..values.len()];
        buffer.convert_from_f32_slice(values);
        for (element, half) in elements.iter_mut().zip(buffer) {
            *element = half.to_le_bytes();
        }
    }
}

/// Rounds values in place to what `dtype` can hold, as [`narrow`] followed by [`widen`] would.
pub fn round_to(dtype: DType, values: &mut [f32]) {
    match dtype {
        DType::F32 | DType::F64 => {}
        DType::BF16 => vectorized(
            #[inline(always)]
            || {
                values.iter_mut().for_each(|x| *x = widen_bf16(narrow_bf16(*x)));
            },
        ),
        _ => {
            let mut bytes = [0; 8 * BUFFER];
            for block in values.chunks_mut(BUFFER) {
                let bytes = &mut bytes[..block.len() * dtype.size()];
                narrow(dtype, block, bytes);
                widen(dtype, bytes, block);
            }
        }
    }
}

/// Bits of the smallest magnitude that `dtype` rounds to an infinity.
fn overflow_bits(dtype: DType) -> u32 {
    match dtype {
        // Halfway between the largest finite number and the next one, if there were one.
        DType::F16 => 65_520f32.to_bits(),
        DType::BF16 => 0x7f7f_8000,
        DType::F8E5M2 => float8::E5M2_OVERFLOW.to_bits(),
        DType::F8E4M3 => float8::E4M3_LIMIT.to_bits() + 1,
        _ => f32::INFINITY.to_bits(),
    }
}

/// Index of the first value that `dtype` does not hold as a finite number near it: NaN, an infinity, or
/// what would be rounded to one, or cut to the largest number of E4M3.
pub fn first_beyond(dtype: DType, values: &[f32]) -> Option<usize> {
    first_at_least(overflow_bits(dtype), values, |value| value.to_bits() & MAGNITUDE)
}

/// Index of the first finite value that is too large for `dtype`: it would be rounded to an infinity, or
/// cut to the largest number of E4M3.
pub fn first_overflow(dtype: DType, values: &[f32]) -> Option<usize> {
    first_at_least(overflow_bits(dtype), values, |value| {
        let magnitude = value.to_bits() & MAGNITUDE;
        if magnitude < f32::INFINITY.to_bits() { magnitude } else { 0 }
    })
}

/// Index of the first NaN among stored little-endian elements. Whole numbers have none.
pub fn first_nan(dtype: DType, bytes: &[u8]) -> Option<usize> {
    match dtype {
        DType::BF16 => first_stored_16(0x7f81, bytes),
        DType::F16 => first_stored_16(0x7c01, bytes),
        DType::F32 => first_stored_32(f32::INFINITY.to_bits() + 1, bytes),
        DType::F64 => first_stored_64(f64::INFINITY.to_bits() + 1, bytes),
        DType::F8E4M3 => first_stored_8(0x7f, bytes),
        DType::F8E5M2 => first_stored_8(0x7d, bytes),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::Bool => None,
    }
}

/// Index of the first NaN or infinity among stored little-endian elements. A number of 64 bits that
/// `f32` cannot hold is one.
pub fn first_not_finite(dtype: DType, bytes: &[u8]) -> Option<usize> {
    // Halfway between the largest finite `f32` and the next one, if there were one.
    const F32_OVERFLOW: f64 = f32::MAX as f64 + (1u128 << 103) as f64;
    match dtype {
        DType::BF16 => first_stored_16(0x7f80, bytes),
        DType::F16 => first_stored_16(0x7c00, bytes),
        DType::F32 => first_stored_32(f32::INFINITY.to_bits(), bytes),
        DType::F64 => first_stored_64(F32_OVERFLOW.to_bits(), bytes),
        DType::F8E4M3 => first_stored_8(0x7f, bytes),
        DType::F8E5M2 => first_stored_8(0x7c, bytes),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::Bool => None,
    }
}

/// Declares the search among stored elements of one width for the first whose bits without the sign
/// are at least a limit: magnitudes of floating types are ordered as their bits are.
macro_rules! first_stored {
    ($name:ident, $bits:ident) => {
        fn $name(limit: $bits, bytes: &[u8]) -> Option<usize> {
            first_at_least(limit, bytes.as_chunks().0, |element| {
                $bits::from_le_bytes(*element) & ($bits::MAX >> 1)
            })
        }
    };
}

first_stored!(first_stored_8, u8);
first_stored!(first_stored_16, u16);
first_stored!(first_stored_32, u32);
first_stored!(first_stored_64, u64);

/// Index of the first element whose magnitude is at least `limit`.
#[inline(always)]
fn first_at_least<T, M: Copy + Ord + Default>(
    limit: M,
    elements: &[T],
    magnitude: impl Fn(&T) -> M,
) -> Option<usize> {
    elements.chunks(GLANCE).enumerate().find_map(|(index, block)| {
        let largest = vectorized(
            #[inline(always)]
            || block.iter().fold(M::default(), |largest, element| largest.max(magnitude(element))),
        );
        let mut elements = block.iter();
        (largest >= limit).then(|| {
            let found = elements.position(|element| magnitude(element) >= limit);
            index * GLANCE + found.expect("the largest is one")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(dtype: DType, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; values.len() * dtype.size()];
        narrow(dtype, values, &mut bytes);
        let mut back = vec![0.0; values.len()];
        widen(dtype, &bytes, &mut back);
        back
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let one_ulp = 1.0 / 128.0;
        let values = [1.0, 1.0 + one_ulp / 2.0, 1.0 + 1.5 * one_ulp, -1.0 - 0.6 * one_ulp];
        let expected = [1.0, 1.0, 1.0 + 2.0 * one_ulp, -1.0 - one_ulp];
        assert_eq!(round_trip(DType::BF16, &values), expected);
    }

    #[test]
    fn every_bf16_and_f16_survives_widening_and_narrowing() {
        for dtype in [DType::BF16, DType::F16] {
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut values = vec![0.0; 1 << 16];
            widen(dtype, &bytes, &mut values);
            let mut back = vec![0; bytes.len()];
            narrow(dtype, &values, &mut back);
            let stored = bytes.chunks(2).zip(back.chunks(2)).zip(&values);
            for ((before, after), value) in stored {
                assert!(before == after || value.is_nan(), "{dtype} {before:?} became {after:?}");
            }
        }
    }

    #[test]
    fn the_first_value_that_overflows_is_the_first_that_rounds_to_infinity() {
        for (dtype, largest) in [(DType::F16, 65_504.0), (DType::BF16, 3.389_531_4e38)] {
            for step in 0..64u32 {
                let value = f32::from_bits(f32::to_bits(largest) + step * (1 << 10));
                let overflows = round_trip(dtype, &[value])[0].is_infinite();
                let found = first_overflow(dtype, &[f32::INFINITY, f32::NAN, -value]);
                assert_eq!(found, overflows.then_some(2), "{dtype} {value}");
            }
        }
        assert_eq!(first_overflow(DType::F32, &[f32::MAX]), None);
    }

    #[test]
    fn integers_round_and_saturate() {
        let values = [2.5, -1e9, 1e9, f32::NAN];
        assert_eq!(round_trip(DType::I8, &values), [2.0, -128.0, 127.0, 0.0]);
        assert_eq!(round_trip(DType::U8, &values), [2.0, 0.0, 255.0, 0.0]);
        assert_eq!(round_trip(DType::Bool, &values), [1.0; 4]);
        assert_eq!(round_trip(DType::F64, &values[..3]), values[..3]);
    }
}

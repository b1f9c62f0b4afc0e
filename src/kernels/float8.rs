//! The two 8-bit floating types of checkpoints, and their conversion to and from `f32`.
//!
//! ```text
//!         sign exponent mantissa  bias  largest  infinities  NaN
//! E4M3     1      4        3        7      448      no       0x7f, 0xff
//! E5M2     1      5        2       15    57344     0x7c      0x7d..=0x7f and negatives
//! ```
//!
//! E4M3 is the variant that PyTorch calls `float8_e4m3fn`: it gives up infinities and all NaN but one
//! for larger numbers (Micikevicius et al. 2022, <https://arxiv.org/abs/2209.05433>). Widening is
//! exact and looks up a table; narrowing rounds to nearest with ties to even, and what is too large
//! becomes ±448 in E4M3 (infinities too) and infinite in E5M2, as in PyTorch 2.15.

/// All 256 values of E4M3, by their bits.
static E4M3: [f32; 256] = table::<3, 7>(0x7f);

/// All 256 values of E5M2, by their bits.
static E5M2: [f32; 256] = table::<2, 15>(0x7d);

/// Smallest magnitude that is rounded to the infinity of E5M2.
pub const E5M2_OVERFLOW: f32 = 61_440.0;

/// Largest magnitude that is rounded to the largest E4M3 because it is the nearest, not for want of a
/// larger one.
pub const E4M3_LIMIT: f32 = 464.0;

/// The value of an E4M3.
#[inline(always)]
pub fn widen_e4m3(bits: u8) -> f32 {
    E4M3[usize::from(bits)]
}

/// The value of an E5M2.
#[inline(always)]
pub fn widen_e5m2(bits: u8) -> f32 {
    E5M2[usize::from(bits)]
}

/// The nearest E4M3, which is the largest for all that is larger.
#[inline(always)]
pub fn narrow_e4m3(value: f32) -> u8 {
    const LARGEST: u32 = 0x7e;
    const NAN: u32 = 0x7f;
    let magnitude = if value.is_nan() { NAN } else { round::<3, 7>(value).min(LARGEST) };
    sign(value) | magnitude as u8
}

/// The nearest E5M2; an infinity for what is too large.
#[inline(always)]
pub fn narrow_e5m2(value: f32) -> u8 {
    const INFINITY: u32 = 0x7c;
    const NAN: u32 = 0x7f;
    let magnitude = if value.is_nan() { NAN } else { round::<2, 15>(value).min(INFINITY) };
    sign(value) | magnitude as u8
}

#[inline(always)]
fn sign(value: f32) -> u8 {
    (value.to_bits() >> 31 << 7) as u8
}

/// Exponent and mantissa of the nearest number, as if there were exponents without end.
#[inline(always)]
fn round<const MANTISSA: u32, const BIAS: u32>(value: f32) -> u32 {
    let magnitude = value.to_bits() & 0x7fff_ffff;
    let smallest_normal = (128 - BIAS) << 23;
    if magnitude < smallest_normal {
        // Subnormal: a multiple of 2^(1 − bias − mantissa bits). Scaling by a power of two is exact.
        let units = f32::from_bits((126 + BIAS + MANTISSA) << 23);
        return (f32::from_bits(magnitude) * units).round_ties_even() as u32;
    }
    let dropped = 23 - MANTISSA;
    let is_odd = magnitude >> dropped & 1;
    let rebiased = magnitude - ((127 - BIAS) << 23);
    // Rounding up may carry into the exponent, which is right: the next number has mantissa 0.
    (rebiased + (1 << (dropped - 1)) - 1 + is_odd) >> dropped
}

/// The values of all bit patterns; magnitudes from `first_nan` on are NaN. The infinity of a type
/// that has one is the magnitude before.
const fn table<const MANTISSA: u32, const BIAS: u32>(first_nan: u8) -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut bits = 0;
    while bits < 256 {
        let sign = (bits as u32 >> 7) << 31;
        let magnitude = bits as u32 & 0x7f;
        let exponent = magnitude >> MANTISSA;
        let has_infinity = first_nan as u32 & ((1 << MANTISSA) - 1) == 1;
        let positive = if magnitude >= first_nan as u32 {
            f32::NAN
        } else if has_infinity && magnitude == first_nan as u32 - 1 {
            f32::INFINITY
        } else if exponent == 0 {
            magnitude as f32 * f32::from_bits((128 - BIAS - MANTISSA) << 23)
        } else {
            f32::from_bits((magnitude << (23 - MANTISSA)) + ((127 - BIAS) << 23))
        };
        values[bits] = f32::from_bits(positive.to_bits() | sign);
        bits += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type by its definition, to test the arithmetic on bits against.
    struct Type {
        widen: fn(u8) -> f32,
        narrow: fn(f32) -> u8,
        mantissa: i32,
        bias: i32,
        largest: u8,
    }

    const TYPES: [Type; 2] = [
        Type { widen: widen_e4m3, narrow: narrow_e4m3, mantissa: 3, bias: 7, largest: 0x7e },
        Type { widen: widen_e5m2, narrow: narrow_e5m2, mantissa: 2, bias: 15, largest: 0x7b },
    ];

    impl Type {
        /// The value of a magnitude by the formula, also of those that stand for NaN and infinity.
        fn value(&self, magnitude: u8) -> f64 {
            let (exponent, units) = match i32::from(magnitude) >> self.mantissa {
                0 => (1, 0),
                exponent => (exponent, 1 << self.mantissa),
            };
            let mantissa = i32::from(magnitude) & ((1 << self.mantissa) - 1);
            f64::from(units + mantissa) * 2f64.powi(exponent - self.bias - self.mantissa)
        }

        /// The nearest magnitude to a finite value that is not negative, by looking at all of them.
        fn nearest(&self, value: f32) -> u8 {
            // Cut where nothing changes any more, so that differences keep their precision.
            let value = f64::from(value).min(2.0 * self.value(self.largest));
            let distance = |magnitude: u8| (self.value(magnitude) - value).abs();
            let candidates = 0..=self.largest + 1;
            let nearest = candidates.min_by(|&a, &b| {
                let even_first = (a & 1).cmp(&(b & 1));
                distance(a).total_cmp(&distance(b)).then(even_first)
            });
            nearest.unwrap()
        }
    }

    #[test]
    fn all_bits_widen_to_what_the_formula_says() {
        for kind in TYPES {
            for magnitude in 0..=kind.largest {
                let (positive, negative) =
                    ((kind.widen)(magnitude), (kind.widen)(magnitude | 0x80));
                assert_eq!(f64::from(positive), kind.value(magnitude));
                assert_eq!(negative.to_bits(), (-positive).to_bits());
            }
            assert!((kind.widen)(0x7f).is_nan() && (kind.widen)(0xff).is_nan());
        }
        assert_eq!([0x7c, 0xfc].map(widen_e5m2), [f32::INFINITY, f32::NEG_INFINITY]);
        assert!([0x7d, 0x7e, 0xfd, 0xfe].map(widen_e5m2).iter().all(|value| value.is_nan()));
        assert_eq!([0x7e, 0x08, 0x01].map(widen_e4m3), [448.0, 0.015625, 0.001953125]);
        assert_eq!([0x7b, 0x04, 0x01].map(widen_e5m2), [57344.0, 2f32.powi(-14), 2f32.powi(-16)]);
    }

    #[test]
    fn all_values_survive_widening_and_narrowing() {
        for kind in TYPES {
            for bits in 0..=u8::MAX {
                let value = (kind.widen)(bits);
                let back = (kind.narrow)(value);
                assert!(
                    back == bits || (value.is_nan() && (kind.widen)(back).is_nan()),
                    "{bits:#x}"
                );
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_around_every_value_and_every_middle() {
        for kind in TYPES {
            for magnitude in 0..=kind.largest {
                let middle = (kind.value(magnitude) + kind.value(magnitude + 1)) / 2.0;
                let places = [kind.value(magnitude) as f32, middle as f32];
                for value in places.into_iter().flat_map(|x| [x.next_down(), x, x.next_up()]) {
                    let value = value.max(0.0);
                    let expected = match kind.nearest(value) {
                        nearest if nearest > kind.largest => (kind.narrow)(f32::INFINITY),
                        nearest => nearest,
                    };
                    assert_eq!((kind.narrow)(value), expected, "{value:e}");
                    assert_eq!((kind.narrow)(-value), expected | 0x80, "{value:e}");
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_across_all_floats() {
        // A prime, so that all parts of mantissas and exponents occur.
        const STEP: usize = 65_537;
        for kind in TYPES {
            for bits in (0..f32::INFINITY.to_bits()).step_by(STEP) {
                let value = f32::from_bits(bits);
                let expected = match kind.nearest(value) {
                    nearest if nearest > kind.largest => (kind.narrow)(f32::INFINITY),
                    nearest => nearest,
                };
                assert_eq!((kind.narrow)(value), expected, "{value:e}");
            }
        }
    }

    #[test]
    fn what_is_too_large_becomes_the_largest_or_infinite() {
        for value in [464.0, 464.1, 480.0, 1e30, f32::INFINITY] {
            assert_eq!([value, -value].map(narrow_e4m3), [0x7e, 0xfe]);
        }
        let values = [E5M2_OVERFLOW.next_down(), E5M2_OVERFLOW, 1e30, f32::INFINITY];
        assert_eq!(values.map(narrow_e5m2), [0x7b, 0x7c, 0x7c, 0x7c]);
        for kind in TYPES {
            for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
                assert!((kind.widen)((kind.narrow)(nan)).is_nan());
            }
        }
    }
}

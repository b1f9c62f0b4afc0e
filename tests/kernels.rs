//! Conversions and reductions against slow and plain code, on all bit patterns or on many.

use half::{bf16, f16};
use mergekit::kernels::dtype::{
    DType, first_beyond, first_nan, first_not_finite, first_overflow, narrow, round_to, widen,
};
use mergekit::kernels::reduce::sum_of_magnitudes;
use proptest::prelude::*;

const FLOATS: [DType; 6] =
    [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2];

fn narrowed(dtype: DType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * dtype.size()];
    narrow(dtype, values, &mut bytes);
    bytes
}

fn widened(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / dtype.size()];
    widen(dtype, bytes, &mut values);
    values
}

/// Whether both are the same bits, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn floats_of_all_exponents_are_rounded_as_half_does_in_software() {
    // Odd, so that all low bits of the mantissa occur; small enough for several in every unit in the
    // last place of both types.
    const STEP: usize = 509;
    const BLOCK: usize = 1 << 14;
    let bits: Vec<u32> = (0..=u32::MAX).step_by(STEP).collect();
    for bits in bits.chunks(BLOCK) {
        let values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
        let stored = |dtype| narrowed(dtype, &values);
        let (as_bf16, as_f16) = (stored(DType::BF16), stored(DType::F16));
        for (index, &value) in values.iter().enumerate() {
            let two = |bytes: &[u8]| [bytes[2 * index], bytes[2 * index + 1]];
            let (got, expected) = (bf16::from_le_bytes(two(&as_bf16)), bf16::from_f32_const(value));
            assert!(same(got.to_f32_const(), expected.to_f32_const()), "bfloat16 of {value:e}");
            let (got, expected) = (f16::from_le_bytes(two(&as_f16)), f16::from_f32_const(value));
            assert!(same(got.to_f32_const(), expected.to_f32_const()), "float16 of {value:e}");
        }
    }
}

#[test]
fn middles_between_neighbours_are_rounded_to_even() {
    for dtype in [DType::BF16, DType::F16] {
        let finite = |bits: &u16| widened(dtype, &bits.to_le_bytes())[0].is_finite();
        for bits in (0..0x7fff_u16).filter(|bits| finite(bits) && finite(&(bits + 1))) {
            let [low, high] = [bits, bits + 1].map(|bits| widened(dtype, &bits.to_le_bytes())[0]);
            // Exact: the middle needs one bit more than the type has.
            let middle = low / 2.0 + high / 2.0;
            let even = if bits.is_multiple_of(2) { bits } else { bits + 1 };
            let stored = narrowed(dtype, &[middle.next_down(), middle, middle.next_up(), -middle]);
            let expected = [bits, even, bits + 1, even | 0x8000];
            assert_eq!(stored, expected.map(u16::to_le_bytes).concat(), "{dtype} {bits:#x}");
        }
    }
}

#[test]
fn all_16_bit_patterns_are_widened_as_half_does_in_software() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let (from_bf16, from_f16) = (widened(DType::BF16, &bytes), widened(DType::F16, &bytes));
    for bits in 0..=u16::MAX {
        let index = usize::from(bits);
        assert!(same(from_bf16[index], bf16::from_bits(bits).to_f32_const()), "{bits:#x}");
        assert!(same(from_f16[index], f16::from_bits(bits).to_f32_const()), "{bits:#x}");
    }
}

fn any_values() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        8 => -4.0f32..4.0,
        2 => any::<u32>().prop_map(f32::from_bits),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, 65_520.0, 3.39e38, 61_440.0, 0.0]),
    ];
    prop::collection::vec(value, 0..3000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slices_of_any_length_are_converted_like_single_values(values in any_values()) {
        for dtype in FLOATS {
            let stored = narrowed(dtype, &values);
            let back = widened(dtype, &stored);
            let mut rounded = values.clone();
            round_to(dtype, &mut rounded);
            for (index, &value) in values.iter().enumerate() {
                let single = widened(dtype, &narrowed(dtype, &[value]))[0];
                prop_assert!(same(back[index], single), "{} of {:e}", dtype, value);
                prop_assert!(same(rounded[index], single), "{} of {:e}", dtype, value);
            }
        }
    }

    #[test]
    fn bad_values_are_found_where_the_first_one_is(values in any_values()) {
        for dtype in FLOATS {
            let stored = narrowed(dtype, &values);
            let back = widened(dtype, &stored);
            let first = |is_it: fn(f32) -> bool| back.iter().position(|&value| is_it(value));
            prop_assert_eq!(first_nan(dtype, &stored), first(f32::is_nan));
            prop_assert_eq!(first_not_finite(dtype, &stored), first(|value| !value.is_finite()));
            // E4M3 has no infinity: what is nearer to the number that would come next is cut.
            let is_cut = |value: f32| dtype == DType::F8E4M3 && value.abs() > 464.0;
            let found = |is_it: &dyn Fn(f32, f32) -> bool| {
                values.iter().zip(&back).position(|(&value, &back)| is_it(value, back))
            };
            let beyond = found(&|value, back| !back.is_finite() || is_cut(value));
            prop_assert_eq!(first_beyond(dtype, &values), beyond);
            let overflow = found(&|value, back| {
                value.is_finite() && (back.is_infinite() || is_cut(value))
            });
            prop_assert_eq!(first_overflow(dtype, &values), overflow);
        }
    }

    #[test]
    fn sums_of_magnitudes_are_those_of_f64(
        values in prop::collection::vec(-1e3f32..1e3, 0..3000),
    ) {
        let expected: f64 = values.iter().map(|&value| f64::from(value).abs()).sum();
        prop_assert!((sum_of_magnitudes(&values) - expected).abs() <= 1e-13 * expected);
    }
}

//! Sums in `f64` whose result depends on the values alone.
//!
//! Each function adds in a fixed order, eight interleaved partial sums at a time, which the compiler
//! can vectorize without being allowed to reorder anything.

const LANES: usize = 8;

/// Σ `a[i] · b[i]`. The slices are equally long.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "both vectors have the same length");
    let mut lanes = [0.0f64; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] += f64::from(*a) * f64::from(*b);
    }
    lanes.iter().sum()
}

/// Σ |`a[i]`|.
pub fn sum_of_magnitudes(a: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (blocks, rest) = a.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(block[lane].abs());
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += f64::from(value.abs());
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_small_whole_numbers_are_exact() {
        let a: Vec<f32> = (0..101).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..101).map(|i| (i % 5) as f32).collect();
        let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
        assert_eq!(dot(&a, &b), expected);
        assert_eq!(sum_of_magnitudes(&a), a.iter().map(|a| f64::from(a.abs())).sum::<f64>());
        assert_eq!(dot(&[], &[]), 0.0);
    }

    #[test]
    fn many_small_terms_are_not_lost_beside_a_large_one() {
        let mut values = vec![1e-4f32; 1 << 20];
        values[0] = 1e8;
        let rest = f64::from(1e-4f32) * f64::from((1 << 20) - 1);
        assert!((sum_of_magnitudes(&values) - 1e8 - rest).abs() < 1e-2);
    }
}

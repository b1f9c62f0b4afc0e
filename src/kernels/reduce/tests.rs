use proptest::prelude::*;

use super::*;

#[test]
fn sums_of_small_whole_numbers_are_exact() {
    let a: Vec<f32> = (0..101).map(|i| (i % 7) as f32 - 3.0).collect();
    let b: Vec<f32> = (0..101).map(|i| (i % 5) as f32).collect();
    assert_eq!(sum_of_magnitudes(&a), a.iter().map(|a| f64::from(a.abs())).sum::<f64>());
    let mut products = [0.0; 3];
    inner_products(None, &[&a, &b], 0..101, &mut products);
    assert_eq!(products, [exact(&a, &a), exact(&a, &b), exact(&b, &b)]);
    inner_products(None, &[&a, &b], 7..7, &mut products);
    assert_eq!(products, [0.0; 3]);
}

#[test]
fn many_small_terms_are_not_lost_beside_a_large_one() {
    let mut values = vec![1e-4f32; 1 << 20];
    values[0] = 1e8;
    let rest = f64::from(1e-4f32) * f64::from((1 << 20) - 1);
    assert!((sum_of_magnitudes(&values) - 1e8 - rest).abs() < 1e-2);
    let mut squares = [0.0];
    values[0] = 100.0;
    inner_products(None, &[&values], 0..1 << 20, &mut squares);
    assert!((squares[0] / exact(&values, &values) - 1.0).abs() < 1e-7);
}

#[test]
fn every_width_of_registers_adds_in_the_same_order() {
    let vectors: Vec<Vec<f32>> = (0..3).map(|seed| noise(seed, 1003, 1.0)).collect();
    let origin = noise(9, 1003, 1.0);
    let vectors = [&vectors[0][..], &vectors[1], &vectors[2]];
    let triangle = || Triangle::<3, 6, true> { origin: &origin, vectors };
    let expected = Scalar256b.vectorize(triangle());
    assert_eq!(Arch::new().dispatch(triangle()), expected);
    assert_eq!(Arch::Scalar.dispatch(triangle()), expected);
}

#[test]
fn what_is_no_number_stays_with_the_vector_that_has_it() {
    let (a, mut b) = (noise(1, 300, 1.0), noise(2, 300, 1.0));
    b[177] = f32::NAN;
    let mut products = [0.0; 3];
    inner_products(None, &[&a, &b], 0..300, &mut products);
    assert!(products[0].is_finite() && products[1].is_nan() && products[2].is_nan());
}

#[test]
fn columns_may_begin_and_end_anywhere() {
    let (x, y, origin) = (noise(1, 60, 1.0), noise(2, 60, 1.0), noise(3, 60, 1.0));
    for columns in [1, 4, 7, 60, 99] {
        for pieces in [1, 13, 60] {
            let mut sums = vec![vec![0.0; columns]; 3];
            let [xx, xy, yy] = sums.get_disjoint_mut([0, 1, 2]).unwrap();
            for start in (0..60).step_by(pieces) {
                let part = start..(start + pieces).min(60);
                add_column_products(
                    Some(&origin[part.clone()]),
                    [&x[part.clone()], &y[part]],
                    start,
                    [&mut xx[..], &mut xy[..], &mut yy[..]],
                );
            }
            for column in 0..columns {
                let of = |v: &[f32]| -> Vec<f32> {
                    (column..60).step_by(columns).map(|i| v[i] - origin[i]).collect()
                };
                let (x, y) = (of(&x), of(&y));
                let expected = [exact(&x, &x), exact(&x, &y), exact(&y, &y)];
                for (sums, expected) in sums.iter().zip(expected) {
                    assert!((sums[column] - expected).abs() < 1e-12);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn products_agree_with_those_in_f64(
        seed in any::<u32>(),
        n in 0usize..9,
        length in 0usize..2000,
        skip in 0usize..20,
        scale in -8i32..8,
        with_origin in any::<bool>(),
    ) {
        let scale = 10f32.powi(scale);
        let origin = noise(seed ^ 1, skip + length, scale);
        // Vectors near the origin, as fine-tuned models are.
        let vectors: Vec<Vec<f32>> = (0..n as u32)
            .map(|index| {
                let own = noise(seed.wrapping_add(77 * index + 7), skip + length, scale * 1e-3);
                origin.iter().zip(own).map(|(origin, own)| origin + own).collect()
            })
            .collect();
        let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let mut products = vec![f64::NAN; n_products(n)];
        let range = skip..skip + length;
        inner_products(with_origin.then_some(&origin[..]), &slices, range.clone(), &mut products);
        let mut exactly = vec![f64::NAN; n_products(n)];
        exact_inner_products(with_origin.then_some(&origin[..]), &slices, range, &mut exactly);
        let differences: Vec<Vec<f32>> = vectors
            .iter()
            .map(|vector| {
                let origin = |index: usize| if with_origin { origin[index] } else { 0.0 };
                (skip..skip + length).map(|index| vector[index] - origin(index)).collect()
            })
            .collect();
        for i in 0..n {
            for j in 0..n {
                let expected = exact(&differences[i], &differences[j]);
                let found = products[product_index(n, i, j)];
                let lengths = exact(&differences[i], &differences[i])
                    * exact(&differences[j], &differences[j]);
                prop_assert!((found - expected).abs() <= 1.2e-7 * lengths.sqrt());
                let found = exactly[product_index(n, i, j)];
                prop_assert!((found - expected).abs() <= 1e-14 * lengths.sqrt());
            }
        }
    }
}

fn exact(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn noise(seed: u32, n: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) ^ 0x1234_5678;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

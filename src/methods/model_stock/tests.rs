use super::super::testing::{B, X1, X2, X3, assert_close, merge, merge_in_chunks};

type Shared<'a> = &'a [(&'static str, f64)];

const ROWS: Shared<'_> = &[("filter_wise", 1.0)];

fn model_stock(base: &[f32], models: &[&[f32]], shared: Shared<'_>) -> Vec<f32> {
    let none: Vec<Shared<'_>> = vec![&[]; models.len()];
    merge("model_stock", Some(base), models, &none, shared)
}

#[test]
fn whole_tensors_and_rows_follow_the_reference() {
    let models = [&X1[..], &X2, &X3];
    let expected = [0.124185, -0.244185, 0.305271, 0.313609, 0.520543, -0.476867];
    assert_close(&model_stock(&B, &models, &[]), &expected);
    let expected = [0.154563, -0.274563, 0.295146, 0.330230, 0.522020, -0.502352];
    assert_close(&model_stock(&B, &models, ROWS), &expected);
}

#[test]
fn rows_lie_along_the_last_axis_and_a_vector_is_one() {
    let merge = |shape: &[usize], shared, chunk| {
        let models = [&X1[..], &X2, &X3];
        let none: [Shared<'_>; 3] = [&[]; 3];
        merge_in_chunks("model_stock", shape, Some(&B), &models, &none, shared, chunk)
    };
    assert_eq!(merge(&[6], ROWS, 6), merge(&[6], &[], 6));
    assert_eq!(merge(&[1, 2, 3], ROWS, 6), merge(&[2, 3], ROWS, 3));
    assert_eq!(merge(&[2, 3], &[], 6), merge(&[2, 3], &[], 1));
}

#[test]
fn models_that_agree_are_averaged_and_those_that_moved_nothing_stay() {
    for shared in [&[][..], ROWS] {
        assert_close(&model_stock(&B, &[&X1, &X1], shared), &X1);
        assert_eq!(model_stock(&B, &[&B, &B, &B], shared), B);
        // Opposite task vectors: c = −1 makes the divisor 0.
        let (up, down) = (B.map(|x| x + 0.25), B.map(|x| x - 0.25));
        assert_close(&model_stock(&B, &[&up, &down], shared), &B);
        assert!(model_stock(&[], &[&[], &[]], shared).is_empty());
        let merged = model_stock(&B, &[&X1, &[f32::NAN; 6]], shared);
        assert!(merged.iter().all(|x| x.is_nan()));
    }
}

#[test]
fn five_models_are_averaged_as_two_are() {
    let many = model_stock(&B, &[&X1, &X2, &X1, &X2, &X1, &X2], &[]);
    // Of 15 pairs 6 are of equal models.
    let delta = |x: &[f32; 6]| -> Vec<f64> {
        x.iter().zip(B).map(|(x, b)| f64::from(*x) - f64::from(b)).collect()
    };
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (x, y) = (delta(&X1), delta(&X2));
    let cosine = product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt();
    let cosine = (6.0 + 9.0 * cosine) / 15.0;
    let t = 6.0 * cosine / (1.0 + 5.0 * cosine);
    let expected: Vec<f32> = (0..6)
        .map(|index| (f64::from(B[index]) + t * (x[index] + y[index]) / 2.0) as f32)
        .collect();
    assert_close(&many, &expected);
}

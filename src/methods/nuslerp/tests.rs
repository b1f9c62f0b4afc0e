use proptest::prelude::*;

use super::super::TensorMethod;
use super::super::testing::{B, X1, X2, assert_close, merge, merge_in_chunks};
use super::{Along, NuSlerp, arc};

type Shared<'a> = &'a [(&'static str, f64)];

const ROWS: Shared<'_> = &[("nuslerp_flatten", 0.0)];
const COLUMNS: Shared<'_> = &[("nuslerp_flatten", 0.0), ("nuslerp_row_wise", 1.0)];

fn nuslerp(
    base: Option<&[f32]>,
    models: [&[f32]; 2],
    weights: [f64; 2],
    shared: Shared<'_>,
) -> Vec<f32> {
    let weights = weights.map(|weight| [("weight", weight)]);
    merge("nuslerp", base, &models, &[&weights[0], &weights[1]], shared)
}

#[test]
fn whole_tensors_rows_and_columns_follow_the_reference() {
    let models = || [&X1[..], &X2];
    let whole = [0.166416, -0.197292, 0.238362, 0.431091, 0.704540, -0.939169];
    assert_close(&nuslerp(None, models(), [0.6, 0.2], &[]), &whole);
    assert_close(&nuslerp(None, models(), [0.6, 0.2], &[("nuslerp_row_wise", 1.0)]), &whole);
    let rows = [0.174758, -0.213734, 0.263135, 0.415884, 0.684451, -0.910551];
    assert_close(&nuslerp(None, models(), [0.6, 0.2], ROWS), &rows);
    let columns = [0.165587, -0.194057, 0.235986, 0.427683, 0.695489, -0.932852];
    assert_close(&nuslerp(None, models(), [0.6, 0.2], COLUMNS), &columns);
    let deltas = [0.121808, -0.139564, 0.247992, 0.435136, 0.688719, -1.174497];
    assert_close(&nuslerp(Some(&B), models(), [0.6, 0.2], &[]), &deltas);
}

#[test]
fn weights_that_cancel_mean_the_middle() {
    let middle = [0.086510, -0.227089, 0.367669, 0.475807, 0.562317, -0.832661];
    assert_close(&nuslerp(None, [&X1, &X2], [0.5, -0.5], &[]), &middle);
}

#[test]
fn a_tensor_with_one_axis_is_one_vector() {
    let merge = |shape: &[usize], shared| {
        let weights: [Shared<'_>; 2] = [&[("weight", 0.3)], &[("weight", 0.7)]];
        merge_in_chunks("nuslerp", shape, Some(&B), &[&X1, &X2], &weights, shared, 6)
    };
    let whole = merge(&[6], &[]);
    assert_eq!(merge(&[6], ROWS), whole);
    assert_eq!(merge(&[6], COLUMNS), whole);
    assert_close(&merge(&[1, 6], ROWS), &whole);
    assert_close(&merge(&[6, 1], COLUMNS), &whole);
    // Rows of a tensor with three axes lie along the last, columns along the first.
    assert_eq!(merge(&[1, 2, 3], ROWS), merge(&[2, 3], ROWS));
    assert_eq!(merge(&[2, 1, 3], COLUMNS), merge(&[2, 3], COLUMNS));
}

#[test]
fn equal_opposite_and_zero_vectors_are_interpolated_linearly() {
    let opposite = X1.map(|x| -x);
    for shared in [&[][..], ROWS, COLUMNS] {
        assert_close(&nuslerp(None, [&X1, &X1], [0.3, 0.4], shared), &X1);
        assert_close(&nuslerp(None, [&X1, &opposite], [3.0, 1.0], shared), &X1.map(|x| 0.5 * x));
        assert_eq!(nuslerp(Some(&B), [&B, &B], [0.3, 0.4], shared), B);
        // Orthogonal to everything.
        let quarter = std::f32::consts::FRAC_1_SQRT_2;
        let zero = nuslerp(None, [&X1, &[0.0; 6]], [0.5, 0.5], shared);
        assert_close(&zero, &X1.map(|x| quarter * x));
        assert!(nuslerp(Some(&[]), [&[], &[]], [0.3, 0.4], shared).is_empty());
        let mut broken = X2;
        broken[4] = f32::NAN;
        assert!(nuslerp(None, [&X1, &broken], [0.3, 0.4], shared)[4].is_nan());
    }
}

#[test]
fn small_task_vectors_do_not_drown_in_the_base() {
    let base: Vec<f32> = (0..600).map(|index| 1.0 + (index % 17) as f32).collect();
    let model = |seed: usize| -> Vec<f32> {
        let step = |index: usize| ((index * seed) % 5) as f32 * f32::EPSILON * 8.0;
        base.iter().enumerate().map(|(index, base)| base * (1.0 + step(index))).collect()
    };
    let (x, y) = (model(7), model(13));
    let merged = nuslerp(Some(&base), [&x, &y], [1.0, 1.0], &[]);
    let delta = |model: &[f32]| -> Vec<f64> {
        model.iter().zip(&base).map(|(x, base)| f64::from(*x) - f64::from(*base)).collect()
    };
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (x, y) = (delta(&x), delta(&y));
    let [a, b] = arc([product(&x, &x), product(&x, &y), product(&y, &y)], 0.5);
    for (index, merged) in merged.iter().enumerate() {
        let expected = f64::from(base[index]) + a * x[index] + b * y[index];
        let rounding = f64::from(base[index] * f32::EPSILON / 2.0);
        assert!((f64::from(*merged) - expected).abs() <= 1.01 * rounding);
    }
}

proptest! {
    #[test]
    fn chunks_do_not_matter(rows in 1usize..5, width in 1usize..9, chunk in 1usize..5) {
        let n = rows * width;
        let vector = |seed: usize| -> Vec<f32> {
            (0..n).map(|index| ((index * seed + 3) % 23) as f32 / 10.0 - 1.0).collect()
        };
        let (base, x, y) = (vector(5), vector(7), vector(11));
        let weights: [Shared<'_>; 2] = [&[("weight", 0.3)], &[("weight", 0.9)]];
        for (shared, granule) in [(&[][..], 1), (ROWS, width), (COLUMNS, 1)] {
            let merge = |chunk| {
                let shape = [rows, width];
                merge_in_chunks("nuslerp", &shape, Some(&base), &[&x, &y], &weights, shared, chunk)
            };
            prop_assert_eq!(merge(n), merge(chunk * granule));
        }
    }
}

#[test]
fn sums_of_columns_are_counted_as_memory() {
    let memory = |along, shape: &[usize]| NuSlerp { t: 0.5, along }.statistics_memory(shape);
    let sums = 3 * 8 * 32;
    assert_eq!(memory(Along::FirstAxis, &[64, 32]), 2 * sums);
    assert_eq!(memory(Along::FirstAxis, &[1 << 20, 32]), 17 * sums);
    assert_eq!(memory(Along::FirstAxis, &[32]), 0);
    assert_eq!(memory(Along::Everything, &[64, 32]), 0);
}

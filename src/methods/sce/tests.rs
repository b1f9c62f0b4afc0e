use super::super::InMemory;
use super::super::testing::{B, X1, X2, X3, assert_close, merge, merge_in_chunks};
use super::*;

fn sce(base: &[f32], inputs: &[&[f32]], select_topk: f64) -> Vec<f32> {
    let per_input = vec![&[][..]; inputs.len()];
    merge("sce", Some(base), inputs, &per_input, &[("select_topk", select_topk)])
}

const MODELS: [&[f32]; 3] = [&X1, &X2, &X3];

#[test]
fn agreeing_changes_are_averaged_by_their_size() {
    let expected = [-0.08, -0.18767, 0.58, 0.706224, 0.692719, -1.043204];
    assert_close(&sce(&B, &MODELS, 1.0), &expected);
    assert_close(&sce(&B, &MODELS, 1.5), &expected);
    assert_close(&merge("sce", Some(&B), &MODELS, &[&[], &[], &[]], &[]), &expected);
}

#[test]
fn only_what_varies_most_is_merged() {
    let expected = [0.11, -0.23, 0.58, 0.42, 0.723948, -1.035057];
    assert_close(&sce(&B, &MODELS, 0.5), &expected);
    let parameters = [("select_topk", 0.5), ("int8_mask", 1.0)];
    for chunk in [1, 4, 6] {
        let merged = merge_in_chunks(
            "sce",
            &[2, 3],
            Some(&B),
            &MODELS,
            &[&[], &[], &[]],
            &parameters,
            chunk,
        );
        assert_eq!(merged, sce(&B, &MODELS, 0.5));
    }
}

#[test]
fn where_nothing_is_selected_the_base_remains() {
    assert_eq!(sce(&B, &MODELS, 0.0), B);
    assert_eq!(sce(&B, &MODELS, -1.0), B);
    assert_eq!(sce(&B, &MODELS, 0.1), B);
    assert_eq!(sce(&B, &[&X1], 0.9), B);
    assert_eq!(sce(&B, &[&X1, &X1, &X1], 0.9), B);
    assert_eq!(sce(&B, &[], 0.5), B);
    assert_eq!(sce(&B, &[], 1.0), B);
}

#[test]
fn one_model_is_itself_and_equal_models_are_one() {
    assert_close(&sce(&B, &[&X1], 1.0), &X1);
    assert_close(&sce(&B, &[&X1, &X1], 1.0), &X1);
    assert_eq!(sce(&B, &[&B, &B], 1.0), B);
}

#[test]
fn equal_variances_are_selected_by_place() {
    let base = [0.0; 4];
    let (a, b) = ([1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]);
    let merged = sce(&base, &[&a, &b], 0.5);
    assert_close(&merged, &[2.8, 2.8, 0.0, 0.0]);
}

/// Sums of squares that are gathered during the selection are those of what is selected.
#[test]
fn long_tensors_are_merged_as_defined() {
    let n = 20_000;
    let tensor = |model: u32, size: f32| -> Vec<f32> {
        let mut state = model;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| size * (next() + next())).collect()
    };
    let base = tensor(1, 1.0);
    for models in [1, 2, 3, 4, 5] {
        let inputs: Vec<Vec<f32>> = (0..models).map(|k| tensor(2 + k, 1.0 + k as f32)).collect();
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let deltas = |index: usize| {
            let base = base[index];
            slices.iter().map(move |x| x[index] - base)
        };
        let variance = |index: usize| {
            let first = deltas(index).next().unwrap();
            let deviations = || deltas(index).skip(1).map(|delta| delta - first);
            let mean = deviations().sum::<f32>() * (1.0 / models as f32);
            let squares = deviations().map(|deviation| (deviation - mean) * (deviation - mean));
            squares.fold(mean * mean, |sum, square| sum + square)
        };
        let mut order: Vec<usize> = (0..n).filter(|&index| variance(index) > 0.0).collect();
        order.sort_by(|&a, &b| variance(b).total_cmp(&variance(a)));
        order.truncate((0.3 * order.len() as f64) as usize);
        let mut squares = vec![0.0; slices.len()];
        for &index in &order {
            for (square, delta) in squares.iter_mut().zip(deltas(index)) {
                *square += f64::from(delta) * f64::from(delta);
            }
        }
        let weights = weights(&squares, n);
        let mut expected = base.clone();
        for &index in &order {
            let sum: f32 = deltas(index).sum();
            let (mut agreed, mut divisor) = (0.0, 0.0);
            for (delta, weight) in deltas(index).zip(&weights) {
                if delta * sum > 0.0 {
                    agreed += weight * delta;
                    divisor += weight;
                }
            }
            expected[index] += agreed / divisor;
        }
        assert_close(&sce(&base, &slices, 0.3), &expected);
    }
}

#[test]
fn small_changes_get_equal_weights() {
    assert_eq!(weights(&[4e-7, 1e-7], 1), [0.5, 0.5]);
    assert_eq!(weights(&[3.0, 1.0], 4), [0.75, 0.25]);
    assert!(weights(&[f32::NAN.into(), 1.0], 4)[1].is_nan());
    assert_eq!(weights(&[], 4), [0.0; 0]);
}

#[test]
fn variances_of_equal_changes_are_exactly_zero() {
    let changed = [0.1, 0.3, -7.7, 1e-20, 0.0, 0.123];
    let chunk = Chunk { start: 0, base: Some(&B), inputs: &[&changed[..]; 7] };
    let mut variances = [1.0; 6];
    block_of_variances(&chunk, 0..6, &mut variances);
    assert_eq!(variances, [0.0; 6]);
    let chunk = Chunk { start: 0, base: Some(&[0.0]), inputs: &[&[1.0], &[2.0], &[6.0]] };
    block_of_variances(&chunk, 0..1, &mut variances[..1]);
    assert!((variances[0] - 14.0).abs() < 1e-5, "{}", variances[0]);
}

#[test]
fn no_numbers_and_no_elements_do_no_harm() {
    for select_topk in [1.0, 0.5] {
        for broken in [f32::NAN, f32::INFINITY] {
            let mut model = X1;
            model[3] = broken;
            assert!(!sce(&B, &[&model, &X2], select_topk)[3].is_finite());
            assert_eq!(sce(&model, &[&X2, &X3], select_topk).len(), 6);
        }
        assert_eq!(sce(&[], &[&[], &[]], select_topk), [0.0; 0]);
        let merged = merge_in_chunks(
            "sce",
            &[],
            Some(&[1.0]),
            &[&[2.0]],
            &[&[]],
            &[("select_topk", select_topk)],
            1,
        );
        assert_eq!(merged, [if select_topk < 1.0 { 1.0 } else { 2.0 }]);
    }
}

#[test]
fn squares_in_a_pass_of_their_own_are_the_same() {
    let n = 20_000;
    let tensor = |model: usize| -> Vec<f32> {
        (0..n).map(|index| ((index * (7 + 2 * model)) % 1009) as f32 * 1e-3).collect()
    };
    let (base, models) = (tensor(0), [tensor(1), tensor(2), tensor(3)]);
    let slices = [&models[0][..], &models[1][..], &models[2][..]];
    let reader = &InMemory { base: Some(&base), inputs: &slices };
    let inputs = TensorInputs { shape: &[n], n_inputs: 3, has_base: true, keys: &[], reader };
    let (selected, squares) = Sce { select_topk: 0.4 }.select(&inputs).unwrap();
    assert!(matches!(selected, Selected::Largest(_)));
    let apart = sum_of_squares(selected, &inputs).unwrap();
    for (along, apart) in squares.unwrap().into_iter().zip(apart) {
        assert!((along - apart).abs() <= 1e-12 * apart, "{along} is not {apart}");
    }
}

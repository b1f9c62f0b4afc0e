use super::super::testing::{B, X1, X2, X3, assert_close, merge};
use super::*;

fn bound(weights: &[f64], eps: f64) -> MultiSlerp {
    MultiSlerp { weights: weights.to_vec(), eps }
}

fn multislerp(
    base: Option<&[f32]>,
    models: &[&[f32]],
    weights: &[f64],
    shared: &[(&'static str, f64)],
) -> Vec<f32> {
    let weights: Vec<_> = weights.iter().map(|weight| [("weight", *weight)]).collect();
    let weights: Vec<&[_]> = weights.iter().map(|weight| &weight[..]).collect();
    merge("multislerp", base, models, &weights, shared)
}

#[test]
fn models_and_task_vectors_follow_the_reference() {
    let models = [&X1[..], &X2, &X3];
    let weights = [0.5, 0.3, 0.2];
    let expected = [0.106302, -0.225448, 0.339002, 0.546096, 0.606396, -0.916514];
    assert_close(&multislerp(None, &models, &weights, &[]), &expected);
    let twice = weights.map(|weight| 2.0 * weight);
    assert_close(&multislerp(None, &models, &twice, &[]), &expected);
    let expected = [0.111137, -0.168691, 0.265621, 0.590904, 0.639155, -1.125348];
    assert_close(&multislerp(Some(&B), &models, &weights, &[]), &expected);
}

#[test]
fn weights_need_not_be_normalized() {
    let models = [&X1[..], &X2, &X3];
    let plain = [("normalize_weights", 0.0)];
    let sum = multislerp(None, &models, &[1.0, 0.6, 0.4], &plain);
    let expected = multislerp(None, &models, &[0.5, 0.3, 0.2], &[]).into_iter();
    assert_close(&sum, &expected.map(|x| 2.0 * x).collect::<Vec<_>>());
}

#[test]
fn a_single_model_is_itself_and_not_moved_to_the_base() {
    assert_eq!(bound(&[0.2], 1e-8).copied_input(), Some(0));
    assert_eq!(bound(&[0.2, 0.3], 1e-8).copied_input(), None);
}

#[test]
fn two_models_that_cancel_are_interpolated_linearly_and_more_have_no_mean() {
    let opposite = X1.map(|x| -x);
    assert_eq!(multislerp(None, &[&X1, &opposite], &[0.5, 0.5], &[]), [0.0; 6]);
    // Opposite directions cancel whatever their lengths, also where products are rounded.
    let longer = X1.map(|x| -3.3 * x);
    let expected = X1.map(|x| 0.5 * (x - 3.3 * x));
    assert_close(&multislerp(None, &[&X1, &longer], &[0.5, 0.5], &[]), &expected);
    let long: Vec<f32> = (0..1000).map(|index| ((index * 37) % 101) as f32 / 77.0 - 0.6).collect();
    let longer: Vec<f32> = long.iter().map(|x| -3.3 * x).collect();
    let expected: Vec<f32> = long.iter().map(|x| 0.5 * (x - 3.3 * x)).collect();
    assert_close(&multislerp(None, &[&long, &longer], &[0.5, 0.5], &[]), &expected);
    assert_eq!(multislerp(Some(&B), &[&B, &B], &[0.5, 0.1], &[]), B);
    let zero = Gram::zeros(3);
    assert!(bound(&[0.5, 0.3, 0.2], 1e-8).factors(&zero).is_none());
    assert!(multislerp(None, &[&[], &[], &[]], &[0.5, 0.3, 0.2], &[]).is_empty());
}

#[test]
fn where_no_model_moved_the_base_remains() {
    assert_eq!(multislerp(Some(&B), &[&B, &B, &B], &[0.5, 0.3, 0.2], &[]), B);
}

#[test]
fn weights_that_sum_to_zero_are_refused() {
    let weight = |value| [("weight", ParameterValue::Float(value))].into_iter().collect();
    let shared =
        [("normalize_weights", ParameterValue::Bool(true)), ("eps", ParameterValue::Float(1e-8))];
    let mut parameters = super::super::Parameters {
        shared: shared.into_iter().collect(),
        inputs: vec![weight(0.5), weight(-0.5)],
    };
    assert!((MULTISLERP.bind)(&parameters).is_err());
    parameters.shared["normalize_weights"] = ParameterValue::Bool(false);
    assert!((MULTISLERP.bind)(&parameters).is_ok());
}

#[test]
fn what_is_no_number_shows() {
    let broken = [f32::NAN; 6];
    let merged = multislerp(None, &[&X1, &broken, &X3], &[0.5, 0.3, 0.2], &[]);
    assert!(merged.iter().all(|x| x.is_nan()));
}

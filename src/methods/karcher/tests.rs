use super::super::testing::{X1, X2, X3, assert_close, merge};
use super::*;

fn karcher(models: &[&[f32]], shared: &[(&'static str, f64)]) -> Vec<f32> {
    let none: Vec<&[(&'static str, f64)]> = vec![&[]; models.len()];
    merge("karcher", None, models, &none, shared)
}

#[test]
fn three_models_follow_the_reference() {
    let expected = [0.075525, -0.236825, 0.383562, 0.607860, 0.551341, -0.901893];
    assert_close(&karcher(&[&X1, &X2, &X3], &[]), &expected);
}

#[test]
fn two_models_meet_in_the_middle_of_their_arc() {
    let scale = |length: f32| X1.map(|x| x * length);
    assert_close(&karcher(&[&scale(0.5), &scale(1.5)], &[]), &X1);
    let (x, y) = ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let middle = 1.5 * std::f32::consts::FRAC_1_SQRT_2;
    assert_close(&karcher(&[&x, &y], &[]), &[middle, middle, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn zeros_have_no_direction_but_count_in_the_length() {
    let zero = [0.0; 6];
    assert_close(&karcher(&[&X1, &zero], &[]), &X1.map(|x| 0.5 * x));
    assert_eq!(karcher(&[&zero, &zero], &[]), zero);
    assert_eq!(karcher(&[&zero, &zero], &[("tol", -1.0)]), zero);
    assert!(karcher(&[&[], &[]], &[]).is_empty());
}

#[test]
fn opposite_models_stay_with_the_first() {
    let opposite = X1.map(|x| -x);
    assert_close(&karcher(&[&X1, &opposite], &[]), &X1);
    let longer = X1.map(|x| -3.3 * x);
    assert_close(&karcher(&[&X1, &longer], &[]), &X1.map(|x| 2.15 * x));
    let long: Vec<f32> = (0..1000).map(|index| ((index * 37) % 101) as f32 / 77.0 - 0.6).collect();
    let longer: Vec<f32> = long.iter().map(|x| -3.0 * x).collect();
    let expected: Vec<f32> = long.iter().map(|x| 2.0 * x).collect();
    assert_close(&karcher(&[&long, &longer], &[]), &expected);
}

#[test]
fn steps_are_bounded() {
    let models = [&X1[..], &X2, &X3];
    let none = karcher(&models, &[("max_iter", 0.0)]);
    assert_eq!(none, karcher(&models, &[("max_iter", -3.0)]));
    let many = karcher(&models, &[("max_iter", 200.0), ("tol", 0.0)]);
    assert_close(&many, &karcher(&models, &[("max_iter", 50.0), ("tol", 1e-9)]));
    assert!(none.iter().zip(&many).any(|(none, many)| (none - many).abs() > 1e-5));
}

#[test]
fn what_is_no_number_shows_and_ends_the_steps() {
    let broken = [f32::NAN; 6];
    let merged = karcher(&[&X1, &broken], &[("max_iter", 1e18)]);
    assert!(merged.iter().all(|x| x.is_nan()));
}

#[test]
fn a_single_model_is_itself() {
    assert_eq!(Karcher { n: 1, max_iter: 10.0, tol: 1e-5 }.copied_input(), Some(0));
}

#[test]
fn models_that_nearly_cancel_keep_what_they_differ_in() {
    let wave = |i: u32, step: f32| ((i as f32) * step).sin();
    let x: Vec<f32> = (0..4096).map(|i| wave(i, 0.37)).collect();
    let y: Vec<f32> = (0..4096).map(|i| -wave(i, 0.37) + 1e-3 * wave(i, 1.91)).collect();
    let merged = karcher(&[&x, &y], &[]);

    let length = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y] = [x, y].map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>());
    let lengths = [length(&x), length(&y)];
    let between: Vec<f64> =
        x.iter().zip(&y).map(|(x, y)| x / lengths[0] + y / lengths[1]).collect();
    let scale = (lengths[0] + lengths[1]) / 2.0 / length(&between);
    for (merged, between) in merged.iter().zip(between) {
        assert!((f64::from(*merged) - scale * between).abs() < 1e-3, "{merged}");
    }
}

//! Values of parameters for single tensors.

use super::*;

fn at(setting: &Setting, name: &str, t: f64) -> Option<f64> {
    setting.resolve(name, t).map(|scalar| scalar.as_number().unwrap())
}

#[test]
fn gradients_interpolate_numbers() {
    let gradient = weight("[1, 2, 4]");
    let values: Vec<f64> =
        (0..4).map(|layer| at(&gradient, "", f64::from(layer) / 3.0).unwrap()).collect();
    let expected = [1.0, 5.0 / 3.0, 8.0 / 3.0, 4.0];
    assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{values:?}");
    assert_eq!(at(&weight("[0.4]"), "", 0.7), Some(0.4));
    assert_eq!(at(&weight("['1e-1', 2]"), "", 0.5), Some(1.05));
}

#[test]
fn gradients_of_other_values_select() {
    let words = [true, false, true].map(Scalar::Bool).to_vec();
    let setting = Setting::Plain(Value::Gradient(words));
    let select = |t: f64| setting.resolve("", t).unwrap().as_boolean().unwrap();
    assert_eq!([0.0, 0.49, 0.5, 0.99, 1.0].map(select), [true, true, false, false, true]);
}

#[test]
fn positions_out_of_range_do_not_panic() {
    let gradient = weight("[1, 2]");
    assert_eq!(at(&gradient, "", -1.0), Some(1.0));
    assert_eq!(at(&gradient, "", 9.0), Some(2.0));
    assert_eq!(at(&gradient, "", f64::NAN), Some(1.0));
    assert_eq!(Setting::Plain(Value::Gradient(Vec::new())).resolve("", 0.5), None);
}

#[test]
fn the_first_filter_that_matches_wins() {
    let setting = weight("[{filter: mlp, value: [0, 1]}, {filter: '*', value: 2}, {value: 3}]");
    assert_eq!(at(&setting, "layers.0.mlp.up", 0.5), Some(0.5));
    assert_eq!(at(&setting, "layers.0.MLP.up", 0.5), Some(2.0));
    let shadowed = weight("[{value: 3}, {filter: mlp, value: 1}]");
    assert_eq!(at(&shadowed, "mlp", 0.0), Some(3.0));
}

//! Expected values were computed with the reference implementation, mergekit 0.1.5.

use super::super::testing::{B, X1, X2, X3, assert_close, merge, merge_in_chunks};

const WEIGHTS: [f64; 3] = [0.5, 0.3, 0.4];

fn family(
    method: &str,
    per_model: &[(&'static str, f64)],
    shared: &[(&'static str, f64)],
) -> Vec<f32> {
    with_weights(method, WEIGHTS, per_model, shared)
}

fn with_weights(
    method: &str,
    weights: [f64; 3],
    per_model: &[(&'static str, f64)],
    shared: &[(&'static str, f64)],
) -> Vec<f32> {
    let each = weights.map(|weight| [&[("weight", weight)], per_model].concat());
    let each: Vec<&[_]> = each.iter().map(Vec::as_slice).collect();
    merge(method, Some(&B), &[&X1, &X2, &X3], &each, shared)
}

#[test]
fn task_arithmetic_follows_the_reference() {
    let run = |shared: &[_]| with_weights("task_arithmetic", [0.5, 0.3, -0.4], &[], shared);
    assert_close(&run(&[]), &[0.118, -0.212, 0.302, 0.258, 0.558, -0.62]);
    assert_close(&run(&[("lambda", 0.5)]), &[0.114, -0.221, 0.306, 0.339, 0.544, -0.63]);
    assert_close(&run(&[("normalize", 1.0)]), &[0.13, -0.185, 0.29, 0.015, 0.6, -0.59]);
}

#[test]
fn ties_follows_the_reference() {
    let half = [("density", 0.5)];
    let expected = [-0.08, -0.23, 0.1, 0.83, 0.717778, -1.036667];
    assert_close(&family("ties", &half, &[]), &expected);
    let expected = [0.175, -0.187, 0.189, 0.611, 0.699, -0.997];
    assert_close(&family("ties", &[("density", 1.0)], &[("normalize", 0.0)]), &expected);
    let expected = [-0.136753, -0.23, 0.039655, 0.857333, 0.765852, -1.108475];
    assert_close(&family("ties", &half, &[("rescale", 1.0)]), &expected);
}

#[test]
fn breadcrumbs_follow_the_reference() {
    let parameters = [("density", 0.5), ("gamma", 0.2)];
    let expected = [0.118, -0.23, 0.27, 0.584, 0.699, -0.607];
    assert_close(&family("breadcrumbs", &parameters, &[]), &expected);
    let expected = [0.175, -0.23, 0.189, 0.584, 0.699, -0.607];
    assert_close(&family("breadcrumbs_ties", &parameters, &[]), &expected);
    let expected = [0.053, -0.23, 0.286, 0.584, 0.606, -0.997];
    assert_close(&family("breadcrumbs", &[("density", 0.5), ("gamma", 0.01)], &[]), &expected);
}

#[test]
fn full_density_leaves_nothing_to_chance() {
    let expected = [0.118, -0.196, 0.27, 0.586, 0.606, -0.964];
    assert_close(&family("dare_linear", &[], &[]), &expected);
    assert_close(&family("della_linear", &[], &[]), &expected);
    let expected = [0.24, -0.182222, 0.175556, 0.692857, 0.717778, -1.036667];
    assert_close(&family("della", &[], &[]), &expected);
}

#[test]
fn one_model_at_full_density_moves_by_its_weight() {
    let merged = merge("ties", Some(&B), &[&X1], &[&[("weight", 0.5)]], &[("normalize", 0.0)]);
    let expected: Vec<f32> = B.iter().zip(X1).map(|(b, x)| b + 0.5 * (x - b)).collect();
    assert_close(&merged, &expected);
}

#[test]
fn without_task_vectors_the_base_remains() {
    assert_eq!(merge("ties", Some(&B), &[], &[], &[]), B);
}

#[test]
fn chunks_and_threads_do_not_change_a_bit() {
    let n = 3 * super::super::STATISTICS_BLOCK / 2;
    let values = |seed: u32| -> Vec<f32> {
        let hash = |i: u32| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(13);
        (0..n as u32).map(|i| hash(i) as f32 / u32::MAX as f32 - 0.5).collect()
    };
    let (base, a, b) = (values(1), values(2), values(3));
    let each = [("weight", 0.7), ("density", 0.4)];
    for method in ["ties", "dare_linear", "dare_ties", "della", "breadcrumbs_ties"] {
        let run = |threads: usize, chunk: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                merge_in_chunks(
                    method,
                    &[n / 768, 768],
                    Some(&base),
                    &[&a, &b],
                    &[&each, &each],
                    &[("rescale", 1.0)],
                    chunk,
                )
            })
        };
        let whole = run(1, n);
        for (threads, rows) in [(2, 1), (7, 5), (2, 100)] {
            assert_eq!(run(threads, rows * 768), whole, "{method}, {threads} threads");
        }
    }
}

#[test]
fn dare_keeps_the_l1_norm_and_roughly_the_density() {
    let n = 100_000;
    let base = vec![0.0; n];
    let model: Vec<f32> = (0..n).map(|i| (i % 17) as f32 - 8.0).collect();
    let each: &[_] = &[("weight", 1.0), ("density", 0.3)];
    let merged = merge("dare_linear", Some(&base), &[&model], &[each], &[]);
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(v.abs())).sum::<f64>();
    assert!((norm(&merged) / norm(&model) - 1.0).abs() < 1e-5);
    let count = |values: &[f32]| values.iter().filter(|v| **v != 0.0).count() as f64;
    let kept = count(&merged) / count(&model);
    assert!((kept - 0.3).abs() < 0.01, "{kept} kept at density 0.3");
}

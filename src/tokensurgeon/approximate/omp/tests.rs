//! Both ways of matching pursuit against a plain one.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::tokensurgeon::embeddings::Embeddings;
use crate::tokensurgeon::testing::{Toy, names, noise, toy};

/// A model whose rows are used as a dictionary, some of them nearly or exactly alike.
fn dictionary(n: usize, width: usize) -> Toy {
    toy(&names(0..n), width, |row, col| match row % 10 {
        7 => noise(5, row - 1, col),
        8 => noise(5, row - 1, col) + 1e-3 * noise(6, row, col),
        9 => 0.0,
        _ => noise(5, row, col) * (1.0 + (row % 3) as f32),
    })
}

fn targets(n: usize, width: usize) -> Vec<f32> {
    (0..n * width).map(|at| noise(9, at / width, at % width)).collect()
}

fn with_work<T>(scratch: &Path, run: impl FnOnce(&Work<'_>) -> T) -> T {
    let cancelled = AtomicBool::new(false);
    run(&Work { observer: &(), cancelled: &cancelled, scratch })
}

/// Orthogonal matching pursuit as it is defined, in `f64`.
fn plain(atoms: &[Vec<f64>], target: &[f32], k: usize) -> (Vec<u32>, Vec<f64>) {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (mut chosen, mut basis): (Vec<u32>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let mut rest: Vec<f64> = target.iter().map(|&value| f64::from(value)).collect();
    while chosen.len() < k {
        let strength = |place: &usize| product(&atoms[*place], &rest).abs();
        let free = (0..atoms.len()).filter(|place| !chosen.contains(&(*place as u32)));
        let best = free.max_by(|a, b| strength(a).total_cmp(&strength(b)).then(b.cmp(a))).unwrap();
        chosen.push(best as u32);
        let mut direction = atoms[best].clone();
        for vector in &basis {
            let along = product(vector, &direction);
            direction.iter_mut().zip(vector).for_each(|(d, v)| *d -= along * v);
        }
        let length = product(&direction, &direction).sqrt();
        direction.iter_mut().for_each(|value| *value /= length);
        let along = product(&direction, &rest);
        rest.iter_mut().zip(&direction).for_each(|(r, d)| *r -= along * d);
        basis.push(direction);
    }
    (chosen, rest)
}

#[test]
fn both_ways_choose_as_the_definition_does() {
    let (n, width, k) = (610, 40, 12);
    let dictionary = dictionary(n, width);
    let rows = Embeddings::of(&dictionary.input, false).unwrap().input.all();
    let mut values = vec![0.0; n * width];
    rows.read(0, &mut values).unwrap();
    let atoms: Vec<Vec<f64>> = values
        .chunks_exact(width)
        .map(|row| row.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let targets = targets(33, width);
    let scratch = tempfile::tempdir().unwrap();
    with_work(scratch.path(), |work| {
        let gram = Gram::compute(&rows, work).unwrap().unwrap();
        let by_gram = gram::pursue(&rows, &gram, &targets, k, work).unwrap();
        let by_scan = scan::pursue(&rows, &targets, k, work).unwrap();
        for (index, target) in targets.chunks_exact(width).enumerate() {
            let (chosen, rest) = plain(&atoms, target, k);
            for found in [&by_gram[index], &by_scan[index]] {
                assert_eq!(found.places, chosen, "target {index}");
                let mut missed: Vec<f64> = target.iter().map(|&value| f64::from(value)).collect();
                for (place, coefficient) in found.places.iter().zip(&found.coefficients) {
                    let atom = &atoms[*place as usize];
                    missed.iter_mut().zip(atom).for_each(|(m, a)| *m -= coefficient * a);
                }
                for (missed, rest) in missed.iter().zip(&rest) {
                    assert!((missed - rest).abs() < 1e-6, "target {index}: {missed}, {rest}");
                }
            }
        }
    });
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn what_can_be_said_exactly_takes_no_more_rows_than_needed() {
    // In three dimensions three rows say everything, however many are asked for.
    let (n, width, k) = (50, 3, 20);
    let dictionary = dictionary(n, width);
    let rows = Embeddings::of(&dictionary.input, false).unwrap().input.all();
    let targets = targets(4, width);
    let scratch = tempfile::tempdir().unwrap();
    with_work(scratch.path(), |work| {
        let gram = Gram::compute(&rows, work).unwrap().unwrap();
        for found in [
            gram::pursue(&rows, &gram, &targets, k, work).unwrap(),
            scan::pursue(&rows, &targets, k, work).unwrap(),
        ] {
            let mut sums = vec![0.0; targets.len()];
            combine(&rows, &found, &mut sums).unwrap();
            for (sum, target) in sums.iter().zip(&targets) {
                assert!((sum - target).abs() < 1e-5, "{sum}, {target}");
            }
            assert!(found.iter().all(|sparse| sparse.places.len() == 3), "{found:?}");
        }
        // Nothing is needed to say nothing.
        let nothing = vec![0.0; width];
        let found = gram::pursue(&rows, &gram, &nothing, k, work).unwrap();
        assert_eq!(found, [Sparse::default()]);
        assert_eq!(scan::pursue(&rows, &nothing, k, work).unwrap(), found);
    });
}

#[test]
fn the_gram_matrix_is_whole() {
    // More than a strip, and not a whole number of blocks.
    let (n, width) = (1300, 5);
    let dictionary = dictionary(n, width);
    let rows = Embeddings::of(&dictionary.input, false).unwrap().input.all();
    let scratch = tempfile::tempdir().unwrap();
    let (gram, values) = with_work(scratch.path(), |work| {
        (Gram::compute(&rows, work).unwrap().unwrap(), rows.read_range(0..n).unwrap())
    });
    let mut row = vec![0.0; n];
    for place in [0, 1023, 1024, 1299] {
        gram.read(place, &mut row).unwrap();
        for (other, &found) in row.iter().enumerate() {
            let pairs = values[place as usize * width..].iter().zip(&values[other * width..]);
            let expected: f32 = pairs.take(width).map(|(a, b)| a * b).sum();
            assert!((found - expected).abs() < 1e-4, "{place}, {other}: {found}, {expected}");
        }
    }
}

#[test]
fn the_gram_matrix_pays_for_many_targets() {
    assert!(gram_pays(16_384, 16_384, 4096, 64));
    assert!(gram_pays(512, 16_384, 4096, 64));
    assert!(!gram_pays(20, 16_384, 4096, 64));
    assert!(!gram_pays(1, 10, 12, 4));
}

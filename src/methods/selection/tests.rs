use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::kernels::random::mix;
use crate::kernels::reduce::sum_of_magnitudes;
use crate::methods::InMemory;

/// Tensors ranked by magnitude each; the sum is that of the first tensor's magnitudes.
struct Magnitudes;

impl Scores for Magnitudes {
    type Block = usize;

    fn begin(&self, chunk: &Chunk<'_>) -> usize {
        chunk.start
    }

    fn score(
        &self,
        start: &usize,
        chunk: &Chunk<'_>,
        series: usize,
        range: Range<usize>,
        scores: &mut [f32],
    ) {
        assert_eq!(*start, chunk.start);
        for (score, value) in scores.iter_mut().zip(&chunk.inputs[series][range]) {
            *score = value.abs();
        }
    }

    fn add_sums(&self, _: &usize, chunk: &Chunk<'_>, range: Range<usize>, sums: &mut [f64]) {
        sums[0] += sum_of_magnitudes(&chunk.inputs[0][range]);
    }
}

const MISSING: Effort = Effort { deviations: 0.0, slack: 0.0, ..EFFORT };
const CRAMPED: Effort = Effort { tallies: 3, ..EFFORT };

fn select(
    effort: Effort,
    tensors: &[Vec<f32>],
    shape: &[usize],
    whole_rows: bool,
    wanted: &[Wanted],
) -> Selection {
    let which: Vec<usize> = (0..tensors.len()).collect();
    let slices: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
    let reader = &InMemory { base: None, inputs: &slices };
    let inputs = TensorInputs { shape, n_inputs: which.len(), has_base: false, keys: &[], reader };
    let request = Request {
        inputs: &which,
        whole_rows,
        series: which.len(),
        wanted,
        norms: true,
        sums: 1,
        squares: 0,
    };
    inputs.select_with(effort, &request, &Magnitudes).unwrap()
}

/// Checks every threshold against a stable sort.
fn assert_selects(effort: Effort, tensors: &[Vec<f32>], shape: &[usize], wanted: &[Wanted]) {
    for whole_rows in [false, true] {
        let selection = select(effort, tensors, shape, whole_rows, wanted);
        for (kept, wanted) in selection.kept.iter().zip(wanted) {
            let values = &tensors[wanted.series];
            let nonzero = values.iter().filter(|value| **value != 0.0).count();
            assert_eq!(selection.nonzero[wanted.series], nonzero);
            let rank = wanted.keep.rank(nonzero, values.len());
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by_key(|&index| std::cmp::Reverse(magnitude_bits(values[index])));
            order.truncate(rank);
            let Some(kept) = kept else {
                assert_eq!(rank, 0);
                continue;
            };
            let bits = magnitude_bits(values[order[rank - 1]]);
            let threshold = MagnitudeThreshold { bits, last_tie: order[rank - 1] };
            assert_eq!(kept.threshold, threshold, "{wanted:?} of {shape:?}, rows: {whole_rows}");
            let norm: f64 = order.iter().map(|&index| f64::from(values[index].abs())).sum();
            assert!(is_close(kept.norm, norm), "{} is not {norm}", kept.norm);
        }
        for (found, values) in selection.norms.iter().zip(tensors) {
            assert!(is_close(*found, sum_of_magnitudes(values)));
        }
        assert_eq!(selection.sums[0].to_bits(), selection.norms[0].to_bits());
    }
}

fn is_close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * b.abs() || (a.is_nan() && b.is_nan())
}

fn uniform(seed: u64, index: usize) -> f32 {
    (mix(mix(seed) ^ index as u64) >> 40) as f32 / (1u64 << 24) as f32
}

/// Values whose magnitudes are distributed in one of several ways.
fn values(kind: usize, n: usize) -> Vec<f32> {
    let at = |index: usize| {
        let [u, v] = [uniform(kind as u64, index), uniform(kind as u64 + 100, index)];
        let normal = (-2.0 * u.max(1e-7).ln()).sqrt() * (std::f32::consts::TAU * v).cos();
        match kind {
            0 => normal,
            1 => f32::from_bits(normal.to_bits() & 0xffff_0000),
            2 => {
                if u < 0.6 {
                    0.0
                } else {
                    normal
                }
            }
            3 => ((u * 4.0) as i32 - 2) as f32 * 0.25,
            4 => 1.0,
            // Rows of different scale.
            5 => normal * 2f32.powi((index / 512 % 5) as i32),
            // Large ones all at the end.
            6 => normal + if index > n - n / 8 { 100.0 } else { 0.0 },
            _ => [f32::NAN, f32::INFINITY, 0.0, u][index % 4],
        }
    };
    (0..n).map(at).collect()
}

const KINDS: usize = 8;

fn thresholds(series: usize, n: usize, share: f64) -> Vec<Wanted> {
    let middle = 1 + (share * (n - 1) as f64) as usize;
    let keeps = [0, 1, middle, n, 2 * n].map(Keep::Exactly);
    let keeps = keeps.into_iter().chain([Keep::OfNonzero(share), Keep::OfNonzero(0.0)]);
    keeps.map(|keep| Wanted { series, keep }).collect()
}

#[test]
fn selection_equals_a_stable_sort() {
    for kind in 0..KINDS {
        for shape in
            [vec![1], vec![7], vec![40, 16], vec![100_000], vec![300, 512], vec![3, 50_001]]
        {
            let n: usize = shape.iter().product();
            let tensors = [values(kind, n), values((kind + 3) % KINDS, n)];
            let wanted = [thresholds(0, n, 0.3), thresholds(1, n, 0.77)].concat();
            assert_selects(EFFORT, &tensors, &shape, &wanted);
        }
    }
}

#[test]
fn a_missed_bracket_or_too_many_tallies_change_nothing() {
    let n = 300 * 512;
    for kind in 0..KINDS {
        let tensors = [values(kind, n)];
        let wanted = thresholds(0, n, 0.45);
        let expected = select(EFFORT, &tensors, &[300, 512], false, &wanted);
        for effort in [MISSING, CRAMPED] {
            assert_selects(effort, &tensors, &[300, 512], &wanted);
            let found = select(effort, &tensors, &[300, 512], false, &wanted);
            let thresholds = |selection: &Selection| {
                selection
                    .kept
                    .iter()
                    .map(|kept| kept.map(|kept| kept.threshold))
                    .collect::<Vec<_>>()
            };
            assert_eq!(thresholds(&found), thresholds(&expected));
        }
    }
}

#[test]
fn the_first_guess_is_right_as_a_rule() {
    // The sample is the same every time, so this is not a matter of luck.
    for kind in 0..KINDS {
        let n = 1 << 18;
        let values = values(kind, n);
        let reader = &InMemory { base: None, inputs: &[&values] };
        let inputs = TensorInputs { shape: &[n], n_inputs: 1, has_base: false, keys: &[], reader };
        let wanted = [Wanted { series: 0, keep: Keep::Exactly(n / 3) }];
        let request = Request {
            inputs: &[0],
            whole_rows: false,
            series: 1,
            wanted: &wanted,
            norms: false,
            sums: 0,
            squares: 0,
        };
        let bracket = inputs.brackets(EFFORT, &request, &Magnitudes).unwrap()[0];
        let mut order: Vec<u32> = values.iter().map(|&value| magnitude_bits(value)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        let bits = order[n / 3 - 1];
        assert!((bracket.low..=bracket.high).contains(&bits), "kind {kind}: {bracket:?}, {bits}");
        let inside = order.iter().filter(|bits| (bracket.low..=bracket.high).contains(bits));
        let different = order.iter().filter(|other| **other != bits).count();
        let others = inside.filter(|other| **other != bits).count();
        assert!(different == 0 || others < n / 4, "kind {kind}: {others} of {n} inside");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bits_are_ranked(values in prop::collection::vec(any::<f32>(), 1..300), share in 0.0..1.0) {
        let n = values.len();
        assert_selects(EFFORT, &[values], &[n], &thresholds(0, n, share));
    }
}

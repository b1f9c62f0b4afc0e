//! Standard errors by the bootstrap, on the harness's own draws: items are drawn with replacement in
//! chunks of up to 1000 replicates, each from a generator seeded with the chunk's number.

use rayon::prelude::*;

use super::python::PythonRandom;

/// Most replicates from one generator.
const CHUNK: usize = 1000;

/// The deviation of a figure over draws of as many of the `n_items` items (at least one) as there
/// are. Draws that do not fill a chunk are left out.
pub(super) fn standard_error(
    n_items: usize,
    iterations: usize,
    figure: impl Fn(&[usize]) -> f64 + Sync,
) -> f64 {
    let chunk = iterations.clamp(1, CHUNK);
    let replicates: Vec<f64> = (0..iterations / chunk)
        .into_par_iter()
        .flat_map_iter(|seed| {
            let mut random = PythonRandom::new(seed as u64);
            let mut items = vec![0; n_items];
            let figure = &figure;
            (0..chunk).map(move |_| {
                random.choices(n_items, &mut items);
                figure(&items)
            })
        })
        .collect();
    sample_deviation(&replicates)
}

/// The standard deviation of a sample, with `n − 1`; NaN of fewer than two values.
pub(super) fn sample_deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected number comes from CPython 3: the deviation of sums of `choices` of the squares
    // below 10, 1000 times from `Random(0)` and 1000 times from `Random(1)`.
    #[test]
    fn draws_are_those_of_the_harness() {
        let values: Vec<f64> = (0..10).map(|n| f64::from(n * n)).collect();
        let sum = |items: &[usize]| items.iter().map(|&item| values[item]).sum::<f64>();
        let error = standard_error(values.len(), 2500, sum);
        assert!((error - 86.78484661823903).abs() < 1e-12, "{error}");
    }
}

//! The two products of attention, a tile of results at a time.
//!
//! A tile is a few rows (queries and heads that share keys) by a few registers of columns. Each element
//! is one chain of fused multiplications and additions in the order of the summed index, whatever else
//! is in the tile.

use pulp::Simd;
use pulp::bytemuck::cast_slice;

/// Elements that tiles may read and write beyond the last column: a register, less one.
pub(super) const READ_AHEAD: usize = 16;

/// Positions whose values are summed for all rows before the next: they stay in the first-level cache.
const POSITIONS: usize = 64;

/// A matrix whose rows are `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// `scores[row · stride + column] = scale · Σ_d queries[row][d] · keys[d][column]` for `columns`
/// columns; up to [`READ_AHEAD`] further elements are overwritten.
#[inline(always)]
pub(super) fn score<S: Simd>(
    simd: S,
    queries: &[&[f32]],
    keys: Strided<'_>,
    columns: usize,
    scale: f32,
    scores: &mut [f32],
    stride: usize,
) {
    let mut column = 0;
    while column < columns {
        let vectors = (columns - column).div_ceil(S::F32_LANES).min(3);
        let mut row = 0;
        while row < queries.len() {
            let queries = &queries[row..];
            let keys = Strided { values: &keys.values[column..], ..keys };
            let scores = &mut scores[row * stride + column..];
            row += if S::REGISTER_COUNT >= 32 && queries.len() >= 8 {
                score_rows::<S, 8>(simd, vectors, queries, keys, scale, scores, stride)
            } else if queries.len() >= 4 {
                score_rows::<S, 4>(simd, vectors, queries, keys, scale, scores, stride)
            } else {
                score_rows::<S, 1>(simd, vectors, queries, keys, scale, scores, stride)
            };
        }
        column += vectors * S::F32_LANES;
    }
}

/// Returns the number of rows, `M`.
#[inline(always)]
fn score_rows<S: Simd, const M: usize>(
    simd: S,
    vectors: usize,
    queries: &[&[f32]],
    keys: Strided<'_>,
    scale: f32,
    scores: &mut [f32],
    stride: usize,
) -> usize {
    match (queries.first_chunk::<M>(), vectors) {
        (Some(queries), 1) => score_tile::<S, M, 1>(simd, queries, keys, scale, scores, stride),
        (Some(queries), 2) => score_tile::<S, M, 2>(simd, queries, keys, scale, scores, stride),
        (Some(queries), _) => score_tile::<S, M, 3>(simd, queries, keys, scale, scores, stride),
        (None, _) => {}
    }
    M
}

#[inline(always)]
fn score_tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    queries: &[&[f32]; M],
    keys: Strided<'_>,
    scale: f32,
    scores: &mut [f32],
    stride: usize,
) {
    let dimensions = queries[0].len();
    let mut known = *queries;
    for query in &mut known {
        *query = &query[..dimensions];
    }
    let width = V * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for dimension in 0..dimensions {
        let keys: &[S::f32s] = cast_slice(&keys.values[dimension * keys.stride..][..width]);
        for (sums, query) in sums.iter_mut().zip(&known) {
            let element = simd.splat_f32s(query[dimension]);
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = simd.mul_add_f32s(element, *key, *sum);
            }
        }
    }
    let scale = simd.splat_f32s(scale);
    for (sums, scores) in sums.iter().zip(scores.chunks_mut(stride)) {
        let (scores, _) = S::as_mut_simd_f32s(&mut scores[..width]);
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score = simd.mul_f32s(*sum, scale);
        }
    }
}

/// `sums[row · stride + d] += Σ_position weights[row][position] · values[position][d]`; sums have whole
/// registers of columns, and up to [`READ_AHEAD`] elements are read beyond the last value.
#[inline(always)]
pub(super) fn add_values<S: Simd>(
    simd: S,
    weights: Strided<'_>,
    positions: usize,
    values: Strided<'_>,
    sums: &mut [f32],
    stride: usize,
) {
    let rows = sums.len() / stride;
    let mut first = 0;
    while first < positions {
        let count = POSITIONS.min(positions - first);
        let values = Strided { values: &values.values[first * values.stride..], ..values };
        let mut row = 0;
        while row < rows {
            let weights =
                Strided { values: &weights.values[row * weights.stride + first..], ..weights };
            let sums = &mut sums[row * stride..];
            row += if S::REGISTER_COUNT >= 32 && rows - row >= 8 {
                add_rows::<S, 8>(simd, weights, count, values, sums, stride)
            } else if rows - row >= 4 {
                add_rows::<S, 4>(simd, weights, count, values, sums, stride)
            } else {
                add_rows::<S, 1>(simd, weights, count, values, sums, stride)
            };
        }
        first += count;
    }
}

/// Returns the number of rows, `M`.
#[inline(always)]
fn add_rows<S: Simd, const M: usize>(
    simd: S,
    weights: Strided<'_>,
    positions: usize,
    values: Strided<'_>,
    sums: &mut [f32],
    stride: usize,
) -> usize {
    let mut rows = [&[][..]; M];
    for (row, weights) in rows.iter_mut().zip(weights.values.chunks(weights.stride)) {
        *row = &weights[..positions];
    }
    let vectors = stride / S::F32_LANES;
    let mut vector = 0;
    while vector < vectors {
        let column = vector * S::F32_LANES;
        let values = Strided { values: &values.values[column..], ..values };
        let sums = &mut sums[column..];
        vector += match vectors - vector {
            1 => add_tile::<S, M, 1>(simd, rows, values, sums, stride),
            // Two and two are faster than three and one.
            2 | 4 => add_tile::<S, M, 2>(simd, rows, values, sums, stride),
            _ => add_tile::<S, M, 3>(simd, rows, values, sums, stride),
        };
    }
    M
}

/// Returns the number of registers, `V`.
#[inline(always)]
fn add_tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    weights: [&[f32]; M],
    values: Strided<'_>,
    sums: &mut [f32],
    stride: usize,
) -> usize {
    let positions = weights[0].len();
    let mut known = weights;
    for weights in &mut known {
        *weights = &weights[..positions];
    }
    let width = V * S::F32_LANES;
    let mut tile = [[simd.splat_f32s(0.0); V]; M];
    for (tile, sums) in tile.iter_mut().zip(sums.chunks(stride)) {
        tile.copy_from_slice(S::as_simd_f32s(&sums[..width]).0);
    }
    for position in 0..positions {
        let values: &[S::f32s] = cast_slice(&values.values[position * values.stride..][..width]);
        for (tile, weights) in tile.iter_mut().zip(&known) {
            let weight = simd.splat_f32s(weights[position]);
            for (sum, value) in tile.iter_mut().zip(values) {
                *sum = simd.mul_add_f32s(weight, *value, *sum);
            }
        }
    }
    for (tile, sums) in tile.iter().zip(sums.chunks_mut(stride)) {
        S::as_mut_simd_f32s(&mut sums[..width]).0.copy_from_slice(tile);
    }
    V
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    fn random(count: usize, factor: f32) -> Vec<f32> {
        (0..count).map(|index| (index as f32 * factor).sin()).collect()
    }

    /// Both products for some rows of random matrices.
    struct Both<'a> {
        queries: &'a [&'a [f32]],
        keys: Strided<'a>,
        values: Strided<'a>,
        value_dim: usize,
        columns: usize,
    }

    impl WithSimd for Both<'_> {
        /// `[rows, columns]` and `[rows, value_dim]`.
        type Output = (Vec<f32>, Vec<f32>);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self { queries, keys, values, value_dim, columns } = self;
            let stride = columns + READ_AHEAD;
            let mut scores = vec![f32::NAN; queries.len() * stride];
            score(simd, queries, keys, columns, 0.25, &mut scores, stride);
            let sum_stride = value_dim.next_multiple_of(S::F32_LANES);
            let mut sums = vec![0.0; queries.len() * sum_stride];
            let weights = Strided { values: &scores, stride };
            add_values(simd, weights, columns, values, &mut sums, sum_stride);
            let cut = |rows: &[f32], stride, width| -> Vec<f32> {
                rows.chunks_exact(stride).flat_map(|row| row[..width].to_vec()).collect()
            };
            (cut(&scores, stride, columns), cut(&sums, sum_stride, value_dim))
        }
    }

    #[test]
    fn rows_are_right_and_do_not_depend_on_other_rows() {
        for (key_dim, value_dim, columns) in [(8, 8, 5), (64, 64, 150), (24, 40, 97), (2, 112, 48)]
        {
            let rows = 23;
            let stride = columns + 3;
            let queries = random(rows * key_dim, 0.37);
            let queries: Vec<&[f32]> = queries.chunks_exact(key_dim).collect();
            let keys = random(key_dim * stride + READ_AHEAD, 0.71);
            let values = random(columns * value_dim + READ_AHEAD, 0.53);
            let of = |queries: &[&[f32]]| {
                let keys = Strided { values: &keys, stride };
                let values = Strided { values: &values, stride: value_dim };
                Arch::new().dispatch(Both { queries, keys, values, value_dim, columns })
            };
            let (scores, sums) = of(&queries);
            for (row, query) in queries.iter().enumerate() {
                let exact: Vec<f64> = (0..columns)
                    .map(|column| {
                        let products = (0..key_dim)
                            .map(|d| f64::from(query[d]) * f64::from(keys[d * stride + column]));
                        0.25 * products.sum::<f64>()
                    })
                    .collect();
                for (column, exact) in exact.iter().enumerate() {
                    assert!((f64::from(scores[row * columns + column]) - exact).abs() < 1e-5);
                }
                for d in 0..value_dim {
                    let products = exact.iter().enumerate();
                    let sum: f64 = products
                        .map(|(p, score)| score * f64::from(values[p * value_dim + d]))
                        .sum();
                    assert!((f64::from(sums[row * value_dim + d]) - sum).abs() < 1e-4);
                }
            }
            for some in [0..1, 3..4, 5..9, 8..16, 1..23] {
                let (few, few_sums) = of(&queries[some.clone()]);
                assert_eq!(few, scores[some.start * columns..some.end * columns]);
                assert_eq!(few_sums, sums[some.start * value_dim..some.end * value_dim]);
            }
        }
    }
}

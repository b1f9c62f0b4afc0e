//! Eigenvalues and eigenvectors of a symmetric matrix, the same bits on every machine.
//!
//! Householder reflections make the matrix tridiagonal, QR steps with Wilkinson's shift make it
//! diagonal (Golub & Van Loan, Matrix Computations, sections 8.3.1–8.3.3). Libraries choose their
//! instructions by the processor they find, and a resumed search must not depend on that: here
//! every sum has one order and there are no threads. About 9 n³ operations, all of them on whole
//! rows: eigenvectors are kept as rows for that.

/// Steps per eigenvalue that are never needed; two or three are.
const MAX_STEPS: usize = 60;

/// What a symmetric matrix is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    /// In ascending order.
    pub(super) values: Vec<f64>,
    /// `[n, n]`: row `i` is the eigenvector of unit length that belongs to value `i`. Its largest
    /// component is positive.
    pub(super) vectors: Vec<f64>,
}

impl Eigen {
    /// Decomposes a symmetric matrix `[n, n]`, n ≥ 1. `None` if it holds infinities or NaN, or does
    /// not converge.
    pub(super) fn new(matrix: &[f64], n: usize) -> Option<Self> {
        if !matrix.iter().all(|value| value.is_finite()) {
            return None;
        }
        let mut tridiagonal = Tridiagonal::new(matrix.to_vec(), n);
        tridiagonal.diagonalise()?;
        let Tridiagonal { diagonal, vectors, .. } = tridiagonal;

        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        let mut sorted = Self { values: Vec::with_capacity(n), vectors: Vec::with_capacity(n * n) };
        for index in order {
            sorted.values.push(diagonal[index]);
            let vector = &vectors[index * n..][..n];
            let sign = sign_of_largest(vector);
            sorted.vectors.extend(vector.iter().map(|component| sign * component));
        }
        sorted.values.iter().chain(&sorted.vectors).all(|v| v.is_finite()).then_some(sorted)
    }
}

/// The sign of the component of largest magnitude, the first one if there are several.
fn sign_of_largest(vector: &[f64]) -> f64 {
    let largest = vector.iter().fold(0.0_f64, |max, &x| if x.abs() > max.abs() { x } else { max });
    1.0_f64.copysign(largest)
}

/// Sum of products in a fixed order: four interleaved sums, which the processor can overlap.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a_chunks, b_chunks) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + tail
}

/// Adds `factor · b` to `a`.
pub(super) fn add_scaled(a: &mut [f64], factor: f64, b: &[f64]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}

/// A symmetric tridiagonal matrix T with A = Vᵀ T V.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Element `i` stands between diagonal elements `i` and `i + 1`; one less than there are.
    off_diagonal: Vec<f64>,
    /// V, `[n, n]`. Becomes the eigenvectors, in rows, as T becomes diagonal.
    vectors: Vec<f64>,
}

impl Tridiagonal {
    /// A ← H A H for one reflection H = I − β v vᵀ per column, each clearing what stands below the
    /// subdiagonal.
    fn new(mut a: Vec<f64>, n: usize) -> Self {
        let mut reflections = Vec::with_capacity(n.saturating_sub(2));
        let mut off_diagonal = Vec::with_capacity(n.saturating_sub(1));
        for k in 0..n.saturating_sub(1) {
            let mut v = a[k * n + k + 1..(k + 1) * n].to_vec();
            let rest = dot(&v[1..], &v[1..]);
            // Numbers whose squares vanish are noise, and dividing by their squares is not possible.
            if rest < f64::MIN_POSITIVE {
                off_diagonal.push(v[0]);
                reflections.push((v, 0.0));
                continue;
            }
            let norm = (v[0] * v[0] + rest).sqrt();
            let reflected = -norm.copysign(v[0]);
            v[0] -= reflected;
            let beta = 2.0 / (v[0] * v[0] + rest);
            off_diagonal.push(reflected);

            // p = β A v, w = p − (β/2)(vᵀp) v, A ← A − v wᵀ − w vᵀ, on the rows below k.
            let mut w: Vec<f64> =
                (k + 1..n).map(|i| beta * dot(&a[i * n + k + 1..(i + 1) * n], &v)).collect();
            let shift = -0.5 * beta * dot(&v, &w);
            add_scaled(&mut w, shift, &v);
            for i in k + 1..n {
                let (v_i, w_i) = (v[i - k - 1], w[i - k - 1]);
                let row = &mut a[i * n + k + 1..(i + 1) * n];
                for (element, (v_j, w_j)) in row.iter_mut().zip(v.iter().zip(&w)) {
                    *element -= v_i * w_j + w_i * v_j;
                }
            }
            reflections.push((v, beta));
        }
        let diagonal = (0..n).map(|i| a[i * n + i]).collect();
        Self { diagonal, off_diagonal, vectors: product(&reflections, n) }
    }

    /// Makes the matrix diagonal. `None` if that takes suspiciously long.
    fn diagonalise(&mut self) -> Option<()> {
        let n = self.diagonal.len();
        let mut end = n - 1;
        for _ in 0..MAX_STEPS * n {
            while end > 0 && self.splits_after(end - 1) {
                end -= 1;
            }
            if end == 0 {
                return Some(());
            }
            let mut start = end - 1;
            while start > 0 && !self.splits_after(start - 1) {
                start -= 1;
            }
            self.step(start, end);
        }
        None
    }

    /// Whether the element after diagonal element `i` is negligible; if so, it is cleared.
    fn splits_after(&mut self, i: usize) -> bool {
        let scale = self.diagonal[i].abs() + self.diagonal[i + 1].abs();
        let element = self.off_diagonal[i].abs();
        // The second holds for what is left of a matrix of low rank: nearly nothing anywhere.
        let negligible = element <= f64::EPSILON * scale || element * element < f64::MIN_POSITIVE;
        if negligible {
            self.off_diagonal[i] = 0.0;
        }
        negligible
    }

    /// One implicit QR step on the block from `start` to `end`, both included.
    fn step(&mut self, start: usize, end: usize) {
        let n = self.diagonal.len();
        let Self { diagonal: d, off_diagonal: e, vectors } = self;

        // The eigenvalue of the last 2 × 2 block that is closer to its last element.
        let half_gap = (d[end - 1] - d[end]) / 2.0;
        let square = e[end - 1] * e[end - 1];
        let root = (half_gap * half_gap + square).sqrt();
        let shift = d[end] - square / (half_gap + root.copysign(half_gap));

        let mut x = d[start] - shift;
        let mut bulge = e[start];
        for k in start..end {
            let norm = length(x, bulge);
            let (c, s) = if norm == 0.0 { (1.0, 0.0) } else { (x / norm, bulge / norm) };
            if k > start {
                e[k - 1] = norm;
            }
            let (upper, lower, between) = (d[k], d[k + 1], e[k]);
            let moved = s * (s * (lower - upper) + 2.0 * c * between);
            d[k] = upper + moved;
            d[k + 1] = lower - moved;
            e[k] = c * s * (lower - upper) + (c * c - s * s) * between;
            if k + 1 < end {
                x = e[k];
                bulge = s * e[k + 1];
                e[k + 1] *= c;
            }
            let (above, below) = vectors.split_at_mut((k + 1) * n);
            for (a, b) in above[k * n..].iter_mut().zip(&mut below[..n]) {
                (*a, *b) = (c * *a + s * *b, c * *b - s * *a);
            }
        }
    }
}

/// √(x² + y²), also where the squares vanish.
fn length(x: f64, y: f64) -> f64 {
    let square = x * x + y * y;
    if square >= f64::MIN_POSITIVE / f64::EPSILON {
        return square.sqrt();
    }
    let scale = 2.0_f64.powi(600);
    let (x, y) = (scale * x, scale * y);
    (x * x + y * y).sqrt() / scale
}

/// The transposed product of reflections, `[n, n]`. Reflection `k` acts on coordinates from k + 1.
fn product(reflections: &[(Vec<f64>, f64)], n: usize) -> Vec<f64> {
    let mut vectors = vec![0.0; n * n];
    for i in 0..n {
        vectors[i * n + i] = 1.0;
    }
    for (k, (v, beta)) in reflections.iter().enumerate().rev() {
        if *beta != 0.0 {
            for row in vectors.chunks_exact_mut(n).skip(k + 1) {
                let row = &mut row[k + 1..];
                let along = dot(row, v);
                add_scaled(row, -beta * along, v);
            }
        }
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Largest deviations of Vᵀ D V from the matrix and of V Vᵀ from the identity.
    fn errors(matrix: &[f64], n: usize, eigen: &Eigen) -> (f64, f64) {
        let v = &eigen.vectors;
        let mut worst = (0.0_f64, 0.0_f64);
        for i in 0..n {
            for j in 0..n {
                let rebuilt: f64 =
                    (0..n).map(|k| v[k * n + i] * eigen.values[k] * v[k * n + j]).sum();
                worst.0 = worst.0.max((rebuilt - matrix[i * n + j]).abs());
                let identity = f64::from(u8::from(i == j));
                let product = dot(&v[i * n..][..n], &v[j * n..][..n]);
                worst.1 = worst.1.max((product - identity).abs());
            }
        }
        worst
    }

    fn symmetric(n: usize, entries: &[f64]) -> Vec<f64> {
        let entry = |i: usize, j: usize| entries[(i * n + j) % entries.len()];
        (0..n * n).map(|at| entry((at / n).max(at % n), (at / n).min(at % n))).collect()
    }

    fn norm(matrix: &[f64]) -> f64 {
        dot(matrix, matrix).sqrt()
    }

    #[test]
    fn known_matrices() {
        let eigen = Eigen::new(&[3.0], 1).unwrap();
        assert_eq!((eigen.values, eigen.vectors), (vec![3.0], vec![1.0]));

        let eigen = Eigen::new(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        let half = 0.5_f64.sqrt();
        for (found, expected) in eigen.values.iter().zip([1.0, 3.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
        for (found, expected) in eigen.vectors[2..].iter().zip([half, half]) {
            assert!((found - expected).abs() < 1e-15);
        }

        // The second difference matrix: 2 − 2 cos(πk / (n + 1)).
        let n = 50;
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            matrix[i * n + i] = 2.0;
            if i > 0 {
                matrix[i * n + i - 1] = -1.0;
                matrix[(i - 1) * n + i] = -1.0;
            }
        }
        let eigen = Eigen::new(&matrix, n).unwrap();
        for (k, value) in eigen.values.iter().enumerate() {
            let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-14);
        }
    }

    #[test]
    fn diagonal_matrices_keep_their_axes() {
        let eigen = Eigen::new(&[5.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0], 3).unwrap();
        assert_eq!(eigen.values, [1.0, 3.0, 5.0]);
        assert_eq!(eigen.vectors, [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(Eigen::new(&[0.0; 9], 3).unwrap().values, [0.0; 3]);
    }

    #[test]
    fn what_is_not_finite_has_no_decomposition() {
        assert_eq!(Eigen::new(&[f64::NAN], 1), None);
        assert_eq!(Eigen::new(&[1.0, f64::INFINITY, f64::INFINITY, 1.0], 2), None);
    }

    #[test]
    fn what_is_left_of_a_matrix_of_low_rank_does_no_harm() {
        let n = 23;
        let matrix = symmetric(n, &[-0.966_648_435_292_871_6, 0.0]);
        let eigen = Eigen::new(&matrix, n).unwrap();
        let (rebuilt, orthogonal) = errors(&matrix, n, &eigen);
        assert!(rebuilt < 1e-14 * norm(&matrix) && orthogonal < 1e-13);
    }

    proptest! {
        #[test]
        fn rebuilds_the_matrix(
            n in 1..25_usize,
            entries in prop::collection::vec(-1.0..1.0_f64, 1..700),
        ) {
            let matrix = symmetric(n, &entries);
            let eigen = Eigen::new(&matrix, n).unwrap();
            prop_assert!(eigen.values.is_sorted());
            let (rebuilt, orthogonal) = errors(&matrix, n, &eigen);
            // Backward stable: errors grow with the matrix (Golub & Van Loan, section 8.3.5).
            prop_assert!(rebuilt <= 1e-14 * norm(&matrix) && orthogonal < 1e-13, "{rebuilt}");
        }
    }
}

//! A whole covariance matrix, C = B D² Bᵀ.

use serde::{Deserialize, Serialize};

use super::Lesson;
use crate::optimize::eigen::{Eigen, add_scaled, dot};

/// Smallest eigenvalue allowed, relative to the largest: the precision of the decomposition.
const SMALLEST_EIGENVALUE: f64 = 1e-14;

/// C and its decomposition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct Full {
    /// C, `[n, n]`; saved as its lower triangle.
    #[serde(with = "lower_triangle")]
    pub(in crate::optimize) matrix: Vec<f64>,
    /// Diagonal of D, ascending, as of the last decomposition.
    lengths: Vec<f64>,
    /// Bᵀ, `[n, n]`: the principal axes in rows, as of the last decomposition.
    axes: Vec<f64>,
    /// Whether the last decomposition had to lift eigenvalues to [`SMALLEST_EIGENVALUE`].
    pub(in crate::optimize) lifted: bool,
}

impl Full {
    pub(in crate::optimize) fn new(variances: &[f64]) -> Self {
        let n = variances.len();
        let mut matrix = vec![0.0; n * n];
        for (i, variance) in variances.iter().enumerate() {
            matrix[i * n + i] = *variance;
        }
        Self::of(matrix, n)
    }

    /// From a symmetric matrix `[n, n]`.
    pub(in crate::optimize) fn of(matrix: Vec<f64>, n: usize) -> Self {
        let mut full =
            Self { matrix, lengths: vec![1.0; n], axes: vec![0.0; n * n], lifted: false };
        full.refresh();
        full
    }

    pub(in crate::optimize) fn dimension(&self) -> usize {
        self.lengths.len()
    }

    fn axes(&self) -> impl Iterator<Item = (&[f64], f64)> {
        self.axes.chunks_exact(self.dimension()).zip(self.lengths.iter().copied())
    }

    pub(in crate::optimize) fn scale(&self, normals: &[f64]) -> Vec<f64> {
        let mut step = vec![0.0; self.dimension()];
        for ((axis, length), z) in self.axes().zip(normals) {
            add_scaled(&mut step, length * z, axis);
        }
        step
    }

    pub(in crate::optimize) fn whiten(&self, step: &[f64]) -> Vec<f64> {
        let mut whitened = vec![0.0; self.dimension()];
        for (axis, length) in self.axes() {
            add_scaled(&mut whitened, dot(axis, step) / length, axis);
        }
        whitened
    }

    /// C^{-1/2} M C^{-1/2} for a symmetric M, `[n, n]`.
    pub(in crate::optimize::cma) fn whiten_matrix(&self, matrix: &[f64]) -> Vec<f64> {
        let n = self.dimension();
        let half: Vec<Vec<f64>> = matrix.chunks_exact(n).map(|row| self.whiten(row)).collect();
        let mut whitened = vec![0.0; n * n];
        let mut column = vec![0.0; n];
        for j in 0..n {
            for (element, row) in column.iter_mut().zip(&half) {
                *element = row[j];
            }
            for (i, element) in self.whiten(&column).into_iter().enumerate() {
                whitened[i * n + j] = element;
            }
        }
        whitened
    }

    pub(in crate::optimize) fn square_length(&self, step: &[f64]) -> f64 {
        self.axes().map(|(axis, length)| (dot(axis, step) / length).powi(2)).sum()
    }

    pub(in crate::optimize) fn axis_lengths(&self) -> (f64, f64) {
        (self.lengths[self.dimension() - 1], self.lengths[0])
    }

    pub(in crate::optimize) fn axis(&self, index: usize) -> Vec<f64> {
        let n = self.dimension();
        self.axes[index * n..][..n]
            .iter()
            .map(|component| self.lengths[index] * component)
            .collect()
    }

    /// The numbers of C, `[n, n]`.
    pub(in crate::optimize::cma) fn matrix(&self) -> &[f64] {
        &self.matrix
    }

    pub(in crate::optimize) fn learn(&mut self, lesson: &Lesson<'_>) {
        let n = self.dimension();
        for i in 0..n {
            let row = &mut self.matrix[i * n..][..=i];
            row.iter_mut().for_each(|element| *element *= lesson.decay);
            add_scaled(row, lesson.rank_one * lesson.path[i], lesson.path);
            for (step, weight) in lesson.steps.iter().zip(lesson.weights) {
                add_scaled(row, weight * step[i], step);
            }
            for j in 0..i {
                self.matrix[j * n + i] = self.matrix[i * n + j];
            }
        }
    }

    pub(in crate::optimize) fn divide(&mut self, factor: f64) {
        let root = factor.sqrt();
        self.matrix.iter_mut().for_each(|element| *element /= factor);
        self.lengths.iter_mut().for_each(|length| *length /= root);
    }

    /// Brings B and D up to date with C, and C into the range in which that is possible.
    pub(in crate::optimize) fn refresh(&mut self) -> bool {
        let n = self.dimension();
        self.lifted = false;
        while let Some(eigen) = Eigen::new(&self.matrix, n) {
            let (smallest, largest) = (eigen.values[0], eigen.values[n - 1]);
            let lift = largest * SMALLEST_EIGENVALUE - smallest;
            if smallest > 0.0 && (lift <= 0.0 || self.lifted) {
                self.lengths = eigen.values.iter().map(|value| value.sqrt()).collect();
                self.axes = eigen.vectors;
                return true;
            }
            if self.lifted || largest <= 0.0 {
                break;
            }
            self.lifted = true;
            self.matrix.iter_mut().step_by(n + 1).for_each(|variance| *variance += lift);
        }
        self.start_anew();
        false
    }

    /// A sphere of the same total variance.
    fn start_anew(&mut self) {
        let n = self.dimension();
        let trace: f64 = self.matrix.iter().step_by(n + 1).sum();
        let variance = trace / n as f64;
        let variance = if variance.is_finite() && variance > 0.0 { variance } else { 1.0 };
        self.matrix.fill(0.0);
        self.matrix.iter_mut().step_by(n + 1).for_each(|element| *element = variance);
        self.axes.fill(0.0);
        self.axes.iter_mut().step_by(n + 1).for_each(|element| *element = 1.0);
        self.lengths.fill(variance.sqrt());
        self.lifted = false;
    }

    pub(in crate::optimize) fn is_sound(&self) -> bool {
        let finite = [&self.matrix, &self.axes]
            .into_iter()
            .all(|numbers| numbers.iter().all(|number| number.is_finite()));
        finite && self.lengths.iter().all(|&length| length > 0.0 && length.is_finite())
    }

    pub(in crate::optimize) fn has_dimension(&self, n: usize) -> bool {
        self.lengths.len() == n && self.matrix.len() == n * n && self.axes.len() == n * n
    }
}

/// A symmetric matrix as its lower triangle, row by row.
pub(in crate::optimize::cma) mod lower_triangle {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::optimize::cma) fn serialize<S: Serializer>(
        matrix: &[f64],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let n = matrix.len().isqrt();
        to.collect_seq((0..n).flat_map(|i| &matrix[i * n..][..=i]))
    }

    pub(in crate::optimize::cma) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<f64>, D::Error> {
        let triangle = Vec::<f64>::deserialize(from)?;
        let n = (2 * triangle.len()).isqrt();
        if n * (n + 1) / 2 != triangle.len() {
            return Err(D::Error::invalid_length(triangle.len(), &"a lower triangle"));
        }
        let mut matrix = vec![0.0; n * n];
        let mut elements = triangle.into_iter();
        for i in 0..n {
            for (j, element) in elements.by_ref().take(i + 1).enumerate() {
                matrix[i * n + j] = element;
                matrix[j * n + i] = element;
            }
        }
        Ok(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indefinite_matrix_is_lifted() {
        let full = Full::of(vec![1.0, 1.0 + 1e-9, 1.0 + 1e-9, 1.0], 2);
        assert!(full.lifted && full.is_sound());
        let (longest, shortest) = full.axis_lengths();
        assert!((1e13..1e15).contains(&(longest / shortest).powi(2)));
    }

    #[test]
    fn a_hopeless_matrix_is_started_anew() {
        for hopeless in [[f64::NAN, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, -2.0], [0.0; 4]] {
            let mut full = Full::new(&[1.0, 1.0]);
            full.matrix = hopeless.to_vec();
            assert!(!full.refresh());
            assert_eq!(full.matrix, [1.0, 0.0, 0.0, 1.0]);
            assert!(full.is_sound());
        }
    }

    #[test]
    fn whitening_a_matrix_by_itself_gives_the_identity() {
        let matrix = vec![4.0, 1.0, 0.5, 1.0, 3.0, -0.2, 0.5, -0.2, 2.0];
        let full = Full::of(matrix.clone(), 3);
        for (index, element) in full.whiten_matrix(&matrix).into_iter().enumerate() {
            let expected = if index % 4 == 0 { 1.0 } else { 0.0 };
            assert!((element - expected).abs() < 1e-14);
        }
    }
}

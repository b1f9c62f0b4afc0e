//! Variances without correlations.

use serde::{Deserialize, Serialize};

use super::Lesson;

/// A diagonal covariance matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::optimize) struct Diagonal {
    pub(in crate::optimize) variances: Vec<f64>,
}

impl Diagonal {
    pub(in crate::optimize) fn new(variances: &[f64]) -> Self {
        Self { variances: variances.to_vec() }
    }

    pub(in crate::optimize) fn scale(&self, normals: &[f64]) -> Vec<f64> {
        self.variances.iter().zip(normals).map(|(variance, z)| variance.sqrt() * z).collect()
    }

    pub(in crate::optimize) fn whiten(&self, step: &[f64]) -> Vec<f64> {
        self.variances.iter().zip(step).map(|(variance, y)| y / variance.sqrt()).collect()
    }

    pub(in crate::optimize) fn square_length(&self, step: &[f64]) -> f64 {
        self.variances.iter().zip(step).map(|(variance, y)| y * y / variance).sum()
    }

    pub(in crate::optimize) fn axis_lengths(&self) -> (f64, f64) {
        let mut lengths = (0.0_f64, f64::INFINITY);
        for variance in &self.variances {
            lengths = (lengths.0.max(*variance), lengths.1.min(*variance));
        }
        (lengths.0.sqrt(), lengths.1.sqrt())
    }

    pub(in crate::optimize) fn axis(&self, index: usize) -> Vec<f64> {
        let mut axis = vec![0.0; self.variances.len()];
        axis[index] = self.variances[index].sqrt();
        axis
    }

    pub(in crate::optimize) fn learn(&mut self, lesson: &Lesson<'_>) {
        for (variance, p) in self.variances.iter_mut().zip(lesson.path) {
            *variance = lesson.decay * *variance + lesson.rank_one * p * p;
        }
        for (step, weight) in lesson.steps.iter().zip(lesson.weights) {
            for (variance, y) in self.variances.iter_mut().zip(step) {
                *variance += weight * y * y;
            }
        }
    }

    pub(in crate::optimize) fn divide(&mut self, factor: f64) {
        self.variances.iter_mut().for_each(|variance| *variance /= factor);
    }

    pub(in crate::optimize) fn refresh(&mut self) -> bool {
        let sound = self.is_sound() && self.variances.iter().all(|&variance| variance > 0.0);
        if !sound {
            self.variances.fill(1.0);
        }
        sound
    }

    pub(in crate::optimize) fn is_sound(&self) -> bool {
        self.variances.iter().all(|variance| variance.is_finite())
    }

    pub(in crate::optimize) fn has_dimension(&self, n: usize) -> bool {
        self.variances.len() == n
    }
}

//! The shape of the search distribution: a whole covariance matrix, or its diagonal.

mod diagonal;
mod full;

use serde::{Deserialize, Serialize};

use self::diagonal::Diagonal;
use self::full::Full;

/// C, and what is needed to draw from N(0, C).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::optimize) enum Covariance {
    /// All of it: memory 2 n², time n³ per decomposition.
    Full(Full),
    /// Variances only: memory and time n.
    Diagonal(Diagonal),
}

/// One generation's lesson: C ← decay · C + rank_one · p pᵀ + Σ weight_i · y_i y_iᵀ.
pub(in crate::optimize) struct Lesson<'a> {
    pub(in crate::optimize) decay: f64,
    pub(in crate::optimize) rank_one: f64,
    pub(in crate::optimize) path: &'a [f64],
    pub(in crate::optimize) steps: &'a [Vec<f64>],
    pub(in crate::optimize) weights: &'a [f64],
}

macro_rules! either {
    ($covariance:expr, $inner:ident => $value:expr) => {
        match $covariance {
            Covariance::Full($inner) => $value,
            Covariance::Diagonal($inner) => $value,
        }
    };
}

impl Covariance {
    /// A whole matrix that begins with these variances.
    pub(in crate::optimize) fn full(variances: &[f64]) -> Self {
        Self::Full(Full::new(variances))
    }

    /// A diagonal that begins with these variances, and stays one.
    pub(in crate::optimize) fn diagonal(variances: &[f64]) -> Self {
        Self::Diagonal(Diagonal::new(variances))
    }

    /// B D z, a draw from N(0, C) if z is one from N(0, I).
    pub(in crate::optimize) fn scale(&self, normals: &[f64]) -> Vec<f64> {
        either!(self, inner => inner.scale(normals))
    }

    /// C^{-1/2} y.
    pub(in crate::optimize) fn whiten(&self, step: &[f64]) -> Vec<f64> {
        either!(self, inner => inner.whiten(step))
    }

    /// yᵀ C⁻¹ y.
    pub(in crate::optimize) fn square_length(&self, step: &[f64]) -> f64 {
        either!(self, inner => inner.square_length(step))
    }

    /// C_ii.
    pub(in crate::optimize) fn variances(&self) -> impl Iterator<Item = f64> {
        let (elements, stride) = match self {
            Self::Full(full) => (&full.matrix, full.dimension() + 1),
            Self::Diagonal(diagonal) => (&diagonal.variances, 1),
        };
        elements.iter().step_by(stride).copied()
    }

    /// Length of the longest and of the shortest principal axis.
    pub(in crate::optimize) fn axis_lengths(&self) -> (f64, f64) {
        either!(self, inner => inner.axis_lengths())
    }

    /// Principal axis number `index`, with its length.
    pub(in crate::optimize) fn axis(&self, index: usize) -> Vec<f64> {
        either!(self, inner => inner.axis(index))
    }

    /// Takes in a generation.
    pub(in crate::optimize) fn learn(&mut self, lesson: &Lesson<'_>) {
        either!(self, inner => inner.learn(lesson))
    }

    /// C / factor.
    pub(in crate::optimize) fn divide(&mut self, factor: f64) {
        either!(self, inner => inner.divide(factor))
    }

    /// Brings what is needed for drawing up to date. `false` if C was beyond repair and is now a
    /// sphere of the same total variance.
    pub(in crate::optimize) fn refresh(&mut self) -> bool {
        either!(self, inner => inner.refresh())
    }

    /// Whether the last refresh had to lift eigenvalues into the range of the decomposition.
    pub(in crate::optimize) fn is_lifted(&self) -> bool {
        matches!(self, Self::Full(Full { lifted: true, .. }))
    }

    /// Whether every number is one that can be worked with.
    pub(in crate::optimize) fn is_sound(&self) -> bool {
        self.variances().all(|variance| variance > 0.0) && either!(self, inner => inner.is_sound())
    }

    /// Whether every part has the size that `n` coordinates need.
    pub(in crate::optimize) fn has_dimension(&self, n: usize) -> bool {
        either!(self, inner => inner.has_dimension(n))
    }

    /// Replaces a whole matrix by another, of which nothing is known until the next refresh.
    pub(in crate::optimize) fn replace(&mut self, matrix: Vec<f64>) {
        if let Self::Full(full) = self {
            full.matrix = matrix;
        }
    }

    /// The whole matrix, if it is kept.
    pub(in crate::optimize) fn as_full(&self) -> Option<&Full> {
        match self {
            Self::Full(full) => Some(full),
            Self::Diagonal(_) => None,
        }
    }

    /// The numbers kept of C.
    #[cfg(test)]
    pub(in crate::optimize) fn elements(&self) -> &[f64] {
        match self {
            Self::Full(full) => &full.matrix,
            Self::Diagonal(diagonal) => &diagonal.variances,
        }
    }
}

//! The Cholesky factor of a few rows' Gram matrix, and least squares by it.
//!
//! With the chosen rows `aᵢ` in a matrix A, `A Aᵀ = L Lᵀ`. Row i of L holds the products of aᵢ with the
//! orthonormal basis that Gram and Schmidt would make of the rows before it, and on the diagonal the length
//! of what is left. Scalars are `f64`.

use crate::kernels::simd::vectorized;

/// Of a row's squared length, the share outside of the span of the rows before it, below which that is
/// what rounding has left.
const DEPENDENT: f64 = 1e-5;

/// Rounds of refinement; each gains several digits.
const ROUNDS: usize = 3;

/// Relative change of coefficients that is not worth another round.
const SETTLED: f64 = 1e-8;

/// A lower triangular factor that grows row by row.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Factor {
    /// Row after row, each up to its diagonal.
    values: Vec<f64>,
    n: usize,
}

impl Factor {
    fn row(&self, index: usize) -> &[f64] {
        &self.values[index * (index + 1) / 2..][..=index]
    }

    /// Adds the row of an atom with the squared length `squared`, whose products with the basis so far are
    /// `products`. Returns its diagonal element; `None`, and nothing is added, if the atom is
    /// a combination of those before it.
    pub(in super::super) fn push(&mut self, products: &[f64], squared: f64) -> Option<f64> {
        let rest = squared - products.iter().map(|product| product * product).sum::<f64>();
        let is_independent = rest > DEPENDENT * squared;
        // Neither is an atom of zeros, or with a value that is not a number.
        if !is_independent {
            return None;
        }
        let diagonal = rest.sqrt();
        self.values.extend_from_slice(products);
        self.values.push(diagonal);
        self.n += 1;
        Some(diagonal)
    }

    /// Solves `L y = g`.
    pub(in super::super) fn forward(&self, g: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = Vec::with_capacity(g.len());
        for (index, &value) in g.iter().enumerate() {
            let row = self.row(index);
            let sum: f64 = row.iter().zip(&y).map(|(l, y)| l * y).sum();
            y.push((value - sum) / row[index]);
        }
        y
    }

    /// Solves `Lᵀ c = y`.
    pub(in super::super) fn backward(&self, mut y: Vec<f64>) -> Vec<f64> {
        for index in (0..y.len()).rev() {
            let row = self.row(index);
            y[index] /= row[index];
            let solved = y[index];
            y[..index].iter_mut().zip(row).for_each(|(y, l)| *y -= l * solved);
        }
        y
    }
}

/// Improves the coefficients of `atoms` (`[n, width]`) whose combination comes nearest to `target`, and
/// puts what the combination misses into `rest`.
///
/// The factor may come from rounded products: corrections are found with it, but measured with the atoms
/// themselves (Björck 1987, <https://doi.org/10.1016/0024-3795(87)90101-7>).
pub(in super::super) fn refine(
    factor: &Factor,
    atoms: &[f32],
    target: &[f32],
    coefficients: &mut [f64],
    rest: &mut Vec<f64>,
) {
    for round in 0..=ROUNDS {
        subtract(atoms, target, coefficients, rest);
        if round == ROUNDS {
            break;
        }
        let misses: Vec<f64> =
            atoms.chunks_exact(target.len()).map(|atom| dot(atom, rest)).collect();
        let changes = factor.backward(factor.forward(&misses));
        let length = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let is_settled = length(&changes) <= SETTLED * length(coefficients);
        coefficients.iter_mut().zip(&changes).for_each(|(c, change)| *c += change);
        if is_settled {
            break;
        }
    }
}

/// `rest = target − Σ coefficientᵢ · atomᵢ`.
fn subtract(atoms: &[f32], target: &[f32], coefficients: &[f64], rest: &mut Vec<f64>) {
    rest.clear();
    rest.extend(target.iter().map(|&value| f64::from(value)));
    vectorized(
        #[inline(always)]
        || {
            for (atom, &coefficient) in atoms.chunks_exact(target.len()).zip(coefficients) {
                for (rest, &value) in rest.iter_mut().zip(atom) {
                    *rest -= coefficient * f64::from(value);
                }
            }
        },
    );
}

/// Sums of a product that are kept apart, so that they can be added at once.
const LANES: usize = 16;

/// The inner product of a row with a vector.
pub(in super::super) fn dot(row: &[f32], vector: &[f64]) -> f64 {
    let (row_lanes, row_rest) = row.as_chunks::<LANES>();
    let (lanes, rest) = vector.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    vectorized(
        #[inline(always)]
        || {
            for (row, vector) in row_lanes.iter().zip(lanes) {
                for lane in 0..LANES {
                    sums[lane] += f64::from(row[lane]) * vector[lane];
                }
            }
        },
    );
    let rest: f64 = row_rest.iter().zip(rest).map(|(&a, &b)| f64::from(a) * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refined_coefficients_are_those_of_least_squares() {
        let atoms = [1.0f32, 0.0, 1.0, 0.0, 1.0, 1.0];
        let target = [1.0f32, 2.0, 6.0];
        // Products with the basis: (1,0,1)/√2, then what (0,1,1) has beside it. Rounded on purpose.
        let mut factor = Factor::default();
        assert!(factor.push(&[], 2.0).is_some());
        assert!(factor.push(&[0.70712], 2.0).is_some());
        let mut coefficients = vec![0.0, 0.0];
        let mut rest = Vec::new();
        refine(&factor, &atoms, &target, &mut coefficients, &mut rest);
        // A Aᵀ = [[2, 1], [1, 2]], A x = [7, 8].
        assert!((coefficients[0] - 2.0).abs() < 1e-9, "{coefficients:?}");
        assert!((coefficients[1] - 3.0).abs() < 1e-9, "{coefficients:?}");
        assert!((rest[0] + 1.0).abs() < 1e-9 && (rest[2] - 1.0).abs() < 1e-9, "{rest:?}");
    }

    #[test]
    fn what_depends_on_earlier_atoms_is_refused() {
        let mut factor = Factor::default();
        assert_eq!(factor.push(&[], 4.0), Some(2.0));
        assert_eq!(factor.push(&[2.0], 4.0), None);
        assert_eq!(factor.push(&[0.0], 0.0), None);
        assert_eq!(factor.push(&[f64::NAN], 1.0), None);
        assert_eq!(factor.values, [2.0]);
    }
}

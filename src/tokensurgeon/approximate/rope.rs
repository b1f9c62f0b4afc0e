//! Matching pursuit with rows that are rotated as by rotary position embeddings (Su et al. 2021,
//! <https://arxiv.org/abs/2104.09864>).
//!
//! A row is divided among the attention heads, and the two halves of a head's part are the coordinates of pairs.
//! Position p turns pair d of each head by `p · f_d` with `f_d = base^(−2d / head size)`. Each step chooses the
//! row with the largest product, finds the position that turns it towards what is left, and subtracts it:
//!
//! ```text
//! i = argmax |⟨r, aᵢ⟩|
//! θ = angles from the pairs of aᵢ to those of r, and to those of −r
//! p = Σ θ f / (heads · ‖f‖²),  of both the one nearer to 0
//! r ← r − projection of r on turned aᵢ
//! row = Σ cᵢ · bᵢ turned by pᵢ        where c = argmin ‖Σ cᵢ · aᵢ turned by pᵢ − x‖
//! ```
//!
//! Costs `2 · k · n · width` operations for each token. Held are a batch of tokens, and for each thread a block
//! of rows and its products with them, or k rows.

use std::ops::Range;

use faer::Mat;
use rayon::prelude::*;
use serde_json::Value;

use crate::architecture::ModelConfig;

use super::super::SurgeonError;
use super::super::linear::solve_symmetric;
use super::super::rows::Rows;
use super::super::work::Work;
use super::omp::{dot, strongest};
use super::sparse::add_scaled;
use super::{Approximation, Side, Task};

/// A squared length below this counts as this.
const LEAST: f64 = 1e-8;

/// What rotary embeddings begin with when a config does not say.
const USUAL_BASE: f64 = 10_000.0;

/// How a model rotates.
#[derive(Debug, Clone)]
struct Rotation {
    heads: usize,
    /// Of each pair of a head: `f`.
    frequencies: Vec<f64>,
}

impl Rotation {
    fn of(side: &Side<'_>) -> Result<Self, SurgeonError> {
        let (config, width) = (&side.input.config, side.matrix.width());
        let heads = positive(config, "num_attention_heads")?;
        let heads = heads.filter(|heads| heads.fract() == 0.0 && *heads <= width as f64);
        let heads = heads.map(|heads| heads as usize);
        let Some(heads) = heads.filter(|heads| width.is_multiple_of(2 * heads)) else {
            return Err(wrong(config, "num_attention_heads"));
        };
        let base = match positive(config, "rope_theta")? {
            None => positive(config, "rope_parameters.rope_theta")?.unwrap_or(USUAL_BASE),
            Some(base) => base,
        };
        let size = width / heads;
        let frequency = |pair: usize| libm::pow(base, -2.0 * pair as f64 / size as f64);
        Ok(Self { heads, frequencies: (0..size / 2).map(frequency).collect() })
    }

    /// The position whose rotation of `from` comes nearest to the direction of `sign · to`.
    fn position(&self, from: &[f32], to: &[f32], sign: f64) -> f64 {
        let half = self.frequencies.len();
        let squared: f64 = self.frequencies.iter().map(|f| f * f).sum();
        let mut sum = 0.0;
        for (from, to) in from.chunks_exact(2 * half).zip(to.chunks_exact(2 * half)) {
            for (pair, frequency) in self.frequencies.iter().enumerate() {
                let wide = |row: &[f32]| (f64::from(row[pair]), f64::from(row[pair + half]));
                let ((x, y), (u, v)) = (wide(from), wide(to));
                sum += libm::atan2(sign * (x * v - y * u), sign * (x * u + y * v)) * frequency;
            }
        }
        sum / (self.heads as f64 * squared)
    }

    /// Turns a row by a position.
    fn turn(&self, row: &mut [f32], position: f64) {
        let half = self.frequencies.len();
        let turns: Vec<(f64, f64)> =
            self.frequencies.iter().map(|f| libm::sincos(position * f)).collect();
        for head in row.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for ((x, y), (sine, cosine)) in first.iter_mut().zip(second).zip(&turns) {
                let (u, v) = (f64::from(*x), f64::from(*y));
                *x = (u * cosine - v * sine) as f32;
                *y = (v * cosine + u * sine) as f32;
            }
        }
    }
}

/// A positive number in a config, if there is any.
fn positive(config: &ModelConfig, key: &'static str) -> Result<Option<f64>, SurgeonError> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().filter(|number| *number > 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(config, key)),
        },
    }
}

fn wrong(config: &ModelConfig, key: &'static str) -> SurgeonError {
    let found = config.get(key).map_or_else(|| "missing".to_owned(), Value::to_string);
    SurgeonError::Rotation { path: config.path().to_owned(), key, found }
}

/// The method `mp_rope`.
pub(super) struct RotatedPursuit {
    targets: Rows,
    donor: Rows,
    model: Rows,
    k: usize,
    in_donor: Rotation,
    in_model: Rotation,
    failure: String,
}

impl RotatedPursuit {
    pub(super) fn new(task: &Task<'_>) -> Result<Self, SurgeonError> {
        Ok(Self {
            targets: task.donor_new(),
            donor: task.donor_shared(),
            model: task.model_shared(),
            k: task.options.k,
            in_donor: Rotation::of(&task.donor)?,
            in_model: Rotation::of(&task.model)?,
            failure: task.model.matrix.name().to_owned(),
        })
    }

    /// Chosen rows of each target, with their positions.
    fn pursue(
        &self,
        targets: &[f32],
        work: &Work<'_>,
    ) -> Result<Vec<Vec<(u32, f64)>>, SurgeonError> {
        let width = self.donor.width();
        let mut left = targets.to_vec();
        let mut chosen: Vec<Vec<(u32, f64)>> = vec![Vec::new(); targets.len() / width];
        for _ in 0..self.k {
            let places =
                |chosen: &Vec<(u32, f64)>| chosen.iter().map(|(place, _)| *place).collect();
            let passed: Vec<Vec<u32>> = chosen.iter().map(places).collect();
            let passed: Vec<&[u32]> = passed.iter().map(Vec::as_slice).collect();
            let found = strongest(&self.donor, &left, &passed, work)?;
            let steps = chosen.par_iter_mut().zip(left.par_chunks_exact_mut(width)).zip(found);
            steps.try_for_each_init(Vec::new, |atom, ((chosen, left), found)| {
                let Some(place) = found else { return Ok(()) };
                self.donor.gather(&[place], atom)?;
                let [towards, away] =
                    [1.0, -1.0].map(|sign| self.in_donor.position(atom, left, sign));
                let position = if towards.abs() < away.abs() { towards } else { away };
                self.in_donor.turn(atom, position);
                let row: Vec<f64> = atom.iter().map(|&value| f64::from(value)).collect();
                let along = dot(left, &row) / dot(atom, &row).max(LEAST);
                add_scaled(left, -along as f32, atom);
                chosen.push((place, position));
                Ok::<(), SurgeonError>(())
            })?;
        }
        Ok(chosen)
    }

    /// The rows of `chosen`, turned.
    fn gather(
        &self,
        rows: &Rows,
        rotation: &Rotation,
        chosen: &[(u32, f64)],
        atoms: &mut Vec<f32>,
    ) -> Result<(), SurgeonError> {
        let places: Vec<u32> = chosen.iter().map(|(place, _)| *place).collect();
        rows.gather(&places, atoms)?;
        let turned = atoms.chunks_exact_mut(rows.width()).zip(chosen);
        turned.for_each(|(atom, (_, position))| rotation.turn(atom, *position));
        Ok(())
    }

    /// Coefficients of `atoms` whose combination comes nearest to `target`.
    fn fit(&self, atoms: &[f32], target: &[f32]) -> Result<Vec<f64>, SurgeonError> {
        let atoms: Vec<&[f32]> = atoms.chunks_exact(target.len()).collect();
        let mut system = Mat::<f64>::zeros(atoms.len(), atoms.len());
        let mut rhs = Vec::with_capacity(atoms.len());
        for (i, atom) in atoms.iter().enumerate() {
            let row: Vec<f64> = atom.iter().map(|&value| f64::from(value)).collect();
            for (j, other) in atoms.iter().enumerate().skip(i) {
                system[(i, j)] = dot(other, &row);
                system[(j, i)] = system[(i, j)];
            }
            rhs.push(dot(target, &row));
        }
        let failed = || SurgeonError::Decomposition { tensor: self.failure.clone() };
        solve_symmetric(system.as_ref(), &rhs).ok_or_else(failed)
    }
}

impl Approximation for RotatedPursuit {
    fn rows(
        &self,
        tokens: Range<usize>,
        out: &mut [f32],
        work: &Work<'_>,
    ) -> Result<(), SurgeonError> {
        let targets = self.targets.read_range(tokens.clone())?;
        let chosen = self.pursue(&targets, work)?;
        let targets = targets.par_chunks_exact(self.donor.width());
        let rows = out.par_chunks_exact_mut(self.model.width()).zip(targets).zip(&chosen);
        rows.try_for_each_init(Vec::new, |atoms, ((out, target), chosen)| {
            self.gather(&self.donor, &self.in_donor, chosen, atoms)?;
            let coefficients = self.fit(atoms, target)?;
            self.gather(&self.model, &self.in_model, chosen, atoms)?;
            out.fill(0.0);
            for (atom, coefficient) in atoms.chunks_exact(out.len()).zip(coefficients) {
                add_scaled(out, coefficient as f32, atom);
            }
            Ok::<(), SurgeonError>(())
        })?;
        work.observer.advance(tokens.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_row_shows_its_position() {
        let frequencies = vec![1.0, 0.1];
        let rotation = Rotation { heads: 2, frequencies };
        let row = [0.3f32, -1.0, 0.8, 0.5, -0.2, 0.9, 0.4, 0.1];
        let mut turned = row;
        rotation.turn(&mut turned, 1.3);
        assert!((rotation.position(&row, &turned, 1.0) - 1.3).abs() < 1e-6);
        assert!((turned[0] - (0.3 * 1.3f32.cos() - 0.8 * 1.3f32.sin())).abs() < 1e-6);
        let opposite = turned.map(|value| -value);
        assert!((rotation.position(&row, &opposite, -1.0) - 1.3).abs() < 1e-6);
    }
}

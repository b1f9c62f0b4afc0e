//! Matching pursuit by looking at every row in every step.
//!
//! All targets of a batch take a step together, so that their products with the rows are those of two
//! matrices: `2 · targets · k · n · width` operations, reading all rows k times. Held are the targets, what
//! is left of them, and for each thread a block of rows and its products, or k rows.

use rayon::prelude::*;

use super::super::super::SurgeonError;
use super::super::super::rows::Rows;
use super::super::super::work::Work;
use super::super::sparse::Sparse;
use super::{Factor, dot, refine};

/// A target on its way.
struct Path<'t> {
    target: &'t [f32],
    chosen: Vec<u32>,
    /// What is not to be chosen any more, those in `chosen` among it.
    passed: Vec<u32>,
    factor: Factor,
    /// Products of the chosen rows with the target.
    along: Vec<f64>,
    coefficients: Vec<f64>,
}

/// Combinations of at most `k` rows of `dictionary` for each row of `targets`.
pub(super) fn pursue(
    dictionary: &Rows,
    targets: &[f32],
    k: usize,
    work: &Work<'_>,
) -> Result<Vec<Sparse>, SurgeonError> {
    let width = dictionary.width();
    let mut rest = targets.to_vec();
    let mut paths: Vec<Path<'_>> = targets.chunks_exact(width).map(Path::new).collect();
    let n_steps = (2 * k).min(dictionary.len()).max(k);
    for step in 0..n_steps {
        if paths.iter().all(|path| path.chosen.len() == k) {
            break;
        }
        let passed: Vec<&[u32]> = paths.iter().map(|path| &path.passed[..]).collect();
        let found = strongest(dictionary, &rest, &passed, work)?;
        let steps = paths.par_iter_mut().zip(rest.par_chunks_exact_mut(width)).zip(found);
        steps.try_for_each_init(Buffers::default, |buffers, ((path, rest), found)| match found
            .filter(|_| path.chosen.len() < k)
        {
            Some(place) => path.step(place, dictionary, rest, buffers),
            None => Ok(()),
        })?;
        if step < k {
            work.observer.advance(share(step + 1, k, paths.len()) - share(step, k, paths.len()));
        }
    }
    let sparse = |path: Path<'_>| Sparse { places: path.chosen, coefficients: path.coefficients };
    Ok(paths.into_iter().map(sparse).collect())
}

/// Of `n` targets, how many the first `step` of `k` steps are worth.
fn share(step: usize, k: usize, n: usize) -> u64 {
    (step * n / k) as u64
}

/// What a thread computes with.
#[derive(Default)]
struct Buffers {
    atoms: Vec<f32>,
    row: Vec<f64>,
    rest: Vec<f64>,
}

impl<'t> Path<'t> {
    fn new(target: &'t [f32]) -> Self {
        Self {
            target,
            chosen: Vec::new(),
            passed: Vec::new(),
            factor: Factor::default(),
            along: Vec::new(),
            coefficients: Vec::new(),
        }
    }

    /// Chooses the row at `place`, if it is not a combination of those before, and updates what is left.
    fn step(
        &mut self,
        place: u32,
        dictionary: &Rows,
        left: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<(), SurgeonError> {
        let Buffers { atoms, row, rest } = buffers;
        let width = self.target.len();
        self.passed.push(place);
        self.chosen.push(place);
        dictionary.gather(&self.chosen, atoms)?;
        let (before, atom) = atoms.split_at(atoms.len() - width);
        row.clear();
        row.extend(atom.iter().map(|&value| f64::from(value)));
        let products: Vec<f64> = before.chunks_exact(width).map(|atom| dot(atom, row)).collect();
        let products = self.factor.forward(&products);
        if self.factor.push(&products, dot(atom, row)).is_none() {
            self.chosen.pop();
            return Ok(());
        }
        self.along.push(dot(self.target, row));
        self.coefficients = self.factor.backward(self.factor.forward(&self.along));
        refine(&self.factor, atoms, self.target, &mut self.coefficients, rest);
        left.iter_mut().zip(rest).for_each(|(left, rest)| *left = *rest as f32);
        Ok(())
    }
}

/// For each row of `targets` the place of the row of `dictionary` with the largest absolute product, the
/// first of several, those in `passed` aside. `None` where no product is anything but 0.
pub(in super::super) fn strongest(
    dictionary: &Rows,
    targets: &[f32],
    passed: &[&[u32]],
    work: &Work<'_>,
) -> Result<Vec<Option<u32>>, SurgeonError> {
    let blocks =
        dictionary.for_products(targets, dictionary.len(), work, |start, _, products| {
            let n = products.len() / passed.len();
            let best = products.chunks_exact(n).zip(passed).map(|(products, passed)| {
                let mut best = (0.0f32, None);
                for (place, product) in (start as u32..).zip(products) {
                    if product.abs() > best.0 && !passed.contains(&place) {
                        best = (product.abs(), Some(place));
                    }
                }
                best
            });
            Ok(best.collect::<Vec<_>>())
        })?;
    let mut best = vec![(0.0f32, None); passed.len()];
    for block in blocks {
        for (best, found) in best.iter_mut().zip(block) {
            if found.0 > best.0 {
                *best = found;
            }
        }
    }
    Ok(best.into_iter().map(|(_, place)| place).collect())
}

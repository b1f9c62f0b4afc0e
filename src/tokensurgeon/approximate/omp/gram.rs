//! Matching pursuit by the inner products of rows (Rubinstein, Zibulevsky and Elad 2008, "Efficient
//! Implementation of the K-SVD Algorithm using Batch Orthogonal Matching Pursuit").
//!
//! With the Gram matrix `G = A Aᵀ`, products of what is left of a target with all rows are kept up
//! to date without the rows: for orthonormal directions q of the chosen rows,
//!
//! ```text
//! A r₀ = A x
//! A qⱼ = (G[:, iⱼ] − Σ L[j, l] A qₗ) / L[j, j]       with G = L Lᵀ on the chosen rows
//! A rⱼ₊₁ = A rⱼ − ⟨qⱼ, x⟩ A qⱼ
//! ```
//!
//! which takes `n · k²` operations for each target, and `n² · width` once, instead of
//! `2 · n · k · width` for each target. G lies in a file, one row of which is read in each step; held are
//! the products of a batch of targets with all rows, and `k · n` numbers for each target in work.

use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use rayon::prelude::*;
use tempfile::TempDir;

use crate::checkpoint::{
    Checkpoint, CheckpointError, CheckpointWriter, Layout, ShardSize, TensorInfo, TensorSource,
};
use crate::kernels::dtype::{DType, narrow};
use crate::kernels::simd::vectorized;

use super::super::super::SurgeonError;
use super::super::super::rows::{BLOCK, Rows};
use super::super::super::work::Work;
use super::super::sparse::Sparse;
use super::{Factor, refine};

/// Most bytes of a Gram matrix: of 90,000 rows. More rows are scanned.
const LARGEST: u64 = 32_000_000_000;

/// Rows whose products with all rows before them are computed together, a multiple of [`BLOCK`].
const STRIP: usize = 4 * BLOCK;

/// Most bytes that targets in work hold together, if one does not need more.
const WORKING_MEMORY: usize = 96_000_000;

/// Columns that are computed at a time; they stay in a core's first cache.
const PIECE: usize = 2048;

/// The name of the only tensor of the scratch file.
const NAME: &str = "gram";

/// The inner products of rows with each other, in a file.
pub(super) struct Gram {
    checkpoint: Checkpoint,
    n: usize,
    /// Behind `checkpoint`, so that the file is closed before it is removed.
    _directory: TempDir,
}

impl Gram {
    /// Computes the products of `rows`, or nothing if there is no room for them.
    pub(super) fn compute(rows: &Rows, work: &Work<'_>) -> Result<Option<Self>, SurgeonError> {
        let n = rows.len();
        let info = TensorInfo { dtype: DType::F32, shape: vec![n, n] };
        if info.bytes() as u64 > LARGEST {
            return Ok(None);
        }
        let scratch = work.scratch;
        let directory = TempDir::new_in(scratch)
            .map_err(|source| SurgeonError::Write { path: scratch.to_owned(), source })?;
        let layout = Layout::new(IndexMap::from([(NAME.to_owned(), info)]), ShardSize::UNLIMITED)?;
        let file = directory.path().join(layout.file_name(0));
        let writer = match CheckpointWriter::create(directory.path(), layout) {
            Err(CheckpointError::DiskFull { .. }) => return Ok(None),
            created => created?,
        };
        work.observer.begin(&format!("comparing shared rows of {}", rows.tensor()), n as u64);
        for start in (0..n).step_by(STRIP) {
            let strip = start..n.min(start + STRIP);
            let values = rows.read_range(strip.clone())?;
            rows.for_products(&values, strip.end, work, |first, block, products| {
                let n_cols = block.len() / rows.width();
                write(&writer, n, (start, first), &products, n_cols)?;
                // The products of the strip's rows with each other are symmetric by themselves.
                if first < start {
                    write(&writer, n, (first, start), &transposed(&products, n_cols), strip.len())?;
                }
                Ok(())
            })?;
            work.observer.advance(strip.len() as u64);
        }
        writer.finish()?;
        let checkpoint = Checkpoint::open_file(&file)?;
        Ok(Some(Self { checkpoint, n, _directory: directory }))
    }

    /// Reads the products of the row at `place` with all rows.
    pub(super) fn read(&self, place: u32, out: &mut [f32]) -> Result<(), SurgeonError> {
        Ok(self.checkpoint.read_into(NAME, place as usize * self.n, out)?)
    }
}

/// Writes the tile `values` with `n_cols` columns to its place, `(row, column)`, in the matrix of `n`
/// columns.
fn write(
    writer: &CheckpointWriter,
    n: usize,
    (row, col): (usize, usize),
    values: &[f32],
    n_cols: usize,
) -> Result<(), SurgeonError> {
    let size = DType::F32.size();
    let mut bytes = vec![0; n_cols * size];
    for (index, values) in values.chunks_exact(n_cols).enumerate() {
        narrow(DType::F32, values, &mut bytes);
        writer.write_at(0, ((row + index) * n + col) * size, &bytes)?;
    }
    Ok(())
}

fn transposed(values: &[f32], n_cols: usize) -> Vec<f32> {
    let n_rows = values.len() / n_cols;
    let mut transposed = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(n_cols).enumerate() {
        for (col, &value) in values.iter().enumerate() {
            transposed[col * n_rows + row] = value;
        }
    }
    transposed
}

/// Combinations of at most `k` rows of `dictionary`, whose products are `gram`, for each row of `targets`.
pub(super) fn pursue(
    dictionary: &Rows,
    gram: &Gram,
    targets: &[f32],
    k: usize,
    work: &Work<'_>,
) -> Result<Vec<Sparse>, SurgeonError> {
    let width = dictionary.width();
    let blocks = dictionary.for_products(targets, gram.n, work, |_, block, products| {
        Ok((block.len() / width, products))
    })?;
    let targets: Vec<&[f32]> = targets.chunks_exact(width).collect();
    let next = AtomicUsize::new(0);
    let lane = |_| {
        let mut state = State::new(gram.n, k);
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = targets.get(index) else { return Ok(done) };
            work.check_cancelled()?;
            state.products.clear();
            for (n, products) in &blocks {
                state.products.extend_from_slice(&products[index * n..][..*n]);
            }
            done.push((index, state.pursue(dictionary, gram, target, k)?));
            work.observer.advance(1);
        }
    };
    let fit = WORKING_MEMORY / (gram.n * k * size_of::<f32>()).max(1);
    let lanes = fit.clamp(1, rayon::current_num_threads());
    let lanes = (0..lanes).into_par_iter().with_max_len(1);
    let done: Result<Vec<Vec<(usize, Sparse)>>, SurgeonError> = lanes.map(lane).collect();
    let mut done: Vec<_> = done?.into_iter().flatten().collect();
    done.sort_unstable_by_key(|&(index, _)| index);
    Ok(done.into_iter().map(|(_, sparse)| sparse).collect())
}

/// What the search for one combination holds.
struct State {
    /// Products of what is left of the target with all rows: A r.
    products: Vec<f32>,
    /// Products of the basis with all rows: A q, one after the other.
    images: Vec<f32>,
    atoms: Vec<f32>,
    rest: Vec<f64>,
}

impl State {
    fn new(n: usize, k: usize) -> Self {
        let images = vec![0.0; n * k];
        Self { products: Vec::with_capacity(n), images, atoms: Vec::new(), rest: Vec::new() }
    }

    /// The combination for `target`, whose products with all rows are in `products`.
    fn pursue(
        &mut self,
        dictionary: &Rows,
        gram: &Gram,
        target: &[f32],
        k: usize,
    ) -> Result<Sparse, SurgeonError> {
        let n = gram.n;
        let mut factor = Factor::default();
        let (mut chosen, mut passed): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        // Of the target, along each vector of the basis.
        let mut along: Vec<f64> = Vec::new();
        while chosen.len() < k && passed.len() < 2 * k {
            let Some(place) = largest(&self.products) else { break };
            let index = place as usize;
            passed.push(place);
            let (images, image) = self.images.split_at_mut(chosen.len() * n);
            let image = &mut image[..n];
            gram.read(place, image)?;
            let images: Vec<&[f32]> = images.chunks_exact(n).collect();
            let products: Vec<f64> = images.iter().map(|image| f64::from(image[index])).collect();
            if let Some(length) = factor.push(&products, f64::from(image[index])) {
                let step = f64::from(self.products[index]) / length;
                update(image, &images, &products, length as f32, step as f32, &mut self.products);
                along.push(step);
                chosen.push(place);
            }
            for &place in &passed {
                self.products[place as usize] = 0.0;
            }
        }
        dictionary.gather(&chosen, &mut self.atoms)?;
        let mut coefficients = factor.backward(along);
        refine(&factor, &self.atoms, target, &mut coefficients, &mut self.rest);
        Ok(Sparse { places: chosen, coefficients })
    }
}

/// `image = (image − Σ productsₗ · imagesₗ) / length`, and `products −= step · image`.
fn update(
    image: &mut [f32],
    images: &[&[f32]],
    factors: &[f64],
    length: f32,
    step: f32,
    products: &mut [f32],
) {
    let factors: Vec<f32> = factors.iter().map(|&factor| factor as f32).collect();
    let inverse = 1.0 / length;
    let pieces = image.chunks_mut(PIECE).zip(products.chunks_mut(PIECE)).enumerate();
    for (index, (image, products)) in pieces {
        let start = index * PIECE;
        let n = image.len();
        let part = |l: usize| &images[l][start..][..n];
        vectorized(
            #[inline(always)]
            || {
                let (fours, _) = factors.as_chunks::<4>();
                for (four, [a, b, c, d]) in fours.iter().enumerate() {
                    let l = 4 * four;
                    let (rows_a, rows_b) = (part(l), part(l + 1));
                    let (rows_c, rows_d) = (part(l + 2), part(l + 3));
                    for i in 0..n {
                        image[i] -=
                            (a * rows_a[i] + b * rows_b[i]) + (c * rows_c[i] + d * rows_d[i]);
                    }
                }
                for (l, factor) in factors.iter().enumerate().skip(4 * fours.len()) {
                    image.iter_mut().zip(part(l)).for_each(|(sum, value)| *sum -= factor * value);
                }
                for (value, product) in image.iter_mut().zip(products) {
                    *value *= inverse;
                    *product -= step * *value;
                }
            },
        );
    }
}

/// The place of the largest absolute value, the first of several; `None` if all are 0.
fn largest(values: &[f32]) -> Option<u32> {
    const LANES: usize = 16;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    vectorized(
        #[inline(always)]
        || {
            for chunk in chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane = if value.abs() > *lane { value.abs() } else { *lane };
                }
            }
        },
    );
    let largest = lanes.iter().chain(rest).fold(0.0f32, |most, value| most.max(value.abs()));
    let place = values.iter().position(|value| value.abs() == largest);
    place.filter(|_| largest > 0.0).map(|place| place as u32)
}

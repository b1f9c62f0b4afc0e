//! Sums whose result depends on the values alone.
//!
//! Each function adds in a fixed order, eight interleaved partial sums at a time, which fills vector
//! registers without anything being reordered. Long sums are kept in `f64`.

use std::array::from_fn;
use std::ops::Range;

use pulp::{Arch, Scalar256b, Simd, WithSimd};

use super::simd::vectorized;

const LANES: usize = 8;

/// Elements that inner products are added up for in `f32` before they are added to sums in `f64`.
///
/// Every lane then adds 32 products, so that the error of a run is a unit or two in the last place of
/// `f32`; those of many runs average out, to 1e-9 for 65,536 elements. Shorter runs take longer, and pure
/// `f64` three times as long.
const RUN: usize = 256;

/// Vectors whose products with each other are computed at once: all of them fit into registers.
const GROUP: usize = 4;

/// Σ |`a[i]`|.
pub fn sum_of_magnitudes(a: &[f32]) -> f64 {
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = [0.0f64; LANES];
            let (blocks, rest) = a.as_chunks::<LANES>();
            for block in blocks {
                for lane in 0..LANES {
                    lanes[lane] += f64::from(block[lane].abs());
                }
            }
            for (lane, value) in rest.iter().enumerate() {
                lanes[lane] += f64::from(value.abs());
            }
            lanes.iter().sum()
        },
    )
}

/// Number of different products of `n` vectors with each other and themselves.
pub const fn n_products(n: usize) -> usize {
    n * (n + 1) / 2
}

/// Where [`inner_products`] puts the product of vectors `i` and `j` of `n`.
pub const fn product_index(n: usize, i: usize, j: usize) -> usize {
    let (i, j) = if i < j { (i, j) } else { (j, i) };
    i * n - n_products(i) + j
}

/// Inner products of vectors with each other and themselves: with `x = vector − origin`, or
/// `x = vector` without an origin, ⟨xᵢ, xⱼ⟩ over the elements `range` for all i ≤ j, in the order
/// (0,0), (0,1), …, (1,1), ….
///
/// Values beyond about 1e19 overflow and products below about 1e-38 vanish, as they do in `f32`. The
/// relative error is that of one `f32` rounding.
///
/// # Panics
///
/// When a vector has no such elements, or there are not [`n_products`] places in `products`.
pub fn inner_products(
    origin: Option<&[f32]>,
    vectors: &[&[f32]],
    range: Range<usize>,
    products: &mut [f64],
) {
    let n = vectors.len();
    let (origin, part) = parts(origin, vectors, range, products);
    if n <= GROUP {
        triangle(origin, from_fn(|index| if index < n { part(index) } else { &[] }), n, products);
        return;
    }
    // Every two vectors meet in the union of two halves of a group.
    const HALF: usize = GROUP / 2;
    for first in (0..n).step_by(HALF) {
        for second in (first + HALF..n).step_by(HALF) {
            let mut indices = [0; GROUP];
            let mut count = 0;
            for index in (first..first + HALF).chain(second..(second + HALF).min(n)) {
                indices[count] = index;
                count += 1;
            }
            let mut found = [0.0; n_products(GROUP)];
            let found = &mut found[..n_products(count)];
            let group = from_fn(|index| if index < count { part(indices[index]) } else { &[][..] });
            triangle(origin, group, count, found);
            for i in 0..count {
                for j in i..count {
                    products[product_index(n, indices[i], indices[j])] =
                        found[product_index(count, i, j)];
                }
            }
        }
    }
}

/// As [`inner_products`], but every product and sum is an `f64`. Several times slower.
pub fn exact_inner_products(
    origin: Option<&[f32]>,
    vectors: &[&[f32]],
    range: Range<usize>,
    products: &mut [f64],
) {
    let n = vectors.len();
    let (origin, part) = parts(origin, vectors, range, products);
    for i in 0..n {
        for j in i..n {
            let (x, y) = (part(i), part(j));
            let product = |x: f32, y: f32| f64::from(x) * f64::from(y);
            products[product_index(n, i, j)] = vectorized(
                #[inline(always)]
                || match origin {
                    Some(origin) => {
                        sum(x.len(), |at| product(x[at] - origin[at], y[at] - origin[at]))
                    }
                    None => sum(x.len(), |at| product(x[at], y[at])),
                },
            );
        }
    }
}

/// The elements `range` of the origin and, as a function of the index, of the vectors, whose products
/// have to have their places.
fn parts<'a>(
    origin: Option<&'a [f32]>,
    vectors: &'a [&'a [f32]],
    range: Range<usize>,
    products: &[f64],
) -> (Option<&'a [f32]>, impl Fn(usize) -> &'a [f32] + use<'a>) {
    assert_eq!(products.len(), n_products(vectors.len()), "there is a place for every product");
    let origin = origin.map(|origin| &origin[range.clone()]);
    (origin, move |index: usize| &vectors[index][range.clone()])
}

/// Adds interleaved partial sums of `n` terms, which do not have to wait for each other.
#[inline(always)]
fn sum(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    for start in (0..n).step_by(LANES) {
        for (lane, at) in lanes.iter_mut().zip(start..n) {
            *lane += term(at);
        }
    }
    lanes.iter().sum()
}

/// Products of the first `n` vectors of a group.
fn triangle(origin: Option<&[f32]>, vectors: [&[f32]; GROUP], n: usize, products: &mut [f64]) {
    match n {
        0 => {}
        1 => triangle_of::<1, { n_products(1) }>(origin, vectors, products),
        2 => triangle_of::<2, { n_products(2) }>(origin, vectors, products),
        3 => triangle_of::<3, { n_products(3) }>(origin, vectors, products),
        _ => triangle_of::<4, { n_products(4) }>(origin, vectors, products),
    }
}

fn triangle_of<const N: usize, const P: usize>(
    origin: Option<&[f32]>,
    vectors: [&[f32]; GROUP],
    products: &mut [f64],
) {
    let vectors: [&[f32]; N] = from_fn(|index| vectors[index]);
    let found: [f64; P] = match origin {
        Some(origin) => Arch::new().dispatch(Triangle::<N, P, true> { origin, vectors }),
        None => Arch::new().dispatch(Triangle::<N, P, false> { origin: &[], vectors }),
    };
    products.copy_from_slice(&found);
}

/// Products of `N` vectors, `P` of them, of differences from an origin if `SUBTRACT`.
///
/// Written out for vector registers, since the compiler does not find a good way by itself: it is five
/// times slower then, whether sums are `f32` or `f64`. `RUN` and `LANES` make up the order of additions, which is the same on every CPU.
struct Triangle<'a, const N: usize, const P: usize, const SUBTRACT: bool> {
    origin: &'a [f32],
    vectors: [&'a [f32]; N],
}

impl<const N: usize, const P: usize, const SUBTRACT: bool> WithSimd
    for Triangle<'_, N, P, SUBTRACT>
{
    type Output = [f64; P];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; P] {
        // Where registers have another width, the compiler has to make do with what it finds.
        if S::F32_LANES == LANES { self.compute(simd) } else { self.compute(Scalar256b) }
    }
}

impl<const N: usize, const P: usize, const SUBTRACT: bool> Triangle<'_, N, P, SUBTRACT> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S) -> [f64; P] {
        let length = self.vectors.first().map_or(0, |vector| vector.len());
        let mut totals = [[0.0f64; LANES]; P];
        for start in (0..length).step_by(RUN) {
            let run = start..(start + RUN).min(length);
            let vectors: [(&[S::f32s], &[f32]); N] =
                from_fn(|index| S::as_simd_f32s(&self.vectors[index][run.clone()]));
            let (origin, origin_rest) = match SUBTRACT {
                true => S::as_simd_f32s(&self.origin[run.clone()]),
                false => vectors[0],
            };
            let blocks = origin.len();
            let rests = vectors.map(|(_, rest)| &rest[..origin_rest.len()]);
            let vectors = vectors.map(|(vector, _)| &vector[..blocks]);
            let mut sums = [simd.splat_f32s(0.0); P];
            for block in 0..blocks {
                let x: [S::f32s; N] = from_fn(|index| match SUBTRACT {
                    true => simd.sub_f32s(vectors[index][block], origin[block]),
                    false => vectors[index][block],
                });
                let mut product = 0;
                for i in 0..N {
                    for j in i..N {
                        sums[product] = simd.add_f32s(sums[product], simd.mul_f32s(x[i], x[j]));
                        product += 1;
                    }
                }
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                let mut lanes = [0.0f32; LANES];
                S::as_mut_simd_f32s(&mut lanes).0[0] = sums;
                for (total, sum) in totals.iter_mut().zip(lanes) {
                    *total += f64::from(sum);
                }
            }
            for lane in 0..origin_rest.len() {
                let x: [f32; N] = from_fn(|index| match SUBTRACT {
                    true => rests[index][lane] - origin_rest[lane],
                    false => rests[index][lane],
                });
                let mut product = 0;
                for i in 0..N {
                    for j in i..N {
                        totals[product][lane] += f64::from(x[i]) * f64::from(x[j]);
                        product += 1;
                    }
                }
            }
        }
        totals.map(|lanes| lanes.iter().sum())
    }
}

/// Adds the inner products of each column of two blocks of whole or partial rows to `sums`: ⟨x, x⟩,
/// ⟨x, y⟩ and ⟨y, y⟩ of every column, where `x` and `y` are differences from `origin` if there is one.
/// The first element belongs to column `first`.
///
/// # Panics
///
/// When slices of elements or of sums differ in length, or there are no columns but elements.
pub fn add_column_products(
    origin: Option<&[f32]>,
    [x, y]: [&[f32]; 2],
    first: usize,
    [xx, xy, yy]: [&mut [f64]; 3],
) {
    let columns = xx.len();
    let mut start = 0;
    while start < x.len() {
        let column = (first + start) % columns;
        let length = (columns - column).min(x.len() - start);
        let (elements, columns) = (start..start + length, column..column + length);
        let (x, y) = (&x[elements.clone()], &y[elements.clone()]);
        let xx = &mut xx[columns.clone()];
        let xy = &mut xy[columns.clone()];
        let yy = &mut yy[columns];
        let origin = origin.map(|origin| &origin[elements]);
        vectorized(
            #[inline(always)]
            || {
                let mut add = |index: usize, x: f32, y: f32| {
                    let (x, y) = (f64::from(x), f64::from(y));
                    xx[index] += x * x;
                    xy[index] += x * y;
                    yy[index] += y * y;
                };
                match origin {
                    Some(origin) => {
                        for (index, &origin) in origin.iter().enumerate() {
                            add(index, x[index] - origin, y[index] - origin);
                        }
                    }
                    None => {
                        for (index, (&x, &y)) in x.iter().zip(y).enumerate() {
                            add(index, x, y);
                        }
                    }
                }
            },
        );
        start += length;
    }
}

#[cfg(test)]
mod tests;

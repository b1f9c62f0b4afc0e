//! What one pass over two tensors tells about how they differ and, with a third one that both come
//! from, about the ways they went.

use super::simd::vectorized;
use super::summary::{LANES, Real, SUB_BLOCK, all_finite};

/// Statistics of the elements of two tensors, over those that are finite in both.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Comparison {
    /// Elements that are finite in both.
    pub compared: u64,
    /// Elements that are NaN or infinite in one of them.
    pub skipped: u64,
    /// Σ a².
    pub a_squares: f64,
    /// Σ b².
    pub b_squares: f64,
    /// Σ a·b.
    pub product: f64,
    /// Σ (b − a)².
    pub difference_squares: f64,
    /// max |b − a|; 0 when nothing was compared.
    pub largest_difference: f64,
    /// Elements with b ≠ a.
    pub changed: u64,
}

/// Statistics of the task vectors a − c and b − c, over elements that are finite in all three.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TaskVectors {
    /// Elements that are finite in all three.
    pub compared: u64,
    /// Elements that are NaN or infinite in one of them.
    pub skipped: u64,
    /// Σ (a − c)².
    pub a_squares: f64,
    /// Σ (b − c)².
    pub b_squares: f64,
    /// Σ (a − c)·(b − c).
    pub product: f64,
    /// Elements with a ≠ c.
    pub moved_by_a: u64,
    /// Elements with b ≠ c.
    pub moved_by_b: u64,
    /// Elements with a ≠ c and b ≠ c.
    pub moved_by_both: u64,
    /// Those of them that moved to the same side.
    pub same_sign: u64,
}

/// x·y / (‖x‖·‖y‖), `None` when one of them is zero.
fn cosine(product: f64, x_squares: f64, y_squares: f64) -> Option<f64> {
    // The root of the product makes the cosine of equal vectors exactly 1.
    let norms = match (x_squares * y_squares).sqrt() {
        norms if norms.is_normal() => norms,
        _ => x_squares.sqrt() * y_squares.sqrt(),
    };
    (norms > 0.0).then(|| (product / norms).clamp(-1.0, 1.0))
}

/// `part` of `whole`, `None` when there is no whole.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Comparison {
    /// Compares `a` with `b`, which are equally long. Adds in a fixed order.
    pub fn of<T: Real>(a: &[T], b: &[T]) -> Self {
        assert_eq!(a.len(), b.len(), "both tensors have the same length");
        let mut comparison = Self::default();
        vectorized(
            #[inline(always)]
            || {
                comparison.skipped = for_finite(
                    [a, b],
                    #[inline(always)]
                    |[a, b]| comparison.add_finite(a, b),
                );
            },
        );
        comparison
    }

    #[inline(always)]
    fn add_finite<T: Real>(&mut self, a: &[T], b: &[T]) {
        let mut lanes = PairLanes::default();
        let ((a_blocks, a_rest), (b_blocks, b_rest)) =
            (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a_blocks.iter().zip(b_blocks) {
            lanes.add(wide(a), wide(b));
        }
        lanes.add(padded(a_rest), padded(b_rest));
        // Counted apart from the sums, in the elements' own type, which takes half the time.
        let mut changed = 0u32;
        for (a, b) in a.iter().zip(b) {
            changed += u32::from(a != b);
        }
        self.changed += u64::from(changed);
        self.compared += a.len() as u64;
        self.a_squares += lanes.a_squares.iter().sum::<f64>();
        self.b_squares += lanes.b_squares.iter().sum::<f64>();
        self.product += lanes.product.iter().sum::<f64>();
        self.difference_squares += lanes.difference_squares.iter().sum::<f64>();
        self.largest_difference = lanes.largest.into_iter().fold(self.largest_difference, f64::max);
    }

    /// Takes in the statistics of further elements.
    pub fn add(&mut self, other: &Self) {
        self.compared += other.compared;
        self.skipped += other.skipped;
        self.a_squares += other.a_squares;
        self.b_squares += other.b_squares;
        self.product += other.product;
        self.difference_squares += other.difference_squares;
        self.largest_difference = self.largest_difference.max(other.largest_difference);
        self.changed += other.changed;
    }

    /// ‖b − a‖.
    pub fn difference(&self) -> f64 {
        self.difference_squares.sqrt()
    }

    /// ‖b − a‖ / ‖a‖. Nothing that stays nothing is not changed at all; `None` when only b is
    /// something.
    pub fn relative(&self) -> Option<f64> {
        match (self.difference(), self.a_squares.sqrt()) {
            (difference, a) if a > 0.0 => Some(difference / a),
            (0.0, _) if self.compared > 0 => Some(0.0),
            _ => None,
        }
    }

    /// Share of elements with b ≠ a among those compared.
    pub fn changed_share(&self) -> Option<f64> {
        share(self.changed, self.compared)
    }

    /// Cosine of the angle between a and b, `None` when one of them is zero.
    pub fn cosine(&self) -> Option<f64> {
        cosine(self.product, self.a_squares, self.b_squares)
    }
}

impl TaskVectors {
    /// Compares the ways from `c` to `a` and to `b`. All are equally long. Adds in a fixed order.
    pub fn of<T: Real>(a: &[T], b: &[T], c: &[T]) -> Self {
        assert!(a.len() == b.len() && b.len() == c.len(), "all tensors have the same length");
        let mut vectors = Self::default();
        vectorized(
            #[inline(always)]
            || {
                vectors.skipped = for_finite(
                    [a, b, c],
                    #[inline(always)]
                    |[a, b, c]| vectors.add_finite(a, b, c),
                );
            },
        );
        vectors
    }

    #[inline(always)]
    fn add_finite<T: Real>(&mut self, a: &[T], b: &[T], c: &[T]) {
        let mut lanes = WayLanes::default();
        let ((a_blocks, a_rest), (b_blocks, b_rest), (c_blocks, c_rest)) =
            (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
        for ((a, b), c) in a_blocks.iter().zip(b_blocks).zip(c_blocks) {
            lanes.add(wide(a), wide(b), wide(c));
        }
        lanes.add(padded(a_rest), padded(b_rest), padded(c_rest));
        // As above. No difference of two different numbers is rounded to zero, nor has it the wrong
        // sign, so that none has to be computed.
        let [mut by_a, mut by_b, mut by_both, mut same_sign] = [0u32; 4];
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            let (a_moved, b_moved) = (a != c, b != c);
            let both = a_moved & b_moved;
            by_a += u32::from(a_moved);
            by_b += u32::from(b_moved);
            by_both += u32::from(both);
            same_sign += u32::from(both & ((a > c) == (b > c)));
        }
        self.moved_by_a += u64::from(by_a);
        self.moved_by_b += u64::from(by_b);
        self.moved_by_both += u64::from(by_both);
        self.same_sign += u64::from(same_sign);
        self.compared += a.len() as u64;
        self.a_squares += lanes.a_squares.iter().sum::<f64>();
        self.b_squares += lanes.b_squares.iter().sum::<f64>();
        self.product += lanes.product.iter().sum::<f64>();
    }

    /// Takes in the statistics of further elements.
    pub fn add(&mut self, other: &Self) {
        self.compared += other.compared;
        self.skipped += other.skipped;
        self.a_squares += other.a_squares;
        self.b_squares += other.b_squares;
        self.product += other.product;
        self.moved_by_a += other.moved_by_a;
        self.moved_by_b += other.moved_by_b;
        self.moved_by_both += other.moved_by_both;
        self.same_sign += other.same_sign;
    }

    /// ‖a − c‖ and ‖b − c‖.
    pub fn norms(&self) -> [f64; 2] {
        [self.a_squares.sqrt(), self.b_squares.sqrt()]
    }

    /// Cosine of the angle between the task vectors, `None` when one of them is zero.
    pub fn cosine(&self) -> Option<f64> {
        cosine(self.product, self.a_squares, self.b_squares)
    }

    /// Of the elements that moved in both, the share that moved to the same side.
    pub fn sign_agreement(&self) -> Option<f64> {
        share(self.same_sign, self.moved_by_both)
    }

    /// Share of elements that moved in both.
    pub fn moved_by_both_share(&self) -> Option<f64> {
        share(self.moved_by_both, self.compared)
    }

    /// Shares of elements that moved only in a and only in b.
    pub fn moved_by_one_shares(&self) -> [Option<f64>; 2] {
        [self.moved_by_a, self.moved_by_b]
            .map(|moved| share(moved - self.moved_by_both, self.compared))
    }
}

/// Partial sums of a [`Comparison`], interleaved.
#[derive(Default)]
struct PairLanes {
    a_squares: Lanes,
    b_squares: Lanes,
    product: Lanes,
    difference_squares: Lanes,
    largest: Lanes,
}

impl PairLanes {
    #[inline(always)]
    fn add(&mut self, a: Lanes, b: Lanes) {
        let difference = minus(&b, &a);
        add_products(&mut self.a_squares, &a, &a);
        add_products(&mut self.b_squares, &b, &b);
        add_products(&mut self.product, &a, &b);
        add_products(&mut self.difference_squares, &difference, &difference);
        for (largest, difference) in self.largest.iter_mut().zip(difference) {
            let distance = difference.abs();
            *largest = if distance > *largest { distance } else { *largest };
        }
    }
}

/// Partial sums of [`TaskVectors`], interleaved.
#[derive(Default)]
struct WayLanes {
    a_squares: Lanes,
    b_squares: Lanes,
    product: Lanes,
}

impl WayLanes {
    #[inline(always)]
    fn add(&mut self, a: Lanes, b: Lanes, c: Lanes) {
        let (a, b) = (minus(&a, &c), minus(&b, &c));
        add_products(&mut self.a_squares, &a, &a);
        add_products(&mut self.b_squares, &b, &b);
        add_products(&mut self.product, &a, &b);
    }
}

/// Some doubles that vector instructions take together.
type Lanes = [f64; LANES];

#[inline(always)]
fn add_products(sums: &mut Lanes, x: &Lanes, y: &Lanes) {
    for lane in 0..LANES {
        sums[lane] += x[lane] * y[lane];
    }
}

#[inline(always)]
fn minus(x: &Lanes, y: &Lanes) -> Lanes {
    let mut difference = Lanes::default();
    for lane in 0..LANES {
        difference[lane] = x[lane] - y[lane];
    }
    difference
}

/// Widened to doubles.
#[inline(always)]
fn wide<T: Real>(values: &[T; LANES]) -> Lanes {
    let mut lanes = Lanes::default();
    for lane in 0..LANES {
        lanes[lane] = values[lane].into();
    }
    lanes
}

/// The elements of a last, shorter block, with zeros behind them, which change no sum.
#[inline(always)]
fn padded<T: Real>(rest: &[T]) -> Lanes {
    let mut lanes = Lanes::default();
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = value.into();
    }
    lanes
}

/// Calls `visit` with the elements that are finite in all `tensors`, a cache's worth at a time, and
/// returns how many are not.
#[inline(always)]
fn for_finite<T: Real, const N: usize>(
    tensors: [&[T]; N],
    mut visit: impl FnMut([&[T]; N]),
) -> u64 {
    let length = tensors[0].len();
    let mut skipped = 0;
    for start in (0..length).step_by(SUB_BLOCK) {
        let end = length.min(start + SUB_BLOCK);
        let block = tensors.map(
            #[inline(always)]
            |tensor| &tensor[start..end],
        );
        let mut finite = true;
        for part in block {
            finite &= all_finite(part);
        }
        let mut kept;
        let block = if finite {
            block
        } else {
            kept = [[T::default(); SUB_BLOCK]; N];
            let n_kept = keep_finite(block, &mut kept);
            skipped += (end - start - n_kept) as u64;
            kept.each_ref().map(|kept| &kept[..n_kept])
        };
        // Once, so that it becomes part of the caller's vectorized code.
        visit(block);
    }
    skipped
}

/// Copies the elements that are finite in all of `block` and returns their number.
fn keep_finite<T: Real, const N: usize>(block: [&[T]; N], kept: &mut [[T; SUB_BLOCK]; N]) -> usize {
    let mut n_kept = 0;
    for index in 0..block[0].len() {
        if block.iter().all(|part| part[index].is_finite()) {
            for (kept, part) in kept.iter_mut().zip(block) {
                kept[n_kept] = part[index];
            }
            n_kept += 1;
        }
    }
    n_kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element() -> impl Strategy<Value = f32> {
        prop_oneof![
            12 => (-4i8..4).prop_map(f32::from),
            12 => -2.0f32..2.0,
            1 => Just(-0.0),
            1 => Just(f32::MIN_POSITIVE / 8.0),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
        ]
    }

    #[track_caller]
    fn close(found: f64, expected: f64, scale: f64) {
        assert!((found - expected).abs() <= 1e-12 * scale, "{found} is not {expected}");
    }

    fn check(a: &[f32], b: &[f32], c: &[f32]) {
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (wide_a, wide_b, wide_c) = (wide(a), wide(b), wide(c));
        let pairs: Vec<(f64, f64)> = wide_a.iter().copied().zip(wide_b.iter().copied()).collect();
        let pairs: Vec<_> =
            pairs.into_iter().filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
        let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(a, b)| f(a, b)).sum::<f64>();
        for found in [Comparison::of(a, b), Comparison::of(&wide_a, &wide_b)] {
            assert_eq!(found.compared, pairs.len() as u64);
            assert_eq!(found.skipped, (a.len() - pairs.len()) as u64);
            let scale = sum(&|a, b| a * a + b * b);
            close(found.a_squares, sum(&|a, _| a * a), scale);
            close(found.b_squares, sum(&|_, b| b * b), scale);
            close(found.product, sum(&|a, b| a * b), scale);
            close(found.difference_squares, sum(&|a, b| (b - a) * (b - a)), scale);
            let largest = pairs.iter().map(|(a, b)| (b - a).abs()).fold(0.0, f64::max);
            assert_eq!(found.largest_difference, largest);
            let changed = pairs.iter().filter(|(a, b)| a != b).count();
            assert_eq!(found.changed, changed as u64);
        }

        let ways: Vec<(f64, f64)> = wide_a
            .iter()
            .zip(&wide_b)
            .zip(&wide_c)
            .filter(|((a, b), c)| a.is_finite() && b.is_finite() && c.is_finite())
            .map(|((a, b), c)| (a - c, b - c))
            .collect();
        let count =
            |f: &dyn Fn(f64, f64) -> bool| ways.iter().filter(|&&(a, b)| f(a, b)).count() as u64;
        for found in [TaskVectors::of(a, b, c), TaskVectors::of(&wide_a, &wide_b, &wide_c)] {
            assert_eq!(found.compared, ways.len() as u64);
            assert_eq!(found.skipped, (a.len() - ways.len()) as u64);
            let sum = |f: &dyn Fn(f64, f64) -> f64| ways.iter().map(|&(a, b)| f(a, b)).sum::<f64>();
            let scale = sum(&|a, b| a * a + b * b);
            close(found.a_squares, sum(&|a, _| a * a), scale);
            close(found.b_squares, sum(&|_, b| b * b), scale);
            close(found.product, sum(&|a, b| a * b), scale);
            assert_eq!(found.moved_by_a, count(&|a, _| a != 0.0));
            assert_eq!(found.moved_by_b, count(&|_, b| b != 0.0));
            assert_eq!(found.moved_by_both, count(&|a, b| a != 0.0 && b != 0.0));
            assert_eq!(found.same_sign, count(&|a, b| a * b > 0.0));
        }
    }

    proptest! {
        #[test]
        fn comparisons_equal_plain_code(
            elements in prop::collection::vec((element(), element(), element()), 0..2600),
        ) {
            let a: Vec<f32> = elements.iter().map(|element| element.0).collect();
            let b: Vec<f32> = elements.iter().map(|element| element.1).collect();
            let c: Vec<f32> = elements.iter().map(|element| element.2).collect();
            check(&a, &b, &c);
        }
    }

    #[test]
    fn equal_tensors_do_not_differ() {
        let a = [1.0f32, -0.0, 3.0];
        let comparison = Comparison::of(&a, &[1.0, 0.0, 3.0]);
        assert_eq!((comparison.relative(), comparison.cosine()), (Some(0.0), Some(1.0)));
        assert_eq!((comparison.changed, comparison.largest_difference), (0, 0.0));
        let vectors = TaskVectors::of(&a, &a, &a);
        assert_eq!((vectors.cosine(), vectors.sign_agreement()), (None, None));
        assert_eq!(vectors.moved_by_both_share(), Some(0.0));
    }

    #[test]
    fn zero_and_empty_tensors_have_no_direction() {
        let comparison = Comparison::of(&[0.0f32; 3], &[0.0, 1.0, 0.0]);
        assert_eq!((comparison.relative(), comparison.cosine()), (None, None));
        assert_eq!(Comparison::of(&[0.0f32], &[0.0]).relative(), Some(0.0));
        let empty = Comparison::of::<f32>(&[], &[]);
        assert_eq!((empty.relative(), empty.changed_share()), (None, None));
        assert_eq!(TaskVectors::of::<f32>(&[], &[], &[]), TaskVectors::default());
    }

    #[test]
    fn the_largest_difference_of_floats_is_a_double() {
        let comparison = Comparison::of(&[-f32::MAX], &[f32::MAX]);
        assert_eq!(comparison.largest_difference, 2.0 * f64::from(f32::MAX));
        assert_eq!(comparison.cosine(), Some(-1.0));
    }

    #[test]
    fn elements_are_told_apart_by_who_moved_them() {
        let (a, b) = ([1.0f32, 1.0, 0.0, -1.0], [2.0f32, 0.0, 1.0, 1.0]);
        let vectors = TaskVectors::of(&a, &b, &[0.0; 4]);
        assert_eq!(vectors.moved_by_both_share(), Some(0.5));
        assert_eq!(vectors.moved_by_one_shares(), [Some(0.25), Some(0.25)]);
        assert_eq!(vectors.sign_agreement(), Some(0.5));
        assert_eq!(vectors.norms(), [3f64.sqrt(), 6f64.sqrt()]);
    }
}
